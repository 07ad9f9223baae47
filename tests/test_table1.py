"""The comparison: one loop for every row, resumed after a kill, honest about what is missing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from ase.build import bulk
from scipy.spatial.transform import Rotation

import table1
from comparison import schedule
from comparison.baselines import BASELINES, Ridge, moments, solve
from comparison.densities import angular_features, coarse_features, radial_features
from comparison.glasses import Data, Glass
from comparison.jobs import epochs_done, run_job
from comparison.report import collect
from comparison.rows import Row, jobs_of, load_row, load_rows
from conftest import random_glass
from local_sampling import mean_square_displacement
from symgnn.errors import ConfigError
from symgnn.structures import read_structures, write_structures
from symgnn.training.metrics import compute_metrics
from test_training import labeled_glass
from tiny_regression import TINY

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = "{model: {width: 4, heads: [1]}, epochs: 3}"
LABELED = ["train0", "train1", "validation"]


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Three labeled glasses and a test glass without labels, 64 atoms each."""
    folder = tmp_path / "data"
    folder.mkdir()
    for seed, name in enumerate([*LABELED, "test0"]):
        atoms = labeled_glass(seed)
        if name == "test0":
            del atoms.arrays["energy_barrier"]
        write_structures(folder / f"{name}.xyz", [atoms])
    return Data(folder)


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """A small network."""
    return written(tmp_path, "network", NETWORK)


def written(folder: Path, name: str, text: str) -> Row:
    rows = folder / "rows"
    rows.mkdir(exist_ok=True)
    (rows / f"{name}.yaml").write_text(text)
    return load_row(rows / f"{name}.yaml")


def options(folder: Path, *more: str) -> list[str]:
    places = {
        "--configurations": "rows",
        "--data": "data",
        "--runs": "runs",
        "--results": "results",
    }
    return [*(x for k, v in places.items() for x in (k, str(folder / v))), "--seeds", "2", *more]


def labels(data: Data) -> dict[str, np.ndarray]:
    return {name: data.label(name) for name in data.labeled}


# --- rows and splits --------------------------------------------------------------------------


