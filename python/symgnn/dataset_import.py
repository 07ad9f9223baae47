"""The published pickles of the SymGNN paper, without running anything a pickle may ask for.

A pickle is a program: loading one with :func:`pickle.load` can do anything to a computer. Here
only arrays of numbers, dictionaries, lists, text and numbers can come out of one.
"""

from __future__ import annotations

import pickle
import re
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.io.formats import open_with_compression

from symgnn.elements import check_elements, symbols_of_types
from symgnn.errors import DatasetError, SymGNNError
from symgnn.keys import ENERGY_BARRIER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LABEL = "trajectory_start_velocities"
"""Key of the labels in the published files. Its name says otherwise; it holds barriers, in eV."""

_NUMERIC = re.compile(r"[<>|=]?[biuf](1|2|4|8)")


def read_published_pickle(path: str | Path, elements: Sequence[str] = ("Cu", "Zr")) -> Atoms:
    """One structure of the paper's data files.

    The file holds a dictionary with ``positions`` [N, 3] (Å, centered on zero), ``types`` [N]
    (1-based), ``box`` [3] (Å) and, for labeled structures, the mean barriers (eV) under
    ``trajectory_start_velocities``, [N] or [N, 1]. Positions are moved so that the cell starts at
    the origin.

    Args:
        path: the pickle, compressed (.gz, .bz2, .xz) or not.
        elements: chemical symbol of each type.

    Returns:
        N atoms, periodic, with the array ``energy_barrier`` where the file has labels.

    Raises:
        DatasetError: no such file, another layout, a type without an element, or a pickle that
            asks for more than data.
    """
    try:
        check_elements(elements)
        with open_with_compression(str(path), "rb") as file:
            content = restricted_load(file)
        return _to_atoms(content, elements)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except SymGNNError as error:
        raise DatasetError(f"{path}: {error}") from error


def restricted_load(file: IO[bytes]) -> object:
    """Load a pickle that holds numeric arrays and Python's own containers, and nothing else.

    Arrays come back as objects that ``numpy.asarray`` understands.

    Raises:
        DatasetError: any other global, in one line that names it; or a damaged pickle.
    """
    try:
        return _RestrictedUnpickler(file).load()
    except DatasetError:
        raise
    except Exception as error:  # a damaged pickle fails in any way its opcodes allow
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DatasetError(f"not a readable pickle: {reason}") from error


# numpy's own constructors trust their arguments, so none of them runs here: these stand in.

_NDARRAY = object()
"""Stands in for the class ``numpy.ndarray``, as an argument only."""


class _Dtype:
    """Stands in for ``numpy.dtype``: plain numbers only."""

    def __init__(self, specification: object, *_flags: object) -> None:
        if not isinstance(specification, str) or not _NUMERIC.fullmatch(specification):
            raise DatasetError(f"refused: arrays of type {specification!r} hold more than numbers")
        self._kind = specification.lstrip("<>|=")
        self._byte_order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise DatasetError(f"refused: byte order {state[1]!r} is unknown")
        self._byte_order = state[1]

    def read(self, data: object) -> np.ndarray[Any, Any]:
        if not isinstance(data, (bytes, bytearray)):
            raise DatasetError("refused: an array holds objects instead of numbers")
        return np.frombuffer(data, dtype=self._byte_order + self._kind)


class _Array:
    """Stands in for numpy's ``_reconstruct``: an empty array that the pickle then fills."""

    def __init__(self, subtype: object, *_shape_and_kind: object) -> None:
        if subtype is not _NDARRAY:
            raise DatasetError("refused: the pickle builds something else than a plain array")
        self._values: np.ndarray[Any, Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, column_major, data = state
        self._values = dtype.read(data).reshape(shape, order="F" if column_major else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self._values, dtype=dtype, copy=True)


def _array_from_buffer(
    data: object, dtype: _Dtype, shape: tuple[int, ...], order: str
) -> np.ndarray[Any, Any]:
    """Stands in for numpy's ``_frombuffer``, which protocol 5 uses."""
    return dtype.read(data).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: _Dtype, data: object) -> Any:
    """Stands in for numpy's ``scalar``."""
    return dtype.read(data)[0]


def _bytes_from_text(text: object, encoding: object = "latin1") -> bytes:
    """Stands in for ``_codecs.encode``, with which protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise DatasetError(f"refused: the pickle asks for the codec {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _bytes_from_text,
    # numpy.core became numpy._core in numpy 2; either may have written the file.
    **{
        (f"numpy.{core}.{module}", name): replacement
        for core in ("core", "_core")
        for module, name, replacement in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array_from_buffer),
        )
    },
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise DatasetError(
                f"refused: the pickle asks for {module}.{name}, and only arrays of numbers are"
                " read from pickles; do not open this file with other tools unless you trust it"
            ) from None


def _to_atoms(content: object, elements: Sequence[str]) -> Atoms:
    if not isinstance(content, dict):
        raise DatasetError(
            f"holds a {type(content).__name__}, expected a dictionary with positions, types, box"
        )
    missing = [key for key in ("positions", "types", "box") if key not in content]
    if missing:
        raise DatasetError(f"has no {', '.join(missing)}: this is no data file of the paper")
    positions = _numbers(content, "positions")
    if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0:
        raise DatasetError(f"positions have shape {positions.shape}, expected [N, 3]")
    count = len(positions)
    types, box = _numbers(content, "types"), _numbers(content, "box")
    if types.shape not in ((count,), (count, 1)) or (types != np.floor(types)).any():
        raise DatasetError(f"types have shape {types.shape}, expected {count} whole numbers")
    if box.shape != (3,) or not np.isfinite(box).all() or (box <= 0).any():
        raise DatasetError(f"box is {box.tolist()}, expected three positive lengths")
    if not np.isfinite(positions).all():
        raise DatasetError("some positions are not finite numbers")
    atoms = Atoms(
        symbols_of_types(types.reshape(count).astype(np.int64), elements),
        positions=positions + box / 2,
        cell=box,
        pbc=True,
    )
    if _LABEL in content:
        labels = _numbers(content, _LABEL)
        if labels.shape not in ((count,), (count, 1)):
            raise DatasetError(f"labels have shape {labels.shape}, expected one for each atom")
        atoms.set_array(ENERGY_BARRIER, labels.reshape(count))
    return atoms


def _numbers(content: dict[object, object], key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.asarray(content[key], dtype=np.float64)
    except (TypeError, ValueError):
        raise DatasetError(f"{key} is not an array of numbers") from None
