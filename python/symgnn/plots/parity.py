"""Labels against predictions, with the uncertainties of the model and their reliability."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from symgnn.errors import DatasetError, StructureError
from symgnn.evaluation import Evaluation, StructureEvaluation
from symgnn.keys import ENERGY_BARRIER, LABEL_COLUMN, LABEL_SUFFIX
from symgnn.label_columns import label_of
from symgnn.plots.frames import column_of
from symgnn.plots.style import COUNT_COLORS, SERIES
from symgnn.training.metrics import compute_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ase import Atoms
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from symgnn.training.metrics import Reliability

_MOST_NAMES = 10  # structures in the legend
_BINS = 60  # hexagons across the parity plot
_GROUPS = 10  # of atoms with similar predictions, each with one uncertainty bar


def compare_columns(
    frames: Iterable[Atoms],
    name: str,
    label: str | None = None,
    column: str = ENERGY_BARRIER,
    report: Callable[[str], None] | None = None,
) -> Evaluation:
    """The evaluation that structures with a column of predictions and one of labels stand for.

    Args:
        frames: structures of one file.
        name: of the file.
        label: per-atom column with the labels, eV, NaN for atoms without one; None takes the one
            that ``symgnn evaluate --predictions`` compared with, or ``energy_barrier_label``.
        column: per-atom column with the predictions, eV; their uncertainties have its name with
            ``_std`` appended, if they are there.
        report: called with the name of the file after each structure.

    Raises:
        StructureError: a structure lacks one of the columns, or there are no structures.
        DatasetError: labels that are no numbers, or whose correlation is undefined.
    """
    found = []
    for number, atoms in enumerate(frames):
        where = f"{name}, structure {number}"
        prediction = column_of(atoms, column, name, number)
        its_label = label or atoms.info.get(LABEL_COLUMN, ENERGY_BARRIER + LABEL_SUFFIX)
        truth = label_of(atoms, its_label, where)
        if truth is None:
            raise StructureError(
                f"{name} has no per-atom column {its_label} with labels: name theirs with --label,"
                " or compare a model with labels by"
                f" `symgnn evaluate MODEL {name} --plot parity.png`"
            )
        truth = np.where(np.isnan(prediction), np.nan, truth)
        try:
            metrics = compute_metrics(prediction, truth)
        except DatasetError as error:
            raise DatasetError(f"{where}: {error}") from error
        std = label_of(atoms, f"{column}_std", where)
        found.append(StructureEvaluation(name, prediction, std, truth, metrics, None))
        if report is not None:
            report(name)
    if not found:
        raise StructureError(f"{name}: --index selects no structures")
    return Evaluation(found)


def draw(evaluation: Evaluation) -> Figure:
    """Draw labels over predictions; beside it, if the model has uncertainties, their reliability.

    Raises:
        DatasetError: there are no labels.
    """
    metrics, reliability = evaluation.pooled, evaluation.pooled_reliability
    if metrics is None:
        raise DatasetError("no structure has labels, so there is nothing to draw")
    panels = 1 if reliability is None else 2
    figure = Figure(figsize=(5.2 * panels, 4.8), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _parity(evaluation.labeled, axes[0], figure)
    axes[0].set_title(
        f"{metrics.atoms} atoms, Pearson {metrics.pearson:.3f}, MAE {metrics.mae:.3f} eV",
        fontsize=10,
    )
    if reliability is not None:
        _reliability(evaluation.labeled, reliability, axes[1])
    return figure


def group_by_prediction(
    prediction: NDArray[np.float64], std: NDArray[np.float64], label: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean prediction, mean label and root-mean-square uncertainty of tenths of the atoms, [G, 3].

    The atoms are sorted by prediction and divided into groups of equal size. All in eV.
    """
    groups = np.array_split(np.argsort(prediction), min(_GROUPS, len(prediction)))
    return np.array(
        [
            (prediction[own].mean(), label[own].mean(), np.sqrt(np.square(std[own]).mean()))
            for own in groups
        ]
    )


def _parity(labeled: list[StructureEvaluation], axes: Axes, figure: Figure) -> None:
    """Atoms as hexagons by number, the mean of each structure, and the line of equality."""
    label = np.concatenate([s.label for s in labeled if s.label is not None])
    there = ~np.isnan(label)
    label, prediction = label[there], np.concatenate([s.prediction for s in labeled])[there]
    low = min(label.min(), prediction.min())
    high = max(label.max(), prediction.max())
    counts = axes.hexbin(
        prediction,
        label,
        gridsize=_BINS,
        extent=(low, high, low, high),
        bins="log",
        mincnt=1,
        cmap=COUNT_COLORS,
        linewidths=0.1,
    )
    figure.colorbar(counts, ax=axes, label="atoms", shrink=0.8)
    axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle="--")
    if all(s.std is not None for s in labeled):
        std = np.concatenate([s.std for s in labeled if s.std is not None])[there]
        middle, mean, deviation = group_by_prediction(prediction, std, label).T
        axes.errorbar(
            middle,
            mean,
            yerr=deviation,
            color=SERIES[1],
            linestyle="none",
            marker="s",
            markersize=3,
            linewidth=1.0,
            capsize=2.5,
            label="tenths of the atoms ± predicted std",
        )
    for number, structure in enumerate(labeled):
        if structure.label is None:
            continue
        own = ~np.isnan(structure.label)
        axes.plot(
            structure.prediction[own].mean(),
            structure.label[own].mean(),
            marker="o",
            markersize=7,
            markeredgecolor="white",
            color=colormaps["tab10"](number % 10),
            linestyle="none",
            label=f"mean of {Path(structure.name).name}" if len(labeled) <= _MOST_NAMES else None,
        )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=6, loc="upper left", framealpha=0.9)
    axes.set(xlabel="predicted energy barrier (eV)", ylabel="label (eV)", aspect="equal")


def _reliability(labeled: list[StructureEvaluation], pooled: Reliability, axes: Axes) -> None:
    """Observed over nominal coverage: of each structure, and of all atoms."""
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--")
    for number, structure in enumerate(labeled):
        each = structure.reliability
        if each is not None:
            color = colormaps["tab10"](number % 10)
            axes.plot(each.nominal, each.observed, color=color, linewidth=0.8, alpha=0.7)
    axes.plot(
        pooled.nominal, pooled.observed, color="black", marker="o", markersize=4, label="all atoms"
    )
    axes.legend(fontsize=8, loc="upper left")
    axes.set_title(f"68% interval holds {pooled.at(0.68):.1%}", fontsize=10)
    axes.set(xlabel="nominal coverage", ylabel="observed coverage", aspect="equal")
