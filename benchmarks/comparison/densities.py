"""Features of atoms: densities of neighbors, and their averages over neighbor generations.

Every feature is invariant under rotations, reflections and the order of atoms. N atoms, C = 2
elements (Cu, Zr).
"""

# Not the features of symgnn.models.densities, which came later: radial densities end abruptly here,
# and shells abruptly or as tanh, where those end as cubic ramps at slightly other radii. With them
# the published rows would have other numbers.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.special import sph_harm_y

from symgnn.graph import neighbor_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

ELEMENTS = (29, 40)
CUTOFF = 7.5

FINE_MIDDLES, FINE_WIDTH, FINE_CUTOFF = np.linspace(2.0, 7.0, 26), 0.2, 7.0
COARSE_MIDDLES, COARSE_WIDTH, COARSE_CUTOFF = np.linspace(2.0, 5.0, 10), 0.4, 5.0

SHELL_ENDS, SHELL_SOFTNESS = (3.7, 6.3), 0.2
"""First and second neighbor shell, Å, and how smoothly they end."""

DEGREES = range(1, 7)
CHANNEL_MIDDLES = np.array([2.6, 3.2, 4.2, 5.2])
CHANNEL_WIDTHS = np.array([0.3, 0.4, 0.5, 0.5])
ANGULAR_CUTOFF = 6.0

_NEGLIGIBLE = 1e-4  # weight below which a neighbor is left out of an average
_FEWEST = 1e-2  # sum of weights below which an average fades to zero instead of dividing by nothing


class Neighborhood:
    """The pairs of a structure, and sums over them."""

    def __init__(self, atoms: Atoms) -> None:
        self.count = len(atoms)
        (self.center, self.neighbor), _, self.vector = neighbor_list(
            atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF
        )
        self.length = np.linalg.norm(self.vector, axis=1)
        self.element = atoms.numbers[self.neighbor]

    def sum(self, pairs: NDArray[np.bool_], values: Array) -> Array:
        """Sum values [pairs, K] of the chosen pairs over the neighbors of each atom, [N, K]."""
        center = self.center[pairs]
        ones = np.ones(len(center), dtype=np.float32)
        rows = csr_array((ones, (center, np.arange(len(center)))), (self.count, len(center)))
        return rows @ values

    def radial(self, middles: NDArray[np.float64], width: float, cutoff: float) -> Array:
        """Σ_j exp(−(r_ij − m)²/2w²) per element of j and middle m, [N, C·M]."""
        near = self.length < cutoff
        densities = []
        for element in ELEMENTS:
            pairs = near & (self.element == element)
            distance = (self.length[pairs, None] - middles) / width
            densities.append(self.sum(pairs, np.exp(-0.5 * distance**2).astype(np.float32)))
        return np.hstack(densities)

    def angular(self) -> Array:
        """Power spectrum p_l(k, k') = Σ_m c_lm(k) c_lm(k')*, [N, 6·36].

        c_lm(k) = Σ_j g_k(r_ij) Y_lm(r_ij) over the neighbors of one element, with a Gaussian g_k
        that a cosine takes to zero at 6 Å: 4 Gaussians × 2 elements = 8 channels k ≤ k'. With one
        channel these are Steinhardt's bond-order parameters. Harmonics have Σ_m |Y_lm|² = 1.
        """
        near = self.length < ANGULAR_CUTOFF
        length, vector = self.length[near], self.vector[near]
        polar = np.arccos(np.clip(vector[:, 2] / length, -1.0, 1.0))
        azimuth = np.arctan2(vector[:, 1], vector[:, 0])
        distance = (length[:, None] - CHANNEL_MIDDLES) / CHANNEL_WIDTHS
        fade = 0.5 * (1.0 + np.cos(np.pi * length / ANGULAR_CUTOFF))
        gaussians = np.exp(-0.5 * distance**2) * fade[:, None]
        own = self.element[near, None] == np.array(ELEMENTS)
        channels = (own[:, :, None] * gaussians[:, None, :]).reshape(len(length), -1)
        first, second = np.triu_indices(channels.shape[1])
        spectra = []
        for degree in DEGREES:
            power = np.zeros((self.count, len(first)), dtype=np.float32)
            for order in range(degree + 1):
                harmonic = sph_harm_y(degree, order, polar, azimuth)
                # Orders m and −m of a real sum are conjugates: count both at once.
                weight = 1.0 if order == 0 else 2.0
                for part in (harmonic.real, harmonic.imag):
                    sums = self.sum(near, (channels * part[:, None]).astype(np.float32))
                    power += weight * sums[:, first] * sums[:, second]
            spectra.append(power * (4.0 * np.pi / (2 * degree + 1)))
        return np.hstack(spectra)

    def averages(
        self, *, by_element: bool, softness: float = SHELL_SOFTNESS
    ) -> list[tuple[csr_array, Array]]:
        """Weights [N, N] of the neighbors in each shell (and of each element); their sums [N, 1].

        Shells end with a step (1 − tanh((r − end)/softness))/2, a sharp one for softness 0.
        """
        steps = [
            0.5 * (1.0 - np.tanh((self.length - end) / softness)) if softness else self.length < end
            for end in SHELL_ENDS
        ]
        inner, both = (step.astype(np.float32) for step in steps)
        result = []
        for weight in (inner, both - inner):
            for element in ELEMENTS if by_element else (None,):
                pairs = weight > _NEGLIGIBLE
                if element is not None:
                    pairs &= self.element == element
                where = (self.center[pairs], self.neighbor[pairs])
                matrix = csr_array((weight[pairs], where), (self.count, self.count))
                result.append((matrix, np.maximum(matrix.sum(axis=1), _FEWEST)[:, None]))
        return result


def average(features: Array, weights: Sequence[tuple[csr_array, Array]]) -> Array:
    """Means of features [N, F] over the neighbors of each shell, [N, shells·F]."""
    return np.hstack([(matrix @ features) / total for matrix, total in weights])


def radial_features(atoms: Atoms) -> Array:
    """Radial densities, and their averages over one and two generations of neighbors, [N, 580]."""
    near = Neighborhood(atoms)
    shells = near.averages(by_element=True)
    fine = near.radial(FINE_MIDDLES, FINE_WIDTH, FINE_CUTOFF)
    coarse = near.radial(COARSE_MIDDLES, COARSE_WIDTH, COARSE_CUTOFF)
    return np.hstack([fine, average(fine, shells), average(average(coarse, shells), shells)])


def angular_features(atoms: Atoms) -> Array:
    """Bond-order power spectrum, and its averages over the neighbors of two shells, [N, 648]."""
    near = Neighborhood(atoms)
    spectrum = near.angular()
    return np.hstack([spectrum, average(spectrum, near.averages(by_element=False))])


def coarse_features(atoms: Atoms) -> Array:
    """Coarse radial densities, averaged twice over neighbors in shells with sharp ends, [N, 420].

    The plainest form of the idea, kept as a point of reference.
    """
    near = Neighborhood(atoms)
    shells = near.averages(by_element=True, softness=0.0)
    coarse = near.radial(COARSE_MIDDLES, COARSE_WIDTH, COARSE_CUTOFF)
    once = average(coarse, shells)
    return np.hstack([coarse, once, average(once, shells)])
