"""Graph convolutional network (Kipf and Welling, ICLR 2017), with or without distances.

A layer without distances is theirs: with d_i the number of edges of atom i, itself included,

    h_i' = Σ_j W h_j / √(d_i d_j) + b

It sees who is a neighbor, but not where. With ``edge_features`` every message is multiplied,
channel by channel, by a gate σ(V g(r_ij) + c) on Gaussians g of the distance. Skip connections and
normalization are added in both: several plain layers forget the atom itself.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from symgnn.models.network import BarrierNetwork, MessagePassingConfig, make_decoder
from symgnn.models.normalization import make_normalization
from symgnn.models.operations import sum_neighbors
from symgnn.models.symgnn import expand_length


class GCNConfig(MessagePassingConfig):
    """Architecture ``gcn``."""

    architecture: Literal["gcn"] = "gcn"
    self_edges: bool = True
    """Every atom is a neighbor of itself, as published."""
    edge_features: bool = False
    """Gate the messages by Gaussians of the distance."""

    def build(self, elements: int) -> GCN:
        """A network with random weights."""
        return GCN(self, elements)


class GraphConvolution(nn.Module):
    """The published layer: normalized sum over neighbors after a linear map.

    Args:
        width: D, of node features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, node: Tensor, weight: Tensor, edge_index: Tensor) -> Tensor:
        """Node [N, D] → [N, D]; weight [E, 1] or [E, D] multiplies the messages."""
        message = self.linear(node).index_select(0, edge_index[1]) * weight
        return sum_neighbors(message, edge_index, len(node)) + self.bias


class GCN(BarrierNetwork):
    """Graph convolutions on the element, and on distances if ``edge_features``.

    Args:
        config: the architecture.
        elements: number of chemical elements.
    """

    def __init__(self, config: GCNConfig, elements: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Embedding(elements, width)
        self.layers = nn.ModuleList(GraphConvolution(width) for _ in range(config.layers))
        self.normalizations = nn.ModuleList(
            make_normalization(config.normalization, width) for _ in range(config.layers)
        )
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(config.radial_basis, width), nn.Sigmoid())
            for _ in range(config.layers if config.edge_features else 0)
        )
        self.decoder = make_decoder(width, width)

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], standardized."""
        node = self.embedding(species)
        weight = inverse_root_degrees(edge_index, len(node)).to(edge_vector.dtype)
        weights = [weight] * len(self.layers)
        if self.config.edge_features:
            length = edge_vector.norm(dim=1, keepdim=True)
            basis = expand_length(length, self.config.cutoff, self.config.radial_basis)
            weights = [weight * gate(basis) for gate in self.gates]
        for layer, normalization, factor in zip(
            self.layers, self.normalizations, weights, strict=True
        ):
            node = node + nn.functional.relu(normalization(layer(node, factor, edge_index)))
        standardized: Tensor = self.decoder(node)
        return standardized


def inverse_root_degrees(edge_index: Tensor, atoms: int) -> Tensor:
    """1/√(d_i d_j) of each edge, [E, 1], with d the number of edges of an atom."""
    degree = torch.bincount(edge_index[0], minlength=atoms)
    return torch.rsqrt(degree[edge_index].prod(0)[:, None])
