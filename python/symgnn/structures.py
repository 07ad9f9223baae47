"""Reading and writing structures: files in any format, standard input and output.

Reading recognizes LAMMPS files by their content and leaves the rest to ASE. Writing offers the
three formats that carry barriers to other tools: extended XYZ, LAMMPS dump, and CSV.
"""

from __future__ import annotations

import lzma
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, open_with_compression
from ase.utils import string2index

from symgnn import lammps_data, lammps_dump
from symgnn.columns import number_columns, words_of
from symgnn.errors import StructureError
from symgnn.files import cannot_write, unfinished_path, uninterrupted
from symgnn.keys import ENERGY_BARRIER

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

STANDARD_STREAM = "-"
"""In place of a path: standard input, or standard output."""

_BEGINNING = 4096  # characters that decide whether a file is LAMMPS's
_ORIGIN = "Origin"  # key of extended XYZ, as OVITO reads and writes it
_COMPRESSIONS = (".gz", ".bz2", ".xz")
_DUMP_SUFFIXES = (".dump", ".lammpstrj")
_OF_TABLE = ("structure", "index", "element", "x", "y", "z")  # first columns of a CSV file
_IS_WORD = re.compile(r"[^\s,\"]+")  # a name that the header of a table can have
_UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error)  # also of a damaged compression


# --- reading ----------------------------------------------------------------------------------


def read_structures(
    path: str | Path, *, elements: Sequence[str] | None = None, index: int | str = ":"
) -> list[Atoms]:
    """Structures of a file, as a list.

    Args:
        path: a file in any format that ASE reads, a LAMMPS data or text dump file, compressed
            (.gz, .bz2, .xz) or not; ``-`` is standard input.
        elements: chemical symbol of each LAMMPS atom type; only for LAMMPS files.
        index: which structures, as in ASE: ``0``, ``-1``, ``":"``, ``"::10"``.

    Raises:
        StructureError: a missing, empty, damaged or unknown file, or types without elements.
    """
    return list(iterate_structures(path, elements=elements, index=index))


def read_structure(
    path: str | Path, *, elements: Sequence[str] | None = None, index: int | None = None
) -> Atoms:
    """The only structure of a file, or the one that is chosen.

    Args:
        path: as for :func:`read_structures`.
        elements: as for :func:`read_structures`.
        index: which of several structures: 0, -1.

    Raises:
        StructureError: as :func:`read_structures`; several structures, and none chosen.
    """
    several = iterate_structures(path, elements=elements, index=":" if index is None else index)
    found = list(islice(several, 2))
    name = "standard input" if str(path) == STANDARD_STREAM else path
    if not found:
        raise StructureError(f"{name} holds no structure")
    if len(found) > 1:
        raise StructureError(
            f"{name} holds several structures: choose one of them, as with --index -1"
        )
    return found[0]


def iterate_structures(
    path: str | Path, *, elements: Sequence[str] | None = None, index: int | str = ":"
) -> Iterator[Atoms]:
    """Structures of a file one at a time, for trajectories that should not fill the memory.

    Arguments and errors are those of :func:`read_structures`.
    """
    if str(path) == STANDARD_STREAM:
        with _standard_input_as_file() as copy:
            yield from _iterate_file(copy, "standard input", elements, index)
    else:
        yield from _iterate_file(Path(path), str(path), elements, index)


def timestep_of(atoms: Atoms) -> float:
    """The time step that a frame of a trajectory names; NaN where it names none."""
    timestep = atoms.info.get("timestep")
    return float(timestep) if isinstance(timestep, int | float | np.number) else np.nan


def is_lammps_file(path: str | Path) -> bool:
    """Whether a file is a LAMMPS data or text dump file, compressed or not, by its beginning.

    Raises:
        StructureError: a missing, empty or damaged file.
    """
    beginning = _beginning_of(Path(path), str(path))
    return lammps_data.is_data(beginning) or lammps_dump.is_dump(beginning)


def _iterate_file(
    path: Path, name: str, elements: Sequence[str] | None, index: int | str
) -> Iterator[Atoms]:
    which = _parse_index(index)
    beginning = _beginning_of(path, name)
    try:
        if lammps_dump.is_dump(beginning):
            with open_with_compression(str(path), "rt") as file:
                yield from lammps_dump.read_dump(file, elements, which)
        elif lammps_data.is_data(beginning):
            with open_with_compression(str(path), "rt") as file:
                yield from _select([lammps_data.read_data(file, elements)], which)
        else:
            if elements is not None:
                raise StructureError(
                    "element names map LAMMPS atom types, but this is no LAMMPS file:"
                    f" leave --elements away, or correct its header ({lammps_data.DATA_HEADER})"
                )
            yield from _iterate_ase(path, index)
    except StructureError as error:
        raise StructureError(f"{name}: {error}") from error
    except (*_UNREADABLE, UnicodeDecodeError) as error:
        raise StructureError(f"{name} cannot be read: {error}") from error


