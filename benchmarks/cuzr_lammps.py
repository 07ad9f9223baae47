"""Cu-Zr glasses in LAMMPS with the 2009 potential, for the scripts that let them move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ase.io

from symgnn.lammps_process import run_lammps
from symgnn.potentials import CUZR_2009, write_potential

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

INTERACTIONS = f"""\
mass          1 63.546
mass          2 91.224
pair_style    eam/fs
pair_coeff    * * {CUZR_2009} Cu Zr"""

GLASS = f"""\
units         metal
boundary      p p p
atom_modify   map array
read_data     glass.data
{INTERACTIONS}
"""
"""How every script of :func:`run_glass` begins."""


def run_glass(folder: Path, glass: Atoms, script: str) -> None:
    """Run LAMMPS on a glass in a folder.

    Args:
        folder: where LAMMPS runs and writes.
        glass: of Cu and Zr, periodic.
        script: what follows ``GLASS``.

    Raises:
        SymGNNError: as :func:`run_with_potential`.
    """
    ase.io.write(folder / "glass.data", glass, format="lammps-data", specorder=["Cu", "Zr"])
    run_with_potential(folder, GLASS + script)


def run_with_potential(folder: Path, script: str) -> None:
    """Run LAMMPS in a folder that gets the potential.

    Raises:
        SymGNNError: LAMMPS fails, with its error.
    """
    write_potential(folder)
    (folder / "in.run").write_text(script, encoding="utf-8")
    run_lammps("in.run", folder)
