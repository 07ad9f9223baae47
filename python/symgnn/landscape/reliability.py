"""How much of the differences between labels is real: variance components of a catalog.

A label is a mean of barriers that scatter within an atom. One-way random effects (Searle, Casella
and McCulloch, *Variance Components*, 1992, chapter 3) split the variance of barriers into that of
the atoms' true means and that within atoms. The reliability of a mean of n saddles is the share of
its variance that is real; its square root is the ceiling: the Pearson correlation that a model
would reach which knew every true mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from symgnn.landscape.labels import moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from symgnn.landscape.events import Tally

_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True)
class Reliability:
    """Variance components of the connected barriers of a catalog."""

    atoms: int
    """With a connected saddle."""
    saddles: float
    """Connected saddles of an atom: the number that the estimate of ``between`` rests on."""
    between: float
    """Standard deviation of the atoms' true means, eV; 0 where none is seen above the noise."""
    within: float
    """Standard deviation of barriers within an atom, eV."""

    @property
    def telling(self) -> bool:
        """Whether barriers differ at all."""
        return self.between > 0.0 or self.within > 0.0

    def of_mean(self, saddles: float) -> float:
        """Reliability, 0 to 1, of a mean of so many saddles; NaN where all barriers are equal."""
        if not self.telling:
            return math.nan
        real = self.between**2
        return real / (real + self.within**2 / saddles)

    def ceiling(self, saddles: float) -> float:
        """The highest Pearson correlation of any model with means of so many saddles."""
        return math.sqrt(self.of_mean(saddles))

    def saddles_for(self, ceiling: float) -> float:
        """How many saddles of each atom allow such a correlation; infinite without differences."""
        if self.between == 0.0:
            return math.inf
        return (self.within / self.between) ** 2 * ceiling**2 / (1.0 - ceiling**2)


def reliability(tally: Tally) -> Reliability | None:
    """Variance components of a catalog; None without two atoms and a second saddle of one."""
    return _components(*_of_atoms(tally))


def ceiling_interval(tally: Tally, saddles: float, seed: int = 0) -> tuple[float, float]:
    """95% interval of ``Reliability.ceiling(saddles)``: percentile bootstrap over atoms.

    NaN where no resample has a ceiling.
    """
    number, mean, squares = _of_atoms(tally)
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(_RESAMPLES):
        drawn = generator.integers(len(number), size=len(number))
        components = _components(number[drawn], mean[drawn], squares[drawn])
        if components is not None and components.telling:
            found.append(components.ceiling(saddles))
    if not found:
        return math.nan, math.nan
    outside = 50.0 * (1.0 - _LEVEL)
    low, high = np.percentile(found, [outside, 100.0 - outside])
    return float(low), float(high)


def halves(tally: Tally) -> tuple[float, float, int]:
    """Do two halves of the searches agree as the components say?

    The connected saddles of an atom go to one half and the other by turns, in the order of their
    searches; atoms with one saddle take no part.

    Returns:
        Pearson correlation of the two means, what the components predict for it, and the number of
        atoms. NaN where there are fewer than three atoms, or all barriers are equal.
    """
    components = reliability(tally)
    atom, barrier = tally.atom[tally.connected], tally.barrier[tally.connected]
    turn = np.arange(len(atom)) - np.searchsorted(atom, atom)
    count = len(tally.searches)
    first, second = (moments(atom[turn % 2 == k], barrier[turn % 2 == k], count) for k in (0, 1))
    both = (first[0] > 0) & (second[0] > 0)
    if components is None or not components.telling or both.sum() < 3:
        return np.nan, np.nan, int(both.sum())
    measured = np.corrcoef(first[1][both], second[1][both])[0, 1]
    noise = [components.within**2 * np.mean(1.0 / half[0][both]) for half in (first, second)]
    real = components.between**2
    predicted = real / np.sqrt((real + noise[0]) * (real + noise[1]))
    return float(measured), float(predicted), int(both.sum())


def _of_atoms(tally: Tally) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Number, mean and squared deviations of the connected saddles of each atom that has one."""
    number, mean, squares = moments(
        tally.atom[tally.connected], tally.barrier[tally.connected], len(tally.searches)
    )
    known = number > 0
    return number[known], mean[known], squares[known]


def _components(
    number: NDArray[np.int64], mean: NDArray[np.float64], squares: NDArray[np.float64]
) -> Reliability | None:
    atoms, total = len(number), int(number.sum())
    if atoms < 2 or total == atoms:
        return None
    within = squares.sum() / (total - atoms)
    overall = (number * mean).sum() / total
    of_means = (number * (mean - overall) ** 2).sum() / (atoms - 1)
    each = (total - np.square(number).sum() / total) / (atoms - 1)
    between = max((of_means - within) / each, 0.0)
    return Reliability(atoms, float(each), float(np.sqrt(between)), float(np.sqrt(within)))
