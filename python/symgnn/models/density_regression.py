"""Linear regression on densities of neighbors and their averages over the surroundings.

Features of an atom: its own densities (radial and angular, see ``densities``), if wanted what
dragging it tells (see ``drag``), averages of both over its neighbors in smooth shells (but for
angular densities, over those of each element), and, for coarse radial densities, the averages of
those averages. If wanted, also the variances of what dragging tells over the neighbors of each
element in the first shell, since a search started at an atom often ends in an easy event of a
neighbor. If wanted, all of that in a structure that has first relaxed (see ``relaxation``).
One linear map per central element turns them into the barrier. Radial densities averaged over
neighbor generations go back to Boattini et al., Phys. Rev. Lett. 127, 088007 (2021), for the
propensity of atoms in supercooled liquids.

Beside the map fitted to all structures stand the maps fitted without one group of them (delete-one
jackknife): their spread is the part of the uncertainty that more structures would remove.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from symgnn.models.blocks import chosen_edges, edges_shorter_than
from symgnn.models.densities import LocalDensities
from symgnn.models.drag import SLACK, DragConfig, DragEnergies
from symgnn.models.embedded_atom import MARGIN
from symgnn.models.local_features import LocalFeatures
from symgnn.models.network import NetworkConfig
from symgnn.models.relaxation import Relaxation, RelaxationConfig
from symgnn.models.shells import shell_sums


class DensityRegressionConfig(NetworkConfig):
    """Architecture ``density_regression``: features and penalty."""

    architecture: Literal["density_regression"] = "density_regression"
    cutoff: float = Field(7.0, gt=3.0)
    """Å, of edges."""
    density_cutoff: float | None = Field(None, gt=3.0)
    """Å, of radial densities and averages; null for that of edges."""
    relaxation: RelaxationConfig | None = None
    """How structures relax before anything looks at them; null for positions as they are."""
    drag: DragConfig | None = None
    """What dragging atoms tells, as further features; null for none."""
    radial: int = Field(26, ge=1)
    """Gaussians of width 0.2 Å between 2 Å and the cutoff, per element."""
    coarse: int = Field(10, ge=1)
    """Gaussians of width 0.4 Å between 2 and 5 Å, per element, for the averages of averages."""
    radii: list[float] = Field([2.6, 3.2, 4.2, 5.2], min_length=1)
    """Å, centers of the Gaussians that weight the angular moments."""
    widths: list[float] = Field([0.3, 0.4, 0.5, 0.5], min_length=1)
    """Å, of these Gaussians."""
    degree: int = Field(6, ge=1)
    """Largest l of the angular moments."""
    angular_cutoff: float = Field(6.0, gt=0.0)
    """Å."""
    shells: list[float] = Field([3.7, 6.4], min_length=1)
    """Å, outer radii of the shells over which neighbors are averaged."""
    shell_ramp: float = Field(0.8, gt=0.0)
    """Å, over which an atom passes from one shell to the next."""
    strength: float = Field(30.0, gt=0.0)
    """Of the ridge penalty on the weights of standardized features."""
    likeness: float = Field(0.0, ge=0.0, lt=1.0)
    """How alike the maps of elements are expected to be: the correlation of their weights in the
    penalty; 0 for maps that know nothing of each other."""
    jackknife_groups: int = Field(10, ge=2)
    """Groups that structures are dealt into, at most one per structure. Fewer than three structures
    are not grouped, and the model then gives no uncertainty."""
    components: int = Field(16, ge=1)
    """Principal components of an atom's densities whose averages the novelty score looks at."""

    def build(self, elements: int) -> DensityRegression:
        """A regression that still has to be fitted, without a jackknife."""
        return DensityRegression(self, elements)

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.self_edges:
            raise ValueError("self_edges: an atom is no neighbor of itself here; leave them out")
        if len(self.widths) != len(self.radii) or min(self.widths) <= 0.0:
            raise ValueError("radii and widths: give one positive width per radius")
        if sorted(self.shells) != self.shells or self.shells[0] <= 0.0:
            raise ValueError("shells: give positive radii in ascending order")
        reach = max(self.shells[-1] + 0.5 * self.shell_ramp, self.angular_cutoff, 5.5)
        if reach > self.radial_cutoff:
            raise ValueError("cutoff: no shell and no density may reach farther")
        if self.radial_cutoff > self.cutoff:
            raise ValueError("cutoff: densities end at density_cutoff, which must not be farther")
        if self.drag is not None and self.drag.cutoff > self.cutoff:
            raise ValueError(
                "cutoff: the energies of dragging need edges of"
                f" mobile + reach + {SLACK:g} = {self.drag.cutoff:g} Å"
            )
        if self.relaxation is not None and self.radial_cutoff > self.cutoff - MARGIN:
            raise ValueError(
                f"relaxation: atoms come nearer by up to {MARGIN:g} Å, so that densities may end "
                f"at {self.cutoff - MARGIN:g} Å: choose density_cutoff, or a greater cutoff"
            )
        if (
            self.relaxation is not None
            and self.drag is not None
            and self.relaxation.potential != self.drag.potential
        ):
            raise ValueError("relaxation.potential and drag.potential: name the same one in both")
        return self

    @property
    def radial_cutoff(self) -> float:
        """Å, of radial densities and averages."""
        return self.cutoff if self.density_cutoff is None else self.density_cutoff


