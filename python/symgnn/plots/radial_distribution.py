"""g(r): of all atoms, of pairs of elements, and around atoms with low and high barriers."""

from __future__ import annotations

import itertools
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure

from symgnn.plots.frames import barriers_of
from symgnn.plots.pairs import FEWEST_PAIRS, Sample, pairs_within
from symgnn.plots.style import HIGH_COLOR, LOW_COLOR, element_color, remove_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ase import Atoms
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

WIDTH: Final = 0.05
"""Å, of a bin."""
EXTREME: Final = 0.1
"""Share of atoms in the class of lowest, and of highest barriers."""
TOTAL: Final = "all atoms"
LOWEST, HIGHEST = f"lowest {EXTREME:.0%} of barriers", f"highest {EXTREME:.0%} of barriers"


@dataclass(frozen=True)
class RadialDistributions:
    """Pair correlations, averaged over frames. B bins; each is 1 for an ideal gas at any r."""

    distance: NDArray[np.float64]
    """[B], Å, centers of the bins."""
    by_barrier: dict[str, NDArray[np.float64]]
    """[B] each: around all atoms, around those with the lowest and the highest barriers."""
    by_elements: dict[str, NDArray[np.float64]]
    """[B] each, by pair: ``Cu-Zr``."""
    rare: frozenset[str]
    """Names of curves that are noise: fewer than ``FEWEST_PAIRS`` pairs for each Å of distance."""


def radial_distributions(frames: Iterable[Atoms], cutoff: float) -> RadialDistributions:
    """g(r) of annotated frames up to a distance.

    Counted pairs are divided by what the same atoms, placed at random, would have: for centers A
    and neighbors B, (|A|·|B| − |A ∩ B|) / V times the volume of the shell that lies inside of the
    sample. Periodic directions have no outside. Along open ones, the sample is the convex hull of
    the atoms, and the part of the shell inside of it is averaged over the very atoms that are
    centers, so that surfaces neither bend the tail of g(r) nor favor a class that prefers them.

    Args:
        frames: see :func:`symgnn.plots.frames.iterate_annotated`; the same elements in each.
        cutoff: Å.

    Raises:
        StructureError: atoms in one plane, too few atoms, or too many pairs.
    """
    edges = np.linspace(0.0, cutoff, max(1, round(cutoff / WIDTH)) + 1)
    counted: dict[str, NDArray[np.float64]] = {}
    expected: dict[str, NDArray[np.float64]] = {}
    for atoms in frames:
        sample = Sample(atoms)
        centers, neighbors, distance = pairs_within(atoms, cutoff)
        for name, (a, b) in _selections(atoms).items():
            chosen = a[centers] & b[neighbors]
            counts = np.histogram(distance[chosen], edges)[0]
            pairs = int(a.sum()) * int(b.sum()) - int((a & b).sum())
            ideal = pairs / sample.volume * sample.shells(a, edges)
            counted[name] = counted.get(name, 0.0) + counts
            expected[name] = expected.get(name, 0.0) + ideal
    with np.errstate(invalid="ignore", divide="ignore"):
        curves = {name: counted[name] / expected[name] for name in counted}
    classes = [name for name in (TOTAL, LOWEST, HIGHEST) if name in curves]
    return RadialDistributions(
        distance=(edges[1:] + edges[:-1]) / 2,
        by_barrier={name: curves.pop(name) for name in classes},
        by_elements=curves,
        rare=frozenset(
            name
            for name, counts in counted.items()
            if name != TOTAL and counts.sum() < FEWEST_PAIRS * cutoff
        ),
    )


def _selections(atoms: Atoms) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Masks [N] of centers and of neighbors, for each curve."""
    barriers = barriers_of(atoms)
    low, high = np.nanquantile(barriers, [EXTREME, 1 - EXTREME])
    everything = np.ones(len(atoms), dtype=bool)
    symbols = np.array(atoms.get_chemical_symbols())
    elements = [symbols == name for name in sorted(set(symbols.tolist()))]
    names = sorted(set(symbols.tolist()))
    pairs = itertools.combinations_with_replacement(zip(names, elements, strict=True), 2)
    return {
        TOTAL: (everything, everything),
        LOWEST: (barriers <= low, everything),
        HIGHEST: (barriers >= high, everything),
        **{f"{one}-{other}": (a, b) for (one, a), (other, b) in pairs},
    }


def draw(found: RadialDistributions) -> Figure:
    """By class of barrier at the left, by pair of elements at the right, without rare ones."""
    figure = Figure(figsize=(11.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = {TOTAL: "black", LOWEST: LOW_COLOR, HIGHEST: HIGH_COLOR}
    _draw_curves(left, found, found.by_barrier, colors)
    left.set_title("all neighbors, around", loc="left", fontsize="medium")
    pairs = {name: element_color(*name.split("-")) for name in found.by_elements}
    _draw_curves(right, found, found.by_elements, pairs)
    right.set_title("pairs of elements", loc="left", fontsize="medium")
    return figure


def _draw_curves(
    axes: Axes,
    found: RadialDistributions,
    curves: Mapping[str, NDArray[np.float64]],
    colors: Mapping[str, str],
) -> None:
    axes.axhline(1.0, color="0.6", linewidth=0.8, linestyle=":")
    for name, values in curves.items():
        if name not in found.rare:
            axes.plot(found.distance, values, color=colors[name], linewidth=1.3, label=name)
    if rare := [name for name in curves if name in found.rare]:
        text = textwrap.fill(f"too few pairs: {', '.join(rare)}", 30)
        axes.plot([], [], color="none", label=text)
    axes.set(xlabel="distance (Å)", ylabel="g(r)", xlim=(0, found.distance[-1]))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize="small")
    remove_frame(axes)
