"""LAMMPS data files, with a type → element map.

LAMMPS numbers its atom types; which element a type stands for is known to the user, or written
into the file as a type label, or a comment beside a mass.
"""

from __future__ import annotations

import io
import itertools
import re
from typing import IO, TYPE_CHECKING

from ase.data import atomic_numbers
from ase.io.lammpsdata import read_lammps_data

from symgnn.elements import check_elements
from symgnn.errors import StructureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

_DATA_HEADER = re.compile(r"^\s*(\d{1,18})\s+atoms\s*(#.*)?$", re.MULTILINE)
_DATA_TYPES = re.compile(r"^\s*(\d{1,18})\s+atom\s+types", re.MULTILINE)
DATA_HEADER = "a LAMMPS data file has lines like '3000 atoms' and '2 atom types' at its beginning"
_ATOM_STYLES = {"atomic": 5, "charge": 6, "molecular": 6, "bond": 6, "angle": 6, "full": 7}
_IMAGE_FLAGS = 3  # columns that each of them may have in addition
_UNREADABLE_DATA = (  # what ASE's reader meets in a damaged file
    ValueError,
    ArithmeticError,
    LookupError,
    MemoryError,
    RuntimeError,
    StopIteration,
    UnboundLocalError,
)
_BOX_VECTOR = re.compile(r"\s[abc]vec\s*(?:#.*)?$", re.MULTILINE)
_BOX_LOW = re.compile(r"^\s*(\S+)\s+\S+\s+([xyz])lo\s+\2hi", re.MULTILINE)


def is_data(beginning: str) -> bool:
    """Whether the first characters of a file are those of a LAMMPS data file."""
    return _DATA_HEADER.search(beginning) is not None and _DATA_TYPES.search(beginning) is not None


def read_data(file: IO[str], elements: Sequence[str] | None) -> Atoms:
    """A LAMMPS data file, atoms sorted by id, positions as written (Å), periodic on all sides.

    Args:
        file: open text file.
        elements: chemical symbol of each LAMMPS type; None takes type labels, or the comments
            beside the masses (``1 63.546 # Cu``).

    Raises:
        StructureError: a damaged file, or types without elements.
    """
    text = file.read()
    _check_tables(text)
    declared = _DATA_TYPES.search(text)
    types = int(declared.group(1)) if declared else 0
    if elements is None:
        elements = _elements_named_in(text, types)
    if elements is None:
        raise StructureError(
            "the data file does not name the elements of its atom types: give them in order,"
            " for example --elements Cu,Zr (in Python: elements=['Cu', 'Zr'])"
        )
    check_elements(elements)
    if len(elements) != types:
        raise StructureError(
            f"the data file has {types} atom types, but the element names are"
            f" {', '.join(elements)}: name one element for each type"
        )
    numbers = {kind: atomic_numbers[element] for kind, element in enumerate(elements, start=1)}
    try:
        atoms: Atoms = read_lammps_data(
            io.StringIO(text), Z_of_type=numbers, read_image_flags=False
        )
    except _UNREADABLE_DATA as error:
        raise StructureError(f"damaged or unusual LAMMPS data file: {_reason(error)}") from error
    low = {axis: float(value) for value, axis in _BOX_LOW.findall(text)}
    if len(low) == 3:
        atoms.set_celldisp([low["x"], low["y"], low["z"]])
    elif len(_BOX_VECTOR.findall(text)) != 3:
        raise StructureError(
            "damaged LAMMPS data file: its header needs three lines that end in xlo xhi, ylo yhi"
            " and zlo zhi"
        )
    return atoms


def _reason(error: BaseException) -> str:
    """What ASE's reader met, in words."""
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]} is no type of the file, or no id of an atom in its section Atoms"
    if isinstance(error, IndexError):
        return "a row has too few columns"
    return str(error) or type(error).__name__


