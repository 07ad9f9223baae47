"""What a density regression knows of an atom itself: densities, and what dragging it tells.

Written for TorchScript.
"""

import torch
from torch import Tensor, nn

from symgnn.models.blocks import chosen_edges, edges_shorter_than
from symgnn.models.densities import LocalDensities
from symgnn.models.drag import DragEnergies


class LocalFeatures(nn.Module):
    """Features of each atom, from the edges of which it is the center.

    Args:
        densities: of its neighbors.
        drag: what dragging it tells, which is kept beside the radial densities: ``radial`` counts
            both.
    """

    def __init__(self, densities: LocalDensities, drag: DragEnergies | None) -> None:
        super().__init__()
        self.densities, self.drag = densities, drag
        self.cutoff = densities.cutoff
        self.radial = densities.radial + (0 if drag is None else drag.columns)
        self.angular, self.coarse = densities.angular, densities.coarse
        self.own = self.radial + self.angular

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Features [N, radial + angular + coarse]; zero for atoms without edges.

        The first are radial densities, then those of dragging.

        Args:
            species: [N], index of the element.
            edge_index: [2, E], sorted by center.
            edge_vector: [E, 3], Å.
        """
        result = torch.zeros(
            [species.size(0), self.own + self.coarse],
            dtype=edge_vector.dtype,
            device=edge_vector.device,
        )
        if self.drag is not None:
            if edge_index.size(1) > 0:
                first = int(edge_index[0, 0].item())
                dragged = self.drag(species, edge_index, edge_vector)
                columns = result[:, self.densities.radial : self.radial]
                columns[first : first + dragged.size(0)] = dragged
            near = edges_shorter_than(edge_vector, self.cutoff)
            edge_index, edge_vector = (
                chosen_edges(edge_index, near),
                edge_vector.index_select(0, near),
            )
        if edge_index.size(1) > 0:
            first = int(edge_index[0, 0].item())
            found = self.densities(species, edge_index, edge_vector)
            rows = result[first : first + found.size(0)]
            known = self.densities.radial
            rows[:, :known] = found[:, :known]
            rows[:, self.radial :] = found[:, known:]
        return result
