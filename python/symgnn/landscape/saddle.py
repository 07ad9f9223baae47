"""One search for a saddle around an atom: the activation-relaxation technique (ARTn).

From an energy minimum, an atom and its first neighbors are pushed in a random direction until the
energy surface bends down along some direction (Lanczos finds the lowest mode). The search then
climbs along that mode and relaxes in the plane across it, up to the saddle; the relaxations from
both its sides say which minima it connects. Barkema and Mousseau, Physical Review Letters 77, 4358
(1996); Cancès, Legoll, Marinica, Minoukadeh, Willaime, Journal of Chemical Physics 130, 114711
(2009).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase.geometry import find_mic
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from symgnn.landscape.minimize import Fire, largest_length, minimize, shortened

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from symgnn.landscape.minimize import ForceField

Status = Literal["connected", "unconnected", "failed"]
PHASES = ("push", "lanczos", "climb", "relaxation")
"""What force calls are spent on."""

SAME_MINIMUM = "both sides relax to the start"
"""Why a search that came back is not connected."""

MOVED = 0.1
"""An atom that a saddle displaces by more than this, Å, counts as displaced."""


class SaddleSettings(BaseModel):
    """Everything that decides a search, besides its start and its random numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    push_radius: float = Field(3.75, gt=0.0)
    """Atoms within this distance of the central one are pushed with it, Å."""
    push_step: float = Field(0.1, gt=0.0)
    """How far one push, or one step of the climb, moves an atom at most, Å."""
    first_pushes: int = Field(3, ge=1)
    """Pushes before the first look for a negative mode."""
    pushes: int = Field(40, ge=1)
    """Pushes before the search gives up."""
    push_relaxation: int = Field(1, ge=0)
    """Steps of relaxation across the push after each push."""
    negative_curvature: float = Field(0.5, gt=0.0)
    """The climb begins below minus this curvature, and takes none to be flatter, eV/Å²."""
    climb_relaxation: tuple[NonNegativeInt, ...] = Field(
        (1, 2, 3, 4, 6, 8, 12, 16, 24), min_length=1
    )
    """Steps of relaxation across the mode in the first, second, … cycle of the climb at most; the
    last number holds for all that follow."""
    repushes: int = Field(6, ge=0)
    """How often a climb that lost its negative mode is pushed on, away from the start."""
    repush_curvature: float = Field(0.1, gt=0.0)
    """Such pushes end below minus this curvature, eV/Å²: pushed as hard as from the start, a search
    leaves the surroundings of the start."""
    lanczos_vectors: int = Field(10, ge=2)
    """Size of the Krylov space at most."""
    lanczos_tolerance: float = Field(0.05, gt=0.0)
    """Relative change of the lowest eigenvalue at which the iteration ends."""
    lanczos_displacement: float = Field(0.005, gt=0.0)
    """Length of the displacement of all atoms for derivatives of forces, Å."""
    force_tolerance: float = Field(0.05, gt=0.0)
    """Largest component of the force at a saddle, eV/Å."""
    highest_barrier: float = Field(20.0, gt=0.0)
    """A search that climbs higher ends as failed, eV."""
    force_calls: int = Field(900, ge=100)
    """A search that needs more ends as failed: those that wander for long rarely find a saddle of
    the start."""
    push_over: float = Field(0.3, gt=0.0)
    """Displacement along the mode to both sides of the saddle, of the atom that moves most, Å: with
    half of it both sides of some saddles relax to the same minimum."""
    relaxation_tolerance: float = Field(0.02, gt=0.0)
    """Largest component of the force at the minima on both sides, eV/Å."""
    connected_within: float = Field(0.3, gt=0.0)
    """A minimum is the start if none of its atoms is farther from there, Å."""


