"""Normalization between layers, and where batch normalization takes its statistics from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable

Normalization = Literal["batch", "layer", "none"]


def make_normalization(kind: Normalization, channels: int) -> nn.Module:
    """Batch, layer or no normalization of [rows, channels]."""
    if kind == "batch":
        return nn.BatchNorm1d(channels)
    return nn.LayerNorm(channels) if kind == "layer" else nn.Identity()


def batch_affine(
    part: nn.BatchNorm1d, statistics: tuple[Tensor, Tensor] | None, rows: int
) -> tuple[Tensor, Tensor]:
    """Scale and shift that batch normalization comes down to, for rows that are not stored.

    In training, the statistics are those of the rows, and the running ones follow, as in torch.

    Args:
        part: its weights, its running statistics, its mode.
        statistics: mean and variance of the rows, [C], or [T, C] of T batches in a row; None where
            ``part`` does not train.
        rows: their number, in each batch.

    Returns:
        [C] or [T, C].
    """
    if statistics is None:
        assert part.running_mean is not None
        assert part.running_var is not None
        mean, variance = part.running_mean, part.running_var
    else:
        mean, variance = statistics
        if rows > 1:  # one row or none has no variance to remember
            _follow(part, mean.detach(), variance.detach() * (rows / (rows - 1)))
    scale = part.weight / torch.sqrt(variance + part.eps)
    return scale, part.bias - mean * scale


def _follow(part: nn.BatchNorm1d, mean: Tensor, variance: Tensor) -> None:
    """Let the running statistics follow those of one batch [C] or of several [T, C]."""
    assert part.running_mean is not None
    assert part.running_var is not None
    assert part.num_batches_tracked is not None
    for batch_mean, batch_variance in zip(
        mean.view(-1, part.num_features), variance.view(-1, part.num_features), strict=True
    ):
        part.num_batches_tracked += 1
        momentum = part.momentum
        if momentum is None:  # the average over all batches
            momentum = 1.0 / float(part.num_batches_tracked)
        part.running_mean.lerp_(batch_mean, momentum)
        part.running_var.lerp_(batch_variance, momentum)


class Standardization(nn.BatchNorm1d):
    """Inputs [rows, channels] minus their mean, over their standard deviation.

    Statistics are those of all structures so far, in training too, and not of the structure at
    hand, so that the difference between two structures remains.

    Args:
        channels: number of columns.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, momentum=None)

    def forward(self, rows: Tensor) -> Tensor:
        """[rows, channels] → the same shape."""
        if self.training:
            super().forward(rows.detach())
        return nn.functional.batch_norm(rows, self.running_mean, self.running_var, eps=self.eps)


def settle_normalization(model: nn.Module, graphs: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
    """Set the statistics of batch normalization to their averages over ``graphs``.

    Running averages lag behind the weights, do not belong to averaged weights, and know only
    displaced atoms: predictions are then off by a constant (0.1 to 0.2 eV where it was measured).

    Args:
        model: any network; it is in evaluation mode afterwards.
        graphs: its inputs (species, edge_index, edge_vector).
    """
    parts = [part for part in model.modules() if isinstance(part, nn.BatchNorm1d)]
    model.eval()
    if not parts:
        return
    momenta = [part.momentum for part in parts]
    for part in parts:
        part.reset_running_stats()
        part.momentum = None  # a plain average over the passes below
        part.train()
    with torch.no_grad():
        for graph in graphs:
            model(*graph)
    for part, momentum in zip(parts, momenta, strict=True):
        part.momentum = momentum
        part.eval()
