"""An interatomic potential as LAMMPS reads it: any pair style, with the element of each type."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ase.data import atomic_masses, atomic_numbers

from symgnn.elements import check_elements
from symgnn.errors import StructureError, SymGNNError
from symgnn.files import make_folder, written_whole
from symgnn.potentials import CUZR_2009, write_potential

if TYPE_CHECKING:
    from collections.abc import Sequence

SHIPPED = "cuzr"
"""Name of the potential that ships: Cu–Zr, Mendelev et al. 2009."""


@dataclass(frozen=True)
class Potential:
    """``pair_style`` and ``pair_coeff`` of a LAMMPS input in metal units."""

    pair_style: str
    """What follows the command, such as ``eam/fs``: files by whole paths."""
    pair_coeff: tuple[str, ...]
    """What follows each ``pair_coeff``, such as ``* * /…/CuZr.eam.fs Cu Zr``: whole paths."""
    elements: tuple[str, ...]
    """Chemical symbol of each atom type."""

    @classmethod
    def shipped(cls, folder: Path, symbols: Sequence[str] = ()) -> Potential:
        """The Cu–Zr potential of 2009, whose file is written to ``folder``.

        Args:
            folder: made where it is missing.
            symbols: chemical symbols that are needed; nothing is written where one is unknown.

        Raises:
            StructureError: an element that the potential lacks.
            SymGNNError: the file cannot be written.
        """
        file = folder.resolve() / CUZR_2009
        potential = cls("eam/fs", (f"* * {_word(str(file))} Cu Zr",), ("Cu", "Zr"))
        potential.types_of(symbols)
        make_folder(folder)
        write_potential(file)
        return potential

    @classmethod
    def read(
        cls, pair_style: str, pair_coeff: Sequence[str], elements: Sequence[str], folder: Path
    ) -> Potential:
        """What a user writes, with files found from ``folder``.

        Atom types, numbers, elements and styles are no files, even where one has that name.

        Raises:
            StructureError: a name that is no chemical symbol.
            SymGNNError: nothing to read, a file that looks like one of a potential is missing, or a
                path that LAMMPS cannot read.
        """
        check_elements(elements)
        if not pair_style.strip() or not pair_coeff:
            raise SymGNNError("a potential needs --pair-style and at least one --pair-coeff")
        styles = _words("--pair-style", pair_style)
        style = " ".join(_whole(word, folder) if "." in word else word for word in styles)
        coefficients = tuple(_with_whole_paths(line, folder, styles) for line in pair_coeff)
        return cls(style, coefficients, tuple(elements))

    @property
    def style(self) -> str:
        """``pair_style`` with names of files instead of paths: the same wherever they lie."""
        words = shlex.split(self.pair_style)
        return " ".join(Path(word).name if _is_file(word) else word for word in words)

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
        style = " ".join(
            hashlib.sha256(Path(word).read_bytes()).hexdigest() if _is_file(word) else word
            for word in shlex.split(self.pair_style)
        )
        digest = hashlib.sha256(repr((style, self.elements)).encode())
        for line in self.pair_coeff:
            for word in shlex.split(line):
                digest.update(Path(word).read_bytes() if _is_file(word) else word.encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class PackedPotential:
    """A potential with its files, for a machine that sees no file of this one."""

    potential: Potential
    files: tuple[tuple[str, bytes], ...]
    """Path on the machine where it was packed, and content."""

    @classmethod
    def of(cls, potential: Potential) -> PackedPotential:
        """Read every file that the potential names.

        Raises:
            SymGNNError: a file cannot be read.
        """
        lines = (potential.pair_style, *potential.pair_coeff)
        words = {word: None for line in lines for word in shlex.split(line)}
        try:
            files = tuple((word, Path(word).read_bytes()) for word in words if _is_file(word))
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
            places[path] = str(file.resolve())
        style, *coefficients = (
            " ".join(_word(places.get(word, word)) for word in shlex.split(line))
            for line in (self.potential.pair_style, *self.potential.pair_coeff)
        )
        return replace(self.potential, pair_style=style, pair_coeff=tuple(coefficients))


def _word(text: str) -> str:
    """A path, or anything else, as one word of a LAMMPS input, which ``shlex`` reads alike."""
    if re.fullmatch(r"[^\s'\"#$&\\]+", text):
        return text
    if not re.search(r"['\n]", text):
        return f"'{text}'"
    if not re.search(r"[\"\n\\]", text):
        return f'"{text}"'
    raise SymGNNError(
        f"LAMMPS cannot read {text!r}: rename what has a quotation mark beside other such signs in"
        " its name"
    )


def _is_file(word: str) -> bool:
    """Whether a word of a ``Potential``, where paths are whole, names a file."""
    path = Path(word)
    return path.is_absolute() and path.is_file()


def _words(option: str, line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        raise SymGNNError(
            f"{option} {line}: a quotation mark has no end; put a path that holds one between"
            " marks of the other kind"
        ) from None


def _with_whole_paths(line: str, folder: Path, styles: Sequence[str]) -> str:
    words = _words("--pair-coeff", line)
    types, rest = words[:2], words[2:]
    return " ".join([*types, *(_coefficient(word, folder, styles) for word in rest)])


def _coefficient(word: str, folder: Path, styles: Sequence[str]) -> str:
    if _is_name(word, styles):
        return word
    if not (folder / word).is_file() and (
        "/" in word or re.search(r"\.(eam|alloy|fs|adp|meam|tersoff|sw|snapcoeff)\b", word)
    ):
        raise SymGNNError(f"there is no potential file {folder / word}")
    return _whole(word, folder)


def _is_name(word: str, styles: Sequence[str]) -> bool:
    """Whether a word is a number, an element, or a style of a hybrid one, but no file."""
    try:
        float(word)
    except ValueError:
        return word in atomic_numbers or word == "NULL" or word in styles
    return True


def _whole(word: str, folder: Path) -> str:
    """A word, as the whole path of the file that it names, if it does."""
    file = folder / word
    return _word(str(file.resolve()) if file.is_file() else word)
