"""Networks, by name. Nothing here imports the rest of the package."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from symgnn.models.density_regression import DensityRegression, DensityRegressionConfig
from symgnn.models.drag import DragConfig
from symgnn.models.egnn import EGNNConfig
from symgnn.models.equivariant import EquivariantConfig
from symgnn.models.faenet import FAENetConfig
from symgnn.models.formula import Formula, FormulaConfig
from symgnn.models.gcn import GCNConfig
from symgnn.models.mgcn import MGCNConfig
from symgnn.models.mixture import Mixture, MixtureConfig
from symgnn.models.mlp import MLPConfig
from symgnn.models.mpnn import MPNNConfig
from symgnn.models.network import BarrierNetwork, NetworkConfig
from symgnn.models.normalization import settle_normalization
from symgnn.models.relaxation import RelaxationConfig
from symgnn.models.schnet import SchNetConfig
from symgnn.models.symgnn import SymGNN, SymGNNConfig, SymmetrizationConfig


def _symgnn_by_default(values: Any) -> Any:
    return {"architecture": "symgnn", **values} if isinstance(values, dict) else values


AnyNetworkConfig = Annotated[
    Annotated[
        # The registry: one line per network.
        SymGNNConfig
        | MLPConfig
        | GCNConfig
        | EGNNConfig
        | SchNetConfig
        | MGCNConfig
        | MPNNConfig
        | FAENetConfig
        | EquivariantConfig
        | MixtureConfig,
        Field(discriminator="architecture"),
    ],
    BeforeValidator(_symgnn_by_default),
]
"""Configuration of anything that is trained in epochs, at least in part, tagged by
``architecture`` (default: symgnn)."""


def build_model(
    config: NetworkConfig, elements: int
) -> BarrierNetwork | DensityRegression | Mixture | Formula:
    """A network with random weights, or a regression or formula to fit."""
    model: BarrierNetwork | DensityRegression | Mixture | Formula = config.build(elements)
    return model


__all__ = [
    "AnyNetworkConfig",
    "BarrierNetwork",
    "DensityRegression",
    "DensityRegressionConfig",
    "DragConfig",
    "Formula",
    "FormulaConfig",
    "Mixture",
    "MixtureConfig",
    "NetworkConfig",
    "RelaxationConfig",
    "SymGNN",
    "SymGNNConfig",
    "SymmetrizationConfig",
    "build_model",
    "settle_normalization",
]
