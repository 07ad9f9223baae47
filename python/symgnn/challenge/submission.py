"""Submissions: predictions of a track in CSV or extended XYZ, written and strictly read.

CSV: a first line ``# challenge: ID``, a header, and one row for each atom with the columns
``structure``, ``atom`` (from 0), ``energy_barrier`` and, if at all then everywhere,
``energy_barrier_std`` (both eV). Extended XYZ: the structures of the challenge with these columns,
and ``challenge`` and ``structure`` in the comment lines, as in the files of the challenge.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from symgnn.challenge.folder import CHALLENGE, STRUCTURE
from symgnn.errors import DatasetError
from symgnn.files import written_whole
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from symgnn.challenge.folder import Labels

_MARK = "# challenge: "
_COLUMNS = ("structure", "atom", ENERGY_BARRIER)
_SAME = 1e-3
"""Å; positions of an extended XYZ submission may be rounded by less."""


@dataclass(frozen=True)
class Prediction:
    """Of one structure of N atoms, eV."""

    barrier: NDArray[np.float64]
    """[N]"""
    std: NDArray[np.float64] | None
    """[N]; None if the submission states none."""


def write_submission(path: Path, challenge: str, predictions: dict[str, Prediction]) -> None:
    """Write CSV, structures in the order of their names.

    Raises:
        SymGNNError: the file cannot be written.
    """
    stated = all(prediction.std is not None for prediction in predictions.values())
    with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write(f"{_MARK}{challenge}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_COLUMNS, *([ENERGY_BARRIER_STD] if stated else [])])
        for name, prediction in sorted(predictions.items()):
            columns = [prediction.barrier, *([prediction.std] if stated else [])]
            for atom, values in enumerate(zip(*(c for c in columns if c is not None), strict=True)):
                writer.writerow([name, atom, *(f"{value:.6f}" for value in values)])


def read_submission(files: Sequence[Path], labels: Labels) -> dict[str, Prediction]:
    """Predictions for every atom of every structure of ``labels``, by its name.

    Raises:
        DatasetError: another challenge, an unknown structure or atom, one that is predicted twice
            or not at all, a number that is not finite, a standard deviation that is not positive,
            or uncertainties for some atoms only.
        StructureError: an extended XYZ file cannot be read.
    """
    collected = _Collected(labels)
    for file in files:
        if file.suffix == ".csv":
            _read_csv(file, collected)
        else:
            _read_structures(file, collected)
    return collected.complete()


class _Collected:
    """Predictions so far; NaN where there is none yet."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        sizes = {name: len(atoms) for name, atoms in labels.structures.items()}
        self._barrier = {name: np.full(size, np.nan) for name, size in sizes.items()}
        self._std = {name: np.full(size, np.nan) for name, size in sizes.items()}
        self._states_std: set[bool] = set()

    def check_challenge(self, found: object, where: str) -> None:
        if found is None:
            raise DatasetError(
                f"{where} does not say which challenge it is for: begin a CSV file with the line"
                f" {_MARK}{self.labels.challenge}, or keep the comment lines of the structures"
            )
        if str(found) != self.labels.challenge:
            raise DatasetError(
                f"{where} is for {found}, the labels are of {self.labels.challenge}: predict the"
                " structures of that challenge"
            )

    def check_structure(self, name: str, where: str) -> None:
        if name not in self._barrier:
            known = ", ".join(sorted(self._barrier))
            raise DatasetError(f"{where}: there is no structure {name!r} in this track: {known}")

    def add(self, name: str, atom: int, barrier: float, std: float | None, where: str) -> None:
        self.check_structure(name, where)
        if not 0 <= atom < len(self._barrier[name]):
            raise DatasetError(
                f"{where}: the atoms of {name} have numbers 0 to {len(self._barrier[name]) - 1},"
                f" not {atom}"
            )
        if not np.isnan(self._barrier[name][atom]):
            raise DatasetError(f"{where}: atom {atom} of {name} is predicted twice")
        if not np.isfinite(barrier):
            raise DatasetError(f"{where}: {ENERGY_BARRIER} is {barrier}, not a finite number")
        self._barrier[name][atom] = barrier
        self._states_std.add(std is not None)
        if std is not None:
            if not (np.isfinite(std) and std > 0.0):
                raise DatasetError(f"{where}: {ENERGY_BARRIER_STD} is {std}, not above 0")
            self._std[name][atom] = std

    def complete(self) -> dict[str, Prediction]:
        for name, values in self._barrier.items():
            missing = np.flatnonzero(np.isnan(values))
            if len(missing):
                raise DatasetError(
                    f"the submission lacks {len(missing)} of {len(values)} atoms of {name}, the"
                    f" first is {missing[0]}: predict every atom"
                )
        if len(self._states_std) > 1:
            raise DatasetError(
                f"{ENERGY_BARRIER_STD} is there for some structures only: give it for all, or none"
            )
        stated = self._states_std == {True}
        return {
            name: Prediction(values, self._std[name] if stated else None)
            for name, values in self._barrier.items()
        }


