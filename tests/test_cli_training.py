"""`symgnn train`, `export` and `evaluate` on the command line: one line for every error."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms

from symgnn.annotator import Annotator
from symgnn.cli import run
from symgnn.samples import sample_glass
from symgnn.structures import read_structures, write_structures
from symgnn.training.checkpoint import load_checkpoint, save_checkpoint
from symgnn.training.config import load_config
from symgnn.training.loop import Run
from symgnn.training.output import output_alone
from test_cli import complaint
from test_training import labeled_glass
from tiny_model import tiny_metadata, tiny_network, write_tiny_model
from tiny_regression import TINY, coordination, write_labeled

if TYPE_CHECKING:
    from collections.abc import Callable

SYMGNN = Path(sysconfig.get_path("scripts")) / "symgnn"

CONFIG = """
data: {train: [train.xyz], validation: [validation.xyz]}
model: {width: 4, heads: [1]}
epochs: 1
threads: 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two labeled files and a configuration."""
    monkeypatch.chdir(tmp_path)
    write_structures("train.xyz", [labeled_glass(1), labeled_glass(2)])
    write_structures("validation.xyz", [labeled_glass(3)])
    Path("config.yaml").write_text(CONFIG)
    return tmp_path


def test_train_export_evaluate(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "config.yaml", "epochs=2", "--seed", "3"]) == 0
    assert "next: symgnn export run/best.ckpt" in capsys.readouterr().out
    assert run(["export", "run/best.ckpt", "-o", "model.pt"]) == 0
    assert Annotator("model.pt").metadata["training"]["seed"] == 3
    capsys.readouterr()

    assert run(["evaluate", "model.pt", "train.xyz", "validation.xyz", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert list(scores["structures"]) == ["train.xyz:0", "train.xyz:1", "validation.xyz"]
    assert scores["pooled"]["atoms"] == 3 * 64
    assert scores["training_data"] == {
        "train.xyz:0": "train",
        "train.xyz:1": "train",
        "validation.xyz": "validation",
    }
    label = labeled_glass(3).arrays["energy_barrier"]
    barrier = Annotator("model.pt").predict([labeled_glass(3)])[0][:, 0]
    expected = {
        "pearson": np.corrcoef(barrier, label)[0, 1],
        "mae": np.abs(barrier - label).mean(),
        "rmse": np.sqrt(((barrier - label) ** 2).mean()),
    }
    found = scores["structures"]["validation.xyz"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert run(["evaluate", "model.pt", "validation.xyz"]) == 0
    assert "Spearman" in capsys.readouterr().out


def test_whole_numbers_are_labels_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A prediction must not be rounded to the type of the labels."""
    model = str(write_tiny_model(Path("model.pt")))
    atoms = labeled_glass(1)
    for name, values in {"whole": np.arange(64), "real": np.arange(64.0)}.items():
        atoms.arrays["energy_barrier"] = values
        write_structures(f"{name}.xyz", [atoms])
    results = []
    for name in ("whole", "real"):
        assert run(["evaluate", model, f"{name}.xyz", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out)["pooled"])
    assert results[0] == results[1]


def test_evaluate_reads_standard_input() -> None:
    result = subprocess.run(
        [SYMGNN, "evaluate", write_tiny_model(Path("model.pt")), "-", "--json"],
        input=Path("validation.xyz").read_bytes(),
        capture_output=True,
        check=True,
    )
    assert json.loads(result.stdout)["pooled"]["atoms"] == 64


def without_labels() -> None:
    atoms = labeled_glass(1)
    del atoms.arrays["energy_barrier"]
    write_structures("validation.xyz", [atoms])


def constant_labels() -> None:
    atoms = labeled_glass(1)
    atoms.arrays["energy_barrier"][:] = 1.37
    write_structures("validation.xyz", [atoms])


def not_finite() -> None:
    atoms = labeled_glass(1)
    atoms.positions[5] = np.nan
    write_structures("validation.xyz", [atoms])


