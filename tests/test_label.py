"""`symgnn label`: the same events however they were found, and labels that training reads."""

from __future__ import annotations

import lzma
import multiprocessing
import os
import shutil
import signal
import threading
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from labeling import CHOICE, children, finished, label, rows, start, wait_for, write_crystal
from saddles import COPPER, relaxed, vacancy
from symgnn.cli import run
from symgnn.errors import SymGNNError
from symgnn.files import heeding_interrupts
from symgnn.landscape.events import Catalog, Task
from symgnn.landscape.reliability import Reliability, reliability
from symgnn.landscape.saddle import SaddleSettings
from symgnn.landscape.workers import interrupt, run_searches
from symgnn.training.dataset import read_labeled


@pytest.fixture(scope="module")
def crystal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A relaxed 3×3×3 copper crystal with a vacancy."""
    return write_crystal(tmp_path_factory.mktemp("crystal"))


def reliability_of(path: Path) -> Reliability | None:
    with Catalog.read(path) as events:
        return reliability(events.tally())


@pytest.fixture(scope="module")
def whole(crystal: Path) -> Path:
    """A catalog that one process filled without a break."""
    path = crystal.with_name("whole.db")
    assert run(label(crystal, path, "--workers", "1", *CHOICE)) == 0
    return path


def test_one_process_or_four_find_the_same_events_and_training_reads_them(
    crystal: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    four = tmp_path / "four.db"
    assert run(label(crystal, four, "--workers", "4", *CHOICE)) == 0
    assert len(rows(whole)) == 9
    assert rows(four) == rows(whole)
    assert run(label(crystal, four, *CHOICE)) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert run(label(crystal, four, "--set", "push_step=0.2")) == 1
    assert "other settings (push_step=0.1)" in capsys.readouterr().err

    assert run(["label", "status", str(four)]) == 0
    status = capsys.readouterr().out
    assert "9 searches from 3 of 107 atoms" in status
    found = reliability_of(four)
    assert found is not None
    assert found.telling == ("reliability of a mean" in status)
    labels = tmp_path / "labels.xyz"
    assert run(["label", "export", str(four), "-o", str(labels)]) == 0
    (atoms,) = read_labeled(labels, "energy_barrier").structures
    means = dict(
        rows(four, "SELECT atom, avg(barrier) FROM searches WHERE status='connected' GROUP BY atom")
    )
    barrier = atoms.arrays["energy_barrier"]
    assert set(np.flatnonzero(np.isfinite(barrier))) == set(means)
    np.testing.assert_allclose(barrier[list(means)], list(means.values()), rtol=1e-6)
    assert atoms.arrays["searches"].sum() == 9
    assert atoms.info["saddle_searches"]["settings"]["push_step"] == 0.1


def test_killed_processes_lose_no_search_and_repeat_none(
    crystal: Path, whole: Path, tmp_path: Path
) -> None:
    catalog = tmp_path / "killed.db"
    arguments = label(crystal, catalog, "--workers", "2", *CHOICE)
    process = start(arguments)
    wait_for(lambda: finished(catalog) >= 2)
    os.kill(children(process.pid)[0], signal.SIGKILL)  # one that searches: replaced
    after = finished(catalog)
    wait_for(lambda: finished(catalog) > after or process.poll() is not None)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    kept = rows(catalog)
    assert kept
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert run(arguments) == 0
    assert set(kept) <= set(rows(catalog))
    assert rows(catalog) == rows(whole)


@pytest.mark.usefixtures("children_heed_ctrl_c")
def test_ctrl_c_ends_in_one_line(crystal: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.db"
    process = start(label(crystal, catalog, "--workers", "1", "--searches", "50"))
    wait_for(lambda: finished(catalog) >= 1)
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert "the same command goes on" in errors
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_who_stops_asking_leaves_no_process() -> None:
    atoms = relaxed(vacancy("Cu", 3.615, repeat=2), COPPER)
    before = set(multiprocessing.active_children())
    tasks = [Task(0, number, number) for number in range(3)]
    searches = run_searches(tasks, atoms, COPPER, SaddleSettings(), 2)
    assert next(searches)[0] in tasks
    searches.close()
    assert set(multiprocessing.active_children()) <= before


def test_what_is_finished_is_given_after_ctrl_c() -> None:
    atoms = relaxed(vacancy("Cu", 3.615, repeat=2), COPPER)
    tasks = [Task(0, number, number) for number in range(5)]
    searches = run_searches(tasks, atoms, COPPER, SaddleSettings(), 3)
    first, _, _ = next(searches)
    processes = searches.gi_frame.f_locals["processes"]
    wait_for(lambda: all(connection.poll() for connection in processes.busy))
    others = {task for task, _, _ in interrupt(searches)}
    assert len(others) == 3
    assert first not in others


def test_searches_whose_processes_die_are_tried_again(
    crystal: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = tmp_path / "died.db"
    arguments = label(crystal, catalog, "--workers", "1", "--atoms", "0", "--searches", "1")
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.01):
            for process in multiprocessing.active_children():
                process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert run(arguments) == 1
    finally:
        ended.set()
        killer.join()
    line = capsys.readouterr().err.splitlines()[-1]
    assert "again and again (1, such as search 0 of atom 0)" in line
    assert rows(catalog) == []
    assert run(arguments) == 0
    assert set(rows(catalog)) <= set(rows(whole))


def test_an_export_does_not_replace_its_catalog(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = tmp_path / "catalog.db"
    shutil.copy(whole, catalog)
    assert run(["label", "export", str(catalog), "-o", str(catalog)]) == 1
    assert str(catalog) in capsys.readouterr().err
    assert catalog.read_bytes() == whole.read_bytes()


@pytest.mark.usefixtures("children_heed_ctrl_c")
def test_ctrl_c_while_a_process_starts_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = relaxed(vacancy("Cu", 3.615, repeat=2), COPPER)
    started = []

    def start_interrupted(process: SpawnProcess) -> None:
        signal.raise_signal(signal.SIGINT)
        start_process(process)
        signal.raise_signal(signal.SIGINT)
        started.append(process)

    start_process = SpawnProcess.start
    monkeypatch.setattr(SpawnProcess, "start", start_interrupted)
    searches = run_searches([Task(0, 0, 0)], atoms, COPPER, SaddleSettings(), 1)
    with pytest.raises(KeyboardInterrupt):
        next(searches)
    (process,) = started
    assert not process.is_alive()


def test_processes_leave_ctrl_c_to_their_parent() -> None:
    atoms = relaxed(vacancy("Cu", 3.615, repeat=2), COPPER)
    before = set(multiprocessing.active_children())  # a process of a run that is over may still end
    searches = run_searches(
        [Task(0, number, number) for number in range(2)], atoms, COPPER, SaddleSettings(), 1
    )
    next(searches)
    (process,) = set(multiprocessing.active_children()) - before
    os.kill(process.pid, signal.SIGINT)
    assert next(searches)[1].status != "failed"
    assert process.exitcode in (None, 0)


def test_an_error_of_the_code_ends_the_run_and_is_no_failed_search() -> None:
    atoms = relaxed(vacancy("Cu", 3.615, repeat=2), COPPER)
    before = set(multiprocessing.active_children())
    broken = SaddleSettings.model_construct(
        **{**SaddleSettings().model_dump(), "climb_relaxation": ()}
    )
    searches = run_searches([Task(0, 0, 0)], atoms, COPPER, broken, 1)
    with pytest.raises(SymGNNError, match=r"search 0 of atom 0 .* \(IndexError: tuple index"):
        next(searches)
    assert set(multiprocessing.active_children()) <= before


def test_what_a_user_can_put_right_is_one_line(
    crystal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = vacancy("Cu", 3.615, repeat=3)
    write(tmp_path / "strained.xyz", atoms, format="extxyz")
    catalog = tmp_path / "catalog.db"

    def complaint(*arguments: str) -> str:
        assert run(list(arguments)) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    strained = label(tmp_path / "strained.xyz", catalog)
    assert "give --relax" in complaint(*strained)
    assert not catalog.exists()
    for choice in ("107", "0-9999999999", "3,107"):
        assert "indices 0 to 106" in complaint(*label(crystal, catalog, "--atoms", choice))
    assert "5-3 runs backwards" in complaint(*label(crystal, catalog, "--atoms", "5-3,7"))
    assert "is a folder" in complaint(*label(crystal, tmp_path))
    assert "--set push: " in complaint(*label(crystal, catalog, "--set", "push=1"))
    for setting in ("climb_relaxation=[]", "climb_relaxation=[-1]", "push_step=.inf"):
        name = setting.partition("=")[0]
        assert f"--set {name}" in complaint(*label(crystal, catalog, "--set", setting))
    one = Atoms("Cu", cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True)
    write(tmp_path / "one.xyz", one, format="extxyz")
    assert "at least two atoms" in complaint(*label(tmp_path / "one.xyz", catalog))
    atoms.cell = np.zeros((3, 3))
    atoms.pbc = True
    write(tmp_path / "flat.traj", atoms)
    assert "has no volume" in complaint(*label(tmp_path / "flat.traj", catalog))
    assert not catalog.exists()
    blown_up = atoms.copy()
    blown_up.positions[0] = np.nan
    write(tmp_path / "blown_up.traj", blown_up)
    assert "positions that are not finite numbers" in complaint(
        *label(tmp_path / "blown_up.traj", catalog)
    )
    write(tmp_path / "several.traj", [atoms, atoms])
    several = label(tmp_path / "several.traj", catalog)
    assert "choose one of them, as with --index -1" in complaint(*several)
    assert "has no volume" in complaint(*several, "--index", "-1")
    damaged = tmp_path / "damaged.data.xz"
    damaged.write_bytes(lzma.compress(b"2 atoms")[:12] + bytes(40))
    assert "damaged.data.xz cannot be read" in complaint(
        *label(damaged, catalog, "--elements", "Cu")
    )
    assert "knows Cu, Zr but not Al" in complaint(
        "label", str(write_aluminum(tmp_path)), "-o", str(catalog)
    )
    relaxed_too = [*strained, "--relax", "--atoms", "0", "--searches", "1", "--workers", "1"]
    assert run(relaxed_too) == 0
    assert "made with --relax" in complaint(*strained)


def write_aluminum(folder: Path) -> Path:
    write(folder / "aluminum.xyz", vacancy("Al", 4.05, repeat=2), format="extxyz")
    return folder / "aluminum.xyz"


class Careless:
    """Ctrl-C comes while Python removes it."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("children_heed_ctrl_c")
def test_no_ctrl_c_is_lost() -> None:
    with heeding_interrupts() as check:
        check()
        careless = Careless()
        del careless
        with pytest.raises(KeyboardInterrupt):
            check()
    with heeding_interrupts() as check, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