def _read_csv(path: Path, collected: _Collected) -> None:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    first = lines[0].strip() if lines else ""
    marked = first.startswith(_MARK.strip())
    collected.check_challenge(first.removeprefix(_MARK) if marked else None, str(path))
    try:
        rows = iter(list(csv.reader(lines[1:])))
    except csv.Error as error:
        raise DatasetError(f"{path} is no CSV file: {error}") from error
    header = [name.strip() for name in next(rows, [])]
    allowed = {*_COLUMNS, ENERGY_BARRIER_STD}
    if not set(_COLUMNS) <= set(header) <= allowed or len(set(header)) < len(header):
        raise DatasetError(
            f"{path}: the columns are {', '.join(header) or 'none'}; write"
            f" {', '.join(_COLUMNS)} and, if you have it, {ENERGY_BARRIER_STD}"
        )
    for number, row in enumerate(rows, start=3):
        if row:
            where = f"{path}, line {number}"
            _add_row(
                dict(zip(header, row, strict=False)), len(row) == len(header), where, collected
            )


def _add_row(row: dict[str, str], whole: bool, where: str, collected: _Collected) -> None:
    try:
        if not whole:
            raise ValueError
        atom = int(row["atom"])
        barrier = float(row[ENERGY_BARRIER])
        std = float(row[ENERGY_BARRIER_STD]) if ENERGY_BARRIER_STD in row else None
    except ValueError:
        raise DatasetError(f"{where}: one value for each column, atom a whole number") from None
    collected.add(row["structure"].strip(), atom, barrier, std, where)


def _read_structures(path: Path, collected: _Collected) -> None:
    for atoms in read_structures(path):
        collected.check_challenge(atoms.info.get(CHALLENGE), str(path))
        name = str(atoms.info.get(STRUCTURE))
        where = f"{path}, {name}"
        collected.check_structure(name, where)
        expected = collected.labels.structures[name]
        if (
            len(atoms) != len(expected)
            or (atoms.numbers != expected.numbers).any()
            or not (np.abs(atoms.positions - expected.positions) <= _SAME).all()
        ):
            raise DatasetError(
                f"{where}: atoms are not those of the challenge in their order: predict its files"
            )
        if ENERGY_BARRIER not in atoms.arrays:
            raise DatasetError(f"{where}: there is no column {ENERGY_BARRIER}")
        stds: Iterable[float | None] = atoms.arrays.get(ENERGY_BARRIER_STD, [None] * len(atoms))
        for atom, (barrier, std) in enumerate(zip(atoms.arrays[ENERGY_BARRIER], stds, strict=True)):
            place = f"{where}, atom {atom}"
            collected.add(name, atom, float(barrier), None if std is None else float(std), place)
