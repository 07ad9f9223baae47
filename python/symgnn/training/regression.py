"""Fitting of density regression, in closed form.

Local features of all structures stay in memory, all features those of one structure at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from symgnn.errors import ConfigError, DatasetError
from symgnn.models.density_regression import DensityRegression, DensityRegressionConfig
from symgnn.models.embedded_atom import MARGIN
from symgnn.training.dataset import (
    LabeledGraph,
    build_labeled_graphs,
    checksums_of,
    choose_elements,
    copies_of,
    example_of,
    read_parts,
)
from symgnn.training.device import choose_device
from symgnn.training.embedded_atom import potential_file, set_relaxation
from symgnn.training.loop import predict, score_pooled
from symgnn.training.metrics import Metrics, compute_metrics
from symgnn.training.output import Scores, checked_output, output_alone, write_fit
from symgnn.training.pair_energies import PairEnergies
from symgnn.training.relatives import families, warn_of_relatives

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from ase.calculators.eam import EAM
    from numpy.typing import NDArray

    from symgnn.training.config import FitConfig
    from symgnn.training.dataset import LabeledFile

FEWEST_STRUCTURES = 3
"""For a jackknife, and so for scores on structures left out and for uncertainties. Relatives, which
are left out together, count as one."""

_SMALLEST_SCALE = 1e-6
_SMALLEST_SHARE = 5e-4
"""A feature that varies by less than this share of its mean is scaled as if it varied by that much:
what varies is as much rounding as anything else, and its weight would multiply rounding."""
_WHITENING_FLOOR = 0.02  # of standardized densities; directions that hardly vary count for little
_OUTERMOST, _SMALLEST_DISTANCE = 0.99, 1.0


@dataclass(frozen=True)
class Fit:
    """A finished fit.

    ``held_out`` scores every training structure with the map that was fitted without its group,
    pooled and by structure (those whose labels differ); it is None for fewer than three structures,
    as is then the model's uncertainty. ``validation`` is None without validation files.
    ``relatives`` names structures that are nearly the same, of which none was fitted to where
    another was left out.
    """

    best: Path
    features: int
    held_out: Metrics | None
    structures: dict[str, Metrics]
    validation: Metrics | None
    relatives: list[list[str]]


def relatives_among(items: Sequence[LabeledGraph], family: Sequence[int]) -> list[list[str]]:
    """Names of structures by family, of families that have more than one."""
    names = [
        [item.name for item, of in zip(items, family, strict=True) if of == number]
        for number in range(max(family, default=-1) + 1)
    ]
    return [together for together in names if len(together) > 1]


@dataclass
class _Moments:
    """Sums over the labeled atoms of one structure and one element, about the structure's means."""

    gram: Tensor
    product: Tensor
    mean: Tensor
    label: float


def fit(
    config: FitConfig,
    *,
    base: Path,
    report: Callable[[str, int, int], None] | None = None,
) -> Fit:
    """Fit a density regression and write ``best.ckpt`` and ``config.yaml``.

    Slopes come from differences between atoms of one structure and element: the mean of each
    structure and element is free in the fit, and the intercept of the model is the average over
    structures. Thermal copies count ``data.thermal_weight`` of each structure.

    Args:
        config: the fit.
        base: folder that relative paths in the configuration start from.
        report: called with what is being done and how much of it is.

    Raises:
        ConfigError: files are missing in the configuration, copies do not match, or the output
            holds the run of another model.
        DatasetError: a file without usable labels, or an element without labeled atoms.
        SymGNNError: the output cannot be written, or another process writes there.
    """
    with output_alone(base / config.output):
        return _Fitter(config, base, report).run()


def predict_held_out(model: DensityRegression, group: int, item: LabeledGraph) -> Tensor:
    """Barriers [N], eV, of a training structure by the map that was fitted without its group.

    Args:
        model: fitted; one without a jackknife has no such map, and predicts with all structures.
        group: of the structure, as ``jackknife`` in the checkpoint has it.
        item: the structure.
    """
    relaxed = relaxed_item(model, item)
    return _by_member(model, group, model.describe(*relaxed.graph.inputs), relaxed)


