"""Model files of earlier versions keep loading and keep their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lammps_runner import TOLERANCE, Simulation, dump, largest_difference
from symgnn import Annotator
from symgnn.samples import sample_glass

if TYPE_CHECKING:
    from ase import Atoms

DATA = Path(__file__).parent / "data"
# NAME.pt beside NAME.txt, which says what the model gave when it was new.
MODELS = sorted(path.stem for path in DATA.glob("*_model.pt"))
# Files give six digits after the point; other processors round float32 differently.
ROUNDING = 1e-5


def test_the_older_models_are_kept() -> None:
    """An attention network, then a density regression in plain TorchScript, both of format 1.

    Each was shipped as ``cuzr`` before 0.1.0 was done.
    """
    assert MODELS == ["first_model", "second_model"]


@pytest.mark.parametrize("name", MODELS)
def test_an_older_model_gives_the_same_barriers(name: str) -> None:
    index, expected = np.loadtxt(DATA / f"{name}.txt", unpack=True)
    assert len(expected) >= 20
    barriers = Annotator(DATA / f"{name}.pt").annotate(sample_glass()).arrays["energy_barrier"]
    np.testing.assert_allclose(barriers[index.astype(int)], expected, rtol=0, atol=ROUNDING)


# A random glass is none that a model was trained on.
@pytest.mark.filterwarnings("ignore::symgnn.errors.NovelStructureWarning")
@pytest.mark.parametrize("name", MODELS)
def test_an_older_model_runs_in_lammps(name: str, tmp_path: Path, glass: Atoms) -> None:
    path = DATA / f"{name}.pt"
    script = f"compute b all symgnn {path} Cu Zr\n" + dump() + "run 0"
    (frame,) = Simulation(tmp_path, glass).succeed(script, ranks=2).frames()
    assert largest_difference(frame, path) <= TOLERANCE[Annotator(path).metadata["dtype"]]
