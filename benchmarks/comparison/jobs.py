"""One job: train, predict the glasses that were held out and the test glasses, write it down."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from symgnn.files import make_folder, written_whole
from symgnn.graph import build_graph
from symgnn.structures import read_structures
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import DataConfig, FitConfig
from symgnn.training.dataset import LabeledGraph
from symgnn.training.loop import Run, predict
from symgnn.training.output import BEST, LAST, METRICS
from symgnn.training.regression import fit

from .baselines import BASELINES
from .glasses import STANDARD, Data, Glass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from symgnn.training.config import TrainingConfig

    from .rows import Job

CACHE = "computed"
"""Folder inside that of the runs: what was computed of each glass."""

Predictions = dict[str, "NDArray[np.float64]"]


def run_job(job: Job, data: Data, runs: Path, check: Callable[[], None] = lambda: None) -> None:
    """Do the job unless it is done; continue it where it was interrupted.

    ``prediction.npz`` gets arrays ``last/NAME`` [N] in eV for the held-out and the test glasses,
    ``best/NAME`` as well where validation may choose the epoch, and the numbers ``seconds`` of
    training, ``best_epoch`` and ``epochs``.

    Args:
        job: what to do.
        data: the glasses.
        runs: folder of all runs, for what jobs share.
        check: called after each epoch; may raise to stop.
    """
    make_folder(job.folder)
    with _alone(job.folder):
        if job.result.exists():
            return
        train, held_out = data.parts(job.split)
        targets = [*held_out, *data.test]
        if job.row.config is None:
            arrays = _simple(job, data, train, targets, runs / CACHE)
        else:
            arrays = _trained(job, job.row.config, data, train, targets, check)
        with written_whole(job.result) as unfinished:
            np.savez(unfinished, machine=processor(), **arrays)


def epochs_done(job: Job) -> int:
    """Epochs that a running or interrupted job has finished."""
    try:
        lines = (job.folder / "run" / METRICS).read_text(encoding="utf-8").count("\n")
    except OSError:
        return 0
    return max(0, lines - 1)


def processor() -> str:
    """Name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works in this folder."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _simple(
    job: Job, data: Data, train: list[str], targets: list[str], cache: Path
) -> dict[str, Any]:
    assert job.row.simple is not None
    torch.set_num_threads(1)
    training = [Glass(data.path(name), cache) for name in train]
    predicted = [Glass(data.path(name), cache) for name in targets]
    began = time.perf_counter()
    barriers = BASELINES[job.row.simple].predict(training, predicted, job.seed)
    elapsed = time.perf_counter() - began
    # What training would have taken without the results of other jobs, nor predictions.
    spent = sum(glass.spent for glass in [*training, *predicted])
    seconds = elapsed - spent + sum(glass.cost for glass in training)
    found = {f"last/{name}": values for name, values in zip(targets, barriers, strict=True)}
    return {**found, "seconds": seconds, "epochs": 0, "best_epoch": 0}


def _trained(
    job: Job,
    config: TrainingConfig | FitConfig,
    data: Data,
    train: list[str],
    targets: list[str],
    check: Callable[[], None],
) -> dict[str, Any]:
    output = job.folder / "run"
    files = DataConfig(train=[f"{name}.xyz" for name in train], validation=[f"{targets[0]}.xyz"])
    changes = {"data": files, "threads": 1, "output": str(output.resolve())}
    if isinstance(config, FitConfig):
        config = config.model_copy(update=changes)
        began = time.perf_counter()
        fit(config, base=data.folder)
        seconds = time.perf_counter() - began
        found = _predictions(output / BEST, "last", data, targets)
        return {**found, "seconds": seconds, "epochs": 0, "best_epoch": 0}
    # Patience would let the held-out glass choose when to stop: every job trains all its epochs.
    changes |= {"seed": job.seed, "patience": config.epochs}
    run = Run(config.model_copy(update=changes), base=data.folder, resume=True)
    result = run.train(lambda _epoch: check())
    seconds = sum(row[3] for row in run.rows)
    found = _predictions(output / LAST, "last", data, targets)
    if job.split == STANDARD:
        found |= _predictions(output / BEST, "best", data, targets)
    return {
        **found,
        "seconds": seconds,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
    }


def _predictions(checkpoint: Path, prefix: str, data: Data, names: list[str]) -> Predictions:
    """Barriers of glasses by ``prefix/NAME``, from the network of a checkpoint."""
    content = load_checkpoint(checkpoint)
    model = restore_model(content, str(checkpoint))
    options = content["config"]["model"]
    graphs = []
    for name in names:
        (atoms,) = read_structures(data.path(name))
        graph = build_graph(
            atoms, options["cutoff"], content["elements"], self_edges=options["self_edges"]
        )
        graphs.append(LabeledGraph(graph, *torch.full((2, len(atoms)), torch.nan), name))
    barriers = predict(model, graphs)
    return {
        f"{prefix}/{name}": values.astype(np.float64)
        for name, values in zip(names, barriers, strict=True)
    }


def stop_with(parent: int) -> Callable[[], None]:
    """A check that ends this process when its parent is gone."""

    def check() -> None:
        if os.getppid() != parent:
            raise SystemExit("the program that started this job has ended")

    return check
