"""Frames of a trajectory: barriers where they are missing, statistics of all, one in full."""

from __future__ import annotations

import warnings
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from symgnn import keys
from symgnn.annotator import NOVEL, Annotator
from symgnn.columns import is_number_per_atom
from symgnn.errors import NovelStructureWarning, StructureError
from symgnn.graph import check_finite
from symgnn.label_columns import label_candidates
from symgnn.plots.frames import all_zero, column_of, has_barriers
from symgnn.structures import iterate_structures, timestep_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class FrameStatistics:
    """Barriers of one frame in brief, eV."""

    number: int
    """In its file, from 0."""
    timestep: float
    """NaN where the file names none."""
    mean: float
    quantiles: tuple[float, ...]
    """At QUANTILES."""
    novel: float | None
    """Share of atoms in surroundings that are new to the model; None where nothing says it."""


@dataclass(frozen=True)
class Frames:
    """All frames in brief, and one in full."""

    atoms: Atoms
    number: int
    """Of ``atoms``, from 0."""
    count: int
    """Of all frames in the file."""
    statistics: list[FrameStatistics]
    """Without frames whose barriers are all exactly 0, which a live run writes before it has its
    first average of positions."""


class EnsureBarriers:
    """Makes sure that a frame has barriers, with a model that is loaded when it is needed."""

    def __init__(
        self, model: str | None, device: str, threads: int, say: Callable[[str], None] | None
    ) -> None:
        self._wanted, self._device, self._threads, self._say = model, device, threads, say
        self.annotator: Annotator | None = None

    def __call__(self, atoms: Atoms) -> None:
        """Predict, unless the frame has barriers and no model was asked for."""
        if self._wanted is None and keys.ENERGY_BARRIER in atoms.arrays:
            return
        if self.annotator is None:
            if self._wanted is None and self._say is not None:
                self._say(
                    f"no column {keys.ENERGY_BARRIER} (columns: {label_candidates(atoms)}):"
                    " predicted by cuzr"
                )
            self.annotator = Annotator(
                self._wanted or "cuzr", device=self._device, threads=self._threads
            )
        for name in (keys.ENERGY_BARRIER_STD, keys.ENERGY_BARRIER_OOD):
            atoms.arrays.pop(name, None)  # of another prediction; this model may have none
        with warnings.catch_warnings():  # the page says it
            warnings.simplefilter("ignore", NovelStructureWarning)
            self.annotator.annotate(atoms)


def read_frames(
    source: str,
    column: str,
    elements: Sequence[str] | None,
    wanted: int,
    ensure: EnsureBarriers,
    report: Callable[[int], None] | None,
) -> Frames:
    """Read a trajectory once, and keep one frame of it.

    Args:
        source: a file that :func:`iterate_structures` reads.
        column: per-atom column with the barriers; frames may lack ``energy_barrier`` alone.
        elements: chemical symbol of each LAMMPS atom type.
        wanted: number of the frame; negative ones count from the end.
        ensure: gives frames the barriers that they lack.
        report: called with the number of frames read so far.

    Raises:
        StructureError: the file cannot be read, has no such frame or no barriers, or that frame
            has nothing but zeros.
    """
    statistics: list[FrameStatistics] = []
    latest: deque[Atoms] = deque(maxlen=max(1, -wanted))
    chosen: Atoms | None = None
    count = 0
    for number, atoms in enumerate(_iterate(source, column, elements)):
        try:
            check_finite(atoms.positions, atoms.cell.array)
            ensure(atoms)
            _check(atoms)
        except StructureError as error:
            raise StructureError(f"{source}, structure {number}: {error}") from error
        if has_barriers(atoms):
            statistics.append(_statistics(number, atoms))
        latest.append(atoms)
        count += 1
        if number == wanted:
            chosen = atoms
        if report is not None:
            report(count)
    if wanted < 0 and count >= -wanted:
        chosen = latest[0]
    if chosen is None:
        raise StructureError(
            f"{source} has {count} structure{'s' if count > 1 else ''} and no number {wanted}:"
            f" choose --frame 0{f' to {count - 1}' if count > 1 else ''}, or -1 for the last"
        )
    if not has_barriers(chosen):
        raise StructureError(
            f"{source}, structure {wanted % count}: {all_zero(column)}: choose another --frame or"
            " --column, or name a --model to predict them"
        )
    return Frames(chosen, wanted % count, count, statistics)


def _iterate(source: str, column: str, elements: Sequence[str] | None) -> Iterator[Atoms]:
    """Structures of a file, with the column as ``energy_barrier`` if it is another."""
    for number, atoms in enumerate(iterate_structures(source, elements=elements)):
        if column != keys.ENERGY_BARRIER:
            barrier = column_of(atoms, column, source, number)
            for name in keys.PREDICTIONS:
                atoms.arrays.pop(name, None)
            for name in (keys.MODEL, keys.MODEL_SHA256):  # of other barriers
                atoms.info.pop(name, None)
            atoms.arrays[keys.ENERGY_BARRIER] = barrier
        yield atoms


def _check(atoms: Atoms) -> None:
    barrier = atoms.arrays[keys.ENERGY_BARRIER]
    if not is_number_per_atom(barrier, atoms):
        raise StructureError(
            f"column {keys.ENERGY_BARRIER} is not one number per atom: name a --model to predict it"
        )
    if not np.isfinite(barrier).any():
        raise StructureError(
            f"column {keys.ENERGY_BARRIER} has no value: name a --model to predict it"
        )
    for name in (keys.ENERGY_BARRIER_STD, keys.ENERGY_BARRIER_OOD):
        values = atoms.arrays.get(name)
        if values is not None and not is_number_per_atom(values, atoms):
            raise StructureError(
                f"column {name} is not one number per atom: name a --model to predict it"
            )


def _statistics(number: int, atoms: Atoms) -> FrameStatistics:
    barrier = finite_barriers(atoms)
    return FrameStatistics(
        number=number,
        timestep=timestep_of(atoms),
        mean=float(barrier.mean()),
        quantiles=tuple(np.quantile(barrier, QUANTILES).tolist()),
        novel=share_of_novel(atoms),
    )


def finite_barriers(atoms: Atoms) -> NDArray[np.float64]:
    """Barriers of the atoms that have one, eV."""
    barrier = np.asarray(atoms.arrays[keys.ENERGY_BARRIER], dtype=np.float64)
    return barrier[np.isfinite(barrier)]


def share_of_novel(atoms: Atoms) -> float | None:
    """Share of the atoms in surroundings that are new to the model; None where nothing says it."""
    novelty = atoms.arrays.get(keys.ENERGY_BARRIER_OOD)
    return None if novelty is None else float((novelty > NOVEL).mean())
