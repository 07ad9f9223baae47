"""Training: it learns, it resumes bit for bit, it survives kill -9, it refuses bad input."""

from __future__ import annotations

import csv
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from copy import deepcopy

import numpy as np
import pytest
import torch
import yaml

from conftest import random_glass
from symgnn.errors import ConfigError, DatasetError, ModelError, SymGNNError
from symgnn.graph import neighbor_list
from symgnn.models import settle_normalization
from symgnn.models.drag import SLACK
from symgnn.structures import write_structures
from symgnn.training.checkpoint import load_checkpoint, save_checkpoint
from symgnn.training.config import PRESETS, dump_config, load_config, parse_config, preset
from symgnn.training.dataset import in_spatial_order
from symgnn.training.loop import COLUMNS, Run, train
from symgnn.training.metrics import compute_metrics


def labeled_glass(seed: int, label: str = "energy_barrier"):
    """Atoms whose label depends on their surroundings: element and nearest neighbors."""
    atoms = random_glass(4, seed)
    (center, _), _, vector = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 3.5)
    length = np.linalg.norm(vector, axis=1)
    density = np.bincount(center, np.exp(-((length - 2.5) ** 2)), minlength=len(atoms))
    atoms.arrays[label] = 1.5 + 0.1 * density + 0.2 * (atoms.numbers == 40)
    return atoms


@pytest.fixture
def settings(tmp_path):
    """A complete small configuration whose files lie in tmp_path."""
    for name, seeds in {"train.xyz": (1, 2, 3), "validation.xyz": (4,)}.items():
        write_structures(tmp_path / name, [labeled_glass(seed) for seed in seeds])
    return parse_config(
        {
            "data": {"train": ["train.xyz"], "validation": ["validation.xyz"]},
            "model": {"width": 8, "heads": [2, 1], "dropout": 0.1},
            "optimizer": {"learning_rate": 0.01},
            "epochs": 4,
            "threads": 1,
        },
        "test",
    )


def network_of(path):
    return load_checkpoint(path)["network"]


def assert_same_network(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_it_learns(settings, tmp_path):
    settings.epochs = 60
    settings.model = settings.model.model_copy(update={"dropout": 0.0})
    losses = []
    result = train(settings, base=tmp_path, report=lambda epoch: losses.append(epoch.loss))
    assert losses[-1] < 0.3 * losses[0]
    assert result.best_pearson > 0.7


@pytest.mark.parametrize("batch_size", [1, None])
def test_resume_continues_bit_for_bit(settings, tmp_path, batch_size):
    settings.batch_size = batch_size
    settings.optimizer.schedule = "constant"  # a cosine would know the number of epochs
    whole = settings.model_copy(update={"output": "whole"})
    train(whole, base=tmp_path)
    half = settings.model_copy(update={"output": "half", "epochs": 2})
    train(half, base=tmp_path)
    train(half.model_copy(update={"epochs": 4}), base=tmp_path, resume=True)
    for name in ("best.ckpt", "last.ckpt"):
        assert_same_network(
            network_of(tmp_path / "whole" / name), network_of(tmp_path / "half" / name)
        )

    def scores(folder):
        with (tmp_path / folder / "metrics.csv").open() as file:
            return [{**row, "seconds": None} for row in csv.DictReader(file)]

    assert scores("whole") == scores("half")
    assert list(scores("whole")[0]) == COLUMNS


def test_same_seed_same_network_other_seed_another(settings, tmp_path):
    settings.epochs = 1
    for output, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(settings.model_copy(update={"output": output, "seed": seed}), base=tmp_path)
    first = network_of(tmp_path / "a" / "last.ckpt")
    assert_same_network(first, network_of(tmp_path / "b" / "last.ckpt"))
    other = network_of(tmp_path / "c" / "last.ckpt")
    assert not torch.equal(first["node_decoder.0.weight"], other["node_decoder.0.weight"])


def test_kill_at_any_moment_loses_at_most_one_epoch_and_no_checkpoint(settings, tmp_path):
    settings.epochs = 6
    train(settings.model_copy(update={"output": "whole"}), base=tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(settings))
    command = [sys.executable, "-m", "symgnn", "train", str(config), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = 0
    for seen in (1, 3):  # epochs to wait for before each kill
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith("epoch") and int(line.split()[1].split("/")[0]) >= seen:
                break
        time.sleep(0.01 * seen)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (tmp_path / "run" / ".unfinished-1-last.ckpt").touch()  # what a kill may leave behind
        epoch = load_checkpoint(tmp_path / "run" / "last.ckpt")["epoch"]
        load_checkpoint(tmp_path / "run" / "best.ckpt")
        assert epoch >= max(seen, finished)
        finished = epoch
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "run").glob(".unfinished*"))
    assert_same_network(
        network_of(tmp_path / "whole" / "last.ckpt"), network_of(tmp_path / "run" / "last.ckpt")
    )


