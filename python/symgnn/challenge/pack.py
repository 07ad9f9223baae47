"""Building a challenge folder from labeled structures. The same inputs give the same bytes."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from symgnn.challenge.baseline import BASELINES
from symgnn.challenge.documents import datasheet, readme
from symgnn.challenge.folder import (
    ABOUT,
    BASELINE,
    CHALLENGE,
    EXAMPLES,
    FORMAT,
    HELD_OUT,
    SPLITS,
    STRUCTURE,
    TRAIN,
    Labels,
    identity,
    write_checksums,
)
from symgnn.challenge.score import compare
from symgnn.challenge.submission import write_submission
from symgnn.errors import DatasetError, SymGNNError
from symgnn.files import cannot_write, make_folder, unfinished_path
from symgnn.graph import build_graph, check_finite
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD
from symgnn.models import DensityRegressionConfig
from symgnn.selection import structure_checksum
from symgnn.structures import read_structures, write_structures
from symgnn.training.dataset import checksum, read_labeled
from symgnn.training.relatives import families

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from symgnn.challenge.submission import Prediction
    from symgnn.evaluation import Evaluation

_CUTOFF = DensityRegressionConfig().cutoff
"""Å; relatives are those that `symgnn train --preset densities` finds."""
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Provenance:
    """What the organizer says about the data."""

    title: str
    source: str
    license: str


@dataclass(frozen=True)
class Packed:
    """A finished challenge."""

    challenge: str
    labels: Path | None
    """The organizer's file; None without held-out structures."""
    baseline: dict[str, Evaluation]
    """By track."""
    relatives: list[list[str]]
    """Training structures that are nearly the same, and left out together."""


def pack(
    files: Sequence[Path],
    hidden: Sequence[Path],
    folder: Path,
    provenance: Provenance,
    *,
    baseline: str = "element_mean",
    label_std: float | None = None,
    report: Callable[[str], None] | None = None,
) -> Packed:
    """Build the folder, and beside it ``FOLDER-labels.xyz`` with the labels of hidden structures.

    Args:
        files: training structures, one in each file, with ``energy_barrier``.
        hidden: structures whose labels stay with the organizer.
        folder: must not exist.
        provenance: what documents say.
        baseline: name in :data:`symgnn.challenge.baseline.BASELINES`.
        label_std: standard error of all labels, eV, where files have no ``energy_barrier_std``.
        report: called with the name of each structure when the baseline has predicted it.

    Raises:
        DatasetError: a file without usable labels, several structures in a file, names that are
            the same or no words, a hidden structure that is nearly one of the training structures,
            or fewer than two structures that are not nearly the same.
        StructureError: positions or a cell that are not finite.
        SymGNNError: the folder or the labels exist, or cannot be written.
    """
    secret = folder.with_name(f"{folder.name}-labels.xyz")
    for path in (folder, secret):
        if path.exists():
            raise SymGNNError(f"{path} exists: choose another name, or remove it")
    if baseline not in BASELINES:
        raise SymGNNError(f"no baseline {baseline!r}; there are: {', '.join(BASELINES)}")
    sources = _named(files, hidden)
    if not files or len(sources) < 2:
        raise DatasetError("a challenge needs a training structure and another one")
    missing = [parent for parent in folder.parents if not parent.exists()]
    unfinished, unfinished_secret = unfinished_path(folder), unfinished_path(secret)
    try:
        make_folder(folder.parent)
        with cannot_write(folder):
            packer = _Packer(unfinished, sources, provenance, baseline, label_std, report)
            packed = packer.run(unfinished_secret)
            if hidden:
                unfinished_secret.replace(secret)
            unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished_secret.unlink(missing_ok=True)
        for parent in missing:  # that nothing came to lie in
            with suppress(OSError):
                parent.rmdir()
    return replace(packed, labels=secret if hidden else None)


def _named(files: Sequence[Path], hidden: Sequence[Path]) -> dict[str, tuple[str, Path]]:
    """Part and file of each structure, by the name that its file gives it."""
    sources: dict[str, tuple[str, Path]] = {}
    for part, paths in ((TRAIN, files), (HELD_OUT, hidden)):
        for path in paths:
            if not _NAME.fullmatch(path.stem):
                raise DatasetError(
                    f"{path}: {path.stem!r} names the structure; rename the file, so that the name"
                    " begins with a letter, goes on with letters, digits, _ . or -, and ends in a"
                    " letter or digit"
                )
            if path.stem in sources:
                raise DatasetError(
                    f"{path} and {sources[path.stem][1]}: both would be the structure"
                    f" {path.stem!r}; leave one out, or rename it"
                )
            sources[path.stem] = part, path
    return sources


