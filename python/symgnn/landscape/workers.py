"""Searches in processes of this machine: one LAMMPS and one thread each.

``symgnn.landscape.cluster`` does the same searches, with the same results, on a Dask cluster.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections import Counter, deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from symgnn.errors import SymGNNError
from symgnn.landscape.forces import Forces
from symgnn.landscape.saddle import Search, search_saddle

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from ase import Atoms

    from symgnn.landscape.events import Task
    from symgnn.landscape.potential import Potential
    from symgnn.landscape.saddle import SaddleSettings

_ATTEMPTS = 3  # at a search whose process dies, before it counts as failed

Done = tuple["Task", Search, float]
"""A search, its result, and the core-seconds that it took."""


class Searcher:
    """Does one search after the other. Each begins as in a new process, whatever came before."""

    def __init__(self, atoms: Atoms, potential: Potential, settings: SaddleSettings) -> None:
        """Start LAMMPS; errors are those of :class:`Forces`."""
        self._open = lambda: Forces(atoms, potential)
        self._atoms, self._settings = atoms, settings
        with _in_one_line("the start of LAMMPS"):
            self._forces = self._open()

    def __call__(self, task: Task) -> Done:
        """Do a search. One in which LAMMPS gives up has failed.

        Raises:
            SymGNNError: anything else goes wrong, so that no search would fare better.
        """
        with _in_one_line(f"search {task.search} of atom {task.atom}"):
            return self._search(task)

    def _search(self, task: Task) -> Done:
        began = time.thread_time()
        try:
            self._forces.restart(self._atoms.positions)
            generator = np.random.default_rng(task.seed)
            result = search_saddle(self._forces, self._atoms, task.atom, self._settings, generator)
        except SymGNNError as error:
            result = Search("failed", str(error))
            self._forces.close()
            self._forces = self._open()
        return task, result, time.thread_time() - began

    def close(self) -> None:
        """End LAMMPS."""
        self._forces.close()


def run_searches(
    tasks: Sequence[Task],
    atoms: Atoms,
    potential: Potential,
    settings: SaddleSettings,
    workers: int,
) -> Generator[Done]:
    """Do searches in processes, and give each when it is done.

    A process that dies is replaced and its search done again. Closing the generator ends them all.

    Raises:
        SymGNNError: LAMMPS does not start in a process, or a search meets an error of the code.
    """
    waiting = deque(tasks)
    attempts: Counter[Task] = Counter()
    busy: dict[Connection, tuple[SpawnProcess, Task]] = {}

    def assign(connection: Connection, process: SpawnProcess) -> None:
        busy[connection] = process, waiting.popleft()
        with suppress(OSError):  # it died; reading will tell
            connection.send(busy[connection][1])

    try:
        for _ in range(min(workers, len(tasks))):
            assign(*_start(atoms, potential, settings))
        while busy:
            ready = multiprocessing.connection.wait(list(busy))
            for connection in [connection for connection in busy if connection in ready]:
                process, task = busy.pop(connection)
                answer = _answer(connection, process)
                if isinstance(answer, str):
                    process.join()
                    raise SymGNNError(answer)
                if answer is None:
                    attempts[task] += 1
                    answer = given_up(task) if attempts[task] == _ATTEMPTS else None
                    waiting.extendleft([] if answer else [task])
                    connection, process = _start(atoms, potential, settings)
                if waiting:
                    assign(connection, process)
                else:
                    connection.close()  # the process ends by itself
                if answer is not None:
                    yield answer
    finally:
        for process, _ in busy.values():
            process.kill()
            process.join()


def given_up(task: Task) -> Done:
    """What becomes of a search that brought down its process again and again."""
    return task, Search("failed", "the process of the search died"), 0.0


def interrupt(run: Generator[Done]) -> Iterator[Done]:
    """After Ctrl-C: what a run of searches has finished but not given yet. It ends with that."""
    with suppress(KeyboardInterrupt):  # the run passes it on when it has given everything
        yield run.throw(KeyboardInterrupt())
        yield from run


def _answer(connection: Connection, process: SpawnProcess) -> Done | str | None:
    """A result, what keeps the process from searching, or None from one that died."""
    try:
        answer: Done | str = connection.recv()
    except (EOFError, OSError):
        process.join()
        return None
    return answer


def _start(
    atoms: Atoms, potential: Potential, settings: SaddleSettings
) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, atoms, potential, settings), daemon=True)
    with _inherited():
        process.start()
    theirs.close()
    return ours, process


@contextmanager
def _inherited() -> Iterator[None]:
    """What processes started here inherit: one thread, and that Ctrl-C is for their parent."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _work(
    connection: Connection, atoms: Atoms, potential: Potential, settings: SaddleSettings
) -> None:
    """Do searches until the parent closes the connection, or is gone."""
    with suppress(EOFError, OSError):
        try:
            searcher = Searcher(atoms, potential, settings)
            while True:
                connection.send(searcher(connection.recv()))
        except SymGNNError as error:
            connection.send(str(error))


@contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Errors of the code as those that end the run, which processes send as one line."""
    try:
        yield
    except SymGNNError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise SymGNNError(
            f"{what} stops at an error of symgnn ({reason}), and others would too: please report"
            " it; every finished search is in the catalog"
        ) from error
