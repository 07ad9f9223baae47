"""Weighted mean of a density regression and a network: each knows something the other does not."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from symgnn.models.blocks import edges_shorter_than
from symgnn.models.density_regression import DensityRegression, DensityRegressionConfig, combine
from symgnn.models.network import NetworkConfig
from symgnn.models.symgnn import SymGNN, SymGNNConfig, SymmetrizationConfig


def small_network() -> SymGNNConfig:
    """A small attention network on interatomic distances: the best SymGNN of docs/experiments.md.

    Edges enter as lengths: the limit of averaging an edge embedding over all of O(3), which is a
    function of length alone, taken exactly.
    """
    return SymGNNConfig(
        cutoff=6.0,
        width=16,
        heads=[4, 2, 1],
        dropout=0.05,
        edge_input="length",
        radial_basis=16,
        symmetrization=SymmetrizationConfig(distribution="none"),
    )


class MixtureConfig(NetworkConfig):
    """Architecture ``mixture``: its two parts, and how much the network counts."""

    architecture: Literal["mixture"] = "mixture"
    cutoff: float = Field(7.0, gt=0.0)
    """Å, that of ``densities``."""
    densities: DensityRegressionConfig = DensityRegressionConfig()
    """The regression, which also gives the novelty and its part of the uncertainty."""
    network: SymGNNConfig = Field(default_factory=small_network)
    """The network; it may reach less far."""
    share: float = Field(0.3, gt=0.0, lt=1.0)
    """Of the network in the mean."""

    def build(self, elements: int) -> Mixture:
        """A mixture that still has to be fitted and trained, without a jackknife."""
        return Mixture(self, elements)

    @model_validator(mode="before")
    @classmethod
    def _cutoff_is_that_of_densities(cls, values: Any) -> Any:
        if isinstance(values, dict) and "cutoff" not in values:
            densities = values.get("densities")
            if isinstance(densities, DensityRegressionConfig):
                return {**values, "cutoff": densities.cutoff}
            if isinstance(densities, dict) and "cutoff" in densities:
                return {**values, "cutoff": densities["cutoff"]}
        return values

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.cutoff != self.densities.cutoff:
            raise ValueError("cutoff: leave it out; densities.cutoff decides")
        if self.network.cutoff > self.cutoff:
            raise ValueError("network.cutoff: the network may not reach farther than densities")
        if self.self_edges or self.network.self_edges:
            raise ValueError("self_edges: an atom is no neighbor of itself here; leave them out")
        if self.densities.relaxation is not None:
            raise ValueError(
                "densities.relaxation: the network looks at positions as they are; leave it out"
            )
        return self


class Mixture(nn.Module):
    """Graph in, mean activation energy of each atom out, with its uncertainty and novelty.

    Args:
        config: the parts.
        elements: S.
        members: of the density regression.
    """

    def __init__(self, config: MixtureConfig, elements: int, members: int = 1) -> None:
        super().__init__()
        self.config = config
        self.regression = DensityRegression(config.densities, elements, members)
        self.network = SymGNN(config.network, elements)

    @property
    def members(self) -> int:
        """Linear maps: the one fitted to everything, then those of the jackknife."""
        return self.regression.members

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barrier (eV), its uncertainty (eV; with a jackknife) and novelty (0 to 1).

        The network enters the barrier of every member alike.

        Args:
            species: [N] int64.
            edge_index: [2, E], sorted by center.
            edge_vector: [E, 3], Å.

        Returns:
            [N, outputs], as of the density regression.
        """
        regression, share = self.regression, self.config.share
        features = regression.describe(species, edge_index, edge_vector)
        distance = regression.distance(features, species, edge_index, edge_vector)
        barrier = (1.0 - share) * regression.barriers(features, species)
        barrier = barrier + share * self.learned(species, edge_index, edge_vector)
        return combine(barrier, regression.label_range, regression.noise[species], distance)

    def learned(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], eV, by the network alone."""
        near = edges_shorter_than(edge_vector, self.config.network.cutoff)
        barriers: Tensor = self.network(species, edge_index[:, near], edge_vector[near])
        return barriers
