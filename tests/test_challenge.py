"""`symgnn challenge`: what is packed can be verified, submitted to, and scored."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import random_glass
from symgnn.challenge.folder import read_labels, write_checksums
from symgnn.challenge.score import compare, noise_ceiling, score
from symgnn.challenge.submission import Prediction, read_submission, write_submission
from symgnn.cli import run
from symgnn.structures import read_structures, write_structures
from symgnn.training.metrics import compute_metrics
from tiny_regression import coordination, write_labeled

if TYPE_CHECKING:
    from pathlib import Path

    from symgnn.challenge.folder import Labels

TRAIN, HIDDEN = ("slow", "quick", "old"), ("new",)


@pytest.fixture(scope="module")
def glasses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small glasses whose barriers follow from coordination, with noise of 0.05 eV."""
    folder = tmp_path_factory.mktemp("glasses")
    for seed, name in enumerate((*TRAIN, *HIDDEN)):
        atoms = random_glass(4, seed)
        noise = 0.05 * np.random.default_rng(seed).standard_normal(len(atoms))
        label = coordination(atoms) + 0.2 * (atoms.symbols == "Zr") + noise
        label[5] = np.nan
        write_labeled(folder / f"{name}.xyz", [atoms], [label])
    return folder


def pack(glasses: Path, folder: Path, *options: str) -> int:
    train = [str(glasses / f"{name}.xyz") for name in TRAIN]
    hidden = [word for name in HIDDEN for word in ("--hidden", str(glasses / f"{name}.xyz"))]
    return run(["challenge", "pack", *train, *hidden, "-o", str(folder), *options])


