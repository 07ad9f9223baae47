"""Blocks of edges, in which exported models walk through a graph. Written for TorchScript."""

import torch
from torch import Tensor


def edge_block(tensor: Tensor) -> int:
    """Edges per block: as many as fit the cache of a processor, or as fill a GPU."""
    return 1 << 20 if tensor.is_cuda else 2048


def block_end(center: Tensor, begin: int, block: int) -> int:
    """End of a block of edges that starts at ``begin`` and does not divide the edges of a center.

    Args:
        center: [E], sorted.
        begin: first edge of the block.
        block: edges that it should have; it ends with the last edge of their last center.
    """
    if begin + block >= center.size(0):
        return center.size(0)
    last = center[begin + block - 1 : begin + block]
    return int(torch.searchsorted(center, last, right=True).item())
