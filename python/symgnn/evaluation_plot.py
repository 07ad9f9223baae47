"""The picture of an evaluation: labels against predictions, and reliability."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from .errors import DatasetError, SymGNNError
from .files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .evaluation import Evaluation, StructureEvaluation
    from .training.metrics import Reliability

_MOST_NAMES = 10  # structures in the legend
_BINS = 60  # hexagons across the parity plot


def check_format(path: Path) -> None:
    """Raise SymGNNError unless matplotlib can draw into a file of this name."""
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in formats:
        raise SymGNNError(
            f"the name {path.name} asks for no picture format: end it in .png, .pdf or .svg"
        )


def draw(evaluation: Evaluation, path: Path) -> None:
    """Draw labels over predictions; beside it, if the model has uncertainties, their reliability.

    Raises:
        DatasetError: there are no labels.
        SymGNNError: the file cannot be written.
    """
    metrics, reliability = evaluation.pooled, evaluation.pooled_reliability
    if metrics is None:
        raise DatasetError(f"no structure has labels, so there is nothing to draw in {path}")
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
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


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
        cmap="Greys",
        linewidths=0.1,
    )
    figure.colorbar(counts, ax=axes, label="atoms", shrink=0.8)
    axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle="--")
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
    if len(labeled) <= _MOST_NAMES:
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
