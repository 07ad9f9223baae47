"""Some of the edges of a graph: blocks to walk through it in, short ones; for TorchScript."""

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


def edges_shorter_than(edge_vector: Tensor, cutoff: float) -> Tensor:
    """Numbers [n] of the edges among [E, 3] that are shorter than a cutoff, Å, in order."""
    if torch.ops.symgnn.has_kernel("edges_shorter_than", edge_vector):
        numbers: Tensor = torch.ops.symgnn.edges_shorter_than(edge_vector, cutoff)
        return numbers
    return (edge_vector.square().sum(1) < cutoff * cutoff).nonzero()[:, 0]


def chosen_edges(edge_index: Tensor, edges: Tensor) -> Tensor:
    """Some of the columns of edge_index [2, E]; faster than to select them in both rows at once."""
    return torch.stack([edge_index[0].index_select(0, edges), edge_index[1].index_select(0, edges)])
