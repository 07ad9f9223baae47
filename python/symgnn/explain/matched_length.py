"""Do important edges have more of something than other edges of the same length?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class MatchedLength:
    """Counts on important edges against draws of as many other edges of the same lengths."""

    matched: int
    """Important edges that have others of their length: all numbers below are about them."""

    unmatched: int
    """Important edges that have none."""

    observed: float
    """Mean count of the important edges."""

    expected: float
    """Mean count of the edges drawn in their place."""

    ratio: float
    """Observed over expected; NaN where nothing is expected."""

    ratio_interval: tuple[float, float]
    """Observed over the 97.5% and 2.5% quantiles of the draws' means. It holds for the draws of
    random edges alone; how much atoms differ shows over atoms."""

    p_value: float
    """Two-sided: twice the share of draws that are as extreme, never below 2 / (draws + 1)."""


def compare_matched_length(
    counts: NDArray[np.int64],
    lengths: NDArray[np.float64],
    important: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    tolerance: float = 0.05,
    draws: int = 2000,
    groups: NDArray[np.int64] | None = None,
) -> MatchedLength:
    """Draw for every important edge another one that is not important but as long.

    Lengths decide how many rings pass through an edge, and models look at short edges first, so
    edges of any length would make an unfair comparison.

    Args:
        counts: [E], of each edge.
        lengths: [E], Å.
        important: [E].
        rng: of the draws.
        tolerance: largest difference of lengths, Å.
        draws: how many times.
        groups: [E], what else must be equal, such as the two elements.
    """
    kinds = np.zeros(len(counts), dtype=np.int64) if groups is None else groups
    others = np.flatnonzero(~important)
    own, drawn = [], []
    for edge in np.flatnonzero(important):
        alike = np.abs(lengths[others] - lengths[edge]) <= tolerance
        candidates = others[alike & (kinds[others] == kinds[edge])]
        if len(candidates):
            own.append(counts[edge])
            drawn.append(counts[rng.choice(candidates, draws)])
    unmatched = int(important.sum()) - len(own)
    nan = float("nan")
    if not own:
        return MatchedLength(0, unmatched, nan, nan, nan, (nan, nan), nan)
    observed = float(np.mean(own))
    means = np.mean(drawn, axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    as_high = (1 + (means >= observed).sum()) / (draws + 1)
    as_low = (1 + (means <= observed).sum()) / (draws + 1)
    return MatchedLength(
        len(own),
        unmatched,
        observed,
        float(means.mean()),
        _ratio(observed, float(means.mean())),
        (_ratio(observed, float(high)), _ratio(observed, float(low))),
        float(min(1.0, 2 * min(as_high, as_low))),
    )


def _ratio(observed: float, expected: float) -> float:
    return observed / expected if expected > 0 else float("nan")