@pytest.fixture(scope="module")
def challenge(glasses: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "challenge"
    assert pack(glasses, folder, "--label-std", "0.05", "--license", "CC0-1.0") == 0
    return folder


@pytest.fixture(scope="module")
def labels(challenge: Path) -> Labels:
    return read_labels(challenge.with_name("challenge-labels.xyz"))


@pytest.fixture(scope="module")
def open_labels(challenge: Path) -> Labels:
    return read_labels(challenge)


def perfect(labels: Labels) -> dict[str, Prediction]:
    return {
        name: Prediction(np.nan_to_num(atoms.arrays["energy_barrier"], nan=1.0), None)
        for name, atoms in labels.structures.items()
    }


def contents(folder: Path) -> dict[str, bytes]:
    files = [*folder.rglob("*"), folder.with_name(f"{folder.name}-labels.xyz")]
    return {
        str(file.relative_to(folder.parent)): file.read_bytes() for file in files if file.is_file()
    }


def test_the_same_inputs_give_the_same_bytes(
    glasses: Path, challenge: Path, tmp_path: Path
) -> None:
    again = tmp_path / "challenge"
    assert pack(glasses, again, "--label-std", "0.05", "--license", "CC0-1.0") == 0
    assert contents(again) == contents(challenge)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_folder_tells_hidden_structures_but_not_their_labels(
    glasses: Path, challenge: Path
) -> None:
    (atoms,) = read_structures(challenge / "held_out" / "new.xyz")
    (source,) = read_structures(glasses / "new.xyz")
    np.testing.assert_allclose(atoms.positions, source.positions, atol=1e-7)
    assert set(atoms.arrays) == {"numbers", "positions"}
    about = json.loads((challenge / "challenge.json").read_text())
    assert set(about["structures"]["new"]) == {
        "part", "atoms", "composition", "volume", "labeled", "source_sha256",
    }  # fmt: skip
    scores = {"pooled_pearson", "mean_pearson", "mean_spearman", "mean_mae"}
    assert set(about["baseline"]["scores"]["held_out"]) == scores
    assert "CC0-1.0" in (challenge / "DATASHEET.md").read_text()
    splits = json.loads((challenge / "splits.json").read_text())
    for fold in splits["cross_validation"]:
        assert sorted([fold["predict"], *fold["train"]]) == sorted(TRAIN)
    assert splits["held_out"] == {"predict": ["new"], "train": sorted(TRAIN)}


@pytest.mark.parametrize("track", ["cross_validation", "held_out"])
def test_the_example_scores_like_the_baseline(
    track: str, challenge: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    example = str(challenge / f"example_{track}.csv")
    hidden = challenge.with_name("challenge-labels.xyz")
    place = str(challenge if track == "cross_validation" else hidden)
    output = tmp_path / "scores.json"
    assert run(["challenge", "score", example, "--labels", place, "-o", str(output)]) == 0
    shown = capsys.readouterr().out
    scores = json.loads(output.read_text())
    pearson = scores["submission"]["pooled"]["pearson"]
    assert scores["baseline"]["pooled"]["pearson"] == pytest.approx(pearson, abs=1e-5)
    assert f"submission: Pearson {pearson:.4f} pooled" in shown
    assert f"ceiling by the noise of labels: Pearson {scores['ceiling']['pooled']:.4f}" in shown
    published = json.loads((challenge / "challenge.json").read_text())["baseline"]["scores"]
    part = "train" if track == "cross_validation" else track
    assert published[part]["pooled_pearson"] == pytest.approx(pearson, abs=1e-4)
    assert "reliability" in scores["submission"]  # element means state their spread


def test_the_baseline_predicts_no_structure_from_its_own_labels(
    challenge: Path, open_labels: Labels
) -> None:
    example = read_submission([challenge / "example_cross_validation.csv"], open_labels)
    for name, atoms in open_labels.structures.items():
        others = [other for key, other in open_labels.structures.items() if key != name]
        labels = [other.arrays["energy_barrier"][other.symbols == "Cu"] for other in others]
        copper = example[name].barrier[atoms.symbols == "Cu"]
        assert copper == pytest.approx(np.nanmean(np.concatenate(labels)), abs=1e-6)


@pytest.fixture(scope="module")
def later(glasses: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The glass ``quick`` a moment later, with labels that tell those of the first."""
    (atoms,) = read_structures(glasses / "quick.xyz")
    atoms.rattle(0.05, seed=7)
    path = tmp_path_factory.mktemp("later") / "later.xyz"
    write_structures(path, [atoms])
    return path


def test_nearly_the_same_structures_are_left_out_together(
    glasses: Path, later: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "challenge"
    files = [str(glasses / "old.xyz"), str(glasses / "quick.xyz"), str(later)]
    assert run(["challenge", "pack", *files, "-o", str(folder)]) == 0
    assert "later, quick: nearly the same structure, and left out" in capsys.readouterr().err
    splits = json.loads((folder / "splits.json").read_text())
    assert {fold["predict"]: fold["train"] for fold in splits["cross_validation"]} == {
        "later": ["old"],
        "old": ["later", "quick"],
        "quick": ["old"],
    }
    found = read_labels(folder)
    example = read_submission([folder / "example_cross_validation.csv"], found)
    old = found.structures["old"]
    expected = np.nanmean(old.arrays["energy_barrier"][old.symbols == "Cu"])
    for name in ("later", "quick"):
        copper = example[name].barrier[found.structures[name].symbols == "Cu"]
        assert copper == pytest.approx(expected, abs=1e-6)


def test_relatives_alone_are_one_structure(
    glasses: Path, later: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(glasses / "quick.xyz"), str(later)]
    line = complaint(capsys, "pack", *files, "-o", str(tmp_path / "challenge"))
    assert "later, quick: all are nearly the same structure; add another glass" in line
    words = [*files, "--hidden", str(glasses / "old.xyz"), "-o", str(tmp_path / "challenge")]
    assert run(["challenge", "pack", *words]) == 0
    splits = json.loads((tmp_path / "challenge" / "splits.json").read_text())
    assert splits["cross_validation"] == []


def test_a_hidden_structure_has_no_open_relative(
    glasses: Path, later: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(glasses / "old.xyz"), str(glasses / "quick.xyz"), "--hidden", str(later)]
    line = complaint(capsys, "pack", *files, "-o", str(tmp_path / "challenge"))
    assert "later is nearly the same structure as quick, whose labels are open" in line
    assert list(tmp_path.iterdir()) == []


def test_a_challenge_with_the_folds_of_before_is_scored_as_before(
    glasses: Path, later: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "challenge"
    files = [str(glasses / "old.xyz"), str(glasses / "quick.xyz"), str(later)]
    assert run(["challenge", "pack", *files, "-o", str(folder)]) == 0
    splits = json.loads((folder / "splits.json").read_text())
    for fold in splits["cross_validation"]:  # each without itself alone
        fold["train"] = sorted({"later", "old", "quick"} - {fold["predict"]})
    (folder / "splits.json").write_text(json.dumps(splits))
    (folder / "checksums.txt").unlink()
    write_checksums(folder)
    assert run(["challenge", "verify", str(folder)]) == 0
    assert score([folder / "example_cross_validation.csv"], folder).baseline is not None


def test_density_regression_beats_element_means(
    glasses: Path, tmp_path: Path, challenge: Path
) -> None:
    folder = tmp_path / "challenge"
    assert pack(glasses, folder, "--baseline", "density_regression") == 0
    scores = [
        json.loads((path / "challenge.json").read_text())["baseline"]["scores"]["train"]
        for path in (folder, challenge)
    ]
    assert scores[0]["mean_pearson"] > scores[1]["mean_pearson"] + 0.1
    assert (
        score([folder / "example_held_out.csv"], tmp_path / "challenge-labels.xyz").ceiling is None
    )


# --- the scorer -------------------------------------------------------------------------------


def test_a_perfect_prediction_scores_one(labels: Labels, open_labels: Labels) -> None:
    for track in (labels, open_labels):
        found = compare(perfect(track), track)
        assert found.pooled is not None
        assert found.pooled.pearson == pytest.approx(1.0)
        assert found.pooled.spearman == pytest.approx(1.0)
        assert (found.pooled.auc_lowest, found.pooled.auc_highest) == (1.0, 1.0)
        assert found.pooled.mae == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stated=st.booleans())
def test_the_order_of_rows_does_not_matter(
    open_labels: Labels, tmp_path_factory: pytest.TempPathFactory, seed: int, stated: bool
) -> None:
    generator = np.random.default_rng(seed)
    predictions = {}
    for name, prediction in perfect(open_labels).items():
        barrier = prediction.barrier + generator.normal(0, 0.1, len(prediction.barrier))
        std = generator.uniform(0.05, 0.5, len(barrier)) if stated else None
        predictions[name] = Prediction(barrier, std)
    folder = tmp_path_factory.mktemp("submission")
    write_submission(folder / "a.csv", open_labels.challenge, predictions)
    mark, header, *rows = (folder / "a.csv").read_text().splitlines()
    shuffled = [rows[index] for index in generator.permutation(len(rows))]
    half = len(rows) // 2
    (folder / "b.csv").write_text("\n".join([mark, header, *shuffled]))
    (folder / "c.csv").write_text("\n".join([mark, header, *shuffled[:half]]))
    (folder / "d.csv").write_text("\r\n".join([mark, header, *shuffled[half:], ""]))
    expected, *others = (
        compare(read_submission([folder / name for name in names], open_labels), open_labels)
        for names in (["a.csv"], ["b.csv"], ["d.csv", "c.csv"])
    )
    for other in others:
        assert other.as_dict() == expected.as_dict()
    assert (expected.pooled_reliability is not None) == stated


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.1, 10.0), shift=st.floats(-5.0, 5.0), seed=st.integers(0, 2**32 - 1))
def test_a_straight_line_keeps_correlations(
    open_labels: Labels, scale: float, shift: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    noisy = {
        name: prediction.barrier + generator.normal(0, 0.1, len(prediction.barrier))
        for name, prediction in perfect(open_labels).items()
    }
    one = compare({name: Prediction(values, None) for name, values in noisy.items()}, open_labels)
    lined = {name: Prediction(scale * values + shift, None) for name, values in noisy.items()}
    two = compare(lined, open_labels)
    assert one.mean is not None
    assert two.mean is not None
    for name in ("pearson", "spearman", "auc_lowest", "auc_highest"):
        assert two.mean[name] == pytest.approx(one.mean[name], abs=1e-6)


def test_true_means_reach_the_ceiling_of_noisy_labels() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(1.5, 0.3, 50_000)
    atoms = random_glass(1, seed=0) * (50_000, 1, 1)
    atoms.arrays["energy_barrier"] = truth + generator.normal(0, 0.15, len(truth))
    atoms.arrays["energy_barrier_std"] = np.full(len(truth), 0.15)
    pearson = compute_metrics(truth, atoms.arrays["energy_barrier"]).pearson
    found = noise_ceiling({"pooled": atoms, "other": atoms})
    assert found is not None
    assert set(found.structures) == {"pooled", "other"}
    for value in (*found.structures.values(), found.pooled):
        assert value == pytest.approx(pearson, abs=3e-3)  # five standard errors


def test_structures_with_predicted_columns_score_like_csv(
    labels: Labels, challenge: Path, tmp_path: Path
) -> None:
    (atoms,) = read_structures(challenge / "held_out" / "new.xyz")
    atoms.arrays["energy_barrier"] = perfect(labels)["new"].barrier
    write_structures(tmp_path / "new.xyz", [atoms])
    place = challenge.with_name("challenge-labels.xyz")
    found = score([tmp_path / "new.xyz"], place).submission.pooled
    assert found is not None
    assert found.pearson == pytest.approx(1.0)
    atoms.positions[[0, 1]] = atoms.positions[[1, 0]]
    write_structures(tmp_path / "swapped.xyz", [atoms])
    arguments = ["challenge", "score", str(tmp_path / "swapped.xyz"), "--labels", str(place)]
    assert run(arguments) == 1
    atoms.positions[[0, 1]] = atoms.positions[[1, 0]]
    atoms.positions[:] = np.nan
    write_structures(tmp_path / "swapped.xyz", [atoms], format="extxyz")
    assert run(arguments) == 1


# --- what is refused --------------------------------------------------------------------------


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["challenge", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "does not say which challenge it is for"),
        (lambda rows: ["# challenge: symgnn-challenge-0", *rows[1:]], "is for symgnn-challenge-0,"),
        (lambda rows: rows[:-2], "lacks 2 of 64 atoms of new, the first is 62"),
        (lambda rows: [*rows, rows[-1]], "line 67: atom 63 of new is predicted twice"),
        (lambda rows: [*rows, "other,0,1.0,0.1"], "line 67: there is no structure 'other'"),
        (lambda rows: [*rows, "new,64,1.0,0.1"], "line 67: the atoms of new have numbers 0 to 63"),
        (lambda rows: [*rows[:-1], "new,63,nan,0.1"], "line 66: energy_barrier is nan, not a fin"),
        (lambda rows: [*rows[:-1], "new,63,1.0,0"], "line 66: energy_barrier_std is 0.0, not abo"),
        (lambda rows: [*rows[:-1], "new,63,1.0"], "line 66: one value for each column"),
        (lambda rows: [*rows[:-1], "new,63.5,1.0,1.0"], "line 66: one value for each column"),
        (lambda rows: [rows[0], "a,b", *rows[2:]], "the columns are a, b; write structure, atom"),
        (lambda _: [], "does not say which challenge it is for"),
        (lambda rows: [*rows[:2], '"' + 200_000 * "a"], "is no CSV file: field larger than"),
    ],
)
def test_a_wrong_submission_is_one_line(
    change: object,
    message: str,
    challenge: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = (challenge / "example_held_out.csv").read_text().splitlines()
    (tmp_path / "wrong.csv").write_text("\n".join(change(rows)))
    place = challenge.with_name("challenge-labels.xyz")
    line = complaint(capsys, "score", str(tmp_path / "wrong.csv"), "--labels", str(place))
    assert message in line


def test_scores_never_replace_what_they_are_made_from(
    challenge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submission, labels = tmp_path / "mine.csv", tmp_path / "labels.xyz"
    shutil.copy(challenge / "example_held_out.csv", submission)
    shutil.copy(challenge.with_name("challenge-labels.xyz"), labels)
    before = submission.read_bytes(), labels.read_bytes()
    for output in (submission, labels):
        words = ["score", str(submission), "--labels", str(labels), "-o", str(output)]
        assert "would replace" in complaint(capsys, *words)
    assert (submission.read_bytes(), labels.read_bytes()) == before


def test_a_changed_folder_is_found(
    glasses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "challenge"
    assert pack(glasses, folder) == 0
    (folder / "my_submission.csv").write_text("beside the data, and nobody minds")
    assert run(["challenge", "verify", str(folder)]) == 0
    checksums = subprocess.run(["sha256sum", "--check", "checksums.txt"], cwd=folder, check=False)
    assert checksums.returncode == 0
    capsys.readouterr()
    file = folder / "train" / "old.xyz"
    packed = file.read_text()
    file.write_text(packed.replace("1.", "2.", 1))
    assert "old.xyz is not what was packed" in complaint(capsys, "verify", str(folder))
    example = str(folder / "example_cross_validation.csv")
    assert "not what was packed" in complaint(capsys, "score", example, "--labels", str(folder))
    file.unlink()
    assert "old.xyz is missing" in complaint(capsys, "verify", str(folder))
    file.write_text(packed)
    (folder / "train" / "more.xyz").write_text(packed)
    assert "more.xyz is not part of" in complaint(capsys, "verify", str(folder))
    assert "is what `symgnn challenge pack` wrote" in complaint(
        capsys, "verify", str(tmp_path)
    ).replace(f"is {tmp_path} what", "is what")
    (folder / "train" / "more.xyz").unlink()
    # A file and its checksum, both changed: the name of the challenge no longer fits.
    file.write_text(packed.replace("1.", "2.", 1))
    (folder / "checksums.txt").unlink()
    write_checksums(folder)
    assert "does not hold the data of" in complaint(capsys, "verify", str(folder))


def test_a_letter_is_a_name(glasses: Path, tmp_path: Path) -> None:
    for name, source in (("a", "old"), ("pooled", "quick")):
        (tmp_path / f"{name}.xyz").write_bytes((glasses / f"{source}.xyz").read_bytes())
    files = [str(tmp_path / f"{name}.xyz") for name in ("a", "pooled")]
    folder = tmp_path / "new" / "challenge"
    assert run(["challenge", "pack", *files, "-o", str(folder), "--label-std", "0.05"]) == 0
    found = score([folder / "example_cross_validation.csv"], folder).ceiling
    assert found is not None
    assert set(found.structures) == {"a", "pooled"}


def test_what_cannot_be_packed_is_one_line(
    glasses: Path, challenge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = str(glasses / "old.xyz"), str(glasses / "quick.xyz")
    output = ("-o", str(tmp_path / "new" / "folder" / "out"))
    assert "exists: choose another name" in complaint(capsys, "pack", one, "-o", str(challenge))
    assert "needs a training structure and another" in complaint(capsys, "pack", one, *output)
    assert "both would be the structure 'old'" in complaint(capsys, "pack", one, one, *output)
    assert "rename the file" in complaint(capsys, "pack", one, str(tmp_path / "2.xyz"), *output)
    (copy := tmp_path / "copy.xyz").write_bytes((glasses / "old.xyz").read_bytes())
    assert "has the atoms of" in complaint(capsys, "pack", one, "--hidden", str(copy), *output)
    assert "no baseline 'best'" in complaint(
        capsys, "pack", one, two, "--baseline", "best", *output
    )
    bare = tmp_path / "bare.xyz"
    write_structures(bare, [random_glass(4, seed=9)])
    assert "no per-atom column 'energy_barrier'" in complaint(
        capsys, "pack", one, str(bare), *output
    )
    for name in ("place", "cell"):
        (atoms,) = read_structures(glasses / "quick.xyz")
        (atoms.positions if name == "place" else atoms.cell)[1, 2] = np.nan
        write(tmp_path / f"{name}.xyz", atoms, format="extxyz")
    assert (
        "place.xyz: 1 atoms have positions that are not finite numbers, the first at index 1"
        in (complaint(capsys, "pack", one, str(tmp_path / "place.xyz"), *output))
    )
    assert "the cell has entries that are not finite" in complaint(
        capsys, "pack", one, "--hidden", str(tmp_path / "cell.xyz"), *output
    )
    assert "holds no labels of a challenge" in complaint(capsys, "score", one, "--labels", one)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["bare.xyz", "cell.xyz", "copy.xyz", "place.xyz"]