def other_element() -> None:
    atoms = labeled_glass(1)
    atoms.symbols[3] = "Al"
    write_structures("validation.xyz", [atoms])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (constant_labels, ["validation.xyz", "equal 1.37", "undefined"]),
        (not_finite, ["validation.xyz", "finite"]),
        (other_element, ["validation.xyz", "Al"]),
    ],
)
def test_what_cannot_be_evaluated(
    spoil: Callable[[], None], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    assert run(["evaluate", str(write_tiny_model(Path("model.pt"))), "validation.xyz"]) == 1
    message = complaint(capsys)
    for word in words:
        assert word in message


@pytest.mark.parametrize("spoil", [without_labels, constant_labels, not_finite, other_element])
def test_what_cannot_be_trained_on(
    spoil: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    assert run(["train", "config.yaml"]) == 1
    assert "validation" in complaint(capsys)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["train"], 2, "--preset paper"),
        (["train", "none.yaml"], 1, "cannot read"),
        (["train", "config.yaml", "model.depth=3"], 1, "model.depth: unknown key"),
        (["train", "config.yaml", "data.train=[none.xyz]"], 1, "does not exist"),
        (["train", "config.yaml", "optimizer.learning_rate=.inf"], 1, "finite number"),
        (["train", "config.yaml", "model={architecture: formula, smoothing: .inf}"], 1, "finite"),
        (
            ["train", "config.yaml", "model={architecture: density_regression, strength: .inf}"],
            1,
            "model.strength: Input should be a finite number",
        ),
        (["train", "config.yaml", "output=train.xyz"], 1, "cannot write"),
        (["train", "config.yaml", "--device", "abacus"], 1, "abacus"),
        (["train", "--preset", "other"], 1, "paper, lengths, mixture, densities"),
        (["train", "--preset", "paper", "model.width=16"], 2, "alone"),
        (["export", "-o", "m.pt"], 2, "name a checkpoint"),
        (["export", "--random", "-o", "m.pt"], 2, "needs --elements"),
        (["export", "--random", "--elements", "Foo", "-o", "m.pt"], 1, "'Foo'"),
        (["export", "--random", "--elements", "Cu", "Cu", "-o", "m.pt"], 1, "twice"),
        (["export", "none.ckpt", "-o", "m.pt"], 1, "no checkpoint"),
        (["export", "none.ckpt", "--elements", "Cu", "-o", "m.pt"], 2, "--random"),
        (["export", "config.yaml", "-o", "m.pt"], 1, "not a SymGNN checkpoint"),
    ],
)
def test_requests_that_cannot_be_met(
    arguments: list[str], code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    assert word in complaint(capsys)
    assert not Path("m.pt").exists()


def test_a_model_where_a_checkpoint_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(write_tiny_model(Path("model.pt"))), "-o", "m.pt"]) == 1
    assert "this is an exported model" in complaint(capsys)


