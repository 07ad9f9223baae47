"""Graphs hold every pair of atoms within the cutoff, once per periodic image, in one order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list as ase_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from symgnn.errors import StructureError
from symgnn.graph import build_graph, neighbor_list


@st.composite
def structures(draw: st.DrawFn) -> tuple[Atoms, float]:
    """Triclinic, partly periodic, from one atom up, cells below and above the cutoff, atoms far
    outside the cell."""
    count = draw(st.integers(1, 12))
    lengths = draw(st.tuples(*[st.floats(1.5, 12.0)] * 3))
    tilts = draw(st.tuples(*[st.floats(-0.45, 0.45)] * 3))
    cell = np.diag(lengths)
    cell[1, 0], cell[2, 0], cell[2, 1] = (
        tilts[0] * lengths[0],
        tilts[1] * lengths[0],
        (tilts[2] * lengths[1]),
    )
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    if draw(st.booleans()):  # any orientation, so that no cell vector lies along an axis
        rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        cell = cell @ rotation
    reach = draw(st.sampled_from([0.5, 3.0, 10.0]))
    positions = generator.uniform(0.5 - reach, 0.5 + reach, (count, 3)) @ cell
    pbc = draw(st.tuples(*[st.booleans()] * 3))
    atoms = Atoms(["Cu"] * count, positions=positions, cell=cell, pbc=pbc)
    return atoms, draw(st.floats(0.8, 6.0))


def as_set(edge_index: np.ndarray, shift: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(row) for row in np.column_stack((edge_index.T, shift)).tolist()}


@settings(max_examples=200, deadline=None)
@given(structures())
def test_the_neighbor_list_is_that_of_ase(case: tuple[Atoms, float]) -> None:
    atoms, cutoff = case
    edge_index, shift, vector = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    i, j, distance, expected_shift = ase_neighbor_list("ijdS", atoms, cutoff + 1e-9)
    lengths = np.linalg.norm(vector, axis=1)
    assert (lengths < cutoff).all()
    # Pairs at the cutoff to within rounding may fall on either side.
    edge = 1e-7
    ours, theirs = lengths < cutoff - edge, distance < cutoff - edge
    assert as_set(edge_index[:, ours], shift[ours]) == as_set(
        np.stack((i[theirs], j[theirs])), expected_shift[theirs]
    )
    assert len(as_set(edge_index, shift)) == edge_index.shape[1]
    centers, neighbors = edge_index
    np.testing.assert_allclose(
        vector,
        atoms.positions[neighbors] - atoms.positions[centers] + shift @ atoms.cell.array,
        atol=1e-9,
    )


@settings(max_examples=50, deadline=None)
@given(structures())
def test_edges_are_sorted_and_complete_in_both_directions(case: tuple[Atoms, float]) -> None:
    atoms, cutoff = case
    edge_index, shift, _ = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    rows = np.column_stack((edge_index.T, shift)).tolist()
    assert rows == sorted(rows)
    reverse = as_set(edge_index[::-1], -shift)
    assert reverse == as_set(edge_index, shift)


def test_a_cell_smaller_than_the_cutoff_shows_several_images() -> None:
    atom = Atoms("Cu", positions=[[0.3, 0.2, 0.1]], cell=[2.0, 2.0, 2.0], pbc=True)
    edge_index, shift, vector = neighbor_list(atom.positions, atom.cell.array, atom.pbc, 2.1)
    assert edge_index.tolist() == [[0] * 6, [0] * 6]
    assert sorted(map(tuple, shift.tolist())) == sorted(
        [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    )
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 2.0)


def test_pairs_at_exactly_the_cutoff_are_left_out() -> None:
    pair = np.array([[0.0, 0, 0], [2.0, 0, 0]])
    assert neighbor_list(pair, np.zeros((3, 3)), [False] * 3, 2.0)[0].shape == (2, 0)
    assert neighbor_list(pair, np.zeros((3, 3)), [False] * 3, 2.0 + 1e-9)[0].shape == (2, 2)


@pytest.mark.parametrize("self_edges", [False, True])
def test_one_atom_alone(self_edges: bool) -> None:
    graph = build_graph(Atoms("Zr"), 5.0, ["Cu", "Zr"], self_edges=self_edges)
    assert graph.species.tolist() == [1]
    assert graph.edge_index.tolist() == ([[0], [0]] if self_edges else [[], []])
    assert graph.edge_vector.shape == (int(self_edges), 3)


def test_isolated_atoms_have_no_edges_and_keep_their_place(glass: Atoms) -> None:
    atoms = glass + Atoms("Zr", positions=[[500.0, 0, 0]])
    atoms.pbc = False
    graph = build_graph(atoms, 5.0, ["Cu", "Zr"])
    assert len(graph.species) == len(glass) + 1
    assert len(glass) not in graph.edge_index


def test_self_edges_are_sorted_among_the_others(glass: Atoms) -> None:
    plain = build_graph(glass, 5.0, ["Cu", "Zr"], dtype=torch.float64)
    graph = build_graph(glass, 5.0, ["Cu", "Zr"], self_edges=True, dtype=torch.float64)
    centers, neighbors = graph.edge_index
    assert (centers.diff() >= 0).all()
    own = (centers == neighbors) & (graph.edge_vector == 0).all(dim=1)
    assert sorted(centers[own].tolist()) == list(range(len(glass)))
    assert torch.equal(graph.edge_index[:, ~own], plain.edge_index)
    assert torch.equal(graph.edge_vector[~own], plain.edge_vector)


def test_types_and_species(glass: Atoms) -> None:
    graph = build_graph(glass, 5.0, ["Zr", "Cu"])
    assert graph.species.dtype == graph.edge_index.dtype == torch.int64
    assert graph.edge_vector.dtype == torch.float32
    expected = [0 if symbol == "Zr" else 1 for symbol in glass.get_chemical_symbols()]
    assert graph.species.tolist() == expected


def test_the_same_structure_gives_the_same_tensors(glass: Atoms) -> None:
    first, second = (build_graph(glass, 5.0, ["Cu", "Zr"]) for _ in range(2))
    assert torch.equal(first.edge_index, second.edge_index)
    assert torch.equal(first.edge_vector, second.edge_vector)


def test_atoms_outside_the_cell_are_their_own_images(glass: Atoms) -> None:
    moved = glass.copy()
    jumps = np.random.default_rng(5).integers(-3, 4, (len(glass), 3))
    moved.positions += jumps @ glass.cell.array
    here, there = (build_graph(a, 5.0, ["Cu", "Zr"], dtype=torch.float64) for a in (glass, moved))
    assert here.edge_index.shape == there.edge_index.shape
    for graph in (here, there):
        assert torch.equal(graph.edge_index[0], here.edge_index[0])
    lengths = [torch.linalg.norm(graph.edge_vector, dim=1) for graph in (here, there)]
    np.testing.assert_allclose(*(np.sort(values.numpy()) for values in lengths), atol=1e-9)


def _with(atoms: Atoms, **changes: object) -> Atoms:
    for name, value in changes.items():
        setattr(atoms, name, value)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "remark"),
    [
        (Atoms(), "has no atoms"),
        (Atoms("Cu", positions=[[np.nan, 0, 0]]), "not finite"),
        (Atoms("Cu2", positions=[[0, 0, 0], [0, np.inf, 0]]), "first at index 1"),
        (Atoms("Cu", pbc=True), "no length along a periodic direction"),
        (Atoms("Cu", cell=[3, 3, 0], pbc=[True, True, True]), "no length"),
        (Atoms("Cu", cell=[[3, 0, 0], [3, 0, 0], [0, 0, 3]], pbc=True), "has no volume"),
        (Atoms("Cu", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]], pbc=[1, 1, 0]), "has no volume"),
        (_with(Atoms("Cu", pbc=True), cell=np.full((3, 3), np.nan)), "cell has entries"),
        (Atoms("CuAl", positions=[[0, 0, 0], [2, 0, 0]]), "not Al"),
    ],
)
def test_what_is_no_structure_is_named(atoms: Atoms, remark: str) -> None:
    with pytest.raises(StructureError, match=remark):
        build_graph(atoms, 5.0, ["Cu", "Zr"])


def test_a_slab_needs_no_cell_vector_across(glass: Atoms) -> None:
    slab = glass.copy()
    slab.pbc = [True, True, False]
    flat = slab.copy()
    flat.cell[2] = 0
    for expected, found in zip(
        neighbor_list(slab.positions, slab.cell.array, slab.pbc, 5.0),
        neighbor_list(flat.positions, flat.cell.array, flat.pbc, 5.0),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_atoms_that_flew_away_are_named() -> None:
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [1e7, 1e7, 0]], cell=[1, 1, 3], pbc=[0, 0, 1])
    with pytest.raises(StructureError, match="flew away"):
        build_graph(atoms, 5.0, ["Cu"])
