"""What an explanation of one atom's barrier is, and the file that explanations are kept in."""

from __future__ import annotations

import gzip
import json
import math
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from symgnn.errors import SymGNNError
from symgnn.files import written_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike

FORMAT = 1

SAME_PLACE = 0.05
"""Å: an explanation is of a structure if its atoms are there up to this, since files round."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Fidelity:
    """How much the prediction changes when edges are removed, most important ones first. K shares.

    All changes are absolute, in eV.
    """

    share: Floats
    """[K]: which share of the edges is called the top."""
    drop: Floats
    """[K]: without the top."""
    keep: Floats
    """[K]: with nothing but the top."""
    drop_random: Floats
    """[K]: without as many random edges of the same lengths; mean over draws."""
    drop_random_same_hop: Floats
    """[K]: likewise, of the same lengths and as many steps away from the atom."""


@dataclass(frozen=True)
class Explanation:
    """Which edges and atoms the barrier of one atom comes from. A atoms, E edges.

    The receptive field holds images of atoms: in a small box, an atom may occur more than once.
    """

    atom: int
    """Index of the explained atom in the structure, from 0."""
    prediction: float
    """Its energy barrier, eV."""
    atoms: Integers
    """[A]: index in the structure of every atom of the receptive field; entry 0 is ``atom``."""
    positions: Floats
    """[A, 3]: relative to the explained atom, Å, not wrapped."""
    edges: Integers
    """[E, 2]: (center, neighbor), numbers into ``atoms``; sorted by center."""
    importance: Floats
    """[E]: mask of GNNExplainer, 0 to 1."""
    integrated_gradients: Floats
    """[E]: what each edge contributes to the barrier, eV, against no edges at all."""
    leave_one_out: Floats
    """[A]: change of the barrier when an atom is removed as neighbor, eV; NaN: not tried."""
    fidelity: Fidelity
    """Of ``importance``."""
    stability: float = math.nan
    """Mean rank correlation of the masks from different seeds; NaN with one seed."""

    @property
    def lengths(self) -> Floats:
        """[E]: of the edges, Å."""
        center, neighbor = self.edges.T
        lengths: Floats = np.linalg.norm(self.positions[neighbor] - self.positions[center], axis=1)
        return lengths

    @property
    def distances(self) -> Floats:
        """[A]: from the explained atom, Å."""
        distances: Floats = np.linalg.norm(self.positions, axis=1)
        return distances

    @property
    def hops(self) -> Integers:
        """[A]: number of edges that lead from the explained atom to each of the others."""
        center, neighbor = self.edges.T
        far = len(self.atoms)
        hops = np.full(len(self.atoms), far)
        hops[0] = 0
        for hop in range(far):
            reached = neighbor[hops[center] == hop]
            reached = reached[hops[reached] == far]
            if not len(reached):
                break
            hops[reached] = hop + 1
        return hops

    @property
    def atom_importance(self) -> Floats:
        """[A]: the largest importance of the edges along which an atom sends; 0 without."""
        result = np.zeros(len(self.atoms))
        np.maximum.at(result, self.edges[:, 1], self.importance)
        return result


@dataclass(frozen=True)
class Provenance:
    """Where the explanations of a file come from."""

    symgnn: str
    """Version of this package."""
    model: dict[str, str]
    """``name`` and ``sha256``."""
    structure: dict[str, Any]
    """``file`` (its name), ``atoms`` (their number) and ``sha256`` (see ``structure_checksum``)."""
    settings: dict[str, Any]
    seed: int


def write_explanations(
    path: str | Path, explanations: Iterable[Explanation], provenance: Provenance
) -> None:
    """Write a file, one explanation per line; compressed if its name ends with .gz.

    Raises:
        SymGNNError: it cannot be written.
    """
    write_lines(path, map(to_line, explanations), provenance)


def write_lines(path: str | Path, lines: Iterable[str], provenance: Provenance) -> None:
    """Write a file of explanations that are lines already, as ``to_line`` makes them."""
    with written_whole(path) as unfinished, _opened(unfinished, "wt", like=path) as file:
        file.write(_first_line(provenance))
        for number, line in enumerate(lines):
            file.write((",\n" if number else "") + line)
        file.write("\n]}\n")


def read_lines(path: str | Path, provenance: Provenance) -> Iterator[tuple[int, str]]:
    """What ``write_lines`` wrote, one at a time: atom and line.

    Raises:
        SymGNNError: the file is damaged, or not of this provenance.
    """
    try:
        with _opened(Path(path), "rt", like=path) as file:
            if file.readline() != _first_line(provenance):
                raise SymGNNError(
                    f"{path} is there already, and holds no explanations of this structure, model"
                    " and settings: give -o another name"
                )
            for line in file:
                if line == "]}\n":
                    return
                text = line.rstrip("\n").removesuffix(",")
                yield int(json.loads(text)["atom"]), text
            raise EOFError
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise SymGNNError(f"{path} is there already and damaged: give -o another name") from error


def _first_line(provenance: Provenance) -> str:
    return to_header(provenance)[:-1] + ', "explanations": [\n'


def read_explanations(path: str | Path) -> list[Explanation]:
    """All explanations of a file.

    Raises:
        SymGNNError: there is no such file, or it is no file of explanations of this version.
    """
    with _undamaged(path):
        return [_from_values(values) for values in _content(path)["explanations"]]


def read_provenance(path: str | Path) -> Provenance:
    """Where the explanations of a file come from.

    Raises:
        SymGNNError: as in :func:`read_explanations`.
    """
    with _undamaged(path):
        content = _content(path)
        return Provenance(**{item.name: content[item.name] for item in fields(Provenance)})


def to_header(provenance: Provenance) -> str:
    """One line of JSON."""
    return json.dumps({"format": FORMAT, **asdict(provenance)})


def to_line(explanation: Explanation) -> str:
    """One line of JSON, rounded to what the numbers mean; NaN is null."""
    values = {
        item.name: getattr(explanation, item.name)
        for item in fields(Explanation)
        if item.name != "fidelity"
    }
    values["fidelity"] = asdict(explanation.fidelity)
    return json.dumps(to_plain(values), separators=(",", ":"), allow_nan=False)


def from_line(line: str) -> Explanation:
    """What ``to_line`` wrote."""
    return _from_values(json.loads(line))


_DECIMALS = 7  # of eV, Å and importance: what single precision means


def to_plain(value: Any) -> Any:
    """For JSON: lists for arrays, rounded numbers, null for those that are not finite."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, _DECIMALS) if math.isfinite(value) else None
    return value


