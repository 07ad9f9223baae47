"""Barriers of a group of atoms: those of the whole structure, for less work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import random_glass
from lammps_runner import TOLERANCE, Simulation, dump
from symgnn import Annotator
from symgnn.errors import StructureError
from symgnn.export import export_model, export_random
from symgnn.samples import sample_glass
from tiny_mixture import random_mixture, tiny_mixture_config
from tiny_regression import ELEMENTS, TINY_DRAG, random_regression, tiny_config

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

MODELS = ("network", "regression", "mixture", "drag", "simple")
SIDE = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model of each kind."""
    folder = tmp_path_factory.mktemp("models")
    export_random("paper", ELEMENTS, folder / "network.pt")
    regression = random_regression(tiny_config(), members=2)
    export_model(regression, ELEMENTS, folder / "regression.pt")
    mixture = random_mixture(tiny_mixture_config([2, 2, 1, 1]))
    export_model(mixture, ELEMENTS, folder / "mixture.pt")
    dragging = random_regression(tiny_config(**TINY_DRAG), members=2)
    export_model(dragging, ELEMENTS, folder / "drag.pt")
    return folder


def model_file(folder: Path, name: str) -> str:
    return name if name == "simple" else str(folder / f"{name}.pt")


def rattled_glass() -> Atoms:
    """3,000 atoms, 36 Å wide, as at room temperature."""
    glass = sample_glass()
    glass.rattle(0.15, seed=1)
    return glass


def sphere(atoms: Atoms, radius: float) -> np.ndarray:
    """Mask of atoms around the first."""
    distances: np.ndarray = atoms.get_distances(0, range(len(atoms)), mic=True)
    return distances < radius


def assert_same(part: np.ndarray, whole: np.ndarray, mask: np.ndarray) -> None:
    assert np.isnan(part[~mask]).all()
    np.testing.assert_allclose(part[mask], whole[mask], rtol=0, atol=TOLERANCE["float32"])


@pytest.mark.filterwarnings("ignore::symgnn.errors.NovelStructureWarning")
@pytest.mark.parametrize("chunk", [0, 200])
@pytest.mark.parametrize("name", MODELS)
def test_a_group_has_the_barriers_of_the_whole(folder: Path, name: str, chunk: int) -> None:
    """Edges are kept between layers, or made anew in each (``chunk``)."""
    glass = rattled_glass()
    annotator = Annotator(model_file(folder, name), chunk=chunk)
    (whole,) = annotator.predict([glass])
    for mask in (sphere(glass, 0.1), sphere(glass, 5.0), glass.positions[:, 0] < 6.0):
        assert 0 < mask.sum() < len(glass)
        assert_same(annotator.predict([glass], group=mask)[0], whole, mask)
        indices = np.flatnonzero(mask)[::-1]
        assert_same(annotator.predict([glass], group=indices)[0], whole, mask)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    seed=st.integers(0, 3),
    chosen=st.sets(st.integers(0, SIDE**3 - 1), max_size=20),
    periodic=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    name=st.sampled_from(("regression", "mixture")),
)
def test_any_group(
    folder: Path, seed: int, chosen: set[int], periodic: tuple[bool, bool, bool], name: str
) -> None:
    glass = random_glass(SIDE, seed)
    glass.pbc = periodic
    annotator = Annotator(folder / f"{name}.pt")
    (whole,) = annotator.predict([glass])
    mask = np.isin(np.arange(len(glass)), list(chosen))
    assert_same(annotator.predict([glass], group=list(chosen))[0], whole, mask)


@pytest.mark.parametrize("name", MODELS)
def test_what_the_group_does_not_depend_on_is_not_computed(folder: Path, name: str) -> None:
    glass = random_glass(SIDE, seed=3)
    glass *= (4, 1, 1)

    def chunks_of(group: np.ndarray | None) -> list[int]:
        reports: list[int] = []
        annotator = Annotator(model_file(folder, name), chunk=50)
        annotator.predict([glass], group=group, report=lambda layer, _: reports.append(layer))
        return [reports.count(layer) for layer in range(annotator.metadata["layers"])]

    every, few = chunks_of(None), chunks_of(sphere(glass, 0.1))
    assert set(every) == {len(glass) // 50}
    assert few[-1] == 1
    assert few == sorted(few, reverse=True)
    assert few[-2] < 0.5 * every[-2]
    assert set(chunks_of(np.zeros(len(glass), dtype=bool))) == {0}


def test_skin_keeps_the_order_of_the_group(folder: Path) -> None:
    glass = random_glass(SIDE, seed=3)
    annotator = Annotator(folder / "regression.pt", skin=1.0)
    mask = sphere(glass, 5.0)
    for seed in range(3):
        glass.rattle(0.02, seed=seed)
        assert_same(annotator.predict([glass], group=mask)[0], annotator.predict([glass])[0], mask)


@pytest.mark.parametrize(
    "group", [[1000], [-1001], [0.5], np.ones(7, dtype=bool), [[True]], ["Cu"]]
)
def test_groups_of_atoms_that_are_not_there(folder: Path, group: object) -> None:
    glass = random_glass(SIDE, seed=3)
    with pytest.raises(StructureError, match="give indices of atoms, or a mask of 1000"):
        Annotator(folder / "regression.pt").predict([glass], group=group)


@pytest.mark.filterwarnings("ignore::symgnn.errors.NovelStructureWarning")
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("name", MODELS)
def test_lammps_computes_its_group(tmp_path: Path, folder: Path, name: str, ranks: int) -> None:
    """What one rank needs of others, near the border between them and through the box's."""
    glass = rattled_glass()
    glass = glass[(glass.positions < 20.0).all(axis=1)]
    glass.cell = [21.0] * 3
    model = model_file(folder, name)
    script = "region near sphere 0.5 0.5 10.0 5.5\ngroup near region near\n"
    script += f"compute near near symgnn {model} Cu Zr\ncompute b all symgnn {model} Cu Zr\n"
    script += dump("c_near c_b") + "run 0\ngroup near clear\ngroup near id 7 400\nrun 10"
    frames = Simulation(tmp_path, glass).succeed(script, ranks).frames()
    for frame, (fewest, most) in zip(frames, [(8, 40), (2, 2)], strict=True):
        near, whole = frame.arrays["c_near"], frame.arrays["c_b"]
        inside = near != 0.0
        assert fewest <= inside.sum() <= most
        np.testing.assert_allclose(near[inside], whole[inside], rtol=0, atol=TOLERANCE["float32"])
