"""Density regression with a weight on every edge, differentiable in the weights.

A weight w scales what the neighbor contributes to the densities of the center, hence pairs of
neighbors in angular densities by both weights. In an average over neighbors, w is the neighbor's
share and scales what it sends:

    Σ_j w_j s_j (w_j x_j) / Σ_j w_j s_j

so that weights of one are the regression, a weight of zero is as if there were no such edge, and
weights that fall together lead smoothly to an isolated atom.
"""

import torch
from torch import Tensor, nn

from symgnn.models.density_regression import DensityRegression
from symgnn.models.shells import shell_weights


class WeightedDensityRegression(nn.Module):
    """The barrier as a function of edge weights, before it is limited to the range of labels.

    ``reach``: length (Å) of the longest edge that matters to a center 0, 1 and 2 edges away.
    ``constants``: how many tensors ``start`` gives, the first of which has a row per edge.

    Atoms are sorted by the number of edges that lead to them from the explained ones: ``within[h]``
    of them are at most h edges away. Farther centers need less.

    Args:
        model: fitted, in the dtype of the export.
    """

    constants = 4

    own_mean: Tensor
    own_scale: Tensor
    coarse_mean: Tensor
    coarse_scale: Tensor
    own_weight: Tensor
    intercept: Tensor
    radial_weight: Tensor
    angular_weight: Tensor
    second_weight: Tensor

    def __init__(self, model: DensityRegression) -> None:
        super().__init__()
        config = model.config
        self.densities = model.local.densities
        self.elements, self.own = model.elements, model.own
        self.gaussians = model.local.radial // model.elements
        self.shells, self.shell_ramp = list(config.shells), config.shell_ramp
        self.smallest_total = model.smallest_total
        densities = self.densities
        coarse_cutoff = densities.coarse_reach + 0.5 * densities.coarse_ramp
        self.reach = [config.cutoff, config.cutoff, coarse_cutoff]
        elements, shells = model.elements, len(config.shells)
        for name, tensor in (("mean", model.local_mean), ("scale", model.local_scale)):
            self.register_buffer(f"own_{name}", tensor[: model.own].clone())
            self.register_buffer(f"coarse_{name}", tensor[model.own :].clone())
        # Weights [receiver, features] of the prediction, by what the features are made of.
        # The rest comes with dragging, which is not explained.
        own, radial, angular, second = model.weight[0].split(model.sizes, dim=1)[:4]
        self.register_buffer("own_weight", own.clone())
        self.register_buffer("intercept", model.intercept[0].clone())
        # What atoms send to receivers in shells, [sender, features, receiver · H].
        self.register_buffer(
            "radial_weight", _per_sender(radial.reshape(elements, elements, shells, -1))
        )
        self.register_buffer(
            "angular_weight", _per_sender(angular.reshape(elements, 1, shells, -1))[0]
        )
        self.register_buffer(
            "second_weight", _per_sender(second.reshape(elements, elements, shells, -1))
        )

    def start(
        self, species: Tensor, edge_index: Tensor, edge_vector: Tensor, within: list[int]
    ) -> list[Tensor]:
        """What does not depend on the weights."""
        center, neighbor = edge_index[0], edge_index[1]
        row = center * self.elements + species.index_select(0, neighbor)
        near = edge_vector[: edges_within(center, within[1])]
        fine = torch.cat([self.densities.radial_of(near), self.densities.moments_of(near)], dim=1)
        shells = shell_weights(near.square().sum(1).sqrt(), self.shells, self.shell_ramp)
        return [row, fine, shells, self.densities.coarse_of(edge_vector)]

    def forward(
        self,
        weight: Tensor,
        constants: list[Tensor],
        species: Tensor,
        edge_index: Tensor,
        within: list[int],
    ) -> Tensor:
        """Barriers [within[0], 1], eV, from weights [E] of the edges."""
        row, fine, shells, coarse = constants
        center, neighbor = edge_index[0], edge_index[1]
        first, near = edges_within(center, within[0]), fine.size(0)

        # Densities.
        gathered = self._sums(weight[:near, None] * fine, row[:near], within[1])
        local = torch.cat(
            [
                gathered[:, :, : self.gaussians].flatten(1),
                self.densities.spectra(gathered[:, :, self.gaussians :]),
            ],
            dim=1,
        )
        local = (local - self.own_mean) / self.own_scale
        around = self._sums(weight[:, None] * coarse, row, within[2]).flatten(1)
        around = (around - self.coarse_mean) / self.coarse_scale

        # Averages of coarse densities, hence what atoms near the explained ones send.
        share = weight[:near, None] * shells
        sent = (weight[:near, None] * share)[:, :, None]
        once = sent * around.index_select(0, neighbor[:near])[:, None, :]
        once = self._sums(once.flatten(1), row[:near], within[1])
        once = once.view(within[1], self.elements, len(self.shells), -1)
        total = self._sums(share, row[:near], within[1])
        once = once / total.clamp(min=self.smallest_total)[..., None]
        radial = local[:, : self.gaussians * self.elements]
        message = self._by_element(radial, self.radial_weight, species)
        message = message + self._by_element(once.flatten(1), self.second_weight, species)
        angular = torch.mm(local[:, self.gaussians * self.elements :], self.angular_weight)

        # What the explained atoms make of it.
        targets = species[: within[0]]
        barrier = (local[: within[0]] * self.own_weight.index_select(0, targets)).sum(1)
        barrier = barrier + self.intercept.index_select(0, targets)
        received = neighbor[:first] * self.elements + species.index_select(0, center[:first])
        total = total[: within[0]]
        barrier = barrier + self._averages(
            message, received, sent[:first, :, 0], row, total, within
        )
        total = total.sum(1, keepdim=True).expand_as(total)
        barrier = barrier + self._averages(
            angular, received, sent[:first, :, 0], row, total, within
        )
        return barrier[:, None]

    def _sums(self, values: Tensor, row: Tensor, atoms: int) -> Tensor:
        """Sums [atoms, S, C] of values [E, C] over neighbors of each element."""
        sums = torch.zeros(
            [atoms * self.elements, values.size(1)], dtype=values.dtype, device=values.device
        )
        return sums.index_add(0, row, values).view(atoms, self.elements, values.size(1))

    def _averages(
        self,
        message: Tensor,
        received: Tensor,
        sent: Tensor,
        row: Tensor,
        total: Tensor,
        within: list[int],
    ) -> Tensor:
        """What atoms [n] receive from messages [n, S · H], averaged over shells and summed."""
        values = message.reshape(-1, len(self.shells)).index_select(0, received)
        sums = self._sums(sent * values, row[: received.size(0)], within[0])
        return (sums / total.clamp(min=self.smallest_total)).flatten(1).sum(1)

    def _by_element(self, values: Tensor, weight: Tensor, species: Tensor) -> Tensor:
        """Messages [n, S · H] of values [n, C], by the element of the sender."""
        result = torch.zeros(
            [values.size(0), weight.size(2)], dtype=values.dtype, device=values.device
        )
        for element in range(self.elements):
            rows = (species[: values.size(0)] == element).nonzero()[:, 0]
            part = torch.mm(values.index_select(0, rows), weight[element])
            result = result.index_add(0, rows, part)
        return result


def edges_within(center: Tensor, atoms: int) -> int:
    """Number of edges whose center [E], sorted, is one of the first atoms."""
    return int((center < atoms).sum().item())


def _per_sender(weight: Tensor) -> Tensor:
    """[receiver, sender, H, features] to [sender, features, receiver · H]."""
    return weight.permute(1, 3, 0, 2).flatten(2).contiguous()