def _iterate_ase(path: Path, index: int | str) -> Iterator[Atoms]:
    """Structures through ASE, whose readers raise whatever a damaged file makes them raise."""
    try:
        file_format = filetype(str(path))
        frames = ase.io.iread(str(path), index=index, format=file_format)
    except UnknownFileTypeError:
        raise StructureError(
            "the format is not known: ASE formats, LAMMPS data files and LAMMPS text dumps are"
        ) from None
    count = 0
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            break
        except UnknownFileTypeError as error:
            raise StructureError(
                f"the format is not known: ASE formats, LAMMPS data files and LAMMPS text dumps"
                f" are, but not {error}"
            ) from error
        except Exception as error:  # a reader of ASE may raise any kind on a damaged file
            reason = str(error).strip().splitlines()[0] if str(error).strip() else "damaged file"
            raise StructureError(f"cannot be read as {file_format}: {reason}") from error
        count += 1
        origin = atoms.info.get(_ORIGIN)
        if isinstance(origin, np.ndarray) and origin.shape == (3,):
            atoms.set_celldisp(atoms.info.pop(_ORIGIN))
        yield atoms
    which = _parse_index(index)
    if count == 0 and which in (0, -1, slice(None)):  # these select from any file
        raise StructureError(
            f"holds no structure when read as {file_format}: name the file by its format;"
            f" {lammps_data.DATA_HEADER}"
        )
    if count == 0 and not isinstance(which, slice):
        raise StructureError(f"there is no structure number {index}")


def _select(structures: list[Atoms], which: int | slice) -> list[Atoms]:
    if isinstance(which, slice):
        return structures[which]
    try:
        return [structures[which]]
    except IndexError:
        raise StructureError(f"there is no structure number {which}") from None


def _parse_index(index: int | str) -> int | slice:
    if isinstance(index, int):
        return index
    try:
        parsed: int | slice | str = string2index(index)
    except (ValueError, TypeError):
        parsed = index
    if isinstance(parsed, str) or (isinstance(parsed, slice) and parsed.step == 0):
        raise StructureError(
            f"index {index!r} selects no structures: write a number, or start:stop:step"
        )
    return parsed


def _beginning_of(path: Path, name: str) -> str:
    if not path.exists():
        raise StructureError(f"{name} does not exist: check the path")
    if path.is_dir():
        raise StructureError(f"{name} is a folder: name the structure files in it")
    try:
        with open_with_compression(str(path), "rb") as file:
            beginning = file.read(_BEGINNING)
    except _UNREADABLE as error:
        raise StructureError(f"{name} cannot be read: {error}") from error
    if not beginning.strip():
        raise StructureError(f"{name} is empty: expected a structure")
    return bytes(beginning).decode("utf-8", errors="replace")


@contextmanager
def _standard_input_as_file() -> Iterator[Path]:
    """Standard input on disk, since most readers go back and forth in their file."""
    with tempfile.TemporaryDirectory(prefix="symgnn-") as folder:
        copy = Path(folder) / "structure"
        with cannot_write(copy), copy.open("wb") as file:
            while block := sys.stdin.buffer.read(1 << 20):
                file.write(block)
        yield copy


# --- writing ----------------------------------------------------------------------------------


def write_structures(
    path: str | Path, structures: Iterable[Atoms], format: str | None = None
) -> None:
    """Write structures to one file, which appears under its name only when it is complete.

    Extended XYZ has all that structures know of atoms; dumps and tables have every column of one
    number per atom, a table those of its first structure.

    Args:
        path: the suffix decides the format and compression; ``-`` is standard output.
        structures: one or many.
        format: ``extxyz``, ``lammps-dump`` or ``csv``; None decides by suffix.

    Raises:
        StructureError: an unknown suffix or format; barriers that the first structure of a table
            has not.
        SymGNNError: the file cannot be written.
    """
    with StructureWriter(path, format) as writer:
        for atoms in structures:
            writer.write(atoms)


class StructureWriter:
    """Writes structures one at a time, and gives the file its name when all are written.

    A block that ends with an exception, Ctrl-C included, or a disk that fills up as the file is
    closed, leaves what was written so far in ``partial``, a file beside the target (``glass.xyz``
    → ``glass.partial.xyz``), and whatever lay under the final name before as it was.
    """

    def __init__(self, path: str | Path, format: str | None = None) -> None:
        """Opens the file, so that an unwritable folder shows before any work is done.

        Args:
            path: target; ``-`` is standard output.
            format: as in :func:`write_structures`; standard output defaults to ``extxyz``.

        Raises:
            StructureError: an unknown suffix or format.
            SymGNNError: the file cannot be created.
        """
        self.path = path
        self.count = 0
        self.partial: Path | None = None
        self._append = _frame_writer(format or format_of(path))
        self._standard = str(path) == STANDARD_STREAM
        target = Path(os.path.realpath(path))
        # A device such as /dev/null must be written to, never replaced.
        self._replace = not self._standard and (target.is_file() or not target.exists())
        self._target = target
        self._unfinished = unfinished_path(path) if self._replace else target
        self._file: IO[str]
        if self._standard:
            self._file = sys.stdout
        else:
            with cannot_write(path):
                self._file = open_with_compression(str(self._unfinished), "wt")

    def write(self, atoms: Atoms) -> None:
        """Append one structure."""
        with uninterrupted():
            if self._standard:
                self._append(self._file, atoms, self.count)
                self._file.flush()
            else:
                with cannot_write(self.path):
                    self._append(self._file, atoms, self.count)
            self.count += 1

    def __enter__(self) -> StructureWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._standard:
            return
        if error is not None:
            self._keep_partial()
            return
        try:
            with cannot_write(self.path):
                self._file.close()
                if self._replace:
                    self._unfinished.replace(self._target)
        except BaseException:
            self._keep_partial()
            raise

    def _keep_partial(self) -> None:
        with suppress(OSError):
            self._file.close()
        if not self._replace:
            return
        with suppress(OSError):
            if self.count:
                self.partial = _partial_path(self._target)
                self._unfinished.replace(self.partial)
            else:
                self._unfinished.unlink()


