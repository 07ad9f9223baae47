"""Weights on edges: one is the model, zero is no edge, and everything between is differentiable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import random_glass
from symgnn.export import export_model, random_model
from symgnn.graph import build_graph
from symgnn.models import (
    DensityRegressionConfig,
    MixtureConfig,
    SymGNNConfig,
    SymmetrizationConfig,
)
from tiny_mixture import random_mixture, tiny_mixture_config
from tiny_regression import random_regression, tiny_config

if TYPE_CHECKING:
    from symgnn.graph import Graph

ELEMENTS = ["Cu", "Zr"]
# Float64, summed in another order.
ROUNDING = 1e-9
MODELS = {
    "density regression": tiny_config(),
    "mixture": tiny_mixture_config([3, 1]),
    "mixture with a deeper network": tiny_mixture_config([3, 2, 2, 1]),
    "attention": SymGNNConfig(width=6, heads=[3, 2, 1], cutoff=4.5),
    "attention, one layer, self-edges": SymGNNConfig(
        width=5, heads=[2], cutoff=4.5, self_edges=True, skip=False, normalization="none"
    ),
    "attention, symmetrized outputs": SymGNNConfig(
        width=4,
        heads=[2, 1],
        cutoff=4.5,
        symmetrization=SymmetrizationConfig(
            level="output", distribution="haar", evaluation_samples=2
        ),
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model file as torch loads it, its cutoff, layers and self-edges."""
    config: Any = MODELS[request.param]
    torch.manual_seed(2)
    if isinstance(config, MixtureConfig):
        network: Any = random_mixture(config, members=3)
        layers = max(3, len(config.network.heads))
    elif isinstance(config, DensityRegressionConfig):
        network, layers = random_regression(config, members=3), 3
    else:
        network, layers = random_model(config, ELEMENTS), len(config.heads)
    path = tmp_path_factory.mktemp("model") / "model.pt"
    export_model(network, ELEMENTS, path, dtype="float64")
    return torch.jit.load(str(path)), config.cutoff, layers, config.self_edges


def graph_of(atoms: Atoms, model: Any) -> Graph:
    _, cutoff, _, self_edges = model
    return build_graph(atoms, cutoff, ELEMENTS, self_edges=self_edges, dtype=torch.float64)


def weighted(model: Any, graph: Graph, weight: torch.Tensor) -> torch.Tensor:
    """Barriers [N] of all atoms."""
    module, _, layers, _ = model
    within = [len(graph.species)] * (layers + 1)
    constants = module.weighted_start(*graph.inputs, within)
    found: torch.Tensor = module.weighted(
        weight, constants, graph.species, graph.edge_index, within
    )
    return found[:, 0]


def cluster() -> Atoms:
    """Atoms with and without neighbors, in open space."""
    atoms = random_glass(3, seed=4)
    atoms.pbc = False
    return atoms + Atoms("Cu2", positions=[[40, 0, 0], [80, 0, 0]])


STRUCTURES = {"glass": random_glass(3, seed=3), "cluster": cluster()}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_weights_of_one_are_the_model(model: Any, structure: str) -> None:
    graph = graph_of(STRUCTURES[structure], model)
    with torch.no_grad():
        expected = model[0](*graph.inputs)[:, 0]
        found = weighted(model, graph, torch.ones(graph.edge_index.shape[1], dtype=torch.float64))
    assert expected.std() > 1e4 * ROUNDING
    torch.testing.assert_close(found, expected, rtol=0, atol=ROUNDING)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**30), share=st.sampled_from([0.0, 0.02, 0.5, 0.95]))
def test_a_weight_of_zero_is_no_edge(model: Any, seed: int, share: float) -> None:
    """Also where all edges of an atom, or all edges at all, are gone."""
    graph = graph_of(STRUCTURES["glass"], model)
    kept = torch.from_numpy(np.random.default_rng(seed).random(graph.edge_index.shape[1]) < share)
    with torch.no_grad():
        expected = model[0](graph.species, graph.edge_index[:, kept], graph.edge_vector[kept])
        found = weighted(model, graph, kept.double())
    torch.testing.assert_close(found, expected[:, 0], rtol=0, atol=ROUNDING)


def test_gradients_are_those_of_finite_differences(model: Any) -> None:
    graph = graph_of(cluster(), model)
    generator = torch.Generator().manual_seed(0)
    shape = (graph.edge_index.shape[1],)
    weight = torch.rand(shape, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    direction = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight.requires_grad_()
    (gradient,) = torch.autograd.grad(weighted(model, graph, weight).sum(), weight)
    step = 1e-6
    with torch.no_grad():
        high, low = (
            weighted(model, graph, weight + sign * step * direction).sum() for sign in (1, -1)
        )
    slope = float((gradient * direction).sum())
    assert abs(slope) > 1e-3
    assert float((high - low) / (2 * step)) == pytest.approx(slope, rel=1e-4)


def test_weights_that_fall_together_lead_smoothly_to_isolated_atoms(model: Any) -> None:
    graph = graph_of(STRUCTURES["glass"], model)
    edges = graph.edge_index.shape[1]
    with torch.no_grad():
        none, hardly = (
            weighted(model, graph, torch.full((edges,), weight, dtype=torch.float64))
            for weight in (0.0, 1e-7)
        )
        some = weighted(model, graph, torch.full((edges,), 0.5, dtype=torch.float64))
    assert (some - none).abs().max() > 1e-3
    torch.testing.assert_close(hardly, none, rtol=0, atol=1e-4)
