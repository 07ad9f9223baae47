"""What README shows can be copied, pasted and run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pages import blocks, run_page
from symgnn.cli import VERBS
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def test_code_blocks_run_in_order_as_they_stand(readme: str, tmp_path: Path) -> None:
    """LAMMPS, then Python, then the command line, in one terminal, as a reader would."""
    _, python, command_line, _ = run_page(readme, tmp_path)
    assert len(read_structures(tmp_path / "glass" / "barriers.dump")) == 2
    assert "softest atoms of 3000" in python
    assert "energy_barrier" in read_structures(tmp_path / "glass.xyz")[0].arrays
    assert "Cu, Zr" in command_line
    assert len(read_structures(tmp_path / "again.xyz")[0]) == 3000
    assert (tmp_path / "annotated.csv").read_text().count("\n") == 3001
    assert (tmp_path / "glass.html").stat().st_size > 500_000


def test_the_lammps_lines_are_those_of_the_sample(readme: str, repository: Path) -> None:
    (shown,) = blocks(readme, "lammps")
    sample = (repository / "python/symgnn/samples/in.barriers").read_text(encoding="utf-8")
    lines = {" ".join(line.split()) for line in sample.splitlines()}
    for line in shown.text.splitlines():
        assert " ".join(line.split()).replace("cuzr-fast", "${model}") in lines


def test_other_commands_exist(readme: str, repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    shown = "\n".join(block.text for block in blocks(readme, "sh"))
    for target in re.findall(r"^make (\S+)", shown, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    verbs = re.findall(r"^symgnn (\S+)", shown, re.MULTILINE)
    assert verbs
    assert set(verbs) <= set(VERBS)


def test_links_lead_somewhere(readme: str, repository: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", readme):
        if not target.startswith("https://"):
            assert (repository / target.partition("#")[0]).exists(), target


def test_no_number_is_left_open(readme: str) -> None:
    assert "⟨" not in readme
