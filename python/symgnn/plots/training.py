"""Training curves of runs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from symgnn.errors import DatasetError
from symgnn.plots.style import SERIES, remove_frame
from symgnn.training.loop import COLUMNS
from symgnn.training.output import BEST, METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_PANELS = {
    "training loss": {"": "loss"},
    "validation correlation": {
        "Pearson": "validation_pearson",
        "Spearman": "validation_spearman",
    },
    "validation error (eV)": {"RMSE": "validation_rmse", "MAE": "validation_mae"},
}
_STYLES: Final = ("-", "--")


@dataclass(frozen=True)
class Curves:
    """What a run recorded, by epoch; the columns of ``metrics.csv``."""

    columns: dict[str, NDArray[np.float64]]
    """[epochs] each."""

    @property
    def best(self) -> int:
        """Row of the epoch of best.ckpt.

        That of the highest validation Pearson correlation, or the last without validation.
        """
        pearson = self.columns["validation_pearson"]
        return len(pearson) - 1 if np.isnan(pearson).all() else int(np.nanargmax(pearson))

    def __str__(self) -> str:
        """What came out, in a line."""
        epoch = self.columns["epoch"][self.best]
        pearson = self.columns["validation_pearson"][self.best]
        score = "no validation" if np.isnan(pearson) else f"Pearson {pearson:.3f}"
        return f"epoch {epoch:.0f}, {score}"


def read_curves(folder: Path) -> Curves:
    """The curves of a run, finished or not.

    Args:
        folder: output of ``symgnn train``.

    Raises:
        DatasetError: the folder holds no run, or one without epochs.
    """
    path = folder / METRICS
    if not path.is_file():
        if (folder / BEST).is_file():
            raise DatasetError(
                f"{folder} holds a fit in closed form, which has no epochs and no curve: see it"
                f" with `symgnn report {folder} -o report.html`"
            )
        raise DatasetError(f"{folder} holds no {METRICS}: give the output folder of `symgnn train`")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS}
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path} is damaged: it should have the columns {', '.join(COLUMNS)};"
            " `symgnn train --resume` writes it anew"
        ) from error
    if not rows:
        raise DatasetError(f"{path} holds no epoch yet: try again when the first is done")
    return Curves(columns)


def draw(runs: Mapping[str, Curves]) -> Figure:
    """Loss, validation correlations and validation errors over epochs; a circle is the best epoch.

    Args:
        runs: by the name that the picture shows.
    """
    figure = Figure(figsize=(12.5, 3.9), layout="constrained")
    for axes, (label, lines) in zip(figure.subplots(1, 3), _PANELS.items(), strict=True):
        for number, curves in enumerate(runs.values()):
            color = SERIES[number % len(SERIES)]
            for style, column in zip(_STYLES, lines.values(), strict=False):
                _draw_line(axes, curves, column, color, style)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        remove_frame(axes)
        if len(lines) > 1:
            for style, name in zip(_STYLES, lines, strict=True):
                axes.plot([], [], color="0.3", linestyle=style, label=name)
            axes.legend(frameon=False, fontsize="small")
    handles = [
        Line2D(
            [], [], color=SERIES[number % len(SERIES)],
            label=f"{name}: best {curves}",
        )
        for number, (name, curves) in enumerate(runs.items())
    ]  # fmt: skip
    figure.legend(
        handles=handles, frameon=False, fontsize="small", loc="outside upper left", ncols=2
    )
    return figure


def _draw_line(axes: Axes, curves: Curves, column: str, color: str, style: str) -> None:
    epoch, values = curves.columns["epoch"], curves.columns[column]
    axes.plot(epoch, values, color=color, linestyle=style, linewidth=1.3)
    best = curves.best
    axes.plot(epoch[best], values[best], marker="o", markersize=5, color=color)