def test_export_of_a_damaged_checkpoint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An entry of the zip directory, which stands at the end of the file."""
    checkpoint = Path("best.ckpt")
    save_checkpoint(checkpoint, {"network": {"weight": torch.zeros(100)}})
    content = bytearray(checkpoint.read_bytes())
    content[content.rindex(b"PK\x01\x02")] ^= 0xFF
    checkpoint.write_bytes(content)
    assert run(["export", "best.ckpt", "-o", "m.pt"]) == 1
    assert "best.ckpt is not a SymGNN checkpoint (damaged" in complaint(capsys)
    assert not Path("m.pt").exists()


def test_export_into_a_missing_folder(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--preset", "lengths", "--random", "--elements", "Cu", "Zr"]
    assert run(["export", *arguments, "-o", "missing/model.pt"]) == 1
    assert "cannot write" in complaint(capsys)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("checkpoint", "symgnn export"),
        ("newer", "newer SymGNN"),
        ("foreign", "no symgnn.json"),
        ("archive", "not a SymGNN model"),
    ],
)
@pytest.mark.parametrize("verb", ["annotate", "evaluate", "info", "check"])
def test_wrong_model_files(
    kind: str, word: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("model.pt")
    if kind == "checkpoint":
        torch.save({"network": tiny_network().state_dict()}, path)
    elif kind == "newer":
        write_tiny_model(path, metadata={**tiny_metadata(), "format": 99})
    elif kind == "foreign":
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    else:
        np.savez(path.with_suffix(".npz"), numbers=np.zeros(3))
        path.with_suffix(".npz").rename(path)
    files = ["validation.xyz"] if verb in ("annotate", "evaluate") else []
    arguments = [*files, "-m", str(path)] if verb == "annotate" else [str(path), *files]
    assert run([verb, *arguments]) == 1
    assert word in complaint(capsys)


def test_full_disk_behind_standard_output() -> None:
    if not Path("/dev/full").exists():
        pytest.fail("this system has no /dev/full")
    model = write_tiny_model(Path("model.pt"))
    for arguments in (
        ["info", model],
        ["train", "--preset", "paper"],
        ["annotate", "validation.xyz", "-m", model, "-o", "-"],
    ):
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [SYMGNN, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert result.returncode == 1
        *told, last = result.stderr.splitlines()
        assert last.startswith("symgnn: cannot write standard output: No space left")
        assert not told or "kept as energy_barrier_label" in told[0]
        assert len(told) <= 1


def test_a_molecule_can_be_annotated_but_a_label_of_one_atom_gives_no_correlation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    atom = Atoms("Cu")
    atom.arrays["energy_barrier"] = np.ones(1)
    write_structures("one.xyz", [atom])
    assert run(["evaluate", str(write_tiny_model(Path("model.pt"))), "one.xyz"]) == 1
    assert "1 labeled atoms" in complaint(capsys)


# --- density regression -------------------------------------------------------------------------


def write_regression(structures: int = 3) -> None:
    """Labeled slabs of the sample glass, and a configuration of a small density regression."""
    glass = sample_glass()
    height = glass.cell[2, 2] / 3
    slabs = [glass[glass.positions[:, 2] // height % 3 == number] for number in range(structures)]
    for slab in slabs:
        slab.pbc[2] = False
    write_labeled(Path("slabs.xyz"), slabs, [coordination(slab) for slab in slabs])
    config = {"data": {"train": ["slabs.xyz"]}, "model": TINY, "device": "cpu"}
    Path("regression.yaml").write_text(yaml.safe_dump(config))


def test_relatives_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A strained copy is no structure of its own: three slabs and one copy are three."""
    write_regression()
    copy = read_structures("slabs.xyz")[1]
    copy.set_cell(copy.cell.array * [1.03, 1.0, 1.0], scale_atoms=True)
    write_labeled(Path("copy.xyz"), [copy], [coordination(copy)])
    assert run(["train", "regression.yaml", "data.train=[slabs.xyz,copy.xyz]"]) == 0
    line = "slabs.xyz:1, copy.xyz: nearly the same structure, and left out together\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("architecture", ["symgnn", "density_regression", "formula"])