class DensityRegression(nn.Module):
    """Graph in, mean activation energy of each atom out, with its uncertainty and novelty.

    This is the model as it is defined and fitted; ``scripted.density_regression`` is the same
    model in the steps that exported models take.

    Args:
        config: the features.
        elements: S.
        members: M linear maps: the one fitted to everything, then those of the jackknife.
    """

    smallest_total = 0.1
    """Of shell weights: an average over hardly any neighbors goes to zero, not to infinity."""

    local_mean: Tensor
    local_scale: Tensor
    weight: Tensor
    intercept: Tensor
    label_range: Tensor
    noise: Tensor
    local_center: Tensor
    local_whitening: Tensor
    average_center: Tensor
    average_whitening: Tensor
    distance_scale: Tensor

    def __init__(self, config: DensityRegressionConfig, elements: int, members: int = 1) -> None:
        super().__init__()
        self.config, self.elements, self.members = config, elements, members
        densities = LocalDensities(
            elements,
            cutoff=config.radial_cutoff,
            radial=config.radial,
            coarse=config.coarse,
            radii=config.radii,
            widths=config.widths,
            degree=config.degree,
            angular_cutoff=config.angular_cutoff,
        )
        drag = None if config.drag is None else DragEnergies(config.drag, elements)
        self.local = LocalFeatures(densities, drag)
        own, shells, coarse = self.local.own, len(config.shells), self.local.coarse
        self.own = own
        self.varied = 0 if drag is None or not drag.variances else drag.columns
        relaxation = config.relaxation
        self.relaxation = None if relaxation is None else Relaxation(relaxation, elements)
        self.sizes = [
            own,
            elements * shells * self.local.radial,
            shells * self.local.angular,
            elements * shells * elements * shells * coarse,
            elements * self.varied,
        ]
        self.components = min(config.components, own)
        averaged = shells * (self.components + 1)

        def buffer(name: str, *shape: int) -> None:
            self.register_buffer(name, torch.zeros(shape))

        buffer("local_mean", own + coarse)
        buffer("local_scale", own + coarse)
        buffer("weight", members, elements, sum(self.sizes))
        buffer("intercept", members, elements)
        buffer("label_range", 2)
        buffer("noise", elements, 2)
        buffer("local_center", elements, own)
        buffer("local_whitening", elements, own, own)
        buffer("average_center", elements, averaged)
        buffer("average_whitening", elements, averaged, averaged)
        buffer("distance_scale", 2, elements)
        self.local_scale.fill_(1.0)
        self.label_range.copy_(torch.tensor([-torch.inf, torch.inf]))
        self.distance_scale.fill_(1.0)

    @property
    def outputs(self) -> int:
        """Columns of the result: barrier, its uncertainty if there is a jackknife, novelty."""
        return 3 if self.members > 1 else 2

    def relaxed(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Vectors [E, 3] of edges in the structure that everything else looks at, Å."""
        if self.relaxation is None:
            return edge_vector
        vectors: Tensor = self.relaxation(species, edge_index, edge_vector)
        return vectors

    def standardized(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Standardized local features [N, own + coarse]."""
        return self.standardize(self.local(species, edge_index, edge_vector))

    def standardize(self, local: Tensor) -> Tensor:
        """Local features [N, own + coarse] of mean 0 and variance 1 over the training atoms."""
        return (local - self.local_mean) / self.local_scale

    def averages(
        self, values: Tensor, species: Tensor, edge_index: Tensor, edge_vector: Tensor, *, by: bool
    ) -> Tensor:
        """Averages of values [N, C] over shells, [N, G, H, C]; ``by`` element (G = S) or G = 1."""
        shells = self.config.shells
        groups = self.elements if by else 1
        result = values.new_zeros(len(values), groups, len(shells), values.shape[1])
        if edge_index.shape[1] == 0:
            return result
        sums, totals = shell_sums(
            values[:, None, None, :],
            species,
            edge_index,
            edge_vector,
            self.elements,
            by,
            shells,
            self.config.shell_ramp,
        )
        first = int(edge_index[0, 0])
        averages = sums / totals.clamp(min=self.smallest_total)[..., None]
        result[first : first + len(sums)] = averages
        return result

    def describe(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """All features of each atom [N, F], on which the regression is linear.

        As all methods but ``forward`` and ``relaxed``: of the structure as it is.
        """
        return self.surroundings(
            self.standardized(species, edge_index, edge_vector), species, edge_index, edge_vector
        )

    def surroundings(
        self, local: Tensor, species: Tensor, edge_index: Tensor, edge_vector: Tensor
    ) -> Tensor:
        """All features [N, F] from standardized local ones [N, own + coarse]."""
        graph = (species, *self.near(edge_index, edge_vector))
        radial, angular, coarse = local.split(
            [self.local.radial, self.local.angular, self.local.coarse], dim=1
        )
        once = self.averages(coarse, *graph, by=True).flatten(1)
        around = self.averages(radial, *graph, by=True)
        features = [
            radial,
            angular,
            around.flatten(1),
            self.averages(angular, *graph, by=False).flatten(1),
            self.averages(once, *graph, by=True).flatten(1),
        ]
        if self.varied > 0:
            squares = self.averages(radial[:, -self.varied :].square(), *graph, by=True)[:, :, 0]
            means = around[:, :, 0, -self.varied :]
            features.append((squares - means.square()).flatten(1))
        return torch.cat(features, dim=1)

    def near(self, edge_index: Tensor, edge_vector: Tensor) -> tuple[Tensor, Tensor]:
        """The edges of densities and averages, where others reach farther."""
        if self.config.radial_cutoff == self.config.cutoff:
            return edge_index, edge_vector
        near = edges_shorter_than(edge_vector, self.config.radial_cutoff)
        return chosen_edges(edge_index, near), edge_vector[near]

    def distances(
        self, local: Tensor, species: Tensor, edge_index: Tensor, edge_vector: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Squared Mahalanobis distances of an atom's own densities and of those around it.

        Args:
            local: [N, own], standardized.
            species: [N] int64.
            edge_index: [2, E], sorted by center.
            edge_vector: [E, 3], Å.

        Returns:
            [N] and [N], and what the second is the distance of: averages over shells of the first
            components and of the first distance, [N, shells · (components + 1)].
        """
        edge_index, edge_vector = self.near(edge_index, edge_vector)
        whitened = self._by_element(local, species, self.local_center, self.local_whitening)
        own = whitened.square().sum(1)
        scaled = own / self.distance_scale[0, species]
        values = torch.cat([whitened[:, : self.components], scaled[:, None]], dim=1)
        around = self.averages(values, species, edge_index, edge_vector, by=False).flatten(1)
        distance = self._by_element(around, species, self.average_center, self.average_whitening)
        return own, distance.square().sum(1), around

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Barrier (eV), its uncertainty (eV; with a jackknife) and novelty (0 to 1).

        Args:
            species: [N] int64.
            edge_index: [2, E], sorted by center.
            edge_vector: [E, 3], Å.

        Returns:
            [N, outputs].
        """
        edge_vector = self.relaxed(species, edge_index, edge_vector)
        features = self.describe(species, edge_index, edge_vector)
        distance = self.distance(features, species, edge_index, edge_vector)
        barrier = self.barriers(features, species)
        return combine(barrier, self.label_range, self.noise[species], distance)

    def barriers(self, features: Tensor, species: Tensor) -> Tensor:
        """Barriers [N, M] of all members, eV, not yet limited, from features [N, F]."""
        barrier = torch.einsum("nf,mnf->nm", features, self.weight[:, species])
        return barrier + self.intercept[:, species].T

    def distance(
        self, features: Tensor, species: Tensor, edge_index: Tensor, edge_vector: Tensor
    ) -> Tensor:
        """Squared distance [N] from the training set of atoms with features [N, F].

        The larger of those of ``distances``, in units of the outermost percent of training atoms.
        """
        own, around, _ = self.distances(features[:, : self.own], species, edge_index, edge_vector)
        scale = self.distance_scale[:, species]
        return torch.maximum(own / scale[0], around / scale[1])

    def _by_element(self, x: Tensor, species: Tensor, center: Tensor, matrix: Tensor) -> Tensor:
        result = torch.empty_like(x)
        for element in range(self.elements):
            chosen = species == element
            result[chosen] = (x[chosen] - center[element]) @ matrix[element]
        return result


def combine(barrier: Tensor, label_range: Tensor, noise: Tensor, distance: Tensor) -> Tensor:
    """The outputs of an atom from its barriers by all members.

    A linear map knows no bounds: far from the training structures, predictions end at the lowest
    and the highest label. The variance is that of labels around the fit on structures left out, a
    linear function of the barrier, plus the jackknife's (Efron and Stein, Ann. Stat. 9, 586
    (1981)), and the square of what was cut off. The novelty is one half where the distance reaches
    that of the outermost percent of the training atoms, or what was cut off the noise.

    Args:
        barrier: [N, M], eV; the first column is the prediction.
        label_range: [2], lowest and highest label, eV.
        noise: [N, 2], eV² and eV.
        distance: [N], squared, in units of the training set's 99th percentile.

    Returns:
        [N, 3], or [N, 2] without uncertainty where M = 1.
    """
    predicted = torch.minimum(torch.maximum(barrier[:, :1], label_range[0]), label_range[1])
    variance = (noise[:, :1] + noise[:, 1:] * predicted).clamp(min=1e-4)
    excess = (barrier[:, :1] - predicted).square()
    fourth = torch.maximum(distance[:, None].square().square(), (excess / variance).square())
    novelty = (1.0 - 1.0 / (1.0 + fourth)).clamp(0.0, 1.0)
    members = barrier.size(1) - 1
    if members == 0:
        return torch.cat([predicted, novelty], dim=1)
    others = barrier[:, 1:]
    spread = (others - others.mean(1, keepdim=True)).square().sum(1, keepdim=True)
    variance = variance + excess + spread * (float(members - 1) / float(members))
    return torch.cat([predicted, variance.sqrt(), novelty], dim=1)
