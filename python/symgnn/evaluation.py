"""Predictions of an exported model, against labels where there are any."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from symgnn.annotator import Annotator
from symgnn.errors import DatasetError, StructureError, SymGNNError
from symgnn.files import make_folder
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD, LABEL_COLUMN
from symgnn.label_columns import keep_labels, label_candidates, label_of
from symgnn.structures import STANDARD_STREAM, read_structures, stem_of, write_structures
from symgnn.training.dataset import checksum
from symgnn.training.metrics import (
    Intervals,
    Metrics,
    Reliability,
    bootstrap_over_glasses,
    compute_metrics,
    compute_reliability,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray


@dataclass(frozen=True)
class StructureEvaluation:
    """One structure of N atoms; barriers in eV."""

    name: str
    prediction: NDArray[np.float64]
    """[N]"""
    std: NDArray[np.float64] | None
    """[N], predicted standard uncertainty; None if the model gives none."""
    label: NDArray[np.float64] | None
    """[N], NaN where an atom has none; None if no atom has one."""
    metrics: Metrics | None
    """None without labels."""
    training_part: str | None
    """Part of the model's own data that its file is: train, validation or thermal; else None."""

    @cached_property
    def reliability(self) -> Reliability | None:
        """Coverage of the predicted intervals; None without labels or uncertainties."""
        if self.label is None or self.std is None:
            return None
        return compute_reliability(self.prediction, self.std, self.label)


