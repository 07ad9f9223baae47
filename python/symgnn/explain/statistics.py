"""Where important edges lie, against random edges that are as many steps away and as long.

A mask selects edges near the explained atom, because a model looks there; nearness alone is thus no
finding. Every measure comes with null models: random edges of the same receptive field, as many as
are selected, drawn from all edges, from those whose centers are as many steps away, or from those
that are as long as well. Intervals come from resampling glasses, and atoms within them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from symgnn.explain.fidelity import LENGTH_BIN, RandomEdges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from symgnn.explain.explanation import Explanation

Floats = NDArray[np.float64]

FIRST_SHELL, MEDIUM_RANGE = 3.8, 7.0
"""Å: where the first shell of neighbors ends, and the medium range."""

ANYWHERE, SAME_STEPS, SAME_STEPS_AND_LENGTH = "anywhere", "same steps", "same steps and length"
NULLS: Final = (ANYWHERE, SAME_STEPS, SAME_STEPS_AND_LENGTH)
"""What random edges share with the selected ones."""

MEASURES: Final = {
    "distance": "mean distance of senders from the explained atom, Å",
    "explained atom": "share along which the explained atom itself sends to others",
    "first shell": f"share of senders within {FIRST_SHELL} Å, other than the explained atom",
    "medium range": f"share of senders at {FIRST_SHELL} to {MEDIUM_RANGE} Å",
    "beyond": f"share of senders beyond {MEDIUM_RANGE} Å",
    "length": "mean length of edges, Å",
    "other element": "share of edges between different elements",
    "angle": f"mean angle between edges below {FIRST_SHELL} Å of one center, degrees",
    "sharp angles": "share of these angles below 75 degrees",
}

BINS: Final = {
    "distance": np.arange(0.0, 21.01, 0.5),
    "length": np.arange(2.0, 7.01, 0.2),
    "angle": np.arange(40.0, 180.01, 10.0),
}
"""Of distances of senders (Å), lengths of edges (Å), and angles between bonds (degrees)."""


@dataclass(frozen=True)
class Comparison:
    """One measure of selected edges, against one null model."""

    measure: str
    null: str
    selected: float
    """Mean over explained atoms."""
    random: float
    """The same of random edges."""
    difference: float
    low: float
    high: float
    """Of the difference: ends of its 95% interval."""

    @property
    def survives(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True)
class Tables:
    """Measures of G explained atoms. M measures, in the order of MEASURES; NaN where undefined."""

    selected: Floats
    """[G, M]."""
    random: dict[str, Floats]
    """[G, M] for each null model, means over draws."""


def top(explanation: Explanation, scores: Floats, count: int) -> NDArray[np.bool_]:
    """[E]: the edges between different atoms with the highest scores [E]."""
    order = np.argsort(-scores, kind="stable")
    order = order[explanation.lengths[order] > 0.0][:count]
    selected = np.zeros(len(scores), dtype=np.bool_)
    selected[order] = True
    return selected


def edge_classes(explanation: Explanation, null: str) -> NDArray[np.int64]:
    """[E]: edges of one number may stand for each other in a null model."""
    lengths = explanation.lengths
    steps = explanation.hops[explanation.edges[:, 0]]
    bins = np.where(lengths > 0.0, 1 + (lengths // LENGTH_BIN).astype(np.int64), 0)
    if null == ANYWHERE:
        return np.minimum(bins, 1)  # edges to oneself are never selected
    if null == SAME_STEPS:
        return np.where(bins > 0, 1 + steps, 0)
    return np.where(bins > 0, bins + 1000 * steps, 0)


def measure(
    explanation: Explanation, symbols: NDArray[np.str_], selected: NDArray[np.bool_]
) -> Floats:
    """All measures [M] of selected edges [E]; ``symbols`` [A] are the elements of the images."""
    center, sender = explanation.edges[selected].T
    distance = np.linalg.norm(explanation.positions[sender], axis=1)
    vectors = explanation.positions[sender] - explanation.positions[center]
    found = angles(explanation, selected)
    return np.array(
        [
            distance.mean(),
            (sender == 0).mean(),
            ((sender != 0) & (distance < FIRST_SHELL)).mean(),
            ((distance >= FIRST_SHELL) & (distance < MEDIUM_RANGE)).mean(),
            (distance >= MEDIUM_RANGE).mean(),
            np.linalg.norm(vectors, axis=1).mean(),
            (symbols[center] != symbols[sender]).mean(),
            found.mean() if len(found) else np.nan,
            (found < 75.0).mean() if len(found) else np.nan,
        ]
    )


def angles(explanation: Explanation, selected: NDArray[np.bool_]) -> Floats:
    """Angles in degrees between selected edges that share a center and are no longer than bonds."""
    center, sender = explanation.edges[selected].T
    vectors = explanation.positions[sender] - explanation.positions[center]
    lengths = np.linalg.norm(vectors, axis=1)
    bonds = (lengths < FIRST_SHELL) & (lengths > 0.0)
    center, vectors = center[bonds], vectors[bonds] / lengths[bonds, None]
    # Edges are sorted by center: edge k meets edge k + 1, k + 2, … while the center is the same.
    found = []
    for offset in range(1, len(center)):
        same = center[offset:] == center[:-offset]
        if not same.any():
            break
        cosine = (vectors[offset:][same] * vectors[:-offset][same]).sum(axis=1)
        found.append(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    return np.concatenate(found) if found else np.zeros(0)


def tables(
    explanations: Sequence[Explanation],
    symbols: Sequence[NDArray[np.str_]],
    scores: Callable[[Explanation], Floats],
    count: int,
    *,
    draws: int = 20,
    seed: int = 0,
) -> Tables:
    """Measures of the top edges of each explained atom, and of random edges.

    Args:
        explanations: G of them.
        symbols: [N] of the structure of each.
        scores: gives [E], by which the top is chosen.
        count: edges in the top.
        draws: sets of random edges per atom and null model.
        seed: of these.
    """
    generator = np.random.default_rng(seed)
    selected: list[Floats] = []
    random: dict[str, list[Floats]] = {null: [] for null in NULLS}
    for explanation, names in zip(explanations, symbols, strict=True):
        elements = names[explanation.atoms]
        chosen = top(explanation, scores(explanation), count)
        selected.append(measure(explanation, elements, chosen))
        for null in NULLS:
            edges = RandomEdges(chosen, edge_classes(explanation, null))
            drawn = [measure(explanation, elements, edges.draw(generator)) for _ in range(draws)]
            random[null].append(_mean(np.array(drawn)))
    return Tables(np.array(selected), {null: np.array(rows) for null, rows in random.items()})


def histograms(
    explanations: Sequence[Explanation],
    scores: Callable[[Explanation], Floats],
    count: int,
    *,
    seed: int = 0,
) -> dict[str, dict[str, Floats]]:
    """Distributions of selected edges and of random ones, each explained atom weighted alike.

    Args:
        explanations: G of them.
        scores: gives [E], by which the top is chosen.
        count: edges in the top.
        seed: of the random edges, one set per atom and null model.

    Returns:
        For each of BINS, the shares [B] of its bins for ``selected`` and for each null model.
    """
    generator = np.random.default_rng(seed)
    rows: dict[str, dict[str, list[Floats]]] = {}
    for explanation in explanations:
        chosen = top(explanation, scores(explanation), count)
        sets = {"selected": chosen}
        for null in NULLS:
            edges = RandomEdges(chosen, edge_classes(explanation, null))
            sets[null] = edges.draw(generator)
        for name, drawn in sets.items():
            values = {
                "distance": explanation.distances[explanation.edges[drawn, 1]],
                "length": explanation.lengths[drawn],
                "angle": angles(explanation, drawn),
            }
            for quantity, bins in BINS.items():
                found = np.histogram(values[quantity], bins)[0]
                share = found / found.sum() if found.any() else np.full(len(found), np.nan)
                rows.setdefault(quantity, {}).setdefault(name, []).append(share)
    return {
        quantity: {name: _mean(np.array(shares)) for name, shares in named.items()}
        for quantity, named in rows.items()
    }


def overlap(
    explanations: Sequence[Explanation],
    scores: Callable[[Explanation], Floats],
    count: int,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Share of the random edges of each null model that are selected ones.

    Near one, the null model leaves no choice, and no difference means nothing. Arguments are those
    of ``histograms``.
    """
    generator = np.random.default_rng(seed)
    shares: dict[str, list[float]] = {null: [] for null in NULLS}
    for explanation in explanations:
        chosen = top(explanation, scores(explanation), count)
        for null in NULLS:
            drawn = RandomEdges(chosen, edge_classes(explanation, null)).draw(generator)
            shares[null].append(float(chosen[drawn].mean()))
    return {null: float(np.mean(values)) for null, values in shares.items()}