def relaxed_item(model: DensityRegression, item: LabeledGraph) -> LabeledGraph:
    """The same structure after relaxation by the model, if it relaxes any."""
    vectors = model.relaxed(*item.graph.inputs)
    return replace(item, graph=replace(item.graph, edge_vector=vectors))


def _scale(mean: Tensor, mean_square: Tensor) -> Tensor:
    """How much features [F] vary: standard deviations, with a floor."""
    deviation = (mean_square - mean.square()).clamp(min=0.0).sqrt()
    return torch.maximum(deviation, _SMALLEST_SHARE * mean.abs()) + _SMALLEST_SCALE


def _by_member(
    model: DensityRegression, group: int, features: Tensor, item: LabeledGraph
) -> Tensor:
    member = 1 + group if model.members > 1 else 0
    weight = model.weight[member, item.graph.species]
    return (features * weight).sum(1) + model.intercept[member, item.graph.species]


class _Fitter:
    def __init__(
        self, config: FitConfig, base: Path, report: Callable[[str, int, int], None] | None
    ) -> None:
        assert isinstance(config.model, DensityRegressionConfig)
        self.config, self.options, self.base = config, config.model, base
        self.output = checked_output(config, base)
        if not config.data.train:
            raise ConfigError(
                "data.train needs at least one file: name labeled structures in the configuration"
            )
        self.report = report or (lambda *_: None)
        self.device = choose_device(config.device)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        data = config.data
        parts = read_parts(
            {"train": data.train, "validation": data.validation, "thermal": data.thermal},
            base,
            data.label,
            data.label_error,
        )
        self.checksums = checksums_of(parts)
        self.elements = choose_elements(data.elements, parts["train"].values())
        self.structures = self._graphs(parts["train"])
        self.example = example_of(parts, data.label, self.elements)
        self.validation = self._graphs(parts["validation"])
        copies = self._graphs(parts["thermal"])
        self.copies = [[copies[k] for k in own] for own in copies_of(self.structures, copies)]
        self.family = families([item.graph for item in self.structures])
        warn_of_relatives(self.structures, self.validation)
        count = max(self.family, default=-1) + 1
        groups = min(self.options.jackknife_groups, count)
        self.groups = [of % groups for of in self.family] if count >= FEWEST_STRUCTURES else []
        self.model = DensityRegression(
            self.options, len(self.elements), 1 + groups if self.groups else 1
        ).to(self.device)
        self.local: dict[int, Tensor] = {}

    def _graphs(self, files: dict[str, LabeledFile]) -> list[LabeledGraph]:
        return build_labeled_graphs(
            list(files.values()),
            self.config.data.label,
            cutoff=self.options.cutoff,
            elements=self.elements,
            self_edges=False,
            device=self.device,
        )

    def run(self) -> Fit:
        with torch.inference_mode():
            self._prepare_relaxation()
            self._prepare_drag()
            self._standardize()
            labels = torch.cat([item.label for item in self.structures])
            labels = labels[~labels.isnan()]
            self.model.label_range.copy_(torch.stack([labels.min(), labels.max()]))
            moments, spread = self._collect_moments()
            self._solve(moments, spread)
            predictions = self._score_novelty_and_predict()
            held_out: Metrics | None = None
            structures: dict[str, Metrics] = {}
            found: dict[str, Tensor] = {}
            if self.groups:
                held_out, structures = score_held_out(self.model, self.structures, predictions)
                names = [item.name for item in self.structures]
                found = dict(zip(names, predictions, strict=True))
            validation = self._validate()
        best = write_fit(
            self.output,
            self.config,
            self.model,
            elements=self.elements,
            checksums=self.checksums,
            example=self.example,
            scores=Scores(held_out, structures, found, validation),
            jackknife=self.groups,
        )
        return Fit(
            best,
            sum(self.model.sizes),
            held_out,
            structures,
            validation,
            relatives_among(self.structures, self.family),
        )

    def _potential(self, name: str, margin: float = 0.0) -> EAM:
        potential = potential_file(name, self.base, self.elements)
        needed = potential.cutoff + margin
        if self.options.cutoff < needed:
            raise ConfigError(
                f"cutoff: {name} needs edges up to {needed:g} Å, and they end at "
                f"{self.options.cutoff:g} Å: choose at least that length"
            )
        return potential

    def _prepare_relaxation(self) -> None:
        """Steps by the stiffest motion of the first structure; all structures, relaxed."""
        relaxation, options = self.model.relaxation, self.options.relaxation
        if relaxation is None or options is None:
            return
        potential, first = self._potential(options.potential, MARGIN), self.structures[0]
        set_relaxation(relaxation, potential, self.elements, first.graph, options.rate)
        work, done = len(self.structures) + sum(map(len, self.copies)), 0
        for items in (self.structures, *self.copies):
            for number, item in enumerate(items):
                self.report("relaxation", done, work)
                items[number] = relaxed_item(self.model, item)
                done += 1

    def _prepare_drag(self) -> None:
        """Pair energies of the potential, at the densities that atoms have in the structures."""
        drag, options = self.model.local.drag, self.options.drag
        if drag is None or options is None:
            return
        potential = self._potential(options.potential)
        pairs = PairEnergies(
            potential,
            self.elements,
            [item.graph for item in self.structures],
        )
        drag.energy.copy_(torch.from_numpy(pairs.polynomials(options)))
        drag.mobility.copy_(options.rate / torch.from_numpy(pairs.stiffness(options)))

    def _local_of(self, item: LabeledGraph) -> Tensor:
        """Local features [N, own + coarse] as they are, computed once for each structure."""
        if id(item) not in self.local:
            self.local[id(item)] = self.model.local(*item.graph.inputs)
        return self.local[id(item)]

    def _standardized(self, item: LabeledGraph) -> Tensor:
        return self.model.standardize(self._local_of(item))

    def _describe(self, item: LabeledGraph) -> Tensor:
        return self.model.surroundings(self._standardized(item), *item.graph.inputs)

    def _standardize(self) -> None:
        """Mean and scale of each local feature over all atoms of the structures."""
        model, count = self.model, 0
        total = torch.zeros(model.local_mean.shape, dtype=torch.float64, device=self.device)
        square = torch.zeros_like(total)
        for number, item in enumerate(self.structures):
            self.report("local features", number, len(self.structures))
            values = self._local_of(item).double()
            total += values.sum(0)
            square += values.square().sum(0)
            count += len(values)
        mean = total / count
        model.local_mean.copy_(mean)
        model.local_scale.copy_(_scale(mean, square / count))

    def _collect_moments(self) -> tuple[list[list[_Moments | None]], Tensor]:
        """Moments by structure and element, and the standard deviation of each feature."""
        model = self.model
        moments: list[list[_Moments | None]] = []
        size = sum(model.sizes)
        total = torch.zeros(size, dtype=torch.float64, device=self.device)
        square, count = torch.zeros_like(total), 0
        work = len(self.structures) + sum(map(len, self.copies))
        done = 0
        for item, copies in zip(self.structures, self.copies, strict=True):
            self.report("features", done, work)
            features = self._describe(item)
            total += features.sum(0, dtype=torch.float64)
            square += features.double().square().sum(0)
            count += len(features)
            weight = 1.0 - self.config.data.thermal_weight if copies else 1.0
            row = [
                self._moments_of(features, item, element, weight)
                for element in range(len(self.elements))
            ]
            done += 1
            for copy in copies:
                self.report("features", done, work)
                features = self._describe(copy)
                share = self.config.data.thermal_weight / len(copies)
                for element, sums in enumerate(row):
                    if sums is not None:
                        self._add(sums, features, item, element, share)
                done += 1
            moments.append(row)
        mean = total / count
        spread = _scale(mean, square / count)
        for element, symbol in enumerate(self.elements):
            if all(row[element] is None for row in moments):
                raise DatasetError(
                    f"no atom of {symbol} has a label: nothing can be fitted for that element"
                )
        return moments, spread

    def _moments_of(
        self, features: Tensor, item: LabeledGraph, element: int, weight: float
    ) -> _Moments | None:
        chosen = (item.graph.species == element) & ~item.label.isnan()
        if not bool(chosen.any()):
            return None
        size = features.shape[1]
        share = (item.weight[chosen] / item.weight[chosen].sum()).double()
        sums = _Moments(
            torch.zeros(size, size, dtype=torch.float64, device=self.device),
            torch.zeros(size, dtype=torch.float64, device=self.device),
            share @ features[chosen].double(),
            float(share @ item.label[chosen].double()),
        )
        self._add(sums, features, item, element, weight)
        return sums

    def _add(
        self, sums: _Moments, features: Tensor, item: LabeledGraph, element: int, weight: float
    ) -> None:
        chosen = (item.graph.species == element) & ~item.label.isnan()
        x = (features[chosen].double() - sums.mean).float()
        weighted = weight * item.weight[chosen, None] * x
        sums.gram += (x.T @ weighted).double()
        sums.product += weighted.double().T @ (item.label[chosen].double() - sums.label)

    def _solve(self, moments: list[list[_Moments | None]], spread: Tensor) -> None:
        """The linear maps of every member: all structures, then all but one group.

        The penalty is that of weights that are normally distributed, those of different elements
        with correlation ``likeness``.
        """
        elements, features = len(self.elements), len(spread)
        covariance = torch.full((elements, elements), self.options.likeness, dtype=torch.float64)
        penalty = self.options.strength * torch.linalg.inv(covariance.fill_diagonal_(1.0))
        penalty = penalty.to(self.device)
        for member in range(self.model.members):
            self.report("solving", member, self.model.members)
            matrix = torch.zeros(
                elements, features, elements, features, dtype=torch.float64, device=self.device
            )
            matrix.diagonal(dim1=1, dim2=3).copy_(penalty[..., None].expand(-1, -1, features))
            product = torch.zeros(elements, features, dtype=torch.float64, device=self.device)
            parts = [self._parts_of(moments, element, member) for element in range(elements)]
            for element, present in enumerate(parts):
                gram = torch.stack([part.gram for part in present]).sum(0)
                matrix[element, :, element] += gram / (spread[:, None] * spread[None, :])
                product[element] = torch.stack([part.product for part in present]).sum(0) / spread
            size = elements * features
            solved = torch.linalg.solve(matrix.view(size, size), product.view(size))
            weights = solved.view(elements, features) / spread
            for element, present in enumerate(parts):
                offsets = [part.label - float(part.mean @ weights[element]) for part in present]
                self.model.weight[member, element] = weights[element]
                self.model.intercept[member, element] = float(np.mean(offsets))

    def _parts_of(
        self, moments: list[list[_Moments | None]], element: int, member: int
    ) -> list[_Moments]:
        """Moments of the structures that a member is fitted to."""
        present = [
            row[element]
            for number, row in enumerate(moments)
            if (member == 0 or self.groups[number] != member - 1) and row[element] is not None
        ]
        if not present:
            raise DatasetError(
                f"labels of {self.elements[element]} are all in one group of structures: label "
                "more, or leave that structure out"
            )
        return [part for part in present if part is not None]

    def _score_novelty_and_predict(self) -> list[Tensor]:
        """What distances to the training set are measured by; predictions of held-out structures.

        Returns:
            Barriers [N] of each structure by the member that was fitted without it.
        """
        model = self.model
        elements = range(len(self.elements))
        local: list[list[Tensor]] = [[] for _ in elements]
        predictions = []
        items = [*self.structures, *(copy for copies in self.copies for copy in copies)]
        for number, item in enumerate(self.structures):
            self.report("held-out predictions", number, len(self.structures))
            group = self.groups[number] if self.groups else 0
            predictions.append(_by_member(model, group, self._describe(item), item))
        for number, item in enumerate(items):
            self.report("novelty", number, 2 * len(items))
            own = self._standardized(item)[:, : model.own]
            for element in elements:
                local[element].append(own[item.graph.species == element])
        for element in elements:
            values = torch.cat(local[element])
            center, whitening = _whitening(values, _WHITENING_FLOOR)
            model.local_center[element], model.local_whitening[element] = center, whitening
            distance = ((values - center) @ whitening).square().sum(1)
            model.distance_scale[0, element] = outermost(distance.cpu().numpy())
        del local
        averages: list[list[Tensor]] = [[] for _ in elements]
        for number, item in enumerate(items):
            self.report("novelty", len(items) + number, 2 * len(items))
            own = self._standardized(item)[:, : model.own]
            around = model.distances(own, *item.graph.inputs)[2]
            for element in elements:
                averages[element].append(around[item.graph.species == element])
        for element in elements:
            values = torch.cat(averages[element])
            center, whitening = _whitening(values, 1e-4)
            model.average_center[element], model.average_whitening[element] = center, whitening
            distance = ((values - center) @ whitening).square().sum(1)
            model.distance_scale[1, element] = outermost(distance.cpu().numpy())
        return predictions

    def _validate(self) -> Metrics | None:
        if not self.validation:
            return None
        return score_pooled(predict(self.model, self.validation), self.validation)


