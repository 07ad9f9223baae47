"""Fitting of a formula: least squares, and again without each structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from symgnn.errors import ConfigError, DatasetError
from symgnn.models.formula import Formula, FormulaConfig
from symgnn.training.dataset import build_labeled_graphs, checksums_of, example_of, read_parts
from symgnn.training.device import choose_device
from symgnn.training.metrics import compute_metrics
from symgnn.training.output import Scores, checked_output, output_alone, write_fit
from symgnn.training.regression import FEWEST_STRUCTURES, Fit, outermost, relatives_among
from symgnn.training.relatives import families, warn_of_relatives

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from symgnn.training.config import FitConfig
    from symgnn.training.dataset import LabeledGraph

_DIGITS = 5  # of the printed coefficients, which are those that are computed with
_SMALLEST_VARIANCE = 1e-12


@dataclass
class _Structure:
    """Averages [N, terms], species [N], label [N] (NaN: none) and weight [N] of one structure."""

    name: str
    averages: NDArray[np.float64]
    species: NDArray[np.int64]
    label: NDArray[np.float64]
    weight: NDArray[np.float64]


@dataclass
class _Numbers:
    """Coefficients [terms], eV per unit of the quantity, and intercepts [elements], eV."""

    coefficient: NDArray[np.float64]
    intercept: NDArray[np.float64]

    def __call__(self, structure: _Structure) -> NDArray[np.float64]:
        barrier: NDArray[np.float64] = (
            structure.averages @ self.coefficient + self.intercept[structure.species]
        )
        return barrier


def fit_formula(
    config: FitConfig,
    *,
    base: Path,
    report: Callable[[str, int, int], None] | None = None,
) -> Fit:
    """Fit the coefficients of a formula and write ``best.ckpt`` and ``config.yaml``.

    Slopes come from differences between atoms of one structure and element, intercepts are means
    over structures. All are rounded to five digits, as they are printed. The fits without one
    structure (and its relatives) each give the held-out scores, the spread of the coefficients and
    the uncertainty.

    Args:
        config: the fit, with data and terms.
        base: folder that relative paths belong to.
        report: called with what is being done, how much of it is done, and how much there is.

    Raises:
        ConfigError: no training files, other elements than the formula's, or an output in use.
        DatasetError: fewer than three structures, or an element without labels in one of them.
        SymGNNError: the output cannot be written, or another process writes there.
    """
    with output_alone(base / config.output):
        return _fit(config, base, report)


def _fit(config: FitConfig, base: Path, report: Callable[[str, int, int], None] | None) -> Fit:
    options = config.model
    assert isinstance(options, FormulaConfig)
    data, output = config.data, checked_output(config, base)
    if data.thermal:
        raise ConfigError("data.thermal: a formula has no use for copies; leave it out")
    if data.elements not in (None, options.elements):
        raise ConfigError("data.elements: leave it out; model.elements of the formula decides")
    parts = read_parts(
        {"train": data.train, "validation": data.validation}, base, data.label, data.label_error
    )
    device = choose_device(config.device)
    model = Formula(options).to(device)

    def read(part: str) -> list[LabeledGraph]:
        return build_labeled_graphs(
            list(parts[part].values()),
            data.label,
            cutoff=options.cutoff,
            elements=options.elements,
            self_edges=False,
            device=device,
        )

    def describe(part: str, graphs: list[LabeledGraph]) -> list[_Structure]:
        found = []
        for number, item in enumerate(graphs):
            if report is not None:
                report(f"quantities, {part}", number, len(graphs))
            found.append(_describe(model, item))
        return found

    graphs = read("train")
    family = families([item.graph for item in graphs])
    relatives = relatives_among(graphs, family)
    structures = describe("train", graphs)
    _check(structures, family, options.elements)
    numbers = _solve(structures, len(options.elements))
    others = [
        _solve(
            [structure for structure, of in zip(structures, family, strict=True) if of != left_out],
            len(options.elements),
        )
        for left_out in range(max(family) + 1)
    ]
    held_out = [others[of](structure) for of, structure in zip(family, structures, strict=True)]
    _fill(model, structures, numbers, others, held_out)
    labels = np.concatenate([structure.label for structure in structures])
    scores = {
        structure.name: compute_metrics(found, structure.label)
        for structure, found in zip(structures, held_out, strict=True)
        if np.nanstd(structure.label) > 0.0
    }
    pooled = compute_metrics(np.concatenate(held_out), labels)
    validation = None
    if data.validation:
        scored = read("validation")
        warn_of_relatives(graphs, scored)
        others_ = describe("validation", scored)
        validation = compute_metrics(
            np.concatenate([numbers(structure) for structure in others_]),
            np.concatenate([structure.label for structure in others_]),
        )
    predictions = {
        structure.name: torch.from_numpy(found)
        for structure, found in zip(structures, held_out, strict=True)
    }
    best = write_fit(
        output,
        config,
        model,
        elements=options.elements,
        checksums=checksums_of(parts),
        example=example_of(parts, data.label, options.elements),
        scores=Scores(pooled, scores, predictions, validation),
    )
    return Fit(best, len(options.terms), pooled, scores, validation, relatives)


def _describe(model: Formula, item: LabeledGraph) -> _Structure:
    with torch.inference_mode():
        species, edge_index, edge_vector = item.graph.inputs
        averages = model.averages(species, edge_index, edge_vector.double())[:, : model.terms]
    return _Structure(
        item.name,
        averages.cpu().numpy(),
        item.graph.species.cpu().numpy(),
        item.label.double().cpu().numpy(),
        item.weight.double().cpu().numpy(),
    )


def _check(
    structures: Sequence[_Structure], family: Sequence[int], elements: Sequence[str]
) -> None:
    if not structures:
        raise ConfigError(
            "data.train needs at least one file: name labeled structures in the configuration"
        )
    if max(family) + 1 < FEWEST_STRUCTURES:
        raise DatasetError(
            f"a formula needs {FEWEST_STRUCTURES} labeled structures that are not nearly the same, "
            f"to tell how much its coefficients can be trusted; there are {max(family) + 1}: label "
            "more"
        )
    for element, symbol in enumerate(elements):
        for structure in structures:
            if not (~np.isnan(structure.label[structure.species == element])).any():
                raise DatasetError(f"{structure.name}: no atom of {symbol} has a label")


def _solve(structures: Sequence[_Structure], elements: int) -> _Numbers:
    """Least squares about the means of each structure and element."""
    x_parts, y_parts = [], []
    means = []
    for structure in structures:
        for element in range(elements):
            chosen = (structure.species == element) & ~np.isnan(structure.label)
            x, y = structure.averages[chosen], structure.label[chosen]
            weight = structure.weight[chosen]
            mean_x, mean_y = np.average(x, 0, weight), np.average(y, weights=weight)
            means.append((element, mean_x, mean_y))
            x_parts.append(np.sqrt(weight)[:, None] * (x - mean_x))
            y_parts.append(np.sqrt(weight) * (y - mean_y))
    solution = np.linalg.lstsq(np.concatenate(x_parts), np.concatenate(y_parts), rcond=None)[0]
    coefficient = np.array([_rounded(value) for value in solution])
    intercept = [
        np.mean([y - x @ coefficient for of, x, y in means if of == element])
        for element in range(elements)
    ]
    return _Numbers(coefficient, np.array([_rounded(value) for value in intercept]))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _fill(
    model: Formula,
    structures: Sequence[_Structure],
    numbers: _Numbers,
    others: Sequence[_Numbers],
    held_out: Sequence[NDArray[np.float64]],
) -> None:
    """Put everything fitted into the model."""

    def put(name: str, values: NDArray[np.float64]) -> None:
        getattr(model, name).copy_(torch.as_tensor(values))

    put("coefficient", numbers.coefficient)
    put("intercept", numbers.intercept)
    put("coefficient_spread", np.std([other.coefficient for other in others], axis=0, ddof=1))
    put("intercept_spread", np.std([other.intercept for other in others], axis=0, ddof=1))
    species = np.concatenate([structure.species for structure in structures])
    averages = np.concatenate([structure.averages for structure in structures])
    error = np.concatenate(held_out) - np.concatenate([item.label for item in structures])
    for element in range(model.elements):
        chosen = species == element
        model.std[element] = _rounded(float(np.sqrt(np.nanmean(error[chosen] ** 2))))
        x = averages[chosen]
        center = x.mean(0)
        covariance = np.atleast_2d(np.cov(x.T, bias=True))
        variance, directions = np.linalg.eigh(covariance)
        whitening = directions / np.sqrt(variance.clip(min=0.0) + _SMALLEST_VARIANCE)
        model.center[element] = torch.as_tensor(center)
        model.whitening[element] = torch.as_tensor(whitening)
        distance = (((x - center) @ whitening) ** 2).sum(1)
        model.distance_scale[element] = outermost(distance)
