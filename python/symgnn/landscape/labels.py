"""Labels with error bars, from a catalog of searches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from symgnn.landscape.events import Catalog, Tally
    from symgnn.landscape.saddle import Search

ENERGY_BARRIER_ALL: Final = "energy_barrier_all"
"""`Atoms.arrays`: mean over all saddles that searches from the atom found, connected or not, eV."""

SEARCHES: Final = ("searches", "searches_converged", "searches_connected")
"""`Atoms.arrays`: searches of the atom: done, with a saddle, with one of the start."""

_PRIOR = 4  # degrees of freedom with which the spread within all atoms counts for each atom


def labeled(catalog: Catalog) -> Atoms:
    """The structure of a catalog with its labels as arrays; NaN where an atom has none.

    ``Atoms.info["saddle_searches"]`` says with what potential, from what structure (as it was
    given) and with what settings: labels can be compared only where these are the same.
    """
    atoms, tally, origin = catalog.structure(), catalog.tally(), catalog.origin()
    atoms.info["saddle_searches"] = {
        "structure_sha256": origin.structure,
        "potential_sha256": origin.potential,
        "relax": origin.relax,
        "settings": origin.settings.model_dump(mode="json"),
    }
    for name, values in label_columns(tally).items():
        atoms.set_array(name, values)
    return atoms


def label_columns(tally: Tally) -> dict[str, NDArray[np.generic]]:
    """Columns [N] of counts and of barriers, eV.

    ``energy_barrier`` is the mean over the connected saddles of an atom and ``energy_barrier_std``
    its standard error. The spread of a few saddles says little, and means of saddles that happen to
    lie close would seem sure: the variance s² of n saddles is taken with the variance S² within all
    atoms together, (4 S² + (n - 1) s²) / (4 + n - 1), the estimate of a scaled inverse χ² prior
    with four degrees of freedom (Gelman et al., Bayesian Data Analysis, section 2.6).
    ``benchmarks/published_labels.py`` compares such errors with real ones.
    """
    count = len(tally.searches)
    atom, barrier = tally.atom[tally.connected], tally.barrier[tally.connected]
    connected, mean, squares = moments(atom, barrier, count)
    converged, mean_of_all, _ = moments(tally.atom, tally.barrier, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (_PRIOR * pooled_spread(tally) ** 2 + squares) / (_PRIOR + connected - 1)
        error = np.where(connected > 0, np.sqrt(variance / connected), np.nan)
    counts = (tally.searches, converged, connected)
    return {
        ENERGY_BARRIER: mean,
        ENERGY_BARRIER_STD: error,
        ENERGY_BARRIER_ALL: mean_of_all,
        **dict(zip(SEARCHES, counts, strict=True)),
    }


def pooled_spread(tally: Tally) -> float:
    """Standard deviation of connected barriers within atoms, eV; NaN where no atom has two."""
    atom, barrier = tally.atom[tally.connected], tally.barrier[tally.connected]
    connected, _, squares = moments(atom, barrier, len(tally.searches))
    freedom = np.maximum(connected - 1, 0).sum()
    return float(np.sqrt(squares.sum() / freedom)) if freedom else float("nan")


def moments(
    atom: NDArray[np.int64], barrier: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Number, mean (NaN without any) and sum of squared deviations of the barriers of each atom."""
    number = np.bincount(atom, minlength=count).astype(np.int64)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(atom, barrier, minlength=count) / number
    squares = np.bincount(atom, np.square(barrier - mean[atom]), minlength=count)
    return number, mean.astype(np.float64), squares.astype(np.float64)


class Progress:
    """What a run of searches did so far."""

    def __init__(self, total: int) -> None:
        """Start the clock of ``total`` searches."""
        self.total, self.done = total, 0
        self._connected, self._sum = 0, 0.0
        self._began = time.monotonic()

    def add(self, result: Search) -> None:
        """Count one more search."""
        self.done += 1
        if result.status == "connected":
            self._connected += 1
            self._sum += result.barrier

    def text(self) -> str:
        """Searches per hour, share that is connected, running mean."""
        rate = 3600.0 * self.done / max(time.monotonic() - self._began, 1e-9)
        mean = f", mean {self._sum / self._connected:.3f} eV" if self._connected else ""
        share = self._connected / max(self.done, 1)
        return f"{rate:.0f} searches/h, {share:.0%} connected{mean}"
