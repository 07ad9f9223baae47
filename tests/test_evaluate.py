"""`symgnn evaluate`: labels or none, written predictions, the picture, intervals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from symgnn.annotator import Annotator
from symgnn.cli import run
from symgnn.errors import DatasetError
from symgnn.evaluation import evaluate_files
from symgnn.plots.parity import compare_columns
from symgnn.samples import sample_glass
from symgnn.structures import read_structures, write_structures
from symgnn.training.dataset import checksum
from symgnn.training.metrics import bootstrap_over_glasses
from test_cli import complaint
from test_training import labeled_glass
from tiny_model import tiny_metadata, write_tiny_model


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a model, three labeled structures, and one without labels."""
    monkeypatch.chdir(tmp_path)
    write_tiny_model(Path("model.pt"))
    write_structures("pair.xyz", [labeled_glass(1), labeled_glass(2)])
    write_structures("single.xyz", [labeled_glass(3)])
    unlabeled = labeled_glass(4)
    del unlabeled.arrays["energy_barrier"]
    write_structures("unlabeled.xyz", [unlabeled])
    return tmp_path


def test_names_of_files_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Path("single.xyz").rename("single[old]:fire:.xyz")
    assert run(["evaluate", "model.pt", "single[old]:fire:.xyz"]) == 0
    assert "single[old]:fire:.xyz" in capsys.readouterr().out


