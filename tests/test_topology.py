"""Persistent homology: known shapes, the symmetries of space, and the periodic complex."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from conftest import random_glass
from periodic_alpha import periodic_persistence
from symgnn.cli import run
from symgnn.errors import StructureError, SymGNNError
from symgnn.explain import Explanation, Fidelity, Provenance, write_explanations
from symgnn.explain.homology import (
    atom_weights,
    cycle_edges,
    element_radius,
    environment,
    persistence,
    representative_cycles,
)
from symgnn.explain.matched_length import compare_matched_length
from symgnn.explain.topology import important_edges, topology
from symgnn.structures import write_structures

if TYPE_CHECKING:
    from pathlib import Path

    from symgnn.explain.homology import Feature, Homology

gudhi = pytest.importorskip("gudhi")

TETRAHEDRON = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
OCTAHEDRON = np.concatenate((np.eye(3), -np.eye(3)))


def regular(points: np.ndarray, edge: float) -> np.ndarray:
    """Scaled so that neighbors are ``edge`` apart."""
    return points * edge / np.linalg.norm(points[0] - points[1])


def diagram(found: Homology, dimension: int) -> np.ndarray:
    """Births and deaths, sorted, without what is never filled."""
    pairs = [(f.birth, f.death) for f in found.of_dimension(dimension) if f.death_simplex]
    return np.array(sorted(pairs)).reshape(-1, 2)


# --- known shapes -----------------------------------------------------------------------------


def test_hexagon_is_one_ring() -> None:
    angles = np.arange(6) * np.pi / 3
    hexagon = 3.0 * np.c_[np.cos(angles), np.sin(angles), 0 * angles]
    found = persistence(hexagon)
    (ring,) = found.of_dimension(1)
    assert (ring.birth, ring.death) == pytest.approx((1.5, 3.0))
    assert found.of_dimension(2) == []
    np.testing.assert_allclose(diagram(found, 0), [[0, 1.5]] * 5)
    (cycle,) = representative_cycles(found, [ring])
    assert sorted(cycle_edges(cycle)) == [(0, 1), (0, 5), (1, 2), (2, 3), (3, 4), (4, 5)]


def test_tetrahedron() -> None:
    edge = 2.7
    found = persistence(regular(TETRAHEDRON, edge))
    triangle, sphere = edge / np.sqrt(3), edge * np.sqrt(6) / 4
    np.testing.assert_allclose(diagram(found, 0), [[0, edge / 2]] * 3)
    np.testing.assert_allclose(diagram(found, 1), [[edge / 2, triangle]] * 3)
    np.testing.assert_allclose(diagram(found, 2), [[triangle, sphere]])
    for cycle in representative_cycles(found, found.of_dimension(1)):
        assert len(cycle) == 3


def test_octahedron() -> None:
    edge = 2.7
    found = persistence(edge / np.sqrt(2) * OCTAHEDRON)
    triangle = edge / np.sqrt(3)
    np.testing.assert_allclose(diagram(found, 1), [[edge / 2, triangle]] * 7)
    np.testing.assert_allclose(diagram(found, 2), [[triangle, edge / np.sqrt(2)]])


def test_weights_stand_for_radii() -> None:
    """Two balls touch when the edge appears: √(α² + w₀) + √(α² + w₁) is their distance."""
    weights = np.array([0.9, 0.0])
    (component,) = (
        f for f in persistence([[0, 0, 0], [3.1, 0, 0]], weights).features if f.death_simplex
    )
    grown = np.sqrt(component.death**2 + weights)
    assert grown.sum() == pytest.approx(3.1)
    assert component.birth == pytest.approx(0.0)  # the smaller one is the younger


@pytest.mark.parametrize(
    ("lattice", "voids"),
    [
        ("fcc", [np.sqrt(6) / 4, 1 / np.sqrt(2)]),  # tetrahedra, octahedra
        ("bcc", [np.sqrt(5 / 12)]),  # tetrahedra; of the nearest-neighbor distance
    ],
)
def test_voids_of_crystals(lattice: str, voids: list[float]) -> None:
    """Radii of the holes between equal spheres, in any cell: this one is not even cubic."""
    spacing = 2.6
    cube = spacing * (np.sqrt(2) if lattice == "fcc" else 2 / np.sqrt(3))
    crystal = bulk("Cu", lattice, a=cube) * (6, 6, 6)
    found = topology(crystal, 7, radius=4.0)
    deaths = np.unique([round(f.death, 6) for f in found.of_dimension(2)])
    np.testing.assert_allclose(deaths, np.array(voids) * spacing, rtol=1e-5)
    assert found.inexact == 0


def test_element_radii() -> None:
    assert element_radius("Cu") == pytest.approx(3.61 / np.sqrt(8))
    assert element_radius("Fe") == pytest.approx(2.87 * np.sqrt(3) / 4)
    assert element_radius("Zr") == pytest.approx(1.589, abs=1e-3)  # 3.178 Å between neighbors
    assert element_radius("P") == pytest.approx(1.07)  # covalent


# --- symmetries -------------------------------------------------------------------------------


def cluster(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and weights of 64 disordered atoms."""
    glass = random_glass(4, seed)
    return glass.positions, atom_weights(glass)


