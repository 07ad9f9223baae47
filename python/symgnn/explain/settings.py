"""How explanations are made."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ExplanationSettings(BaseModel):
    """Of the edge mask and of what it is compared with."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    steps: int = Field(80, ge=1)
    """Of the optimization of the mask."""
    learning_rate: float = Field(0.1, gt=0.0)
    """Of Adam, on the logits of the mask."""
    size: float = Field(0.2, ge=0.0)
    """Weight of the mean of the mask in the loss."""
    entropy: float = Field(0.006, ge=0.0)
    """Weight of the mean entropy of the mask."""
    start: float = 2.0
    """Mean of the logits before the first step; their standard deviation is 0.1."""
    seed: int = Field(0, ge=0)
    """Of the first logits and the random edges."""
    seeds: int = Field(1, ge=1)
    """Masks to average; two or more also say how stable they are."""
    path_points: int = Field(12, ge=1)
    """Gauss-Legendre points of integrated gradients."""
    leave_out: int = Field(30, ge=0)
    """How many of the nearest neighbors are removed, one at a time."""
    draws: int = Field(2, ge=1)
    """Random sets of edges that the fidelity is compared with."""
