"""The catalog of saddle searches: one SQLite file that survives kill -9, Ctrl-C and a full disk.

A search is one row, keyed by atom and number and written in one transaction when it is done. The
journal is SQLite's rollback journal and not a write-ahead log: there is one writer, who commits
every few seconds, the catalog stays one file, and network file systems carry it.
"""

from __future__ import annotations

import io
import json
import sqlite3
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ase import Atoms

from symgnn.errors import SymGNNError
from symgnn.files import locked
from symgnn.landscape.saddle import MOVED, PHASES, SAME_MINIMUM, SaddleSettings, Search

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

_FORMAT = 3
_BEFORE_SAME_MINIMUM = 2  # counted searches as connected that came back to the start
_SCHEMA = f"""
CREATE TABLE about (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE searches (
    atom INTEGER NOT NULL,
    search INTEGER NOT NULL,
    seed TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('connected', 'unconnected', 'failed')),
    reason TEXT NOT NULL,
    barrier REAL,
    backward_barrier REAL,
    eigenvalue REAL,
    displacement REAL,
    displaced_atoms INTEGER NOT NULL,
    most_displaced_atom INTEGER NOT NULL,
    final_displacement REAL,
    {" ".join(f"{phase}_calls INTEGER NOT NULL," for phase in PHASES)}
    seconds REAL NOT NULL,
    saddle BLOB,
    final BLOB,
    PRIMARY KEY (atom, search)
);
"""
_NUMBERS = ("barrier", "backward_barrier", "eigenvalue", "displacement", "final_displacement")


