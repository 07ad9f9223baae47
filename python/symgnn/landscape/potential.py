"""An interatomic potential as LAMMPS reads it: any pair style, with the element of each type."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ase.data import atomic_masses, atomic_numbers

from symgnn.errors import StructureError, SymGNNError
from symgnn.files import make_folder, written_whole
from symgnn.lammps_files import check_elements
from symgnn.potentials import write_potential

if TYPE_CHECKING:
    from collections.abc import Sequence

SHIPPED = "cuzr"
"""Name of the potential that ships: Cu–Zr, Mendelev et al. 2009."""


@dataclass(frozen=True)
class Potential:
    """``pair_style`` and ``pair_coeff`` of a LAMMPS input in metal units."""

    pair_style: str
    """What follows the command, such as ``eam/fs``."""
    pair_coeff: tuple[str, ...]
    """What follows each ``pair_coeff``, such as ``* * /…/CuZr.eam.fs Cu Zr``: whole paths."""
    elements: tuple[str, ...]
    """Chemical symbol of each atom type."""

    @classmethod
    def shipped(cls, folder: Path) -> Potential:
        """The Cu–Zr potential of 2009, whose file is written to ``folder``.

        Raises:
            SymGNNError: the file cannot be written.
        """
        file = write_potential(folder)
        return cls("eam/fs", (f"* * {_word(file.resolve())} Cu Zr",), ("Cu", "Zr"))

    @classmethod
    def read(
        cls, pair_style: str, pair_coeff: Sequence[str], elements: Sequence[str], folder: Path
    ) -> Potential:
        """What a user writes, with files found from ``folder``.

        Raises:
            StructureError: a name that is no chemical symbol.
            SymGNNError: nothing to read, or a file that looks like one of a potential is missing.
        """
        check_elements(elements)
        if not pair_style.strip() or not pair_coeff:
            raise SymGNNError("a potential needs --pair-style and at least one --pair-coeff")
        coefficients = tuple(_with_whole_paths(line, folder) for line in pair_coeff)
        return cls(pair_style.strip(), coefficients, tuple(elements))

    def commands(self) -> list[str]:
        """Lines of a LAMMPS input, after the box exists."""
        return [
            *(
                f"mass {number} {atomic_masses[atomic_numbers[element]]:.6f}"
                for number, element in enumerate(self.elements, start=1)
            ),
            f"pair_style {self.pair_style}",
            *(f"pair_coeff {line}" for line in self.pair_coeff),
        ]

    def types_of(self, symbols: Sequence[str]) -> list[int]:
        """Atom type, from 1, of each chemical symbol.

        Raises:
            StructureError: an element that the potential lacks.
        """
        unknown = sorted(set(symbols) - set(self.elements))
        if unknown:
            raise StructureError(
                f"the potential knows {', '.join(self.elements)} but not {', '.join(unknown)}: use"
                " a potential for this alloy, or correct the element names"
            )
        return [self.elements.index(symbol) + 1 for symbol in symbols]

    def checksum(self) -> str:
        """sha256 of styles, coefficients, elements and the bytes of every file that is named.

        Where the files lie does not matter.
        """
        digest = hashlib.sha256(repr((self.pair_style, self.elements)).encode())
        for line in self.pair_coeff:
            for word in shlex.split(line):
                file = Path(word)
                digest.update(file.read_bytes() if file.is_file() else word.encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class PackedPotential:
    """A potential with its files, for a machine that sees no file of this one."""

    potential: Potential
    files: tuple[tuple[str, bytes], ...]
    """Path on the machine where it was packed, and content."""

    @classmethod
    def of(cls, potential: Potential) -> PackedPotential:
        """Read every file that ``pair_coeff`` names.

        Raises:
            SymGNNError: a file cannot be read.
        """
        words = {word: None for line in potential.pair_coeff for word in shlex.split(line)}
        try:
            files = tuple((word, Path(word).read_bytes()) for word in words if Path(word).is_file())
        except OSError as error:
            raise SymGNNError(
                f"cannot read the potential file {error.filename}: {error.strerror}"
            ) from error
        return cls(potential, files)

    def unpack(self, folder: Path) -> Potential:
        """The same potential with its files in ``folder``.

        Raises:
            SymGNNError: a file cannot be written.
        """
        places = {}
        for number, (path, content) in enumerate(self.files):
            file = make_folder(folder / str(number)) / Path(path).name  # some styles read the name
            with written_whole(file) as unfinished:
                unfinished.write_bytes(content)
            places[path] = _word(file.resolve())
        lines = tuple(
            " ".join(places.get(word, word) for word in shlex.split(line))
            for line in self.potential.pair_coeff
        )
        return replace(self.potential, pair_coeff=lines)


def _word(path: Path) -> str:
    """A path as one word of a LAMMPS input."""
    return f'"{path}"' if re.search(r"\s", str(path)) else str(path)


def _with_whole_paths(line: str, folder: Path) -> str:
    words = []
    for word in line.split():
        file = folder / word
        if file.is_file():
            word = _word(file.resolve())
        elif "/" in word or re.search(r"\.(eam|alloy|fs|adp|meam|tersoff|sw|snapcoeff)\b", word):
            raise SymGNNError(f"there is no potential file {file}")
        words.append(word)
    return " ".join(words)
