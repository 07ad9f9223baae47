"""A mixture of density regression and network as exported models run it: both, step by step."""

from itertools import zip_longest

import torch
from torch import Tensor, nn

from symgnn.models.blocks import chosen_edges, edges_shorter_than
from symgnn.models.density_regression import combine
from symgnn.models.mixture import Mixture
from symgnn.scripted.density_regression import ExportedDensityRegression
from symgnn.scripted.symgnn import ExportedSymGNN
from symgnn.scripted.weighted_density_regression import edges_within


class ExportedMixture(nn.Module):
    """The scripted interface of a model file: ``forward``, or ``start``, ``step``, ``finish``.

    Channels of an atom are those of the regression, then those of the network. Of the edges a
    tensor keeps the vectors of all, then the features that the network gives to those within its
    cutoff, one after the other in rows of 3 + D numbers.

    Args:
        model: fitted and trained, in the dtype of the export.
    """

    def __init__(self, model: Mixture) -> None:
        super().__init__()
        self.share = model.config.share
        self.cutoff = model.config.network.cutoff
        self.regression = ExportedDensityRegression(model.regression)
        self.network = ExportedSymGNN(model.network)
        self.members = model.members
        self.regression_layers = self.regression.layers
        self.regression_constants = self.regression.explained.constants
        self.network_layers = len(self.network.layers)
        self.layers = max(self.regression_layers, self.network_layers)
        self.network_channels = self.network.copies * self.network.width
        self.channels = self.regression.channels + self.network_channels
        known, learned = self.regression.explained.reach, [self.cutoff] * self.network_layers
        self.reach = [max(pair) for pair in zip_longest(known, learned, fillvalue=0.0)]

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """From species [N], sorted edge_index [2, E], edge_vector [E, 3] in Å to [N, outputs]."""
        node, edge = self.start(species, edge_vector)
        for number in range(self.layers):
            node, edge = self.step(number, node, edge, edge_index)
        return self.finish(node)

    @torch.jit.export
    def start(self, species: Tensor, edge_vector: Tensor) -> tuple[Tensor, Tensor]:
        """Channels of atoms [N, C] and of edges [at most E, 3 + D]."""
        near = edges_shorter_than(edge_vector, self.cutoff)
        known, _ = self.regression.start(species, edge_vector)
        learned, features = self.network.start(species, edge_vector.index_select(0, near))
        return torch.cat([known, learned], dim=1), self._edges(edge_vector, features)

    def _edges(self, vector: Tensor, features: Tensor) -> Tensor:
        """Vectors [E, 3] and features [n, D] in one tensor."""
        columns, numbers = 3 + self.network_channels, vector.numel() + features.numel()
        rows = (numbers + columns - 1) // columns
        edge = torch.empty([rows * columns], dtype=vector.dtype, device=vector.device)
        edge[: vector.numel()] = vector.reshape(-1)
        edge[vector.numel() : numbers] = features.reshape(-1)
        edge[numbers:] = 0.0
        return edge.view(rows, columns)

    @torch.jit.export
    def step(
        self, layer: int, node: Tensor, edge: Tensor, edge_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One layer of both: channels of atoms and edges, updated."""
        numbers, first = edge.view(-1), 3 * edge_index.size(1)
        vector = numbers[:first].view(-1, 3)
        known = node[:, : self.regression.channels]
        if layer < self.regression_layers:
            known, _ = self.regression.step(layer, known, vector, edge_index)
        learned = node[:, self.regression.channels :].contiguous()
        if layer < self.network_layers:
            near = edges_shorter_than(vector, self.cutoff)
            width = self.network_channels
            features = numbers[first : first + near.size(0) * width].view(-1, width)
            learned, features = self.network.step(
                layer, learned, features, chosen_edges(edge_index, near)
            )
            if layer < self.network_layers - 1:  # the last layer leaves edges as they are
                edge = self._edges(vector, features)
        return torch.cat([known, learned], dim=1), edge

    @torch.jit.export
    def finish(self, node: Tensor) -> Tensor:
        """Outputs [N, 3] or [N, 2] from channels [N, C]: see ``combine``."""
        known = node[:, : self.regression.channels]
        learned = self.network.finish(node[:, self.regression.channels :].contiguous())
        barrier = (1.0 - self.share) * known[:, : self.members] + self.share * learned
        noise = self.regression.noise.index_select(0, known[:, -1].to(torch.int64))
        return combine(barrier, self.regression.label_range, noise, known[:, -2])

    @torch.jit.export
    def weighted_start(
        self, species: Tensor, edge_index: Tensor, edge_vector: Tensor, within: list[int]
    ) -> list[Tensor]:
        """What ``weighted`` needs and does not depend on the weights.

        Edges of the network among all edges, then what its parts need.
        """
        center = edge_index[0]
        farthest = edges_within(center, within[self.network_layers - 1])
        near = edges_shorter_than(edge_vector[:farthest], self.cutoff)
        used = edges_within(center, within[self.regression_layers - 1])
        constants = [near]
        constants += self.regression.weighted_start(
            species, edge_index[:, :used], edge_vector[:used], within
        )
        constants += self.network.weighted_start(
            species, chosen_edges(edge_index, near), edge_vector.index_select(0, near), within
        )
        return constants

    @torch.jit.export
    def weighted(
        self,
        weight: Tensor,
        constants: list[Tensor],
        species: Tensor,
        edge_index: Tensor,
        within: list[int],
    ) -> Tensor:
        """Barriers [within[0], 1], eV, before they are limited, with weights [E] of the edges."""
        near = constants[0]
        split = 1 + self.regression_constants
        used = constants[1].size(0)
        known = self.regression.weighted(
            weight[:used], constants[1:split], species, edge_index[:, :used], within
        )
        learned = self.network.weighted(
            weight.index_select(0, near),
            constants[split:],
            species,
            chosen_edges(edge_index, near),
            within,
        )
        barriers: Tensor = (1.0 - self.share) * known + self.share * learned
        return barriers
