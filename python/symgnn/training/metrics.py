"""How well predicted barriers agree with labels, and how far to trust that agreement."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from symgnn.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTREME_FRACTION = 0.05
"""Share of the atoms that count as those with the lowest, and with the highest, barriers."""

NOMINAL_COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.8, 0.9, 0.95, 0.99)
"""Probabilities of the central intervals whose coverage is counted."""

BOOTSTRAP_SAMPLES, BOOTSTRAP_SEED, BOOTSTRAP_LEVEL = 10_000, 0, 0.95

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
    bias: float
    """Mean of prediction − label, eV."""
    slope: float
    """Of the straight line from prediction to label (least squares): 1 if calibrated. 0 where all
    predictions are equal."""
    intercept: float
    """Of the same line, eV: 0 if calibrated."""
    auc_lowest: float
    """Probability that one of the atoms with the 5% lowest labels is predicted lower than one of
    the others (area under the receiver operating characteristic): .5 is chance."""
    auc_highest: float
    """The same for the 5% highest labels, predicted higher."""
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
    prediction, label = _labeled(prediction, label)
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
    pearson = 0.0 if constant else float(stats.pearsonr(prediction, label).statistic)
    slope = 0.0 if constant else pearson * float(label.std() / prediction.std())
    return Metrics(
        pearson=pearson,
        spearman=0.0 if constant else float(stats.spearmanr(prediction, label).statistic),
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
        bias=float(error.mean()),
        slope=slope,
        intercept=float(label.mean() - slope * prediction.mean()),
        auc_lowest=0.5 if constant else _auc(-prediction, lowest(label)),
        auc_highest=0.5 if constant else _auc(prediction, lowest(-label)),
        atoms=int(label.size),
    )


def lowest(label: Values, fraction: float = EXTREME_FRACTION) -> NDArray[np.bool_]:
    """Which of the labels [N] are the lowest ``fraction``, at least one and never all.

    Labels that tie across the border are left out, unless that leaves none: then all of them
    count. Labels must not all be equal.
    """
    count = max(1, round(fraction * label.size))
    border = np.partition(label, count)[count]
    below: NDArray[np.bool_] = label < border
    return below if below.any() else label <= border


def _auc(score: Values, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by the Mann–Whitney statistic; tied scores count one half."""
    count = int(positive.sum())
    ranks = stats.rankdata(score)[positive].sum()
    return float((ranks - count * (count + 1) / 2) / (count * (score.size - count)))


def _labeled(prediction: Values, label: Values, *others: Values) -> tuple[NDArray[np.float64], ...]:
    there = ~np.isnan(label)
    return tuple(values[there].astype(np.float64) for values in (prediction, label, *others))


# --- uncertainty ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """Share of labels inside the central intervals of a predicted normal distribution."""

    nominal: tuple[float, ...]
    observed: tuple[float, ...]
    """As long as ``nominal``; equal to it if the standard deviations are right."""

    def at(self, nominal: float) -> float:
        """Observed coverage of one nominal interval, such as ``at(0.68)``."""
        return self.observed[self.nominal.index(nominal)]

    def as_dict(self) -> dict[str, list[float]]:
        """Plain values, for JSON."""
        return {"nominal": list(self.nominal), "observed": list(self.observed)}


def compute_reliability(
    prediction: Values,
    std: Values,
    label: Values,
    nominal: Sequence[float] = NOMINAL_COVERAGES,
) -> Reliability:
    """Count labels [N] within z standard deviations [N] of the prediction [N], all eV.

    An interval of probability p reaches z = Φ⁻¹((1 + p)/2) standard deviations to either side.
    Atoms whose label is NaN do not count.

    Raises:
        DatasetError: no atom has a label.
    """
    prediction, label, std = _labeled(prediction, label, std)
    if not label.size:
        raise DatasetError("no labeled atoms: coverage cannot be counted; check the label column")
    error = np.abs(prediction - label)
    reach = stats.norm.ppf((1.0 + np.asarray(nominal)) / 2.0)
    return Reliability(tuple(nominal), tuple(float((error <= z * std).mean()) for z in reach))


# --- uncertainty of the scores themselves -----------------------------------------------------