def score_held_out(
    model: DensityRegression, structures: Sequence[LabeledGraph], predictions: Collection[Tensor]
) -> tuple[Metrics, dict[str, Metrics]]:
    """Scores of held-out structures, pooled and one by one; sets the model's noise from them.

    Args:
        model: gets the noise of labels around the predictions, by element.
        structures: those that the model was fitted to.
        predictions: [N] eV for each, by a model that was fitted without it.
    """
    species = torch.cat([item.graph.species for item in structures])
    prediction = torch.cat(tuple(predictions)).double()
    label = torch.cat([item.label for item in structures]).double()
    there = ~label.isnan()
    for element in range(model.elements):
        chosen = there & (species == element)
        x, square = prediction[chosen], (prediction - label)[chosen].square()
        design = torch.stack([torch.ones_like(x), x], dim=1)
        model.noise[element] = torch.linalg.lstsq(design, square[:, None]).solution[:, 0]
    pooled = compute_metrics(prediction.cpu().numpy(), label.cpu().numpy())
    scores = {
        item.name: compute_metrics(found.cpu().numpy(), item.label.cpu().numpy())
        for item, found in zip(structures, predictions, strict=True)
        if _has_spread(item.label)
    }
    return pooled, scores


def _has_spread(label: Tensor) -> bool:
    """Whether labels [N] differ between atoms, as a correlation needs."""
    labeled = label[~label.isnan()]
    return bool((labeled != labeled[0]).any())


def _whitening(values: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Mean, and the matrix whose columns are principal components over their standard deviations.

    Args:
        values: [n, C].
        floor: added to every variance.
    """
    x = values.double()
    center = x.mean(0)
    covariance = (x - center).T @ (x - center) / max(1, len(x) - 1)
    variance, components = torch.linalg.eigh(covariance)
    order = torch.arange(len(variance) - 1, -1, -1, device=variance.device)
    scale = (variance.clamp(min=0.0) + floor).rsqrt()
    return center.to(values.dtype), (components * scale)[:, order].to(values.dtype)


def outermost(distance: NDArray[np.floating]) -> float:
    """Squared distance that a percent of the training atoms exceed, by which others are measured.

    At least that of one standard deviation: atoms with equal surroundings, or a single atom, have
    no distance from their mean.

    Args:
        distance: [n], squared, in standard deviations.
    """
    return max(_SMALLEST_DISTANCE, float(np.quantile(distance, _OUTERMOST)))