def test_validation_on_a_relative_is_warned_of(
    architecture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_regression()
    config = yaml.safe_load(Path("regression.yaml").read_text())
    if architecture == "symgnn":
        config |= {"model": {"architecture": "symgnn", "width": 8, "heads": [1]}, "epochs": 1}
    elif architecture == "formula":
        config["model"] = {"architecture": "formula"}
    Path("train.yaml").write_text(yaml.safe_dump(config))
    copy = read_structures("slabs.xyz")[1]
    copy.set_cell(copy.cell.array * [1.03, 1.0, 1.0], scale_atoms=True)
    write_labeled(Path("copy.xyz"), [copy], [coordination(copy)])

    for validation, warned in (("copy", 1), ("validation", 0)):
        assert run(["train", "train.yaml", f"data.validation=[{validation}.xyz]"]) == 0
        line = "warning: validation: copy.xyz is nearly the same structure as slabs.xyz:1: scores"
        assert capsys.readouterr().err.count(line) == warned
        shutil.rmtree("run")


def test_density_regression_from_labels_to_barriers(capsys: pytest.CaptureFixture[str]) -> None:
    write_regression()
    assert run(["train", "regression.yaml", "data.validation=[validation.xyz]"]) == 0
    printed = capsys.readouterr().out
    for number in range(3):
        assert f"slabs.xyz:{number}, held out: Pearson" in printed
    assert "no energy_barrier_std" not in printed
    assert "held out, pooled: Pearson" in printed
    assert "validation: Pearson" in printed
    assert "next: symgnn export run/best.ckpt" in printed
    assert load_config(Path("run/config.yaml")).data.train == ["slabs.xyz"]

    assert run(["export", "run/best.ckpt", "-o", "model.pt"]) == 0
    annotator = Annotator("model.pt")
    columns = ["energy_barrier", "energy_barrier_std", "energy_barrier_ood"]
    assert annotator.outputs == columns
    training = annotator.metadata["training"]
    assert training["held_out"]["pearson"] > 0.8
    assert list(training["held_out_structures"]) == [f"slabs.xyz:{number}" for number in range(3)]
    assert len(training["data"]["train"]["slabs.xyz"]) == 64

    write_structures("glass.xyz", [sample_glass()])
    assert run(["annotate", "glass.xyz", "-m", "model.pt", "-o", "annotated.xyz"]) == 0
    assert "warning" not in capsys.readouterr().err
    arrays = read_structures("annotated.xyz")[0].arrays
    found = np.stack([arrays[column] for column in columns], axis=1)
    expected = annotator.predict(read_structures("glass.xyz"))[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)  # files hold eight digits
    barrier, std, novelty = found.T
    assert np.corrcoef(barrier, coordination(sample_glass()))[0, 1] > 0.8
    assert (std >= 0.01).all()
    assert (novelty >= 0.0).all()
    assert (novelty <= 1.0).all()

    assert run(["check", "model.pt"]) == 0
    assert capsys.readouterr().out.count("ok") == 2  # on one rank and on two


def test_mixture_from_labels_to_barriers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_regression()
    config = yaml.safe_load(Path("regression.yaml").read_text())
    network = {"width": 4, "heads": [1], "cutoff": 4.5}
    config["model"] = {"architecture": "mixture", "densities": TINY, "network": network}
    Path("mixture.yaml").write_text(yaml.safe_dump(config | {"epochs": 2}))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "train", interrupt)
        assert run(["train", "mixture.yaml"]) == 1
    assert (
        "interrupted; every finished epoch is in run: go on with --resume"
        in capsys.readouterr().err
    )
    assert not Path("run/best.ckpt").exists()
    assert run(["train", "mixture.yaml", "--resume"]) == 0
    output = capsys.readouterr()
    for number in range(1, 5):
        assert output.err.count(f"network {number} of 4\n") == 1
    for number in range(3):
        assert f"slabs.xyz:{number}, held out: Pearson" in output.out
    assert "next: symgnn export run/best.ckpt" in output.out
    assert load_config(Path("run/config.yaml")).model.share == 0.3
    assert run(["train", "mixture.yaml"]) == 1
    assert "run holds a run already: add --resume" in complaint(capsys)

    assert load_checkpoint(Path("run/best.ckpt"))["example"]["pbc"].shape == (3,)
    assert run(["export", "run/best.ckpt", "-o", "model.pt"]) == 0
    assert run(["check", "model.pt"]) == 0
    training = Annotator("model.pt").metadata["training"]
    assert list(training["held_out_structures"]) == [f"slabs.xyz:{number}" for number in range(3)]
    assert training["seed"] == 0


