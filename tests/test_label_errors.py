"""Labels with standard errors: the uncertain ones count less, in every kind of fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_glass
from symgnn.errors import DatasetError
from symgnn.graph import build_graph
from symgnn.structures import write_structures
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import parse_config
from symgnn.training.dataset import weights
from symgnn.training.formula import fit_formula
from symgnn.training.loop import train
from symgnn.training.regression import fit
from tiny_regression import coordination

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

GLASSES = [random_glass(5, seed) for seed in range(4)]
UNSEEN = random_glass(5, seed=9)
TERMS = [
    {"quantity": "count", "value": 1.25},
    {"quantity": "count", "value": 1.2, "neighbors": "Zr"},
]
MODELS: dict[str, dict[str, Any]] = {
    "density regression": {"model": {"architecture": "density_regression", "shells": [3.7]}},
    "formula": {"model": {"architecture": "formula", "cutoff": 6.0, "terms": TERMS}},
    "network": {
        "model": {"width": 8, "heads": [2, 1], "dropout": 0.0},
        "data": {"validation": ["validation.xyz"]},
        "optimizer": {"learning_rate": 0.01},
        "epochs": 12,
    },
}


def write(path: Path, noise: float, error: Any = None, seed: int = 0) -> None:
    """Glasses with labels every other of which is wrong by ``noise`` eV, and says so."""
    generator = np.random.default_rng(seed)
    structures = [atoms.copy() for atoms in GLASSES]
    for atoms in structures:
        wrong = np.where(np.arange(len(atoms)) % 2, noise, 0.0)
        atoms.arrays["energy_barrier"] = coordination(atoms) + wrong * generator.normal(
            size=len(atoms)
        )
        atoms.arrays["error"] = wrong if error is None else np.full(len(atoms), error)
    write_structures(path, structures)


def predicted(folder: Path, kind: str, label_error: str | None, atoms: Atoms) -> np.ndarray:
    """Barriers [N] of a model that learned from ``train.xyz`` of a folder."""
    changes = MODELS[kind]
    data = {"train": ["train.xyz"], "label_error": label_error, **changes.get("data", {})}
    values = {"device": "cpu", "threads": 1, **changes, "data": data, "output": str(label_error)}
    run: Any = {"density regression": fit, "formula": fit_formula, "network": train}[kind]
    result = run(parse_config(values, "test"), base=folder)
    model = restore_model(load_checkpoint(result.best), str(result.best)).eval()
    dtype = torch.float64 if kind == "formula" else torch.float32
    graph = build_graph(atoms, model.config.cutoff, ["Cu", "Zr"], dtype=dtype)
    torch.manual_seed(0)  # of the rotations that a network averages over
    with torch.inference_mode():
        barrier: np.ndarray = model(*graph.inputs)[:, 0].numpy()
    return barrier


@pytest.mark.parametrize("kind", MODELS)
def test_uncertain_labels_disturb_less(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "train.xyz", noise=1.0)
    write(tmp_path / "validation.xyz", noise=0.0)
    truth = coordination(UNSEEN)
    wrong = {
        column: np.sqrt(np.mean((predicted(tmp_path, kind, column, UNSEEN) - truth) ** 2))
        for column in (None, "error")
    }
    assert wrong["error"] < 0.8 * wrong[None]


@pytest.mark.parametrize("kind", MODELS)
def test_equal_errors_change_nothing(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "train.xyz", noise=0.1, error=0.3)
    write(tmp_path / "validation.xyz", noise=0.0)
    first, second = (predicted(tmp_path, kind, column, UNSEEN) for column in (None, "error"))
    np.testing.assert_allclose(first, second, rtol=0.0, atol=2e-5)


@given(st.integers(0, 10**6), st.floats(0.0, 10.0))
def test_weights(seed: int, largest: float) -> None:
    """One on average, none without a label, and the smaller the larger the error."""
    generator = np.random.default_rng(seed)
    labels = [generator.normal(3.0 * k, 1.0, 30) for k in (0, 1)]
    errors = [largest * generator.random(30) for _ in labels]
    labels[0][:5] = np.nan
    errors[0][:3] = np.nan
    first, second = weights(labels, errors)
    assert (first[:5] == 0.0).all()
    weight, error = np.concatenate([first[5:], second]), np.concatenate([errors[0][5:], errors[1]])
    assert weight.mean() == pytest.approx(1.0)
    assert (np.diff(weight[np.argsort(error)]) <= 1e-12).all()


def test_weights_of_equal_labels_are_equal() -> None:
    (weight,) = weights([np.ones(4)], [np.array([0.1, 0.2, 0.3, 0.4])])
    assert (weight == 1.0).all()


def test_a_label_twice_as_real_counts_twice() -> None:
    """The share s² / (s² + error²) with s² the variance beyond the errors, in all structures."""
    labels = [np.array([0.0, 2.0]), np.array([5.0, 7.0])]
    errors = [np.zeros(2), np.full(2, 0.5**0.5)]
    # Within structures the variance is 1, the mean square error 1/4, and so s² 3/4.
    certain, uncertain = weights(labels, errors)
    np.testing.assert_allclose(certain, 1.0 / 0.8)
    np.testing.assert_allclose(uncertain, 0.6 / 0.8)


def test_validation_needs_no_errors(tmp_path: Path) -> None:
    write(tmp_path / "train.xyz", noise=0.1)
    structures = [atoms.copy() for atoms in GLASSES]
    for atoms in structures:
        atoms.arrays["energy_barrier"] = coordination(atoms)
    write_structures(tmp_path / "validation.xyz", structures)
    data = {"train": ["train.xyz"], "validation": ["validation.xyz"], "label_error": "error"}
    config = parse_config({"device": "cpu", **MODELS["formula"], "data": data}, "test")
    assert fit_formula(config, base=tmp_path).validation is not None


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (None, r"no per-atom column 'error' \(columns there: energy_barrier\)"),
        (-0.1, "not a standard error for each label"),
        (np.nan, "not a standard error for each label"),
        (np.inf, "not a standard error for each label"),
    ],
)
def test_wrong_errors_are_one_line(tmp_path: Path, errors: float | None, words: str) -> None:
    write(tmp_path / "train.xyz", noise=0.1, error=errors)
    if errors is None:
        structures = [atoms.copy() for atoms in GLASSES]
        for atoms in structures:
            atoms.arrays["energy_barrier"] = coordination(atoms)
        write_structures(tmp_path / "train.xyz", structures)
    with pytest.raises(DatasetError, match=words) as caught:
        predicted(tmp_path, "formula", "error", UNSEEN)
    assert "\n" not in str(caught.value)