def _check_tables(text: str) -> None:
    """Raises StructureError unless there is a row for each atom, of an atom style that is read."""
    body = text.partition("\n")[2]  # the first line is a title
    header = _DATA_HEADER.search(body)
    count = int(header.group(1)) if header else 0
    atoms = _table(body, "Atoms")
    if atoms is None:
        raise StructureError(
            f"the data file has no section Atoms for its {count} atoms: it is damaged, or was cut"
            " off while being written or copied"
        )
    comment, columns, ends = atoms
    _check_rows("Atoms", columns, count, ends)
    _check_style(comment, columns[0] if columns else 0)
    if (velocities := _table(body, "Velocities")) is not None:
        _, columns, ends = velocities
        _check_rows("Velocities", columns, count, ends)


def _table(body: str, section: str) -> tuple[str, list[int], bool] | None:
    """Comment beside the name of a section, columns of its rows, whether the file ends there."""
    start = re.search(rf"^[ \t]*{section}[ \t]*(?:#(.*))?$", body, re.MULTILINE)
    if start is None:
        return None
    lines = body[start.end() :].split("\n")[2:]  # after an empty one
    rows = list(
        itertools.takewhile(lambda line: line.strip() and not line.strip()[0].isalpha(), lines)
    )
    columns = [len(row.partition("#")[0].split()) for row in rows]
    ends = not any(line.strip() for line in lines[len(rows) :])
    return (start.group(1) or "").strip(), columns, ends


def _check_rows(section: str, columns: list[int], count: int, ends: bool) -> None:
    """Raises StructureError unless a section has as many rows as atoms, alike in their columns."""
    cut_within_row = ends and len(columns) > 0 and columns[-1] < columns[0]
    whole = len(columns) - cut_within_row
    if ends and whole < count:
        raise StructureError(
            f"the data file ends after {whole} of {count} {section.lower()}: it was cut off while"
            " being written or copied"
        )
    if len(columns) != count:
        raise StructureError(
            f"damaged LAMMPS data file: its header says {count} atoms, but {len(columns)} rows"
            f" stand below {section}"
        )
    for number, found in enumerate(columns, start=1):
        if found != columns[0]:
            raise StructureError(
                f"damaged LAMMPS data file: row {number} of {section} has {found} columns, and the"
                f" first has {columns[0]}"
            )


def _check_style(comment: str, columns: int) -> None:
    """Raises StructureError unless rows of Atoms have the columns of the style in the comment."""
    if not comment and columns in _columns_of("atomic", "full"):
        return
    if not comment:
        raise StructureError(
            f"rows of Atoms have {columns} columns, but the data file does not name its atom style:"
            " write it beside the word, as in 'Atoms # charge'"
        )
    if comment not in _ATOM_STYLES:
        raise StructureError(
            f"'Atoms # {comment}' names no atom style that is read: those are"
            f" {', '.join(_ATOM_STYLES)}"
        )
    if columns not in _columns_of(comment):
        one, other = _columns_of(comment)
        raise StructureError(
            f"rows of Atoms have {columns} columns, but those of atom style {comment} have {one},"
            f" or {other} with image flags: correct the style in 'Atoms # {comment}'"
        )


def _columns_of(*styles: str) -> list[int]:
    return [_ATOM_STYLES[style] + more for style in styles for more in (0, _IMAGE_FLAGS)]


def _elements_named_in(text: str, types: int) -> list[str] | None:
    """Element of each type from ``Atom Type Labels`` or from comments in ``Masses``."""
    for section, pattern in (
        ("Atom Type Labels", r"^\s*(\d{1,9})\s+([A-Z][a-z]?)\s*(?:#.*)?$"),
        ("Masses", r"^\s*(\d{1,9})\s+\S+\s*#\s*([A-Z][a-z]?)\s*$"),
    ):
        start = re.search(rf"^\s*{section}\b.*$", text, re.MULTILINE)
        if start is None:
            continue
        named: dict[int, str] = {}
        for line in text[start.end() :].splitlines():
            if not line.strip():
                continue
            match = re.match(pattern, line)
            if match is None:
                break
            named[int(match.group(1))] = match.group(2)
        if len(named) < types:
            continue
        symbols = [named.get(kind, "") for kind in range(1, types + 1)]
        if symbols and all(atomic_numbers.get(symbol, 0) > 0 for symbol in symbols):
            return symbols
    return None
