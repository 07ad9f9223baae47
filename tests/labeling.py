"""Runs of `symgnn label` on a copper crystal with a vacancy, for the tests of both its engines."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ase.io import write

from saddles import COPPER, relaxed, vacancy

if TYPE_CHECKING:
    from collections.abc import Callable

POTENTIAL = ["--pair-style", "eam", "--pair-coeff", COPPER.pair_coeff[0], "--elements", "Cu"]
CHOICE = ("--atoms", "0-2", "--searches", "3")
EVENTS = (
    "SELECT atom, search, seed, status, barrier, displacement, lanczos_calls FROM searches"
    " ORDER BY atom, search"
)


def write_crystal(folder: Path) -> Path:
    """A relaxed 3×3×3 crystal."""
    path = folder / "crystal.xyz"
    write(path, relaxed(vacancy("Cu", 3.615, repeat=3), COPPER), format="extxyz")
    return path


def label(crystal: Path, catalog: Path, *options: str) -> list[str]:
    return ["label", str(crystal), *POTENTIAL, "-o", str(catalog), *options]


def rows(path: Path, query: str = EVENTS) -> list[tuple]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def finished(catalog: Path) -> int:
    """How many searches are in a catalog, which need not exist yet."""
    try:
        return len(rows(catalog))
    except sqlite3.OperationalError:
        return 0


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """A `symgnn` of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "symgnn", *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(process: int) -> list[int]:
    """Its processes that search."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == process and b"spawn_main" in command:
            found.append(int(folder.name))
    return found