def test_two_structures_give_a_model_without_uncertainty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_regression(structures=2)
    assert run(["train", "regression.yaml"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("no held-out score: ")
    assert second.startswith("no energy_barrier_std: ")
    assert "fewer than 3 training structures" in first
    assert third.startswith("next: ")
    assert run(["export", "run/best.ckpt", "-o", "model.pt"]) == 0
    assert Annotator("model.pt").outputs == ["energy_barrier", "energy_barrier_ood"]


def test_an_element_of_one_training_atom_has_a_novelty() -> None:
    glass = sample_glass()[:400]
    labels = coordination(glass)
    glass.symbols[7] = "Al"
    write_labeled(Path("one.xyz"), [glass], [labels])
    config = {"data": {"train": ["one.xyz"]}, "model": TINY, "device": "cpu"}
    Path("one.yaml").write_text(yaml.safe_dump(config))
    assert run(["train", "one.yaml"]) == 0
    assert run(["export", "run/best.ckpt", "-o", "model.pt"]) == 0
    novelty = Annotator("model.pt").predict([glass])[0][:, 1]
    assert np.isfinite(novelty).all()
    assert novelty[7] < 0.5


@pytest.mark.parametrize("config", ["config.yaml", "regression.yaml"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train=[a.xyz, ./a.xyz]", "data.train: ./a.xyz is the same as a.xyz in data.train"),
        ("validation=[link.xyz]", "data.validation: link.xyz is the same as a.xyz in data.train"),
        ("validation=[copy.xyz]", "data.validation: copy.xyz is the same as a.xyz in data.train"),
        ("elements=[Cu, Foo, Zr]", "data.elements: 'Foo' is not a chemical symbol"),
        ("elements=[Cu, Zr, Cu]", "data.elements: an element stands there twice"),
    ],
)
def test_data_are_checked_alike_for_every_model(
    config: str, change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_regression()
    shutil.copy("train.xyz", "a.xyz")
    shutil.copy("train.xyz", "copy.xyz")
    Path("link.xyz").symlink_to("a.xyz")
    assert run(["train", config, "data.train=[a.xyz]", f"data.{change}"]) == 1
    assert message in complaint(capsys)
    assert not Path("run").exists()


def test_a_thermal_copy_is_not_its_structure(capsys: pytest.CaptureFixture[str]) -> None:
    write_regression()
    assert run(["train", "regression.yaml", "data.thermal=[slabs.xyz]"]) == 1
    assert "data.thermal: slabs.xyz is the same as slabs.xyz in data.train" in complaint(capsys)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["config.yaml", "data.thermal=[slabs.xyz]"], "slabs.xyz:0 has the elements"),
        (["regression.yaml", "data.thermal=[train.xyz]"], "train.xyz:0 has the elements"),
        (["regression.yaml", "data.train=[]"], "data.train needs at least one file"),
        (["regression.yaml", "data.elements=[Al, Cu, Zr]"], "no atom of Al has a label"),
        (["regression.yaml", "model.heads=[1]"], "model.heads: unknown key"),
        (["regression.yaml", "--seed", "3"], "seed serves networks only: leave it out of"),
        (["regression.yaml", "epochs=9"], "epochs serves networks only"),
        (["regression.yaml", "optimizer.learning_rate=1e-3"], "optimizer serves networks only"),
        (["regression.yaml", "epoch=9"], "epoch: unknown key"),
        (["regression.yaml", "model.cutoff=1"], "model.cutoff: "),
        (["regression.yaml", "model.shells=[a]"], "model.shells.0: "),
        (["regression.yaml", "output=train.xyz"], "cannot write"),
        (["regression.yaml", "output=."], "output: name a folder of its own"),
    ],
)
def test_what_cannot_be_fitted(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_regression()
    assert run(["train", *arguments]) == 1
    assert word in complaint(capsys)
    assert not Path("run").exists()


def train_after(preparation: str) -> subprocess.CompletedProcess[str]:
    """`symgnn train regression.yaml` in a process of its own, after some lines of Python."""
    program = f"import os, resource, signal, sys, torch\n{preparation}\n"
    program += "from symgnn.cli import run\nsys.exit(run(['train', 'regression.yaml']))"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


FITTING, WRITING = "torch.linalg.solve", "os.fsync"


def train_with(name: str, moment: str) -> subprocess.CompletedProcess[str]:
    """The same with a signal to itself at a moment: when it calls a function of the libraries."""
    return train_after(f"{moment} = lambda *_: os.kill(os.getpid(), signal.{name})")


def files_of_run() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("run").glob("*")}


