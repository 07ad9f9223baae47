"""The picture of a benchmark: seconds over atoms, both logarithmic."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from matplotlib import colormaps
from matplotlib.figure import Figure

from symgnn.errors import SymGNNError
from symgnn.files import written_whole

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from symgnn.benchmark import Benchmark, Row

_LINES: Final = {
    "eager": "the network in plain torch",
    "annotation": "annotation",
    "neighbor_list": "its neighbor list alone",
    "limit": "arithmetic limit",
    "eam_step": "one EAM step (LAMMPS)",
}


def draw(benchmark: Benchmark, path: Path) -> None:
    """Draw one panel per number of threads; bars reach from the fastest round to the slowest.

    Raises:
        SymGNNError: nothing was measured, or the file cannot be written.
    """
    rows = [row for row in benchmark.annotation if row.series]
    counts = sorted({row.threads for row in rows})
    if not rows:
        raise SymGNNError(f"nothing was measured, so there is nothing to draw in {path}")
    figure = Figure(figsize=(5.4 * len(counts), 4.6), layout="constrained")
    panels = figure.subplots(1, len(counts), squeeze=False, sharey=True)[0]
    for axes, count in zip(panels, counts, strict=True):
        _draw_times(axes, [row for row in rows if row.threads == count])
        axes.set_title(f"{count} thread{'s' if count > 1 else ''}", fontsize=10)
    panels[0].set_ylabel("seconds")
    panels[0].legend(fontsize=8)
    figure.suptitle(f"{benchmark.model}, {benchmark.machine['processor']}", fontsize=10)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


def _draw_times(axes: Axes, rows: list[Row]) -> None:
    for number, (kind, label) in enumerate(_LINES.items()):
        points = sorted((row.atoms, row.series[kind].best) for row in rows if kind in row.series)
        if not points:
            continue
        middle = [median(seconds) for _, seconds in points]
        below = [m - min(seconds) for m, (_, seconds) in zip(middle, points, strict=True)]
        above = [max(seconds) - m for m, (_, seconds) in zip(middle, points, strict=True)]
        axes.errorbar(
            [atoms for atoms, _ in points],
            middle,
            yerr=[below, above],
            label=label,
            color=colormaps["tab10"](number),
            linestyle="--" if kind == "limit" else "-",
            marker="o",
            markersize=4,
            capsize=2,
        )
    axes.set(xscale="log", yscale="log", xlabel="atoms")
    axes.grid(which="both", linewidth=0.3, alpha=0.5)