def test_the_rows_of_the_repository_are_valid(repository: Path) -> None:
    rows = load_rows(repository / "benchmarks" / "table1")
    assert {row.simple for row in rows} - {None} == set(BASELINES)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("simple: magic", "ridge_radial"),
        ("{simple: element_mean, epochs: 3}", "one line"),
        ("{model: {width: 4}, seed: 1}", "leave out seed"),
        ("{data: {train: [a.xyz]}}", "leave out data"),
        ("{epoch: 3}", "epoch: unknown key"),
        ("[]", "no configuration"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        written(tmp_path, "row", text)


def test_splits_hold_one_glass_out(data: Data) -> None:
    assert data.parts("standard") == (["train0", "train1"], ["validation"])
    assert data.parts("leave-out-train0") == (["train1", "validation"], ["train0"])
    assert data.test == ["test0"]


def test_relatives_are_held_out_by_one_job(tmp_path: Path, data: Data) -> None:
    (atoms,) = read_structures(data.path("train1"))
    atoms.positions += 0.01
    write_structures(data.path("validation"), [atoms])
    data = Data(data.folder)
    assert data.splits == ["standard", "leave-out-train0", "leave-out-train1"]
    assert data.parts("leave-out-train1") == (["train0"], ["train1", "validation"])
    with pytest.raises(ValueError, match="no split leave-out-validation"):
        data.parts("leave-out-validation")

    row = written(tmp_path, "element_mean", "simple: element_mean")
    for job in jobs_of(row, data, tmp_path / "runs", splits=data.splits, seeds=1):
        run_job(job, data, tmp_path / "runs")
    found = collect([row], data, tmp_path / "runs", seeds=1)["rows"]["element_mean"]
    assert found["jobs"] == {"finished": 3, "all": 3}
    assert set(found["scores"]["glasses"]) == set(LABELED)


def test_another_row_or_other_data_starts_anew(tmp_path: Path, data: Data, row: Row) -> None:
    key = row.key(data)
    assert written(tmp_path, "network", NETWORK + " # a comment").key(data) == key
    assert written(tmp_path, "network", NETWORK.replace("3", "4")).key(data) != key
    write_structures(data.path("train0"), [labeled_glass(9)])
    assert row.key(Data(data.folder)) != key


# --- jobs -------------------------------------------------------------------------------------


def predictions(job) -> dict[str, np.ndarray]:
    with np.load(job.result) as file:
        return {name: file[name] for name in file.files if "/" in name}


def test_validation_may_choose_the_epoch_but_a_held_out_glass_may_not(
    tmp_path: Path, data: Data, row: Row
) -> None:
    found = {}
    for split in ("standard", "leave-out-train1"):
        (job,) = jobs_of(row, data, tmp_path, splits=[split], seeds=1)
        run_job(job, data, tmp_path)
        found[split] = set(predictions(job))
        assert epochs_done(job) == 3
    assert found["leave-out-train1"] == {"last/train1", "last/test0"}
    assert found["standard"] == {
        f"{e}/{n}" for e in ("best", "last") for n in ("validation", "test0")
    }


def test_a_model_fitted_in_closed_form_is_a_row_too(tmp_path: Path, data: Data) -> None:
    row = written(tmp_path, "regression", yaml.safe_dump({"model": TINY}))
    (job,) = jobs_of(row, data, tmp_path, splits=["leave-out-train0"], seeds=4)
    run_job(job, data, tmp_path)
    found = predictions(job)
    assert set(found) == {"last/train0", "last/test0"}
    assert compute_metrics(found["last/train0"], data.label("train0")).pearson > 0.5


def test_a_killed_job_continues_with_the_same_numbers(tmp_path: Path, data: Data, row: Row) -> None:
    (whole,) = jobs_of(row, data, tmp_path / "whole", splits=["standard"], seeds=1)
    run_job(whole, data, tmp_path / "whole")
    (job,) = jobs_of(row, data, tmp_path / "runs", splits=["standard"], seeds=1)
    code = f"""
import sys, time
sys.path[:] = {sys.path!r}
from pathlib import Path
from comparison.glasses import Data
from comparison.jobs import run_job
from comparison.rows import jobs_of, load_row
row, data, runs = load_row(Path(sys.argv[1])), Data(Path(sys.argv[2])), Path(sys.argv[3])
(job,) = jobs_of(row, data, runs, splits=["standard"], seeds=1)
run_job(job, data, runs, lambda: time.sleep(60))
"""
    arguments = [str(tmp_path / "rows/network.yaml"), str(data.folder), str(tmp_path / "runs")]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    while epochs_done(job) == 0:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not job.result.exists()
    assert epochs_done(job) == 1
    run_job(job, data, tmp_path / "runs")
    for name, values in predictions(whole).items():
        np.testing.assert_array_equal(predictions(job)[name], values)


def test_a_finished_job_is_not_repeated(tmp_path: Path, data: Data, row: Row) -> None:
    (job,) = jobs_of(row, data, tmp_path, splits=["standard"], seeds=1)
    job.folder.mkdir(parents=True)
    np.savez(job.result, kept=1.0)
    run_job(job, data, tmp_path)
    with np.load(job.result) as file:
        assert file.files == ["kept"]


def test_a_job_ends_with_the_program_that_started_it() -> None:
    schedule.stop_with(os.getppid())()
    with pytest.raises(SystemExit):
        schedule.stop_with(-1)()


# --- the program ------------------------------------------------------------------------------


def test_whole_table(tmp_path: Path, data: Data, row: Row, capsys) -> None:
    """A network in processes of its own and a simple row; first incomplete, then all of it."""
    runs = tmp_path / "runs"
    mean = written(tmp_path, "element_mean", "simple: element_mean")
    of_network = jobs_of(row, data, runs, splits=data.splits, seeds=2)
    first, *others = jobs_of(mean, data, runs, splits=data.splits[::-1], seeds=2)
    run_job(first, data, runs)
    assert table1.main(options(tmp_path, "--report")) == 0
    text = capsys.readouterr().out
    assert "**incomplete:** 1 of 4" in text
    assert "**incomplete:** 0 of 5" in text
    assert "| (" in text
    report = json.loads((tmp_path / "results/table1.json").read_text())
    assert report["rows"]["element_mean"]["scores"] is None
    assert report["rows"]["element_mean"]["incomplete"]["predicted"] == ["validation"]

    for job in [*others, *of_network[:-1]]:
        run_job(job, data, runs)
    predicted = tmp_path / "predicted"
    assert table1.main(options(tmp_path, "--test-predictions", str(predicted))) == 0
    text = (tmp_path / "results/table1.md").read_text()
    assert "**incomplete:**" not in text
    assert "| (" not in text
    assert (tmp_path / "results/table1.png").stat().st_size > 10_000

    report = json.loads((tmp_path / "results/table1.json").read_text())
    network, truth = report["rows"]["network"], labels(data)
    found: dict[str, list[np.ndarray]] = {}
    for job in of_network:
        if job.split != "standard":
            (name,) = data.parts(job.split)[1]
            found.setdefault(name, []).append(predictions(job)[f"last/{name}"])
    assert [len(found[name]) for name in LABELED] == [2, 1, 1]
    pooled = (
        np.concatenate(x) for x in zip(*((found[n][0], truth[n]) for n in LABELED), strict=True)
    )
    assert network["scores"]["pooled_pearson"]["mean"] == pytest.approx(
        compute_metrics(*pooled).pearson
    )
    seeds = [compute_metrics(prediction, truth["train0"]).pearson for prediction in found["train0"]]
    assert network["pearson_by_glass"]["train0"] == {
        "mean": pytest.approx(np.mean(seeds)),
        "sd": pytest.approx(np.std(seeds, ddof=1)),
    }
    assert "`train0`, up to 2 seeds" in text

    (atoms,) = read_structures(predicted / "network/test0.xyz")
    standard = [predictions(job)["last/test0"] for job in of_network if job.split == "standard"]
    everything = [predictions(job)["last/test0"] for job in of_network]
    for column, values in (("", standard), ("_ensemble", everything)):
        found = atoms.arrays[f"energy_barrier{column}"]
        np.testing.assert_allclose(found, np.mean(values, axis=0), rtol=0, atol=1e-7)


def test_what_the_table_knows_is_not_repeated_elsewhere(tmp_path: Path, data: Data) -> None:
    written(tmp_path, "element_mean", "simple: element_mean")
    assert table1.main(options(tmp_path, "--splits", "standard")) == 0
    shutil.rmtree(tmp_path / "runs")
    assert table1.main(options(tmp_path)) == 0
    found = {path.parent.parent.name for path in tmp_path.glob("runs/*/*/*/prediction.npz")}
    assert found == set(data.splits) - {"standard"}
    report = json.loads((tmp_path / "results/table1.json").read_text())
    assert report["rows"]["element_mean"]["jobs"] == {"finished": 4, "all": 4}

    predicted = tmp_path / "predicted"
    assert table1.main(options(tmp_path, "--test-predictions", str(predicted))) == 0
    assert len(list(tmp_path.glob("runs/*/*/*/prediction.npz"))) == 4

    written(tmp_path, "element_mean", "simple: ridge_radial")
    assert table1.main(options(tmp_path, "--splits", "standard")) == 0
    assert len(list(tmp_path.glob("runs/*/standard/*/prediction.npz"))) == 2


def test_the_published_table_is_of_the_rows_as_they_are(repository: Path, shared: Path) -> None:
    report = json.loads((repository / "benchmarks/results/table1.json").read_text())
    rows, data = load_rows(repository / "benchmarks/table1"), Data(shared / "cuzr-barriers")
    keys = {row.name: row.key(data) for row in rows}
    assert {name: row["key"] for name, row in report["rows"].items()} == keys


def test_a_failed_job_says_why_and_the_others_go_on(tmp_path: Path, data: Data, capsys) -> None:
    written(tmp_path, "wild", "{model: {width: 4, heads: [1]}, optimizer: {learning_rate: 1e30}}")
    written(tmp_path, "element_mean", "simple: element_mean")
    assert table1.main(options(tmp_path, "--seeds", "1", "--splits", "standard")) == 1
    assert "failed: wild standard seed 0, see" in capsys.readouterr().err
    (error,) = tmp_path.glob("runs/wild-*/standard/seed-0/error.txt")
    assert "lower optimizer.learning_rate" in error.read_text()
    assert len(list(tmp_path.glob("runs/element_mean-*/standard/seed-0/prediction.npz"))) == 1


@pytest.mark.parametrize("wrong", [["--splits", "standart"], ["--jobs", "0"]])
def test_wrong_usage(tmp_path: Path, data: Data, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        table1.main(options(tmp_path, *wrong))
    assert stop.value.code == 2


def test_without_the_glasses_nothing_happens(tmp_path: Path, capsys) -> None:
    assert table1.main(options(tmp_path)) == 0
    assert "left out" in capsys.readouterr().out


def test_scores_of_all_glasses_are_those_of_the_seed_that_has_them(
    tmp_path: Path, data: Data
) -> None:
    row = written(tmp_path, "trees", "simple: boosted_trees")
    jobs = jobs_of(row, data, tmp_path, splits=data.splits, seeds=2)
    for job in jobs:
        _, (held_out,) = data.parts(job.split)
        job.folder.mkdir(parents=True)
        values = {f"last/{held_out}": labels(data)[held_out] * (1 - 2 * job.seed)}
        np.savez(job.result, machine="none", seconds=1.0, **values)
    found = collect([row], data, tmp_path, seeds=2)["rows"]["trees"]
    assert found["complete_seeds"] == 1
    assert found["scores"]["pooled_pearson"] == {"mean": pytest.approx(1.0), "sd": None}
    assert found["pearson_by_glass"]["train0"] == {
        "mean": pytest.approx(0.0),
        "sd": pytest.approx(np.sqrt(2.0)),
    }
    assert found["jobs"] == {"finished": 5, "all": 5}


def test_a_row_stays_where_its_jobs_are_not(tmp_path: Path, data: Data) -> None:
    row = written(tmp_path, "trees", "simple: boosted_trees")
    jobs = jobs_of(row, data, tmp_path, splits=data.splits, seeds=2)
    for job in jobs[:3]:
        job.folder.mkdir(parents=True)
        values = {f"last/{name}": labels(data)[name] for name in LABELED}
        np.savez(job.result, machine="there", seconds=1.0, **values)
    there = collect([row], data, tmp_path, seeds=2)
    here = tmp_path / "elsewhere"
    assert collect([row], data, here, seeds=2, before=there) == there
    assert collect([row], data, tmp_path, seeds=2, before=there) == there

    assert collect([row], data, here, seeds=1, before=there) == there

    for job in jobs_of(row, data, here, splits=data.splits[3:], seeds=2):
        job.folder.mkdir(parents=True)
        values = {f"last/{name}": -labels(data)[name] for name in LABELED}
        np.savez(job.result, machine="here", seconds=1.0, **values)
    both = collect([row], data, here, seeds=2, before=there)["rows"]["trees"]
    alone = collect([row], data, here, seeds=2)["rows"]["trees"]
    assert both["known"] == there["rows"]["trees"]["known"] | alone["known"]
    assert both["jobs"] == {"finished": 4, "all": 5}
    assert both["machines"] == ["here", "there"]

    changed = dataclasses.replace(row, content={"simple": "ridge_radial"})
    anew = collect([changed], data, here, seeds=2, before=there)
    assert anew["rows"]["trees"]["jobs"]["finished"] == 0
    jobs[0].result.unlink()
    assert collect([row], data, tmp_path, seeds=2, before=there) == there


# --- simple baselines -------------------------------------------------------------------------


@pytest.fixture
def glasses(tmp_path: Path, data: Data) -> list[Glass]:
    return [Glass(data.path(name), tmp_path / "computed") for name in [*LABELED, "test0"]]


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"local_sampling"}))
def test_baselines_predict_without_seeing_labels(name: str, glasses: list[Glass]) -> None:
    *train, target = glasses
    (prediction,) = BASELINES[name].predict(train, [target], 0)
    assert prediction.shape == (64,)
    truth = labeled_glass(3).arrays["energy_barrier"]
    # Labels depend on the element and on near neighbors, which all but the first have as features.
    least = 0.5 if name == "element_mean" else 0.8
    assert compute_metrics(prediction, truth).pearson > least


