"""Forces by an embedded-atom potential, and what a regression makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from symgnn.models.embedded_atom import EmbeddedAtomForces
from symgnn.potentials import write_potential
from symgnn.samples import sample_glass
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import parse_config
from symgnn.training.embedded_atom import set_potential
from symgnn.training.pair_energies import potential_file
from symgnn.training.regression import fit
from tiny_regression import (
    DRAG,
    ELEMENTS,
    TINY_DRAG,
    coordination,
    random_regression,
    tiny_config,
    write_labeled,
)

if TYPE_CHECKING:
    from pathlib import Path


def forces_of(path: Path, elements: list[str]) -> EmbeddedAtomForces:
    forces = EmbeddedAtomForces(len(elements)).double()
    set_potential(forces, potential_file(path.name, path.parent), elements)
    return forces


def squared_forces(
    forces: EmbeddedAtomForces,
    atoms: Atoms,
    elements: list[str],
    dtype: torch.dtype = torch.float64,
) -> np.ndarray:
    graph = build_graph(atoms, 8.0, elements, dtype=dtype)
    near = forces.near(graph.edge_index, graph.edge_vector)
    slopes = forces.slopes(graph.species, *near)
    return forces.squared_forces(slopes, graph.species, *near).numpy()


@pytest.mark.parametrize("elements", [["Cu", "Zr"], ["Zr", "Cu"]])
def test_forces_are_those_of_lammps(elements: list[str], tmp_path: Path) -> None:
    path = write_potential(tmp_path)
    atoms = sample_glass()
    atoms.rattle(0.1, seed=1)
    potential = Potential.read("eam/fs", [f"* * {path.name} Cu Zr"], ["Cu", "Zr"], tmp_path)
    with Forces(atoms, potential) as lammps:
        _, expected = lammps(atoms.positions)
    found = squared_forces(forces_of(path, elements), atoms, elements)
    size = np.linalg.norm(expected, axis=1)
    assert size.mean() > 0.5
    np.testing.assert_allclose(np.sqrt(found), size, rtol=2e-3, atol=2e-3)


def test_forces_by_a_potential_of_one_density_are_those_of_lammps() -> None:
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=1)
    name = "Cu_mishin1.eam.alloy"
    with Forces(atoms, shipped_by_lammps("Cu", "eam/alloy", name)) as lammps:
        _, expected = lammps(atoms.positions)
    forces = forces_of(POTENTIALS / name, ["Cu"])
    size = np.linalg.norm(expected, axis=1)
    assert size.mean() > 0.5
    found = np.sqrt(squared_forces(forces, atoms, ["Cu"]))
    np.testing.assert_allclose(found, size, rtol=2e-3, atol=2e-3)


def test_densities_may_depend_on_both_elements() -> None:
    """Which neighbor adds what to whom: those of CuZr_2009 are the same both ways."""
    name, elements = "NiAlH_jea.eam.fs", ["Al", "Ni"]
    atoms = bulk("Al", cubic=True, a=3.7) * (3, 3, 3)
    atoms.symbols[::3] = "Ni"
    atoms.rattle(0.1, seed=1)
    potential = Potential.read("eam/fs", [f"* * {name} Al Ni"], elements, POTENTIALS)
    with Forces(atoms, potential) as lammps:
        _, expected = lammps(atoms.positions)
    found = np.sqrt(squared_forces(forces_of(POTENTIALS / name, elements), atoms, elements))
    np.testing.assert_allclose(found, np.linalg.norm(expected, axis=1), rtol=2e-3, atol=2e-3)


def test_there_is_no_force_in_a_minimum(tmp_path: Path) -> None:
    forces = forces_of(write_potential(tmp_path), ELEMENTS)
    assert squared_forces(forces, sample_glass(), ELEMENTS).max() < 1e-3**2
    found = squared_forces(forces.float(), sample_glass(), ELEMENTS, torch.float32)
    assert found.max() < 1e-3**2


def test_the_size_of_blocks_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forces = forces_of(write_potential(tmp_path), ELEMENTS)
    atoms = random_glass(3, seed=1)
    usual = squared_forces(forces, atoms, ELEMENTS)
    monkeypatch.setattr("symgnn.models.embedded_atom.edge_block", lambda _: 7)
    np.testing.assert_allclose(squared_forces(forces, atoms, ELEMENTS), usual, rtol=1e-9)


def test_turned_atoms_are_as_far_out_of_balance() -> None:
    model = random_regression(tiny_config(**TINY_DRAG))
    graph = build_graph(random_glass(3, seed=4), 8.5, ELEMENTS, dtype=torch.float64)
    turn = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
    found = model.unrest(*graph.inputs)
    assert ((found > 0.0) & (found < 1.0)).all()
    turned = model.unrest(graph.species, graph.edge_index, graph.edge_vector @ turn.T)
    torch.testing.assert_close(turned, found, rtol=0, atol=1e-9)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.5, 7.599, 7.7])
def test_any_distance_gives_a_number(distance: float) -> None:
    model = random_regression(tiny_config(**TINY_DRAG))
    atoms = Atoms("CuZr", positions=[[0, 0, 0], [distance, 0, 0]], cell=[40] * 3, pbc=True)
    graph = build_graph(atoms, 8.5, ELEMENTS, dtype=torch.float64)
    found = model.unrest(*graph.inputs)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    assert bool((found == 0.0).all()) == (distance in (0.0, 7.7))


def test_copies_keep_the_mean_at_no_cost_on_the_minimum(tmp_path: Path) -> None:
    """What displaced atoms have in common is told from their forces instead of their features."""
    glass = sample_glass()
    displaced = glass.copy()
    displaced.rattle(0.1, seed=1)
    label = np.random.default_rng(0).normal(0.0, 0.1, len(glass)) + coordination(glass)
    write_labeled(tmp_path / "glass.xyz", [glass], [label])
    write_labeled(tmp_path / "copy.xyz", [displaced], [label])
    graphs = [build_graph(atoms, 8.5, ELEMENTS) for atoms in (glass, displaced)]
    shift, error = {}, {}
    for name, copies in (("without", []), ("with", ["copy.xyz"])):
        values = {
            "data": {"train": ["glass.xyz"], "thermal": copies, "thermal_weight": 1e-6},
            "model": {
                **TINY_DRAG,
                "drag": {**DRAG, "potential": "CuZr_2009"},
                "thermal_mean": 1.0,
            },
            "output": name,
        }
        content = load_checkpoint(fit(parse_config(values, "test"), base=tmp_path).best)
        model = restore_model(content, "best.ckpt")
        minimum, copy = (model(*graph.inputs)[:, 0].double().numpy() for graph in graphs)
        shift[name] = abs(copy.mean() - minimum.mean())
        error[name] = np.square(minimum - label).mean()
    assert shift["with"] < 0.2 * shift["without"]
    assert error["with"] == pytest.approx(error["without"], rel=4e-6)
