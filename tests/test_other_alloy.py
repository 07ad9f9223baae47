"""A model for another alloy than the shipped ones: Fe80P20, whose P atoms avoid each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms

from symgnn import Annotator, read_structures
from symgnn.annotator import NOVEL
from symgnn.cli import run
from symgnn.export import export_checkpoint
from symgnn.samples import sample_glass
from symgnn.structures import write_structures
from symgnn.training.checkpoint import load_checkpoint, save_checkpoint

GLASSES = [str(Path(__file__).parents[1] / "datasets" / "Fe80P20" / f"{k}.xyz") for k in (1, 2, 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a checkpoint of a regression in ``run``."""
    folder = tmp_path_factory.mktemp("alloy")
    config = {
        "data": {"train": GLASSES, "label_error": "energy_barrier_std"},
        "model": {"architecture": "density_regression", "strength": 3000.0},
        "device": "cpu",
    }
    (folder / "densities.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert run(["train", str(folder / "densities.yaml")]) == 0
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    assert run(["export", str(folder / "run" / "best.ckpt"), "-o", str(folder / "FeP.pt")]) == 0
    return folder / "FeP.pt"


def test_densities_that_are_the_same_everywhere_do_not_multiply_rounding(
    folder: Path, model: Path
) -> None:
    """Phosphorus next to phosphorus is found nowhere, but for the tail of a Gaussian."""
    export_checkpoint(folder / "run" / "best.ckpt", folder / "double.pt", dtype="float64")
    glass = read_structures(GLASSES[0])[0]
    (single,), (double,) = (
        Annotator(file).predict([glass]) for file in (model, folder / "double.pt")
    )
    np.testing.assert_allclose(single[:, 0], double[:, 0], rtol=0.0, atol=1e-5)


def test_an_export_is_tried_on_the_smallest_whole_structure_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glass = read_structures(GLASSES[0])[0]
    small = glass[np.flatnonzero(np.isfinite(glass.arrays["energy_barrier"]))]
    small.pbc = [True, True, False]
    few, foreign = small[:20], Atoms("Cu5", positions=np.diag(range(5))[:, :3])
    foreign.arrays["energy_barrier"] = np.full(5, np.nan)
    write_structures(tmp_path / "all.xyz", [glass, few, small, foreign])
    config = {
        "data": {"train": ["all.xyz"], "elements": ["Fe", "P"]},
        "model": {"architecture": "density_regression", "radial": 4, "degree": 1},
        "device": "cpu",
    }
    (tmp_path / "densities.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert run(["train", str(tmp_path / "densities.yaml")]) == 0
    best = tmp_path / "run" / "best.ckpt"
    content = load_checkpoint(best)
    kept = Atoms(**{name: tensor.numpy() for name, tensor in content["example"].items()})
    np.testing.assert_array_equal(kept.numbers, small.numbers)
    np.testing.assert_allclose(kept.positions, small.positions, atol=1e-7)
    np.testing.assert_allclose(kept.cell.array, small.cell.array)
    np.testing.assert_array_equal(kept.pbc, small.pbc)

    looked_at = []
    monkeypatch.setattr("symgnn.export.sample_glass", looked_at.append)
    export_checkpoint(best, tmp_path / "model.pt")
    assert not looked_at
    monkeypatch.undo()

    del content["example"]  # as before checkpoints had one
    save_checkpoint(best, content)
    export_checkpoint(best, tmp_path / "older.pt")
    (of_now,), (of_before,) = (
        Annotator(tmp_path / name).predict([glass]) for name in ("model.pt", "older.pt")
    )
    np.testing.assert_array_equal(of_now, of_before)


def test_check_wants_a_glass_of_the_model_s_alloy(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the sample glass its barriers are all at one end of the range of labels."""
    sample = Annotator(model).predict([sample_glass(["Fe", "P"])])[0]
    assert (sample[:, 2] > NOVEL).all()
    assert run(["check", str(model)]) == 1
    assert "name a glass of its alloy, --structure FILE" in capsys.readouterr().err
    assert run(["check", str(model), "--structure", GLASSES[0]]) == 0
    assert capsys.readouterr().out.count("ok") == 2


def test_check_says_in_one_line_that_a_glass_is_foreign(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_structures(tmp_path / "foreign.xyz", [sample_glass(["Fe", "P"])])
    assert run(["check", str(model), "--structure", str(tmp_path / "foreign.xyz")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: 100% of the atoms have surroundings unlike those")
