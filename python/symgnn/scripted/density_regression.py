"""Density regression as exported models run it: steps with few numbers per atom.

First the structure relaxes, if it does, and edges follow. Then the regression takes three steps: it
is linear, so that a neighbor need not send its densities: it sends what they contribute to the
barrier, for each element and shell of the receiver. What is not linear is sent as it is: what
variances are taken of. A step sums what neighbors send; atoms exchange their channels between
steps, on one processor or on many.
"""

import torch
from torch import Tensor, nn

from symgnn.models.blocks import chosen_edges, edges_shorter_than
from symgnn.models.density_regression import DensityRegression, combine
from symgnn.models.embedded_atom import MARGIN
from symgnn.models.relaxation import STATE
from symgnn.models.shells import shell_sums
from symgnn.scripted.weighted_density_regression import WeightedDensityRegression

APPROACH = 1.5
"""Å, by which hardly any pair of atoms of a glass comes nearer while it relaxes."""


class ExportedDensityRegression(nn.Module):
    """The scripted interface of a model file: ``forward``, or ``start``, ``step``, ``finish``.

    Channels of an atom: barriers by all M members; messages [S, H, 2M] to receivers of each element
    in each shell, from radial densities and dragging, and from angular densities (later: [S, H, M],
    from first averages); what dragging tells, if its variances count; coarse densities; components
    of the novelty score; the distance it is made of; the element. While the structure relaxes: the
    state of that, and the element.

    Args:
        model: fitted, in the dtype of the export.
    """

    local_mean: Tensor
    local_scale: Tensor
    own_weight: Tensor
    own_intercept: Tensor
    radial_weight: Tensor
    angular_weight: Tensor
    second_weight: Tensor
    variance_weight: Tensor
    label_range: Tensor
    noise: Tensor
    local_center: Tensor
    local_whitening: Tensor
    average_center: Tensor
    average_whitening: Tensor
    distance_scale: Tensor
    isolated: Tensor
    isolated_distance: Tensor

    def __init__(self, model: DensityRegression) -> None:
        super().__init__()
        config = model.config
        self.local = model.local
        self.near = config.radial_cutoff < config.cutoff
        self.relaxation, self.state = model.relaxation, STATE
        self.passes = 0 if model.relaxation is None else model.relaxation.passes
        self.first_layer = 0 if model.relaxation is None else self.passes + 1
        self.layers = self.first_layer + 3
        # Å, how far each layer reads what neighbors are: in the first of the regression elements.
        averaged = config.shells[-1] + 0.5 * config.shell_ramp
        self.reach = [config.cutoff, averaged, averaged]
        if model.relaxation is not None:
            forces = min(float(model.relaxation.forces.cutoff) + MARGIN, config.cutoff)
            averaged = min(averaged + APPROACH, config.cutoff)
            self.reach = [forces] * self.passes + [config.cutoff, config.cutoff, averaged, averaged]
        self.radial_cutoff = config.radial_cutoff
        self.explained = WeightedDensityRegression(model)
        self.elements, self.members, self.own = model.elements, model.members, model.own
        self.shells, self.shell_ramp = list(config.shells), config.shell_ramp
        self.smallest_total = model.smallest_total
        self.radial, self.angular = model.local.radial, model.local.angular
        self.coarse, self.components = model.local.coarse, model.components
        self.varied = model.varied
        self.message = model.elements * len(config.shells) * model.members
        self.common = self.varied + self.coarse + self.components + 1
        self.first_common = model.members + 2 * self.message
        self.channels = self.first_common + self.common + 1

        for name in (
            "local_mean",
            "local_scale",
            "label_range",
            "noise",
            "local_center",
            "local_whitening",
            "average_center",
            "average_whitening",
            "distance_scale",
        ):
            self.register_buffer(name, getattr(model, name).clone())
        # Weights [M, receiver, features], by what the features are made of.
        own, radial, angular, second, variance = model.weight.split(model.sizes, dim=2)
        members, receivers, shells = model.members, model.elements, len(config.shells)
        self.register_buffer("own_weight", own.permute(1, 2, 0).contiguous())
        self.register_buffer("own_intercept", model.intercept.T.contiguous())
        self.register_buffer(
            "radial_weight",
            _per_sender(radial.reshape(members, receivers, self.elements, shells, self.radial)),
        )
        self.register_buffer(
            "angular_weight",
            _per_sender(angular.reshape(members, receivers, 1, shells, self.angular))[0],
        )
        self.register_buffer(
            "second_weight",
            _per_sender(second.reshape(members, receivers, self.elements, shells, -1)),
        )
        self.register_buffer("variance_weight", variance.permute(1, 2, 0).contiguous())
        # What atoms without neighbors are.
        species = torch.arange(self.elements)
        zeros = torch.zeros(self.elements, self.own + self.coarse, dtype=self.noise.dtype)
        self.register_buffer("isolated", self._of_local(zeros, species))
        around = torch.zeros_like(self.average_center)
        self.register_buffer("isolated_distance", self._average_distance(around, species))

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """From species [N], sorted edge_index [2, E], edge_vector [E, 3] in Å to [N, outputs]."""
        node, edge = self.start(species, edge_vector)
        for number in range(self.layers):
            node, edge = self.step(number, node, edge, edge_index)
        return self.finish(node)

    @torch.jit.export
    def start(self, species: Tensor, edge_vector: Tensor) -> tuple[Tensor, Tensor]:
        """Channels [N, at least C], so far the element alone; vectors of edges [E, 3]."""
        columns = max(self.channels, self.state + 1)
        node = torch.zeros(
            [species.size(0), columns], dtype=edge_vector.dtype, device=edge_vector.device
        )
        node[:, -1] = species.to(node.dtype)
        return node, edge_vector

    @torch.jit.export
    def step(
        self, layer: int, node: Tensor, edge: Tensor, edge_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Relaxation, its edges; own densities, first averages, averages of averages.

        Gives channels [N, C] and vectors of edges [E, 3].
        """
        relaxation = self.relaxation
        if relaxation is not None:
            if layer < self.passes:
                return self._relaxed(layer, node, edge, edge_index), edge
            if layer == self.passes:
                return node, relaxation.moved(node, edge_index, edge)
        if layer == self.first_layer:
            return self._own(node, edge, edge_index), edge
        near_index, near = edge_index, edge
        if self.near:
            numbers = edges_shorter_than(edge, self.radial_cutoff)
            near_index, near = chosen_edges(edge_index, numbers), edge.index_select(0, numbers)
        if layer == self.first_layer + 1:
            return self._first_averages(node, near, near_index), edge
        return self._second_averages(node, near, near_index), edge

    @torch.jit.export
    def finish(self, node: Tensor) -> Tensor:
        """Outputs [N, 3] or [N, 2] from channels [N, C]: see ``combine``."""
        noise = self.noise.index_select(0, node[:, -1].to(torch.int64))
        return combine(node[:, : self.members], self.label_range, noise, node[:, -2])

    @torch.jit.export
    def weighted_start(
        self, species: Tensor, edge_index: Tensor, edge_vector: Tensor, within: list[int]
    ) -> list[Tensor]:
        """See ``WeightedDensityRegression.start``."""
        return self.explained.start(species, edge_index, edge_vector, within)

    @torch.jit.export
    def weighted(
        self,
        weight: Tensor,
        constants: list[Tensor],
        species: Tensor,
        edge_index: Tensor,
        within: list[int],
    ) -> Tensor:
        """See ``WeightedDensityRegression``."""
        barriers: Tensor = self.explained(weight, constants, species, edge_index, within)
        return barriers

    def _relaxed(self, number: int, node: Tensor, edge: Tensor, edge_index: Tensor) -> Tensor:
        """State and element [N, 8] after a step down the slope."""
        relaxation = self.relaxation
        assert relaxation is not None
        species = node[:, -1].to(torch.int64)
        state = relaxation.step(number, slice_of(node, 0, self.state), species, edge_index, edge)
        return torch.cat([state, node[:, -1:]], dim=1)

    def _own(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> Tensor:
        species = node[:, -1].to(torch.int64)
        result = self.isolated.index_select(0, species)
        if edge_index.size(1) > 0:
            # Channels of the centers alone: ghosts have none yet.
            first = int(edge_index[0, 0].item())
            end = int(edge_index[0, -1].item()) + 1
            found = self.local(species, edge_index, edge)[first:end]
            result[first:end] = self._of_local(found, species[first:end])
        return result

    def _of_local(self, densities: Tensor, species: Tensor) -> Tensor:
        """Channels [n, C] from local densities [n, own + coarse]."""
        local = (densities - self.local_mean) / self.local_scale
        result = torch.zeros(
            [species.size(0), self.channels], dtype=local.dtype, device=local.device
        )
        for element in range(self.elements):
            rows = (species == element).nonzero()[:, 0]
            x = local.index_select(0, rows)
            densities_of = x[:, : self.own]
            whitened = densities_of - self.local_center[element]
            whitened = torch.mm(whitened, self.local_whitening[element])
            distance = whitened.square().sum(1, keepdim=True) / self.distance_scale[0, element]
            from_radial = torch.mm(densities_of[:, : self.radial], self.radial_weight[element])
            from_angular = torch.mm(densities_of[:, self.radial :], self.angular_weight)
            messages = torch.cat([self._by_shell(from_radial), self._by_shell(from_angular)], dim=3)
            channels = torch.cat(
                [
                    torch.mm(densities_of, self.own_weight[element]) + self.own_intercept[element],
                    messages.flatten(1),
                    x[:, self.radial - self.varied : self.radial],
                    x[:, self.own :],
                    whitened[:, : self.components],
                    distance,
                    torch.full_like(distance, float(element)),
                ],
                dim=1,
            )
            result.index_copy_(0, rows, channels)
        return result

    def _first_averages(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> Tensor:
        species = node[:, -1].to(torch.int64)
        result = node.clone()
        messages = slice_of(result, self.members, 2 * self.message)
        messages.zero_()
        distances = slice_of(result, self.channels - 2, 1)[:, 0]
        distances.copy_(torch.maximum(node[:, -2], self.isolated_distance.index_select(0, species)))
        if edge_index.size(1) == 0:
            return result
        members = self.members
        messages_of = self._by_shell(slice_of(node, members, 2 * self.message))
        for_all = slice_of(node, self.first_common, self.common)
        varied = self.varied
        if varied > 0:
            for_all = torch.cat([for_all[:, :varied].square(), for_all], dim=1)
        sent, totals = self._sums(messages_of, species, edge, edge_index)
        common, _ = self._sums(for_all[:, None, None, :], species, edge, edge_index)
        first, rows = int(edge_index[0, 0].item()), sent.size(0)
        total = totals.clamp(min=self.smallest_total)[..., None]
        total_of_all = totals.sum(1).clamp(min=self.smallest_total)[..., None]

        barrier = slice_of(result[first : first + rows], 0, members)
        barrier += (sent[..., :members] / total).sum(2).sum(1)
        barrier += (sent[..., members:].sum(1) / total_of_all).sum(1)
        means = common[:, :, 0, : 2 * varied] / total[:, :, 0]
        variances = means[..., :varied] - means[..., varied:].square()
        common = common[..., 2 * varied :]
        once = (common[..., : self.coarse] / total).flatten(1)
        around = (common[..., self.coarse :].sum(1) / total_of_all).flatten(1)
        chosen = species[first : first + rows]
        distances[first : first + rows] = torch.maximum(
            node[first : first + rows, -2], self._average_distance(around, chosen)
        )
        second = messages[first : first + rows, : self.message]
        for element in range(self.elements):
            of_element = (chosen == element).nonzero()[:, 0]
            message = torch.mm(once.index_select(0, of_element), self.second_weight[element])
            second.index_copy_(0, of_element, message)
            if varied > 0:
                x = variances.index_select(0, of_element).flatten(1)
                barrier.index_add_(0, of_element, torch.mm(x, self.variance_weight[element]))
        return result

    def _second_averages(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> Tensor:
        species = node[:, -1].to(torch.int64)
        result = node.clone()
        if edge_index.size(1) == 0:
            return result
        messages = self._by_shell(slice_of(node, self.members, self.message))
        sums, totals = self._sums(messages, species, edge, edge_index)
        averages = sums / totals.clamp(min=self.smallest_total)[..., None]
        first = int(edge_index[0, 0].item())
        barrier = slice_of(result[first : first + sums.size(0)], 0, self.members)
        barrier += averages.sum(2).sum(1)
        return result

    def _by_shell(self, messages: Tensor) -> Tensor:
        """A view [n, S, H, …] of messages [n, S · H · …]."""
        shells = len(self.shells)
        width = messages.size(1) // (self.elements * shells)
        return messages.view(messages.size(0), self.elements, shells, width)

    def _sums(
        self, values: Tensor, species: Tensor, edge: Tensor, edge_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums [n, S, H, C] of values [N, S or 1, H or 1, C], and of weights [n, S, H]."""
        return shell_sums(
            values,
            species,
            edge_index,
            edge,
            self.elements,
            True,
            self.shells,
            self.shell_ramp,
        )

    def _average_distance(self, around: Tensor, species: Tensor) -> Tensor:
        """Squared distance [n] of averages [n, H · components] from those of the training set."""
        result = torch.zeros([around.size(0)], dtype=around.dtype, device=around.device)
        for element in range(self.elements):
            rows = (species == element).nonzero()[:, 0]
            x = around.index_select(0, rows) - self.average_center[element]
            x = torch.mm(x, self.average_whitening[element])
            result.index_copy_(0, rows, x.square().sum(1) / self.distance_scale[1, element])
        return result


def slice_of(tensor: Tensor, begin: int, width: int) -> Tensor:
    """A view of columns begin … begin + width − 1."""
    return tensor.narrow(1, begin, width)


def _per_sender(weight: Tensor) -> Tensor:
    """[M, receiver, sender, H, features] to [sender, features, receiver · H · M]."""
    return weight.permute(2, 4, 1, 3, 0).flatten(2).contiguous()
