"""What a glass looks like: g(r), coordination numbers, Voronoi polyhedra, density."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import Voronoi

from symgnn.graph import neighbor_list

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

_WIDTH, _RANGE = 0.05, 8.0  # Å
_SMOOTHING = 2.0  # bins
_ATOMIC_MASS = 1.66053907  # g/cm³ of one atomic mass unit in 1 Å³
_PADDING = 9.0  # Å; twice the largest distance of an atom from a vertex of its polyhedron
ICOSAHEDRON = (0, 0, 12, 0)
"""Faces with 3, 4, 5 and 6 edges."""


@dataclass(frozen=True)
class RadialDistribution:
    """Pair correlation of a structure. B bins."""

    distance: NDArray[np.float64]
    """[B], Å, centers of the bins."""
    total: NDArray[np.float64]
    """[B], g(r), 1 for an ideal gas."""
    partial: dict[str, NDArray[np.float64]]
    """[B] each, by pair: ``Cu-Zr``."""
    density: float
    """Atoms per Å³."""

    @property
    def peak(self) -> float:
        """The distance of neighbors, Å: the highest point of the smoothed g(r)."""
        smooth = gaussian_filter1d(self.total, _SMOOTHING)
        return float(self.distance[np.argmax(smooth)])

    @property
    def first_minimum(self) -> float:
        """Å, the upper edge of the bin where the smoothed g(r) is lowest between two shells.

        NaN where it holds no two shells, as of two atoms far apart.
        """
        smooth = gaussian_filter1d(self.total, _SMOOTHING)
        between = (self.distance > self.peak) & (self.distance < 1.8 * self.peak)
        if not between.any():
            return math.nan
        lowest = np.flatnonzero(between)[np.argmin(smooth[between])]
        return float(self.distance[lowest] + _WIDTH / 2)

    @property
    def coordination(self) -> float:
        """Mean number of neighbors closer than the first minimum: 4π ρ ∫ r² g(r) dr."""
        inside = self.distance < self.first_minimum
        edges = self.distance[inside, None] + np.array([-_WIDTH / 2, _WIDTH / 2])
        shells = 4 / 3 * math.pi * (edges[:, 1] ** 3 - edges[:, 0] ** 3)
        return float(self.density * (self.total[inside] * shells).sum())


def density(atoms: Atoms) -> float:
    """g/cm³."""
    return float(atoms.get_masses().sum() / atoms.get_volume() * _ATOMIC_MASS)


def radial_distribution(atoms: Atoms) -> RadialDistribution:
    """g(r) up to 8 Å, all periodic images counted, in total and for each pair of elements."""
    index, _, vector = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, _RANGE)
    length = np.linalg.norm(vector, axis=1)
    edges = np.linspace(0.0, _RANGE, round(_RANGE / _WIDTH) + 1)
    shells = 4 / 3 * math.pi * np.diff(edges**3)
    symbols = np.array(atoms.get_chemical_symbols())
    centers, neighbors = symbols[index[0]], symbols[index[1]]
    volume = atoms.get_volume()

    def correlation(distances: NDArray[np.float64], one: int, other: int) -> NDArray[np.float64]:
        ideal = one * other / volume * shells
        return np.asarray(np.histogram(distances, edges)[0] / ideal, dtype=np.float64)

    partial = {}
    for a, b in itertools.combinations_with_replacement(sorted(set(symbols.tolist())), 2):
        chosen = length[(centers == a) & (neighbors == b)]
        partial[f"{a}-{b}"] = correlation(chosen, int((symbols == a).sum()), (symbols == b).sum())
    return RadialDistribution(
        distance=(edges[1:] + edges[:-1]) / 2,
        total=correlation(length, len(atoms), len(atoms)),
        partial=partial,
        density=len(atoms) / volume,
    )


def voronoi_index(atoms: Atoms) -> NDArray[np.int64]:
    """Faces with 3, 4, 5 and 6 edges of each atom's Voronoi polyhedron, [N, 4].

    Every face counts, however small, and planes lie halfway between atoms whatever their size.
    """
    heights = atoms.get_volume() / np.linalg.norm(
        np.cross(np.roll(atoms.cell.array, -1, axis=0), np.roll(atoms.cell.array, -2, axis=0)),
        axis=1,
    )
    ranges = [range(-copies, copies + 1) for copies in np.ceil(_PADDING / heights).astype(int)]
    shifts = sorted(itertools.product(*ranges), key=lambda shift: shift != (0, 0, 0))
    points = np.concatenate([atoms.get_scaled_positions() + shift for shift in shifts])
    margin = _PADDING / heights
    near = ((points > -margin) & (points < 1.0 + margin)).all(axis=1)
    diagram = Voronoi(points[near] @ atoms.cell.array)
    counts = np.zeros((len(atoms), 4), dtype=np.int64)
    for pair, vertices in zip(diagram.ridge_points, diagram.ridge_vertices, strict=True):
        edges = len(vertices)
        if 3 <= edges <= 6:
            for atom in pair[pair < len(atoms)]:
                counts[atom, edges - 3] += 1
    return counts


def icosahedra(atoms: Atoms) -> dict[str, float]:
    """Fraction of atoms with Voronoi index ⟨0,0,12,0⟩, among all and among each element."""
    full = (voronoi_index(atoms) == ICOSAHEDRON).all(axis=1)
    symbols = np.array(atoms.get_chemical_symbols())
    fractions = {"all": float(full.mean())}
    for element in sorted(set(symbols.tolist())):
        fractions[element] = float(full[symbols == element].mean())
    return fractions