def test_element_mean(glasses: list[Glass]) -> None:
    *train, target = glasses
    (prediction,) = BASELINES["element_mean"].predict(train, [target], 0)
    for number in (29, 40):
        of_train = np.concatenate([g.labels[g.atoms.numbers == number] for g in train])
        np.testing.assert_allclose(prediction[target.atoms.numbers == number], of_train.mean())


@pytest.mark.parametrize("features", [coarse_features, radial_features, angular_features])
def test_features_do_not_change_with_the_view(features) -> None:
    atoms = random_glass(4, 1)
    turned = atoms.copy()
    mirrored = -Rotation.random(rng=0).as_matrix()
    turned.set_cell(atoms.cell.array @ mirrored)
    turned.positions = atoms.positions @ mirrored + 1.0
    order = np.random.default_rng(0).permutation(len(atoms))
    expected = features(atoms)
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(features(turned[order]), expected[order], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("fixed_effects", [False, True])
def test_ridge_without_penalty_is_least_squares(fixed_effects: bool) -> None:
    generator = np.random.default_rng(2)
    x = [generator.normal(size=(n, 3)) * [1.0, 5.0, 0.1] + k for k, n in enumerate((20, 30, 25))]
    y = [a @ [0.3, -0.1, 2.0] + k + 0.1 * generator.normal(size=len(a)) for k, a in enumerate(x)]
    weight, offset = solve(
        [moments(a, b) for a, b in zip(x, y, strict=True)], 1e-12, fixed_effects=fixed_effects
    )
    intercepts = np.zeros((75, 3 if fixed_effects else 1))
    intercepts[np.arange(75), np.repeat(range(3), (20, 30, 25)) if fixed_effects else 0] = 1.0
    solution = np.linalg.lstsq(np.hstack([np.vstack(x), intercepts]), np.concatenate(y))[0]
    np.testing.assert_allclose(weight, solution[:3], rtol=1e-8)
    assert offset == pytest.approx(solution[3:].mean())


def test_ridge_chooses_its_strength_on_training_glasses_alone(glasses: list[Glass]) -> None:
    train = glasses[:3]
    ridge = Ridge(train, [29, 40], ["coarse"], fixed_effects=True)
    strength = ridge.choose_strength()
    scores = {}
    for tried in (3.0, 300.0):
        each = [
            compute_metrics(ridge.predict([g for g in train if g is not t], t, tried), t.labels)
            for t in train
        ]
        scores[tried] = np.mean([metrics.pearson for metrics in each])
    assert strength == 3.0 if scores[3.0] > scores[300.0] else strength != 3.0


def test_features_are_computed_once(glasses: list[Glass], data: Data, tmp_path: Path) -> None:
    first = glasses[0]
    values = first.quantity("size", "recipe", lambda: first.atoms.positions)
    again = Glass(data.path("train0"), tmp_path / "computed")
    np.testing.assert_array_equal(again.quantity("size", "recipe", None), values)  # type: ignore
    assert again.spent == 0.0
    assert again.cost == first.cost > 0.0
    other = again.quantity("size 2", "another recipe", lambda: np.zeros(1))
    assert other.shape == (1,)


def test_local_sampling_measures_thermal_motion() -> None:
    crystal = bulk("Cu", cubic=True) * (2, 2, 2)
    crystal.symbols[::9] = "Zr"
    first, second = (mean_square_displacement(crystal, seed) for seed in (0, 1))
    assert not np.array_equal(first, second)
    # Copper at 300 K: 0.02 Å² (Debye-Waller factor); a small disordered box moves no less.
    assert 0.01 < first.mean() < 0.2
