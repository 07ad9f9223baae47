"""Structures that are nearly the same are told from those that are not."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import random_glass
from symgnn.graph import Graph, build_graph
from symgnn.samples import sample_glass
from symgnn.training import relatives
from symgnn.training.relatives import families, shared_neighbors

CUTOFF = 5.0


def graph_of(atoms: Atoms) -> Graph:
    return build_graph(atoms, CUTOFF, ["Cu", "Zr"])


def strained(atoms: Atoms, strain: float) -> Atoms:
    copy = atoms.copy()
    copy.set_cell(copy.cell.array * [1.0 + strain, 1.0, 1.0], scale_atoms=True)
    return copy


def shaken(atoms: Atoms, amplitude: float, seed: int = 0) -> Atoms:
    copy = atoms.copy()
    copy.rattle(amplitude, seed=seed)
    return copy


@pytest.fixture(scope="module")
def glass() -> Atoms:
    return sample_glass()


def test_copies_are_relatives(glass: Atoms) -> None:
    here = graph_of(glass)
    assert shared_neighbors(here, here) == 1.0
    assert shared_neighbors(here, graph_of(strained(glass, 0.04))) > 0.8
    assert shared_neighbors(here, graph_of(shaken(glass, 0.1))) > 0.8


def test_the_same_places_with_other_elements_are_not() -> None:
    first, second = (graph_of(random_glass(6, seed=seed)) for seed in (1, 2))
    assert shared_neighbors(first, second) < 0.4


def test_another_size_or_no_edges_has_nothing_in_common(glass: Atoms) -> None:
    assert shared_neighbors(graph_of(glass), graph_of(glass[:-1])) == 0.0
    alone = graph_of(Atoms("Cu2", positions=[[0, 0, 0], [20, 0, 0]], cell=[40, 40, 40], pbc=True))
    assert shared_neighbors(alone, alone) == 0.0


@settings(max_examples=10, deadline=None)
@given(st.permutations([0, 0, 0, 1, 1, 2]), st.integers(0, 99))
def test_families(kinds: list[int], seed: int) -> None:
    glasses = [
        graph_of(shaken(random_glass(6, seed=kind), 0.05, seed=seed + number))
        for number, kind in enumerate(kinds)
    ]
    found = families(glasses)
    for a, b in np.ndindex(6, 6):
        assert (found[a] == found[b]) == (kinds[a] == kinds[b])
    assert found[0] == 0
    assert sorted(set(found)) == [0, 1, 2]


@pytest.mark.parametrize(("moved", "share", "found"), [(148, 0.52, [0, 0]), (166, 0.47, [0, 1])])
def test_relatives_have_more_than_half_of_their_pairs_in_common(
    moved: int, share: float, found: list[int]
) -> None:
    """Some of the 512 atoms of a glass change their places, and so their neighbors."""
    glass = random_glass(8, seed=1)
    other = glass.copy()
    places = np.random.default_rng(0).permutation(len(glass))[:moved]
    other.positions[places] = np.roll(other.positions[places], 1, axis=0)
    pair = [graph_of(glass), graph_of(other)]
    assert shared_neighbors(*pair) == pytest.approx(share, abs=0.01)
    assert families(pair) == found


def test_neighbors_are_searched_once_for_each_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [graph_of(random_glass(4, seed=seed)) for seed in range(6)]
    seen = []
    search = relatives._nearest_pairs
    monkeypatch.setattr(relatives, "_nearest_pairs", lambda graph: seen.append(1) or search(graph))
    assert families(graphs) == list(range(6))
    assert len(seen) == 6


def test_no_structures() -> None:
    assert families([]) == []
