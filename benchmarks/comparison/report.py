"""From finished jobs to numbers: scores of every row, and honesty about what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from symgnn.files import make_folder
from symgnn.keys import ENERGY_BARRIER
from symgnn.structures import read_structures, write_structures
from symgnn.training.metrics import (
    bootstrap_of_moments,
    compute_metrics,
    moments_of,
    pearson_of_moments,
)

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

    A row's numbers are those of the seed that has predicted every labeled glass while it was held
    out (means and standard deviations, if several have). A row without such a seed has
    ``incomplete`` scores only, over the glasses that it has.

    Predictions stay on the machine that made them, the table goes everywhere: what is known of each
    job stands in it, and jobs of ``before``, an earlier result of this function, count as those
    that are found here, as long as the row has the same key.
    """
    earlier = {} if before is None else before["rows"]
    seeds = max(seeds, 0 if before is None else before["seeds"])
    labels = {name: data.label(name) for name in data.labeled}
    scored = {}
    for row in rows:
        there = earlier.get(row.name)
        if there is None or there["key"] != row.key(data):
            there = {"known": {}, "jobs": {"finished": 0}}
        found = _score_row(row, data, runs, labels, seeds, there["known"])
        # Of `local_sampling`, whose jobs are of the time before they stood in the table one by one.
        fewer = found["jobs"]["finished"] < there["jobs"]["finished"]
        scored[row.name] = there if fewer else found
    return {
        "glasses": data.labeled,
        "families": data.families,
        "seeds": seeds,
        "repeated": data.repeated,
        "machines": sorted({machine for row in scored.values() for machine in row["machines"]}),
        "rows": dict(sorted(scored.items(), key=_rank)),
    }


def is_known(job: Job, data: Data, before: dict[str, Any] | None) -> bool:
    """Whether a job is among those of an earlier result of :func:`collect`, by the same key."""
    there = {} if before is None else before["rows"].get(job.row.name, {})
    if there.get("key") != job.row.key(data):
        return False
    # Of `local_sampling`, whose jobs are of the time before they stood in the table one by one.
    whole = not there["known"] and there["jobs"]["finished"] == there["jobs"]["all"]
    return whole or _known_by(job) in there["known"]


def _rank(item: tuple[str, dict[str, Any]]) -> tuple[bool, float, str]:
    """Complete rows first, by pooled Pearson correlation."""
    name, row = item
    if row["scores"] is None:
        return True, 0.0, name
    return False, -row["scores"]["pooled_pearson"]["mean"], name


def _score_row(
    row: Row,
    data: Data,
    runs: Path,
    labels: dict[str, Array],
    seeds: int,
    before: dict[str, Any],
) -> dict[str, Any]:
    jobs = jobs_of(row, data, runs, splits=data.splits, seeds=seeds)
    here = {_known_by(job): _know(job, data, labels) for job in jobs if job.result.exists()}
    known = before | here
    done = [(job, known[_known_by(job)]) for job in jobs if _known_by(job) in known]
    held_out: dict[int, dict[str, dict[str, Any]]] = {}
    for job, facts in done:
        if job.split != STANDARD:
            held_out.setdefault(job.seed, {}).update(facts["glasses"])
    held_out = {
        seed: {name: found[name] for name in labels if name in found}
        for seed, found in held_out.items()
    }
    complete = [glasses for glasses in held_out.values() if len(glasses) == len(labels)]
    paper = PAPER.get(row.name)
    return {
        "key": row.key(data),
        "scores": _over_seeds([_score(glasses) for glasses in complete]),
        "complete_seeds": len(complete),
        "incomplete": None if complete or not held_out else _incomplete(held_out),
        "pearson_by_glass": {
            name: _mean_and_deviation(
                [glasses[name]["pearson"] for glasses in held_out.values() if name in glasses]
            )
            for name in labels
        },
        "validation": _over_seeds(
            [facts["validation"] for job, facts in done if job.split == STANDARD]
        ),
        "seconds": _seconds(done),
        "jobs": {"finished": len(done), "all": len(jobs)},
        "seeded": row.seeded,
        "machines": sorted({facts["machine"] for _, facts in done}),
        "paper": None if paper is None else {"mean": paper.pearson, "sd": paper.deviation},
        "known": known,
    }


def _known_by(job: Job) -> str:
    return f"{job.split} seed {job.seed}"


def _know(job: Job, data: Data, labels: dict[str, Array]) -> dict[str, Any]:
    """What the table keeps of a job: scores of what it held out, and what pooled ones need."""
    arrays = _load(job)
    facts = {"seconds": float(arrays["seconds"]), "machine": str(arrays["machine"])}
    if job.split == STANDARD:
        return {**facts, "validation": _validation(arrays, labels)}
    glasses = {}
    for name in data.parts(job.split)[1]:
        pair = arrays[f"last/{name}"], labels[name]
        metrics, moments = compute_metrics(*pair), moments_of(*pair)
        glasses[name] = {**metrics.as_dict(), "moments": moments.tolist()}
    return {**facts, "glasses": glasses}


def _load(job: Job) -> dict[str, Any]:
    with np.load(job.result) as file:
        return {name: file[name] for name in file.files}


def _validation(arrays: dict[str, Any], labels: dict[str, Array]) -> dict[str, float]:
    """Pearson correlation on the validation glass, of the last epoch and of the best."""
    scores = {}
    for epoch in ("best", "last"):
        prediction = arrays.get(f"{epoch}/{VALIDATION}")
        if prediction is not None:
            scores[epoch] = compute_metrics(prediction, labels[VALIDATION]).pearson
    return scores


def _score(glasses: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Scores of one seed over the held-out glasses that it has."""
    each = list(glasses.values())
    moments = [np.array(glass["moments"]) for glass in each]
    atoms, p, y, pp, _, py = total = np.sum(moments, axis=0)
    pearson = float(pearson_of_moments(total))
    slope = 0.0 if pearson == 0.0 else float((atoms * py - p * y) / (atoms * pp - p**2))
    scores: dict[str, Any] = {
        "pooled_pearson": pearson,
        "mae": float(sum(glass["atoms"] * glass["mae"] for glass in each) / atoms),
        "pooled_slope": slope,
        "pooled_intercept": float((y - slope * p) / atoms),
        "worst_pearson": min(glass["pearson"] for glass in each),
        "largest_bias": max((glass["bias"] for glass in each), key=abs),
        "glasses": {
            name: {key: value for key, value in glass.items() if key != "moments"}
            for name, glass in glasses.items()
        },
    }
    for key in ("pearson", "spearman", "auc_lowest", "auc_highest", "slope"):
        scores[f"mean_{key}"] = float(np.mean([glass[key] for glass in each]))
    if len(each) > 1:
        intervals = bootstrap_of_moments([glass["pearson"] for glass in each], moments)
        scores["mean_pearson_interval"] = list(intervals.mean_pearson)
        scores["pooled_pearson_interval"] = list(intervals.pooled_pearson)
    return scores


def _incomplete(held_out: dict[int, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Scores over those glasses that the seed with most of them has."""
    most = max(held_out.values(), key=len)
    return {**_score(most), "predicted": sorted(most)}


def _seconds(done: list[tuple[Job, dict[str, Any]]]) -> float | None:
    """Mean training time, of the standard split if it has been trained."""
    times = {
        standard: [facts["seconds"] for job, facts in done if (job.split == STANDARD) == standard]
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
            result[key] = _mean_and_deviation(values)
    return result


def _mean_and_deviation(values: list[float]) -> dict[str, Any] | None:
    """Over seeds; None without any."""
    if not values:
        return None
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": deviation}


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
