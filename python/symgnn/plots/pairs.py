"""Pairs of atoms by distance, and the region of space in which they lie."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.linalg import null_space
from scipy.spatial import ConvexHull, QhullError

from symgnn.errors import StructureError
from symgnn.graph import neighbor_list

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

FEWEST_PAIRS: Final = 50
"""A mean over fewer pairs would only be noise."""
_MOST_PAIRS: Final = 3e7  # about 4 GB while they are found
_SHELLS: Final = 50  # by which the volume within the cutoff is measured
_RAYS: Final = 100_000  # from all atoms together
_SMALLEST_VOLUME: Final = 1e-6  # Å³


def pairs_within(
    atoms: Atoms, cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Every pair of different atoms, in both directions and with all periodic images.

    An atom and its own image are no pair: their distance is the cell's, not the structure's.

    Returns:
        Centers [E], neighbors [E], and their distances [E] in Å.

    Raises:
        StructureError: too many pairs, atoms without volume, or as
            :func:`symgnn.graph.neighbor_list`.
    """
    sample, everything = Sample(atoms), np.ones(len(atoms), dtype=bool)
    reached = sample.shells(everything, np.linspace(0.0, cutoff, _SHELLS + 1)).sum()
    expected = len(atoms) ** 2 / sample.volume * reached
    if expected > _MOST_PAIRS:
        raise StructureError(
            f"{len(atoms)} atoms have about {expected:.0e} pairs within {cutoff:g} Å, more than"
            " fit in memory: choose a smaller --range, or cut a piece out of the structure"
        )
    index, _, vector = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    different = index[0] != index[1]
    centers, neighbors = index[:, different]
    return centers, neighbors, np.linalg.norm(vector[different], axis=1)


class Sample:
    """The region that atoms fill: everything along periodic directions, their hull along others.

    Attributes:
        volume: Å³; of one cell along periodic directions.

    Raises:
        StructureError: the atoms lie in one plane across an open direction.
    """

    def __init__(self, atoms: Atoms) -> None:
        periodic = atoms.cell.array[atoms.pbc]
        self._across = null_space(periodic) if len(periodic) else np.eye(3)  # [3, open directions]
        self._points = atoms.positions @ self._across
        self.volume = math.sqrt(np.linalg.det(periodic @ periodic.T)) if len(periodic) else 1.0
        if len(periodic) < 3:
            extent, self._normals, self._offsets = _hull(self._points)
            self.volume *= extent
        if self.volume < _SMALLEST_VOLUME:
            raise StructureError(
                "the atoms fill no volume, since they lie in one plane across an open direction or"
                " the cell is flat: switch periodicity on along it, or correct the cell"
            )

    def shells(self, centers: NDArray[np.bool_], edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Volume [B] of the spherical shells between the edges that lies in the region, Å³.

        Args:
            centers: mask [N] of the atoms over which to average.
            edges: [B + 1], Å.
        """
        volumes = 4 / 3 * math.pi * np.diff(edges**3)
        if self._across.shape[1] == 0:
            return np.asarray(volumes, dtype=np.float64)
        reach = np.sort(self._reach[centers], axis=None)
        middle = (edges[1:] + edges[:-1]) / 2
        return np.asarray(volumes * (1 - np.searchsorted(reach, middle) / len(reach)))

    @cached_property
    def _reach(self) -> NDArray[np.float64]:
        """How far rays from each atom in random directions stay in the region, Å, [N, rays].

        The region is convex, so that the share of rays that reach a distance is the share of the
        sphere of that radius that lies inside.
        """
        shape = (len(self._points), math.ceil(_RAYS / len(self._points)))
        direction = np.random.default_rng(0).normal(size=(*shape, 3))
        direction /= np.linalg.norm(direction, axis=2, keepdims=True)
        direction = direction @ self._across
        reach = np.full(shape, np.inf)
        for normal, offset in zip(self._normals, self._offsets, strict=True):
            speed = direction @ normal
            room = np.maximum(0.0, -(self._points @ normal + offset))[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                reach = np.where(speed > 0, np.minimum(reach, room / speed), reach)
        return reach


def _hull(
    points: NDArray[np.float64],
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Content of the convex hull of points [N, D], normals [F, D] and offsets [F] of its faces.

    A point x lies in it where normals · x + offsets ≤ 0.
    """
    if points.shape[1] == 1:
        low, high = float(points.min()), float(points.max())
        return high - low, np.array([[1.0], [-1.0]]), np.array([-high, low])
    try:
        hull = ConvexHull(points)
    except QhullError:  # all points in one plane, or on one line
        return 0.0, np.zeros((0, points.shape[1])), np.zeros(0)
    return float(hull.volume), hull.equations[:, :-1], hull.equations[:, -1]
