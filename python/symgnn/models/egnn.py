"""E(n)-equivariant graph network (Satorras, Hoogeboom, Welling, ICML 2021).

    m_ij = φ_e(h_i, h_j, |r_ij|)        r_ij = x_j − x_i
    x_i' = x_i − (1/d_i) Σ_j r_ij/(|r_ij| + 1 Å) φ_x(m_ij)
    h_i' = h_i + φ_h(h_i, Norm(Σ_j m_ij))

Atoms of a periodic structure have no unique positions, but differences of them are well defined:
each atom carries its displacement u_i from where it is, and r_ij changes by u_j − u_i. Neighbors
stay those of the original positions.

Published is |r_ij|² itself as input, which ``radial_basis: 0`` gives (over the cutoff squared);
Gaussians of the length train in far fewer steps.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from symgnn.models.network import BarrierNetwork, MessagePassingConfig, make_decoder
from symgnn.models.normalization import Normalization, make_normalization
from symgnn.models.operations import sum_neighbors
from symgnn.models.symgnn import expand_length


class EGNNConfig(MessagePassingConfig):
    """Architecture ``egnn``."""

    architecture: Literal["egnn"] = "egnn"
    radial_basis: int = Field(16, ge=0)
    """Gaussians between 0 and the cutoff; 0: the squared length, as published."""

    def build(self, elements: int) -> EGNN:
        """A network with random weights."""
        return EGNN(self, elements)


class EquivariantLayer(nn.Module):
    """Messages from distances; they move the atoms and update their features.

    Args:
        width: D, of node features and messages.
        radial: number of functions of the distance.
        normalization: of the sum of messages.
        moves_atoms: False for the last layer, whose positions nobody reads.
    """

    largest_first_step = 1e-3  # of the weights of φ_x, as published, so that training starts still

    def __init__(
        self, width: int, radial: int, normalization: Normalization, *, moves_atoms: bool
    ) -> None:
        super().__init__()
        self.moves_atoms = moves_atoms
        self.center = nn.Linear(width, width)
        self.neighbor = nn.Linear(width, width, bias=False)
        self.radial = nn.Linear(radial, width, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.normalization = make_normalization(normalization, width)
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        if moves_atoms:
            last = nn.Linear(width, 1, bias=False)
            nn.init.xavier_uniform_(last.weight, gain=self.largest_first_step)
            self.displacement = nn.Sequential(nn.Linear(width, width), nn.SiLU(), last)

    def forward(
        self, node: Tensor, edge_index: Tensor, edge_vector: Tensor, radial: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            node: [N, D].
            edge_index: [2, E].
            edge_vector: [E, 3], Å.
            radial: functions of the lengths, [E, K].

        Returns:
            node [N, D] and edge_vector [E, 3], updated.
        """
        center, neighbor = edge_index
        message = self.radial(radial)
        message = message + self.center(node).index_select(0, center)
        message = message + self.neighbor(node).index_select(0, neighbor)
        message = self.message(message)
        if self.moves_atoms:
            degree = torch.bincount(center, minlength=len(node)).clamp(min=1)[:, None]
            length = edge_vector.norm(dim=1, keepdim=True)
            pull = edge_vector / (length + 1.0) * self.displacement(message)
            displacement = -sum_neighbors(pull, edge_index, len(node)) / degree
            edge_vector = (
                edge_vector
                + displacement.index_select(0, neighbor)
                - displacement.index_select(0, center)
            )
        total = self.normalization(sum_neighbors(message, edge_index, len(node)))
        return node + self.update(torch.cat([node, total], dim=1)), edge_vector


class EGNN(BarrierNetwork):
    """Equivariant messages and displacements.

    Args:
        config: the architecture.
        elements: number of chemical elements.
    """

    def __init__(self, config: EGNNConfig, elements: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Embedding(elements, width)
        self.layers = nn.ModuleList(
            EquivariantLayer(
                width,
                max(1, config.radial_basis),
                config.normalization,
                moves_atoms=number < config.layers - 1,
            )
            for number in range(config.layers)
        )
        self.decoder = make_decoder(width, width)

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], standardized."""
        node = self.embedding(species)
        for layer in self.layers:
            node, edge_vector = layer(node, edge_index, edge_vector, self.radial(edge_vector))
        standardized: Tensor = self.decoder(node)
        return standardized

    def radial(self, edge_vector: Tensor) -> Tensor:
        """Functions of the lengths of edge_vector [E, 3]: [E, K]."""
        config = self.config
        if config.radial_basis == 0:
            return edge_vector.square().sum(1, keepdim=True) / config.cutoff**2
        length = edge_vector.norm(dim=1, keepdim=True)
        return expand_length(length, config.cutoff, config.radial_basis)
