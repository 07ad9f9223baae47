"""Columns of a structure that hold labels: told from predictions, and kept beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from symgnn.columns import is_number_per_atom, number_columns
from symgnn.errors import DatasetError, StructureError
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_OOD, ENERGY_BARRIER_STD, LABEL_SUFFIX, MODEL

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


def is_predicted(atoms: Atoms) -> bool:
    """Whether ``energy_barrier`` came from a model.

    A LAMMPS dump or CSV file does not name the model, but only a model knows novelty.
    """
    return MODEL in atoms.info or ENERGY_BARRIER_OOD in atoms.arrays


def label_of(atoms: Atoms, label: str, where: str) -> NDArray[np.float64] | None:
    """The per-atom column ``label`` [N], NaN where an atom has none; None without such a column.

    Args:
        atoms: N atoms.
        label: name of the column.
        where: name of the structure, for messages.

    Raises:
        DatasetError: the column holds anything but one finite number or NaN per atom, or what a
            model predicted.
    """
    values = atoms.arrays.get(label)
    if values is None:
        return None
    if label == ENERGY_BARRIER and is_predicted(atoms):
        model = f"the model '{atoms.info[MODEL]}'" if MODEL in atoms.info else "a model"
        raise DatasetError(
            f"{where}: column {label!r} holds predictions of {model}, not labels; use the file "
            "from before it was annotated, or name the column with labels"
        )
    if not is_number_per_atom(values, atoms):
        raise DatasetError(f"{where}: column {label!r} is not one number per atom")
    numbers: NDArray[np.float64] = values.astype(np.float64)
    if np.isinf(numbers).any():
        raise DatasetError(f"{where}: column {label!r} holds infinite values")
    return numbers


def label_candidates(atoms: Atoms) -> str:
    """Names of the per-atom columns that could hold labels, for messages."""
    names = [
        name
        for name, values in number_columns(atoms).items()
        if name in atoms.arrays and values.dtype.kind == "f"
    ]
    return ", ".join(sorted(names)) or "none"


def keep_labels(atoms: Atoms) -> dict[str, str]:
    """Rename what may be labels, and their standard errors, before predictions take their names.

    ``energy_barrier`` becomes ``energy_barrier_label``; where there is such a column already, one
    more ``_label`` is appended.

    Returns:
        The new name of each renamed column; none where the barriers are predictions.

    Raises:
        StructureError: a column of that name which is not one number per atom.
    """
    if is_predicted(atoms):
        return {}
    renamed = {}
    for column in (ENERGY_BARRIER, ENERGY_BARRIER_STD):
        if column in atoms.arrays:
            if not is_number_per_atom(atoms.arrays[column], atoms):
                raise StructureError(
                    f"column {column!r} is not one number per atom, and predictions would take"
                    " its name: rename it"
                )
            name = column + LABEL_SUFFIX
            while name in atoms.arrays:
                name += LABEL_SUFFIX
            atoms.arrays[name] = atoms.arrays.pop(column)
            renamed[column] = name
    return renamed
