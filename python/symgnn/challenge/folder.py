"""What lies in a challenge folder, and whether it is still what was packed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from symgnn.errors import DatasetError, SymGNNError
from symgnn.keys import ENERGY_BARRIER
from symgnn.selection import structure_checksum
from symgnn.structures import read_structures
from symgnn.training.dataset import checksum

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ase import Atoms

TRAIN, HELD_OUT = "train", "held_out"
"""Folders of structures with and without labels; the tracks that are scored on each."""
ABOUT, SPLITS, CHECKSUMS = "challenge.json", "splits.json", "checksums.txt"
EXAMPLES: Final = {TRAIN: "example_cross_validation.csv", HELD_OUT: "example_held_out.csv"}
"""Submissions of the baseline, by track."""
CHALLENGE, STRUCTURE = "challenge", "structure"
"""`Atoms.info` of structures of a challenge: its identity, and the name of the structure."""
BASELINE = "baseline_energy_barrier"
"""`Atoms.arrays` of the organizer's labels: prediction of the baseline, eV, [N]."""
FORMAT = 1


@dataclass(frozen=True)
class Labels:
    """What a submission is scored against."""

    challenge: str
    """Identity of the challenge."""
    track: str
    structures: dict[str, Atoms]
    """By name, each with ``energy_barrier`` and perhaps ``energy_barrier_std``."""


def identity(parts: Mapping[str, Mapping[str, Atoms]]) -> str:
    """Name of one edition of a challenge, from its structures by part, as files give them.

    Names, elements, cells, positions and the labels that everybody sees decide it.
    """
    digest = hashlib.sha256()
    for part, structures in sorted(parts.items()):
        for name, atoms in sorted(structures.items()):
            digest.update(f"{part}/{name} {structure_checksum(atoms)}\n".encode())
            if part == TRAIN:
                digest.update(atoms.arrays[ENERGY_BARRIER].astype("<f8").tobytes())
    return f"symgnn-challenge-{digest.hexdigest()[:16]}"


def read_part(folder: Path, part: str) -> dict[str, Atoms]:
    """Structures of a part, by name.

    Raises:
        StructureError: a file cannot be read.
    """
    files = sorted((folder / part).glob("*.xyz"))
    return {file.stem: read_structures(file, index=0)[0] for file in files}


def write_checksums(folder: Path) -> None:
    """List every file, in the form that ``sha256sum --check`` reads."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{checksum(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def verify(folder: Path) -> tuple[str, int]:
    """Compare every file with the checksum that was packed with it.

    Returns:
        Identity of the challenge, and how many files were compared.

    Raises:
        DatasetError: a file is missing, was changed, or is not part of the challenge.
        SymGNNError: the folder is no challenge.
    """
    remedy = "get the folder again from its source"
    listed: dict[str, str] = {}
    for number, line in enumerate(_read(folder / CHECKSUMS).splitlines(), start=1):
        sha256, separator, name = line.partition("  ")
        if not separator or ".." in name.split("/") or name.startswith("/"):
            raise DatasetError(f"{folder / CHECKSUMS}, line {number} is damaged: {remedy}")
        listed[name] = sha256
    for name, sha256 in listed.items():
        if not (folder / name).is_file():
            raise DatasetError(f"{folder / name} is missing: {remedy}")
        if checksum(folder / name) != sha256:
            raise DatasetError(f"{folder / name} is not what was packed: {remedy}")
    for part in (TRAIN, HELD_OUT):
        for file in sorted((folder / part).glob("*")):
            if f"{part}/{file.name}" not in listed:
                raise DatasetError(f"{file} is not part of the challenge: remove it")
    known = about(folder)["challenge"]
    if identity({part: read_part(folder, part) for part in (TRAIN, HELD_OUT)}) != known:
        raise DatasetError(f"{folder} does not hold the data of {known}: {remedy}")
    return str(known), len(listed)


def about(folder: Path) -> dict[str, Any]:
    """What ``challenge.json`` says.

    Raises:
        DatasetError: there is none, or of another format.
    """
    try:
        content = json.loads(_read(folder / ABOUT))
        known = content["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise DatasetError(f"{folder / ABOUT} is no challenge of this version of symgnn")
    return dict(content)


def read_labels(path: Path) -> Labels:
    """Labels of a track: a challenge folder (cross-validation), or the organizer's file.

    Raises:
        DatasetError: neither, or the folder was changed.
        StructureError: the file cannot be read.
    """
    if path.is_dir():
        challenge, _ = verify(path)
        return Labels(challenge, TRAIN, read_part(path, TRAIN))
    frames = read_structures(path)
    challenges = {str(atoms.info.get(CHALLENGE)) for atoms in frames}
    names = [str(atoms.info.get(STRUCTURE)) for atoms in frames]
    if (
        len(challenges) != 1
        or "None" in challenges
        or len(set(names)) != len(names)
        or any(ENERGY_BARRIER not in atoms.arrays for atoms in frames)
    ):
        raise DatasetError(
            f"{path} holds no labels of a challenge: give the folder of the challenge, or the"
            " labels file that `symgnn challenge pack --hidden` wrote"
        )
    return Labels(challenges.pop(), HELD_OUT, dict(zip(names, frames, strict=True)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SymGNNError(
            f"cannot read {path}: is {path.parent} what `symgnn challenge pack` wrote?"
        ) from error
