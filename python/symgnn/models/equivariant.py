"""SE(3)-equivariant network for glasses (Pezzicoli, Charpiat, Landes, arXiv 2211.03226).

Features of an atom are C channels of every angular momentum l up to a highest one; a neighbor's
are multiplied with a filter of distance and spherical harmonics of the direction, by the rules
that add angular momenta (Clebsch-Gordan coefficients, from e3nn):

    h_i'^(l₃) = Σ_j Σ_paths φ(|r_ij|) [Y^(l₁)(r_ij) ⊗ h_j^(l₂)]^(l₃)

so that features turn with the structure and those of l = 0 are invariant, angles included. Only
paths with even l₁ + l₂ + l₃ are kept, which makes the network invariant under reflections too, as
barriers are. Between layers, features of l = 0 pass a normalization and an activation, and
multiply those of higher l as gates.

φ is linear in K functions of the distance (two layers on Gaussians) which all layers share. Sums
over neighbors therefore come first, Σ_j φ_k Y^(l₁) ⊗ h_j, and the paths are evaluated once per
atom instead of once per edge.

Needs e3nn: ``pip install 'symgnn[baselines]'``.
"""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from symgnn.models.network import BarrierNetwork, MessagePassingConfig, make_decoder
from symgnn.models.normalization import Normalization, make_normalization
from symgnn.models.operations import NeighborTable, cosine_cutoff, sum_products
from symgnn.models.symgnn import expand_length


class EquivariantConfig(MessagePassingConfig):
    """Architecture ``equivariant``."""

    architecture: Literal["equivariant"] = "equivariant"
    width: int = Field(8, ge=1)
    """Channels of every angular momentum."""
    degree: int = Field(2, ge=0, le=6)
    """Highest angular momentum."""
    radial_functions: int = Field(6, ge=1)
    """K functions of the distance, learned on the Gaussians."""

    @model_validator(mode="after")
    def _e3nn_is_there(self) -> Self:
        if find_spec("e3nn") is None:
            raise ValueError("needs e3nn: pip install 'symgnn[baselines]'")
        return self

    def build(self, elements: int) -> EquivariantNetwork:
        """A network with random weights."""
        return EquivariantNetwork(self, elements)


def coupling_paths(filters: int, inputs: int, outputs: int) -> list[tuple[int, int, int]]:
    """All (l₁, l₂, l₃) up to these degrees that couple and conserve parity."""
    return [
        (first, second, third)
        for first in range(filters + 1)
        for second in range(inputs + 1)
        for third in range(abs(first - second), min(first + second, outputs) + 1)
        if (first + second + third) % 2 == 0
    ]


class EquivariantConvolution(nn.Module):
    """The sum over neighbors and paths, and a linear map of the atom's own features.

    Features of an atom are a list over l of tensors [N, C_l, 2l + 1].

    Args:
        inputs: C_l of the features, for l = 0, 1, …
        outputs: C_l of the result.
        degree: L, the highest l of the filters.
        radial_functions: K.
    """

    def __init__(
        self, inputs: list[int], outputs: list[int], *, degree: int, radial_functions: int
    ) -> None:
        super().__init__()
        from e3nn import o3

        self.outputs = outputs
        self.paths = coupling_paths(degree, len(inputs) - 1, len(outputs) - 1)
        self.weights = nn.ParameterList()
        for first, second, third in self.paths:
            shape = (radial_functions, inputs[second], outputs[third])
            terms = shape[0] * shape[1] * sum(path[2] == third for path in self.paths)
            self.weights.append(torch.randn(shape) / terms**0.5)
            # Of unit variance per component.
            coupling = o3.wigner_3j(first, second, third, dtype=torch.float64)
            coupling = coupling * (2 * third + 1) ** 0.5
            self.register_buffer(f"coupling_{first}{second}{third}", coupling, persistent=False)
        self.own = nn.ParameterList(
            torch.randn(before, after) / before**0.5
            for before, after in zip(inputs, outputs, strict=False)
        )

    def forward(
        self, node: list[Tensor], table: NeighborTable, spread: list[Tensor]
    ) -> list[Tensor]:
        """One convolution; spread: filters φ_k Y^(l), for each l of shape [N, M, K (2l + 1)]."""
        gathered = [table.gather(feature.flatten(1)) for feature in node]
        results = [
            torch.einsum("ncm,cd->ndm", feature, weight)
            for feature, weight in zip(node, self.own, strict=False)
        ]
        results += [
            node[0].new_zeros(len(node[0]), self.outputs[degree], 2 * degree + 1)
            for degree in range(len(results), len(self.outputs))
        ]
        for (first, second), group in itertools.groupby(
            zip(self.paths, self.weights, strict=True), key=lambda pair: pair[0][:2]
        ):
            products = sum_products(spread[first], gathered[second])
            products = products.unflatten(1, (-1, 2 * first + 1))
            products = products.unflatten(3, (-1, 2 * second + 1))
            for (*_, third), weight in group:
                coupling = self.get_buffer(f"coupling_{first}{second}{third}").to(weight.dtype)
                mixed = torch.einsum("nkacb,kcd->ndab", products, weight)
                results[third] = results[third] + torch.einsum("ndab,abm->ndm", mixed, coupling)
        return results


