"""Sums over neighbors in smooth shells of distance. Written for TorchScript."""

import torch
from torch import Tensor

from symgnn.models.blocks import block_end, edge_block
from symgnn.models.densities import ramp


def shell_weights(length: Tensor, shells: list[float], width: float) -> Tensor:
    """Weight of a neighbor at ``length`` [E] in each shell, [E, shells]."""
    columns: list[Tensor] = []
    inside = torch.zeros_like(length)
    for radius in shells:
        within = ramp(length, radius, width)
        columns.append(within - inside)
        inside = within
    return torch.stack(columns, dim=1)


def shell_sums(
    values: Tensor,
    species: Tensor,
    edge_index: Tensor,
    edge_vector: Tensor,
    elements: int,
    by_element: bool,
    shells: list[float],
    ramp_width: float,
) -> tuple[Tensor, Tensor]:
    """Weighted sums over the neighbors of each center, and the sums of their weights.

    Args:
        values: [N, S or 1, H or 1, C], what atoms send to centers of each element in each shell,
            or to all alike.
        species: [N], index of the element.
        edge_index: [2, E], sorted by center; E > 0.
        edge_vector: [E, 3], Å.
        elements: S.
        by_element: sums for each element of the neighbors (G = S), or for all (G = 1).
        shells: outer radii, H of them, Å.
        ramp_width: over which an atom passes from one shell to the next, Å.

    Returns:
        [n, G, H, C] and [n, G, H], where rows belong to the centers from the first to the last.
    """
    if torch.ops.symgnn.has_kernel("shell_sums", edge_vector):
        sums, totals = torch.ops.symgnn.shell_sums(
            values, species, edge_index, edge_vector, elements, by_element, shells, ramp_width
        )
        return sums, totals
    return plain_shell_sums(
        values, species, edge_index, edge_vector, elements, by_element, shells, ramp_width
    )


def plain_shell_sums(
    values: Tensor,
    species: Tensor,
    edge_index: Tensor,
    edge_vector: Tensor,
    elements: int,
    by_element: bool,
    shells: list[float],
    ramp_width: float,
) -> tuple[Tensor, Tensor]:
    """What ``shell_sums`` is, on any device, in blocks of edges."""
    center, neighbor = edge_index[0], edge_index[1]
    first = int(center[0].item())
    atoms = int(center[-1].item()) - first + 1
    groups = elements if by_element else 1
    receivers, columns = values.size(1), values.size(3)
    # A column of ones adds up the weights.
    values = torch.cat([values, torch.ones_like(values[..., :1])], dim=3).flatten(0, 1)
    sums = torch.zeros(
        [atoms * groups, len(shells) * (columns + 1)], dtype=values.dtype, device=values.device
    )
    begin = 0
    while begin < center.size(0):
        end = block_end(center, begin, edge_block(values))
        receiver, sender = center[begin:end], neighbor[begin:end]
        rows = sender
        if receivers > 1:
            rows = sender * receivers + species.index_select(0, receiver)
        weight = shell_weights(edge_vector[begin:end].square().sum(1).sqrt(), shells, ramp_width)
        weighted = (weight[:, :, None] * values.index_select(0, rows)).flatten(1)
        row = (receiver - first) * groups
        if by_element:
            row = row + species.index_select(0, sender)
        low = int(row.min().item())
        high = int(row.max().item()) + 1
        sums[low:high].index_add_(0, row - low, weighted)
        begin = end
    result = sums.view(atoms, groups, len(shells), columns + 1)
    return result[..., :-1], result[..., -1]
