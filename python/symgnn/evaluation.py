"""Predictions of an exported model against labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .annotator import Annotator
from .errors import DatasetError, StructureError
from .keys import ENERGY_BARRIER
from .training.dataset import read_labeled
from .training.metrics import Metrics, compute_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Evaluation:
    """Metrics over all atoms of all structures, and of each structure by name."""

    pooled: Metrics
    structures: dict[str, Metrics]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "pooled": self.pooled.as_dict(),
            "structures": {name: metrics.as_dict() for name, metrics in self.structures.items()},
        }


def evaluate_files(
    model: str,
    files: Sequence[Path],
    *,
    label: str = ENERGY_BARRIER,
    elements: Sequence[str] | None = None,
    device: str = "auto",
    threads: int = 0,
) -> Evaluation:
    """Predict every structure of ``files`` and compare with its per-atom column ``label``.

    Raises:
        DatasetError: a file without usable labels, or labels whose correlation is undefined.
        ModelError, StructureError: as :class:`symgnn.Annotator` and ``read_structures``.
    """
    annotator = Annotator(model, device=device, threads=threads)
    predictions, labels, structures = [], [], {}
    for file in files:
        labeled = read_labeled(file, label, elements=elements)
        for number, atoms in enumerate(labeled.structures):
            truth = np.asarray(atoms.arrays[label], dtype=float)
            name = str(file) if len(labeled.structures) == 1 else f"{file}:{number}"
            try:
                prediction = annotator.predict([atoms])[0][:, 0]
            except StructureError as error:
                raise StructureError(f"{name}: {error}") from error
            try:
                structures[name] = compute_metrics(prediction, truth)
            except DatasetError as error:
                raise DatasetError(f"{name}: {error}") from error
            predictions.append(prediction)
            labels.append(truth)
    return Evaluation(
        compute_metrics(np.concatenate(predictions), np.concatenate(labels)), structures
    )
