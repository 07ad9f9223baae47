"""Forces on atoms by an embedded-atom potential: zero where a structure is at its minimum.

The force on an atom is the sum over its neighbors of (φ' + F'_i ρ'_j + F'_j ρ'_i) along the bond,
with the slope F' of each atom's embedding energy at its own density (Daw and Baskes, Phys. Rev. B
29, 6443 (1984)): densities first, then forces, between which atoms exchange F'.

Written for TorchScript.
"""

import torch
from torch import Tensor, nn

from .blocks import block_end, chosen_edges, edge_block, edges_shorter_than

LOWEST = 2.25
"""Å²: the squared distance from which on tables go; nearer pairs are as at this distance."""
INTERVALS = 768
"""Of squared distances, and of densities, each with a polynomial of its own."""


class EmbeddedAtomForces(nn.Module):
    """Slopes of embedding energies, then forces.

    Args:
        elements: S.
    """

    pair: Tensor
    density: Tensor
    slope: Tensor
    embedding: Tensor
    largest_density: Tensor
    cutoff: Tensor

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements, self.lowest, self.intervals = elements, LOWEST, INTERVALS
        # Set by a fit: ascending powers of the place in each interval, of squared distances for
        # each pair (center · S + neighbor) and of densities. ``pair``: φ' over the distance,
        # eV/Å². ``density``: what the neighbor adds. ``slope``: its derivative over the distance,
        # 1/Å². ``embedding``: F', eV.
        pairs = elements * elements
        self.register_buffer("pair", torch.zeros(pairs, INTERVALS, 4))
        self.register_buffer("density", torch.zeros(pairs, INTERVALS, 4))
        self.register_buffer("slope", torch.zeros(pairs, INTERVALS, 4))
        self.register_buffer("embedding", torch.zeros(elements, INTERVALS, 4))
        self.register_buffer("largest_density", torch.ones(()))
        self.register_buffer("cutoff", torch.full((), 2.0 * LOWEST))  # Å

    def near(self, edge_index: Tensor, edge_vector: Tensor) -> tuple[Tensor, Tensor]:
        """The edges within the cutoff: edge_index [2, E] and edge_vector [E, 3], Å."""
        numbers = edges_shorter_than(edge_vector, float(self.cutoff.item()))
        return chosen_edges(edge_index, numbers), edge_vector.index_select(0, numbers)

    def slopes(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """F' [n] (eV) of the centers from the first to the last, from edges within the cutoff.

        Args:
            species: [N], index of the element.
            edge_index: [2, E], sorted by center; E > 0.
            edge_vector: [E, 3], Å.
        """
        center, neighbor = edge_index[0], edge_index[1]
        first = int(center[0].item())
        rows = int(center[-1].item()) + 1 - first
        total = torch.zeros([rows], dtype=edge_vector.dtype, device=edge_vector.device)
        begin = 0
        while begin < center.size(0):
            end = block_end(center, begin, edge_block(edge_vector))
            i, j = center[begin:end], neighbor[begin:end]
            pair = species.index_select(0, i) * self.elements + species.index_select(0, j)
            square = edge_vector[begin:end].square().sum(1)
            added = self._read(self.density, pair, self._place_of(square))
            total.index_add_(0, i - first, added)
            begin = end
        kind = species[first : first + rows]
        place = total * (float(self.intervals) / self.largest_density)
        return self._read(self.embedding, kind, place)

    def squared_forces(
        self, embedding: Tensor, species: Tensor, edge_index: Tensor, edge_vector: Tensor
    ) -> Tensor:
        """Squared forces [n], eV²/Å², on the centers from the first to the last.

        Args:
            embedding: [N], F' of every atom, eV.
            species: [N], index of the element.
            edge_index: [2, E], sorted by center, within the cutoff; E > 0.
            edge_vector: [E, 3], Å.
        """
        center, neighbor = edge_index[0], edge_index[1]
        first = int(center[0].item())
        rows = int(center[-1].item()) + 1 - first
        force = torch.zeros([rows, 3], dtype=edge_vector.dtype, device=edge_vector.device)
        begin = 0
        while begin < center.size(0):
            end = block_end(center, begin, edge_block(edge_vector))
            i, j = center[begin:end], neighbor[begin:end]
            vector = edge_vector[begin:end]
            of_i, of_j = species.index_select(0, i), species.index_select(0, j)
            pair, back = of_i * self.elements + of_j, of_j * self.elements + of_i
            place = self._place_of(vector.square().sum(1))
            along = self._read(self.pair, pair, place)
            along += embedding.index_select(0, i) * self._read(self.slope, pair, place)
            along += embedding.index_select(0, j) * self._read(self.slope, back, place)
            force.index_add_(0, i - first, along[:, None] * vector)
            begin = end
        return force.square().sum(1)

    def _place_of(self, square: Tensor) -> Tensor:
        return (square - self.lowest) * (
            float(self.intervals) / (self.cutoff.square() - self.lowest)
        )

    def _read(self, table: Tensor, row: Tensor, place: Tensor) -> Tensor:
        """Polynomials [n] of rows [n] of a table [rows, intervals, 4] at places [n] in it."""
        inside = place.clamp(min=0.0, max=float(self.intervals) - 1e-3)
        interval = inside.to(torch.int64)
        fraction = inside - interval.to(inside.dtype)
        terms = table.view(-1, 4).index_select(0, row * self.intervals + interval)
        value = terms[:, 3]
        for k in range(3):
            value = value * fraction + terms[:, 2 - k]
        return value