@dataclass(frozen=True)
class Search:
    """What a search found. Numbers that it did not come to are NaN, positions None."""

    status: Status
    """``connected``: a saddle between the start and another minimum; ``unconnected``: another."""
    reason: str = ""
    """Why the status is not ``connected``."""
    barrier: float = np.nan
    """Energy of the saddle above the start, eV."""
    backward_barrier: float = np.nan
    """Energy of the saddle above the minimum on its far side, eV."""
    eigenvalue: float = np.nan
    """The lowest at the saddle, eV/Å²."""
    displacement: float = np.nan
    """Of the atom that the saddle displaces most, Å."""
    displaced_atoms: int = 0
    """How many atoms the saddle displaces by more than ``MOVED``."""
    most_displaced_atom: int = -1
    """Index from 0."""
    final_displacement: float = np.nan
    """The largest of an atom, from the start to the minimum on the far side, Å."""
    calls: dict[str, int] = field(default_factory=dict)
    """Force calls by phase."""
    saddle: NDArray[np.float64] | None = None
    """Unwrapped positions, Å, [N, 3]."""
    final: NDArray[np.float64] | None = None
    """Positions of the minimum on the far side, Å, [N, 3]."""


def search_saddle(
    forces: ForceField,
    start: Atoms,
    center: int,
    settings: SaddleSettings,
    generator: np.random.Generator,
) -> Search:
    """One search, decided by its arguments alone.

    Args:
        forces: of the atoms of ``start``.
        start: N atoms at an energy minimum.
        center: index of the atom that is pushed with its neighbors.
        settings: of the search.
        generator: of the push.
    """
    climber = _Climber(forces, start, settings)
    try:
        return climber.search(_random_push(start, center, settings.push_radius, generator))
    except _Failed as failure:
        return Search("failed", str(failure), calls=dict(climber.calls))


class _Failed(Exception):  # noqa: N818  a search may fail
    """The search ends without a saddle; the message says why."""


