"""Multilayer perceptron on each atom's own surroundings, without messages.

The row "MLP" of Li et al. (ICML 2024; Pearson correlation .0575) sees node features alone, that is
the element: it can only tell the mean of each element, so its number says nothing about networks
without messages. This one also sees what an atom knows without asking its neighbors: its radial
densities (Behler and Parrinello, PRL 98, 146401, 2007), one set of Gaussians per element,

    ρ_ek = Σ_{j of element e} exp(−(r_ij − c_k)²/2σ²)
"""

from __future__ import annotations

import itertools
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from symgnn.models.network import BarrierNetwork, NetworkConfig
from symgnn.models.normalization import Standardization
from symgnn.models.operations import sum_neighbors
from symgnn.models.symgnn import expand_length


class MLPConfig(NetworkConfig):
    """Architecture ``mlp``."""

    architecture: Literal["mlp"] = "mlp"
    width: int = Field(64, ge=1)
    """Channels of hidden layers."""
    layers: int = Field(3, ge=1)
    """Hidden layers."""
    radial_basis: int = Field(16, ge=1)
    """Gaussians between 0 and the cutoff, per element."""

    def build(self, elements: int) -> MLP:
        """A network with random weights."""
        return MLP(self, elements)


class MLP(BarrierNetwork):
    """Element and radial densities in, barrier out.

    Args:
        config: the architecture.
        elements: number of chemical elements.
    """

    def __init__(self, config: MLPConfig, elements: int) -> None:
        super().__init__()
        self.config, self.elements = config, elements
        width, densities = config.width, elements * config.radial_basis
        self.standardization = Standardization(densities)
        self.densities = nn.Linear(densities, width)
        self.embedding = nn.Embedding(elements, width)
        hidden = [(nn.SiLU(), nn.Linear(width, width)) for _ in range(config.layers - 1)]
        self.layers = nn.Sequential(*itertools.chain(*hidden), nn.SiLU(), nn.Linear(width, 1))

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], standardized."""
        densities = self.standardization(self.densities_of(species, edge_index, edge_vector))
        hidden = self.densities(densities) + self.embedding(species)
        standardized: Tensor = self.layers(hidden)
        return standardized

    def densities_of(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Radial densities ρ [N, elements · radial_basis]."""
        basis = expand_length(
            edge_vector.norm(dim=1, keepdim=True), self.config.cutoff, self.config.radial_basis
        )
        center, neighbor = edge_index
        column = center * self.elements + species[neighbor]
        total = sum_neighbors(basis, column[None], len(species) * self.elements)
        return total.view(len(species), -1)