def same(first: np.ndarray, second: np.ndarray) -> bool:
    """Diagrams that differ by rounding, which may add or remove what hardly persists."""
    return bool(gudhi.bottleneck_distance(first, second) < 1e-4)


def outlines(found: Homology, shortest: float = 0.0) -> set[frozenset[tuple[int, int]]]:
    """Cycles of rings that persist over ``shortest`` Å, as sets of edges."""
    rings = [ring for ring in found.of_dimension(1) if ring.persistence > shortest]
    return {frozenset(cycle_edges(cycle)) for cycle in representative_cycles(found, rings)}


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(0, 1000), st.booleans())
def test_rotations_reflections_and_numbers_of_atoms_do_not_matter(
    seed: int, motion: int, reflect: bool
) -> None:
    positions, weights = cluster(seed)
    rng = np.random.default_rng(motion)
    order = rng.permutation(len(positions))
    turn = Rotation.random(random_state=motion).as_matrix() * (-1 if reflect else 1)
    first = persistence(positions, weights)
    moved = persistence((positions @ turn.T + rng.normal(size=3))[order], weights[order])
    for dimension in range(3):
        assert same(diagram(first, dimension), diagram(moved, dimension))
    named = {
        frozenset(tuple(sorted((int(order[a]), int(order[b])))) for a, b in outline)
        for outline in outlines(moved)
    }
    assert outlines(first, shortest=1e-3) <= named


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.floats(0.5, 3.0))
def test_births_and_deaths_scale_with_lengths(seed: int, scale: float) -> None:
    positions, weights = cluster(seed)
    small = persistence(positions, weights)
    large = persistence(scale * positions, scale**2 * weights)
    for dimension in range(3):
        assert same(diagram(small, dimension), diagram(large, dimension) / scale)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_cycles_are_cycles_at_birth(seed: int) -> None:
    """Closed, through the birth edge, of no younger edge, and no longer than the death triangle.

    The latter where the birth edge is its youngest, so that it is such a cycle too.
    """
    found = persistence(*cluster(seed))
    rank = {edge: number for number, edge in enumerate(found.edges)}
    rings = found.of_dimension(1)
    for ring, cycle in zip(rings, representative_cycles(found, rings), strict=True):
        edges = cycle_edges(cycle)
        assert len(set(edges)) == len(cycle) >= 3
        assert max(edges, key=rank.__getitem__) == ring.birth_simplex
        triangle = ring.death_simplex
        around = cycle_edges(triangle)
        if max(around, key=rank.__getitem__) == ring.birth_simplex:
            assert length(found, edges) <= length(found, around) + 1e-9


def length(found: Homology, edges: list[tuple[int, int]]) -> float:
    return sum(float(np.linalg.norm(found.positions[a] - found.positions[b])) for a, b in edges)


