"""A slab of a glass, seen from the front, its atoms colored by barrier."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import complete_cell
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from symgnn.errors import StructureError
from symgnn.plots.frames import barriers_of
from symgnn.plots.style import BARRIER_COLORS, add_colorbar, barrier_range

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

THICKNESS: Final = 3.2
"""Å: about one layer of atoms."""

AXES: Final = "xyz"
_BACKGROUND, _NO_BARRIER = "#f3f1ec", "#d0d0d0"


@dataclass(frozen=True)
class Slice:
    """Atoms whose centers lie in a slab perpendicular to a Cartesian axis: M, images included."""

    axis: int
    """Number of the axis that the slab is perpendicular to."""
    middle: float
    """Å, along the axis."""
    thickness: float
    """Å."""
    window: NDArray[np.float64]
    """[2, 2], Å: lowest and highest corner of what is shown, in the other two coordinates."""
    points: NDArray[np.float64]
    """[M, 2], Å; from the farthest to the nearest. Some lie just outside of the window."""
    atom: NDArray[np.int64]
    """[M], index of the atom that each point is, or is a periodic image of."""


def cut(
    atoms: Atoms, axis: int = 2, middle: float | None = None, thickness: float = THICKNESS
) -> Slice:
    """Cut a slab out of a structure, and fill the window with periodic images.

    Args:
        atoms: N atoms, in any cell, periodic or not; they may lie outside of it.
        axis: 0, 1 or 2 for x, y, z: the slab is perpendicular to it.
        middle: Å; of the slab along the axis. None takes the middle of the cell.
        thickness: Å.

    Raises:
        StructureError: no atom lies in the slab.
    """
    origin = np.ravel(atoms.get_celldisp())
    cell = np.asarray(complete_cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)))
    fraction = (atoms.positions - origin) @ np.linalg.inv(cell)
    fraction[:, atoms.pbc] %= 1.0
    # Along open directions the picture ends with the atoms, whatever the box.
    low = np.where(atoms.pbc, 0.0, fraction.min(axis=0))
    high = np.where(atoms.pbc, 1.0, fraction.max(axis=0))
    corners = np.array(list(itertools.product(*zip(low, high, strict=True)))) @ cell + origin
    lowest, highest = corners.min(axis=0), corners.max(axis=0)
    if middle is None:
        middle = float(lowest[axis] + highest[axis]) / 2
    margin = float(covalent_radii[atoms.numbers].max())
    front = [other for other in range(3) if other != axis]
    lowest, highest = lowest - margin, highest + margin
    # Periodic images cover the edge of the window; at a surface, whole atoms should show.
    inset = np.where(atoms.pbc, margin, 0.0)
    window = np.array([(lowest + inset)[front], (highest - inset)[front]])
    lowest[axis], highest[axis] = middle - thickness / 2, middle + thickness / 2
    shifts = _shifts_into(lowest - origin, highest - origin, cell, atoms.pbc)
    points, owners = [], []
    for shift in shifts:
        moved = (fraction + shift) @ cell + origin
        inside = np.flatnonzero(((moved >= lowest) & (moved <= highest)).all(axis=1))
        points.append(moved[inside])
        owners.append(inside)
    found, owner = np.concatenate(points), np.concatenate(owners)
    if len(found) == 0:
        raise StructureError(
            f"no atom lies within {thickness / 2:g} Å of {AXES[axis]} = {middle:g} Å:"
            " choose another --position or a larger --thickness"
        )
    order = np.argsort(found[:, axis])
    return Slice(axis, middle, thickness, window, found[order][:, front], owner[order])


def _shifts_into(
    lowest: NDArray[np.float64],
    highest: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
) -> list[tuple[int, ...]]:
    """The periodic shifts that bring atoms of the cell into a Cartesian box."""
    corners = np.array(list(itertools.product(*zip(lowest, highest, strict=True))))
    fraction = corners @ np.linalg.inv(cell)
    ranges = [
        range(int(np.floor(low)), int(np.floor(high)) + 1) if periodic else range(1)
        for low, high, periodic in zip(fraction.min(axis=0), fraction.max(axis=0), pbc, strict=True)
    ]
    return list(itertools.product(*ranges))


def draw(atoms: Atoms, piece: Slice) -> Figure:
    """The slab as a figure of its own.

    Args:
        atoms: the annotated structure that the slab was cut from.
        piece: the slab.
    """
    width, height = np.ptp(piece.window, axis=0)
    size = np.array([width, height]) * min(7.0 / width, 6.0 / height)
    figure = Figure(figsize=(size[0] + 1.6, size[1] + 0.9), layout="constrained")
    axes = figure.subplots()
    draw_slice(figure, axes, atoms, piece)
    first, second = (name for name in AXES if name != AXES[piece.axis])
    axes.set_title(
        f"{first}{second} plane, {AXES[piece.axis]} = {piece.middle:.1f} Å,"
        f" {piece.thickness:g} Å thick",
        loc="left",
    )
    return figure


def draw_slice(figure: Figure, axes: Axes, atoms: Atoms, piece: Slice) -> None:
    """Draw atoms as circles of their covalent radius, with a color bar, a scale bar and a key.

    Colors span the 1st to 99th percentile of the whole structure, not of the slab; atoms without
    a barrier are gray.
    """
    barriers = barriers_of(atoms)
    diameters = 2 * covalent_radii[atoms.numbers[piece.atom]]
    circles = EllipseCollection(
        diameters,
        diameters,
        np.zeros(len(diameters)),
        units="xy",
        offsets=piece.points,
        offset_transform=axes.transData,
        cmap=BARRIER_COLORS.with_extremes(bad=_NO_BARRIER),
        edgecolors="white",
        linewidths=0.7,
    )
    circles.set_array(np.ma.masked_invalid(barriers[piece.atom]))
    circles.set_clim(*barrier_range(barriers))
    axes.add_collection(circles)
    (left, bottom), (right, top) = piece.window
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    axes.set_facecolor(_BACKGROUND)
    _draw_key(axes, sorted(set(atoms.get_chemical_symbols())), piece.window)
    add_colorbar(figure, axes, circles)


def _draw_key(axes: Axes, elements: list[str], window: NDArray[np.float64]) -> None:
    """Below the slice: a scale bar, and which circle is which element."""
    (left, bottom), (right, top) = window
    below = bottom - 0.066 * (top - bottom)
    length = 10.0 if right - left > 25.0 else 2.0
    axes.plot(
        [left, left + length],
        [below, below],
        color="black",
        linewidth=3,
        solid_capstyle="butt",
        clip_on=False,
    )
    axes.annotate(
        f"{length / 10:g} nm", (left + length, below), (5, 0), textcoords="offset points",
        va="center", annotation_clip=False,
    )  # fmt: skip
    x = right
    for element in reversed(elements):
        radius = float(covalent_radii[atomic_numbers[element]])
        x -= radius
        circle = Circle(
            (x, below), radius, facecolor=_BACKGROUND, edgecolor="#555555", clip_on=False
        )
        axes.add_patch(circle)
        axes.text(x, below, element, ha="center", va="center", fontsize=9)
        x -= 2.0 * radius
