"""Networks, by name. Nothing here imports the rest of the package."""

from __future__ import annotations

from .normalization import settle_normalization
from .symgnn import SymGNN, SymGNNConfig, SymmetrizationConfig

ModelConfig = SymGNNConfig
"""Configuration of any registered architecture (tagged by ``architecture``)."""


def build_model(config: ModelConfig, elements: int) -> SymGNN:
    """A network with random weights for ``elements`` chemical elements."""
    return SymGNN(config, elements)


__all__ = [
    "ModelConfig",
    "SymGNN",
    "SymGNNConfig",
    "SymmetrizationConfig",
    "build_model",
    "settle_normalization",
]
