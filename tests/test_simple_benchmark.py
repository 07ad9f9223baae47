"""What `benchmarks/simple.py` keeps of a glass is never used for another glass, terms or model."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

import simple
from conftest import random_glass
from symgnn.models.formula import Term
from symgnn.structures import write_structures

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

TERMS = [Term(quantity="stretch"), Term(quantity="bonding", value=6.0)]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and a glass, without OVITO."""
    shutil.copy(simple.PRETRAINED / "cuzr-fast.pt", tmp_path)
    monkeypatch.setattr(simple, "PUBLISHED", tmp_path)
    monkeypatch.setattr(simple, "PRETRAINED", tmp_path)
    monkeypatch.setattr(simple, "foreign", lambda atoms: np.zeros((len(atoms), 4)))
    write(tmp_path, random_glass(4, seed=1))
    return tmp_path


def write(place: Path, atoms: Atoms) -> None:
    atoms.arrays["energy_barrier"] = np.full(len(atoms), 1.5)
    write_structures(place / "train0.xyz", [atoms])


def kept(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("*.npz"))


def test_a_glass_is_computed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = simple.read_glass("train0", 0, place, TERMS)
    monkeypatch.delattr(simple, "columns_of")
    again = simple.read_glass("train0", 0, place, TERMS)
    np.testing.assert_array_equal(first.averages, again.averages)
    assert first.averages[0].shape == (64, len(TERMS) + 4)
    assert len(kept(place)) == 1


def test_other_terms_positions_or_models_are_computed_anew(place: Path) -> None:
    first = simple.read_glass("train0", 0, place, TERMS)
    turned = simple.read_glass("train0", 0, place, TERMS[::-1])
    np.testing.assert_array_equal(turned.own[:, :2], first.own[:, 1::-1])
    write(place, random_glass(4, seed=2))
    other = simple.read_glass("train0", 0, place, TERMS)
    assert (other.own != first.own).any()
    with (place / "cuzr-fast.pt").open("ab") as file:
        file.write(b"\0")
    before = kept(place)
    assert simple.recipe(place / "train0.xyz", place / "cuzr-fast.pt", TERMS) not in str(before)
    assert len(before) == 3


def test_an_interrupted_write_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(simple.np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        simple.read_glass("train0", 0, place, TERMS)
    assert sorted(path.name for path in place.iterdir()) == ["cuzr-fast.pt", "train0.xyz"]
