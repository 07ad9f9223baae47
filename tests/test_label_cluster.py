"""`symgnn label --scheduler`: real Dask schedulers and workers find what one process finds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from distributed import Client, LocalCluster

from labeling import CHOICE, children, finished, label, rows, start, wait_for, write_crystal
from saddles import COPPER, POTENTIALS
from symgnn.cli import run
from symgnn.landscape import cluster as farm
from symgnn.landscape.forces import Forces
from symgnn.landscape.potential import PackedPotential, Potential
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Scheduler

DASK = Path(sys.executable).with_name("dask")


@dataclass
class Cluster:
    """`dask scheduler` and `dask worker` processes."""

    address: str
    scheduler: subprocess.Popen[bytes]
    nannies: list[subprocess.Popen[bytes]]

    def workers(self) -> list[int]:
        """Processes that search, which their nannies replace."""
        return [worker for nanny in self.nannies for worker in children(nanny.pid)]


@contextmanager
def started(folder: Path, *options: str, workers: int = 2, **settings: str) -> Iterator[Cluster]:
    """A scheduler and workers with options and, in capitals, settings of Dask."""
    folder.mkdir()
    contact = folder / "scheduler.json"
    environment = os.environ | {f"DASK_{name}": value for name, value in settings.items()}
    scheduler_file = ["--scheduler-file", str(contact), "--dashboard-address", ":0"]

    def dask(*arguments: str) -> subprocess.Popen[bytes]:
        with (folder / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [DASK, *arguments, *scheduler_file],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=folder,
            )

    processes = [dask("scheduler", "--host", "127.0.0.1", "--port", "0")]
    try:
        for _ in range(workers):
            one_core = ("--nthreads", "1", "--nworkers", "1", "--local-directory", str(folder))
            processes.append(dask("worker", *one_core, *options))
        wait_for(contact.exists)
        with Client(scheduler_file=str(contact), set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)
            address = client.scheduler.address
        yield Cluster(address, processes[0], processes[1:])
    finally:
        for process in processes:
            process.kill()  # workers end with their nannies
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started(tmp_path_factory.mktemp("dask") / "cluster") as running:
        yield running


@pytest.fixture(scope="module")
def crystal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crystal(tmp_path_factory.mktemp("crystal"))


@pytest.fixture(scope="module")
def whole(crystal: Path) -> Path:
    """A catalog that one process of this machine filled."""
    path = crystal.with_name("whole.db")
    assert run(label(crystal, path, "--workers", "1", *CHOICE)) == 0
    return path


def test_a_cluster_finds_the_events_of_one_process(
    cluster: Cluster, crystal: Path, whole: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "cluster.db"
    assert run(label(crystal, catalog, "--scheduler", cluster.address, *CHOICE)) == 0
    assert len(rows(catalog)) == 9
    assert rows(catalog) == rows(whole)


def test_a_killed_worker_loses_no_search_and_repeats_none(
    cluster: Cluster, crystal: Path, whole: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "killed.db"
    process = start(label(crystal, catalog, "--scheduler", cluster.address, *CHOICE))
    wait_for(lambda: finished(catalog) >= 2)
    os.kill(cluster.workers()[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert rows(catalog) == rows(whole)


@pytest.mark.usefixtures("children_heed_ctrl_c")
def test_ctrl_c_keeps_what_is_finished_and_leaves_the_cluster_idle(
    cluster: Cluster, crystal: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.db"
    process = start(label(crystal, catalog, "--scheduler", cluster.address, "--searches", "50"))
    wait_for(lambda: finished(catalog) >= 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.count("\n") == 1, errors
    assert f"{finished(catalog)} searches of this run are in" in errors

    def left_behind(dask_scheduler: Scheduler) -> list[str]:
        plugins = [name for name in dask_scheduler.worker_plugins if name.startswith("symgnn-")]
        return plugins + [str(key) for key in dask_scheduler.tasks]

    with Client(cluster.address, set_as_default=False) as client:
        wait_for(lambda: not client.run_on_scheduler(left_behind))


def test_what_is_wrong_with_a_cluster_is_one_line(
    cluster: Cluster,
    crystal: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def complaint(address: str, *options: str) -> str:
        catalog = tmp_path / "catalog.db"
        assert run(label(crystal, catalog, "--scheduler", address, *CHOICE, *options)) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert finished(catalog) == 0
        return line

    monkeypatch.setattr(farm, "_TIMEOUT", 0.5)
    assert "start one with `dask scheduler`" in complaint("tcp://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []
    assert "start one with `dask scheduler`" in complaint("nonsense://here:1")
    assert "write the address that `dask scheduler` prints" in complaint("nonsense://here")
    assert "certificates of distributed.comm.tls" in complaint("tls://127.0.0.1:9")
    assert "exclude each other" in complaint(cluster.address, "--workers", "2")
    monkeypatch.setattr(farm, "_TIMEOUT", 10)
    with monkeypatch.context() as patch:
        patch.setattr(farm, "_version", lambda: "0.0.1")
        assert "this process symgnn 0.0.1: install that version" in complaint(cluster.address)
        patch.setattr(farm, "_check_workers", lambda _: None)  # as for one that joins later
        assert "this process symgnn 0.0.1: install that version" in complaint(cluster.address)
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        dashboard_address=":0",
    ) as threads:
        assert "start workers with --nthreads 1" in complaint(threads.scheduler_address)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "distributed", None)
        patch.delitem(sys.modules, "symgnn.landscape.cluster")
        (tmp_path / "catalog.db").unlink()
        assert "pip install 'symgnn[cluster]'" in complaint(cluster.address)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["foo", "nosuch.json", "nonsense://here:1"])
def test_nothing_follows_the_complaint_at_exit(address: str, crystal: Path, tmp_path: Path) -> None:
    process = start(label(crystal, tmp_path / "catalog.db", "--scheduler", address, *CHOICE))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = errors.splitlines()
    assert address in line
    assert "tcp://host:8786" in line


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_one_line(crystal: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.db"
    with started(tmp_path / "dask", workers=1) as cluster:
        process = start(label(crystal, catalog, "--scheduler", cluster.address, "--searches", "50"))
        wait_for(lambda: finished(catalog) >= 1)
        cluster.scheduler.kill()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.count("\n") == 1, errors
    assert "the Dask scheduler is gone; every finished search is in the catalog" in errors


CRASH = """
import os, signal
from symgnn.landscape import saddle, workers

