"""Telling structures apart, and naming some of the atoms of one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from symgnn.columns import number_columns
from symgnn.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms


def structure_checksum(atoms: Atoms) -> str:
    """sha256 of elements, cell, periodicity and positions."""
    digest = hashlib.sha256()
    for values in (atoms.numbers.astype("<i8"), atoms.cell.array, atoms.pbc, atoms.positions):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def chosen_atoms(choice: str, atoms: Atoms) -> list[int]:
    """Indices, from 0, of ``all`` atoms, ``random:N``, an element, or those listed: ``0,5,10-19``.

    ``random:N`` is decided by the structure, and contains ``random:M`` of any smaller M.
    ``column:NAME`` are the atoms whose value in that column of the structure's file is neither zero
    nor NaN.

    Raises:
        StructureError: atoms that the structure has not, or a choice of another form.
    """
    count = len(atoms)
    if choice == "all":
        return list(range(count))
    kind, _, number = choice.partition(":")
    if kind == "random" and number.isdecimal() and 0 < int(number) <= count:
        generator = np.random.default_rng(int(structure_checksum(atoms)[:32], 16))
        return sorted(generator.permutation(count)[: int(number)].tolist())
    if kind == "column":
        return _marked_atoms(number, atoms)
    symbols = atoms.get_chemical_symbols()
    if choice in symbols:
        return [index for index, symbol in enumerate(symbols) if symbol == choice]
    chosen: list[int] = []
    for part in choice.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise StructureError(
                f"--atoms {choice}: write all, random:N with N up to {count}, one of the elements"
                f" {', '.join(sorted(set(symbols)))}, column:NAME, or indices from 0 such as"
                " 0,5,10-19"
            )
        low, high = int(first), int(last or first)
        if low > high:
            raise StructureError(f"--atoms {choice}: {low}-{high} runs backwards")
        if high >= count:
            raise StructureError(
                f"--atoms {choice}: the {count} atoms have indices 0 to {count - 1}"
            )
        chosen.extend(range(low, high + 1))
    return chosen


def _marked_atoms(column: str, atoms: Atoms) -> list[int]:
    """Atoms whose value in a column of numbers or truth values is neither zero nor NaN."""
    columns = number_columns(atoms)
    if column not in columns:
        raise StructureError(
            f"--atoms column:{column}: the structure has no such column of numbers; those it has:"
            f" {', '.join(sorted(columns)) or 'none'}"
        )
    marked: list[int] = np.flatnonzero(np.nan_to_num(columns[column])).tolist()
    if not marked:
        raise StructureError(f"--atoms column:{column}: no atom has a value other than zero")
    return marked