@pytest.fixture(params=[False, True], ids=["first", "again"])
def before(request: pytest.FixtureRequest) -> dict[str, bytes]:
    """Files of an earlier fit into the same folder, if there was one; the next is another fit."""
    write_regression()
    if request.param:
        assert run(["train", "regression.yaml", "model.strength=3"]) == 0
        assert set(files_of_run()) == {"best.ckpt", "config.yaml"}
    return files_of_run()


def test_a_fit_on_a_full_disk_leaves_what_was_there(before: dict[str, bytes]) -> None:
    # Room for the configuration, not for the checkpoint.
    result = train_after("resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "symgnn: cannot write run/best.ckpt: File too large; free space"
    )
    assert result.stderr.count("\n") == 1
    assert files_of_run() == before


@pytest.mark.usefixtures("children_heed_ctrl_c")
@pytest.mark.parametrize("moment", [FITTING, WRITING])
def test_ctrl_c_during_a_fit_leaves_what_was_there(before: dict[str, bytes], moment: str) -> None:
    result = train_with("SIGINT", moment)
    assert result.returncode == 1
    assert result.stderr == "symgnn: interrupted; nothing was written: start it again\n"
    assert files_of_run() == before


def test_what_resume_continues(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "config.yaml", "--resume"]) == 0
    assert capsys.readouterr().err.startswith("nothing to resume in run: a new run begins\n")
    assert run(["train", "run/config.yaml", "--resume"]) == 1
    assert "run is itself the output of a run: to continue that" in complaint(capsys)
    assert not Path("run/run").exists()
    assert run(["train", "config.yaml", "--resume", "epochs=2"]) == 0
    assert "nothing to resume" not in capsys.readouterr().err


def test_a_network_does_not_replace_a_fit(capsys: pytest.CaptureFixture[str]) -> None:
    write_regression()
    assert run(["train", "regression.yaml"]) == 0
    before = files_of_run()
    capsys.readouterr()
    for arguments in ([], ["--resume"]):
        assert run(["train", "config.yaml", *arguments]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error == (
            "symgnn: run holds a run of architecture density_regression, not symgnn: choose another"
            " folder with output=FOLDER, or delete it"
        )
    assert files_of_run() == before


@pytest.mark.parametrize("architecture", ["density_regression", "formula"])
def test_a_fit_does_not_write_where_another_process_trains(
    architecture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_regression()
    if architecture == "formula":
        settings = yaml.safe_load(Path("regression.yaml").read_text())
        settings["model"] = {"architecture": "formula"}
        Path("regression.yaml").write_text(yaml.safe_dump(settings))
    with output_alone(Path("run")):
        assert run(["train", "regression.yaml"]) == 1
        assert "another `symgnn train` works in run" in complaint(capsys)
    assert not Path("run").exists()
    assert run(["train", "regression.yaml"]) == 0


def test_a_fit_that_was_killed_leaves_nothing_after_the_next(before: dict[str, bytes]) -> None:
    assert train_with("SIGKILL", WRITING).returncode == -signal.SIGKILL
    left = files_of_run()
    hidden = [name for name in left if name.startswith(".unfinished-")]
    assert len(hidden) == 2
    assert {name: left[name] for name in left if name not in (*hidden, ".lock")} == before
    assert run(["train", "regression.yaml"]) == 0
    assert set(files_of_run()) == {"best.ckpt", "config.yaml"}
    assert load_config(Path("run/config.yaml")) == load_config(Path("regression.yaml"))
