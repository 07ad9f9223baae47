"""Pictures of explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from symgnn.explain.statistics import BINS, FIRST_SHELL, MEDIUM_RANGE
from symgnn.plots.style import check_format, element_color, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from symgnn.explain.explanation import Explanation

MOST_ATOMS = 6
"""In one picture."""
TOP_EDGES = 50
"""Of the global view."""
NEAREST = 10
"""Atoms of the local view."""
_EDGES = colormaps["viridis_r"]


def draw(explanations: Sequence[Explanation], symbols: Sequence[str], path: Path) -> None:
    """Draw a row per atom: its most important edges, its nearest atoms, and the fidelity.

    Args:
        explanations: at most a few.
        symbols: [N], of the structure.
        path: of the picture.

    Raises:
        SymGNNError: the file cannot be written.
    """
    check_format(path)
    rows = len(explanations)
    figure = Figure(figsize=(13.5, 4.4 * rows), layout="constrained")
    colors = {name: element_color(name) for name in sorted(set(symbols))}
    for row, explanation in enumerate(explanations):
        names = [symbols[atom] for atom in explanation.atoms]
        whole = figure.add_subplot(rows, 3, 3 * row + 1, projection="3d")
        _global_view(whole, explanation, names, colors)
        near = figure.add_subplot(rows, 3, 3 * row + 2, projection="3d")
        _local_view(near, explanation, names, colors)
        _fidelity(figure.add_subplot(rows, 3, 3 * row + 3), explanation)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=color, label=name)
        for name, color in colors.items()
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False)
    save(figure, path)


def top_edges(explanation: Explanation, count: int = TOP_EDGES) -> NDArray[np.int64]:
    """Numbers of the most important edges between different atoms, most important first."""
    order = np.argsort(-explanation.importance, kind="stable")
    chosen: NDArray[np.int64] = order[explanation.lengths[order] > 0][:count]
    return chosen


def _global_view(
    axes: Any, explanation: Explanation, names: list[str], colors: dict[str, str]
) -> None:
    chosen = top_edges(explanation)
    _edges(axes, explanation, chosen)
    atoms = np.unique(explanation.edges[chosen])
    _atoms(axes, explanation, atoms, names, colors, size=40)
    axes.set_title(
        f"atom {explanation.atom} ({names[0]}), {explanation.prediction:.3f} eV:"
        f" the {len(chosen)} most important edges",
        fontsize=9,
    )


def _local_view(
    axes: Any, explanation: Explanation, names: list[str], colors: dict[str, str]
) -> None:
    atoms = np.argsort(explanation.distances, kind="stable")[: NEAREST + 1]
    inside = np.isin(explanation.edges, atoms).all(axis=1) & (explanation.lengths > 0)
    _edges(axes, explanation, np.flatnonzero(inside))
    _atoms(axes, explanation, atoms, names, colors, size=120)
    axes.set_title(f"its {len(atoms) - 1} nearest atoms: all edges by rank", fontsize=9)


def _edges(axes: Any, explanation: Explanation, chosen: NDArray[np.int64]) -> None:
    """Lines between atoms, thick and dark if important among those drawn.

    Ranks, because a mask is one or zero for most edges.
    """
    order = chosen[np.argsort(explanation.importance[chosen], kind="stable")]
    for rank, edge in enumerate(order):
        ends = explanation.positions[explanation.edges[edge]]
        share = (rank + 1) / len(order)
        axes.plot(*ends.T, color=_EDGES(share), linewidth=0.2 + 2.8 * share**3, zorder=1)


def _atoms(
    axes: Any,
    explanation: Explanation,
    atoms: NDArray[np.int64],
    names: list[str],
    colors: dict[str, str],
    *,
    size: float,
) -> None:
    positions = explanation.positions[atoms]
    axes.scatter(
        *positions.T,
        s=[2.5 * size if atom == 0 else size for atom in atoms],
        c=[colors[names[atom]] for atom in atoms],
        edgecolors=["black" if atom == 0 else "white" for atom in atoms],
        linewidths=1.0,
        depthshade=False,
    )
    axes.set_box_aspect((1, 1, 1))
    reach = max(float(np.abs(positions).max()), 1.0)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize=7)
    axes.set_zlabel("Å", fontsize=8)


def _fidelity(axes: Axes, explanation: Explanation) -> None:
    fidelity = explanation.fidelity
    share = 100.0 * fidelity.share
    axes.plot(share, fidelity.drop, "o-", color="tab:red", label="top edges removed")
    axes.plot(share, fidelity.keep, "s-", color="tab:green", label="only top edges kept")
    axes.plot(share, fidelity.drop_random, "^--", color="gray", label="random, same lengths")
    axes.plot(
        share,
        fidelity.drop_random_same_hop,
        "v:",
        color="black",
        label="random, same lengths and steps",
    )
    axes.set(xscale="log", xlabel="top share of the edges, %", ylabel="change of the barrier, eV")
    axes.set_title("how much the barrier changes", fontsize=9)
    axes.set_ylim(0.0, 1.3 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="upper left")


_STYLES = {
    "selected": ("most important edges", "tab:red", "-"),
    "anywhere": ("random", "lightgray", "-"),
    "same steps": ("random, same steps", "gray", "--"),
    "same steps and length": ("random, same steps and length", "black", ":"),
}
_LABELS = {
    "distance": "distance of the sender from the explained atom, Å",
    "length": "length of the edge, Å",
    "angle": "angle between two bonds of a center, degrees",
}


def draw_histograms(
    found: dict[str, dict[str, dict[str, NDArray[np.float64]]]], path: Path
) -> None:
    """Draw distributions of important edges against null models.

    Args:
        found: for each title of a row, what ``statistics.histograms`` gives.
        path: of the picture.

    Raises:
        SymGNNError: the file cannot be written.
    """
    check_format(path)
    figure = Figure(figsize=(13.5, 3.6 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), len(BINS), squeeze=False)
    for row, (title, quantities) in zip(panels, found.items(), strict=True):
        for axes, (quantity, bins) in zip(row, BINS.items(), strict=True):
            for name, shares in quantities[quantity].items():
                if (quantity, name) == ("angle", "anywhere"):
                    continue  # random edges hardly ever meet
                label, color, line = _STYLES[name]
                axes.stairs(100.0 * shares, bins, label=label, color=color, ls=line, lw=1.5)
            axes.set(xlabel=_LABELS[quantity], ylabel="share, %")
        row[0].axvline(FIRST_SHELL, color="tab:blue", lw=0.8)
        row[0].axvline(MEDIUM_RANGE, color="tab:blue", lw=0.8)
        row[1].set_title(title, fontsize=10)
    panels[0, 0].legend(fontsize=8, frameon=False)
    save(figure, path)
