"""LAMMPS text dumps, with a type → element map.

LAMMPS numbers its atom types; which element a type stands for is known to the user, or written
into the file as an ``element`` column.
"""

from __future__ import annotations

import io
import itertools
import sys
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from symgnn.columns import words_of
from symgnn.elements import check_elements, symbols_of_types
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


def is_dump(beginning: str) -> bool:
    """Whether the first characters of a file are those of a LAMMPS text dump."""
    return beginning.startswith("ITEM:")


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
