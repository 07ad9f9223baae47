"""The neighbor list for GPUs, run on the CPU: all of it but vesin's search on the device."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings

from symgnn import _core
from symgnn.errors import StructureError
from test_core import clusters, sorted_edges


def assert_same(one, other) -> None:
    """The same edges in the same order; vectors to the last bits, which compilers may choose."""
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("self_edges", [False, True])
@pytest.mark.parametrize("pbc", [True, False, [True, False, True]])
def test_edges_and_their_order_are_those_of_the_cpu(glass, pbc, self_edges) -> None:
    glass.pbc = pbc
    arguments = (glass.positions, glass.cell.array, glass.pbc, 5.0)
    assert_same(
        _core.find_edges_on("cpu", *arguments, self_edges=self_edges),
        _core.find_edges(*arguments, self_edges=self_edges),
    )


@settings(deadline=None, max_examples=60)
@given(clusters())
def test_edges_of_any_cluster(cluster) -> None:
    found = _core.find_edges_on("cpu", *cluster)
    expected = _core.find_edges(*cluster)
    np.testing.assert_array_equal(found[0], expected[0])
    for one, other in zip(
        sorted_edges(*found[0], found[1]), sorted_edges(*expected[0], expected[1]), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_images_of_an_atom_are_ordered_by_their_vectors() -> None:
    copper = Atoms("Cu", positions=[[0.3, 0.1, 0.2]], cell=[2.0, 2.1, 2.2], pbc=True)
    arguments = (copper.positions, copper.cell.array, copper.pbc, 5.0)
    found = _core.find_edges_on("cpu", *arguments, self_edges=True)
    assert_same(found, _core.find_edges(*arguments, self_edges=True))
    assert np.all(np.diff(found[1][:, 0]) >= -1e-12)


def test_only_the_first_atoms_are_centers(glass) -> None:
    arguments = (glass.positions, glass.cell.array, [False] * 3, 5.0)
    found = _core.find_edges_on("cpu", *arguments, centers=40, self_edges=True)
    assert_same(found, _core.find_edges(*arguments, centers=40, self_edges=True))
    assert found[0][0].max() == 39


def test_no_atoms_and_no_pairs() -> None:
    nothing = (np.eye(3) * 30, [True] * 3, 5.0)
    assert _core.find_edges_on("cpu", np.zeros((0, 3)), *nothing)[0].shape == (2, 0)
    index, vector = _core.find_edges_on("cpu", np.zeros((1, 3)), *nothing)
    assert index.shape == (2, 0)
    assert vector.shape == (0, 3)
    index, vector = _core.find_edges_on("cpu", np.zeros((1, 3)), *nothing, self_edges=True)
    assert index.tolist() == [[0], [0]]


@pytest.mark.parametrize(("value", "message"), [(np.nan, "not a finite"), (3e9, "3e\\+09 Å away")])
def test_wrong_positions_are_refused(glass, value, message) -> None:
    positions = glass.positions.copy()
    positions[7, 1] = value
    with pytest.raises(StructureError, match=f"atom 7 .*{message}"):
        _core.find_edges_on("cpu", positions, glass.cell.array, glass.pbc, 5.0)
