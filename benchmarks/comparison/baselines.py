"""Simple baselines: functions from labeled glasses, and glasses to predict, to barriers.

Every one has the signature of :data:`Predict`; ``BASELINES`` names them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

import cuzr_lammps
import local_sampling
from symgnn.errors import DatasetError
from symgnn.training.metrics import compute_metrics

from . import densities
from .glasses import Glass, code_of

if TYPE_CHECKING:
    from types import ModuleType

Array = NDArray[np.floating]
Predict = Callable[[Sequence[Glass], Sequence[Glass], int], list[NDArray[np.float64]]]
"""``predict(train, targets, seed)``: barriers [N] of each target, eV, from the labels of train."""

STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)
TREES = {
    "max_iter": 600,
    "learning_rate": 0.1,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 50,
    "max_features": 0.1,
    "max_bins": 63,
}
_SMALLEST_SCALE = 1e-9  # of a feature; one that does not vary gets no weight


@dataclass(frozen=True)
class Baseline:
    """A function, whether its seed makes a difference, and what code it uses beyond densities."""

    predict: Predict
    seeded: bool = False
    uses: tuple[ModuleType, ...] = ()


# --- features ---------------------------------------------------------------------------------


def _features(glass: Glass, kind: str) -> Array:
    """Features [N, F] of a kind, from disk if they were computed before."""
    compute = {
        "coarse": densities.coarse_features,
        "radial": densities.radial_features,
        "angular": densities.angular_features,
    }[kind]
    return glass.quantity(kind, code_of(densities), lambda: compute(glass.atoms))


def _stacked(glass: Glass, kinds: Sequence[str]) -> Array:
    return np.hstack([_features(glass, kind) for kind in kinds])


def _of_element(glass: Glass, number: int) -> NDArray[np.bool_]:
    """Labeled atoms [N] of one element."""
    return (glass.atoms.numbers == number) & ~np.isnan(glass.labels)


def _elements(train: Sequence[Glass], targets: Sequence[Glass]) -> list[int]:
    """Atomic numbers of the targets, each of which must have a label somewhere."""
    numbers = np.unique(np.concatenate([glass.atoms.numbers for glass in targets])).tolist()
    for number in numbers:
        if not any(_of_element(glass, number).any() for glass in train):
            raise DatasetError(f"no atom with atomic number {number} has a label to train on")
    return numbers


# --- element mean -----------------------------------------------------------------------------


def element_mean(
    train: Sequence[Glass], targets: Sequence[Glass], _seed: int
) -> list[NDArray[np.float64]]:
    """Mean label of the element over all training glasses."""
    predictions = [np.empty(len(glass.atoms)) for glass in targets]
    for number in _elements(train, targets):
        labels = np.concatenate([glass.labels[_of_element(glass, number)] for glass in train])
        for glass, prediction in zip(targets, predictions, strict=True):
            prediction[glass.atoms.numbers == number] = labels.mean()
    return predictions


# --- ridge regression -------------------------------------------------------------------------


@dataclass(frozen=True)
class Moments:
    """Sums over the n labeled atoms of one element in one glass, about their own means."""

    count: int
    features: Array
    """Mean features [F]."""
    label: float
    """Mean label, eV."""
    gram: Array
    """[F, F]"""
    product: Array
    """Features times label, [F], eV."""


def moments(features: Array, label: Array) -> Moments:
    """Moments of features [n, F] and label [n]."""
    mean = features.mean(axis=0, dtype=np.float64)
    centered = features - mean
    return Moments(
        len(label),
        mean,
        float(label.mean()),
        centered.T @ centered,
        centered.T @ (label - label.mean()),
    )


def solve(
    glasses: Sequence[Moments], strength: float, *, fixed_effects: bool
) -> tuple[Array, float]:
    """Ridge weights [F] and intercept, on standardized features.

    With fixed effects every glass has an intercept of its own in the fit, so that only differences
    between atoms of one glass decide the weights; a new glass gets the mean intercept. Without
    them all glasses share one.
    """
    count = sum(glass.count for glass in glasses)
    gram = np.sum([glass.gram for glass in glasses], axis=0)
    product = np.sum([glass.product for glass in glasses], axis=0)
    shares = np.array([glass.count / count for glass in glasses])
    if fixed_effects:
        shares = np.full(len(glasses), 1.0 / len(glasses))
    means = np.stack([glass.features for glass in glasses])
    labels = np.array([glass.label for glass in glasses])
    if not fixed_effects:
        between = means - shares @ means
        weighted = between * (count * shares)[:, None]
        gram, product = gram + weighted.T @ between, product + weighted.T @ labels
    scale = np.sqrt(np.diag(gram) / count)
    used = np.where(scale > _SMALLEST_SCALE, 1.0 / np.maximum(scale, _SMALLEST_SCALE), 0.0)
    factor = cho_factor(gram * used * used[:, None] + strength * np.eye(len(gram)))
    weight = cho_solve(factor, product * used) * used
    return weight, float(shares @ (labels - means @ weight))


class Ridge:
    """One regression per element, over glasses whose moments are computed once."""

    def __init__(
        self,
        train: Sequence[Glass],
        elements: Sequence[int],
        kinds: Sequence[str],
        *,
        fixed_effects: bool,
    ) -> None:
        self.train, self.elements, self.kinds = train, elements, kinds
        self.fixed_effects = fixed_effects
        self.moments: dict[tuple[str, int], Moments] = {}
        for glass in train:
            features = _stacked(glass, kinds)
            for number in elements:
                chosen = _of_element(glass, number)
                if chosen.any():
                    self.moments[glass.name, number] = moments(
                        features[chosen], glass.labels[chosen]
                    )

    def predict(
        self, train: Sequence[Glass], target: Glass, strength: float
    ) -> NDArray[np.float64]:
        """Barriers [N] of a glass from some of the training glasses; NaN for elements they lack."""
        features = _stacked(target, self.kinds)
        prediction = np.full(len(features), np.nan)
        for number in self.elements:
            known = [
                self.moments[glass.name, number]
                for glass in train
                if (glass.name, number) in self.moments
            ]
            if known:
                weight, offset = solve(known, strength, fixed_effects=self.fixed_effects)
                own = target.atoms.numbers == number
                prediction[own] = features[own] @ weight + offset
        return prediction

    def choose_strength(self) -> float:
        """The strength with the best mean Pearson correlation, leaving out one glass at a time."""
        if len(self.train) < 2:
            raise DatasetError("ridge regression chooses its strength on two glasses or more")
        scores = []
        for strength in STRENGTHS:
            each = []
            for glass in self.train:
                others = [other for other in self.train if other is not glass]
                prediction = self.predict(others, glass, strength)
                known = np.where(np.isnan(prediction), np.nan, glass.labels)
                each.append(compute_metrics(prediction, known).pearson)
            scores.append(np.mean(each))
        return STRENGTHS[int(np.argmax(scores))]


def _ridge(*kinds: str, fixed_effects: bool) -> Predict:
    """Ridge regression on the features of these kinds."""

    def predict(
        train: Sequence[Glass], targets: Sequence[Glass], _seed: int
    ) -> list[NDArray[np.float64]]:
        ridge = Ridge(train, _elements(train, targets), kinds, fixed_effects=fixed_effects)
        strength = ridge.choose_strength()
        return [ridge.predict(train, glass, strength) for glass in targets]

    return predict


# --- gradient-boosted trees -------------------------------------------------------------------


def boosted_trees(
    train: Sequence[Glass], targets: Sequence[Glass], seed: int
) -> list[NDArray[np.float64]]:
    """Histogram gradient boosting (scikit-learn) per element, on radial and angular densities."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    kinds = ("radial", "angular")
    predictions = [np.empty(len(glass.atoms)) for glass in targets]
    for number in _elements(train, targets):
        rows = [(glass, _of_element(glass, number)) for glass in train]
        features = np.vstack([_stacked(glass, kinds)[chosen] for glass, chosen in rows])
        labels = np.concatenate([glass.labels[chosen] for glass, chosen in rows])
        trees = HistGradientBoostingRegressor(early_stopping=False, random_state=seed, **TREES)
        trees.fit(features, labels)
        for glass, prediction in zip(targets, predictions, strict=True):
            own = glass.atoms.numbers == number
            prediction[own] = trees.predict(_stacked(glass, kinds)[own])
    return predictions


