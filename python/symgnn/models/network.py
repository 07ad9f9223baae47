"""What every architecture has in common: its configuration, and standardized labels."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from symgnn.models.normalization import Normalization  # noqa: TC001  pydantic reads it at run time

LONGEST_CUTOFF = 30.0
"""Å: within it an atom of a metal has 6,000 neighbors, and edges fill the memory."""


class NetworkConfig(BaseModel):
    """Configuration of an architecture; each has its own subclass beside its network."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    architecture: str
    cutoff: float = Field(5.0, gt=0.0)
    """Atoms closer than this are neighbors, Å."""
    self_edges: bool = False
    """Edges (i, i) with a zero vector."""

    @field_validator("cutoff")
    @classmethod
    def _edges_fit_into_memory(cls, cutoff: float) -> float:
        """Holds in subclasses with another default, too."""
        if cutoff > LONGEST_CUTOFF:
            raise ValueError(f"{cutoff:g} Å is beyond {LONGEST_CUTOFF:g} Å: choose a smaller one")
        return cutoff

    def build(self, elements: int) -> Any:
        """The model for ``elements`` chemical elements, with random weights."""
        raise NotImplementedError


class MessagePassingConfig(NetworkConfig):
    """What the configurations of the message-passing baselines share."""

    width: int = Field(32, ge=1)
    """Channels of an atom."""
    layers: int = Field(3, ge=1)
    """How often messages pass between neighbors."""
    radial_basis: int = Field(16, ge=1)
    """Gaussians between 0 and the cutoff that expand a length."""
    normalization: Normalization = "batch"
    """Of the sum over neighbors, of which only a few percent differ from atom to atom. ``layer``
    and ``none`` keep the mean over atoms and learn next to nothing in some hundred steps."""


class BarrierNetwork(nn.Module):
    """Graph in, mean activation energy of each atom out.

    Subclasses implement :meth:`standardized`; the training loop fills in mean and standard
    deviation of the labels, eV.
    """

    label_mean: Tensor
    label_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("label_mean", torch.zeros(()))
        self.register_buffer("label_std", torch.ones(()))

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Mean activation energy, eV.

        Args:
            species: [N] int64, index into the model's elements.
            edge_index: [2, E] int64, centers and neighbors.
            edge_vector: [E, 3], Å, in the network's dtype.

        Returns:
            [N, 1] eV.
        """
        standardized = self.standardized(species, edge_index, edge_vector)
        return standardized * self.label_std + self.label_mean

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """The same in units of the labels' standard deviation, from their mean: [N, 1]."""
        raise NotImplementedError


def make_decoder(inputs: int, width: int) -> nn.Sequential:
    """Two layers from features [N, inputs] to a standardized barrier [N, 1]."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, 1))