class _Packer:
    def __init__(
        self,
        folder: Path,
        sources: dict[str, tuple[str, Path]],
        provenance: Provenance,
        baseline: str,
        label_std: float | None,
        report: Callable[[str], None] | None,
    ) -> None:
        self.folder, self.sources, self.provenance = folder, sources, provenance
        self.baseline, self.label_std = baseline, label_std
        self.report = report or (lambda _: None)
        self.parts: dict[str, dict[str, Atoms]] = {TRAIN: {}, HELD_OUT: {}}

    def run(self, secret: Path) -> Packed:
        for name, (part, path) in sorted(self.sources.items()):
            self.parts[part][name] = self._labeled(name, path)
        self._write_structures()
        self._refuse_copies()
        self.family = self._families()
        self._refuse_relatives()
        self.folds = self._folds()
        self._write_json(SPLITS, self._splits())
        challenge = identity(self.parts)
        for structures in self.parts.values():
            for atoms in structures.values():
                atoms.info[CHALLENGE] = challenge
        self._write_structures()
        predictions = self._baseline()
        scores = {
            track: compare(found, Labels(challenge, track, self.parts[track]))
            for track, found in predictions.items()
        }
        for track, found in predictions.items():
            write_submission(self.folder / EXAMPLES[track], challenge, found)
        about = self._about(challenge, scores)
        self._write_json(ABOUT, about)
        for name, text in (("README.md", readme(about)), ("DATASHEET.md", datasheet(about))):
            (self.folder / name).write_text(text, encoding="utf-8")
        write_checksums(self.folder)
        if self.parts[HELD_OUT]:
            self._write_secret(secret, predictions[HELD_OUT])
        return Packed(challenge, None, scores, self._relatives())

    def _labeled(self, name: str, path: Path) -> Atoms:
        """Elements, cell, positions and labels, and nothing else that the file may tell."""
        structures = read_labeled(path, ENERGY_BARRIER).structures
        if len(structures) != 1:
            raise DatasetError(
                f"{path} holds {len(structures)} structures: write each to a file of its own"
            )
        (source,) = structures
        check_finite(source.positions, source.cell.array, str(path))
        atoms = Atoms(source.numbers, positions=source.positions, cell=source.cell, pbc=source.pbc)
        atoms.arrays[ENERGY_BARRIER] = source.arrays[ENERGY_BARRIER].astype(np.float64)
        if ENERGY_BARRIER_STD in source.arrays:
            atoms.arrays[ENERGY_BARRIER_STD] = source.arrays[ENERGY_BARRIER_STD].astype(np.float64)
        elif self.label_std is not None:
            atoms.arrays[ENERGY_BARRIER_STD] = np.full(len(atoms), self.label_std)
        atoms.info[STRUCTURE] = name
        return atoms

    def _write_structures(self) -> None:
        """Write all, and go on with what a reader of the files will see."""
        for part, structures in self.parts.items():
            for name, atoms in structures.items():
                make_folder(self.folder / part)
                path = self.folder / part / f"{name}.xyz"
                write_structures(path, [atoms if part == TRAIN else _bare(atoms)])
                rounded = read_structures(path)[0]
                atoms.positions = rounded.positions
                atoms.arrays |= rounded.arrays

    def _refuse_copies(self) -> None:
        """A structure under two names would be its own training data."""
        first: dict[str, str] = {}
        for structures in self.parts.values():
            for name, atoms in structures.items():
                other = first.setdefault(structure_checksum(atoms), name)
                if other != name:
                    raise DatasetError(f"{name} has the atoms of {other}: leave one of them out")

    def _families(self) -> dict[str, int]:
        """Number of the family of each structure, by name."""
        structures = self.parts[TRAIN] | self.parts[HELD_OUT]
        elements = sorted({symbol for atoms in structures.values() for symbol in atoms.symbols})
        graphs = [build_graph(atoms, _CUTOFF, elements) for atoms in structures.values()]
        return dict(zip(structures, families(graphs), strict=True))

    def _refuse_relatives(self) -> None:
        """Open labels would tell those of a hidden structure that is nearly the same."""
        for name in self.parts[HELD_OUT]:
            for other in self.parts[TRAIN]:
                if self.family[name] == self.family[other]:
                    raise DatasetError(
                        f"{name} is nearly the same structure as {other}, whose labels are open:"
                        " hide both or neither, or leave one of them out"
                    )

    def _folds(self) -> dict[str, list[str]]:
        """What to learn from, by the training structure to predict: all but its family."""
        train = sorted(self.parts[TRAIN])
        folds = {
            name: [other for other in train if self.family[other] != self.family[name]]
            for name in train
        }
        folds = {name: others for name, others in folds.items() if others}
        if not folds and not self.parts[HELD_OUT]:
            raise DatasetError(
                f"{', '.join(train)}: all are nearly the same structure; add another glass"
            )
        return folds

    def _relatives(self) -> list[list[str]]:
        together: dict[int, list[str]] = {}
        for name in sorted(self.parts[TRAIN]):
            together.setdefault(self.family[name], []).append(name)
        return [names for names in together.values() if len(names) > 1]

    def _splits(self) -> dict[str, Any]:
        train, held_out = (sorted(self.parts[part]) for part in (TRAIN, HELD_OUT))
        folds = [{"predict": name, "train": others} for name, others in self.folds.items()]
        return {"cross_validation": folds, "held_out": {"predict": held_out, "train": train}}

    def _baseline(self) -> dict[str, dict[str, Prediction]]:
        predict = BASELINES[self.baseline]
        train, held_out = self.parts[TRAIN], self.parts[HELD_OUT]
        predictions: dict[str, dict[str, Prediction]] = {}
        for name, others in self.folds.items():
            found = predict({other: train[other] for other in others}, {name: train[name]})
            predictions.setdefault(TRAIN, {}).update(found)
            self.report(name)
        if held_out:
            predictions[HELD_OUT] = predict(train, held_out)
        return predictions

    def _about(self, challenge: str, scores: dict[str, Evaluation]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "challenge": challenge,
            "title": self.provenance.title,
            "source": self.provenance.source,
            "license": self.provenance.license,
            "label": {"column": ENERGY_BARRIER, "unit": "eV"},
            "structures": {
                name: _description(self.parts[part][name], part, checksum(path))
                for name, (part, path) in sorted(self.sources.items())
            },
            "baseline": {
                "name": self.baseline,
                "scores": {track: _public(evaluation) for track, evaluation in scores.items()},
            },
            "symgnn": version("symgnn"),
        }

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (self.folder / name).write_text(text, encoding="utf-8")

    def _write_secret(self, path: Path, predictions: dict[str, Prediction]) -> None:
        structures = self.parts[HELD_OUT]
        for name, atoms in structures.items():
            atoms.arrays[BASELINE] = predictions[name].barrier
        write_structures(path, structures.values(), format="extxyz")


