"""The part of a structure that the barrier of one atom depends on, for one or for many atoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from symgnn.graph import element_numbers, neighbor_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ReceptiveField:
    """Images of atoms that are some edges away from an explained atom. A images, E edges.

    Periodic images of one atom are told apart.
    """

    atoms: NDArray[np.int64]
    """[A]: index in the structure; entry 0 is the explained atom; sorted by ``hops``."""
    species: NDArray[np.int64]
    """[A]: index into the elements of the model."""
    hops: NDArray[np.int64]
    """[A]: edges between an image and the explained atom."""
    positions: NDArray[np.float64]
    """[A, 3]: relative to the explained atom, Å."""
    edges: NDArray[np.int64]
    """[E, 2]: (center, neighbor), numbers into ``atoms``; sorted by center."""
    vectors: NDArray[np.float64]
    """[E, 3]: of the edges, from center to neighbor, Å."""


class Surroundings:
    """Edges of a structure, and the receptive fields of its atoms.

    Args:
        atoms: the structure.
        elements: those of the model.
        cutoff: of its edges, Å.
        reach: lengths of the longest edges that matter to centers 0, 1, … edges away, Å.
        self_edges: whether every atom has an edge to itself.

    Raises:
        StructureError: an unknown element, no atoms, or positions or a cell that cannot be used.
    """

    def __init__(
        self,
        atoms: Atoms,
        elements: Sequence[str],
        cutoff: float,
        reach: Sequence[float],
        *,
        self_edges: bool,
    ) -> None:
        self.species = element_numbers(atoms, elements)
        index, shift, vector = neighbor_list(
            atoms.positions, atoms.cell.array, atoms.pbc, max(cutoff, *reach)
        )
        if self_edges:
            own = np.arange(len(atoms))
            index = np.concatenate((index, np.stack((own, own))), axis=1)
            shift = np.concatenate((shift, np.zeros((len(atoms), 3), dtype=np.int64)))
            vector = np.concatenate((vector, np.zeros((len(atoms), 3))))
            order = np.argsort(index[0], kind="stable")
            index, shift, vector = index[:, order], shift[order], vector[order]
        self._own = int(self_edges)
        self._neighbor, self._shift, self._vector = index[1], shift, vector
        self._length = np.linalg.norm(vector, axis=1)
        self._first = np.searchsorted(index[0], np.arange(len(atoms) + 1))
        self._reach = list(reach)

    def neighbors(self, atom: int) -> int:
        """Number of edges to other atoms."""
        return int(self._first[atom + 1] - self._first[atom]) - self._own

    def field(self, atom: int) -> ReceptiveField:
        """The receptive field of one atom."""
        images = _Images(atom)
        edges, vectors = [], []
        begin = 0
        for longest in self._reach:
            end = len(images.atoms)
            source, number = self._edges_of(images.atoms[begin:end], longest)
            center = begin + source
            place = images.add(
                self._neighbor[number],
                images.shifts[center] + self._shift[number],
                images.positions[center] + self._vector[number],
            )
            edges.append(np.column_stack((center, place)))
            vectors.append(self._vector[number])
            begin = end
        return ReceptiveField(
            images.atoms,
            self.species[images.atoms],
            images.hops,
            images.positions,
            np.concatenate(edges),
            np.concatenate(vectors),
        )

    def _edges_of(
        self, centers: NDArray[np.int64], longest: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For edges of some atoms: which of these atoms, and the number of the edge."""
        counts = self._first[centers + 1] - self._first[centers]
        source = np.repeat(np.arange(len(centers)), counts)
        offset = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
        number = self._first[centers][source] + offset
        inside = self._length[number] < longest
        return source[inside], number[inside]


class _Images:
    """Periodic images of atoms in the order in which they are found, each once."""

    def __init__(self, atom: int) -> None:
        self.atoms = np.array([atom])
        self.shifts = np.zeros((1, 3), dtype=np.int64)
        self.positions = np.zeros((1, 3))
        self.hops = np.zeros(1, dtype=np.int64)
        self._keys = _keys(self.atoms, self.shifts)

    def add(
        self,
        atoms: NDArray[np.int64],
        shifts: NDArray[np.int64],
        positions: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """Add images one edge farther out; where each of them stands, new or known."""
        keys = np.concatenate((self._keys, _keys(atoms, shifts)))
        distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        known = len(self.atoms)
        new = first[order][known:] - known
        self.atoms = np.concatenate((self.atoms, atoms[new]))
        self.shifts = np.concatenate((self.shifts, shifts[new]))
        self.positions = np.concatenate((self.positions, positions[new]))
        self.hops = np.concatenate((self.hops, np.full(len(new), self.hops[-1] + 1)))
        self._keys = distinct[order]
        places: NDArray[np.int64] = rank[inverse[known:]]
        return places


def _keys(atoms: NDArray[np.int64], shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number per image; shifts stay far below half of the base."""
    base = 1 << 10
    x, y, z = (shifts + base // 2).T
    keys: NDArray[np.int64] = ((atoms * base + x) * base + y) * base + z
    return keys


@dataclass(frozen=True)
class Batch:
    """Receptive fields side by side in one graph, sorted by hops. B fields, A images, E edges."""

    species: torch.Tensor
    """int64 [A]."""
    edge_index: torch.Tensor
    """int64 [2, E], sorted by center."""
    edge_vector: torch.Tensor
    """[E, 3], Å."""
    within: list[int]
    """How many images are at most 0, 1, … edges away from an explained atom."""
    field: torch.Tensor
    """int64 [E]: the field of each edge."""
    edges: list[torch.Tensor]
    """For each field, where its edges are in the batch, in the order of the field."""

    def split(self, values: torch.Tensor) -> list[NDArray[np.float64]]:
        """Values [E] of the batch as one array per field."""
        return [values[edges].double().numpy() for edges in self.edges]

    def join(self, values: Sequence[NDArray[np.float64]]) -> torch.Tensor:
        """One array per field as values [E] of the batch, in the dtype of the edges."""
        joined = torch.empty(len(self.field), dtype=self.edge_vector.dtype)
        for edges, part in zip(self.edges, values, strict=True):
            joined[edges] = torch.from_numpy(part).to(joined.dtype)
        return joined


def unite(fields: Sequence[ReceptiveField], layers: int, dtype: torch.dtype) -> Batch:
    """Disjoint union of receptive fields, for a model of some layers."""
    hops = np.concatenate([field.hops for field in fields])
    order = np.argsort(hops, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    starts = np.cumsum([0] + [len(field.atoms) for field in fields[:-1]])
    edges = np.concatenate(
        [rank[field.edges + start] for field, start in zip(fields, starts, strict=True)]
    )
    owner = np.repeat(np.arange(len(fields)), [len(field.edges) for field in fields])
    by_center = np.argsort(edges[:, 0], kind="stable")
    vectors = np.concatenate([field.vectors for field in fields])[by_center]
    species = np.concatenate([field.species for field in fields])[order]
    owner = owner[by_center]
    return Batch(
        torch.from_numpy(species),
        torch.from_numpy(np.ascontiguousarray(edges[by_center].T)),
        torch.from_numpy(vectors).to(dtype),
        np.cumsum(np.bincount(hops, minlength=layers + 1)).tolist(),
        torch.from_numpy(owner),
        [torch.from_numpy(np.flatnonzero(owner == number)) for number in range(len(fields))],
    )
