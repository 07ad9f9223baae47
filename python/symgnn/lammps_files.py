"""LAMMPS data and dump files, with a type → element map.

LAMMPS numbers its atom types; which element a type stands for is known to the user, or written
into the file as an ``element`` column, a type label, or a comment beside a mass.
"""

from __future__ import annotations

import io
import itertools
import re
import sys
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.lammpsdata import read_lammps_data

from symgnn.columns import words_of
from symgnn.errors import StructureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

_POSITION_COLUMNS = (("x", "y", "z"), ("xu", "yu", "zu"), ("xs", "ys", "zs"), ("xsu", "ysu", "zsu"))
_WRAPPED = (_POSITION_COLUMNS[0], _POSITION_COLUMNS[2])  # what image flags belong to
_IMAGES = ("ix", "iy", "iz")
_ARRAYS_OF_ASE = ("numbers", "positions")  # a column of that name would take their place
COLUMNS = ("id", "type", "element", "x", "y", "z")
"""Of every dump that is written."""
_UNITS_IN_ANGSTROM = ("metal", "real")
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


def is_dump(beginning: str) -> bool:
    """Whether the first characters of a file are those of a LAMMPS text dump."""
    return beginning.startswith("ITEM:")


def is_data(beginning: str) -> bool:
    """Whether the first characters of a file are those of a LAMMPS data file."""
    return _DATA_HEADER.search(beginning) is not None and _DATA_TYPES.search(beginning) is not None


# --- dump files -------------------------------------------------------------------------------


def read_dump(file: IO[str], elements: Sequence[str] | None, index: int | slice) -> Iterator[Atoms]:
    """Frames of a LAMMPS text dump, one at a time, atoms sorted by id.

    Positions are Cartesian (Å) whichever of ``x``, ``xu``, ``xs``, ``xsu`` the dump has. Numeric
    columns beyond the position become arrays under their own names, but for image flags beside
    unwrapped positions, which they would unwrap once more.

    Args:
        file: open text file, seekable.
        elements: chemical symbol of each LAMMPS type; None takes the ``element`` column.
        index: which frames, as in a Python list.

    Raises:
        StructureError: a damaged or unusual dump, or types without elements.
    """
    wanted = index if isinstance(index, slice) else slice(index, index + 1 or None)
    from_start = all(bound is None or bound >= 0 for bound in (wanted.start, wanted.stop))
    if from_start and (wanted.step or 1) > 0:
        frames: Iterator[tuple[list[str], list[str]]] = itertools.islice(
            _frames(file), wanted.start, wanted.stop, wanted.step
        )
    else:
        numbers = range(sum(1 for _ in _frames(file)))[wanted]
        file.seek(0)
        frames = itertools.islice(
            _frames(file), min(numbers, default=0), max(numbers, default=-1) + 1, abs(numbers.step)
        )
        if numbers.step < 0:
            frames = iter(list(frames)[::-1])
    empty = True
    for header, rows in frames:
        empty = False
        yield _parse_frame(header, rows, elements)
    if empty and not isinstance(index, slice):
        raise StructureError(f"the dump has no structure number {index}")


