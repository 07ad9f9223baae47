"""Multilevel graph convolutional network (Lu et al., AAAI 2019, arXiv 1906.11081).

Atoms start from their element and edges from the pair of elements; then at every level l

    a_i^(l+1) = a_i^l + Norm(Σ_j tanh(W [M(a_j^l) ∘ M(g(r_ij)) + M(e_ij^l)]))
    e_ij^(l+1) = 0.8 e_ij^l + 0.2 V (a_i^l ∘ a_j^l)

with M two layers each and Gaussians g of the distance. The barrier is read from the features of
all levels side by side. Skip and normalization are not in the paper, whose molecules have few
neighbors to sum over. The place of the tanh and the factors 0.8 and 0.2 have not been compared with
the paper's text; the form that DGL-LifeSci publishes (MGCNGNN) has neither.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from symgnn.models.network import BarrierNetwork, MessagePassingConfig, make_decoder
from symgnn.models.normalization import Normalization, make_normalization
from symgnn.models.operations import sum_neighbors
from symgnn.models.symgnn import expand_length


class MGCNConfig(MessagePassingConfig):
    """Architecture ``mgcn``."""

    architecture: Literal["mgcn"] = "mgcn"

    def build(self, elements: int) -> MGCN:
        """A network with random weights."""
        return MGCN(self, elements)


def _two_layers(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.Softplus(), nn.Linear(width, width))


class Level(nn.Module):
    """Interaction of one level.

    Args:
        width: D, of node and edge features.
        radial_basis: K Gaussians.
        normalization: of the sum over neighbors.
        updates_edges: False for the last level, whose edges nobody reads.
    """

    kept = 0.8  # η: what remains of an edge's features

    def __init__(
        self, width: int, radial_basis: int, normalization: Normalization, *, updates_edges: bool
    ) -> None:
        super().__init__()
        self.updates_edges = updates_edges
        self.neighbor = _two_layers(width, width)
        self.filter = _two_layers(radial_basis, width)
        self.edge = _two_layers(width, width)
        self.message = nn.Linear(width, width)
        self.normalization = make_normalization(normalization, width)
        if updates_edges:
            self.pair = nn.Linear(width, width, bias=False)

    def forward(
        self, node: Tensor, edge: Tensor, edge_index: Tensor, basis: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Node [N, D] and edge [E, D], updated with Gaussians basis [E, K]."""
        center, neighbor = edge_index
        message = self.neighbor(node).index_select(0, neighbor) * self.filter(basis)
        message = torch.tanh(self.message(message + self.edge(edge)))
        new_node = node + self.normalization(sum_neighbors(message, edge_index, len(node)))
        if self.updates_edges:
            product = node.index_select(0, center) * node.index_select(0, neighbor)
            edge = self.kept * edge + (1.0 - self.kept) * self.pair(product)
        return new_node, edge


class MGCN(BarrierNetwork):
    """Interactions level by level, all of them read out.

    Args:
        config: the architecture.
        elements: number of chemical elements.
    """

    def __init__(self, config: MGCNConfig, elements: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Embedding(elements, width)
        self.pair_embedding = nn.Embedding(elements * (elements + 1) // 2, width)
        self.levels = nn.ModuleList(
            Level(
                width,
                config.radial_basis,
                config.normalization,
                updates_edges=number < config.layers - 1,
            )
            for number in range(config.layers)
        )
        self.decoder = make_decoder((config.layers + 1) * width, width)

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], standardized."""
        length = edge_vector.norm(dim=1, keepdim=True)
        basis = expand_length(length, self.config.cutoff, self.config.radial_basis)
        center, neighbor = species[edge_index]
        low, high = torch.minimum(center, neighbor), torch.maximum(center, neighbor)
        node, edge = self.embedding(species), self.pair_embedding(high * (high + 1) // 2 + low)
        levels = [node]
        for level in self.levels:
            node, edge = level(node, edge, edge_index, basis)
            levels.append(node)
        standardized: Tensor = self.decoder(torch.cat(levels, dim=1))
        return standardized
