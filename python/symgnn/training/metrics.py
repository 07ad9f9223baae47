"""How well predicted barriers agree with labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..errors import DatasetError

_SMALLEST_SPREAD = 1e-9
"""eV; predictions closer together are equal, and rounding alone would order them."""

Values = NDArray[np.floating]


@dataclass(frozen=True)
class Metrics:
    """Agreement of prediction and label over ``atoms`` labeled atoms; errors in eV."""

    pearson: float
    spearman: float
    mae: float
    rmse: float
    atoms: int

    def as_dict(self) -> dict[str, float]:
        """Plain numbers, for JSON and CSV."""
        return asdict(self)


def compute_metrics(prediction: Values, label: Values) -> Metrics:
    """Compare prediction [N] with label [N], both eV; atoms whose label is NaN do not count.

    Raises:
        DatasetError: fewer than two labeled atoms, or labels without spread, for which a
            correlation is undefined.
    """
    labeled = ~np.isnan(label)
    prediction, label = prediction[labeled].astype(float), label[labeled].astype(float)
    if label.size < 2:
        raise DatasetError(
            f"{label.size} labeled atoms: a correlation needs at least two; check the label column"
        )
    if np.ptp(label) == 0.0:
        raise DatasetError(
            f"all {label.size} labels equal {label[0]:g}: their Pearson correlation is undefined"
        )
    constant = np.ptp(prediction) < _SMALLEST_SPREAD
    error = prediction - label
    return Metrics(
        pearson=0.0 if constant else float(stats.pearsonr(prediction, label).statistic),
        spearman=0.0 if constant else float(stats.spearmanr(prediction, label).statistic),
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
        atoms=int(label.size),
    )
