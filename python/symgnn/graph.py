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

_SMALLEST_VOLUME = 1e-16  # squared, of cell vectors scaled to length 1; below, they are coplanar


@dataclass(frozen=True)
class Graph:
    """What a network reads of a structure. N atoms, E edges."""

    species: torch.Tensor
    """int64 [N]: index into the model's list of elements."""

    edge_index: torch.Tensor
    """int64 [2, E]: row 0 the centers i, row 1 the neighbors j; sorted by i."""

    edge_vector: torch.Tensor
    """[E, 3]: r_j + S·cell − r_i, Å, shorter than the cutoff."""

    @property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What a network is called with: species, edge_index, edge_vector."""
        return self.species, self.edge_index, self.edge_vector

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
    points = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    periodic = np.asarray(pbc, dtype=bool).reshape(3)
    vectors = np.asarray(cell, dtype=np.float64).reshape(3, 3)
    _check(points, vectors, periodic)
    box, points = _enclose(points, vectors, periodic, cutoff)
    centers, neighbors, shift, vector, distance = vesin.NeighborList(
        cutoff=cutoff, full_list=True
    ).compute(points, box, True, "ijSDd")
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
    species = element_numbers(atoms, elements)
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


def element_numbers(atoms: Atoms, elements: Sequence[str]) -> NDArray[np.int64]:
    """Index [N] of each atom's element in a list of chemical symbols.

    Raises:
        StructureError: an element that is not in the list.
    """
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


def check_finite(
    points: NDArray[np.float64], cell: NDArray[np.float64], where: str | None = None
) -> None:
    """Raise StructureError unless positions [N, 3] and cell [3, 3] are finite numbers.

    Args:
        points: Å.
        cell: Å.
        where: name of the structure, for the message.
    """
    place = "" if where is None else f"{where}: "
    unusable = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(unusable):
        raise StructureError(
            f"{place}{len(unusable)} atoms have positions that are not finite numbers,"
            f" the first at index {unusable[0]}: the simulation may have blown up"
        )
    if not np.isfinite(cell).all():
        raise StructureError(f"{place}the cell has entries that are not finite numbers")


def _check(
    points: NDArray[np.float64], cell: NDArray[np.float64], periodic: NDArray[np.bool_]
) -> None:
    if len(points) == 0:
        raise StructureError("the structure has no atoms")
    check_finite(points, cell)
    lengths = np.linalg.norm(cell[periodic], axis=1)
    if (lengths == 0).any():
        raise StructureError(
            "the cell has no length along a periodic direction:"
            " set the cell, or switch periodicity off along this direction"
        )
    directions = cell[periodic] / lengths[:, None]
    if np.linalg.det(directions @ directions.T) < _SMALLEST_VOLUME:
        raise StructureError(
            "the periodic cell has no volume: its vectors lie in one plane; set a proper cell"
        )


def _enclose(
    points: NDArray[np.float64],
    cell: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    cutoff: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A fully periodic box with the same pairs, and the positions moved into its open directions.

    Along open directions the box leaves more than a cutoff of empty space. That replaces vesin's
    (0.6.2) own treatment of partly periodic boxes, whose time grows with the square of the volume.
    """
    box = np.asarray(complete_cell(np.where(periodic[:, None], cell, 0.0)), dtype=np.float64)
    box[~periodic] /= np.linalg.norm(box[~periodic], axis=1, keepdims=True)
    fraction = points @ np.linalg.inv(box)
    lowest = np.where(periodic, 0.0, fraction.min(axis=0))
    box[~periodic] *= (np.ptp(fraction, axis=0) + 1.01 * cutoff)[~periodic, None]
    _check_shape(box, cutoff)
    start = lowest @ (box / np.linalg.norm(box, axis=1, keepdims=True))
    return box, points - start


def _check_shape(box: NDArray[np.float64], cutoff: float) -> None:
    """Refuse few atoms spread over a huge length, on which vesin (0.6.2) divides by zero.

    It limits the number of its cells to 100,000 by scaling all three directions, and fails where
    one of them then has less than one; the bound keeps a factor of two away from that.
    """
    heights = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
    cells = np.maximum(1.0, np.trunc(heights / cutoff))
    total = cells.prod()
    if total > 5e4 and total > 5e4 * cells.min() ** 3:
        spans = " × ".join(f"{height:.4g}" for height in heights)
        raise StructureError(
            f"the structure spans {spans} Å, too long and thin for a neighbor list:"
            " remove atoms that flew away"
        )
