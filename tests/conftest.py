"""Fixtures that every test file may use."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture
def children_heed_ctrl_c() -> Iterator[None]:
    """Processes started in the test heed SIGINT, even if the tests were started to ignore it.

    Shells start background jobs so, and what ignores a signal passes that on.
    """
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the published glasses, which is not part of the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the published glasses in ../shared/data, which are not distributed")
    return SHARED_DATA


def random_glass(atoms_per_side: int, seed: int, spacing: float = 2.65) -> Atoms:
    """Cu64Zr36 on a strongly rattled simple cubic lattice: disordered, no overlaps."""
    generator = np.random.default_rng(seed)
    count = atoms_per_side**3
    grid = np.indices((atoms_per_side,) * 3).reshape(3, -1).T * spacing
    zirconium = generator.permutation(count) < round(0.36 * count)
    return Atoms(
        np.where(zirconium, "Zr", "Cu").tolist(),
        positions=grid + generator.uniform(-0.35, 0.35, (count, 3)),
        cell=[atoms_per_side * spacing] * 3,
        pbc=True,
    )


@pytest.fixture
def glass() -> Atoms:
    """A periodic Cu64Zr36 box of 125 atoms, 13.25 Å wide; a fresh copy for every test."""
    return random_glass(5, seed=1)
