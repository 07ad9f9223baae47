"""Why a model predicts the barrier that it predicts: edges and atoms that it comes from."""

from symgnn.explain.explainer import Explainer, explain
from symgnn.explain.explanation import (
    Explanation,
    Fidelity,
    Provenance,
    read_explanations,
    read_provenance,
    write_explanations,
)
from symgnn.explain.settings import ExplanationSettings

__all__ = [
    "Explainer",
    "Explanation",
    "ExplanationSettings",
    "Fidelity",
    "Provenance",
    "explain",
    "read_explanations",
    "read_provenance",
    "write_explanations",
]
