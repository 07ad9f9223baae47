"""Frame averaging network, FAENet (Duval et al., ICML 2023, arXiv 2305.05577).

A network on edge vectors that is free to see directions becomes invariant by the coordinates it
sees them in: those of the principal axes of the structure. An axis has no sign, so there are eight
such frames, and the mean over them is invariant under O(3). As published (stochastic frame
averaging), a training step uses one of them at random; here evaluation uses all eight, so that the
same structure always gets the same barrier.

Published for molecules and slabs, whose positions have principal axes. The positions of a periodic
glass have none, and its axes here are those of Σ r_ij r_ijᵀ over all edges of the structure. That
matrix is close to isotropic in a glass, so its axes are well defined but say nothing about an
atom's surroundings, and a small change of the structure can turn them. Structures that share a step
(``batch_size`` above 1) share their frame.

The network (its "simple" and "base" parts) has e_ij from the vector and from Gaussians of its
length, and

    f_ij = σ(Linear(e_ij, h_i, h_j))        h_i' = h_i + σ(W Norm(Σ_j h_j ∘ f_ij) + b)

with the features of all layers side by side at the end.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from symgnn.models.network import BarrierNetwork, MessagePassingConfig, make_decoder
from symgnn.models.normalization import Normalization, make_normalization
from symgnn.models.operations import sum_neighbors
from symgnn.models.symgnn import expand_length


class FAENetConfig(MessagePassingConfig):
    """Architecture ``faenet``."""

    architecture: Literal["faenet"] = "faenet"

    def build(self, elements: int) -> FAENet:
        """A network with random weights."""
        return FAENet(self, elements)


def principal_frames(edge_vector: Tensor) -> Tensor:
    """The eight frames of a structure with edge_vector [E, 3]: [8, 3, 3], columns are axes."""
    vector = edge_vector.detach().double()
    axes = torch.linalg.eigh(vector.T @ vector).eigenvectors
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=3)))
    frames: Tensor = axes * signs.to(axes)[:, None, :]
    return frames.to(edge_vector.dtype)


class FrameInteraction(nn.Module):
    """One convolution with filters that see both atoms and the edge.

    Args:
        width: D, of node and edge features.
        normalization: of the sum over neighbors.
    """

    def __init__(self, width: int, normalization: Normalization) -> None:
        super().__init__()
        self.edge = nn.Linear(width, width)
        self.center = nn.Linear(width, width, bias=False)
        self.neighbor = nn.Linear(width, width, bias=False)
        self.update = nn.Sequential(
            make_normalization(normalization, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
        )

    def forward(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> Tensor:
        """Change of node [N, D], from edge [E, D]."""
        center, neighbor = edge_index
        filters = self.edge(edge)
        filters = filters + self.center(node).index_select(0, center)
        filters = filters + self.neighbor(node).index_select(0, neighbor)
        message = nn.functional.silu(filters) * node.index_select(0, neighbor)
        change: Tensor = self.update(sum_neighbors(message, edge_index, len(node)))
        return change


class FAENet(BarrierNetwork):
    """Convolutions on edge vectors in the frames of the structure.

    Args:
        config: the architecture.
        elements: number of chemical elements.
    """

    def __init__(self, config: FAENetConfig, elements: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Sequential(
            nn.Embedding(elements, width), nn.Linear(width, width), nn.SiLU()
        )
        self.edge_encoder = nn.Sequential(
            nn.Linear(3 + config.radial_basis, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.interactions = nn.ModuleList(
            FrameInteraction(width, config.normalization) for _ in range(config.layers)
        )
        self.decoder = make_decoder((config.layers + 1) * width, width)

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], standardized."""
        frames = principal_frames(edge_vector)
        if self.training:
            frames = frames[torch.randint(len(frames), (1,))]
        return torch.stack(
            [self.in_frame(species, edge_index, edge_vector @ frame) for frame in frames]
        ).mean(0)

    def in_frame(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """The same from edge_vector [E, 3] in the coordinates of one frame."""
        length = edge_vector.norm(dim=1, keepdim=True)
        basis = expand_length(length, self.config.cutoff, self.config.radial_basis)
        edge = self.edge_encoder(torch.cat([edge_vector, basis], dim=1))
        node = self.embedding(species)
        levels = [node]
        for interaction in self.interactions:
            node = node + interaction(node, edge, edge_index)
            levels.append(node)
        standardized: Tensor = self.decoder(torch.cat(levels, dim=1))
        return standardized