class _Climber:
    """Where a search is: positions, energy, force [N, 3], and the lowest mode known."""

    def __init__(self, forces: ForceField, start: Atoms, settings: SaddleSettings) -> None:
        self.settings = settings
        self.calls = Counter(dict.fromkeys(PHASES, 0))
        self.start = start.positions.copy()
        self._forces = forces
        self._phase = "push"
        self._move_to(self.start)
        self.start_energy = self.energy
        self.eigenvalue = np.inf
        self.mode: NDArray[np.float64] | None = None

    def search(self, push: NDArray[np.float64]) -> Search:
        self._leave_basin(push, self.settings.first_pushes, self.settings.negative_curvature)
        self._climb()
        return self._result()

    def _evaluate(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        if self.calls.total() >= self.settings.force_calls:
            raise _Failed("no end within the force calls")
        self.calls[self._phase] += 1
        energy, force = self._forces(positions)
        return energy, force

    def _move_to(self, positions: NDArray[np.float64]) -> None:
        self.positions = positions
        self.energy, self.force = self._evaluate(positions)

    # --- to the saddle ------------------------------------------------------------------------

    def _leave_basin(self, push: NDArray[np.float64], first: int, curvature: float) -> None:
        """Push until the energy bends down along some mode; look for one from push ``first``."""
        settings = self.settings
        step = push * (settings.push_step / largest_length(push))
        direction = push / np.linalg.norm(push)
        if self.mode is None:
            self.mode = direction
        for number in range(1, settings.pushes + 1):
            self._phase = "push"
            self._move_to(self.positions + step)
            self._relax_across(direction, settings.push_relaxation)
            if number >= first:
                self._find_mode()
                if self.eigenvalue < -curvature:
                    return
        raise _Failed("no negative mode within the pushes")

    def _climb(self) -> None:
        """Along the mode to where forces vanish."""
        settings = self.settings
        repushes = cycle = 0
        while True:
            assert self.mode is not None
            self._phase = "climb"
            along = float(np.vdot(self.force, self.mode))
            curvature = max(abs(self.eigenvalue), settings.negative_curvature)
            self._move_to(
                self.positions + shortened(-along / curvature * self.mode, settings.push_step)
            )
            caps = settings.climb_relaxation
            self._relax_across(self.mode, caps[min(cycle, len(caps) - 1)])
            cycle += 1
            if self.energy - self.start_energy > settings.highest_barrier:
                raise _Failed("the energy exceeds the highest barrier")
            self._find_mode()
            if self.eigenvalue < 0.0:
                if np.abs(self.force).max() < settings.force_tolerance:
                    return
            elif repushes == settings.repushes:
                raise _Failed("the negative mode was lost too often")
            else:
                repushes += 1
                cycle = 0
                self._leave_basin(self.positions - self.start, 1, settings.repush_curvature)

    def _relax_across(self, direction: NDArray[np.float64], steps: int) -> None:
        """Relax in the plane across ``direction`` until the force along it prevails."""
        relaxation = Fire(self.settings.push_step)
        for _ in range(steps):
            along = float(np.vdot(self.force, direction)) * direction
            across = self.force - along
            enough = max(0.5 * self.settings.force_tolerance, float(np.abs(along).max()))
            if np.abs(across).max() < enough:
                return
            self._move_to(self.positions + relaxation.step(across))

    def _find_mode(self) -> None:
        """The lowest mode by Lanczos, from the previous one."""
        settings = self.settings
        previous, self._phase = self._phase, "lanczos"
        vector = self.mode
        assert vector is not None
        basis: list[NDArray[np.float64]] = []
        diagonal: list[float] = []
        beside: list[float] = []
        lowest = np.inf
        weights = np.ones(1)
        most = min(settings.lanczos_vectors, vector.size)
        while len(basis) < most:
            basis.append(vector)
            _, force = self._evaluate(self.positions + settings.lanczos_displacement * vector)
            image = (self.force - force) / settings.lanczos_displacement
            diagonal.append(float(np.vdot(vector, image)))
            matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
            values, vectors = np.linalg.eigh(matrix)
            weights = vectors[:, 0]
            if abs(values[0] - lowest) < settings.lanczos_tolerance * abs(values[0]):
                lowest = values[0]
                break
            lowest = values[0]
            for other in basis:
                image -= np.vdot(other, image) * other
            length = float(np.linalg.norm(image))
            if length < 1e-6:
                break
            beside.append(length)
            vector = image / length
        mode = np.tensordot(weights, np.array(basis[: len(weights)]), axes=1)
        self.mode = mode / np.linalg.norm(mode)
        self.eigenvalue = float(lowest)
        self._phase = previous

    # --- both sides ---------------------------------------------------------------------------

    def _result(self) -> Search:
        settings = self.settings
        saddle, energy, mode = self.positions, self.energy, self.mode
        assert mode is not None
        self._phase = "relaxation"
        over = mode * (settings.push_over / largest_length(mode))
        sides = []
        for side in (saddle + over, saddle - over):
            minimum, minimum_energy, relaxed = minimize(
                self._evaluate,
                side,
                tolerance=settings.relaxation_tolerance,
                longest=settings.push_step,
                calls=settings.force_calls,
            )
            if not relaxed:
                raise _Failed("a side of the saddle does not relax")
            sides.append((largest_length(minimum - self.start), minimum_energy, minimum))
        (near, _, _), (far, far_energy, final) = sorted(sides, key=lambda side: side[0])
        barrier = energy - self.start_energy
        status: Status = "connected"
        reason = ""
        if barrier <= 0.0:
            status, reason = "unconnected", "the saddle lies below the start"
        elif near > settings.connected_within:
            status, reason = "unconnected", "the nearer minimum is not the start"
        elif far <= settings.connected_within:
            status, reason = "unconnected", SAME_MINIMUM
        moved = np.linalg.norm(saddle - self.start, axis=1)
        return Search(
            status,
            reason,
            barrier=barrier,
            backward_barrier=energy - far_energy,
            eigenvalue=self.eigenvalue,
            displacement=float(moved.max()),
            displaced_atoms=int((moved > MOVED).sum()),
            most_displaced_atom=int(moved.argmax()),
            final_displacement=far,
            calls=dict(self.calls),
            saddle=saddle,
            final=final,
        )


def _random_push(
    start: Atoms, center: int, radius: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """A random direction [N, 3] of an atom and its neighbors that leaves the center of mass."""
    from_center = start.positions - start.positions[center]
    _, distances = find_mic(from_center, start.cell, start.pbc)
    near = distances < radius
    push: NDArray[np.float64] = np.zeros((len(start), 3))
    push[near] = generator.standard_normal((int(near.sum()), 3))
    push -= push.mean(axis=0)
    return push
