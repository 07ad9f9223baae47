"""Sums over neighbors and functions of distance, which the baselines share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sum_neighbors(message: Tensor, edge_index: Tensor, atoms: int) -> Tensor:
    """Sum of message [E, D] over the edges of each center: [N, D]."""
    total = message.new_zeros(atoms, message.shape[1])
    return total.index_add(0, edge_index[0], message)


def cosine_cutoff(length: Tensor, cutoff: float) -> Tensor:
    """(1 + cos(π r/r_c))/2 of lengths [E, 1] below the cutoff: 1 at no distance, 0 at r_c."""
    return 0.5 * (1.0 + torch.cos(length * (math.pi / cutoff)))


class ShiftedSoftplus(nn.Module):
    """log(eˣ/2 + 1/2): smooth, and zero at zero."""

    def forward(self, value: Tensor) -> Tensor:
        """Elementwise."""
        return nn.functional.softplus(value) - math.log(2.0)


class NeighborTable:
    """The edges of every center side by side, padded to M, the largest number of neighbors.

    Sums of outer products over neighbors become one batched matrix product, and no tensor of
    edges × K × D is ever stored.

    Args:
        edge_index: [2, E], in any order.
        atoms: N.
    """

    def __init__(self, edge_index: Tensor, atoms: int) -> None:
        order = torch.argsort(edge_index[0], stable=True)
        center, neighbor = edge_index[:, order]
        count = torch.bincount(center, minlength=atoms)
        first = count.cumsum(0) - count
        self.atoms, self.slots = atoms, max(1, int(count.max()))
        place = torch.arange(len(center), device=center.device) - first[center]
        slot = center * self.slots + place
        self.slot = torch.empty_like(slot).index_copy(0, order, slot)
        self.neighbor = neighbor.new_zeros(atoms * self.slots).index_copy(0, slot, neighbor)

    def spread(self, edge: Tensor) -> Tensor:
        """[E, K] → [N, M, K], zero where there is no neighbor."""
        table = edge.new_zeros(self.atoms * self.slots, edge.shape[1])
        return table.index_copy(0, self.slot, edge).view(self.atoms, self.slots, -1)

    def gather(self, node: Tensor) -> Tensor:
        """[N, D] → [N, M, D] of the neighbors; without meaning where there is none."""
        return node.index_select(0, self.neighbor).view(self.atoms, self.slots, -1)


def sum_products(spread: Tensor, gathered: Tensor) -> Tensor:
    """Σ_j e_ij ⊗ h_j over the neighbors of each atom: [N, M, K] and [N, M, D] → [N, K, D]."""
    return torch.bmm(spread.transpose(1, 2), gathered)
