"""Minimization with L-BFGS."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MEMORY = 20
_STIFFNESS = 30.0  # eV/Å², of a metal's bonds: scales the first step, before anything is known
_TIME_STEP = 0.05  # Å (eV)^(-1/2), with a mass of 1
_SMALLEST_CURVATURE = 0.1  # eV/Å²; below it a step tells of no minimum


class ForceField(Protocol):
    """What computes energy (eV) and forces (eV/Å, [N, 3]) at positions (Å, [N, 3])."""

    def __call__(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Energy and forces."""
        ...


class InverseCurvature:
    """What the last steps told of the inverse Hessian (L-BFGS; Nocedal 1980)."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[NDArray[np.float64], NDArray[np.float64], float]] = deque(
            maxlen=_MEMORY
        )

    def learn(self, step: NDArray[np.float64], change: NDArray[np.float64]) -> None:
        """Take in that after ``step`` (Å) the force had lost ``change`` (eV/Å), both [N, 3]."""
        product = float(np.vdot(step, change))
        if product > _SMALLEST_CURVATURE * float(np.vdot(step, step)):
            self._pairs.append((step, change, product))

    def step(self, force: NDArray[np.float64], longest: float) -> NDArray[np.float64]:
        """The step [N, 3], Å, to zero force, in which no atom moves by more than ``longest``."""
        result = force.copy()
        weights = []
        for step, change, product in reversed(self._pairs):
            weight = float(np.vdot(step, result)) / product
            result -= weight * change
            weights.append(weight)
        if self._pairs:
            _, change, product = self._pairs[-1]
            result *= product / float(np.vdot(change, change))
        else:
            result /= _STIFFNESS
        for (step, change, product), weight in zip(self._pairs, reversed(weights), strict=True):
            result += (weight - float(np.vdot(change, result)) / product) * step
        return shortened(result, longest)


class Fire:
    """Steps of a damped dynamics (FIRE; Bitzek et al., Physical Review Letters 97, 170201, 2006).

    With the constants of its authors and unit masses. It begins gently, along the force.
    """

    def __init__(self, longest: float) -> None:
        """Start at rest; no atom moves by more than ``longest`` (Å) in a step."""
        self._longest = longest
        self._time, self._mixing, self._since = _TIME_STEP, 0.1, 0
        self._velocity: NDArray[np.float64] | None = None

    def step(self, force: NDArray[np.float64]) -> NDArray[np.float64]:
        """The next step [N, 3], Å, under ``force`` [N, 3], eV/Å."""
        if self._velocity is None:
            self._velocity = np.zeros_like(force)
        elif np.vdot(force, self._velocity) > 0.0:
            scale = np.linalg.norm(self._velocity) / np.linalg.norm(force)
            self._velocity = (1.0 - self._mixing) * self._velocity + self._mixing * scale * force
            if self._since > 5:
                self._time = min(1.1 * self._time, 10.0 * _TIME_STEP)
                self._mixing *= 0.99
            self._since += 1
        else:
            self._velocity = np.zeros_like(force)
            self._time, self._mixing, self._since = 0.5 * self._time, 0.1, 0
        self._velocity = self._velocity + self._time * force
        return shortened(self._time * self._velocity, self._longest)


def shortened(step: NDArray[np.float64], longest: float) -> NDArray[np.float64]:
    """A step [N, 3] scaled down until no atom moves by more than ``longest``, Å."""
    length = largest_length(step)
    return step if length <= longest else step * (longest / length)


def largest_length(vectors: NDArray[np.float64]) -> float:
    """Length of the longest of the vectors [N, 3]."""
    return float(np.sqrt(np.square(vectors).sum(axis=1).max()))


def minimize(
    forces: ForceField,
    positions: NDArray[np.float64],
    *,
    tolerance: float,
    longest: float,
    calls: int,
) -> tuple[NDArray[np.float64], float, bool]:
    """The energy minimum below some positions.

    Args:
        forces: of N atoms.
        positions: Å, [N, 3].
        tolerance: largest component of the force that may remain, eV/Å.
        longest: how far an atom may go in one step, Å.
        calls: of ``forces`` at most.

    Returns:
        Positions, energy (eV), and whether the tolerance was reached.
    """
    curvature = InverseCurvature()
    energy, force = forces(positions)
    for _ in range(calls - 1):
        if np.abs(force).max() < tolerance:
            return positions, energy, True
        step = curvature.step(force, longest)
        positions = positions + step
        energy, after = forces(positions)
        curvature.learn(step, force - after)
        force = after
    return positions, energy, bool(np.abs(force).max() < tolerance)
