"""Dropout of tensors that are too large for one random number per element."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ByteDropout(nn.Module):
    """Zero elements at random in training and scale the others up, as ``nn.Dropout`` does.

    It draws 64 random bits for eight elements: on a CPU, drawing one number per edge and channel
    took a fifth of a training epoch. The probability is therefore a multiple of 1/256.

    Args:
        probability: of being zeroed, below 1.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.threshold = min(round(256 * probability), 255)

    def forward(self, value: Tensor) -> Tensor:
        """Any shape."""
        if not self.training or self.threshold == 0:
            return value
        words = torch.empty(-(-value.numel() // 8), dtype=torch.int64, device=value.device)
        numbers = words.random_(-(2**63), None).view(torch.uint8)[: value.numel()]
        if torch.ops.symgnn.has_kernel("byte_dropout", value):
            dropped: Tensor = torch.ops.symgnn.byte_dropout(value, numbers, self.threshold)
            return dropped
        factor = (numbers >= self.threshold).view(value.shape).to(value.dtype)
        return value * factor.mul_(256 / (256 - self.threshold))