def _from_values(values: dict[str, Any]) -> Explanation:
    return Explanation(
        atom=values["atom"],
        prediction=values["prediction"],
        atoms=_integers(values["atoms"], -1),
        positions=_floats(values["positions"], -1, 3),
        edges=_integers(values["edges"], -1, 2),
        importance=_floats(values["importance"], -1),
        integrated_gradients=_floats(values["integrated_gradients"], -1),
        leave_one_out=_floats(values["leave_one_out"], -1),
        fidelity=Fidelity(
            **{item.name: _floats(values["fidelity"][item.name], -1) for item in fields(Fidelity)}
        ),
        stability=math.nan if values["stability"] is None else float(values["stability"]),
    )


def _floats(values: ArrayLike, *shape: int) -> Floats:
    return np.array(values, dtype=np.float64).reshape(shape)  # None becomes NaN


def _integers(values: ArrayLike, *shape: int) -> Integers:
    return np.array(values, dtype=np.int64).reshape(shape)


def _content(path: str | Path) -> dict[str, Any]:
    try:
        with _opened(Path(path), "rt", like=path) as file:
            content = json.load(file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SymGNNError(f"cannot read {path}: {reason}; `symgnn explain` writes it") from error
    if content["format"] != FORMAT:
        raise ValueError("format")
    return dict(content)


@contextmanager
def _undamaged(path: str | Path) -> Iterator[None]:
    """Turn what a damaged or foreign file leads to into one line."""
    try:
        yield
    except (AttributeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise SymGNNError(
            f"{path} holds no explanations of this version: write them with `symgnn explain`"
        ) from error


def _opened(path: Path, mode: str, *, like: str | Path) -> Any:
    opener: Any = gzip.open if str(like).endswith(".gz") else open
    return opener(path, mode, encoding="utf-8")