# --- local sampling ---------------------------------------------------------------------------


def sampled_displacement(glass: Glass, seed: int) -> Array:
    """Mean-square displacement [N] at 300 K, Å², from disk if it was computed before."""
    return glass.quantity(
        f"msd-{seed}",
        f"{cuzr_lammps.GLASS}{local_sampling.INPUT} {seed}",
        lambda: local_sampling.mean_square_displacement(glass.atoms, seed),
    )


def sampled_motion(
    train: Sequence[Glass], targets: Sequence[Glass], seed: int
) -> list[NDArray[np.float64]]:
    """Minus the logarithm of the mean-square displacement at 300 K, scaled per element."""

    def feature(glass: Glass) -> Array:
        return -np.log(sampled_displacement(glass, seed))

    predictions = [np.empty(len(glass.atoms)) for glass in targets]
    for number in _elements(train, targets):
        rows = [(feature(glass), glass.labels, _of_element(glass, number)) for glass in train]
        x = np.concatenate([values[chosen] for values, _, chosen in rows])
        y = np.concatenate([labels[chosen] for _, labels, chosen in rows])
        slope, offset = np.polyfit(x, y, 1)
        for glass, prediction in zip(targets, predictions, strict=True):
            own = glass.atoms.numbers == number
            prediction[own] = slope * feature(glass)[own] + offset
    return predictions


BASELINES = {
    "element_mean": Baseline(element_mean),
    "ridge_coarse": Baseline(_ridge("coarse", fixed_effects=False)),
    "ridge_radial": Baseline(_ridge("radial", fixed_effects=True)),
    "ridge_angular": Baseline(_ridge("radial", "angular", fixed_effects=True)),
    "boosted_trees": Baseline(boosted_trees, seeded=True),
    "local_sampling": Baseline(sampled_motion, seeded=True, uses=(local_sampling, cuzr_lammps)),
}
"""By the name that a row's file gives after ``simple:``."""
