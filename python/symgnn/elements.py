"""Chemical symbols, and the LAMMPS types that stand for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase.data import atomic_numbers

from symgnn.errors import StructureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


def symbols_of_types(types: NDArray[np.int64], elements: Sequence[str]) -> list[str]:
    """Chemical symbol of each atom from its 1-based LAMMPS type.

    Raises:
        StructureError: an unknown symbol, or a type beyond the list.
    """
    check_elements(elements)
    if len(types) and (types.min() < 1 or types.max() > len(elements)):
        wrong = types.max() if types.max() > len(elements) else types.min()
        raise StructureError(
            f"there are atoms of type {wrong}, but the element names are {', '.join(elements)}:"
            " name one element for each LAMMPS type"
        )
    return [elements[kind - 1] for kind in types]


def check_elements(elements: Sequence[str]) -> None:
    """Raises StructureError for a name that is no chemical symbol."""
    for element in elements:
        if atomic_numbers.get(element, 0) == 0:
            raise StructureError(
                f"{element!r} is not a chemical symbol: write symbols such as Cu and Zr"
            )