def scores(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    assert run(["evaluate", "model.pt", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def barriers(seed: int) -> np.ndarray:
    return Annotator("model.pt").predict([labeled_glass(seed)])[0][:, 0]


def test_pooled_each_and_mean_with_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    found = scores(capsys, "pair.xyz", "single.xyz")
    each = found["structures"]
    assert list(each) == ["pair.xyz:0", "pair.xyz:1", "single.xyz"]
    for key in ("pearson", "auc_lowest", "mae"):
        assert found["mean"][key] == pytest.approx(np.mean([row[key] for row in each.values()]))
    expected = bootstrap_over_glasses(
        [barriers(seed) for seed in (1, 2, 3)],
        [labeled_glass(seed).arrays["energy_barrier"] for seed in (1, 2, 3)],
    )
    # Files round positions to 1e-8 Å.
    assert found["intervals"]["mean_pearson"] == pytest.approx(expected.mean_pearson, abs=1e-6)
    assert found["intervals"]["pooled_pearson"] == pytest.approx(expected.pooled_pearson, abs=1e-6)
    assert run(["evaluate", "model.pt", "pair.xyz", "single.xyz"]) == 0
    table = capsys.readouterr().out
    assert "mean of 3" in table
    assert "pooled" in table
    assert "bootstrap intervals over 3 structures" in table


def test_one_structure_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    assert scores(capsys, "single.xyz")["intervals"] is None


def test_structures_without_labels_are_predicted_only(capsys: pytest.CaptureFixture[str]) -> None:
    alone = scores(capsys, "single.xyz")
    both = scores(capsys, "single.xyz", "unlabeled.xyz")
    assert both["pooled"] == alone["pooled"]
    assert both["structures"]["unlabeled.xyz"] is None
    nothing = labeled_glass(4)
    nothing.arrays["energy_barrier"][:] = np.nan
    write_structures("nothing.xyz", [nothing])
    for name in ("unlabeled.xyz", "nothing.xyz"):
        assert scores(capsys, name)["pooled"] is None
        assert run(["evaluate", "model.pt", name]) == 0
        assert "no labels" in capsys.readouterr().out


def test_a_label_that_was_asked_for_must_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "model.pt", "unlabeled.xyz", "--label", "hight"]) == 1
    message = complaint(capsys)
    assert "'hight'" in message
    assert "--label" in message


def test_predictions_are_written_and_labels_survive(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pair.xyz", "unlabeled.xyz", "--predictions", "out"]
    assert run(["evaluate", "model.pt", *arguments]) == 0
    first, second = read_structures("out/pair.xyz")
    (unlabeled,) = read_structures("out/unlabeled.xyz")
    for atoms, seed in ((first, 1), (second, 2), (unlabeled, 4)):
        found = atoms.arrays["energy_barrier"]
        np.testing.assert_allclose(found, barriers(seed), rtol=0, atol=1e-6)
        assert atoms.info["symgnn_model"] == "model"
    label = labeled_glass(2).arrays["energy_barrier"]
    np.testing.assert_allclose(second.arrays["energy_barrier_label"], label, rtol=0, atol=1e-6)
    assert "energy_barrier_label" not in unlabeled.arrays
    again = scores(capsys, "out/pair.xyz", "--label", "energy_barrier_label")
    before = scores(capsys, "pair.xyz")
    assert again["pooled"]["pearson"] == pytest.approx(before["pooled"]["pearson"], abs=1e-6)


@pytest.mark.parametrize("name", ["annotated.xyz", "annotated.dump"])
def test_predictions_are_no_labels_in_any_format(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("glass").mkdir()
    write_structures("glass/glass.xyz", [sample_glass()])
    assert run(["annotate", "glass/glass.xyz", "-o", name]) == 0
    capsys.readouterr()
    assert run(["evaluate", "cuzr-fast", name]) == 1
    assert "predictions of" in complaint(capsys)


@pytest.mark.parametrize("again", ["pair.xyz", "./pair.xyz", "link.xyz", "copy.xyz"])
def test_no_structure_counts_twice(again: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link.xyz").symlink_to("pair.xyz")
    shutil.copy("pair.xyz", "copy.xyz")
    assert run(["evaluate", "model.pt", "pair.xyz", "single.xyz", again]) == 1
    assert f"{Path(again)} is the same as pair.xyz; name every file once" in complaint(capsys)


@pytest.mark.parametrize("label", ["energy_barrier", "dft"])
def test_the_picture_of_written_predictions_has_the_labels_that_were_compared(label: str) -> None:
    atoms = labeled_glass(1)
    atoms.arrays["energy_barrier_label"] = -atoms.arrays["energy_barrier"]  # of another time
    if label != "energy_barrier":
        atoms.arrays[label] = np.cos(np.arange(len(atoms)))
    write_structures("both.xyz", [atoms])
    evaluation = evaluate_files(
        "model.pt", [Path("both.xyz")], label=label, predictions=Path("out")
    )
    again = compare_columns(read_structures("out/both.xyz"), "both.xyz")
    assert evaluation.pooled is not None
    assert again.pooled is not None
    assert again.pooled.pearson == pytest.approx(evaluation.pooled.pearson, abs=1e-6)


def test_what_cannot_be_labels_is_refused_where_it_would_be_replaced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    atoms = labeled_glass(1)
    atoms.arrays["energy_barrier"] = np.zeros((len(atoms), 3))
    write_structures("vectors.xyz", [atoms])
    assert run(["annotate", "vectors.xyz", "-m", "model.pt", "-o", "out.csv"]) == 1
    assert "'energy_barrier' is not one number per atom" in complaint(capsys)
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("std", [False, True])
def test_errors_of_labels_are_not_taken_for_those_of_the_model(std: bool) -> None:
    write_tiny_model(Path("model.pt"), std=std)
    atoms = labeled_glass(1)
    error = np.linspace(0.1, 0.2, len(atoms))
    atoms.arrays["energy_barrier_std"] = error
    write_structures("exported.xyz", [atoms])
    assert run(["evaluate", "model.pt", "exported.xyz", "--predictions", "out"]) == 0
    (found,) = read_structures("out/exported.xyz")
    assert ("energy_barrier_std" in found.arrays) == std
    if std:
        assert not np.allclose(found.arrays["energy_barrier_std"], error)
    np.testing.assert_allclose(found.arrays["energy_barrier_std_label"], error, atol=1e-8)
    again = ["out/exported.xyz", "--label", "energy_barrier_label", "--predictions", "twice"]
    assert run(["evaluate", "model.pt", *again]) == 0
    (found,) = read_structures("twice/exported.xyz")
    np.testing.assert_allclose(found.arrays["energy_barrier_std_label"], error, atol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["single.xyz", "--predictions", "."], "replace the input"),
        (["single.xyz", "other/single.xyz", "--predictions", "out"], "same name"),
        (["single.xyz", "--predictions", "model.pt"], "cannot write"),
        (["single.xyz", "--plot", "picture.doc"], ".png"),
        (["unlabeled.xyz", "--plot", "picture.png"], "no structure has labels"),
        (["single.xyz", "--plot", "missing/picture.png"], "cannot write"),
    ],
)
def test_requests_that_cannot_be_met(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("single.xyz").read_bytes()
    assert run(["evaluate", "model.pt", *arguments]) == 1
    assert word in complaint(capsys)
    assert Path("single.xyz").read_bytes() == before


def width_of(picture: str) -> int:
    with Image.open(picture) as image:
        return image.width


def test_uncertainties_are_checked_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "model.pt", "pair.xyz", "--plot", "parity.png"]) == 0
    write_tiny_model(Path("model.pt"), std=True)
    assert run(["evaluate", "model.pt", "pair.xyz", "--plot", "both.png"]) == 0
    assert width_of("both.png") == 2 * width_of("parity.png")
    assert "in 68%" in capsys.readouterr().out
    found = scores(capsys, "pair.xyz", "unlabeled.xyz")["reliability"]
    assert found["structures"]["unlabeled.xyz"] is None
    barrier, std = Annotator("model.pt").predict([labeled_glass(1)])[0].T
    inside = np.abs(barrier - labeled_glass(1).arrays["energy_barrier"]) <= 1.959964 * std
    first = found["structures"]["pair.xyz:0"]
    assert first["observed"][first["nominal"].index(0.95)] == pytest.approx(inside.mean())


def test_scores_on_the_models_own_data_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    own = {"train": {"a.xyz": checksum(Path("single.xyz"))}, "validation": {"b.xyz": "0" * 64}}
    write_tiny_model(Path("model.pt"), metadata={**tiny_metadata(), "training": {"data": own}})
    shutil.copy("single.xyz", "renamed.xyz")
    assert run(["evaluate", "model.pt", "renamed.xyz", "pair.xyz", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["training_data"] == {"renamed.xyz": "train"}
    assert printed.err.startswith("warning: the model was made with renamed.xyz (train): ")
    assert printed.err.count("\n") == 1
    assert run(["evaluate", "model.pt", "pair.xyz", "unlabeled.xyz"]) == 0
    assert capsys.readouterr().err == ""
    assert scores(capsys, "pair.xyz")["training_data"] == {}


def test_a_model_is_not_scored_against_its_own_predictions(tmp_path: Path) -> None:
    path = tmp_path / "annotated.xyz"
    write_structures(path, [Annotator("cuzr-fast").annotate(sample_glass())])
    with pytest.raises(DatasetError, match="predictions of the model 'cuzr-fast', not labels"):
        evaluate_files("cuzr-fast", [path])
