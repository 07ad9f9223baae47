"""Message passing neural network with an edge network (Gilmer et al., ICML 2017).

    m_i = Σ_j A(r_ij) h_j        h_i' = GRU(Norm(m_i), h_i)

A is a matrix per edge, the output of two layers on Gaussians of the distance; all layers share
one A and one GRU. As A is linear in its hidden features z (a 1 for the bias among them), A(r_ij) =
Σ_k z_k(r_ij) W_k, the sum over neighbors is taken first and the matrices are applied once per atom:

    m_i = Σ_k W_k Σ_j z_k(r_ij) h_j

which is the same sum without a matrix stored per edge.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from symgnn.models.network import BarrierNetwork, MessagePassingConfig, make_decoder
from symgnn.models.normalization import make_normalization
from symgnn.models.operations import NeighborTable, sum_products
from symgnn.models.symgnn import expand_length


class MPNNConfig(MessagePassingConfig):
    """Architecture ``mpnn``."""

    architecture: Literal["mpnn"] = "mpnn"
    edge_width: int = Field(32, ge=1)
    """Hidden features of the edge network."""

    def build(self, elements: int) -> MPNN:
        """A network with random weights."""
        return MPNN(self, elements)


class EdgeNetworkConvolution(nn.Module):
    """Σ_j A(r_ij) h_j.

    Args:
        width: D, of node features.
        edge_width: K, hidden features of the edge network.
        radial_basis: number of Gaussians.
    """

    def __init__(self, width: int, edge_width: int, radial_basis: int) -> None:
        super().__init__()
        self.width = width
        self.hidden = nn.Sequential(nn.Linear(radial_basis, edge_width), nn.SiLU())
        self.matrix = nn.Linear(edge_width, width * width)

    def features(self, basis: Tensor) -> Tensor:
        """Gaussians [E, *] → hidden features of the edge network and a one, z [E, K + 1]."""
        hidden = self.hidden(basis)
        return torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=1)

    def forward(self, node: Tensor, table: NeighborTable, spread: Tensor) -> Tensor:
        """Messages [N, D] from node [N, D] and z spread over the table, [N, M, K + 1]."""
        products = sum_products(spread, table.gather(node)).flatten(1)
        matrices = torch.cat([self.matrix.weight, self.matrix.bias[:, None]], dim=1)
        matrices = matrices.T.reshape(-1, self.width, self.width)
        return products @ matrices.reshape(-1, self.width)


class MPNN(BarrierNetwork):
    """Messages through a matrix per edge, remembered by a gated recurrent unit.

    Args:
        config: the architecture.
        elements: number of chemical elements.
    """

    def __init__(self, config: MPNNConfig, elements: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Embedding(elements, width)
        self.convolution = EdgeNetworkConvolution(width, config.edge_width, config.radial_basis)
        self.normalizations = nn.ModuleList(
            make_normalization(config.normalization, width) for _ in range(config.layers)
        )
        self.update = nn.GRUCell(width, width)
        self.decoder = make_decoder(2 * width, width)

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], standardized."""
        length = edge_vector.norm(dim=1, keepdim=True)
        basis = expand_length(length, self.config.cutoff, self.config.radial_basis)
        start = node = self.embedding(species)
        table = NeighborTable(edge_index, len(node))
        spread = table.spread(self.convolution.features(basis))
        for normalization in self.normalizations:
            message = normalization(self.convolution(node, table, spread))
            node = self.update(message, node)
        standardized: Tensor = self.decoder(torch.cat([node, start], dim=1))
        return standardized
