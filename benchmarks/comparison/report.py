"""From finished jobs to numbers: scores of every row, and honesty about what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from symgnn.files import make_folder
from symgnn.keys import ENERGY_BARRIER
from symgnn.structures import read_structures, write_structures
from symgnn.training.metrics import bootstrap_over_glasses, compute_metrics

from .glasses import STANDARD, VALIDATION
from .rows import jobs_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from .glasses import Data
    from .rows import Job, Row

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Paper:
    """Test Pearson of the paper: pooled over its two test glasses, mean and sd of four seeds."""

    pearson: float
    deviation: float | None = None


PAPER = {
    "local_sampling": Paper(0.3614),
    "mlp": Paper(0.0575, 0.0127),
    "gcn": Paper(0.3063, 0.0084),
    "gcn_edge": Paper(0.5123, 0.0507),
    "egnn": Paper(0.2588, 0.0077),
    "egat_length": Paper(0.7264, 0.0063),
    "schnet": Paper(0.7588, 0.0088),
    "mgcn": Paper(0.7352, 0.0066),
    "faenet": Paper(0.6603, 0.0218),
    "symgnn_no_symmetrization": Paper(0.2669, 0.0371),
    "symgnn_augmentation": Paper(0.6614, 0.0285),
    "symgnn_paper": Paper(0.7859, 0.0056),
}
"""By name of the row. Li et al., ICML 2024, Cu64Zr36."""


def collect(
    rows: list[Row], data: Data, runs: Path, *, seeds: int, before: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Scores of every row from the jobs that are finished, as plain values for JSON.

    A row's numbers are means and standard deviations over seeds that have predicted every labeled
    glass while it was held out. A row without such a seed has ``incomplete`` scores only, over the
    glasses that it has.

    Jobs stay on the machine that ran them, the table goes everywhere: a row of ``before``, an
    earlier result of this function, stays as it is where it had more finished jobs, of the same
    key, than are found here.
    """
    labels = {name: data.label(name) for name in data.labeled}
    scored = {row.name: _score_row(row, data, runs, labels, seeds) for row in rows}
    for name, earlier in (before or {}).get("rows", {}).items():
        row = scored.get(name)
        if (
            row is not None
            and earlier["key"] == row["key"]
            and earlier["jobs"]["finished"] > row["jobs"]["finished"]
        ):
            scored[name] = {**earlier, "paper": row["paper"]}
    return {
        "glasses": data.labeled,
        "families": data.families,
        "seeds": max(seeds, (before or {}).get("seeds", 0)),
        "machines": sorted({machine for row in scored.values() for machine in row["machines"]}),
        "rows": dict(sorted(scored.items(), key=_rank)),
    }


def _rank(item: tuple[str, dict[str, Any]]) -> tuple[bool, float, str]:
    """Complete rows first, by pooled Pearson correlation."""
    name, row = item
    if row["scores"] is None:
        return True, 0.0, name
    return False, -row["scores"]["pooled_pearson"]["mean"], name


def _score_row(
    row: Row, data: Data, runs: Path, labels: dict[str, Array], seeds: int
) -> dict[str, Any]:
    jobs = jobs_of(row, data, runs, splits=data.splits, seeds=seeds)
    done = [job for job in jobs if job.result.exists()]
    found = {job: _load(job) for job in done}
    held_out: dict[int, dict[str, Array]] = {}
    for job, arrays in found.items():
        if job.split != STANDARD:
            _, names = data.parts(job.split)
            held_out.setdefault(job.seed, {}).update({n: arrays[f"last/{n}"] for n in names})
    complete = [glasses for glasses in held_out.values() if len(glasses) == len(labels)]
    paper = PAPER.get(row.name)
    return {
        "key": row.key(data),
        "scores": _over_seeds([_score(glasses, labels) for glasses in complete]),
        "complete_seeds": len(complete),
        "ensemble": _score(_mean_of(complete), labels) if len(complete) > 1 else None,
        "incomplete": None if complete else _incomplete(held_out, labels),
        "validation": _over_seeds(
            [_validation(found[job], labels) for job in done if job.split == STANDARD]
        ),
        "seconds": _seconds(found),
        "jobs": {"finished": len(done), "all": len(jobs)},
        "seeded": row.seeded,
        "machines": sorted({str(arrays["machine"]) for arrays in found.values()}),
        "paper": None if paper is None else {"mean": paper.pearson, "sd": paper.deviation},
    }


def _load(job: Job) -> dict[str, Any]:
    with np.load(job.result) as file:
        return {name: file[name] for name in file.files}


