"""Topology of the environment of an atom, and how it relates to what a model finds important."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from symgnn.errors import SymGNNError
from symgnn.explain.explanation import SAME_PLACE, to_plain
from symgnn.explain.homology import (
    Environment,
    Feature,
    cycle_edges,
    environment,
    persistence,
    representative_cycles,
)
from symgnn.explain.matched_length import MatchedLength, compare_matched_length
from symgnn.files import written_whole

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

    from symgnn.explain.explanation import Explanation

RADIUS = 6.0
"""Å: two shells of neighbors."""

SHARE = 0.1
"""Of the edges, those called important."""


@dataclass(frozen=True)
class Topology:
    """The environment of an atom, and its components, rings and voids."""

    environment: Environment

    features: list[Feature]
    """All whose simplices lie within ``environment.radius``, by dimension and birth."""

    cycles: dict[Feature, tuple[int, ...]]
    """Of every ring nearby, also beyond the radius, the representative cycle; without rings whose
    cycle leaves the part of the cluster that is exact."""

    @property
    def inexact(self) -> int:
        """How many features die at scales at which the cluster may differ from the structure."""
        limit = self.environment.exact_below
        return sum(feature.death > limit for feature in self.features)

    def of_dimension(self, dimension: int) -> list[Feature]:
        """Features of one dimension, by birth."""
        return [feature for feature in self.features if feature.dimension == dimension]

    def cycles_through_edges(self) -> Counter[tuple[int, int]]:
        """How many cycles pass through an edge, a sorted pair of numbers of atoms."""
        return Counter(edge for cycle in self.cycles.values() for edge in cycle_edges(cycle))


@dataclass(frozen=True)
class ImportantEdges:
    """Cycles through the edges that an explanation calls important. E edges near the atom."""

    edges: NDArray[np.int64]
    """[E, 2]: numbers of atoms of the environment, the smaller first."""

    lengths: NDArray[np.float64]
    """[E]: Å."""

    importance: NDArray[np.float64]
    """[E]: the larger one of the two directions."""

    important: NDArray[np.bool_]
    """[E]: the top share."""

    cycles: NDArray[np.int64]
    """[E]: how many representative cycles pass through."""

    comparison: MatchedLength


def topology(
    structure: Atoms, atom: int, *, radius: float = RADIUS, weights: ArrayLike | None = None
) -> Topology:
    """Components, rings and voids around an atom.

    Args:
        structure: N atoms.
        atom: index, from 0.
        radius: Å around the atom.
        weights: [N], Å², see :func:`symgnn.explain.homology.atom_weights`, the default.

    Raises:
        StructureError: as :func:`symgnn.explain.homology.environment`.
        SymGNNError: gudhi is not installed.
    """
    around = environment(structure, atom, radius, weights=weights)
    homology = persistence(around.positions, around.weights)
    finite = [feature for feature in homology.features if feature.death_simplex]
    rings = [f for f in finite if f.dimension == 1 and around.nearby(f.corners)]
    cycles = representative_cycles(homology, rings)
    return Topology(
        around,
        [feature for feature in finite if around.inside(feature.corners)],
        {ring: cycle for ring, cycle in zip(rings, cycles, strict=True) if around.nearby(cycle)},
    )


def important_edges(
    found: Topology, explanation: Explanation, rng: np.random.Generator, *, share: float = SHARE
) -> ImportantEdges:
    """Compare the edges that matter to a model with others of the same length.

    Only edges with both ends within the radius of the environment count. Each counts once, with
    the larger importance of its two directions.

    Raises:
        SymGNNError: the explanation is of another structure.
    """
    around = found.environment
    numbers = _numbers(around, explanation)
    ends = numbers[explanation.edges]
    near = (ends >= 0).all(axis=1) & (explanation.lengths > 0)  # without self-edges
    edges, which = np.unique(np.sort(ends[near], axis=1), axis=0, return_inverse=True)
    importance = np.zeros(len(edges))
    np.maximum.at(importance, which.ravel(), explanation.importance[near])
    important = np.zeros(len(edges), dtype=bool)
    important[np.argsort(-importance, kind="stable")[: round(share * len(edges))]] = True
    counts = found.cycles_through_edges()
    cycles = np.array([counts[first, second] for first, second in edges.tolist()], dtype=np.int64)
    vectors = around.positions[edges[:, 1]] - around.positions[edges[:, 0]]
    lengths = np.linalg.norm(vectors, axis=1)
    return ImportantEdges(
        edges,
        lengths,
        importance,
        important,
        cycles,
        compare_matched_length(cycles, lengths, important, rng),
    )


def write_topology(
    path: str | Path, found: Topology, edges: ImportantEdges | None, provenance: dict[str, Any]
) -> None:
    """Write everything as JSON, with ``provenance`` first.

    Raises:
        SymGNNError: it cannot be written.
    """
    around = found.environment
    content = {
        **provenance,
        "radius": around.radius,
        "exact_below": around.exact_below,
        "atoms": around.atoms,
        "positions": around.positions.round(6),
        "features": [
            {**asdict(feature), "cycle": found.cycles.get(feature)} for feature in found.features
        ],
    }
    if edges is not None:
        content["edges"] = asdict(edges)
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(to_plain(content), allow_nan=False) + "\n")


def _numbers(around: Environment, explanation: Explanation) -> NDArray[np.int64]:
    """[A]: the number in the environment of each atom of an explanation, −1 outside the radius."""
    inside = np.flatnonzero(explanation.distances <= around.radius)
    distance, number = cKDTree(around.positions).query(explanation.positions[inside])
    same = (distance < SAME_PLACE) & (around.atoms[number] == explanation.atoms[inside])
    if not same.all():
        raise SymGNNError(
            f"the explanation of atom {explanation.atom} is of another structure: its atom"
            f" {explanation.atoms[inside][~same][0]} lies elsewhere; run `symgnn explain` on this"
            " one"
        )
    numbers = np.full(len(explanation.atoms), -1, dtype=np.int64)
    numbers[inside] = number
    return numbers
