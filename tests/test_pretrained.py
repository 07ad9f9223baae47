"""The model that ships keeps what its card promises."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import symgnn
from symgnn import Annotator
from symgnn.evaluation import evaluate_files
from symgnn.samples import sample_glass

PRETRAINED = Path(symgnn.__file__).parent / "pretrained"


@pytest.fixture(scope="module")
def cuzr() -> Annotator:
    return Annotator("cuzr")


def test_every_model_is_small_and_has_a_card_with_its_checksum():
    models = list(PRETRAINED.glob("*.pt"))
    assert [model.stem for model in models] == ["cuzr"]
    for model in models:
        assert model.stat().st_size < 2_000_000
        card = model.with_suffix(".md").read_text(encoding="utf-8")
        assert hashlib.sha256(model.read_bytes()).hexdigest() in card
        for section in ("## Data", "## Scores", "## Invariance", "## Limits"):
            assert section in card


def test_metadata_say_what_it_was_trained_on(cuzr):
    training = cuzr.metadata["training"]
    assert cuzr.elements == ["Cu", "Zr"]
    assert len(training["data"]["train"]) == 6
    assert [Path(name).name for name in training["data"]["validation"]] == ["validation.xyz"]
    assert all(len(checksum) == 64 for checksum in training["data"]["train"].values())
    assert training["validation"]["pearson"] >= 0.55


def test_barriers_of_the_sample_glass_are_those_of_a_glass(cuzr):
    barriers = cuzr.annotate(sample_glass()).arrays["energy_barrier"]
    # The published glasses have means of 1.29 to 1.83 eV and a spread of labels near 0.28 eV.
    assert 1.2 < barriers.mean() < 1.9
    assert 0.05 < barriers.std() < 0.4


def test_rotation_and_reflection_change_nothing(cuzr):
    atoms = sample_glass()
    reference = cuzr.annotate(atoms).arrays["energy_barrier"]
    turned = atoms.copy()
    turned.rotate(37.0, (1.0, 2.0, 3.0), rotate_cell=True)
    turned.positions *= -1.0
    turned.set_cell(-turned.cell.array)
    moved = turned.copy()
    moved.positions += [3.0, -40.0, 11.0]
    for other in (turned, moved):
        barriers = cuzr.annotate(other).arrays["energy_barrier"]
        np.testing.assert_allclose(barriers, reference, rtol=0, atol=2e-5)


def test_validation_score(shared):
    evaluation = evaluate_files("cuzr", [shared / "cuzr-barriers" / "validation.xyz"])
    assert evaluation.pooled.atoms == 8000
    assert evaluation.pooled.pearson >= 0.55
    stated = Annotator("cuzr").metadata["training"]["validation"]["pearson"]
    assert evaluation.pooled.pearson == pytest.approx(stated, abs=1e-4)
