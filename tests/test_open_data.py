"""The open dataset is what its datasheet says, and its preset trains."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from symgnn import read_structures
from symgnn.cli import run
from symgnn.landscape.events import Catalog
from symgnn.landscape.forces import Forces
from symgnn.landscape.labels import labeled
from symgnn.landscape.potential import Potential
from symgnn.landscape.saddle import SaddleSettings
from symgnn.open_data import GLASSES, open_data
from symgnn.selection import structure_checksum
from symgnn.training.config import preset
from symgnn.training.dataset import label_of
from symgnn.training.formula import fit_formula

PACKAGE = open_data(GLASSES[0]).parent
CATALOGS = Path(__file__).parents[1] / "datasets" / "open_data"


def test_labels_of_the_other_alloy_are_those_of_its_catalogs() -> None:
    folder = CATALOGS.parent / "Fe80P20"
    listed = [line.split("  ") for line in (folder / "checksums.txt").read_text().splitlines()]
    assert sorted(name for _, name in listed) == sorted(
        file.name for file in folder.iterdir() if file.suffix in (".xyz", ".db")
    )
    for sha256, name in listed:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    for file in folder.glob("*.xyz"):
        (atoms,) = read_structures(file)
        with Catalog.read(file.with_suffix(".db")) as events:
            found = labeled(events)
        np.testing.assert_array_equal(atoms.numbers, found.numbers)
        for name in ("energy_barrier", "energy_barrier_std", "searches"):
            np.testing.assert_allclose(atoms.arrays[name], found.arrays[name], rtol=0.0, atol=1e-7)


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "too few searches to tell"), (3, "labels that allow 0.90: some 38 searches of each atom")],
)
def test_status_says_what_better_labels_take(
    number: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interval that begins at zero leaves it open; otherwise (1/.9² - 1)⁻¹ (within/between)²."""
    assert run(["label", "status", str(CATALOGS.parent / "Fe80P20" / f"{number}.db")]) == 0
    status = capsys.readouterr().out
    assert said in status
    assert "95% interval 0.00 to" in status if number == 1 else "0.63 (95% interval" in status


@pytest.mark.parametrize("folder", [PACKAGE, CATALOGS], ids=["labels", "catalogs"])
def test_checksums(folder: Path) -> None:
    listed = dict(
        reversed(line.split("  ")) for line in (folder / "checksums.txt").read_text().splitlines()
    )
    suffix = ".xyz" if folder == PACKAGE else ".db"
    assert sorted(listed) == sorted(f"{glass}{suffix}" for glass in GLASSES)
    for name, sha256 in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize("glass", GLASSES)
def test_labels_are_those_of_the_catalog(glass: str) -> None:
    (atoms,) = read_structures(PACKAGE / f"{glass}.xyz")
    with Catalog.read(CATALOGS / f"{glass}.db") as events:
        found, origin = labeled(events), events.origin()
    assert origin.settings == SaddleSettings()
    assert atoms.info["saddle_searches"] == found.info["saddle_searches"]
    assert atoms.info["saddle_searches"]["structure_sha256"] == origin.structure
    np.testing.assert_array_equal(atoms.numbers, found.numbers)
    np.testing.assert_allclose(atoms.positions, found.positions, rtol=0.0, atol=1e-7)
    for name in ("energy_barrier", "energy_barrier_std", "energy_barrier_all", "searches"):
        np.testing.assert_allclose(atoms.arrays[name], found.arrays[name], rtol=0.0, atol=1e-7)
    label = label_of(atoms, "energy_barrier", glass)
    assert label is not None
    assert (atoms.arrays["searches"] > 0).sum() == 100
    assert np.isfinite(label).sum() > 50
    composition, _ = glass.split("_")
    share = (atoms.numbers == 29).mean()
    assert share == pytest.approx({"Cu64Zr36": 0.64, "Cu50Zr50": 0.5}[composition])


@pytest.mark.parametrize("glass", GLASSES)
def test_structures_are_minima_of_the_potential(glass: str, tmp_path: Path) -> None:
    with Catalog.read(CATALOGS / f"{glass}.db") as events:
        atoms, origin = events.structure(), events.origin()
    assert structure_checksum(atoms) == origin.structure
    potential = Potential.shipped(tmp_path)
    assert potential.checksum() == origin.potential
    with Forces(atoms, potential) as forces:
        assert np.abs(forces(atoms.positions)[1]).max() < 1e-4


def test_the_preset_learns(tmp_path: Path) -> None:
    """More than chance: labels of glasses left out, with their noise."""
    config = preset("open-data")
    result = fit_formula(config, base=tmp_path)
    assert result.held_out is not None
    assert result.held_out.pearson > 0.1
    assert len(result.structures) == len(GLASSES)


def test_the_commands_of_the_datasheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--preset", "open-data"]) == 0
    config = tmp_path / "config.yaml"
    config.write_text(capsys.readouterr().out)
    assert run(["train", str(config)]) == 0
    assert (tmp_path / "run" / "best.ckpt").is_file()


def test_a_glass_that_is_not_in_it_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text('model: {architecture: formula}\ndata: {train: ["open-data:Cu"]}\n')
    assert run(["train", str(config)]) == 1
    errors = capsys.readouterr().err
    assert "open-data:Cu: the open dataset has Cu64Zr36_1e14" in errors
    assert len(errors.strip().splitlines()) == 1
