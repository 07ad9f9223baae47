"""Atoms to graph: the neighbor list and the tensors that a network reads.

The one convention for edges: an edge (i, j) has center i, which receives, and neighbor j, which
sends. Its vector points from the center to the neighbor, r_j + S·cell − r_i. Edges are sorted by
i, then j, then the periodic shift S, so that the same structure always gives the same tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import vesin
from ase.geometry import complete_cell

from symgnn.errors import StructureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

_SMALLEST_VOLUME = (
    1e-10  # of the unit cell spanned by normalized cell vectors; below it they are coplanar
)


@dataclass(frozen=True)
class Graph:
    """What a network reads of a structure. N atoms, E edges."""

    species: torch.Tensor
    """int64 [N]: index into the model's list of elements."""

    edge_index: torch.Tensor
    """int64 [2, E]: row 0 the centers i, row 1 the neighbors j; sorted by i."""

    edge_vector: torch.Tensor
    """[E, 3]: r_j + S·cell − r_i, Å, shorter than the cutoff."""

    def to(self, device: torch.device | str) -> Graph:
        """The same graph on another device."""
        return Graph(
            self.species.to(device), self.edge_index.to(device), self.edge_vector.to(device)
        )


def neighbor_list(
    positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """All pairs of atoms closer than a cutoff, every periodic image counted.

    Args:
        positions: [N, 3], Å; atoms may lie outside the cell.
        cell: [3, 3], cell vectors as rows, Å. Only periodic directions need a vector.
        pbc: [3] booleans, the directions that repeat.
        cutoff: Å; pairs with |r_ij| < cutoff are listed, in both directions.

    Returns:
        ``edge_index`` [2, E], ``shift`` [E, 3] (the S of the edge vector, in cells), and
        ``edge_vector`` [E, 3] in Å, sorted by center, then neighbor, then shift.

    Raises:
        StructureError: no atoms, positions or cell that are not finite, or a periodic cell
            without volume.
    """
    points = np.ascontiguousarray(positions, dtype=np.float64).reshape(-1, 3)
    periodic = np.asarray(pbc, dtype=bool).reshape(3)
    box = _checked_cell(points, np.asarray(cell, dtype=np.float64).reshape(3, 3), periodic)
    centers, neighbors, shift, vector, distance = vesin.NeighborList(
        cutoff=cutoff, full_list=True
    ).compute(points, box, periodic, "ijSDd")
    # vesin includes pairs at exactly the cutoff
    inside = distance < cutoff
    centers, neighbors = centers[inside].astype(np.int64), neighbors[inside].astype(np.int64)
    shift, vector = shift[inside].astype(np.int64), vector[inside]
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], neighbors, centers))
    return np.stack((centers[order], neighbors[order])), shift[order], vector[order]


def build_graph(
    atoms: Atoms,
    cutoff: float,
    elements: Sequence[str],
    *,
    self_edges: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Graph:
    """The graph of a structure.

    Args:
        atoms: N atoms with or without a periodic cell.
        cutoff: edge cutoff, Å.
        elements: chemical symbols; ``species`` is an index into this list.
        self_edges: add the edge (i, i) with a zero vector to every atom.
        dtype: of the edge vectors; the search itself is always in float64.

    Raises:
        StructureError: as in :func:`neighbor_list`, or an element that is not in ``elements``.
    """
    species = _species(atoms, elements)
    edge_index, _, edge_vector = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    if self_edges:
        own = np.arange(len(atoms))
        edge_index = np.concatenate((edge_index, np.stack((own, own))), axis=1)
        edge_vector = np.concatenate((edge_vector, np.zeros((len(atoms), 3))))
        order = np.argsort(edge_index[0], kind="stable")
        edge_index, edge_vector = edge_index[:, order], edge_vector[order]
    return Graph(
        torch.from_numpy(species),
        torch.from_numpy(np.ascontiguousarray(edge_index)),
        torch.from_numpy(np.ascontiguousarray(edge_vector)).to(dtype),
    )


def _species(atoms: Atoms, elements: Sequence[str]) -> NDArray[np.int64]:
    symbols = np.asarray(atoms.get_chemical_symbols(), dtype=object)
    species = np.full(len(symbols), -1, dtype=np.int64)
    for index, element in enumerate(elements):
        species[symbols == element] = index
    if (species < 0).any():
        unknown = ", ".join(sorted(set(symbols[species < 0])))
        raise StructureError(
            f"the model knows {', '.join(elements)} but not {unknown}:"
            " use a model trained on these elements, or correct the element names"
        )
    return species


def _checked_cell(
    points: NDArray[np.float64], cell: NDArray[np.float64], periodic: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The cell with any missing non-periodic vectors filled in, after all checks."""
    if len(points) == 0:
        raise StructureError("the structure has no atoms")
    unusable = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(unusable):
        raise StructureError(
            f"{len(unusable)} atoms have positions that are not finite numbers,"
            f" the first at index {unusable[0]}: the simulation may have blown up"
        )
    if not np.isfinite(cell).all():
        raise StructureError("the cell has entries that are not finite numbers")
    if not periodic.any():
        return np.eye(3)  # vesin ignores it, but wants it regular
    lengths = np.linalg.norm(cell, axis=1)
    if (lengths[periodic] == 0).any():
        raise StructureError(
            "the cell has no length along a periodic direction:"
            " set the cell, or switch periodicity off along this direction"
        )
    # A non-periodic vector does not enter the geometry, so any independent one will do.
    box = complete_cell(np.where(periodic[:, None], cell, 0.0))
    volume = abs(np.linalg.det(box / np.linalg.norm(box, axis=1, keepdims=True)))
    if volume < _SMALLEST_VOLUME:
        raise StructureError(
            "the periodic cell has no volume: its vectors lie in one plane; set a proper cell"
        )
    return np.ascontiguousarray(box)