def _score(predictions: dict[str, Array], labels: dict[str, Array]) -> dict[str, Any]:
    """Scores of one seed over the held-out glasses that it has."""
    names = [name for name in labels if name in predictions]
    each = {name: compute_metrics(predictions[name], labels[name]) for name in names}
    pooled = compute_metrics(
        *(np.concatenate([x[name] for name in names]) for x in (predictions, labels))
    )
    scores: dict[str, Any] = {
        "pooled_pearson": pooled.pearson,
        "pooled_spearman": pooled.spearman,
        "mae": pooled.mae,
        "pooled_slope": pooled.slope,
        "pooled_intercept": pooled.intercept,
        "worst_pearson": min(metrics.pearson for metrics in each.values()),
        "glasses": {name: metrics.as_dict() for name, metrics in each.items()},
    }
    for key in ("pearson", "spearman", "auc_lowest", "auc_highest", "slope"):
        scores[f"mean_{key}"] = float(np.mean([getattr(m, key) for m in each.values()]))
    scores["largest_bias"] = max((m.bias for m in each.values()), key=abs)
    if len(names) > 1:
        intervals = bootstrap_over_glasses(
            [predictions[name] for name in names], [labels[name] for name in names]
        )
        scores["mean_pearson_interval"] = list(intervals.mean_pearson)
        scores["pooled_pearson_interval"] = list(intervals.pooled_pearson)
    return scores


def _mean_of(seeds: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.mean([glasses[name] for glasses in seeds], axis=0) for name in seeds[0]}


def _incomplete(
    held_out: dict[int, dict[str, Array]], labels: dict[str, Array]
) -> dict[str, Any] | None:
    """Scores over those glasses that the seed with most of them has."""
    if not held_out:
        return None
    most = max(held_out.values(), key=len)
    return {**_score(most, labels), "predicted": sorted(most)}


def _validation(arrays: dict[str, Any], labels: dict[str, Array]) -> dict[str, float]:
    """Pearson correlation on the validation glass, of the last epoch and of the best."""
    scores = {}
    for kind in ("best", "last"):
        prediction = arrays.get(f"{kind}/{VALIDATION}")
        if prediction is not None:
            scores[kind] = compute_metrics(prediction, labels[VALIDATION]).pearson
    return scores


def _seconds(found: dict[Job, dict[str, Any]]) -> float | None:
    """Mean training time, of the standard split if it has been trained."""
    times = {
        standard: [
            float(x["seconds"]) for job, x in found.items() if (job.split == STANDARD) == standard
        ]
        for standard in (True, False)
    }
    chosen = times[True] or times[False]
    return float(np.mean(chosen)) if chosen else None


def _over_seeds(scores: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Mean and standard deviation (n − 1) of every number, deep in; None without seeds."""
    if not scores:
        return None
    result: dict[str, Any] = {}
    for key, first in scores[0].items():
        values = [score[key] for score in scores]
        if isinstance(first, dict):
            result[key] = _over_seeds(values)
        elif isinstance(first, list):  # an interval
            result[key] = np.mean(values, axis=0).tolist()
        else:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            result[key] = {"mean": float(np.mean(values)), "sd": deviation}
    return result


def write_test_predictions(
    rows: list[Row], data: Data, runs: Path, folder: Path, *, seeds: int
) -> list[Path]:
    """Write ``ROW/NAME.xyz`` for every test glass and every row that has predicted it.

    ``energy_barrier`` is the mean over seeds of the standard split (last epoch), and
    ``energy_barrier_ensemble`` the mean over all finished jobs of the row, whose training glasses
    differ too.
    """
    written = []
    for row in rows:
        jobs = jobs_of(row, data, runs, splits=data.splits, seeds=seeds)
        found = {job: _load(job) for job in jobs if job.result.exists()}
        for name in data.test:
            standard = [x[f"last/{name}"] for job, x in found.items() if job.split == STANDARD]
            if not standard:
                continue
            (atoms,) = read_structures(data.path(name))
            everything = [arrays[f"last/{name}"] for arrays in found.values()]
            atoms.arrays[ENERGY_BARRIER] = np.mean(standard, axis=0)
            atoms.arrays[f"{ENERGY_BARRIER}_ensemble"] = np.mean(everything, axis=0)
            atoms.info.update(row=row.name, seeds=len(standard), ensemble=len(everything))
            path = make_folder(folder / row.name) / f"{name}.xyz"
            write_structures(path, [atoms])
            written.append(path)
    return written
