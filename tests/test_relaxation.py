"""Relaxation towards the minimum before a model looks at a structure."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

from conftest import random_glass
from symgnn.annotator import Annotator
from symgnn.errors import ConfigError, ModelError
from symgnn.explain.weighted_model import WeightedModel
from symgnn.export import export_model
from symgnn.graph import Graph, build_graph
from symgnn.models.relaxation import STATE, Relaxation, RelaxationConfig
from symgnn.samples import sample_glass
from symgnn.scripted.density_regression import ExportedDensityRegression
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import parse_config
from symgnn.training.embedded_atom import set_relaxation
from symgnn.training.regression import fit
from tiny_regression import (
    DRAG,
    ELEMENTS,
    RELAXATION,
    TINY,
    TINY_DRAG,
    coordination,
    random_regression,
    shipped_potential,
    tiny_config,
    write_labeled,
)

if TYPE_CHECKING:
    from pathlib import Path

CUTOFF = 8.5
RELAXED: dict[str, Any] = {"cutoff": CUTOFF, "density_cutoff": 5.5, "relaxation": RELAXATION}


def graph_of(atoms: Atoms, dtype: torch.dtype = torch.float64) -> Graph:
    return build_graph(atoms, CUTOFF, ELEMENTS, dtype=dtype)


@cache
def relaxation(steps: int = 50) -> Relaxation:
    """As a fit to the sample glass would set it."""
    config = RelaxationConfig(steps=steps)
    result = Relaxation(config, 2).double()
    set_relaxation(result, shipped_potential(), ELEMENTS, graph_of(sample_glass()), config.rate)
    return result


def displaced(size: float, seed: int = 1) -> Atoms:
    atoms = sample_glass()
    atoms.rattle(size, seed=seed)
    return atoms


def displacement(graph: Graph, steps: int = 50) -> np.ndarray:
    """Of every atom, without that of the whole structure, [N, 3], Å."""
    module = relaxation(steps)
    state = torch.zeros(len(graph.species), STATE, dtype=torch.float64)
    for number in range(module.passes):
        state = module.step(number, state, *graph.inputs)
    result: np.ndarray = (state[:, :3] - state[:, :3].mean(0)).numpy()
    return result


def test_displaced_atoms_come_back_to_the_minimum() -> None:
    glass = sample_glass()
    for size in (0.05, 0.1):
        atoms = displaced(size)
        away = atoms.positions - glass.positions
        away -= away.mean(axis=0)
        away += displacement(graph_of(atoms))
        assert np.sqrt(np.square(away).mean()) < 0.25 * size


def test_forces_nearly_vanish() -> None:
    module, graph = relaxation(), graph_of(displaced(0.1))
    before = module.forces.of_all(*graph.inputs)
    after = module.forces.of_all(graph.species, graph.edge_index, module(*graph.inputs))
    assert after.square().mean().sqrt() < 0.03 * before.square().mean().sqrt()


def test_a_minimum_stays() -> None:
    assert np.abs(displacement(graph_of(sample_glass()))).max() < 2e-3


def test_turned_atoms_relax_alike() -> None:
    graph = graph_of(displaced(0.1))
    turn = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
    found = relaxation()(*graph.inputs)
    turned = relaxation()(graph.species, graph.edge_index, graph.edge_vector @ turn.T)
    torch.testing.assert_close(turned, found @ turn.T, rtol=0, atol=1e-6)


def test_edges_stay_those_of_displaced_atoms() -> None:
    """i → j and back are opposite, and edges around a triangle close."""
    graph = graph_of(random_glass(3, seed=2))
    vectors = relaxation()(*graph.inputs)
    moved = vectors - graph.edge_vector
    center, neighbor = graph.edge_index
    of_atom = moved[center == 0]
    first = {int(j): of_atom[k] for k, j in enumerate(neighbor[center == 0])}
    for edge in range(len(center)):
        i, j = int(center[edge]), int(neighbor[edge])
        if i in first and j in first and i != 0 and j != 0:
            expected = first[j] - first[i]
            torch.testing.assert_close(moved[edge], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("distance", [0.0, 0.01, 0.5, 1.0, 2.0, 7.9, 8.1])
def test_any_distance_gives_a_number(distance: float) -> None:
    atoms = Atoms("CuZr", positions=[[0, 0, 0], [distance, 0, 0]], cell=[40] * 3, pbc=True)
    moved = displacement(graph_of(atoms))
    assert np.isfinite(moved).all()
    assert bool((np.abs(moved) < 1e-6).all()) == (distance in (0.0, 7.9, 8.1))


def test_no_step_is_longer_than_the_longest() -> None:
    config = RelaxationConfig(steps=6, last_steps=0, longest=0.03)
    module, graph = Relaxation(config, 2).double(), graph_of(random_glass(3, seed=2))
    module.load_state_dict(relaxation().state_dict())
    state = torch.zeros(len(graph.species), STATE, dtype=torch.float64)
    longest = []
    for number in range(module.passes):
        after = module.step(number, state, *graph.inputs)
        longest.append(float((after - state)[:, :3].norm(dim=1).max()))
        state = after
    assert longest[0] == 0.0
    assert max(longest) == pytest.approx(0.03, rel=1e-6)


def test_structures_without_edges(tmp_path: Path) -> None:
    graph = graph_of(Atoms("Cu", cell=[40] * 3))
    assert relaxation()(*graph.inputs).shape == (0, 3)
    state = torch.ones(1, STATE, dtype=torch.float64)
    assert torch.equal(relaxation().step(1, state, *graph.inputs), state)
    model = random_regression(tiny_config(**RELAXED), members=4)
    exported = export_model(model, ELEMENTS, tmp_path / "model.pt", dtype="float64")
    found = Annotator(exported.path).predict([Atoms("Cu", cell=[40] * 3)])[0]
    expected = model(*graph.inputs).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("changes", [{}, TINY_DRAG], ids=["relaxing", "and dragging"])
def test_chunks_change_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    """With a given chunk, edges of displaced atoms are found anew in every layer."""
    model = random_regression(tiny_config(**{**RELAXED, **changes}), members=4)
    export_model(model, ELEMENTS, tmp_path / "model.pt", dtype="float64")
    glass = random_glass(4, seed=3)
    expected = model(*graph_of(glass).inputs).numpy()
    for chunk, threads in ((0, 1), (1, 1), (7, 2)):
        annotator = Annotator(tmp_path / "model.pt", chunk=chunk, threads=threads)
        found = annotator.predict([glass])[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_a_relaxing_model_is_not_explained(tmp_path: Path) -> None:
    model = random_regression(tiny_config(**RELAXED))
    export_model(model, ELEMENTS, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="relaxes structures, which weights of edges cannot"):
        WeightedModel(tmp_path / "model.pt")


def test_few_channels_leave_room_for_the_state() -> None:
    few = {"radial": 1, "coarse": 1, "components": 1, "shells": [5.0], "degree": 1}
    model = random_regression(tiny_config(**{**RELAXED, **few}), elements=1)
    form = torch.jit.script(ExportedDensityRegression(model))
    pair = Atoms("Cu2", [[0, 0, 0], [2.4, 0, 0]], cell=[40] * 3, pbc=True)
    graph = build_graph(pair, CUTOFF, ["Cu"])
    inputs = graph.species, graph.edge_index, graph.edge_vector.double()
    widths = []
    node, edge = form.start(inputs[0], inputs[2])
    for layer in range(form.layers):
        widths.append(node.shape[1])
        node, edge = form.step(layer, node, edge, inputs[1])
    assert max(widths) == widths[0]
    torch.testing.assert_close(form.finish(node), model(*inputs), rtol=0, atol=1e-9)


def test_a_regression_that_relaxes_knows_displaced_atoms(tmp_path: Path) -> None:
    """Without a single displaced atom in the fit, barriers come close to those of the minimum."""
    glass = sample_glass()
    write_labeled(tmp_path / "glass.xyz", [glass], [coordination(glass)])
    shift, correlation = {}, {}
    for name, changes in (("as it is", {}), ("relaxed", {"relaxation": {}})):
        values = {
            "data": {"train": ["glass.xyz"]},
            "model": {**TINY, "cutoff": CUTOFF, "density_cutoff": 5.5, **changes},
            "output": name,
        }
        content = load_checkpoint(fit(parse_config(values, "test"), base=tmp_path).best)
        model = restore_model(content, "best.ckpt")
        minimum, other = (
            model(*graph_of(atoms, torch.float32).inputs)[:, 0].numpy()
            for atoms in (glass, displaced(0.12))
        )
        shift[name] = abs(minimum.mean() - other.mean())
        correlation[name] = np.corrcoef(minimum, other)[0, 1]
    assert correlation["relaxed"] > 0.99 > 0.9 > correlation["as it is"]
    assert shift["relaxed"] < 0.1 * shift["as it is"]


def test_a_random_regression_looks_at_the_relaxed_structure() -> None:
    model = random_regression(tiny_config(**RELAXED))
    assert model.relaxation is not None
    graph = graph_of(random_glass(3, seed=1))
    relaxed = model.relaxed(*graph.inputs)
    assert (relaxed - graph.edge_vector).abs().max() > 0.1
    of_relaxed = model.describe(graph.species, graph.edge_index, relaxed)
    barrier = model.barriers(of_relaxed, graph.species)[:, 0]
    limits = model.label_range
    expected = barrier.clamp(float(limits[0]), float(limits[1]))
    torch.testing.assert_close(model(*graph.inputs)[:, 0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"relaxation": {"steps": 0}}, "steps"),
        ({"relaxation": {"steps": 10}}, "last_steps: no more than steps"),
        ({"relaxation": {"rate": 2.0}}, "rate"),
        ({"relaxation": {"momentum": 1.0}}, "momentum"),
        ({"relaxation": {"pace": 1.0}}, "pace"),
        ({"density_cutoff": None}, r"densities may end at 8\.1 Å: choose density_cutoff"),
        ({"drag": {**DRAG, "potential": "mine.eam.fs"}}, "name the same one in both"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config({"model": {**TINY, **RELAXED, **changes}}, "test")


def test_a_cutoff_that_ends_before_the_potential(tmp_path: Path) -> None:
    glass = sample_glass()
    write_labeled(tmp_path / "glass.xyz", [glass], [coordination(glass)])
    model = {**TINY, "cutoff": 7.9, "density_cutoff": 5.5, "relaxation": {}}
    values = {"data": {"train": ["glass.xyz"]}, "model": model}
    with pytest.raises(ConfigError, match=r"CuZr_2009 needs edges up to 8 Å.*at least that"):
        fit(parse_config(values, "test"), base=tmp_path)


def test_a_mixture_does_not_relax() -> None:
    values = {
        "model": {
            "architecture": "mixture",
            "densities": {"cutoff": 8.0, "density_cutoff": 7.0, "relaxation": {}},
        }
    }
    with pytest.raises(ConfigError, match="positions as they are"):
        parse_config(values, "test")
