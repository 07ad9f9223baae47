"""SchNet: continuous-filter convolutions (Schütt et al., NeurIPS 2017; J. Chem. Phys. 148, 241722).

    h_i' = h_i + W₃ ssp(W₂ Norm(Σ_j (W₁ h_j) ∘ f(r_ij)) + b₂) + b₃

with filters f from two layers on Gaussians of the distance, times a cosine cutoff, and ssp the
shifted softplus. Norm is not in the paper; ``normalization: none`` leaves it out.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from symgnn.models.network import BarrierNetwork, MessagePassingConfig
from symgnn.models.normalization import Normalization, make_normalization
from symgnn.models.operations import ShiftedSoftplus, cosine_cutoff, sum_neighbors
from symgnn.models.symgnn import expand_length


class SchNetConfig(MessagePassingConfig):
    """Architecture ``schnet``."""

    architecture: Literal["schnet"] = "schnet"

    def build(self, elements: int) -> SchNet:
        """A network with random weights."""
        return SchNet(self, elements)


class Interaction(nn.Module):
    """One continuous-filter convolution and the two layers on it.

    Args:
        width: D, of node features and filters.
        radial_basis: K Gaussians.
        normalization: of the sum over neighbors.
    """

    def __init__(self, width: int, radial_basis: int, normalization: Normalization) -> None:
        super().__init__()
        self.filter = nn.Sequential(
            nn.Linear(radial_basis, width), ShiftedSoftplus(), nn.Linear(width, width)
        )
        self.project = nn.Linear(width, width, bias=False)
        self.normalization = make_normalization(normalization, width)
        self.update = nn.Sequential(
            nn.Linear(width, width), ShiftedSoftplus(), nn.Linear(width, width)
        )

    def forward(self, node: Tensor, edge_index: Tensor, basis: Tensor, envelope: Tensor) -> Tensor:
        """Change of node [N, D], from basis [E, K] and cutoff function envelope [E, 1]."""
        message = self.project(node).index_select(0, edge_index[1])
        message = message * (self.filter(basis) * envelope)
        total = self.normalization(sum_neighbors(message, edge_index, len(node)))
        change: Tensor = self.update(total)
        return change


class SchNet(BarrierNetwork):
    """Continuous-filter convolutions on the element.

    Args:
        config: the architecture.
        elements: number of chemical elements.
    """

    def __init__(self, config: SchNetConfig, elements: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Embedding(elements, width)
        self.interactions = nn.ModuleList(
            Interaction(width, config.radial_basis, config.normalization)
            for _ in range(config.layers)
        )
        self.decoder = nn.Sequential(
            nn.Linear(width, width), ShiftedSoftplus(), nn.Linear(width, 1)
        )

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], standardized."""
        length = edge_vector.norm(dim=1, keepdim=True)
        basis = expand_length(length, self.config.cutoff, self.config.radial_basis)
        envelope = cosine_cutoff(length, self.config.cutoff)
        node = self.embedding(species)
        for interaction in self.interactions:
            node = node + interaction(node, edge_index, basis, envelope)
        standardized: Tensor = self.decoder(node)
        return standardized
