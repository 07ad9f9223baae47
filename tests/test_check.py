"""`symgnn check`: LAMMPS against Python, from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conftest import SHARED_DATA
from symgnn.check import compare_with_lammps
from symgnn.cli import run
from symgnn.export import export_random
from symgnn.samples import sample_glass
from symgnn.structures import read_structures
from tiny_model import tiny_metadata, write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms


@pytest.fixture
def structure(tmp_path: Path, glass: Atoms) -> Path:
    glass.pbc = [True, True, False]
    path = tmp_path / "glass.xyz"
    glass.write(path)
    return path


def test_agreement(tmp_path: Path, structure: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    model = write_tiny_model(folder / "tiny.pt")
    assert run(["check", str(model), "--structure", str(structure)]) == 0
    output = capsys.readouterr().out
    assert output.count("125") == 2
    assert output.count("ok") == 2
    assert "FAILED" not in output


def test_disagreement_is_exit_code_1(
    tmp_path: Path,
    structure: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("symgnn.check.TOLERANCE", {"float64": -1.0})
    model = write_tiny_model(tmp_path / "tiny.pt")
    assert run(["check", str(model), "--structure", str(structure)]) == 1
    captured = capsys.readouterr()
    assert "FAILED" in captured.out
    assert "gives other barriers in LAMMPS" in captured.err


def test_unusable_model_is_one_line(
    tmp_path: Path, structure: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / "tiny.pt", metadata={**tiny_metadata(), "format": 99})
    assert run(["check", str(model), "--structure", str(structure)]) == 1
    assert "format 99" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real_glasses_on_one_two_and_four_ranks(tmp_path: Path, dtype: str) -> None:
    """The paper's network on the sample glass, and on a published one where it is at hand."""
    model = tmp_path / "paper.pt"
    export_random("paper", ["Cu", "Zr"], model, dtype=dtype)
    glasses = [sample_glass()]
    if SHARED_DATA.is_dir():
        glasses += read_structures(SHARED_DATA / "cuzr-barriers" / "train0.xyz")
    for atoms in glasses:
        for result in compare_with_lammps(model, atoms, ranks=(1, 2, 4)):
            assert result.atoms == len(atoms)
            assert result.largest_difference <= {"float32": 2e-5, "float64": 1e-9}[dtype]
