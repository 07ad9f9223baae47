"""Edge-featured graph attention (EGAT), in plain torch.

Source: Kamiński et al., "Rossmann-toolbox" (Brief. Bioinform. 2022), the layer that Li et al.
(ICML 2024) build SymGNN from. For an edge from neighbor j to center i:

    f_ij = LeakyReLU(A h_i + B h_j + C e_ij + b)       [H, D]
    α_ij = softmax over j of a · f_ij                  [H]
    h_i' = h_i + P Norm(Σ_j α_ij V h_j)                e_ij' = e_ij + Q Norm(f_ij)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .normalization import Normalization, make_normalization


def neighbor_softmax(score: Tensor, center: Tensor, atoms: int) -> Tensor:
    """Softmax of score [E, H] over the edges of each center [E]; gives [E, H]."""
    index = center[:, None].expand_as(score)
    highest = torch.full((atoms, score.shape[1]), -torch.inf, dtype=score.dtype).to(score.device)
    highest = highest.scatter_reduce(0, index, score.detach(), "amax")
    weight = torch.exp(score - highest.index_select(0, center))
    total = torch.zeros_like(highest).index_add(0, center, weight)
    return weight / total.index_select(0, center)


class EdgeAttention(nn.Module):
    """One EGAT layer with its normalization, projection back to ``width`` and skip connection.

    Args:
        width: D, of node and edge features and of each head.
        heads: H.
        normalization: of the concatenated heads, before the projection.
        skip: add the layer's input to its output.
        updates_edges: False for the last layer, whose edges nobody reads.
    """

    negative_slope = 0.01

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        normalization: Normalization = "batch",
        skip: bool = True,
        updates_edges: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.width, self.skip, self.updates_edges = heads, width, skip, updates_edges
        channels = heads * width
        self.center = nn.Linear(width, channels, bias=False)
        self.neighbor = nn.Linear(width, channels, bias=False)
        self.edge = nn.Linear(width, channels)
        self.value = nn.Linear(width, channels)
        self.attention = nn.Parameter(torch.empty(heads, width))
        nn.init.xavier_normal_(self.attention)
        self.node_normalization = make_normalization(normalization, channels)
        self.node_projection = nn.Linear(channels, width)
        if updates_edges:
            self.edge_normalization = make_normalization(normalization, channels)
            self.edge_projection = nn.Linear(channels, width)

    def forward(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Features node [N, D] and edge [E, D], updated along edge_index [2, E]."""
        center, neighbor = edge_index[0], edge_index[1]
        hidden = self.edge(edge)
        hidden = hidden + self.center(node).index_select(0, center)
        hidden = hidden + self.neighbor(node).index_select(0, neighbor)
        hidden = nn.functional.leaky_relu(hidden, self.negative_slope)

        score = (hidden.view(-1, self.heads, self.width) * self.attention).sum(-1)
        weight = neighbor_softmax(score, center, node.shape[0])
        value = self.value(node).index_select(0, neighbor).view(-1, self.heads, self.width)
        message = (weight[..., None] * value).flatten(1)
        gathered = torch.zeros(node.shape[0], message.shape[1], dtype=node.dtype).to(node.device)
        gathered = gathered.index_add(0, center, message)

        new_node = self.node_projection(self.node_normalization(gathered))
        new_edge = edge
        if self.updates_edges:
            new_edge = self.edge_projection(self.edge_normalization(hidden))
            new_edge = edge + new_edge if self.skip else new_edge
        return (node + new_node if self.skip else new_node), new_edge