def _frames(file: IO[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Header lines and rows of each frame. A frame that was cut off has too few of them."""
    header: list[str] = []
    count = 0
    for line in file:
        if not line.strip():
            continue
        header.append(line)
        if line.startswith("ITEM: ATOMS"):
            yield header, list(itertools.islice(file, count))
            header = []
        elif len(header) > 1 and header[-2].startswith("ITEM: NUMBER OF ATOMS"):
            count = _number_of_atoms(line)
    if header:
        yield header, []


def _integer(line: str) -> int:
    try:
        return int(line)
    except ValueError:
        raise StructureError(f"damaged dump: {line.strip()!r} where a number belongs") from None


def _number_of_atoms(line: str) -> int:
    count = _integer(line)
    if not 0 <= count <= sys.maxsize:
        raise StructureError(f"damaged dump: {count} as the number of atoms")
    return count


def _parse_frame(header: list[str], rows: list[str], elements: Sequence[str] | None) -> Atoms:
    timestep, count = 0, None
    cell, origin, pbc = np.zeros((3, 3)), np.zeros(3), [False] * 3
    if not header[-1].startswith("ITEM: ATOMS"):
        raise StructureError("the dump ends in the middle of a header: it was cut off")
    for item, *values in _items(header[:-1]):
        if item.startswith("ITEM: TIMESTEP") and values:
            timestep = _integer(values[0])
        elif item.startswith("ITEM: NUMBER OF ATOMS") and values:
            count = _number_of_atoms(values[0])
        elif item.startswith("ITEM: BOX BOUNDS"):
            cell, origin, pbc = _parse_box(item.split()[3:], values)
        elif item.startswith("ITEM: UNITS") and not values:
            raise StructureError("damaged dump: ITEM: UNITS without the name of the units")
        elif item.startswith("ITEM: UNITS") and values[0].strip() not in _UNITS_IN_ANGSTROM:
            raise StructureError(
                f"the dump is in LAMMPS units {values[0].strip()}, but lengths in Å are needed:"
                " convert it to metal units"
            )
    if count is None:
        raise StructureError("damaged dump: ITEM: ATOMS comes before ITEM: NUMBER OF ATOMS")
    if len(rows) < count:
        raise StructureError(
            f"the dump ends after {len(rows)} of {count} atoms of timestep {timestep}:"
            " it was cut off while being written or copied"
        )
    columns = _parse_columns(header[-1].split()[2:], rows)
    return _frame_to_atoms(columns, elements, cell, origin, pbc, timestep)


def _items(header: list[str]) -> Iterator[list[str]]:
    """The header split into items, each with the lines of its value."""
    starts = [number for number, line in enumerate(header) if line.startswith("ITEM:")]
    for start, end in itertools.pairwise((*starts, len(header))):
        yield header[start:end]


def _parse_box(
    flags: list[str], lines: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[bool]]:
    """Cell vectors [3, 3], origin [3] and periodicity from ITEM: BOX BOUNDS."""
    try:
        numbers = np.array([[float(word) for word in line.split()] for line in lines])
    except ValueError:
        raise StructureError("damaged dump: the box bounds are not numbers") from None
    pbc = [flag.startswith("p") for flag in flags[-3:]] if len(flags) >= 3 else [False] * 3
    if flags[:2] == ["abc", "origin"] and numbers.shape == (3, 4):
        return numbers[:, :3], numbers[:, 3], pbc
    if numbers.shape == (3, 2):
        numbers = np.column_stack((numbers, np.zeros(3)))
    elif numbers.shape != (3, 3):
        raise StructureError("damaged dump: the box bounds need two or three numbers per line")
    (low, high), (xy, xz, yz) = numbers[:, :2].T.copy(), numbers[:, 2]
    # A dump states the bounding box of a triclinic cell, not the cell itself.
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    cell = np.diag(high - low)
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    return cell, low, pbc


def _parse_columns(names: list[str], rows: list[str]) -> dict[str, NDArray[np.generic]]:
    """Columns of an ITEM: ATOMS table: integers, floats or text, judged by the first row."""
    if not rows:
        return {name: np.zeros(0) for name in names}
    first = rows[0].split()
    kinds = [(name, _kind(name, word)) for name, word in itertools.zip_longest(names, first)]
    try:
        if len(first) != len(names):
            raise ValueError
        table = np.loadtxt(io.StringIO("".join(rows)), dtype=kinds, ndmin=1, comments=None)
    except ValueError:
        raise StructureError(
            f"damaged dump: a row does not have the {len(names)} columns {' '.join(names)}"
        ) from None
    return {name: np.ascontiguousarray(table[name]) for name in names}


def _kind(name: str, word: str) -> str:
    if name in ("id", "type"):
        return "i8"
    try:
        float(word)
    except (TypeError, ValueError):
        return "U16"
    return "f8"


def _frame_to_atoms(
    columns: dict[str, NDArray[np.generic]],
    elements: Sequence[str] | None,
    cell: NDArray[np.float64],
    origin: NDArray[np.float64],
    pbc: list[bool],
    timestep: int,
) -> Atoms:
    if "id" in columns:
        order = np.argsort(columns["id"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
    for names in _POSITION_COLUMNS:
        if all(name in columns for name in names):
            break
    else:
        raise StructureError(
            "the dump has no positions: write columns x y z, xu yu zu, xs ys zs or xsu ysu zsu"
        )
    try:
        positions = np.column_stack([columns[name] for name in names]).astype(np.float64)
    except ValueError:
        raise StructureError(
            f"damaged dump: the columns {' '.join(names)} are not all numbers"
        ) from None
    if names[0].startswith("xs"):
        positions = positions @ cell + origin
    atoms = Atoms(
        _dump_symbols(columns, elements),
        positions=positions,
        cell=cell,
        pbc=pbc,
        celldisp=origin,
        info={"timestep": timestep},
    )
    left_out = (*names, *_ARRAYS_OF_ASE, "element", *(() if names in _WRAPPED else _IMAGES))
    for name, column in columns.items():
        if name not in left_out and column.dtype.kind in "if":
            atoms.set_array(name, column)
    return atoms


def _dump_symbols(
    columns: dict[str, NDArray[np.generic]], elements: Sequence[str] | None
) -> list[str]:
    if elements is not None:
        if "type" not in columns:
            raise StructureError("element names were given, but the dump has no type column")
        return symbols_of_types(columns["type"].astype(np.int64), elements)
    if "element" in columns:
        symbols = [str(symbol) for symbol in columns["element"]]
        check_elements(sorted(set(symbols)))
        return symbols
    raise StructureError(
        "the dump does not name the elements: give them in the order of the LAMMPS types,"
        " for example --elements Cu,Zr (in Python: elements=['Cu', 'Zr'])"
    )


def symbols_of_types(types: NDArray[np.int64], elements: Sequence[str]) -> list[str]:
    """Chemical symbol of each atom from its 1-based LAMMPS type.

    Raises:
        StructureError: an unknown symbol, or a type beyond the list.
    """
    check_elements(elements)
    if len(types) and (types.min() < 1 or types.max() > len(elements)):
        wrong = types.max() if types.max() > len(elements) else types.min()
        raise StructureError(
            f"there are atoms of type {wrong}, but the element names are {', '.join(elements)}:"
            " name one element for each LAMMPS type"
        )
    return [elements[kind - 1] for kind in types]


def check_elements(elements: Sequence[str]) -> None:
    """Raises StructureError for a name that is no chemical symbol."""
    for element in elements:
        if atomic_numbers.get(element, 0) == 0:
            raise StructureError(
                f"{element!r} is not a chemical symbol: write symbols such as Cu and Zr"
            )


def write_dump(
    file: IO[str], atoms: Atoms, columns: Mapping[str, NDArray[Any]], timestep: int
) -> None:
    """Append one frame in LAMMPS's text dump format.

    Args:
        file: open text file.
        atoms: N atoms; an ``id`` array of N whole numbers is kept, otherwise ids are 1 … N; so is
            a ``type`` array of N numbers from 1 up, otherwise types number the elements
            alphabetically.
        columns: numbers [N] to write after the position, by other names than ``COLUMNS``.
        timestep: written when the structure does not know its own, a whole number.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    ids = _whole_numbers(atoms, "id")
    if ids is None:
        ids = np.arange(1, len(atoms) + 1)
    types = _whole_numbers(atoms, "type")
    if types is None or types.min(initial=1) < 1:
        types = np.unique(symbols, return_inverse=True)[1] + 1
    words = [words_of(name, values) for name, values in columns.items()]
    own = atoms.info.get("timestep")
    step = own if isinstance(own, int | np.integer) and not isinstance(own, bool) else timestep
    file.write(f"ITEM: TIMESTEP\n{step}\n")
    file.write(f"ITEM: NUMBER OF ATOMS\n{len(atoms)}\n")
    file.write(_box_bounds(atoms))
    file.write(" ".join(("ITEM: ATOMS", *COLUMNS, *columns)) + "\n")
    for row in zip(ids, types, symbols, atoms.positions, *words, strict=True):
        number, kind, symbol, (x, y, z), *more = row
        fields = (str(number), str(kind), symbol, f"{x:.10g}", f"{y:.10g}", f"{z:.10g}")
        file.write(" ".join((*fields, *more)) + "\n")


def _whole_numbers(atoms: Atoms, name: str) -> NDArray[np.integer] | None:
    """Array of that name, [N]; None also where another program means something else by it."""
    values = atoms.arrays.get(name)
    if values is None or values.ndim != 1 or values.dtype.kind not in "iu":
        return None
    whole: NDArray[np.integer] = values
    return whole


def _box_bounds(atoms: Atoms) -> str:
    """The ITEM: BOX BOUNDS block. Directions without a cell vector enclose the atoms."""
    flags = ["pp" if periodic else "ff" for periodic in atoms.pbc]
    cell, origin = atoms.cell.array.copy(), np.ravel(atoms.get_celldisp()).astype(np.float64)
    for axis in np.flatnonzero(np.linalg.norm(cell, axis=1) == 0):
        along = atoms.positions[:, axis]
        origin[axis] = along.min() - 1.0
        cell[axis, axis] = np.ptp(along) + 2.0
    if np.any(np.triu(cell, k=1)) or np.any(np.diag(cell) <= 0):
        rows = (
            f"{a:.10g} {b:.10g} {c:.10g} {o:.10g}"
            for (a, b, c), o in zip(cell, origin, strict=True)
        )
        return "\n".join((f"ITEM: BOX BOUNDS abc origin {' '.join(flags)}", *rows)) + "\n"
    xy, xz, yz = cell[1, 0], cell[2, 0], cell[2, 1]
    low, high = origin, origin + np.diag(cell)
    if not (xy or xz or yz):
        rows = (f"{a:.10g} {b:.10g}" for a, b in zip(low, high, strict=True))
        return "\n".join((f"ITEM: BOX BOUNDS {' '.join(flags)}", *rows)) + "\n"
    bounds = (
        (low[0] + min(0.0, xy, xz, xy + xz), high[0] + max(0.0, xy, xz, xy + xz), xy),
        (low[1] + min(0.0, yz), high[1] + max(0.0, yz), xz),
        (low[2], high[2], yz),
    )
    rows = (f"{a:.10g} {b:.10g} {tilt:.10g}" for a, b, tilt in bounds)
    return "\n".join((f"ITEM: BOX BOUNDS xy xz yz {' '.join(flags)}", *rows)) + "\n"


# --- data files -------------------------------------------------------------------------------


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