def format_of(path: str | Path) -> str:
    """The output format that a file name asks for.

    Raises:
        StructureError: a suffix that stands for none of them.
    """
    if str(path) == STANDARD_STREAM:
        return "extxyz"
    suffix = uncompressed(path).suffix.lower()
    if suffix in (".xyz", ".extxyz"):
        return "extxyz"
    if suffix in _DUMP_SUFFIXES:
        return "lammps-dump"
    if suffix == ".csv":
        return "csv"
    raise StructureError(
        f"the name {Path(path).name} does not say in which format to write: end it in .xyz, .dump,"
        f" .lammpstrj or .csv, or give --format {', '.join(_FRAME_WRITERS)}"
    )


def uncompressed(path: str | Path) -> Path:
    """``glass.xyz.gz`` → ``glass.xyz``; any other name as it is."""
    path = Path(path)
    return path.with_suffix("") if path.suffix.lower() in _COMPRESSIONS else path


def stem_of(path: str | Path) -> str:
    """``run/glass.dump.gz`` → ``glass``; standard input is called ``structure``."""
    return "structure" if str(path) == STANDARD_STREAM else uncompressed(path).stem


def _frame_writer(format: str) -> _AppendFrame:
    if format not in _FRAME_WRITERS:
        raise StructureError(
            f"format {format!r} cannot be written: choose {', '.join(_FRAME_WRITERS)}"
        )
    return _FRAME_WRITERS[format]()


def _partial_path(target: Path) -> Path:
    """``glass.xyz.gz`` → ``glass.partial.xyz.gz``."""
    ending = 2 if target.suffix.lower() in _COMPRESSIONS and len(target.suffixes) > 1 else 1
    suffix = "".join(target.suffixes[-ending:])
    return target.with_name(f"{target.name.removesuffix(suffix)}.partial{suffix}")


def _columns(atoms: Atoms, but: Sequence[str]) -> dict[str, NDArray[Any]]:
    """All columns of one number per atom whose names a table can have, but for some."""
    return {
        name: values
        for name, values in number_columns(atoms).items()
        if name not in but and _IS_WORD.fullmatch(name)
    }


def _append_extxyz(file: IO[str], atoms: Atoms, _number: int) -> None:
    origin = np.ravel(atoms.get_celldisp())
    if origin.any():
        calculator = atoms.calc
        atoms = atoms.copy()
        atoms.calc = calculator
        atoms.info[_ORIGIN] = origin
    ase.io.write(file, atoms, format="extxyz")


def _append_dump(file: IO[str], atoms: Atoms, number: int) -> None:
    columns = _columns(atoms, lammps_dump.COLUMNS)
    lammps_dump.write_dump(file, atoms, columns, timestep=number)


class _Table:
    """Appends structures to a CSV file, which has one header: the columns of the first of them."""

    def __init__(self) -> None:
        self._columns: list[str] = []

    def __call__(self, file: IO[str], atoms: Atoms, number: int) -> None:
        columns = _columns(atoms, _OF_TABLE)
        if number == 0:
            self._columns = list(columns)
            file.write(",".join((*_OF_TABLE, *columns)) + "\n")
        for name in columns:
            if name.startswith(ENERGY_BARRIER) and name not in self._columns:
                raise StructureError(
                    f"{name} is no column of structures before, and a CSV file has one header:"
                    " write extended XYZ or a dump, or such structures alone"
                )
        missing = np.full(len(atoms), np.nan)
        values = [words_of(name, columns.get(name, missing)) for name in self._columns]
        symbols = atoms.get_chemical_symbols()
        for index, row in enumerate(zip(symbols, atoms.positions, *values, strict=True)):
            symbol, (x, y, z), *words = row
            fields = (str(number), str(index), symbol, f"{x:.10g}", f"{y:.10g}", f"{z:.10g}")
            file.write(",".join((*fields, *words)) + "\n")


_AppendFrame = Callable[[IO[str], Atoms, int], None]
"""Appends structure number n, counted from 0, to an open text file."""

_FRAME_WRITERS: dict[str, Callable[[], _AppendFrame]] = {
    "extxyz": lambda: _append_extxyz,
    "lammps-dump": lambda: _append_dump,
    "csv": _Table,
}
