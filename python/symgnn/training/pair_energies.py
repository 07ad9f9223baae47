"""Energies of pairs of atoms, from an embedded-atom potential and the structures it is used on.

The energy of an embedded atom is linear in the density around it, as long as this stays near the
mean of its element: E ≈ Σ φ_ab(r) + F'_a ρ_b(r) + F'_b ρ_a(r) over pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from symgnn.models.drag import INTERVALS, LOWEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase.calculators.eam import EAM
    from numpy.typing import NDArray

    from symgnn.graph import Graph
    from symgnn.models.drag import DragConfig

_LENGTHS = 2000  # at which structures' distances are counted


class PairEnergies:
    """Energies of pairs at the mean density of each element.

    Args:
        potential: as ``embedded_atom.potential_file`` reads it, with all elements.
        elements: chemical symbols, in the order of species.
        graphs: structures, with a cutoff at which little of the density is missing.
    """

    def __init__(self, potential: EAM, elements: Sequence[str], graphs: Sequence[Graph]) -> None:
        known = list(potential.elements)
        self._potential: Any = potential
        self._index = [known.index(symbol) for symbol in elements]
        self._counts = _pair_counts(graphs, len(elements), float(potential.cutoff))
        self._slopes = self._embedding_slopes()

    def _density(self, center: int, neighbor: int, length: NDArray[np.float64]) -> Any:
        """What a neighbor adds to the density of a center, by their numbers in the potential."""
        densities = self._potential.electron_density
        if self._potential.form == "fs":
            return densities[neighbor, center](length)
        return densities[neighbor](length)

    def _embedding_slopes(self) -> list[float]:
        """F' of each element at its mean density."""
        slopes = []
        lengths, per_atom = self._counts
        for species, center in enumerate(self._index):
            density = sum(
                float(per_atom[species, other] @ self._density(center, neighbor, lengths))
                for other, neighbor in enumerate(self._index)
            )
            slopes.append(float(self._potential.d_embedded_energy[center](density)))
        return slopes

    def _of_pair(self, first: int, second: int, length: NDArray[np.float64]) -> Any:
        a, b = self._index[first], self._index[second]
        inside = length < float(self._potential.cutoff)
        return np.where(
            inside,
            self._potential.phi[a, b](length)
            + self._slopes[first] * self._density(a, b, length)
            + self._slopes[second] * self._density(b, a, length),
            0.0,
        )

    def energy(
        self, first: int, second: int, length: NDArray[np.float64], config: DragConfig
    ) -> NDArray[np.float64]:
        """Energy (eV) of a pair of elements, smoothly going to zero at ``config.reach``."""
        fraction = np.clip((config.reach - length) / config.reach_ramp, 0.0, 1.0)
        ramp = fraction * fraction * (3.0 - 2.0 * fraction)
        return np.asarray(self._of_pair(first, second, length) * ramp)

    def polynomials(self, config: DragConfig) -> NDArray[np.float64]:
        """Energies [S, S, 4, INTERVALS], eV: coefficients in intervals of the squared distance.

        Cubic polynomials of the place (0 to 1) in each interval, by ascending powers, with the
        energies and slopes of the potential at its ends. Zero in the last interval.
        """
        square = LOWEST + config.spacing * np.arange(INTERVALS)
        step = 1e-4 * config.spacing
        elements = range(len(self._index))
        result = np.zeros((len(self._index), len(self._index), 4, INTERVALS))
        for a in elements:
            for b in elements:
                below, value, above = (
                    self.energy(a, b, np.sqrt(square + d), config) for d in (-step, 0.0, step)
                )
                slope = (above - below) / (2.0 * step) * config.spacing
                spline = CubicHermiteSpline(np.arange(INTERVALS), value, slope)
                result[a, b, :, :-1] = spline.c[::-1]
        return result

    def stiffness(self, config: DragConfig) -> NDArray[np.float64]:
        """Mean stiffness [S] of the place of an atom of each element, eV/Å², at least 1.

        A third of the trace of the Hessian, over the structures.
        """
        lengths, per_atom = self._counts
        step = 1e-3
        result = np.zeros(len(self._index))
        for first in range(len(self._index)):
            for second in range(len(self._index)):
                low, middle, high = (
                    self.energy(first, second, lengths + d, config) for d in (-step, 0.0, step)
                )
                laplacian = (high - 2.0 * middle + low) / step**2 + (high - low) / step / lengths
                result[first] += per_atom[first, second] @ laplacian / 3.0
        return np.maximum(result, 1.0)


def _pair_counts(
    graphs: Sequence[Graph], elements: int, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lengths [L], Å, and how many neighbors of each element an atom has there [S, S, L]."""
    width = reach / _LENGTHS
    counts = np.zeros((elements, elements, _LENGTHS))
    atoms = np.zeros(elements)
    for graph in graphs:
        species, edge_index, edge_vector = (tensor.cpu() for tensor in graph.inputs)
        atoms += np.bincount(species.numpy(), minlength=elements)
        length = edge_vector.double().square().sum(1).sqrt().numpy()
        bins = np.minimum((length / width).astype(np.int64), _LENGTHS)
        center, neighbor = species[edge_index].numpy()
        near = bins < _LENGTHS
        place = (center[near] * elements + neighbor[near]) * _LENGTHS + bins[near]
        counts += np.bincount(place, minlength=counts.size).reshape(counts.shape)
    lengths = np.linspace(0.5 * width, reach - 0.5 * width, _LENGTHS, dtype=np.float64)
    return lengths, counts / np.maximum(atoms, 1.0)[:, None, None]
