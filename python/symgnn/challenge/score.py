"""Scores of a submission by the protocol of the challenge."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from symgnn.challenge.folder import BASELINE, EXAMPLES, TRAIN, Labels, read_labels
from symgnn.challenge.submission import Prediction, read_submission
from symgnn.errors import DatasetError
from symgnn.evaluation import Evaluation, StructureEvaluation
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD
from symgnn.training.metrics import compute_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ceiling:
    """Largest Pearson correlation that the noise of the labels allows."""

    pooled: float
    structures: dict[str, float]
    """By name."""

    @property
    def mean(self) -> float:
        """Over the structures."""
        return float(np.mean(list(self.structures.values())))


@dataclass(frozen=True)
class Scores:
    """Of a submission and, on the same atoms, of the baseline."""

    challenge: str
    track: str
    submission: Evaluation
    baseline: Evaluation | None
    ceiling: Ceiling | None
    """None where the labels state no standard errors."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "challenge": self.challenge,
            "track": self.track,
            "submission": self.submission.as_dict(),
            "baseline": None if self.baseline is None else self.baseline.as_dict(),
            "ceiling": None if self.ceiling is None else asdict(self.ceiling),
        }


def score(files: Sequence[Path], path: Path) -> Scores:
    """Compare a submission with labels.

    Args:
        files: of the submission, CSV or extended XYZ.
        path: labels, as :func:`symgnn.challenge.folder.read_labels` reads them.

    Raises:
        DatasetError: as ``read_labels`` and ``read_submission``, or labels without spread.
    """
    labels = read_labels(path)
    submission = compare(read_submission(files, labels), labels)
    baseline = _baseline(path, labels)
    return Scores(
        labels.challenge,
        labels.track,
        submission,
        None if baseline is None else compare(baseline, labels),
        noise_ceiling(labels.structures),
    )


def compare(predictions: dict[str, Prediction], labels: Labels) -> Evaluation:
    """Metrics of predictions by structure, in the order of names.

    Raises:
        DatasetError: labels whose correlation is undefined.
    """
    structures = []
    for name, atoms in sorted(labels.structures.items()):
        barrier, std = predictions[name].barrier, predictions[name].std
        label = atoms.arrays[ENERGY_BARRIER]
        try:
            metrics = compute_metrics(barrier, label)
        except DatasetError as error:
            raise DatasetError(f"{name}: {error}") from error
        structures.append(StructureEvaluation(name, barrier, std, label, metrics, None))
    return Evaluation(structures)


def noise_ceiling(structures: dict[str, Atoms]) -> Ceiling | None:
    """√(1 − mean squared standard error of labels / variance of labels), by structure and pooled.

    A prediction of the true means themselves has this correlation with noisy labels (attenuation;
    Spearman, American Journal of Psychology 15, 72, 1904). None where standard errors are unknown.
    """
    if not all(ENERGY_BARRIER_STD in atoms.arrays for atoms in structures.values()):
        return None
    label = {name: atoms.arrays[ENERGY_BARRIER] for name, atoms in structures.items()}
    error = {name: atoms.arrays[ENERGY_BARRIER_STD] for name, atoms in structures.items()}
    return Ceiling(
        _ceiling(np.concatenate(list(label.values())), np.concatenate(list(error.values()))),
        {name: _ceiling(values, error[name]) for name, values in sorted(label.items())},
    )


def _ceiling(label: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    noise = float(np.nanmean(error**2) / np.nanvar(label))
    return math.sqrt(max(0.0, 1.0 - noise))


def _baseline(path: Path, labels: Labels) -> dict[str, Prediction] | None:
    if labels.track == TRAIN:
        file = path / EXAMPLES[TRAIN]
        return read_submission([file], labels) if file.is_file() else None
    if not all(BASELINE in atoms.arrays for atoms in labels.structures.values()):
        return None
    return {
        name: Prediction(atoms.arrays[BASELINE], None) for name, atoms in labels.structures.items()
    }
