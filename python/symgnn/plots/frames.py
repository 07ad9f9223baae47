"""Structures that carry energy barriers, as the pictures want them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from symgnn.columns import is_number_per_atom, number_columns
from symgnn.errors import StructureError
from symgnn.graph import check_finite
from symgnn.keys import ENERGY_BARRIER
from symgnn.structures import STANDARD_STREAM, iterate_structures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray


def iterate_annotated(
    path: str | Path,
    *,
    column: str = ENERGY_BARRIER,
    elements: Sequence[str] | None = None,
    index: int | str = ":",
    report: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[Atoms]:
    """Structures of a file one at a time, each with the array ``energy_barrier``, eV.

    Those whose barriers are all exactly 0 are left out: a live run writes such a frame before it
    has its first average of positions.

    Args:
        path: anything ``read_structures`` reads.
        column: per-atom column with the barriers, such as the ``c_barrier`` of a LAMMPS dump.
        elements: LAMMPS type → element map, for formats that need one.
        index: which structures, as in ASE.
        report: called with the name of the file after each structure.
        note: called at the end with a line about structures that were left out.

    Raises:
        StructureError: as ``read_structures``, no structures, positions or a cell that are not
            finite, or no barriers in that column.
    """
    number, left_out = -1, []
    for number, atoms in enumerate(iterate_structures(path, elements=elements, index=index)):
        check_finite(atoms.positions, atoms.cell.array, f"{_shown(path)}, structure {number}")
        atoms.arrays[ENERGY_BARRIER] = column_of(atoms, column, path, number)
        if has_barriers(atoms):
            yield atoms
        else:
            left_out.append(number)
        if report is not None:
            report(str(path))
    if number < 0:
        raise StructureError(f"{path}: --index {index} selects no structures")
    if len(left_out) > number:
        raise StructureError(
            f"{_shown(path)}: {all_zero(column)}: choose later frames with --index, or another"
            " --column"
        )
    if left_out and note is not None:
        note(f"{_shown(path)}, frame {', '.join(map(str, left_out))}: {all_zero(column)}: left out")


def barriers_of(atoms: Atoms) -> NDArray[np.float64]:
    """Barriers [N] of a structure from :func:`iterate_annotated`, eV; NaN where there is none."""
    return np.asarray(atoms.arrays[ENERGY_BARRIER], dtype=np.float64)


def has_barriers(atoms: Atoms) -> bool:
    """Whether a barrier is anything but 0, as in frames before the first average of a live run."""
    return bool(np.nan_to_num(barriers_of(atoms)).any())


def all_zero(column: str) -> str:
    """What is said of a frame without barriers."""
    return f"all values of {column} are 0 (before the first average?)"


def _shown(path: str | Path) -> str:
    return "standard input" if str(path) == STANDARD_STREAM else str(path)


def column_of(atoms: Atoms, column: str, path: str | Path, number: int) -> NDArray[np.float64]:
    """Barriers [N] in a column of a structure, eV; NaN where there is none.

    Args:
        atoms: the structure.
        column: its name.
        path: of the file, for messages.
        number: of the structure in it, for messages.

    Raises:
        StructureError: there is no such column of numbers, or nothing in it.
    """
    values = atoms.arrays.get(column)
    where = _shown(path)
    if values is None or not is_number_per_atom(values, atoms):
        others = ", ".join(number_columns(atoms))
        raise StructureError(
            f"{where} has no per-atom column {column} (columns there: {others or 'none'}): name it"
            f" with --column, or make one with `symgnn annotate {path} -o annotated.xyz`"
        )
    barriers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(barriers).any():
        raise StructureError(
            f"{where}, structure {number}: no atom has a value in the column {column};"
            " name another with --column"
        )
    return np.where(np.isfinite(barriers), barriers, np.nan)
