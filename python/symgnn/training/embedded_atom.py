"""Tables of an embedded-atom potential, which ASE reads, for ``models.embedded_atom``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline

from ..models.embedded_atom import INTERVALS, LOWEST, EmbeddedAtomForces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase.calculators.eam import EAM
    from numpy.typing import NDArray


def set_potential(forces: EmbeddedAtomForces, potential: EAM, elements: Sequence[str]) -> None:
    """Give forces the potential that they are by.

    Args:
        forces: to be set.
        potential: as ``pair_energies.potential_file`` reads it, with all elements.
        elements: chemical symbols, in the order of species.
    """
    source: Any = potential
    index = [list(source.elements).index(symbol) for symbol in elements]
    ends = LOWEST, float(source.cutoff) ** 2
    forces.cutoff.fill_(float(source.cutoff))
    for a, center in enumerate(index):
        for b, neighbor in enumerate(index):
            row = a * len(index) + b
            added = (neighbor, center) if source.form == "fs" else neighbor
            forces.density[row] = _of_squares(source.electron_density[added], ends)
            forces.slope[row] = _of_squares(
                source.d_electron_density[added], ends, over_length=True
            )
            forces.pair[row] = _of_squares(source.d_phi[center, neighbor], ends, over_length=True)
        largest = float((source.nrho - 1) * source.drho)
        forces.largest_density.fill_(largest)
        forces.embedding[a] = _table(source.d_embedded_energy[center], (0.0, largest))


def _of_squares(
    function: Callable[[Any], Any], ends: tuple[float, float], *, over_length: bool = False
) -> torch.Tensor:
    """Table of a function of the length, if wanted over the length, by squared lengths."""

    def of_square(square: NDArray[np.float64]) -> Any:
        length = np.sqrt(square)
        return function(length) / length if over_length else function(length)

    return _table(of_square, ends)


def _table(function: Callable[[Any], Any], ends: tuple[float, float]) -> torch.Tensor:
    """Cubic polynomials [INTERVALS, 4] that have the function's values and slopes at places."""
    places = np.linspace(*ends, INTERVALS + 1)
    width = places[1] - places[0]
    step = 1e-3 * width
    inner = np.clip(places, places[0] + step, places[-1] - step)
    slope = (function(inner + step) - function(inner - step)) / (2.0 * step)
    spline = CubicHermiteSpline(np.arange(len(places)), function(places), slope * width)
    return torch.from_numpy(spline.c[::-1].T.copy())
