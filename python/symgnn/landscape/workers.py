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
from multiprocessing import resource_tracker
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

_ATTEMPTS = 3  # at a search whose process dies

Done = tuple["Task", Search | None, float]
"""A search, its result, and the core-seconds that it took; no result where processes died of it."""


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

    A process that dies is replaced and its search done again, up to three times. Closing the
    generator ends them all. After KeyboardInterrupt it gives what is finished, and passes it on.

    Raises:
        SymGNNError: LAMMPS does not start in a process, or a search meets an error of the code.
    """
    waiting = deque(tasks)
    attempts: Counter[Task] = Counter()
    processes = _Processes(atoms, potential, settings)
    try:
        for _ in range(min(workers, len(tasks))):
            processes.start(waiting.popleft())
        while processes.busy:
            ready = multiprocessing.connection.wait(list(processes.busy))
            for connection in [known for known in processes.busy if known in ready]:
                process, task = processes.busy.pop(connection)
                answer = _answer(connection, process)
                if answer is None:
                    attempts[task] += 1
                    answer = (task, None, 0.0) if attempts[task] == _ATTEMPTS else None
                    waiting.extendleft([] if answer else [task])
                    if waiting:
                        processes.start(waiting.popleft())
                elif waiting:
                    processes.assign(connection, process, waiting.popleft())
                else:
                    connection.close()  # the process ends by itself
                if answer is not None:
                    yield answer
    except KeyboardInterrupt:
        for answer in processes.finished():
            with suppress(KeyboardInterrupt):  # again, from who already knows
                yield answer
        raise
    finally:
        processes.kill()


class _Processes:
    """Those that are at a search, by the connection that will tell its result."""

    def __init__(self, atoms: Atoms, potential: Potential, settings: SaddleSettings) -> None:
        self._arguments = atoms, potential, settings
        self.busy: dict[Connection, tuple[SpawnProcess, Task]] = {}

    def start(self, task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, *self._arguments), daemon=True)
        with _inherited():  # Ctrl-C acts after it, when the process is among those to kill
            process.start()
            theirs.close()
            self.assign(ours, process, task)

    def assign(self, connection: Connection, process: SpawnProcess, task: Task) -> None:
        self.busy[connection] = process, task
        with suppress(OSError):  # it died; reading will tell
            connection.send(task)

    def finished(self) -> list[Done]:
        """Results that nobody has received yet."""
        answers = [
            _answer(connection, process)
            for connection, (process, _) in self.busy.items()
            if connection.poll()
        ]
        return [answer for answer in answers if answer is not None]

    def kill(self) -> None:
        for process, _ in self.busy.values():
            process.kill()
            process.join()


def interrupt(run: Generator[Done]) -> Iterator[Done]:
    """After Ctrl-C: what a run of searches has finished but not given yet. It ends with that."""
    with suppress(KeyboardInterrupt):  # the run passes it on when it has given everything
        yield run.throw(KeyboardInterrupt())
        yield from run


def _answer(connection: Connection, process: SpawnProcess) -> Done | None:
    """A result, or None from a process that died.

    Raises:
        SymGNNError: what keeps the process from searching.
    """
    try:
        answer: Done | str = connection.recv()
    except (EOFError, OSError):
        process.join()
        return None
    if isinstance(answer, str):
        process.join()
        raise SymGNNError(answer)
    return answer


@contextmanager
def _inherited() -> Iterator[None]:
    """What processes started here inherit: one thread, and that Ctrl-C is for their parent.

    One that comes to the parent meanwhile acts at the end.
    """
    resource_tracker.ensure_running()  # its start, otherwise that of the first process, unblocks
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


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
