"""Explanations survive their file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from symgnn.errors import SymGNNError
from symgnn.explain import (
    Explanation,
    Fidelity,
    Provenance,
    read_explanations,
    read_provenance,
    write_explanations,
)

if TYPE_CHECKING:
    from pathlib import Path

PROVENANCE = Provenance(
    "0.1.0",
    {"name": "cuzr-fast", "sha256": "0" * 64},
    {"file": "glass.xyz", "atoms": 9, "sha256": "1" * 64},
    {"steps": 3},
    5,
)


def explanation(atom: int, edges: int) -> Explanation:
    generator = np.random.default_rng(atom)
    leave_one_out = generator.normal(size=4)
    leave_one_out[0] = np.nan
    return Explanation(
        atom,
        1.5,
        np.array([atom, 2, 3, 2]),
        generator.normal(size=(4, 3)),
        np.sort(generator.integers(4, size=(edges, 2)), axis=0),
        generator.random(edges),
        generator.normal(size=edges),
        leave_one_out,
        Fidelity(*generator.random((5, 3))),
    )


@pytest.mark.parametrize("name", ["e.json", "e.json.gz"])
def test_the_file_holds_what_was_written(tmp_path: Path, name: str) -> None:
    written = [explanation(7, 5), explanation(8, 0)]
    write_explanations(tmp_path / name, written, PROVENANCE)
    found = read_explanations(tmp_path / name)
    assert read_provenance(tmp_path / name) == PROVENANCE
    assert [item.atom for item in found] == [7, 8]
    for new, old in zip(found, written, strict=True):
        for field in ("atoms", "edges"):
            np.testing.assert_array_equal(getattr(new, field), getattr(old, field))
        for field in ("positions", "importance", "integrated_gradients", "leave_one_out"):
            np.testing.assert_allclose(getattr(new, field), getattr(old, field), atol=1e-7)
        np.testing.assert_allclose(new.fidelity.drop, old.fidelity.drop, atol=1e-7)
        assert np.isnan(new.stability)
        assert new.edges.shape == old.edges.shape


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    write_explanations(tmp_path / "e.json", [explanation(7, 5)], PROVENANCE)
    content = json.loads((tmp_path / "e.json").read_text())
    assert {"symgnn", "model", "structure", "settings", "seed", "explanations"} <= content.keys()
    assert content["explanations"][0]["leave_one_out"][0] is None


def test_importance_of_atoms_is_that_of_the_edges_they_send_along() -> None:
    item = explanation(7, 5)
    edges = np.array([[0, 1], [0, 2], [1, 2]])
    item = Explanation(**{**item.__dict__, "edges": edges, "importance": np.array([0.2, 0.3, 0.9])})
    np.testing.assert_array_equal(item.atom_importance, [0, 0.2, 0.9, 0])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": 99}', "no json"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(SymGNNError, match="no explanations of this version"):
        read_explanations(tmp_path / "e.json")
    with pytest.raises(SymGNNError, match="no explanations of this version"):
        read_provenance(tmp_path / "e.json")
    with pytest.raises(SymGNNError, match="cannot read"):
        read_explanations(tmp_path / "missing.json")


@pytest.mark.parametrize("name", ["fidelity", "atoms", "positions", "stability", "edges"])
@pytest.mark.parametrize("value", [None, "text", {}])
def test_damaged_files_are_refused(tmp_path: Path, name: str, value: object) -> None:
    write_explanations(tmp_path / "e.json", [explanation(7, 5)], PROVENANCE)
    content = json.loads((tmp_path / "e.json").read_text())
    del content["explanations"][0][name]
    if value is not None:
        content["explanations"][0][name] = value
    (tmp_path / "e.json").write_text(json.dumps(content))
    with pytest.raises(SymGNNError, match="no explanations of this version"):
        read_explanations(tmp_path / "e.json")