def seed_of(structure: str, atom: int, search: int) -> int:
    """Seed of one search, 64 bits, from the checksum of its structure, its atom and its number."""
    sequence = np.random.SeedSequence(int(structure[:32], 16), spawn_key=(atom, search))
    return int(sequence.generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Task:
    """One search to do."""

    atom: int
    search: int
    seed: int


@dataclass(frozen=True)
class Origin:
    """What all searches of a catalog share."""

    structure: str
    """Checksum of the structure as it was read."""
    potential: str
    """Checksum of the potential."""
    settings: SaddleSettings
    relax: bool
    """Whether the structure was relaxed first."""


@dataclass(frozen=True)
class Tally:
    """How many searches of each atom ended how, and the barriers of those with a saddle."""

    searches: NDArray[np.int64]
    """[N]; all that are done."""
    atom: NDArray[np.int64]
    """[M]; of each saddle."""
    barrier: NDArray[np.float64]
    """[M], eV."""
    connected: NDArray[np.bool_]
    """[M]."""


class Catalog:
    """An open catalog. Use it in a ``with`` block, or ``close`` it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use ``append`` or ``read``."""
        self.path = path
        self._connection = connection
        self._held = ExitStack()

    @classmethod
    def append(cls, path: Path, origin: Origin, atoms: Atoms | None = None) -> Catalog:
        """Open a catalog for more searches, or begin it with a structure.

        Args:
            path: of the catalog.
            origin: of the searches; that of an existing catalog must be the same.
            atoms: structure at an energy minimum, for a catalog that does not exist yet.

        Raises:
            SymGNNError: another process writes to it, another origin, no catalog, or a full disk.
        """
        if path.is_dir():
            raise SymGNNError(f"{path} is a folder: give -o the name of a file in it")
        with ExitStack() as held:
            held.enter_context(_alone(path))
            with _failures(path):
                catalog = cls(path, _connect(path, "rwc" if atoms is not None else "rw"))
                held.callback(catalog._connection.close)
                if atoms is not None and not catalog._tables():
                    catalog._begin(origin, atoms)
            catalog._check_format()
            catalog._check_origin(origin)
            catalog._upgrade()
            catalog._held = held.pop_all()
        return catalog

    @classmethod
    def read(cls, path: Path) -> Catalog:
        """Open a catalog for reading, also while searches run.

        One of an older format is read as it would be after ``append``, and left as it is.

        Raises:
            SymGNNError: there is none, or it is damaged; so do all methods that read.
        """
        if not path.is_file():
            raise SymGNNError(f"there is no catalog {path}; `symgnn label STRUCTURE -o` makes one")
        with _failures(path):
            catalog = cls(path, _connect(path, "rw"))
            catalog._connection.execute("PRAGMA query_only = TRUE")
            catalog._check_format()
            if catalog._about("format") != str(_FORMAT):
                catalog._move_to_memory()
                catalog._upgrade()
        return catalog

    def _tables(self) -> set[str]:
        rows = self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows}

    def _begin(self, origin: Origin, atoms: Atoms) -> None:
        about = {
            "format": _FORMAT,
            "structure_sha256": origin.structure,
            "potential_sha256": origin.potential,
            "settings": origin.settings.model_dump_json(),
            "relax": int(origin.relax),
            "structure": _packed(
                numbers=atoms.numbers,
                cell=atoms.cell.array,
                pbc=atoms.pbc,
                positions=atoms.positions,
                displacement=np.ravel(atoms.get_celldisp()),
            ),
        }
        # One transaction: a kill leaves an empty file, which the next start fills.
        self._connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}")
        self._connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        self._connection.execute("COMMIT")

    def _upgrade(self) -> None:
        """From format 2, in one transaction."""
        if self._about("format") == str(_FORMAT):
            return
        within = self._settings()["connected_within"]
        with _failures(self.path), self._connection:
            self._connection.execute(
                "UPDATE searches SET status = 'unconnected', reason = ?"
                " WHERE status = 'connected' AND final_displacement <= ?",
                (SAME_MINIMUM, within),
            )
            self._connection.execute("UPDATE about SET value = ? WHERE key = 'format'", (_FORMAT,))

    def _move_to_memory(self) -> None:
        copy = sqlite3.connect(":memory:")
        self._connection.backup(copy)
        self._connection.close()
        self._connection = copy

    def _rows(self, query: str, *parameters: object) -> list[Any]:
        with _failures(self.path):
            return self._connection.execute(query, parameters).fetchall()

    def _about(self, key: str) -> str:
        with _failures(self.path):
            ((value,),) = self._rows("SELECT value FROM about WHERE key = ?", key)
            return str(value)

    def _settings(self) -> dict[str, Any]:
        with _failures(self.path):
            settings: dict[str, Any] = json.loads(self._about("settings"))
        return settings

    def _check_format(self) -> None:
        if not {"about", "searches"} <= self._tables():
            raise SymGNNError(f"{self.path} is no catalog of searches: choose another name")
        if self._about("format") not in (str(_BEFORE_SAME_MINIMUM), str(_FORMAT)):
            raise SymGNNError(
                f"{self.path} was made by another version of symgnn: export it with that one, or"
                " choose another name for new searches"
            )

    def _check_origin(self, origin: Origin) -> None:
        def refuse(what: str, remedy: str) -> None:
            raise SymGNNError(
                f"{self.path} was made with {what}: {remedy}, or give -o another name"
            )

        if self._about("structure_sha256") != origin.structure:
            refuse("another structure", "name that one")
        if self._about("potential_sha256") != origin.potential:
            refuse("another potential", "give that one")
        if self._about("relax") != str(int(origin.relax)):
            refuse(
                *(("--relax", "give it") if not origin.relax else ("no --relax", "leave it out"))
            )
        before = self._settings()
        now = json.loads(origin.settings.model_dump_json())
        changed = [f"{key}={before.get(key)}" for key in now if before.get(key) != now[key]]
        if changed or before.keys() != now.keys():
            refuse(f"other settings ({', '.join(changed)})", "give those")

    # --- what is in it ------------------------------------------------------------------------

    def structure(self) -> Atoms:
        """The structure at its minimum, from which all searches start."""
        ((blob,),) = self._rows("SELECT value FROM about WHERE key = 'structure'")
        with _failures(self.path):
            return Atoms(
                **{
                    {"displacement": "celldisp"}.get(key, key): values
                    for key, values in _unpacked(blob).items()
                }
            )

    def origin(self) -> Origin:
        """What all searches share."""
        with _failures(self.path):
            return Origin(
                self._about("structure_sha256"),
                self._about("potential_sha256"),
                SaddleSettings.model_validate_json(self._about("settings")),
                self._about("relax") == "1",
            )

    def missing(self, atoms: Iterable[int], searches: int) -> list[Task]:
        """Searches number 0 to ``searches`` − 1 of some atoms that are not done yet.

        All atoms get their first search before any gets its second, so that a run that is stopped
        leaves labels of equal weight.
        """
        done = set(self._rows("SELECT atom, search FROM searches"))
        structure = self._about("structure_sha256")
        wanted = sorted(set(atoms))
        return [
            Task(atom, search, seed_of(structure, atom, search))
            for search in range(searches)
            for atom in wanted
            if (atom, search) not in done
        ]

    def add(self, task: Task, result: Search, seconds: float, *, configurations: bool) -> None:
        """Write one search; when this returns, it is on the disk.

        Args:
            task: what was done.
            result: its result.
            seconds: what it took of a core.
            configurations: whether to keep the saddle and the minimum on its far side.

        Raises:
            SymGNNError: the disk is full, or the catalog cannot be written.
        """
        row: dict[str, object] = {
            "atom": task.atom,
            "search": task.search,
            "seed": str(task.seed),
            "status": result.status,
            "reason": result.reason,
            **{name: _or_null(getattr(result, name)) for name in _NUMBERS},
            "displaced_atoms": result.displaced_atoms,
            "most_displaced_atom": result.most_displaced_atom,
            **{f"{phase}_calls": result.calls.get(phase, 0) for phase in PHASES},
            "seconds": seconds,
        }
        if configurations and result.saddle is not None and result.final is not None:
            start = self.structure().positions
            row["saddle"] = _displaced(start, result.saddle)
            row["final"] = _displaced(start, result.final)
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        with _failures(self.path), self._connection:
            self._connection.execute(
                f"INSERT INTO searches ({names}) VALUES ({marks})", list(row.values())
            )

    def tally(self) -> Tally:
        """Counts and barriers of all that is done."""
        count = len(self.structure())
        done = np.zeros(count, dtype=np.int64)
        for atom, searches in self._rows("SELECT atom, count(*) FROM searches GROUP BY atom"):
            done[atom] = searches
        rows = self._rows(
            "SELECT atom, barrier, status = 'connected' FROM searches WHERE status != 'failed'"
            " ORDER BY atom, search"
        )
        atom, barrier, connected = zip(*rows, strict=True) if rows else ((), (), ())
        return Tally(
            done,
            np.array(atom, dtype=np.int64),
            np.array(barrier, dtype=np.float64),
            np.array(connected, dtype=np.bool_),
        )

    def reasons(self) -> dict[str, int]:
        """How many searches are not connected, by reason, most frequent first."""
        return dict(
            self._rows(
                "SELECT reason, count(*) FROM searches WHERE reason != '' GROUP BY reason"
                " ORDER BY count(*) DESC, reason"
            )
        )

    def cost(self) -> tuple[float, float]:
        """Median force calls of a search with a saddle, and core-seconds of all searches."""
        total = " + ".join(f"{phase}_calls" for phase in PHASES)
        calls = self._rows(f"SELECT {total} FROM searches WHERE status != 'failed'")
        ((seconds,),) = self._rows("SELECT total(seconds) FROM searches")
        return float(np.median(calls)) if calls else float("nan"), float(seconds)

    def calls_by_phase(self) -> list[float]:
        """Median force calls of a search with a saddle, by phase; empty without one."""
        phases = ", ".join(f"{phase}_calls" for phase in PHASES)
        calls = self._rows(f"SELECT {phases} FROM searches WHERE status != 'failed'")
        return np.median(calls, axis=0).tolist() if calls else []

    def configurations(self, atom: int, search: int) -> tuple[Atoms, Atoms] | None:
        """Saddle and minimum on its far side, where they were kept.

        Atoms that moved by less than ``MOVED`` stand at the start, up to single precision.
        """
        rows = self._rows(
            "SELECT saddle, final FROM searches WHERE atom = ? AND search = ?", atom, search
        )
        if not rows or rows[0][0] is None:
            return None
        saddle, final = self.structure(), self.structure()
        with _failures(self.path):
            for atoms, blob in zip((saddle, final), rows[0], strict=True):
                moved = _unpacked(blob)
                atoms.positions[moved["index"]] += moved["displacement"]
        return saddle, final

    def close(self) -> None:
        """Let other processes write."""
        self._connection.close()
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # "rw" also for readers: what a kill left half written is rolled back by whoever opens the
    # catalog next. SQLite opens a file that may not be written for reading.
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=60.0)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _alone(path: Path) -> AbstractContextManager[None]:
    """Keep a second writer away, which would run the same searches."""
    # Not the catalog itself: SQLite gives its own locks up when any descriptor of it is closed.
    return locked(
        path.with_name(f".{path.name}.lock"),
        f"another process writes to {path}: wait for it, or give -o another name",
    )


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_NOTADB:
            raise SymGNNError(f"{path} is no catalog: choose another name") from error
        if code is not None and code & 0xFF == sqlite3.SQLITE_CORRUPT:
            raise _damaged(path, error) from error
        raise SymGNNError(
            f"cannot use the catalog {path}: {error}; every finished search is in it: free space,"
            " or make the file writable, and go on with the same command"
        ) from error
    except (zlib.error, ValueError) as error:  # of what is packed in it
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SymGNNError:
    what = str(error).partition("\n")[0]
    return SymGNNError(
        f"the catalog {path} is damaged ({what}): take a copy that is whole, or save what can be"
        f" read with `sqlite3 {path} .recover`"
    )


def _or_null(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _displaced(start: NDArray[np.float64], positions: NDArray[np.float64]) -> bytes:
    displacement = positions - start
    index = np.flatnonzero(np.linalg.norm(displacement, axis=1) > MOVED)
    return _packed(
        index=index.astype(np.int32), displacement=displacement[index].astype(np.float32)
    )


def _packed(**arrays: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return zlib.compress(file.getvalue())


def _unpacked(blob: bytes) -> dict[str, NDArray[np.generic]]:
    with np.load(io.BytesIO(zlib.decompress(blob))) as arrays:
        return dict(arrays)
