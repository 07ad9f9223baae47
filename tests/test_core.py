"""The two neighbor lists, C++ and Python, find exactly the pairs that ASE finds."""

from __future__ import annotations

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from symgnn import _core
from symgnn.errors import StructureError
from symgnn.graph import neighbor_list

Cell = NDArray[np.float64]


def sorted_edges(i, j, vector):
    """Edges in an order that rounding of the vectors cannot change."""
    rounded = np.round(vector, 6) + 0.0  # no negative zero
    order = np.lexsort((*rounded.T, j, i))
    return np.stack((i[order], j[order])), vector[order]


@st.composite
def clusters(draw):
    """Random atoms in any cell: triclinic, partly periodic, tiny, with atoms far outside."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    pbc = np.array(draw(st.tuples(st.booleans(), st.booleans(), st.booleans())))
    size = draw(st.sampled_from([1.5, 3.0, 8.0]))
    cell = np.eye(3) * size + generator.uniform(-0.45, 0.45, (3, 3)) * size
    count = draw(st.integers(1, 8))
    outside = draw(st.sampled_from([1.0, 3.0, 20.0]))
    positions = generator.uniform(-outside, outside, (count, 3)) @ cell
    cutoff = draw(st.floats(0.8, 5.0))
    assume(abs(np.linalg.det(cell)) > 0.05 * size**3)
    return positions, cell, pbc, cutoff


@settings(deadline=None, max_examples=60)
@given(clusters())
def test_edges_are_those_of_ase(cluster) -> None:
    positions, cell, pbc, cutoff = cluster
    i, j, vector = primitive_neighbor_list("ijD", pbc, cell, positions, cutoff)
    distances = np.linalg.norm(vector, axis=1)
    assume(not np.any(np.abs(distances - cutoff) < 1e-9))
    expected_index, expected_vector = sorted_edges(i, j, vector)

    index, vector = _core.find_edges(positions, cell, pbc, cutoff)
    assert np.all(np.diff(index[0]) >= 0)
    index, vector = sorted_edges(*index, vector)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_allclose(vector, expected_vector, atol=1e-9)  # rounding 100 Å away

    index, _, vector = neighbor_list(positions, cell, pbc, cutoff)
    index, vector = sorted_edges(*index, vector)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_allclose(vector, expected_vector, atol=1e-9)


def test_both_directions_are_exactly_opposite(glass) -> None:
    (i, j), vector = _core.find_edges(glass.positions, glass.cell.array, glass.pbc, 5.0)
    forward = np.lexsort((*vector.T, j, i))
    backward = np.lexsort((*-vector.T, i, j))
    np.testing.assert_array_equal(vector[forward], -vector[backward])


@pytest.mark.parametrize("threads", [1, 2])
def test_order_is_the_same_in_every_run(glass, threads) -> None:
    first = _core.find_edges(glass.positions, glass.cell.array, glass.pbc, 5.0)
    again = _core.find_edges(glass.positions, glass.cell.array, glass.pbc, 5.0, threads=threads)
    for one, other in zip(first, again, strict=True):
        assert one.tobytes() == other.tobytes()


def test_only_the_first_atoms_are_centers(glass) -> None:
    cell, pbc = glass.cell.array, [False] * 3
    index, vector = _core.find_edges(glass.positions, cell, pbc, 5.0)
    some, some_vector = _core.find_edges(glass.positions, cell, pbc, 5.0, centers=40)
    of_centers = index[0] < 40
    np.testing.assert_array_equal(some, index[:, of_centers])
    np.testing.assert_array_equal(some_vector, vector[of_centers])
    assert some[1].max() >= 40


def test_self_edges_stand_among_the_others() -> None:
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [9.0, 0, 0]])
    index, vector = _core.find_edges(positions, np.eye(3), [False] * 3, 2.0, self_edges=True)
    np.testing.assert_array_equal(index, [[0, 0, 1, 1, 2], [0, 1, 0, 1, 2]])
    np.testing.assert_array_equal(vector[:, 0], [0, 1, -1, 0, 0])


def test_isolated_atoms_have_no_edges() -> None:
    index, vector = _core.find_edges(np.zeros((1, 3)), np.zeros((3, 3)), [False] * 3, 5.0)
    assert index.shape == (2, 0)
    assert vector.shape == (0, 3)


def test_an_edge_is_shorter_than_the_cutoff() -> None:
    """A crystal whose neighbor distance is the cutoff has no edges, from any start."""
    index, _ = _core.find_edges(np.zeros((1, 3)), np.eye(3) * 2.5, [True] * 3, 2.5)
    assert index.shape == (2, 0)


def test_vectors_of_directions_that_do_not_repeat_mean_nothing() -> None:
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.0, 0, 30.0]])
    for third in ([0.0, 0, 0], [5.0, 0, 0], [np.nan, 0, 0]):
        cell = np.array([[5.0, 0, 0], [0, 5.0, 0], third])
        index, _ = _core.find_edges(positions, cell, [True, True, False], 2.0)
        np.testing.assert_array_equal(index, [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "words"),
    [
        ([[np.nan, 0, 0]], np.eye(3), True, "finite"),
        ([[0, np.inf, 0]], np.eye(3), True, "finite"),
        ([[0, 1e9, 0]], np.eye(3), False, "blown up"),
        ([[0, 0, 0]], np.zeros((3, 3)), True, "no extent"),
        ([[0, 0, 0]], [[3, 0, 0], [6, 0, 0], [0, 0, 3]], True, "no volume"),
        ([[0, 0, 0]], [[np.inf, 0, 0], [0, 3, 0], [0, 0, 3]], True, "finite"),
        ([[0, 0, 0]], np.eye(3) * 1e-3, True, "in Å"),
        # vesin divides by zero here: it must not be asked
        ([[0, 0, 0], [1, 1, 1e6]], np.eye(3) * 4, (True, True, False), "flew away"),
        ([[0, 0, 0], [1, 1, 1e7]], np.eye(3) * 4, False, "flew away"),
    ],
)
def test_impossible_structures_are_refused_in_one_line(positions, cell, pbc, words) -> None:
    with pytest.raises(StructureError, match=words) as refusal:
        _core.find_edges(np.array(positions, float), cell, np.resize(pbc, 3), 5.0)
    assert "\n" not in str(refusal.value)
