"""Runs the code of a page of documentation, as a reader would who copies it block by block.

Blocks run in the order of the page, as in one terminal: ``bash`` by the shell, where the block
before it ended, ``python`` each in a process of its own. A block with a title is a file of that
name. A block of ``text`` is what the block before it prints. ``sh`` blocks are too long to run;
their commands must exist.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

_FENCE = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?%?")


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    language: str
    title: str | None
    text: str


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The blocks of a page, of one language or of all."""
    found = [
        Block(match["language"], match["title"], match["text"]) for match in _FENCE.finditer(page)
    ]
    return [block for block in found if language in (None, block.language)]


def run_page(page: str, folder: Path) -> list[str]:
    """Run all of a page, from a folder; what each block printed, in their order."""
    printed: list[str] = []
    here = folder
    for block in blocks(page):
        if block.title is not None:
            (here / block.title).write_text(block.text, encoding="utf-8")
        elif block.language in ("bash", "python"):
            output, here = _run(block, here)
            printed.append(output)
        elif block.language == "text":
            assert_same_but_for_noise(printed[-1], block.text)
    return printed


def _run(block: Block, folder: Path) -> tuple[str, Path]:
    """What a block prints, and the folder that it leaves a terminal in."""
    shell = block.language == "bash"
    command = ["bash", "-ec"] if shell else [sys.executable, "-c"]
    environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    result = subprocess.run(
        [*command, block.text + ("pwd\n" if shell else "")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, block.text + result.stdout[-2000:] + result.stderr[-2000:]
    if not shell:
        return result.stdout, folder
    *lines, last = result.stdout.splitlines(keepends=True)
    return "".join(lines), Path(last.rstrip("\n"))


def assert_same_but_for_noise(printed: str, shown: str) -> None:
    """The same words, and numbers that differ by no more than other processors make them.

    Counts are equal; what has a decimal point may differ by 0.05, a percentage by 2.
    """
    assert _NUMBER.sub("#", printed) == _NUMBER.sub("#", shown)
    for actual, expected in zip(_NUMBER.findall(printed), _NUMBER.findall(shown), strict=True):
        tolerance = 2 if "%" in expected else 0.05 if "." in expected else 0
        number = float(expected.rstrip("%"))
        assert float(actual.rstrip("%")) == pytest.approx(number, abs=tolerance), printed