def _public(evaluation: Evaluation) -> dict[str, float]:
    """Scores that tell little about hidden labels: a bias would give their mean away."""
    assert evaluation.pooled is not None
    assert evaluation.mean is not None
    mean = {f"mean_{name}": evaluation.mean[name] for name in ("pearson", "spearman", "mae")}
    rounded = {"pooled_pearson": evaluation.pooled.pearson, **mean}
    return {name: round(value, 4) for name, value in rounded.items()}


def _bare(atoms: Atoms) -> Atoms:
    """Without labels."""
    bare = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.info = dict(atoms.info)
    return bare


def _description(atoms: Atoms, part: str, sha256: str) -> dict[str, Any]:
    """Of a structure. Labels of held-out ones show only in how many there are."""
    label = atoms.arrays[ENERGY_BARRIER]
    known = label[~np.isnan(label)]
    counts = atoms.symbols.formula.count()
    description: dict[str, Any] = {
        "part": part,
        "atoms": len(atoms),
        "composition": {element: counts[element] for element in sorted(counts)},
        "volume": round(float(atoms.get_volume()), 6),
        "labeled": len(known),
        "source_sha256": sha256,
    }
    if part == TRAIN:
        description["mean"] = round(float(known.mean()), 6)
        description["standard_deviation"] = round(float(known.std()), 6)
        if ENERGY_BARRIER_STD in atoms.arrays:
            error = atoms.arrays[ENERGY_BARRIER_STD]
            description["label_standard_error"] = round(float(np.sqrt(np.nanmean(error**2))), 6)
    return description
