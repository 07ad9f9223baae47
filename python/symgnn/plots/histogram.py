"""Distributions of barriers, and how they change over the frames of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from symgnn.plots.frames import barriers_of
from symgnn.plots.style import BARRIER_LABEL, SERIES, element_color, remove_frame
from symgnn.structures import timestep_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ase import Atoms
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_BINS = 49
_BAND = (10.0, 90.0)  # percentiles of the atoms, in the time series


@dataclass(frozen=True)
class Barriers:
    """Barriers of all frames of one file. F frames."""

    values: NDArray[np.float64]
    """[atoms of all frames], eV, without NaN."""
    symbols: NDArray[np.str_]
    """[atoms of all frames], their elements."""
    mean: NDArray[np.float64]
    """[F], eV."""
    band: NDArray[np.float64]
    """[F, 2], eV: 10th and 90th percentile."""
    step: NDArray[np.float64] | None
    """[F], time steps, if every frame names its own and they grow; else None."""

    @property
    def elements(self) -> list[str]:
        """Each once, in the order of the alphabet."""
        return [str(name) for name in np.unique(self.symbols)]

    def by_element(self) -> dict[str, NDArray[np.float64]]:
        """All barriers, then those of each element where there are several."""
        parts = {name: self.values[self.symbols == name] for name in self.elements}
        return {"all atoms": self.values} | (parts if len(parts) > 1 else {})


def collect(frames: Iterable[Atoms]) -> Barriers:
    """The barriers of annotated frames; see :func:`symgnn.plots.frames.iterate_annotated`."""
    values, symbols, steps = [], [], []
    for atoms in frames:
        barriers = barriers_of(atoms)
        there = ~np.isnan(barriers)
        values.append(barriers[there])
        symbols.append(np.array(atoms.get_chemical_symbols())[there])
        steps.append(timestep_of(atoms))
    return Barriers(
        values=np.concatenate(values),
        symbols=np.concatenate(symbols),
        mean=np.array([frame.mean() for frame in values]),
        band=np.array([np.percentile(frame, _BAND) for frame in values]),
        step=np.array(steps) if (np.diff(steps) > 0).all() else None,
    )


def draw(files: Mapping[str, Barriers]) -> Figure:
    """The distribution of each file (of each element, if it is one file), and its time series.

    Args:
        files: by the name that the picture shows. A file with several frames adds the time series.
    """
    changing = any(len(each.mean) > 1 for each in files.values())
    figure = Figure(figsize=(11.5 if changing else 6.0, 4.4), layout="constrained")
    axes = figure.subplots(1, 2 if changing else 1, squeeze=False)[0]
    (only, *others) = files.values()
    series = {name: each.values for name, each in files.items()} if others else only.by_element()
    elements = {} if others else {name: element_color(name) for name in only.elements}
    shares = draw_distributions(axes[0], series, elements)
    axes[0].set_ylim(0, max(shares) * (1.15 + 0.07 * len(series)))
    if changing:
        draw_series(axes[1], files)
    return figure


def draw_distributions(
    axes: Axes, series: Mapping[str, NDArray[np.float64]], colors: Mapping[str, str]
) -> list[float]:
    """Histograms over the same bins, the first one filled, each of area 1.

    Args:
        axes: where.
        series: barriers in eV by label.
        colors: by label, of those that do not take the next of ``SERIES``.

    Returns:
        The highest share of each series, per eV.
    """
    # Ends that are barriers themselves, so that each series, however small, has some in between.
    low = min(float(np.percentile(each, 0.1, method="lower")) for each in series.values())
    high = max(float(np.percentile(each, 99.9, method="higher")) for each in series.values())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    highest = []
    for number, (name, values) in enumerate(series.items()):
        shares, _, _ = axes.hist(
            values,
            bins=edges.tolist(),
            density=True,
            histtype="step" if number else "stepfilled",
            color=colors.get(name, SERIES[number % len(SERIES)]),
            alpha=1.0 if number else 0.45,
            linewidth=1.8 if number else 0,
            label=f"{name}: {values.mean():.2f} ± {values.std():.2f} eV",
        )
        highest.append(float(np.max(shares)))
    axes.set(xlabel=BARRIER_LABEL, ylabel="share of atoms per eV", xlim=edges[[0, -1]])
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.legend(frameon=False, loc="upper left", fontsize="small", alignment="left")
    remove_frame(axes)
    return highest


def draw_series(axes: Axes, files: Mapping[str, Barriers]) -> None:
    """Mean barrier over frames or time steps, and the band that holds 80% of the atoms.

    Files of a single frame are left out, and keep their color in the histogram beside it.
    """
    stepped = all(each.step is not None for each in files.values() if len(each.mean) > 1)
    for number, (name, each) in enumerate(files.items()):
        if len(each.mean) == 1:
            continue
        color = SERIES[number % len(SERIES)]
        place = each.step if stepped and each.step is not None else np.arange(len(each.mean))
        axes.fill_between(place, *each.band.T, color=color, alpha=0.18, linewidth=0)
        axes.plot(place, each.mean, color=color, marker="o", markersize=3, label=name)
    axes.set(xlabel="time step" if stepped else "frame", ylabel=BARRIER_LABEL)
    axes.set_title("mean, and the band that holds 80% of the atoms", fontsize="medium", loc="left")
    if len(files) > 1:
        axes.legend(frameon=False, fontsize="small")
    if not stepped:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    remove_frame(axes)
