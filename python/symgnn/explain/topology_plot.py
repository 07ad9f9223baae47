"""The picture of the topology around an atom: persistence diagrams, and rings in space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from symgnn.explain.homology import cycle_edges
from symgnn.plots.style import element_color, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from symgnn.explain.homology import Feature
    from symgnn.explain.topology import ImportantEdges, Topology

_TITLES = ("components", "rings", "voids")
_COLORS = ("tab:gray", "tab:blue", "tab:green")
_IMPORTANT = "tab:red"
_MOST_RINGS = 12  # drawn in space; more hide each other


def draw(found: Topology, symbols: Sequence[str], edges: ImportantEdges | None, path: Path) -> None:
    """Draw one persistence diagram per dimension, and the most persistent rings in space.

    With an explanation, rings that pass through important edges stand out, and those are drawn.

    Args:
        found: around an atom.
        symbols: [N], elements of the structure.
        edges: what an explanation calls important, if there is one.
        path: a name with the suffix of a picture format.

    Raises:
        SymGNNError: the file cannot be written.
    """
    important = set() if edges is None else _pairs(edges.edges[edges.important])
    chosen = {
        ring
        for ring, cycle in found.cycles.items()
        if important.intersection(cycle_edges(cycle)) and found.environment.inside(ring.corners)
    }
    figure = Figure(figsize=(9.6, 8.6), layout="constrained")
    for dimension, title in enumerate(_TITLES):
        axes = figure.add_subplot(2, 2, dimension + 1)
        _diagram(axes, found.of_dimension(dimension), chosen, _COLORS[dimension])
        axes.set_title(f"{len(found.of_dimension(dimension))} {title}", fontsize=10)
    space: Any = figure.add_subplot(2, 2, 4, projection="3d")
    of_interest = chosen or set(found.of_dimension(1))
    rings = sorted(of_interest & found.cycles.keys(), key=lambda ring: -ring.persistence)
    _rings(space, found, rings[:_MOST_RINGS], important, symbols)
    passing = " through important edges" if chosen else ""
    space.set_title(f"the {len(rings[:_MOST_RINGS])} longest-lived rings{passing}", fontsize=10)
    atom = int(found.environment.atoms[0])
    figure.suptitle(
        f"atom {atom} ({symbols[atom]}), {found.environment.radius:g} Å around it", fontsize=11
    )
    save(figure, path)


def _diagram(axes: Axes, features: list[Feature], chosen: set[Feature], color: str) -> None:
    """Deaths over births."""
    for those, style, label in (
        ([f for f in features if f not in chosen], color, "others" if chosen else None),
        ([f for f in features if f in chosen], _IMPORTANT, "through important edges"),
    ):
        if those:
            axes.plot(
                [feature.birth for feature in those],
                [feature.death for feature in those],
                marker="o",
                markersize=3.5,
                markeredgewidth=0,
                alpha=0.6,
                linestyle="none",
                color=style,
                label=label,
            )
    if features:
        low = min(feature.birth for feature in features)
        high = max(feature.death for feature in features)
        margin = 0.04 * (high - low)
        limits = (low - margin, high + margin)
        axes.plot(limits, limits, color="black", linewidth=0.8, linestyle="--")
        axes.set(xlim=limits, ylim=limits)
    if chosen.intersection(features):
        axes.legend(fontsize=8, loc="lower right")
    axes.set(xlabel="birth α (Å)", ylabel="death α (Å)", aspect="equal")


def _rings(
    axes: Any,
    found: Topology,
    rings: list[Feature],
    important: set[tuple[int, int]],
    symbols: Sequence[str],
) -> None:
    """Representative cycles as lines between their atoms; the atom itself with a black rim."""
    points = found.environment.positions
    edges = {edge for ring in rings for edge in cycle_edges(found.cycles[ring])}
    for first, second in sorted(edges):
        matters = (first, second) in important
        axes.plot(
            *points[[first, second]].T,
            color=_IMPORTANT if matters else _COLORS[1],
            linewidth=2.6 if matters else 1.2,
        )
    shown = sorted({0, *(corner for edge in edges for corner in edge)})
    elements = np.array([symbols[found.environment.atoms[number]] for number in shown])
    for element in sorted(set(elements)):
        own = points[np.array(shown)[elements == element]]
        axes.scatter(
            *own.T,
            s=45,
            color=element_color(element),
            edgecolor="gray",
            linewidth=0.6,
            depthshade=False,
            label=element,
        )
    axes.scatter(0, 0, 0, s=150, facecolor="none", edgecolor="black", linewidth=1.5)
    axes.legend(fontsize=8, loc="upper right")
    axes.set_box_aspect((1, 1, 1))
    axes.set(xlabel="x (Å)", ylabel="y (Å)", zlabel="z (Å)")
    axes.tick_params(labelsize=7)
    reach = max(1.0, float(np.abs(points[shown]).max()))
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))


def _pairs(edges: NDArray[np.int64]) -> set[tuple[int, int]]:
    return {(first, second) for first, second in edges.tolist()}