@dataclass(frozen=True)
class Evaluation:
    """Every structure, and all labeled atoms together."""

    structures: list[StructureEvaluation]

    @cached_property
    def labeled(self) -> list[StructureEvaluation]:
        """Structures with labels."""
        return [structure for structure in self.structures if structure.label is not None]

    @property
    def known(self) -> dict[str, str]:
        """Structures with labels whose files the model was made with, and as which part of them."""
        return {s.name: s.training_part for s in self.labeled if s.training_part is not None}

    @cached_property
    def pooled(self) -> Metrics | None:
        """Metrics over all labeled atoms of all structures; None without labels."""
        if not self.labeled:
            return None
        return compute_metrics(*self._pooled())

    @cached_property
    def pooled_reliability(self) -> Reliability | None:
        """Coverage over all labeled atoms; None without labels, or uncertainties of all."""
        stds = [s.std for s in self.labeled if s.std is not None]
        if not stds or len(stds) < len(self.labeled):
            return None
        prediction, label = self._pooled()
        return compute_reliability(prediction, np.concatenate(stds), label)

    @cached_property
    def mean(self) -> dict[str, float] | None:
        """Each number of :class:`Metrics`, averaged over labeled structures; None without any."""
        each = [s.metrics.as_dict() for s in self.labeled if s.metrics is not None]
        if not each:
            return None
        return {name: float(np.mean([row[name] for row in each])) for name in each[0]}

    @cached_property
    def intervals(self) -> Intervals | None:
        """Bootstrap intervals over structures; None with fewer than two labeled ones."""
        if len(self.labeled) < 2:
            return None
        return bootstrap_over_glasses(
            [s.prediction for s in self.labeled],
            [s.label for s in self.labeled if s.label is not None],
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; null where there are no labels, or no uncertainties."""
        content: dict[str, Any] = {
            "pooled": _plain(self.pooled),
            "mean": self.mean,
            "intervals": None if self.intervals is None else asdict(self.intervals),
            "structures": {s.name: _plain(s.metrics) for s in self.structures},
            "training_data": self.known,
        }
        if self.pooled_reliability is not None:
            content["reliability"] = {
                "pooled": self.pooled_reliability.as_dict(),
                "structures": {s.name: _plain(s.reliability) for s in self.structures},
            }
        return content

    def _pooled(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return (
            np.concatenate([s.prediction for s in self.labeled]),
            np.concatenate([s.label for s in self.labeled if s.label is not None]),
        )


def _plain(scores: Metrics | Reliability | None) -> dict[str, Any] | None:
    return None if scores is None else dict(scores.as_dict())


def evaluate_files(
    model: str,
    files: Sequence[Path],
    *,
    label: str | None = None,
    elements: Sequence[str] | None = None,
    device: str = "auto",
    threads: int = 0,
    predictions: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Evaluation:
    """Predict every structure of ``files``, and compare with its labels if it has any.

    Args:
        model: a file written by ``symgnn export``, or the name of a shipped model.
        files: anything ``read_structures`` reads.
        label: per-atom column with the labels, eV, which at least one structure must have. None
            takes ``energy_barrier`` where it is there.
        elements: LAMMPS type → element map, for formats that need one.
        device: as for :class:`symgnn.Annotator`.
        threads: the same.
        predictions: folder that gets each file's structures with the predicted columns, as
            extended XYZ, with labels under the names that ``keep_labels`` gives them, and
            ``symgnn_label`` in ``info``: the name of those that were compared.
        report: called with the name of each structure when it is done.

    Raises:
        DatasetError: a file that is named twice or has the content of another, labels whose
            correlation is undefined, or a column that nothing has.
        ModelError, StructureError: as :class:`symgnn.Annotator` and ``read_structures``.
        SymGNNError: predictions cannot be written.
    """
    checksums = _checksums(files)
    annotator = Annotator(model, device=device, threads=threads)
    targets = [None] * len(files) if predictions is None else _targets(files, predictions)
    column = ENERGY_BARRIER if label is None else label
    results: list[StructureEvaluation] = []
    candidates = "none"
    parts = _training_parts(annotator)
    for file, sha256, target in zip(files, checksums, targets, strict=True):
        structures = read_structures(file, elements=elements)
        part = parts.get(sha256)
        for number, atoms in enumerate(structures):
            candidates = label_candidates(atoms)
            name = str(file) if len(structures) == 1 else f"{file}:{number}"
            results.append(_evaluate(annotator, atoms, column, name, part))
            if report is not None:
                report(name)
        if target is not None:
            write_structures(target, structures, format="extxyz")
    if results and label is not None and not any(result.label is not None for result in results):
        raise DatasetError(
            f"no structure has labels in a per-atom column {label!r} (columns of "
            f"{results[-1].name}: {candidates}); name the column with --label COLUMN"
        )
    return Evaluation(results)


def _checksums(files: Sequence[Path]) -> list[str]:
    """SHA-256 of each file; of what is no file, which reading will refuse, the name."""
    found: dict[str, Path] = {}
    for file in files:
        sha256 = checksum(file) if file.is_file() or str(file) == STANDARD_STREAM else str(file)
        if sha256 in found:
            raise DatasetError(f"{file} is the same as {found[sha256]}; name every file once")
        found[sha256] = file
    return list(found)


def _training_parts(annotator: Annotator) -> dict[str, str]:
    """Part of the model's data by checksum of the file, from the record that it carries."""
    data: dict[str, dict[str, str]] = annotator.metadata["training"].get("data", {})
    return {sha256: part for part, files in data.items() for sha256 in files.values() if sha256}


def _evaluate(
    annotator: Annotator, atoms: Atoms, column: str, name: str, part: str | None
) -> StructureEvaluation:
    """Annotate ``atoms`` in place, and keep what it said before."""
    label = label_of(atoms, column, name)
    renamed = keep_labels(atoms)
    if label is not None:
        atoms.info[LABEL_COLUMN] = renamed.get(column, column)
    if label is not None and bool(np.isnan(label).all()):
        label = None
    try:
        annotator.annotate(atoms)
    except StructureError as error:
        raise StructureError(f"{name}: {error}") from error
    prediction = atoms.arrays[ENERGY_BARRIER]
    std = atoms.arrays[ENERGY_BARRIER_STD] if ENERGY_BARRIER_STD in annotator.outputs else None
    try:
        metrics = None if label is None else compute_metrics(prediction, label)
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from error
    return StructureEvaluation(name, prediction, std, label, metrics, part)


def _targets(files: Sequence[Path], folder: Path) -> list[Path]:
    """``run/glass.dump.gz`` → ``folder/glass.xyz``; standard input is called ``structure``."""
    make_folder(folder)
    targets = [folder / f"{stem_of(file)}.xyz" for file in files]
    repeated = [target for target, count in Counter(targets).items() if count > 1]
    if repeated:
        raise SymGNNError(
            f"two inputs of the same name would both be written to {repeated[0]}:"
            " evaluate them separately"
        )
    for file, target in zip(files, targets, strict=True):
        if file.resolve() == target.resolve():
            raise SymGNNError(
                f"predictions would replace the input {file}: choose another folder for them"
            )
    return targets