@dataclass(frozen=True)
class Intervals:
    """Percentile bootstrap intervals of Pearson correlations over ``glasses`` glasses."""

    mean_pearson: tuple[float, float]
    """Of the mean over glasses of each glass's own correlation."""
    pooled_pearson: tuple[float, float]
    """Of the correlation over all atoms of all glasses."""
    glasses: int
    level: float
    samples: int
    seed: int


def bootstrap_over_glasses(
    predictions: Sequence[Values],
    labels: Sequence[Values],
    *,
    samples: int = BOOTSTRAP_SAMPLES,
    seed: int = BOOTSTRAP_SEED,
    level: float = BOOTSTRAP_LEVEL,
) -> Intervals:
    """Resample whole glasses with replacement: what another choice of glasses might have given.

    Atoms of one glass are no independent samples of what differs between glasses, so glasses are
    drawn and not atoms. The seed is fixed: the same input gives the same interval. With few
    glasses the intervals are too short rather than too long.

    Args:
        predictions: one array [N] per glass, eV.
        labels: the same for the labels, eV; NaN does not count.
        samples: number of resamplings.
        seed: of the random choice of glasses.
        level: probability that the interval is meant to hold.

    Raises:
        DatasetError: fewer than two glasses, or one that :func:`compute_metrics` refuses.
    """
    if len(labels) < 2:
        raise DatasetError(
            f"{len(labels)} labeled glasses: an interval over glasses needs at least two"
        )
    pairs = list(zip(predictions, labels, strict=True))
    each = [compute_metrics(*pair).pearson for pair in pairs]
    labeled = [_labeled(*pair) for pair in pairs]
    # Numbers close to zero lose no digits in sums of squares, and a correlation has no origin.
    middle_p, middle_y = (np.concatenate(side).mean() for side in zip(*labeled, strict=True))
    moments = [moments_of(p - middle_p, y - middle_y) for p, y in labeled]
    return bootstrap_of_moments(each, moments, samples=samples, seed=seed, level=level)


def bootstrap_of_moments(
    pearson: Sequence[float],
    moments: Sequence[Values],
    *,
    samples: int = BOOTSTRAP_SAMPLES,
    seed: int = BOOTSTRAP_SEED,
    level: float = BOOTSTRAP_LEVEL,
) -> Intervals:
    """As :func:`bootstrap_over_glasses`, for whoever kept no more of each glass than this.

    Args:
        pearson: correlation of each glass.
        moments: of each glass, [6] each, as :func:`moments_of` gives them.
        samples: number of resamplings.
        seed: of the random choice of glasses.
        level: probability that the interval is meant to hold.
    """
    count = len(moments)
    chosen = np.random.default_rng(seed).integers(count, size=(samples, count))
    edges = [50.0 * (1.0 - level), 50.0 * (1.0 + level)]

    def interval(values: NDArray[np.float64]) -> tuple[float, float]:
        low, high = np.percentile(values, edges)
        return float(low), float(high)

    return Intervals(
        mean_pearson=interval(np.array(pearson)[chosen].mean(axis=1)),
        pooled_pearson=interval(pearson_of_moments(np.stack(moments)[chosen].sum(axis=1))),
        glasses=count,
        level=level,
        samples=samples,
        seed=seed,
    )


def moments_of(prediction: Values, label: Values) -> NDArray[np.float64]:
    """Count and sums of p, y, p², y², p·y [6]: what a pooled correlation is made of.

    Args:
        prediction: [N], eV.
        label: [N], eV; NaN does not count.
    """
    prediction, label = _labeled(prediction, label)
    return np.array(
        [
            label.size,
            prediction.sum(),
            label.sum(),
            prediction @ prediction,
            label @ label,
            prediction @ label,
        ]
    )


def pearson_of_moments(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlations [...] of moments [..., 6]; 0 where predictions have no spread."""
    count, p, y, pp, yy, py = np.moveaxis(moments, -1, 0)
    spread = count * pp - p**2
    constant = spread <= (count * _SMALLEST_SPREAD) ** 2
    divisor = np.sqrt(np.where(constant, 1.0, spread) * (count * yy - y**2))
    return np.where(constant, 0.0, (count * py - p * y) / divisor)
