"""Forces on atoms by an embedded-atom potential.

The force on an atom is the sum over its neighbors of (φ' + F'_i ρ'_j + F'_j ρ'_i) along the bond,
with the slope F' of each atom's embedding energy at its own density (Daw and Baskes, Phys. Rev. B
29, 6443 (1984)): densities first, then forces, between which atoms exchange F'.

Written for TorchScript.
"""

import torch
from torch import Tensor, nn

from symgnn.models.blocks import block_end, chosen_edges, edge_block, edges_shorter_than

LOWEST = 2.25
"""Å²: the squared distance from which on tables go; nearer pairs are as at this distance."""
MARGIN = 0.4
"""Å beyond the cutoff, of edges whose atoms may have come nearer."""
INTERVALS = 768
"""Of squared distances, and of densities, each with a polynomial of its own."""


class EmbeddedAtomForces(nn.Module):
    """Slopes of embedding energies, and forces by those found before.

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
        self.elements, self.intervals = elements, INTERVALS
        self.lowest, self.margin = LOWEST, MARGIN
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

    def forward(
        self,
        displacement: Tensor,
        embedding: Tensor,
        species: Tensor,
        edge_index: Tensor,
        edge_vector: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Forces [n, 3] (eV/Å) on the centers from the first to the last, and their F' [n] (eV).

        Args:
            displacement: [N, 3], of every atom from where edges are between, Å.
            embedding: [N], F' of every atom, eV, as found before: forces are by these.
            species: [N], index of the element.
            edge_index: [2, E], sorted by center; E > 0.
            edge_vector: [E, 3], Å; those that are too long for the cutoff are left out.
        """
        cutoff = float(self.cutoff.item())
        if torch.ops.symgnn.has_kernel("embedded_atom", edge_vector):
            force, total = torch.ops.symgnn.embedded_atom(
                species,
                edge_index,
                edge_vector,
                displacement,
                embedding,
                self.pair,
                self.density,
                self.slope,
                self.elements,
                self.lowest,
                cutoff,
                self.margin,
            )
        else:
            force, total = self._plain(
                displacement, embedding, species, edge_index, edge_vector, cutoff
            )
        first = int(edge_index[0, 0].item())
        kind = species[first : first + total.size(0)]
        place = total * (float(self.intervals) / self.largest_density)
        return force, self._read(self.embedding, kind, place)

    def _plain(
        self,
        displacement: Tensor,
        embedding: Tensor,
        species: Tensor,
        edge_index: Tensor,
        edge_vector: Tensor,
        cutoff: float,
    ) -> tuple[Tensor, Tensor]:
        """Forces [n, 3] and densities [n] on any device, in blocks of edges.

        Summed in double precision: steps down a slope multiply what rounding does.
        """
        first = int(edge_index[0, 0].item())
        rows = int(edge_index[0, -1].item()) + 1 - first
        total = torch.zeros([rows], dtype=torch.float64, device=edge_vector.device)
        force = torch.zeros([rows, 3], dtype=torch.float64, device=edge_vector.device)
        numbers = edges_shorter_than(edge_vector, cutoff + self.margin)
        near = chosen_edges(edge_index, numbers)
        vectors = edge_vector.index_select(0, numbers)
        center, neighbor = near[0], near[1]
        begin = 0
        while begin < center.size(0):
            end = block_end(center, begin, edge_block(edge_vector))
            i, j = center[begin:end], neighbor[begin:end]
            vector = moved(vectors[begin:end], displacement, i, j)
            of_i, of_j = species.index_select(0, i), species.index_select(0, j)
            pair, back = of_i * self.elements + of_j, of_j * self.elements + of_i
            square = vector.square().sum(1)
            place = (square - self.lowest) * (
                float(self.intervals) / (cutoff * cutoff - self.lowest)
            )
            total.index_add_(0, i - first, self._read(self.density, pair, place).double())
            along = self._read(self.pair, pair, place)
            along += embedding.index_select(0, i) * self._read(self.slope, pair, place)
            along += embedding.index_select(0, j) * self._read(self.slope, back, place)
            force.index_add_(0, i - first, (along[:, None] * vector).double())
            begin = end
        return force.to(edge_vector.dtype), total.to(edge_vector.dtype)

    @torch.jit.unused
    def of_all(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Forces [N, 3], eV/Å, of a whole structure."""
        result = edge_vector.new_zeros(len(species), 3)
        embedding = edge_vector.new_zeros(len(species))
        if edge_index.shape[1] > 0:
            centers = slice(int(edge_index[0, 0]), int(edge_index[0, -1]) + 1)
            graph = (species, edge_index, edge_vector)
            embedding[centers] = self(torch.zeros_like(result), embedding, *graph)[1]
            result[centers] = self(torch.zeros_like(result), embedding, *graph)[0]
        return result

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


def moved(vector: Tensor, displacement: Tensor, center: Tensor, neighbor: Tensor) -> Tensor:
    """Vectors [n, 3] of edges between atoms that are displaced, [N, 3], Å."""
    return vector + (displacement.index_select(0, neighbor) - displacement.index_select(0, center))
