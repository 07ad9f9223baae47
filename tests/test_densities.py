"""Densities of neighbors: symmetric, smooth, and equal to sums written down atom by atom."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import eval_legendre, sph_harm_y
from scipy.stats import ortho_group

from conftest import random_glass
from symgnn import operators  # noqa: F401  torch knows them from here on
from symgnn.graph import Graph, build_graph
from symgnn.models.densities import LocalDensities, spherical_harmonics

ELEMENTS = ["Cu", "Zr"]
CUTOFF, ANGULAR_CUTOFF, COARSE_CUTOFF = 6.2, 5.0, 5.5
# Centers and widths of all Gaussians are exact in float32, in which the module keeps them.
RADII, WIDTHS = [2.5, 3.5], [0.25, 0.5]
DEGREE, RADIAL, COARSE = 3, 5, 4
# Densities reach a few hundred (squares of coordination numbers): rounding of float64, summed.
ROUNDING = 1e-10


def make_densities(elements: int = 2) -> LocalDensities:
    return LocalDensities(
        elements,
        cutoff=CUTOFF,
        radial=RADIAL,
        coarse=COARSE,
        radii=RADII,
        widths=WIDTHS,
        degree=DEGREE,
        angular_cutoff=ANGULAR_CUTOFF,
    ).double()


def graph_of(atoms: Atoms) -> Graph:
    return build_graph(atoms, CUTOFF, ELEMENTS, dtype=torch.float64)


def describe(graph: Graph) -> np.ndarray:
    """Densities of every atom, [N, columns]; those without neighbors are zero."""
    densities = make_densities()
    result = np.zeros((len(graph.species), densities.radial + densities.angular + densities.coarse))
    if graph.edge_index.shape[1]:
        found = densities(*graph.inputs).numpy()
        first = int(graph.edge_index[0, 0])
        result[first : first + len(found)] = found
    return result


@st.composite
def clusters(draw: st.DrawFn) -> Atoms:
    """One to twelve atoms of both elements: dense, sparse, on one spot; with or without a cell."""
    count = draw(st.integers(1, 12))
    coordinate = st.floats(0.0, 9.0, width=32)
    positions = draw(
        st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=count, max_size=count)
    )
    symbols = draw(st.lists(st.sampled_from(ELEMENTS), min_size=count, max_size=count))
    return Atoms(symbols, positions=positions, cell=[9.0] * 3, pbc=draw(st.booleans()))


# --- spherical harmonics ------------------------------------------------------------------------


def random_directions(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    poles = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    return torch.cat([vectors / vectors.norm(dim=1, keepdim=True), poles])


@pytest.mark.parametrize("degree", range(1, 7))
def test_spherical_harmonics_are_those_of_scipy(degree: int) -> None:
    direction = random_directions(50)
    x, y, z = direction.numpy().T
    theta, phi = np.arccos(z), np.arctan2(y, x)
    found = spherical_harmonics(direction, degree).numpy()
    columns = []
    for order in range(1, degree + 1):
        schmidt = math.sqrt(4.0 * math.pi / (2 * order + 1))
        columns.append(schmidt * sph_harm_y(order, 0, theta, phi).real)
        for m in range(1, order + 1):
            complex_form = schmidt * math.sqrt(2.0) * (-1) ** m * sph_harm_y(order, m, theta, phi)
            columns += [complex_form.real, complex_form.imag]
    np.testing.assert_allclose(found, np.stack(columns, axis=1), rtol=0, atol=1e-13)


def test_spherical_harmonics_of_a_degree_have_length_one() -> None:
    squares = spherical_harmonics(random_directions(50), 6).square()
    begin = 0
    for order in range(1, 7):
        total = squares[:, begin : begin + 2 * order + 1].sum(1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-13)
        begin += 2 * order + 1
    assert begin == squares.shape[1]


def test_scripted_spherical_harmonics_are_the_same() -> None:
    direction = random_directions(20)
    scripted = torch.jit.script(spherical_harmonics)
    for degree in (1, 6):
        assert torch.equal(scripted(direction, degree), spherical_harmonics(direction, degree))


# --- the definition -----------------------------------------------------------------------------


def smooth_step(length: float, position: float, width: float) -> float:
    fraction = min(1.0, max(0.0, (position + width / 2 - length) / width))
    return fraction**2 * (3 - 2 * fraction)


def by_definition(atoms: Atoms) -> np.ndarray:
    """The densities as double sums over pairs of neighbors, by the addition theorem:
    Σ_m Y_lm(u) Y_lm(v) = P_l(u · v)."""
    graph = graph_of(atoms)
    vectors, (centers, neighbors) = graph.edge_vector.numpy(), graph.edge_index.numpy()
    fine = np.linspace(2.0, CUTOFF - 0.2, RADIAL)
    rough = np.linspace(2.0, 5.0, COARSE)
    rows = []
    for atom in range(len(atoms)):
        radial, coarse = np.zeros((2, RADIAL)), np.zeros((2, COARSE))
        channels: list[list[tuple[float, np.ndarray]]] = [[] for _ in range(2 * len(RADII))]
        for edge in np.flatnonzero(centers == atom):
            length = float(np.linalg.norm(vectors[edge]))
            element = int(graph.species[neighbors[edge]])
            radial[element] += np.exp(-(((length - fine) / 0.2) ** 2) / 2) * smooth_step(
                length, CUTOFF - 0.5, 1.0
            )
            coarse[element] += np.exp(-(((length - rough) / 0.4) ** 2) / 2) * smooth_step(
                length, 5.2, 0.6
            )
            if length < ANGULAR_CUTOFF:
                fade = (1 + math.cos(math.pi * length / ANGULAR_CUTOFF)) / 2
                for number, (radius, width) in enumerate(zip(RADII, WIDTHS, strict=True)):
                    weight = fade * math.exp(-(((length - radius) / width) ** 2) / 2)
                    unit = vectors[edge] / length
                    channels[element * len(RADII) + number].append((weight, unit))
        spectra = [
            sum(
                w1 * w2 * float(eval_legendre(order, u1 @ u2))
                for w1, u1 in channels[a]
                for w2, u2 in channels[b]
            )
            for order in range(1, DEGREE + 1)
            for a in range(len(channels))
            for b in range(a, len(channels))
        ]
        rows.append([*radial.flat, *spectra, *coarse.flat])
    return np.array(rows)


def test_densities_are_what_they_are_defined_as() -> None:
    # 27 atoms in a box smaller than the cutoff's sphere: an atom sees several images of others.
    atoms = random_glass(3, seed=2)
    np.testing.assert_allclose(
        describe(graph_of(atoms)), by_definition(atoms), rtol=0, atol=ROUNDING
    )


@settings(max_examples=25, deadline=None)
@given(clusters())
def test_densities_of_few_atoms_are_what_they_are_defined_as(atoms: Atoms) -> None:
    graph = graph_of(atoms)
    if graph.edge_vector.norm(dim=1).lt(1e-3).any():
        assert np.isfinite(describe(graph)).all()  # no direction, and no definition
    else:
        np.testing.assert_allclose(describe(graph), by_definition(atoms), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("block", [100, 10**6])
def test_the_size_of_blocks_does_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(random_glass(5, seed=3))
    assert graph.edge_index.shape[1] > 2 * 2048, "the usual block holds all edges"
    densities = make_densities()
    usual = densities.plain(*graph.inputs)
    monkeypatch.setattr("symgnn.models.densities.edge_block", lambda _: block)
    torch.testing.assert_close(densities.plain(*graph.inputs), usual, rtol=0, atol=ROUNDING)


def test_scripted_densities_are_the_same() -> None:
    graph = graph_of(random_glass(4, seed=4))
    densities = make_densities()
    scripted = torch.jit.script(densities)
    found, expected = scripted(*graph.inputs), densities(*graph.inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=ROUNDING)


# --- symmetries ---------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), atoms=clusters())
def test_rotations_and_reflections_change_nothing(seed: int, atoms: Atoms) -> None:
    """Haar-random elements of O(3), half of which reflect."""
    for structure in (atoms, random_glass(3, seed=5)):
        graph = graph_of(structure)
        matrix = torch.from_numpy(ortho_group.rvs(3, random_state=seed))
        turned = Graph(graph.species, graph.edge_index, graph.edge_vector @ matrix.T)
        np.testing.assert_allclose(describe(turned), describe(graph), rtol=0, atol=ROUNDING)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), atoms=clusters())
def test_densities_follow_a_permutation_of_the_atoms(seed: int, atoms: Atoms) -> None:
    order = np.random.default_rng(seed).permutation(len(atoms))
    np.testing.assert_allclose(
        describe(graph_of(atoms[order])), describe(graph_of(atoms))[order], rtol=0, atol=ROUNDING
    )


@settings(max_examples=10, deadline=None)
@given(
    shift=st.tuples(*[st.floats(-50.0, 50.0)] * 3),
    images=st.tuples(*[st.integers(1, 2)] * 3),
)
def test_shifts_and_supercells_change_nothing(
    shift: tuple[float, float, float], images: tuple[int, int, int]
) -> None:
    atoms = random_glass(3, seed=6)
    reference = describe(graph_of(atoms))
    moved = atoms.repeat(images)
    moved.positions += shift
    moved.wrap()
    # Shifted coordinates are rounded, by 1e-14 Å, which steep Gaussians magnify a hundredfold.
    np.testing.assert_allclose(
        describe(graph_of(moved)), np.tile(reference, (math.prod(images), 1)), rtol=0, atol=ROUNDING
    )


# --- smoothness ---------------------------------------------------------------------------------


def at_distances(distances: np.ndarray) -> np.ndarray:
    """Densities [D, columns] of copper with zirconium at 2.6 Å and copper at each distance [D]."""
    count = len(distances)
    species = torch.tensor([*[0] * count, 1, 0])
    vectors = np.zeros((count, 2, 3))
    vectors[:, 0, 1] = 2.6
    vectors[:, 1] = distances[:, None] * [0.6, 0.0, 0.8]
    found: torch.Tensor = make_densities()(
        species,
        torch.stack(
            [
                torch.arange(count).repeat_interleave(2),
                torch.tensor([count, count + 1]).repeat(count),
            ]
        ),
        torch.from_numpy(vectors).view(-1, 3),
    )
    return found.numpy()


@pytest.mark.parametrize(
    ("kind", "cutoff"),
    [("radial", CUTOFF), ("angular", ANGULAR_CUTOFF), ("coarse", COARSE_CUTOFF)],
)
def test_a_neighbor_that_leaves_fades_out(kind: str, cutoff: float) -> None:
    """Value and slope of its contribution are zero at the cutoff, as second order demands."""
    module = make_densities()
    sizes = [module.radial, module.angular, module.coarse]
    first = sum(sizes[: ("radial", "angular", "coarse").index(kind)])
    columns = slice(first, first + getattr(module, kind))
    steps = np.array([-0.3, -2e-3, -1e-3, -1e-6, 1e-6, 1.0])
    found = at_distances(cutoff + steps)[:, columns]
    remaining = np.abs(found - found[-1]).max(axis=1)
    assert remaining[0] > 1e-6, "the neighbor contributes nothing before it leaves"
    assert remaining[1] <= 4.1 * remaining[2]
    assert remaining[3] <= 1e-5 * remaining[2] + 1e-14
    assert remaining[4] == 0.0


def test_the_graph_may_drop_who_is_beyond_the_cutoff() -> None:
    """What fades out and what the neighbor list leaves out is the same atom."""
    pair = Atoms("CuZr", positions=[[0, 0, 0], [0, 2.6, 0]])
    alone = describe(graph_of(pair))[0]
    for distance in (CUTOFF - 1e-6, CUTOFF + 1e-6):
        three = pair + Atoms("Cu", positions=[[0.6 * distance, 0, 0.8 * distance]])
        np.testing.assert_allclose(describe(graph_of(three))[0], alone, rtol=0, atol=ROUNDING)


def test_densities_have_no_jump_anywhere() -> None:
    """Half the step, half the largest change: true of a differentiable function, of no jump."""
    coarse, fine = (
        np.abs(np.diff(at_distances(np.linspace(1.0, 6.5, count)), axis=0)).max(axis=0)
        for count in (5501, 11001)
    )
    assert (fine <= 0.51 * coarse + 1e-12).all()


# --- what is not a glass ------------------------------------------------------------------------


def test_atoms_without_neighbors_have_no_densities() -> None:
    lonely, pair = [[0.0, 0.0, 0.0]], [[20.0, 0.0, 0.0], [22.5, 0.0, 0.0]]
    far = [[40.0, 0.0, 0.0]]
    densities = describe(
        graph_of(Atoms("CuZrCuZrCu", positions=[*lonely, *pair, *far, [60, 0, 0]]))
    )
    assert (densities[[0, 3, 4]] == 0.0).all()
    assert (np.abs(densities[[1, 2]]).max(axis=1) > 0.1).all()


def test_an_atom_without_neighbors_between_others() -> None:
    positions = [[0, 0, 0], [40, 0, 0], [2.5, 0, 0]]
    densities = describe(graph_of(Atoms("CuZrCu", positions=positions)))
    assert (densities[1] == 0.0).all()
    np.testing.assert_array_equal(densities[0], densities[2])


def test_two_atoms_on_one_spot_give_finite_numbers() -> None:
    for distance in (0.0, 1e-12, 1e-6, 1e-3):
        atoms = Atoms("CuZrCu", positions=[[0, 0, 0], [distance, 0, 0], [2.6, 0, 0]])
        for dtype in (torch.float32, torch.float64):
            graph = build_graph(atoms, CUTOFF, ELEMENTS, dtype=dtype)
            found = make_densities().to(dtype)(*graph.inputs)
            assert found.isfinite().all()