# --- environments -----------------------------------------------------------------------------


def names(feature: Feature, atoms: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Simplices by the atoms of the structure."""
    birth, death = (
        sorted(atoms[list(s)].tolist()) for s in (feature.birth_simplex, feature.death_simplex)
    )
    return tuple(birth), tuple(death)


@pytest.mark.parametrize("sheared", [False, True])
def test_a_cluster_has_the_features_of_the_periodic_structure(sheared: bool) -> None:
    glass = random_glass(6, seed=3)
    if sheared:
        cell = glass.cell.array.copy()
        cell[2, 0] = 4.0
        glass.set_cell(cell, scale_atoms=True)
    weights = atom_weights(glass)
    periodic = periodic_persistence(glass, weights)
    assert sorted(len(birth) for birth, death in periodic if not death) == [1, 2, 2, 2, 3, 3, 3]
    total = missing = 0
    for atom in (0, 40, 100, 170, 215):
        found = topology(glass, atom, weights=weights)
        assert found.inexact == 0
        for feature in found.features:
            if feature.dimension == 0:
                continue
            key = names(feature, found.environment.atoms)
            total += 1
            missing += key not in periodic
            if key in periodic:
                squared = np.square([feature.birth, feature.death])
                np.testing.assert_allclose(squared, periodic[key], rtol=1e-5)
    # Values are exact. Which edge a ring is said to be born with may hang on edges far away.
    assert total > 500
    assert missing <= 0.01 * total


def test_images_in_any_cell() -> None:
    """The cluster is the same, however the same crystal is described."""
    cubic = bulk("Cu", "fcc", a=3.6, cubic=True) * (4, 4, 4)
    skewed = bulk("Cu", "fcc", a=3.6) * (7, 7, 7)
    first, second = (environment(crystal, 5, 5.0) for crystal in (cubic, skewed))
    assert len(first.atoms) == len(second.atoms)
    for around in (first, second):
        assert around.atoms[0] == 5
        np.testing.assert_allclose(around.positions[0], 0)
    np.testing.assert_allclose(
        np.linalg.norm(first.positions, axis=1), np.linalg.norm(second.positions, axis=1)
    )


def test_open_structures_are_their_own_environment() -> None:
    octahedron = Atoms("Cu6", 1.8 * OCTAHEDRON)
    found = topology(octahedron, 0, radius=4.0)
    assert found.environment.exact_below == np.inf
    (void,) = found.of_dimension(2)
    assert void.death == pytest.approx(1.8)


def test_environments_that_cannot_be(glass: Atoms) -> None:
    with pytest.raises(StructureError, match="no atom 125"):
        environment(glass, 125, 6.0)
    with pytest.raises(StructureError, match=r"radius of at most 6\.6 Å"):
        environment(glass, 0, 8.0)
    assert environment(glass, 0, 6.6).radius == 6.6
    broken, flat = glass.copy(), glass.copy()
    broken.positions[3] = np.nan
    flat.cell[2] = 0
    with pytest.raises(StructureError, match="finite"):
        environment(broken, 0, 6.0)
    with pytest.raises(StructureError, match="no volume"):
        environment(flat, 0, 6.0)
    with pytest.raises(SymGNNError, match="no such atoms"):
        atom_weights(glass, {"Al": 1.4})
    with pytest.raises(SymGNNError, match="not positive"):
        atom_weights(glass, {"Cu": -1.0})


# --- edges of matched length ------------------------------------------------------------------


def test_matched_length_finds_no_difference_that_length_explains() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.uniform(2.4, 4.9, 3000)
    counts = rng.poisson(np.maximum(0.0, 4.0 - lengths))
    important = rng.random(3000) < np.clip(4.0 - lengths, 0, 1) / 4  # short edges
    naive = counts[important].mean() / counts[~important].mean()
    found = compare_matched_length(counts, lengths, important, rng)
    assert naive > 2
    assert found.ratio_interval[0] < 1.1
    assert 0.9 < found.ratio < 1.1
    assert found.matched + found.unmatched == important.sum()


def test_matched_length_finds_a_difference() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.uniform(2.4, 4.9, 3000)
    important = rng.random(3000) < 0.1
    counts = rng.poisson(np.where(important, 3.0, 2.0))
    found = compare_matched_length(counts, lengths, important, rng)
    assert found.ratio == pytest.approx(1.5, abs=0.15)
    assert found.ratio_interval[0] > 1.2
    assert found.p_value < 0.01


def test_matched_length_is_calibrated() -> None:
    """Without a difference, p-values are spread evenly."""
    rng = np.random.default_rng(1)
    values = []
    for _ in range(200):
        lengths = rng.uniform(2.4, 2.6, 200)
        counts = rng.poisson(2.0, 200)
        important = rng.random(200) < 0.05
        values.append(compare_matched_length(counts, lengths, important, rng, draws=400).p_value)
    assert np.mean(np.array(values) < 0.05) < 0.12


def test_groups_keep_elements_apart() -> None:
    lengths = np.full(6, 3.0)
    counts = np.array([1, 1, 1, 5, 5, 5])
    important = np.array([True, False, False, True, False, False])
    rng = np.random.default_rng(0)
    same = compare_matched_length(counts, lengths, important, rng, groups=counts)
    assert (same.ratio, same.ratio_interval) == (1.0, (1.0, 1.0))
    alone = compare_matched_length(counts, lengths + np.arange(6), important, rng)
    assert (alone.matched, alone.unmatched) == (0, 2)
    assert np.isnan(alone.ratio)


# --- with an explanation, and the command line ------------------------------------------------


def explanation_of(structure: Atoms, atom: int, radius: float = 5.0) -> Explanation:
    """Edges of the atom's surroundings, those of the first ring of each birth the important."""
    found = topology(structure, atom, radius=radius)
    around = found.environment
    inside = [n for n in range(len(around.atoms)) if around.inside([n])]
    vectors = around.positions[inside][:, None] - around.positions[inside][None]
    distances = np.linalg.norm(vectors, axis=2)
    edges = np.argwhere((distances < 4.5) & (distances > 0))
    counts = found.cycles_through_edges()
    importance = [min(1.0, counts[min(a, b), max(a, b)] / 10) for a, b in edges.tolist()]
    none = np.zeros(0)
    return Explanation(
        atom=atom,
        prediction=1.5,
        atoms=around.atoms[inside],
        positions=around.positions[inside],
        edges=edges,
        importance=np.array(importance),
        integrated_gradients=np.zeros(len(edges)),
        leave_one_out=np.full(len(inside), np.nan),
        fidelity=Fidelity(none, none, none, none, none),
    )


def test_important_edges_count_once_with_their_cycles(glass: Atoms) -> None:
    explanation = explanation_of(glass, 17)
    found = topology(glass, 17)
    edges = important_edges(found, explanation, np.random.default_rng(0))
    assert len(edges.edges) == len(explanation.edges) // 2
    assert edges.important.sum() == round(0.1 * len(edges.edges))
    counts = found.cycles_through_edges()
    assert edges.cycles.tolist() == [counts[a, b] for a, b in edges.edges.tolist()]
    assert edges.comparison.ratio > 1.5  # important by construction
    assert edges.comparison.p_value < 0.05


def test_an_explanation_of_another_structure_is_refused(glass: Atoms) -> None:
    explanation = explanation_of(glass, 17)
    other = random_glass(5, seed=2)
    with pytest.raises(SymGNNError, match="another structure"):
        important_edges(topology(other, 17), explanation, np.random.default_rng(0))


def test_an_explanation_of_a_structure_that_was_rounded_is_taken(glass: Atoms) -> None:
    explanation = explanation_of(glass, 17)
    expected = important_edges(topology(glass, 17), explanation, np.random.default_rng(0))
    glass.positions = glass.positions.round(2)
    found = important_edges(topology(glass, 17), explanation, np.random.default_rng(0))
    assert len(found.edges) == len(expected.edges)


@pytest.fixture
def files(tmp_path: Path, glass: Atoms) -> tuple[str, str]:
    """A structure and explanations of its atoms 17 and 20."""
    structure, explanation = tmp_path / "glass.xyz", tmp_path / "explanation.json"
    write_structures(structure, [glass])
    provenance = Provenance("0", {}, {"file": "glass.xyz", "atoms": 125, "sha256": ""}, {}, 0)
    each = [explanation_of(glass, atom) for atom in (17, 20)]
    write_explanations(explanation, each, provenance)
    return str(structure), str(explanation)


def test_topology_of_an_atom(
    tmp_path: Path, files: tuple[str, str], glass: Atoms, capsys: pytest.CaptureFixture[str]
) -> None:
    structure, explanation = files
    output, picture = tmp_path / "topology.json", tmp_path / "diagram.png"
    arguments = [structure, "--atom", "17", "--explanation", explanation, "-o", str(output)]
    assert run(["topology", *arguments, "--plot", str(picture)]) == 0
    written = json.loads(output.read_text())
    expected = topology(glass, 17)
    assert written["atom"] == 17
    assert written["element"] == glass.symbols[17]
    assert len(written["features"]) == len(expected.features)
    assert written["features"][-1]["death"] == pytest.approx(expected.features[-1].death, abs=1e-6)
    assert len(written["edges"]["cycles"]) == len(written["edges"]["lengths"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "rings" in said
    assert "same length" in said
    first = output.read_text()
    assert run(["topology", *arguments]) == 0
    assert output.read_text() == first


def test_radii_change_the_complex(tmp_path: Path, files: tuple[str, str]) -> None:
    contents = []
    for number, radii in enumerate(([], ["--radii", "equal"], ["--radii", "Cu=1.2,Zr=1.6"])):
        output = tmp_path / f"{number}.json"
        assert run(["topology", files[0], "--atom", "3", *radii, "-o", str(output)]) == 0
        contents.append(json.loads(output.read_text()))
    assert len({content["features"][-1]["death"] for content in contents}) == 3
    assert contents[1]["radii"]["Cu"] == contents[1]["radii"]["Zr"]
    assert contents[2]["radii"] == {"Cu": 1.2, "Zr": 1.6}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--atom", "125"], "no atom 125"),
        (["--atom", "0", "--radius", "9"], "cell is too small"),
        (["--atom", "0", "--radii", "Cu:1.2"], "Cu=1.28"),
        (["--atom", "0", "--radii", "Al=1.2"], "no such atoms but Cu, Zr"),
        (["--atom", "0", "--radii", "Kupfer=1.2"], "no such atoms but Cu, Zr"),
        (["--atom", "0", "-o", "topology.txt"], "give a name in .json"),
        (["--atom", "0", "--plot", "missing/picture.png"], "there is no folder missing"),
        (["--atom", "0", "--plot", "picture.docx"], "picture format"),
        (["--atom", "3", "--explanation", "EXPLANATION"], "atoms 17, 20"),
        (["--atom", "3", "--explanation", "missing.json"], "missing.json"),
        (["--atom", "3", "-o", "missing/topology.json"], "cannot write"),
        (["--atom", "3", "--explanation", "EXPLANATION", "-o", "EXPLANATION"], "would replace"),
    ],
)
def test_requests_that_cannot_be_met(
    files: tuple[str, str], arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [files[1] if argument == "EXPLANATION" else argument for argument in arguments]
    assert run(["topology", files[0], *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("symgnn: ")
    assert captured.err.count("\n") == 1
    assert word in captured.err


def test_without_gudhi_the_remedy_is_named(files: tuple[str, str]) -> None:
    code = (
        "import sys; sys.modules['gudhi'] = None; from symgnn.cli import run;"
        f"sys.exit(run(['topology', {files[0]!r}, '--atom', '3']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "pip install symgnn[topology]" in result.stderr
    assert result.stderr.count("\n") == 1