@pytest.mark.usefixtures("children_heed_ctrl_c")
def test_interrupt_says_how_to_go_on(settings, tmp_path):
    settings.epochs = 100000
    settings.patience = 100000
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(settings))
    process = subprocess.Popen(
        [sys.executable, "-m", "symgnn", "train", str(config)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 1
    last = rest.strip().splitlines()[-1]
    assert last.startswith("symgnn: interrupted")
    assert "--resume" in last
    assert "Traceback" not in rest
    assert load_checkpoint(tmp_path / "run" / "last.ckpt")["epoch"] >= 2


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"epoch": 1})

    class Unwritable:
        def __reduce__(self):
            raise RuntimeError("killed half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        save_checkpoint(path, {"epoch": 2, "bad": Unwritable()})
    assert load_checkpoint(path)["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_early_stopping(settings, tmp_path):
    settings.epochs, settings.patience = 50, 3
    settings.optimizer.learning_rate = 1e-12  # validation cannot improve for long
    result = train(settings, base=tmp_path)
    assert result.stopped_early
    assert result.epochs == result.best_epoch + 3


def test_best_checkpoint_holds_the_best_epoch(settings, tmp_path):
    settings.epochs = 8
    result = train(settings, base=tmp_path)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        scores = [float(row["validation_pearson"]) for row in csv.DictReader(file)]
    assert result.best_epoch == int(np.argmax(scores)) + 1
    best = load_checkpoint(result.best)
    assert best["epoch"] == result.best_epoch
    assert best["validation"]["pearson"] == pytest.approx(max(scores))


def test_displaced_atoms_teach_another_network_and_edges_stay(settings, tmp_path):
    settings.epochs = 1
    for output, noise in (("still", 0.0), ("moving", 0.1)):
        changes = {"output": output, "position_noise": noise}
        train(settings.model_copy(update=changes), base=tmp_path)
    still, moving = (network_of(tmp_path / name / "last.ckpt") for name in ("still", "moving"))
    assert not torch.equal(still["node_decoder.0.weight"], moving["node_decoder.0.weight"])

    run = Run(settings.model_copy(update={"output": "size", "position_noise": 0.05}), base=tmp_path)
    graph = run.train_graphs[0].graph
    change = run._displaced(graph) - graph.edge_vector
    # Both ends of an edge move, so the difference of two displacements has sqrt(2) their size.
    assert float(change.std()) == pytest.approx(0.05 * 2**0.5, rel=0.1)


@pytest.mark.parametrize("exact", [True, False])
def test_exact_normalization_is_that_of_the_training_structures(settings, tmp_path, exact):
    """Not displaced, and for the weights as they are; running statistics are neither."""
    settings.position_noise, settings.exact_normalization = 0.3, exact
    run = Run(settings, base=tmp_path)
    run.train()
    found = run.validated_model
    settled = deepcopy(found)
    settle_normalization(settled, [item.graph.inputs for item in run.train_graphs])
    differences = [
        float((one - other).abs().max())
        for one, other in zip(found.buffers(), settled.buffers(), strict=True)
        if one.is_floating_point()
    ]
    assert (max(differences) < 1e-6) == exact


def test_atoms_and_their_labels_are_put_in_spatial_order():
    """Neighbors come to lie nearer in memory, and the structure remains what it is."""
    atoms = random_glass(10, 1)
    atoms = atoms[np.random.default_rng(0).permutation(len(atoms))]
    atoms.arrays["number"] = np.arange(len(atoms))
    ordered = in_spatial_order(atoms)
    number = ordered.arrays["number"]
    assert sorted(number) == list(range(len(atoms)))
    assert np.array_equal(ordered.positions, atoms.positions[number])
    assert np.array_equal(ordered.numbers, atoms.numbers[number])
    assert np.array_equal(ordered.cell, atoms.cell)
    assert ordered.pbc.all()

    def distance_in_memory(atoms):
        center, neighbor = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 5.0)[0]
        return np.abs(center - neighbor).mean()

    assert distance_in_memory(ordered) < 0.6 * distance_in_memory(atoms)


def test_an_impossible_atom_is_named_by_its_place_in_the_file(settings, tmp_path):
    broken = labeled_glass(1)
    broken.positions[37, 1] = np.nan
    write_structures(tmp_path / "train.xyz", [labeled_glass(2), broken])
    with pytest.raises(DatasetError, match=r"train\.xyz:1: .* first at index 37:"):
        train(settings, base=tmp_path)


def test_atoms_without_label_do_not_teach(settings, tmp_path):
    """Their value cannot matter, since it is NaN; so the rest must give a finite loss."""
    structures = [labeled_glass(seed) for seed in (1, 2, 3)]
    for atoms in structures:
        atoms.arrays["energy_barrier"][::2] = np.nan
    write_structures(tmp_path / "train.xyz", structures)
    losses = []
    train(settings, base=tmp_path, report=lambda epoch: losses.append(epoch.loss))
    assert all(math.isfinite(loss) for loss in losses)
    half = Run(settings.model_copy(update={"output": "other"}), base=tmp_path)
    labels = np.concatenate([atoms.arrays["energy_barrier"] for atoms in structures])
    assert float(half.model.label_mean) == pytest.approx(np.nanmean(labels), rel=1e-6)
    assert float(half.model.label_std) == pytest.approx(np.nanstd(labels), rel=1e-6)


def test_a_structure_without_any_label_is_left_out(settings, tmp_path):
    structures = [labeled_glass(seed) for seed in (1, 2, 3)]
    structures[1].arrays["energy_barrier"][:] = np.nan
    write_structures(tmp_path / "train.xyz", structures)
    run = Run(settings, base=tmp_path)
    assert len(run.train_graphs) == 2
    assert run.train().epochs == 4


@pytest.mark.parametrize(("atoms", "side"), [(1, 2.0), (2, 30.0)])
def test_a_structure_without_neighbors_is_named(settings, tmp_path, atoms, side):
    lonely = labeled_glass(1)[:atoms]
    lonely.set_cell([side] * 3)
    lonely.positions[:, 0] = np.arange(atoms) * side / 2
    write_structures(tmp_path / "train.xyz", [labeled_glass(2), lonely])
    with pytest.raises(DatasetError, match=r"train\.xyz:1: fewer than two"):
        train(settings, base=tmp_path)


@pytest.mark.parametrize("learning_rate", [1e30, 1e4])
def test_a_diverging_run_ends_with_one_line(settings, tmp_path, learning_rate):
    """The sampler of a diverged von Mises distribution would never end."""
    settings.epochs = 20
    settings.optimizer.learning_rate = learning_rate
    settings.optimizer.gradient_clip = None
    with pytest.raises(DatasetError, match=r"lower optimizer\.learning_rate") as error:
        train(settings, base=tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("validation", [["validation.xyz"], []])
def test_a_run_that_diverges_in_its_last_step_is_no_success(settings, tmp_path, validation):
    """The loss of a step is that of the weights before it."""
    settings.data.validation = validation
    settings.epochs = 1
    settings.batch_size = None
    settings.optimizer.learning_rate = 1e37
    settings.optimizer.warmup_epochs = 0
    settings.optimizer.schedule = "constant"
    with pytest.raises(DatasetError, match=r"prediction .* lower optimizer\.learning"):
        train(settings, base=tmp_path)
    assert not (tmp_path / "run" / "last.ckpt").exists()
    assert not (tmp_path / "run" / "best.ckpt").exists()


def test_files_of_the_same_name_are_told_apart(settings, tmp_path):
    settings.epochs = 1
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        write_structures(tmp_path / folder / "glass.xyz", [labeled_glass(seed)])
    settings.data.train = ["a/glass.xyz", "b/glass.xyz"]
    checksums = load_checkpoint(train(settings, base=tmp_path).best)["checksums"]["train"]
    assert list(checksums) == settings.data.train
    assert len(set(checksums.values())) == 2
    write_structures(tmp_path / "a" / "glass.xyz", [labeled_glass(9)])
    with pytest.raises(ConfigError, match="data files changed"):
        train(settings, base=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("elements", "words"), [(["Cu", "Foo", "Zr"], "'Foo'"), (["Cu", "Zr", "Cu"], "twice")]
)
def test_wrong_elements(settings, tmp_path, elements, words):
    settings.data.elements = elements
    with pytest.raises(ConfigError, match=words):
        train(settings, base=tmp_path)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_complete_configurations(name, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(preset(name)))
    assert load_config(path) == preset(name)


def test_paper_preset_has_the_papers_values():
    paper = preset("paper")
    assert paper.model.heads == [8, 4, 2, 1]
    assert (paper.model.width, paper.model.dropout, paper.model.cutoff) == (32, 0.25, 5.0)
    assert (paper.optimizer.learning_rate, paper.optimizer.gradient_clip) == (1e-4, 0.1)
    assert paper.optimizer.amsgrad
    assert paper.model.symmetrization.distribution == "von_mises"


def test_dotted_overrides(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(preset("paper")))
    config = load_config(path, ["model.heads=[4, 1]", "optimizer.name=adamw", "seed=3"])
    assert (config.model.heads, config.optimizer.name, config.seed) == ([4, 1], "adamw", 3)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("epoch: 3", [], "epoch: unknown key; did you mean epochs?"),
        ("data: {trian: [a.xyz]}", [], "data.trian: unknown key; did you mean train?"),
        ("model: {depth: 3}", [], "model.depth: unknown key; there are architecture, cutoff, "),
        ("data: {train: a.xyz}", [], "data.train: a list is needed: write [a.xyz]"),
        ("epochs: 3", ["data.train=a.xyz"], "data.train: a list is needed: write [a.xyz]"),
        ("epochs: -1", [], "epochs: "),
        ("model: {edge_input: length}", [], "symmetrization.distribution: none"),
        ("model: {cutoff: 1.0e+9}", [], "model.cutoff: 1e+09 Å is beyond 30 Å"),
        *(
            (f"model: {{architecture: {name}, cutoff: 50}}", [], "model.cutoff: 50 Å is beyond")
            for name in ("schnet", "density_regression", "formula", "mixture")
        ),
        (
            "model: {architecture: density_regression, drag: {mobile: 6}}",
            [],
            f"edges of mobile + reach + {SLACK:g} = {6 + 5 + SLACK:g} Å",
        ),
        (
            "model: {architecture: density_regression, density_cutoff: 8}",
            [],
            "density_cutoff, which must not be farther",
        ),
        ("[1, 2]", [], "symgnn train --preset paper"),
        ("a: [", [], "not YAML"),
        ("epochs: 3", ["epochs"], "section.key=value"),
        ("epochs: 3", ["epochs.x=1"], "not a section"),
        ("epochs: 3", ["optimiser.name=adam"], "optimiser: unknown key"),
    ],
)
def test_wrong_configuration_is_one_line(tmp_path, text, overrides, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def sections_of(values, name=""):
    """Every section of a configuration, by its dotted name."""
    yield name, values
    for key, value in values.items():
        inner = {key: value}
        if isinstance(value, list):
            inner = {f"{key}.{number}": item for number, item in enumerate(value)}
        for own, item in inner.items():
            if isinstance(item, dict):
                yield from sections_of(item, f"{name}{own}.")


@pytest.mark.parametrize("name", PRESETS)
def test_an_unknown_key_anywhere_names_those_beside_it(name):
    config = yaml.safe_load(dump_config(preset(name)))
    for section, values in list(sections_of(config)):
        known = ", ".join(values)
        values["zzz"] = 1
        with pytest.raises(ConfigError) as error:
            parse_config(config, "config.yaml")
        assert f"{section}zzz: unknown key; there are {known}" in str(error.value)
        del values["zzz"]


def test_missing_configuration(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.yaml")


def test_missing_label_column_names_the_ones_there(settings, tmp_path):
    write_structures(tmp_path / "train.xyz", [labeled_glass(1, label="barrier")])
    with pytest.raises(DatasetError, match=r"no per-atom column 'energy_barrier'.*barrier"):
        train(settings, base=tmp_path)


@pytest.mark.parametrize("name", ["train.xyz", "validation.xyz"])
def test_constant_labels(settings, tmp_path, name):
    atoms = labeled_glass(1)
    atoms.arrays["energy_barrier"][:] = 1.5
    write_structures(tmp_path / name, [atoms])
    with pytest.raises(DatasetError, match=r"equal 1\.5"):
        train(settings, base=tmp_path)


def test_no_labels_at_all(settings, tmp_path):
    atoms = labeled_glass(1)
    atoms.arrays["energy_barrier"][:] = np.nan
    write_structures(tmp_path / "train.xyz", [atoms])
    with pytest.raises(DatasetError, match="nothing is labeled"):
        train(settings, base=tmp_path)


def test_no_files(settings, tmp_path):
    settings.data.train = []
    with pytest.raises(ConfigError, match="at least one file"):
        train(settings, base=tmp_path)


def test_without_validation_files_the_last_epoch_counts(settings, tmp_path):
    """Validation does not enter the training: the network is the same."""
    train(settings, base=tmp_path)
    expected = network_of(tmp_path / "run" / "last.ckpt")
    settings.data.validation, settings.output, settings.patience = [], "alone", 1
    result = train(settings, base=tmp_path)
    assert (result.best_epoch, result.best_pearson, result.stopped_early) == (4, None, False)
    assert_same_network(network_of(result.best), expected)
    assert load_checkpoint(result.best)["validation"] is None
    with (tmp_path / "alone" / "metrics.csv").open() as file:
        scores = [float(row["validation_pearson"]) for row in csv.DictReader(file)]
    assert len(scores) == 4
    assert all(map(math.isnan, scores))
    train(settings.model_copy(update={"epochs": 5}), base=tmp_path, resume=True)
    assert load_checkpoint(result.best)["epoch"] == 5


def test_steps_take_copies_as_often_as_they_count(settings, tmp_path, monkeypatch):
    """Copies may be few: a structure without any is always itself."""
    glasses = [labeled_glass(seed) for seed in (1, 2, 3)]
    copies = [glasses[number].copy() for number in (2, 0, 2)]
    for number, copy in enumerate(copies):
        copy.rattle(0.05, seed=number)
    write_structures(tmp_path / "copies.xyz", copies)
    settings.data.thermal, settings.data.thermal_weight = ["copies.xyz"], 0.25
    run = Run(settings, base=tmp_path)
    assert [[copy.name for copy in own] for own in run.copies] == [
        ["copies.xyz:1"],
        [],
        ["copies.xyz:0", "copies.xyz:2"],
    ]
    taken = [[run._at_some_time(number).name for _ in range(2000)] for number in range(3)]
    assert set(taken[1]) == {"train.xyz:1"}
    for number, others in ((0, {"copies.xyz:1"}), (2, {"copies.xyz:0", "copies.xyz:2"})):
        assert set(taken[number]) == {f"train.xyz:{number}"} | others
        share = np.mean([name in others for name in taken[number]])
        assert share == pytest.approx(0.25, abs=0.05)
    assert taken[2].count("copies.xyz:0") == pytest.approx(250, abs=60)
    without = settings.model_copy(deep=True)
    without.data.thermal, without.output = [], "without"
    found = [train(config, base=tmp_path).best for config in (settings, without)]
    first, second = map(network_of, found)
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_a_label_counts_in_a_copy_as_much_as_in_its_structure(settings, tmp_path):
    """Also where atoms have come to lie in another order along the curve."""
    glasses = [labeled_glass(seed) for seed in (1, 2, 3)]
    generator = np.random.default_rng(0)
    for atoms in glasses:
        atoms.arrays["error"] = generator.uniform(0.0, 0.5, len(atoms))
        atoms.arrays["energy_barrier"][:5] = np.nan
    copies = [glasses[number].copy() for number in (2, 0)]
    for copy in copies:
        copy.rattle(0.4, seed=1)
        del copy.arrays["error"]
    unlabeled = labeled_glass(4)
    unlabeled.arrays["energy_barrier"][:] = np.nan
    write_structures(tmp_path / "train.xyz", glasses)
    write_structures(tmp_path / "copies.xyz", [unlabeled, *copies])
    settings.data.thermal, settings.data.label_error = ["copies.xyz"], "error"
    run = Run(settings, base=tmp_path)
    assert [[copy.name for copy in own] for own in run.copies] == [
        ["copies.xyz:2"],
        [],
        ["copies.xyz:1"],
    ]
    for structure, own in zip(run.train_graphs, run.copies, strict=True):
        for copy in own:
            assert not torch.equal(copy.label.nan_to_num(), structure.label.nan_to_num())
            first, second = (
                dict(zip(item.label.tolist(), item.weight.tolist(), strict=True))
                for item in (structure, copy)
            )
            weights = {label: weight for label, weight in first.items() if label == label}
            assert weights == {label: weight for label, weight in second.items() if label == label}
            assert np.std(list(weights.values())) > 0.1
            assert (copy.weight[copy.label.isnan()] == 0.0).all()


def test_structures_left_out_do_not_teach(settings, tmp_path):
    """As if they were not in the file, apart from the record of it."""
    run = Run(settings, base=tmp_path, left_out={"train.xyz:1"})
    run.train()
    write_structures(tmp_path / "train.xyz", [labeled_glass(seed) for seed in (1, 3)])
    settings.output = "two"
    expected = network_of(train(settings, base=tmp_path).best)
    assert_same_network(network_of(tmp_path / "run" / "best.ckpt"), expected)


def test_a_run_goes_on_without_the_same_structures(settings, tmp_path):
    """What left none out, as all runs from before this was written down, goes on so."""
    last = tmp_path / "run" / "last.ckpt"
    first, second = ({name} for name in ("train.xyz:0", "train.xyz:1"))
    longer = settings.model_copy(update={"epochs": 5})
    Run(settings, base=tmp_path, left_out=first).train()
    Run(longer, base=tmp_path, left_out=first, resume=True).train()
    for other in (second, first | second, ()):
        with pytest.raises(
            ConfigError, match=r"restore model\.densities\.jackknife_groups"
        ) as error:
            Run(longer, base=tmp_path, left_out=other, resume=True)
        assert "\n" not in str(error.value)
    content = load_checkpoint(last)
    del content["left_out"]
    save_checkpoint(last, content)
    with pytest.raises(ConfigError, match="trained without other structures"):
        Run(longer, base=tmp_path, left_out=first, resume=True)
    assert Run(longer, base=tmp_path, resume=True).epoch == 5


def test_a_model_without_its_last_checkpoint_is_not_overwritten(settings, tmp_path):
    settings.epochs = 2
    settings.data.validation = []
    best = train(settings, base=tmp_path).best
    (tmp_path / "run" / "last.ckpt").unlink()
    before = best.read_bytes()
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"holds a model, and no last\.ckpt .*output=FOLDER"):
            train(settings, base=tmp_path, resume=resume)
    assert best.read_bytes() == before


def test_a_run_killed_between_its_first_two_checkpoints_begins_again(settings, tmp_path):
    settings.epochs = 1
    train(settings, base=tmp_path)
    (tmp_path / "run" / "last.ckpt").unlink()
    with pytest.raises(ConfigError, match="holds a model"):
        train(settings, base=tmp_path)
    assert train(settings, base=tmp_path, resume=True).epochs == 1


def test_a_network_does_not_begin_where_another_architecture_has(settings, tmp_path):
    """Before its first checkpoint a run is told by its configuration."""
    Run(settings, base=tmp_path)
    values = {**settings.model_dump(), "model": {"architecture": "gcn"}}
    with pytest.raises(ConfigError, match=r"run holds a run of architecture symgnn, not gcn: "):
        train(parse_config(values, "test"), base=tmp_path)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == settings.model_dump()
    Run(settings, base=tmp_path)


@pytest.mark.parametrize("content", ["", "a: [", "[1, 2]", "other: program"])
def test_a_configuration_of_another_program_is_no_run(settings, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(content)
    Run(settings, base=tmp_path)


def test_a_run_is_never_overwritten(settings, tmp_path):
    settings.epochs = 1
    train(settings, base=tmp_path)
    with pytest.raises(ConfigError, match="--resume"):
        train(settings, base=tmp_path)
    settings.optimizer.learning_rate = 0.5
    with pytest.raises(ConfigError, match="another optimizer"):
        train(settings, base=tmp_path, resume=True)


def test_a_run_from_before_thermal_copies_goes_on(settings, tmp_path):
    last = tmp_path / "run" / "last.ckpt"
    train(settings.model_copy(update={"epochs": 2}), base=tmp_path)
    content = load_checkpoint(last)
    del content["checksums"]["thermal"]
    save_checkpoint(last, content)
    assert train(settings, base=tmp_path, resume=True).epochs == 4


def test_changed_data_are_noticed_on_resume(settings, tmp_path):
    settings.epochs = 1
    train(settings, base=tmp_path)
    write_structures(tmp_path / "train.xyz", [labeled_glass(9)])
    with pytest.raises(ConfigError, match="data files changed"):
        train(settings, base=tmp_path, resume=True)


def test_two_runs_cannot_share_an_output(settings, tmp_path):
    settings.epochs = 1

    def start_another(_epoch):
        with pytest.raises(SymGNNError, match=r"another `symgnn train` works in .*run: wait"):
            train(settings, base=tmp_path, resume=True)
        with pytest.raises(SymGNNError, match="another `symgnn train`"):
            train(settings.model_copy(update={"seed": 1}), base=tmp_path)

    train(settings, base=tmp_path, report=start_another)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "metrics.csv", "config.yaml"}
    assert load_checkpoint(tmp_path / "run" / "last.ckpt")["config"]["seed"] == 0


def test_a_run_that_cannot_begin_leaves_no_folder(settings, tmp_path):
    settings.data.train = ["none.xyz"]
    with pytest.raises(SymGNNError, match="does not exist"):
        train(settings, base=tmp_path)
    assert not (tmp_path / "run").exists()


def test_unwritable_output(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SymGNNError, match="file/run"):
        train(settings.model_copy(update={"output": "file/run"}), base=tmp_path)
    with pytest.raises(ConfigError, match="folder of its own"):
        train(settings.model_copy(update={"output": "."}), base=tmp_path)


def test_absent_device(settings, tmp_path):
    with pytest.raises(ConfigError, match=r"GPUs|choose auto"):
        train(settings.model_copy(update={"device": "cuda:99"}), base=tmp_path)


class Hostile:
    """Would run a command if it were unpickled."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


def test_hostile_checkpoint_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"kind": "symgnn-checkpoint", "network": Hostile()}, "bad.ckpt")
    with pytest.raises(ModelError, match="not a SymGNN checkpoint"):
        load_checkpoint(tmp_path / "bad.ckpt")
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ModelError, match="not a SymGNN checkpoint"):
        load_checkpoint(tmp_path / "old.ckpt")
    assert not (tmp_path / "hacked").exists()


def test_damaged_and_foreign_checkpoints(tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"epoch": 1, "network": {"weight": torch.zeros(1000)}})
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelError, match="truncated"):
        load_checkpoint(path)
    with pytest.raises(ModelError, match="no checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="another program"):
        load_checkpoint(path)
    torch.save({"kind": "symgnn-checkpoint", "format": 99}, path)
    with pytest.raises(ModelError, match="format 99"):
        load_checkpoint(path)


def damaged(content, generator):
    """The bytes with some of them changed, or cut off."""
    if generator.random() < 0.2:
        return content[: generator.integers(len(content))]
    changed = np.frombuffer(content, dtype=np.uint8).copy()
    # Every other time at the end, where the zip directory is.
    first = 0 if generator.random() < 0.5 else 3 * len(changed) // 4
    places = generator.integers(first, len(changed), generator.integers(1, 5))
    changed[places] ^= generator.integers(1, 256, len(places), dtype=np.uint8)
    return changed.tobytes()


def test_damage_anywhere_is_one_line_or_does_not_matter(tmp_path):
    path, generator = tmp_path / "last.ckpt", np.random.default_rng(0)
    network = {"weight": torch.arange(30.0), "bias": torch.arange(3)}
    save_checkpoint(path, {"config": {"model": {}}, "epoch": 1, "network": network})
    content, whole = path.read_bytes(), load_checkpoint(path)
    refused = loaded = 0
    for _ in range(400):
        path.write_bytes(damaged(content, generator))
        try:
            found = load_checkpoint(path)
        except ModelError as error:
            refused += str(error).count("\n") == 0
        else:
            assert_same_network(found.pop("network"), network)
            assert found == {key: value for key, value in whole.items() if key != "network"}
            loaded += 1
    assert refused + loaded == 400
    assert loaded < 100


def test_metrics():
    label = np.array([1.0, 2.0, 3.0, np.nan])
    metrics = compute_metrics(np.array([1.5, 2.5, 3.5, 9.0]), label)
    assert metrics.pearson == pytest.approx(1.0)
    assert metrics.spearman == pytest.approx(1.0)
    assert (metrics.mae, metrics.rmse) == pytest.approx((0.5, 0.5))
    assert metrics.atoms == 3
    with pytest.raises(DatasetError, match="correlation is undefined"):
        compute_metrics(np.arange(3.0), np.ones(3))
    with pytest.raises(DatasetError, match="at least two"):
        compute_metrics(np.arange(3.0), np.array([1.0, np.nan, np.nan]))


def test_config_is_written_beside_the_result(settings, tmp_path):
    settings.epochs = 1
    train(settings, base=tmp_path)
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written == settings.model_dump()
