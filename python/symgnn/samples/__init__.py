"""The Cu64Zr36 glass that ships with SymGNN, and a LAMMPS run that is ready to start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from symgnn.files import make_folder, written_whole
from symgnn.potentials import write_potential
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

_FOLDER = Path(__file__).parent

GLASS: Final = "Cu64Zr36.data"
"""3,000 atoms at an energy minimum, quenched from 2000 K at 1e13 K/s with the 2009 potential.

``examples/sample_glass`` says how it was made and what was measured on it.
"""

INPUT: Final = "in.barriers"
"""A LAMMPS input that prints the barriers of the sample glass at 300 K."""


def sample_glass(elements: Sequence[str] | None = None) -> Atoms:
    """The sample glass: 3,000 atoms, periodic, Å.

    Args:
        elements: those that a model knows. Where Cu or Zr is not among them, the atoms take the
            first and the last of these instead, so that any model can be tried on a real glass.
    """
    atoms = read_structures(_FOLDER / GLASS)[0]
    if elements is not None and not {"Cu", "Zr"} <= set(elements):
        names = {"Cu": elements[0], "Zr": elements[-1]}
        atoms.symbols[:] = [names[symbol] for symbol in atoms.get_chemical_symbols()]
    return atoms


def sample_slab(atoms: int, elements: Sequence[str] | None = None) -> Atoms:
    """A slab of the sample glass, for measurements at any size.

    The glass is repeated until it has enough atoms, along z first, and cut along z: periodic along
    x and y, with two bare surfaces.

    Args:
        atoms: N.
        elements: as in :func:`sample_glass`.
    """
    slab, axis = sample_glass(elements), 2
    while len(slab) < atoms:
        slab = slab.repeat([2 if index == axis else 1 for index in range(3)])
        axis = (axis - 1) % 3
    lowest = np.argsort(slab.positions[:, 2], kind="stable")[:atoms]
    slab = slab[np.sort(lowest)]
    slab.pbc = [True, True, False]
    return slab


def write_sample(folder: str | Path) -> list[Path]:
    """Write the sample glass, its potential and the LAMMPS input into a folder.

    Returns:
        The paths of the three files; ``lmp -in in.barriers`` in the folder runs them.

    Raises:
        SymGNNError: the folder cannot be created or written to.
    """
    target = make_folder(folder)
    paths = []
    for name in (INPUT, GLASS):
        content = (_FOLDER / name).read_bytes()
        with written_whole(target / name) as unfinished:
            unfinished.write_bytes(content)
        paths.append(target / name)
    return [*paths, write_potential(target)]
