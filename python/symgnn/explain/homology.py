"""Persistent homology of the environment of an atom: rings and voids at every scale.

Balls grow around the atoms. At scale α (Å) the ball of atom i has the radius √(α² + w_i), and the
weight w_i = r_i² − r_min² (Å²) sees to it that large elements have larger balls: r_i is the radius
of its element, r_min the smallest radius in the structure, so that α is the radius of the balls of
the smallest element. The alpha complex (Edelsbrunner and Mücke, ACM Trans. Graph. 13, 43, 1994)
has the topology of the union of these balls. Components (dimension 0), rings (1) and voids (2)
appear in it at their birth and are filled at their death; both are given as α in Å, not as the α²
in which gudhi counts. Where α² is negative, which large elements start with, α is −√|α²|.
Weighted alpha complexes of metallic glasses: Hiraoka et al., PNAS 113, 7035 (2016).

gudhi's Python module builds no periodic alpha complexes (its C++ library does, in cubic cells), so
the surroundings are cut out as a cluster in any cell: ``Environment.exact_below`` says up to which
α the part of interest is that of the periodic structure.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii, reference_states
from ase.geometry import complete_cell

from symgnn.errors import StructureError, SymGNNError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

REACH = 4.0
"""Å beyond the part of interest in which rings that pass through its edges are sought."""

MARGIN = 6.0
"""Å of further surroundings of a cluster, for its simplices to be those of the structure."""

_SMALLEST_PERSISTENCE = 1e-6  # Å², above the rounding of gudhi's coordinates (relative 1e-5 of α²)


# --- radii ------------------------------------------------------------------------------------


def element_radius(symbol: str) -> float:
    """Half the distance of nearest neighbors in the crystal of an element, Å.

    From the lattices in ``ase.data.reference_states``: 1.276 for Cu, 1.590 for Zr. Elements that
    are not fcc, bcc or hcp have their covalent radius (Cordero et al., Dalton Trans. 2832, 2008).
    """
    number = atomic_numbers[symbol]
    state: dict[str, Any] = reference_states[number] or {}
    lattice = state.get("symmetry")
    if lattice == "fcc":
        return float(state["a"] / np.sqrt(8))
    if lattice == "bcc":
        return float(state["a"] * np.sqrt(3) / 4)
    if lattice == "hcp":
        height = state["c/a"] * state["a"]
        return float(min(state["a"], np.hypot(state["a"] / np.sqrt(3), height / 2)) / 2)
    return float(covalent_radii[number])


def atom_weights(atoms: Atoms, radii: Mapping[str, float] | None = None) -> NDArray[np.float64]:
    """r_i² − r_min² of every atom, [N], Å².

    Args:
        atoms: the whole structure, so that every environment in it has the same r_min.
        radii: Å of some elements, in place of :func:`element_radius`.

    Raises:
        SymGNNError: a radius that is not positive, or of an element that is not there.
    """
    symbols = atoms.get_chemical_symbols()
    given = dict(radii or {})
    for symbol, radius in given.items():
        if symbol not in symbols:
            raise SymGNNError(
                f"radius of {symbol!r}: the structure holds no such atoms but"
                f" {', '.join(sorted(set(symbols)))}"
            )
        if not (np.isfinite(radius) and radius > 0):
            raise SymGNNError(f"radius of {symbol}: {radius} Å is not positive")
    each = {symbol: given.get(symbol, element_radius(symbol)) for symbol in set(symbols)}
    squared = np.array([each[symbol] ** 2 for symbol in symbols])
    weights: NDArray[np.float64] = squared - squared.min()
    return weights


# --- environments -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Environment:
    """The surroundings of an atom as a cluster of A atoms, the atom itself the first."""

    atoms: NDArray[np.int64]
    """[A]: index in the structure; in a small cell an atom may occur as several images."""

    positions: NDArray[np.float64]
    """[A, 3]: relative to the atom, Å, sorted by distance."""

    weights: NDArray[np.float64]
    """[A]: Å²."""

    radius: float
    """Of the part of interest around the atom, Å."""

    exact_below: float
    """α, Å. Of the simplices with all corners closer than radius + REACH, those that appear before
    it are the same, at the same α, in the complex of the whole structure: their spheres do not
    reach out of the cluster. Infinite if the cluster is the whole structure."""

    def inside(self, corners: Iterable[int]) -> bool:
        """Whether all these atoms lie in the part of interest."""
        return all(self._distance[corner] <= self.radius for corner in corners)

    def nearby(self, corners: Iterable[int]) -> bool:
        """Whether all these atoms lie in the part of interest or within REACH of it."""
        return all(self._distance[corner] <= self.radius + REACH for corner in corners)

    @cached_property
    def _distance(self) -> list[float]:
        distance: list[float] = np.linalg.norm(self.positions, axis=1).tolist()
        return distance


def environment(
    structure: Atoms,
    atom: int,
    radius: float,
    *,
    weights: ArrayLike | None = None,
    margin: float = MARGIN,
) -> Environment:
    """Cut the surroundings of an atom out of a structure with any cell, or none.

    Args:
        structure: N atoms.
        atom: index, from 0.
        radius: Å around the atom that are of interest.
        weights: [N], Å²; those of :func:`atom_weights` by default.
        margin: Å of further surroundings; see ``Environment.exact_below``.

    Raises:
        StructureError: there is no such atom, positions or cell are unusable, or the cell is so
            small that the part of interest holds atoms twice.
    """
    if not 0 <= atom < len(structure):
        raise StructureError(
            f"there is no atom {atom}: the structure has {len(structure)}, counted from 0"
        )
    own = atom_weights(structure) if weights is None else np.asarray(weights, dtype=np.float64)
    offset = structure.positions - structure.positions[atom]
    if not np.isfinite(offset).all():
        raise StructureError("positions are not finite numbers: the simulation may have blown up")
    cut = radius + REACH + margin
    periodic = np.asarray(structure.pbc, dtype=bool)
    cell = np.asarray(complete_cell(np.where(periodic[:, None], structure.cell.array, 0.0)))
    volume = abs(np.linalg.det(cell))
    if not volume > 0 or not structure.cell.array[periodic].any(axis=1).all():
        raise StructureError("the periodic cell has no volume: set a proper cell")
    inverse = np.linalg.inv(cell)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    if (heights[periodic] < 2 * radius).any():
        raise StructureError(
            f"the cell is too small, {heights[periodic].min():.4g} Å high: the {radius:g} Å around"
            f" an atom hold atoms twice; give a radius of at most"
            f" {np.floor(heights[periodic].min() * 5) / 10:g} Å, or repeat the structure"
        )
    fraction = offset @ inverse
    fraction -= np.where(periodic, np.round(fraction), 0.0)
    most = np.where(periodic, np.ceil(cut / heights + 0.5), 0).astype(int)
    numbers, points = [], []
    for shift in itertools.product(*(range(-count, count + 1) for count in most)):
        moved = fraction + shift
        near = np.flatnonzero((np.abs(moved) * heights <= cut)[:, periodic].all(axis=1))
        point = moved[near] @ cell
        there = np.linalg.norm(point, axis=1) <= cut
        numbers.append(near[there])
        points.append(point[there])
    index, position = np.concatenate(numbers), np.concatenate(points)
    order = np.argsort(np.linalg.norm(position, axis=1), kind="stable")
    whole = not periodic.any() and len(index) == len(structure)
    reach = (margin / 2) ** 2 - own.max()  # sphere of radius √(α² + w) across the margin
    return Environment(
        index[order].astype(np.int64),
        position[order],
        own[index[order]],
        radius,
        np.inf if whole else float(_alpha(reach)),
    )


# --- persistence ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Feature:
    """A component, ring or void, with the simplices that make and fill it (numbers of atoms)."""

    dimension: int
    birth: float
    """α, Å."""

    death: float
    """α, Å; infinite for what is never filled."""

    birth_simplex: tuple[int, ...]
    death_simplex: tuple[int, ...]
    """Empty for what is never filled."""

    @property
    def persistence(self) -> float:
        """Death − birth, Å."""
        return self.death - self.birth

    @property
    def corners(self) -> tuple[int, ...]:
        """Where it is: the atoms of both simplices; of a component, those of the edge that ends it.

        Which of its atoms a component began with is a matter of their order.
        """
        return self.birth_simplex + self.death_simplex if self.dimension else self.death_simplex


@dataclass(frozen=True)
class Homology:
    """The features of a set of atoms."""

    positions: NDArray[np.float64]
    """[A, 3], Å."""

    features: list[Feature]
    """By dimension, then birth."""

    edges: list[tuple[int, int]]
    """All edges of the complex, in the order in which they appear."""

    def of_dimension(self, dimension: int) -> list[Feature]:
        """Features of one dimension, by birth."""
        return [feature for feature in self.features if feature.dimension == dimension]


def persistence(positions: ArrayLike, weights: ArrayLike | None = None) -> Homology:
    """Persistent homology of the alpha complex of atoms, over the field of two elements.

    Args:
        positions: [A, 3], Å.
        weights: [A], Å²; all 0, the ordinary alpha complex, by default.

    Raises:
        SymGNNError: gudhi is not installed.
    """
    points = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    own = np.zeros(len(points)) if weights is None else np.asarray(weights, dtype=np.float64)
    tree = _gudhi().AlphaComplex(points=points, weights=own).create_simplex_tree()
    tree.compute_persistence(homology_coeff_field=2, min_persistence=_SMALLEST_PERSISTENCE)
    features = []
    for birth, death in tree.persistence_pairs():
        features.append(
            Feature(
                len(birth) - 1,
                float(_alpha(tree.filtration(birth))),
                float(_alpha(tree.filtration(death))) if death else np.inf,
                tuple(sorted(birth)),
                tuple(sorted(death)),
            )
        )
    features.sort(key=lambda feature: (feature.dimension, feature.birth, feature.birth_simplex))
    edges = [(min(s), max(s)) for s, _ in tree.get_filtration() if len(s) == 2]
    return Homology(points, features, edges)


def _alpha(squared: ArrayLike) -> NDArray[np.float64]:
    """α of α², with its sign."""
    value = np.asarray(squared, dtype=np.float64)
    return np.sign(value) * np.sqrt(np.abs(value))


def _gudhi() -> Any:
    try:
        import gudhi
    except ImportError:
        raise SymGNNError(
            "persistent homology needs gudhi, which is not installed: pip install symgnn[topology]"
        ) from None
    return gudhi


# --- representative cycles --------------------------------------------------------------------


def representative_cycles(homology: Homology, rings: Sequence[Feature]) -> list[tuple[int, ...]]:
    """The shortest cycle of each ring at its birth, as the atoms along it.

    A ring is born with an edge. Its representative here is that edge with the shortest way (sum of
    lengths) back between its ends over edges that appear earlier. Any two cycles of the birth edge
    and earlier ones differ by a cycle that was there before, so all of them are born, and become
    equal to something older, together: they stand for the ring equally well, and the shortest is
    the tightest. That a cycle also bounds at death is a stronger demand, and the shortest one that
    does is NP-hard to find (Dey, Hou and Mandal, arXiv:1810.04807).

    Args:
        homology: of the atoms.
        rings: some of its features of dimension 1.

    Returns:
        Atoms of each ring in order around it, beginning with the birth edge.
    """
    order = {edge: rank for rank, edge in enumerate(homology.edges)}
    at_birth = {order[ring.birth_simplex]: ring for ring in rings}  # type: ignore[index]
    neighbors: list[list[tuple[int, float]]] = [[] for _ in homology.positions]
    points = homology.positions.tolist()
    cycles = {}
    for rank, (first, second) in enumerate(homology.edges):
        if rank in at_birth:
            cycles[at_birth[rank]] = _shortest_way(points, neighbors, first, second)
        length = _distance(points[first], points[second])
        neighbors[first].append((second, length))
        neighbors[second].append((first, length))
    return [cycles[ring] for ring in rings]


def cycle_edges(cycle: Sequence[int]) -> list[tuple[int, int]]:
    """Edges around a cycle, as sorted pairs."""
    following = (*cycle[1:], cycle[0])
    return [(min(pair), max(pair)) for pair in zip(cycle, following, strict=True)]


def _shortest_way(
    points: list[list[float]],
    neighbors: list[list[tuple[int, float]]],
    start: int,
    end: int,
) -> tuple[int, ...]:
    """From start to end (A*: the straight line is the bound), which an older path connects."""
    length = {start: 0.0}
    came_from: dict[int, int] = {}
    queue = [(0.0, start)]
    done = set()
    while queue:
        _, here = heapq.heappop(queue)
        if here == end:
            break
        if here in done:
            continue
        done.add(here)
        for there, step in neighbors[here]:
            total = length[here] + step
            if total < length.get(there, np.inf):
                length[there] = total
                came_from[there] = here
                heapq.heappush(queue, (total + _distance(points[there], points[end]), there))
    way = [end]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return tuple(way)


def _distance(a: list[float], b: list[float]) -> float:
    return float(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2) ** 0.5)
