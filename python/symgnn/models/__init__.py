"""Networks, by name. Nothing here imports the rest of the package."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from .density_regression import DensityRegression, DensityRegressionConfig
from .drag import DragConfig
from .egnn import EGNNConfig
from .equivariant import EquivariantConfig
from .faenet import FAENetConfig
from .formula import Formula, FormulaConfig
from .gcn import GCNConfig
from .mgcn import MGCNConfig
from .mixture import Mixture, MixtureConfig
from .mlp import MLPConfig
from .mpnn import MPNNConfig
from .network import BarrierNetwork, NetworkConfig
from .normalization import settle_normalization
from .relaxation import RelaxationConfig
from .schnet import SchNetConfig
from .symgnn import SymGNN, SymGNNConfig, SymmetrizationConfig


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
