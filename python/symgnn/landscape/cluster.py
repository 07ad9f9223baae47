"""Searches on a Dask cluster: the same as in processes of one machine, on any number of machines.

Workers need symgnn and nothing else: structure, potential files and settings travel once to each as
a plugin, which also reaches workers that join later. Results come back to the process that asked,
the only one that knows the catalog.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import re
import threading
import uuid
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import Client, KilledWorker, WorkerPlugin, as_completed, get_worker
from distributed.comm.core import connect
from distributed.security import Security
from distributed.utils import silence_logging_cmgr

from symgnn.errors import SymGNNError
from symgnn.landscape.potential import PackedPotential
from symgnn.landscape.workers import Searcher
from symgnn.selection import structure_checksum

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from ase import Atoms
    from distributed import Future

    from symgnn.landscape.events import Task
    from symgnn.landscape.potential import Potential
    from symgnn.landscape.saddle import SaddleSettings
    from symgnn.landscape.workers import Done

_IN_FLIGHT = 1000  # searches that the scheduler knows of; a worker takes two of them at most
_ADDRESS = re.compile(r"[a-z]+://.+:\d+")
_TIMEOUT = 10  # s, for an answer of the scheduler

Opened = tuple[tuple[str, str, str], Searcher]


class SearchPlugin(WorkerPlugin):
    """What a worker needs for the searches of one run."""

    def __init__(self, atoms: Atoms, potential: Potential, settings: SaddleSettings) -> None:
        """Pack it."""
        self._atoms, self._settings = atoms, settings
        self._potential = PackedPotential.of(potential)
        self._key = structure_checksum(atoms), potential.checksum(), settings.model_dump_json()
        self._version = _version()

    def search(self, task: Task, folder: Path) -> Done:
        """Do a search in this process, with the LAMMPS of the one before if that fits.

        Args:
            task: to do.
            folder: for files of the potential.

        Raises:
            SymGNNError: another version of symgnn, or LAMMPS does not start.
        """
        if self._version != _version():
            raise _mismatch(get_worker().address, _version(), self._version)
        with _process.lock:
            return self._searcher(folder)(task)

    def _searcher(self, folder: Path) -> Searcher:
        if _process.opened is not None:
            key, searcher = _process.opened
            if key == self._key:
                return searcher
            searcher.close()
            _process.opened = None
        potential = self._potential.unpack(folder / self._key[1])
        searcher = Searcher(self._atoms, potential, self._settings)
        _process.opened = self._key, searcher
        return searcher


@dataclass
class _Process:
    """The one LAMMPS of this process, and who may use it."""

    lock: threading.Lock
    opened: Opened | None = None


_process = _Process(threading.Lock())


def _search(plugin: str, task: Task) -> Done:
    """Runs on a worker."""
    worker = get_worker()
    searches = worker.plugins[plugin]
    assert isinstance(searches, SearchPlugin)
    return searches.search(task, Path(worker.local_directory))


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the scheduler at ``address``, such as ``tcp://host:8786``.

    Raises:
        SymGNNError: no address, no scheduler answers there, or a worker has another version of
            symgnn or more than one thread.
    """
    if not _ADDRESS.fullmatch(address):
        raise SymGNNError(
            f"--scheduler {address}: write the address that `dask scheduler` prints, such as"
            " tcp://host:8786"
        )
    with ExitStack() as stack:
        for logger in ("distributed", "distributed.client"):  # what is wrong is said in one line
            stack.enter_context(silence_logging_cmgr(logging.CRITICAL, logger))
        try:
            asyncio.run(_reach(address))
            client = Client(address, timeout=_TIMEOUT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SymGNNError(
                f"no Dask scheduler answers at {address}: start one with `dask scheduler`, and give"
                " the address that it prints, such as tcp://host:8786"
            ) from error
        except TypeError as error:
            raise SymGNNError(
                f"--scheduler {address}: this machine has no settings for such connections, such as"
                " the certificates of distributed.comm.tls; use tcp://, or set Dask up for them"
            ) from error
        stack.enter_context(client)
        _check_workers(client)
        yield client


async def _reach(address: str) -> None:
    """Fail before there is a Client, since one that cannot start complains again at exit."""
    arguments = Security().get_connection_args("client")
    comm = await connect(address, timeout=_TIMEOUT, **arguments)
    await comm.close()


def _check_workers(client: Client) -> None:
    for address, threads in client.nthreads().items():
        if threads > 1:
            raise SymGNNError(
                f"the worker {address} has {threads} threads, of which searches use one: start"
                " workers with --nthreads 1 and, for N cores, --nworkers N"
            )
    found = client.run(importlib.metadata.version, "symgnn", on_error="return")
    for address, version in found.items():
        if version != _version():
            raise _mismatch(address, version, _version())


def _mismatch(address: str, theirs: object, ours: str) -> SymGNNError:
    has = f"symgnn {theirs}" if isinstance(theirs, str) else "no symgnn"
    return SymGNNError(
        f"the worker {address} has {has}, this process symgnn {ours}: install that version on all"
        " machines of the cluster, and start the workers again"
    )


def _version() -> str:
    return importlib.metadata.version("symgnn")


def run_on_cluster(
    tasks: Sequence[Task],
    atoms: Atoms,
    potential: Potential,
    settings: SaddleSettings,
    client: Client,
) -> Generator[Done]:
    """Do searches on the workers of a cluster, and give each when it is done.

    Searches of a worker that is lost are done by others; one that brings down more workers than the
    scheduler's ``allowed-failures`` has no result. Closing the generator cancels what is left.
    After KeyboardInterrupt it gives what is finished, and passes it on.

    Raises:
        SymGNNError: LAMMPS does not start on a worker, a worker has another version of symgnn, or
            the scheduler is gone.
    """
    name = f"symgnn-{uuid.uuid4()}"
    waiting = iter(tasks)
    running: dict[Future[Done], Task] = {}
    completed = as_completed(loop=client.loop)

    def submit(count: int) -> None:
        for task in islice(waiting, count):
            # Keys of one name let the scheduler hold back what workers cannot begin yet.
            key = (name, task.atom, task.search)
            future = client.submit(_search, name, task, key=key, pure=False)
            running[future] = task
            completed.add(future)

    try:
        client.register_plugin(SearchPlugin(atoms, potential, settings), name)
        submit(_IN_FLIGHT)
        for future in completed:
            answer = _answer(future, running[future])
            del running[future]
            submit(1)
            yield answer
    except KeyboardInterrupt:
        finished = [future for future in running if future.status == "finished"]
        for answer in [_answer(future, running.pop(future)) for future in finished]:
            with suppress(KeyboardInterrupt):  # again, from who already knows
                yield answer
        raise
    finally:
        if client.status == "running":
            with suppress(OSError, CancelledError):
                client.cancel(list(running))
                client.unregister_worker_plugin(name)


def _answer(future: Future[Done], task: Task) -> Done:
    try:
        return future.result()
    except KilledWorker:
        return task, None, 0.0
    except (CancelledError, OSError) as error:
        raise SymGNNError(
            "the Dask scheduler is gone; every finished search is in the catalog: start it again,"
            " and go on with the same command"
        ) from error
