"""Names of the data that travel between files, arrays and tools, beside shape and meaning."""

from __future__ import annotations

from typing import Final

ENERGY_BARRIER: Final[str] = "energy_barrier"
"""`Atoms.arrays`, extended XYZ column, OVITO property: mean activation energy, eV, [N]."""

ENERGY_BARRIER_STD: Final[str] = "energy_barrier_std"
"""`Atoms.arrays`: standard uncertainty of the energy barrier, eV, [N]."""

ENERGY_BARRIER_OOD: Final[str] = "energy_barrier_ood"
"""`Atoms.arrays`: novelty of an atom's surroundings to the model, 0 to 1, [N]. One half: as far
from the training structures as the outermost percent of their own atoms."""

PREDICTIONS: Final = (ENERGY_BARRIER, ENERGY_BARRIER_STD, ENERGY_BARRIER_OOD)
"""All columns that a model may predict, in the order of its outputs."""

LABEL_SUFFIX: Final[str] = "_label"
"""Appended to the name of a column with labels where a prediction takes that name."""

LABEL_COLUMN: Final[str] = "symgnn_label"
"""`Atoms.info`: name of the column with labels that predictions were compared with."""

MODEL: Final[str] = "symgnn_model"
"""`Atoms.info`: name of the model that the barriers came from."""

MODEL_SHA256: Final[str] = "symgnn_model_sha256"
"""`Atoms.info`: SHA-256 of that model file, 64 hexadecimal digits."""

UNITS: Final[str] = "symgnn_units"
"""`Atoms.info`: unit of the barriers, always "eV"."""

METADATA_FILE: Final[str] = "symgnn.json"
"""Name of the metadata inside a model file."""