class Gate(nn.Module):
    """Activation that keeps features equivariant: those of l > 0 are multiplied by invariants.

    Args:
        channels: C of every l; of l = 0 there are C (L + 1), of which C L become gates.
        degree: L.
        normalization: of the invariants.
    """

    def __init__(self, channels: int, degree: int, normalization: Normalization) -> None:
        super().__init__()
        self.channels = channels
        self.normalization = make_normalization(normalization, channels * (degree + 1))

    def forward(self, node: list[Tensor]) -> list[Tensor]:
        """Features, C of every l."""
        invariant, *gates = self.normalization(node[0][..., 0]).split(self.channels, dim=1)
        gated = [
            feature * torch.sigmoid(gate)[..., None]
            for feature, gate in zip(node[1:], gates, strict=True)
        ]
        return [nn.functional.silu(invariant)[..., None], *gated]


class EquivariantNetwork(BarrierNetwork):
    """Equivariant convolutions with gates; the barrier is read from invariant features.

    Args:
        config: the architecture.
        elements: number of chemical elements.
    """

    def __init__(self, config: EquivariantConfig, elements: int) -> None:
        super().__init__()
        self.config = config
        channels, functions = config.width, config.radial_functions
        self.embedding = nn.Embedding(elements, channels)
        self.radial = nn.Sequential(
            nn.Linear(config.radial_basis, 2 * config.radial_basis),
            nn.SiLU(),
            nn.Linear(2 * config.radial_basis, functions),
        )
        degrees = [0, *[config.degree] * (config.layers - 1), 0]
        self.layers, self.gates = nn.ModuleList(), nn.ModuleList()
        for before, after in itertools.pairwise(degrees):
            inputs = [channels] * (before + 1)
            outputs = [channels * (after + 1), *[channels] * after]
            self.layers.append(
                EquivariantConvolution(
                    inputs, outputs, degree=config.degree, radial_functions=functions
                )
            )
            self.gates.append(Gate(channels, after, config.normalization))
        self.decoder = make_decoder(channels, 4 * channels)

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barriers [N, 1], standardized."""
        node = [self.embedding(species)[..., None]]
        table = NeighborTable(edge_index, len(species))
        spread = [table.spread(part) for part in self.filters(edge_vector)]
        for layer, gate in zip(self.layers, self.gates, strict=True):
            node = gate(layer(node, table, spread))
        standardized: Tensor = self.decoder(node[0][..., 0])
        return standardized

    def filters(self, edge_vector: Tensor) -> list[Tensor]:
        """φ_k Y^(l) of edge_vector [E, 3]: [E, K (2l + 1)] for each l."""
        from e3nn import o3

        config = self.config
        length = edge_vector.norm(dim=1, keepdim=True)
        basis = expand_length(length, config.cutoff, config.radial_basis)
        functions: Tensor = self.radial(basis) * cosine_cutoff(length, config.cutoff)
        harmonics: Tensor = o3.spherical_harmonics(
            list(range(config.degree + 1)), edge_vector, normalize=True, normalization="component"
        )
        sizes = [2 * degree + 1 for degree in range(config.degree + 1)]
        return [
            (functions[:, :, None] * part[:, None]).flatten(1)
            for part in harmonics.split(sizes, dim=1)
        ]
