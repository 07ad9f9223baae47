"""Columns of a structure with one number per atom: which they are, and how they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from symgnn.keys import PREDICTIONS

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

_OF_ELEMENTS = ("numbers", "masses")
"""Arrays that the element of an atom stands for."""


def is_number_per_atom(values: NDArray[Any], atoms: Atoms) -> bool:
    """Whether values are whole or real numbers, one for each of N atoms."""
    return values.shape == (len(atoms),) and values.dtype.kind in "fiu"


def number_columns(atoms: Atoms) -> dict[str, NDArray[Any]]:
    """All columns of one number per atom, predictions first; yes and no are 1 and 0.

    Those that ASE's readers give to a calculator (energies, charges, magnetic moments) are among
    them, atomic numbers and masses are not.
    """
    results = {} if atoms.calc is None else atoms.calc.results
    found = {}
    for name, values in {**results, **atoms.arrays}.items():
        column = np.asarray(values)
        column = column.astype(np.int8) if column.dtype == bool else column
        if name not in _OF_ELEMENTS and is_number_per_atom(column, atoms):
            found[name] = column
    first = {name: found[name] for name in PREDICTIONS if name in found}
    return first | found


def words_of(name: str, values: NDArray[Any]) -> list[str]:
    """A column [N] as text: predictions with eight digits, others with as many as they have."""
    if name in PREDICTIONS:
        return [f"{value:.8g}" for value in values.tolist()]
    if values.dtype == np.float64:  # the shortest that reads the same
        return [repr(value).removesuffix(".0") for value in values.tolist()]
    return [str(word).removesuffix(".0") for word in values.astype(str)]
