"""Per-atom energy barriers of metallic glasses.

The common objects load on first use, so that ``import symgnn`` is instant:

    from symgnn import Annotator, read_structures

    for atoms in read_structures("glass.xyz"):
        Annotator("cuzr").annotate(atoms)
        print(atoms.arrays["energy_barrier"])  # eV
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from symgnn.errors import SymGNNError

if TYPE_CHECKING:
    from symgnn.annotator import Annotator, SymGNNCalculator
    from symgnn.explain import Explainer, Explanation, ExplanationSettings, read_explanations
    from symgnn.structures import read_structures, write_structures

__version__ = "0.1.0"

__all__ = [
    "Annotator",
    "Explainer",
    "Explanation",
    "ExplanationSettings",
    "SymGNNCalculator",
    "SymGNNError",
    "__version__",
    "read_explanations",
    "read_structures",
    "write_structures",
]

_HOME = {
    "Annotator": "symgnn.annotator",
    "Explainer": "symgnn.explain",
    "Explanation": "symgnn.explain",
    "ExplanationSettings": "symgnn.explain",
    "SymGNNCalculator": "symgnn.annotator",
    "read_explanations": "symgnn.explain",
    "read_structures": "symgnn.structures",
    "write_structures": "symgnn.structures",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
