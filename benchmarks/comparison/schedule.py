"""Many jobs in several processes of one thread each, with progress, interrupted at will."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

from symgnn.files import make_folder

from .jobs import epochs_done, run_job, stop_with

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from pathlib import Path
    from types import FrameType

    from rich.progress import Progress, TaskID

    from .glasses import Data
    from .rows import Job

ERROR = "error.txt"
_PAUSE = 0.2  # seconds between looks at the processes
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run_all(jobs: list[Job], data: Data, runs: Path, *, workers: int) -> list[Job]:
    """Do the jobs that are not done, several at a time.

    Returns:
        The jobs that failed; each folder holds the reason in ``error.txt``.

    Raises:
        KeyboardInterrupt: on Ctrl-C, when all processes have ended. Whatever they had finished,
            every epoch included, is kept.
    """
    waiting = [job for job in jobs if not job.result.exists()]
    running: dict[Job, SpawnProcess] = {}
    failed: list[Job] = []
    # Read by numerical libraries when a process starts.
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    context = multiprocessing.get_context("spawn")
    with _Display(len(jobs), len(jobs) - len(waiting)) as display:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    job = waiting.pop(0)
                    process = context.Process(target=_work, args=(job, data, runs, os.getpid()))
                    _start(process)
                    running[job] = process
                time.sleep(_PAUSE)
                for job, process in list(running.items()):
                    if process.is_alive():
                        continue
                    process.join()
                    del running[job]
                    if not job.result.exists():
                        failed.append(job)
                    display.finished(job)
                display.update(list(running))
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.join()
    return failed


def _start(process: SpawnProcess) -> None:
    """Start a process that leaves Ctrl-C to its parent, which ends it in order."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, previous)


def _work(job: Job, data: Data, runs: Path, parent: int) -> None:
    """What a process does: one job, whose failure it writes down."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    error = job.folder / ERROR
    try:
        with suppress(FileNotFoundError):
            error.unlink()
        run_job(job, data, runs, stop_with(parent))
    except (KeyboardInterrupt, SystemExit):
        sys.exit(1)
    except Exception:  # noqa: BLE001 (the other jobs go on, and this reason is kept)
        make_folder(job.folder)
        error.write_text(traceback.format_exc(), encoding="utf-8")
        sys.exit(1)


class _Display:
    """A bar with the remaining time on a terminal; one line per job elsewhere."""

    def __init__(self, total: int, done: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        self._total, self._done = total, done
        self._bar: Progress = Progress(
            TextColumn("{task.fields[done]}/{task.total:.0f} jobs"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            # What runs takes the rest of the line.
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True)),
            console=Console(stderr=True),
            expand=True,
            speed_estimate_period=3600.0,
            disable=not sys.stderr.isatty(),
        )
        self._task: TaskID = self._bar.add_task("", total=total, completed=done, done=done)

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def finished(self, job: Job) -> None:
        """A job has ended."""
        self._done += 1
        state = "done" if job.result.exists() else f"failed, see {job.folder / ERROR}"
        line = f"{self._done}/{self._total} {job.name}: {state}"
        if self._bar.disable:
            print(line, file=sys.stderr, flush=True)
        elif not job.result.exists():
            self._bar.console.print(line)

    def update(self, running: list[Job]) -> None:
        """Show what runs, and count its finished epochs."""
        shares, texts = 0.0, []
        for job in running:
            epochs = job.row.epochs
            if epochs:
                done = epochs_done(job)
                shares += done / epochs
                texts.append(f"{job.name} ({done}/{epochs})")
            else:
                texts.append(job.name)
        self._bar.update(
            self._task,
            completed=self._done + shares,
            done=self._done,
            description="; ".join(texts),
        )
