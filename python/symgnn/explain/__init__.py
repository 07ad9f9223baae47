"""Why a model predicts the barrier that it predicts: edges and atoms that it comes from."""

from symgnn.explain.explanation import (
    Explanation,
    Fidelity,
    Provenance,
    read_explanations,
    read_provenance,
    write_explanations,
)

__all__ = [
    "Explanation",
    "Fidelity",
    "Provenance",
    "read_explanations",
    "read_provenance",
    "write_explanations",
]
