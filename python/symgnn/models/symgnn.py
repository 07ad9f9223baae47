"""SymGNN: symmetrized graph attention network (Li et al., ICML 2024, arXiv 2401.08627)."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from symgnn.models.attention import EdgeAttention
from symgnn.models.dropout import ByteDropout
from symgnn.models.edge_encoder import embed_transformed
from symgnn.models.network import BarrierNetwork, NetworkConfig
from symgnn.models.normalization import make_normalization
from symgnn.models.symmetrization import Distribution, Symmetrization


class SymmetrizationConfig(BaseModel):
    """What the network averages over, and where."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    level: Literal["edge", "output"] = "edge"
    """``edge``: average the edge embedding. ``output``: average the prediction of the whole
    network over transformed copies of the graph (2K times the work, keeps angles)."""
    distribution: Distribution = "von_mises"
    """Of the transformations: three angles with learned distributions, uniform on O(3), all 48
    elements of the cubic group, or the identity alone."""
    samples: int = Field(2, ge=1)
    """K rotations and K non-rotations per training step."""
    evaluation_samples: int = Field(2, ge=1)
    """K in validation and in the exported model."""


class SymGNNConfig(NetworkConfig):
    """Architecture ``symgnn``. The defaults are the paper's, whose code also has self-edges."""

    architecture: Literal["symgnn"] = "symgnn"
    width: int = Field(32, ge=1)
    """Channels of atoms and edges."""
    heads: list[int] = Field([8, 4, 2, 1], min_length=1)
    """Attention heads, one entry per layer."""
    skip: bool = True
    """Add the input of a layer to its output."""
    normalization: Literal["batch", "none"] = "batch"
    """Batch normalization throughout, or none."""
    dropout: float = Field(0.25, ge=0.0, lt=1.0)
    """Share of features that a training step leaves out."""
    edge_input: Literal["vector", "length"] = "vector"
    """``length`` gives a network on interatomic distances, invariant by construction."""
    radial_basis: int = Field(0, ge=0)
    """Number of Gaussians between 0 and the cutoff that expand a length; 0: the bare length."""
    decoder_layers: int = Field(4, ge=0)
    """Hidden layers between the features of an atom and its barrier."""
    symmetrization: SymmetrizationConfig = SymmetrizationConfig()
    """Averages over rotations and reflections."""

    def build(self, elements: int) -> SymGNN:
        """A network with random weights."""
        return SymGNN(self, elements)

    @model_validator(mode="after")
    def _lengths_need_no_symmetrization(self) -> Self:
        if self.edge_input == "length" and self.symmetrization.distribution != "none":
            raise ValueError(
                "edge_input: length is invariant already; set symmetrization.distribution: none"
            )
        if self.radial_basis and self.edge_input != "length":
            raise ValueError("radial_basis expands lengths; set edge_input: length")
        if any(heads < 1 for heads in self.heads):
            raise ValueError("heads: every layer needs at least one head")
        return self


def expand_length(length: Tensor, cutoff: float, count: int) -> Tensor:
    """Lengths [E, 1] on ``count`` evenly spaced Gaussians up to the cutoff, [E, count].

    Neighboring Gaussians cross at e^(−1/8) of their height. ``count`` 0 returns the lengths.
    """
    if count == 0:
        return length
    spacing = cutoff / count
    centers = spacing * torch.arange(1, count + 1, dtype=length.dtype, device=length.device)
    exponent = -0.5 * ((length - centers) / spacing).square()
    # Smaller numbers than e^(-80) soon lose digits, and processors take ten times as long for them.
    return torch.exp(exponent.clamp(min=-80.0))


class SymGNN(BarrierNetwork):
    """Graph in, mean activation energy of each atom out.

    Args:
        config: the architecture.
        elements: number of chemical elements.
    """

    def __init__(self, config: SymGNNConfig, elements: int) -> None:
        super().__init__()
        self.config = config
        width = config.width

        def block(inputs: int, activation: nn.Module) -> list[nn.Module]:
            return [
                nn.Linear(inputs, width),
                make_normalization(config.normalization, width),
                activation,
            ]

        self.node_encoder = nn.Sequential(
            nn.Embedding(elements, width),
            make_normalization(config.normalization, width),
            nn.ReLU(),
            *block(width, nn.ReLU()),
        )
        edge_channels = 3 if config.edge_input == "vector" else max(1, config.radial_basis)
        self.edge_encoder = nn.Sequential(
            *block(edge_channels, nn.ReLU()), *block(width, nn.ReLU())
        )
        symmetrization = config.symmetrization
        self.symmetrization = Symmetrization(
            symmetrization.distribution, symmetrization.samples, symmetrization.evaluation_samples
        )
        last = len(config.heads) - 1
        self.layers = nn.ModuleList(
            EdgeAttention(
                width,
                heads,
                normalization=config.normalization,
                skip=config.skip,
                updates_edges=number != last,
            )
            for number, heads in enumerate(config.heads)
        )
        self.dropout = ByteDropout(config.dropout)
        decoder = [part for _ in range(config.decoder_layers) for part in block(width, nn.PReLU())]
        self.node_decoder = nn.Sequential(*decoder, nn.Linear(width, 1))

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], standardized."""
        transformations = self.symmetrization().to(edge_vector.dtype)
        node = self.node_encoder(species)
        if self.config.symmetrization.level == "edge":
            edge = self.embed_edges(edge_vector, transformations)
            return self.pass_messages(node, edge, edge_index)
        return torch.stack(
            [
                self.pass_messages(node, self.embed_edges(edge_vector, matrix), edge_index)
                for matrix in transformations.split(1)
            ]
        ).mean(0)

    def embed_edges(self, edge_vector: Tensor, transformations: Tensor) -> Tensor:
        """[E, 3] → [E, D]: an embedding of the vectors, or of their lengths.

        Args:
            edge_vector: Å.
            transformations: [T, 3, 3], orthogonal. The result is the mean over them.
        """
        if self.config.edge_input == "length":
            length = edge_vector.norm(dim=1, keepdim=True)
            value = expand_length(length, self.config.cutoff, self.config.radial_basis)
            identity = torch.eye(value.size(1), dtype=value.dtype, device=value.device)
            return embed_transformed(self.edge_encoder, value, identity[None])
        return embed_transformed(self.edge_encoder, edge_vector, transformations)

    def pass_messages(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> Tensor:
        """Attention layers and decoder: node [N, D], edge [E, D] → [N, 1], standardized."""
        for layer in self.layers:
            node, edge = layer(node, edge, edge_index)
            node = self.dropout(node)
            edge = self.dropout(edge) if layer.updates_edges else edge
        standardized: Tensor = self.node_decoder(node)
        return standardized
