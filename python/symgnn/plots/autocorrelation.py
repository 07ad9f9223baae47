"""How alike the barriers of two atoms are, by their distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure

from symgnn.errors import StructureError
from symgnn.plots.frames import barriers_of
from symgnn.plots.pairs import FEWEST_PAIRS, pairs_within
from symgnn.plots.style import SERIES, remove_frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from numpy.typing import NDArray

WIDTH: Final = 0.25
"""Å, of a bin."""
PERMUTATIONS: Final = 200
BAND: Final = (2.5, 97.5)
"""Percentiles of the permutations between which the null band lies."""


@dataclass(frozen=True)
class Autocorrelation:
    """Spatial autocorrelation of barriers, averaged over frames. B bins."""

    distance: NDArray[np.float64]
    """[B], Å, centers of the bins."""
    value: NDArray[np.float64]
    """[B]: covariance of the barriers of two atoms at this distance over the variance of all; NaN
    where fewer than ``FEWEST_PAIRS`` pairs are."""
    null: NDArray[np.float64]
    """[B, 2]: 95% of permutations of the barriers among atoms of the same element lie between."""


def autocorrelation(frames: Iterable[Atoms], cutoff: float, seed: int = 0) -> Autocorrelation:
    """C(r) = ⟨δb_i δb_j⟩ / ⟨δb²⟩ over pairs at distance r, δb = b − ⟨b⟩, and what chance gives.

    The null model keeps the positions, the elements, and the barriers of each element, and permutes
    them among its atoms. Where its band does not contain 0, that is chemical order: elements with
    different barriers are not placed at random. Pairs are averaged, so that neither periodic images
    nor open surfaces need a normalization. The band holds for one distance at a time.

    Args:
        frames: see :func:`symgnn.plots.frames.iterate_annotated`. Atoms without a barrier do not
            count. Sums run over all frames, each with its own mean and variance; frames of one
            trajectory are not independent, so that the band is then too narrow.
        cutoff: Å.
        seed: of the permutations.

    Raises:
        StructureError: all barriers equal, or too many pairs.
    """
    bins = max(1, round(cutoff / WIDTH))
    edges = np.linspace(0.0, cutoff, bins + 1)
    generator = np.random.default_rng(seed)
    pairs = np.zeros(bins)
    sums = np.zeros((1 + PERMUTATIONS, bins))
    for atoms in frames:
        found, products = _sums(atoms, edges, generator)
        pairs += found
        sums += products
    curves = sums / np.where(pairs < FEWEST_PAIRS, np.nan, pairs)
    return Autocorrelation(
        distance=(edges[1:] + edges[:-1]) / 2,
        value=curves[0],
        null=np.percentile(curves[1:], BAND, axis=0).T,
    )


def _sums(
    atoms: Atoms, edges: NDArray[np.float64], generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pairs by bin [B], and sums of products [1 + permutations, B]: as they are, then permuted."""
    atoms = atoms[~np.isnan(barriers_of(atoms))]
    barriers = barriers_of(atoms)
    spread = barriers.std()
    if spread < 1e-12:
        raise StructureError("all barriers are equal, so that nothing can be correlated")
    scaled = (barriers - barriers.mean()) / spread
    centers, neighbors, distance = pairs_within(atoms, float(edges[-1]))
    once = centers < neighbors  # each pair in one of its two directions
    place = np.digitize(distance[once], edges) - 1
    order = np.argsort(place, kind="stable")
    one, other, place = centers[once][order], neighbors[once][order], place[order]
    counts = np.bincount(place, minlength=len(edges) - 1)
    filled = np.flatnonzero(counts)
    starts = np.searchsorted(place, filled)
    sums = np.zeros((1 + PERMUTATIONS, len(counts)))
    for row in range(len(sums)):
        values = scaled if row == 0 else _permuted(scaled, atoms.numbers, generator)
        if len(filled):
            sums[row, filled] = np.add.reduceat(values[one] * values[other], starts)
    return counts.astype(np.float64), sums


def _permuted(
    values: NDArray[np.float64], numbers: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Values [N] exchanged among atoms of the same element."""
    result = values.copy()
    for number in np.unique(numbers):
        own = numbers == number
        result[own] = generator.permutation(values[own])
    return result


def draw(found: Autocorrelation) -> Figure:
    """The autocorrelation over distance, and the band of the null model."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0.0, color="0.6", linewidth=0.8, linestyle=":")
    axes.fill_between(
        found.distance,
        *found.null.T,
        color=SERIES[0],
        alpha=0.4,
        linewidth=0,
        label="95% of permutations within elements",
    )
    axes.plot(
        found.distance, found.value, color=SERIES[1], marker="o", markersize=3, label="barriers"
    )
    axes.set(
        xlabel="distance (Å)", ylabel="autocorrelation of barriers", xlim=(0, found.distance[-1])
    )
    axes.legend(frameon=False, fontsize="small")
    remove_frame(axes)
    return figure
