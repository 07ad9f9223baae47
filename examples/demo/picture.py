"""The demo's picture: a slice of the glass colored by barrier, and three distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from symgnn.keys import ENERGY_BARRIER

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

RADIUS = {"Cu": 1.28, "Zr": 1.60}
"""Metallic radii, Å."""

SLICE = 3.2
"""Thickness of the slice, Å: about one layer of atoms."""

COLORS = {
    "inherent structure": "#6b7a8f",
    "instantaneous, 300 K": "#c8553d",
    "averaged over 1 ps, 300 K": "#2a9d8f",
}
COLORMAP = LinearSegmentedColormap.from_list(
    "barrier", mpl.colormaps["inferno_r"](np.linspace(0.04, 0.93, 256))
)
"""Perceptually uniform; the soft spots, where barriers are low, glow."""


def draw_barriers(inherent: Atoms, kinds: dict[str, NDArray[np.float64]], path: str | Path) -> None:
    """Draw and save.

    Args:
        inherent: N atoms in an orthogonal cell, with the array ``energy_barrier`` in eV.
        kinds: barriers [N] in eV by kind of positions, the keys of ``COLORS``.
        path: PNG file.
    """
    style = {"font.size": 11, "font.family": "DejaVu Sans", "axes.linewidth": 0.8}
    with mpl.rc_context(style):
        figure = Figure(figsize=(11.5, 5.6), dpi=160, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.12, 1])
        _draw_slice(figure, left, inherent)
        _draw_histograms(right, kinds)
        figure.savefig(path)


def _draw_slice(figure: Figure, axes: Axes, atoms: Atoms) -> None:
    atoms = atoms.copy()
    atoms.positions -= np.ravel(atoms.get_celldisp())
    atoms.wrap()
    width, height, depth = atoms.cell.lengths()
    barriers = atoms.arrays[ENERGY_BARRIER]
    inside = np.abs(atoms.positions[:, 2] - depth / 2) < SLICE / 2
    # atoms near a face show on both sides, as the glass is periodic
    shifts = [(x, y) for x in (-width, 0, width) for y in (-height, 0, height)]
    points = np.concatenate([atoms.positions[inside] + [*shift, 0] for shift in shifts])
    values = np.tile(barriers[inside], len(shifts))
    radii = np.tile([RADIUS[s] for s in atoms.symbols[inside]], len(shifts))
    near = ((points[:, :2] > -1.6) & (points[:, :2] < [width + 1.6, height + 1.6])).all(axis=1)
    order = np.flatnonzero(near)[np.argsort(points[near, 2])]  # upper atoms cover lower ones
    circles = EllipseCollection(
        2 * radii[order],
        2 * radii[order],
        np.zeros(len(order)),
        units="xy",
        offsets=points[order, :2],
        offset_transform=axes.transData,
        cmap=COLORMAP,
        edgecolors="white",
        linewidths=0.7,
    )
    circles.set_array(values[order])
    circles.set_clim(*np.percentile(barriers, [1, 99]))
    axes.add_collection(circles)
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal", xticks=[], yticks=[])
    axes.set_facecolor("#f3f1ec")
    axes.set_title("A slice of the inherent structure, one atom thick", loc="left")
    _draw_key(axes, width)
    bar = figure.colorbar(circles, ax=axes, shrink=0.96, aspect=28, pad=0.02, extend="both")
    bar.set_label("energy barrier (eV)")
    bar.outline.set_visible(False)


def _draw_key(axes: Axes, width: float) -> None:
    """Below the slice: a scale bar, and which circle is which element."""
    below = -2.6
    axes.plot(
        [0, 10], [below, below], color="black", linewidth=3, solid_capstyle="butt", clip_on=False
    )
    axes.text(10.8, below, "1 nm", ha="left", va="center")
    for element, x in (("Cu", width - 9.0), ("Zr", width - 3.4)):
        circle = Circle(
            (x, below), RADIUS[element], facecolor="#f3f1ec", edgecolor="#555555", clip_on=False
        )
        axes.add_patch(circle)
        axes.text(x, below, element, ha="center", va="center", fontsize=9)


def _draw_histograms(axes: Axes, kinds: dict[str, NDArray[np.float64]]) -> None:
    everything = np.concatenate(list(kinds.values()))
    edges = np.linspace(*np.percentile(everything, [0.1, 99.9]), 50)
    highest = 0.0  # of all but the snapshot, which may be a spike at the end of the model's range
    for name, values in kinds.items():
        label = f"{name}: {values.mean():.2f} ± {values.std():.2f} eV"
        color = COLORS[name]
        filled = name == "inherent structure"
        shares, _, _ = axes.hist(
            values,
            bins=edges,
            density=True,
            histtype="stepfilled" if filled else "step",
            color=color,
            alpha=0.45 if filled else 1.0,
            linewidth=0 if filled else 1.8,
            label=label,
        )
        if not name.startswith("instantaneous"):
            highest = max(highest, shares.max())
    axes.set(xlabel="energy barrier (eV)", ylabel="share of atoms per eV", xlim=edges[[0, -1]])
    axes.set_ylim(0, highest * 1.4)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_title("Barriers of all atoms, by kind of positions", loc="left")
    axes.legend(frameon=False, loc="upper left", fontsize=10, alignment="left")
    axes.spines[["top", "right"]].set_visible(False)