def compare(
    found: Tables, groups: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> list[Comparison]:
    """Selected against random edges, with 95% intervals.

    Args:
        found: measures of G explained atoms.
        groups: [G], the glass of each; glasses are resampled, then atoms within each of them.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    drawn = _resampled(np.array(groups), resamples, np.random.default_rng(seed))
    ends = _percentiles(groups)
    comparisons = []
    for column, name in enumerate(MEASURES):
        for null, random in found.random.items():
            selected, other = found.selected[:, column], random[:, column]
            known = np.isfinite(selected) & np.isfinite(other)
            difference = np.where(known, selected - other, np.nan)
            means = _mean(_at(difference, drawn))
            low, high = np.nanpercentile(means, ends)
            comparisons.append(
                Comparison(
                    name,
                    null,
                    float(_mean(selected[known])),
                    float(_mean(other[known])),
                    float(_mean(difference)),
                    float(low),
                    float(high),
                )
            )
    return comparisons


def interval(
    values: Floats, groups: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of values [G] and the ends of its 95% interval, by the same bootstrap."""
    drawn = _resampled(np.array(groups), resamples, np.random.default_rng(seed))
    low, high = np.nanpercentile(_mean(_at(values, drawn)), _percentiles(groups))
    return float(_mean(values)), float(low), float(high)


def _percentiles(groups: Sequence[str]) -> list[float]:
    """Of bootstrap means, the ends of a 95% interval.

    Beyond 2.5 and 97.5, because percentiles of few groups are too narrow; the expansion is that of
    Hesterberg, Am. Stat. 69, 371 (2015): Φ(−t √(n / (n − 1))) with Student's t of n − 1 degrees.
    """
    from scipy.stats import norm, t

    count = len(set(groups)) if len(set(groups)) > 1 else len(groups)
    if count < 2:
        return [2.5, 97.5]
    low = 100.0 * float(norm.cdf(t.ppf(0.025, count - 1) * np.sqrt(count / (count - 1))))
    return [low, 100.0 - low]


_NOBODY = -1


def _resampled(
    groups: NDArray[np.str_], resamples: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Indices [resamples, G']: groups with replacement, and members of each with replacement.

    Groups of unequal size give rows of unequal length; those are filled up with _NOBODY.
    """
    members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    rows = [
        np.concatenate(
            [
                generator.choice(members[group], len(members[group]))
                for group in generator.integers(len(members), size=len(members))
            ]
        )
        for _ in range(resamples)
    ]
    drawn = np.full((resamples, max(map(len, rows))), _NOBODY)
    for line, row in zip(drawn, rows, strict=True):
        line[: len(row)] = row
    return drawn


def _at(values: Floats, drawn: NDArray[np.int64]) -> Floats:
    """[G', resamples]: values [G] at indices [resamples, G'], NaN for _NOBODY."""
    return np.append(values, np.nan)[drawn].T


def _mean(values: Floats) -> Floats:
    """Mean over the first axis of what is no NaN; NaN where all is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