def crash(forces, start, center, settings, generator):
    if center == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return saddle.search_saddle(forces, start, center, settings, generator)

workers.search_saddle = crash
"""


@pytest.mark.slow
def test_a_search_that_kills_its_workers_can_be_tried_again(
    crystal: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "crash.py").write_text(CRASH)
    catalog = tmp_path / "catalog.db"
    choice = ("--atoms", "0-2", "--searches", "1")
    with started(tmp_path / "dask", "--preload", str(tmp_path / "crash.py")) as cluster:
        assert run(label(crystal, catalog, "--scheduler", cluster.address, *choice)) == 1
    assert "(1, such as search 0 of atom 1), perhaps" in capsys.readouterr().err
    first, last = rows(catalog)
    assert run(label(crystal, catalog, "--workers", "1", *choice)) == 0
    assert len(rows(catalog)) == 3
    assert {first, last} < set(rows(catalog)) <= set(rows(whole))


def test_a_packed_potential_needs_no_file_of_this_machine(crystal: Path, tmp_path: Path) -> None:
    there = tmp_path / "a folder"
    there.mkdir()
    shutil.copy(POTENTIALS / "Cu_u3.eam", there)
    potential = Potential.read("eam", ["* * Cu_u3.eam"], ["Cu"], there)
    assert potential.checksum() == COPPER.checksum()  # also where the path has a space
    packed = PackedPotential.of(potential)
    shutil.rmtree(there)
    unpacked = packed.unpack(tmp_path / "another folder")
    assert unpacked.checksum() == COPPER.checksum()
    (atoms,) = read_structures(crystal)
    with Forces(atoms, unpacked) as forces, Forces(atoms, COPPER) as expected:
        assert forces(atoms.positions)[0] == expected(atoms.positions)[0]
