"""What the tutorials show runs as it stands, and prints what they say it prints."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pages import assert_same_but_for_noise, blocks, run_page
from symgnn.cli import VERBS
from symgnn.structures import read_structures

TUTORIALS = sorted((Path(__file__).resolve().parent.parent / "docs/tutorials").glob("*.md"))


def run(name: str, folder: Path) -> list[str]:
    (page,) = (path for path in TUTORIALS if path.stem == name)
    return run_page(page.read_text(encoding="utf-8"), folder)


def test_every_tutorial_is_run_here() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    assert {path.stem for path in TUTORIALS} == set(re.findall(r'= run\("(\w+)"', tests))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda path: path.stem)
def test_commands_that_are_too_long_to_run_exist(page: Path) -> None:
    shown = "\n".join(block.text for block in blocks(page.read_text(encoding="utf-8"), "sh"))
    assert set(re.findall(r"^symgnn (\S+)", shown, re.MULTILINE)) <= set(VERBS)


def test_shear(tmp_path: Path) -> None:
    printed = run("shear", tmp_path)
    assert "no average yet" in printed[1]
    assert "strain 0.0010" in printed[2]


def test_trajectory(tmp_path: Path) -> None:
    printed = run("trajectory", tmp_path)
    assert len(printed) == 5
    assert len(read_structures(tmp_path / "annotated.xyz")) == 3
    assert (tmp_path / "snapshot.csv").read_text().count("\n") == 3001


def test_training(tmp_path: Path) -> None:
    printed = run("training", tmp_path)
    assert "Pearson" in printed[2]
    taught, learned = (
        read_structures(tmp_path / name)[0].arrays["energy_barrier"]
        for name in ("test.xyz", "barriers.xyz")
    )
    tested = np.isfinite(taught)
    assert np.corrcoef(taught[tested], learned[tested])[0, 1] > 0.9


def test_alloy(tmp_path: Path) -> None:
    printed = run("alloy", tmp_path)
    (glass,) = read_structures(tmp_path / "labels.xyz")
    assert set(glass.get_chemical_symbols()) == {"Fe", "P"}
    known = np.isfinite(glass.arrays["energy_barrier"])
    assert 1 <= known.sum() <= 10
    assert len(printed[-1].splitlines()) == known.sum()


def test_explanation(tmp_path: Path) -> None:
    printed = run("explanation", tmp_path)
    assert (tmp_path / "explanation.png").stat().st_size > 50_000
    assert printed[-1].count("without the top") >= 4
    assert printed[-1].count("  without ") > printed[-1].count("without the top")


def test_output_that_differs_is_noticed() -> None:
    assert_same_but_for_noise("mean 1.49 eV of 3000, 99%", "mean 1.45 eV of 3000, 98%")
    for printed in ("mean 1.30 eV of 3000, 98%", "mean 1.45 eV of 3001, 98%", "mean 1.45 eV"):
        with pytest.raises(AssertionError):
            assert_same_but_for_noise(printed, "mean 1.45 eV of 3000, 98%")
