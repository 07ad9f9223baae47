"""The transformations: their distributions, their gradients, and the invariance they give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from conftest import random_glass
from symgnn.graph import build_graph
from symgnn.models import SymGNNConfig, SymmetrizationConfig, build_model
from symgnn.models.symmetrization import (
    Symmetrization,
    euler_rotations,
    haar_rotations,
    octahedral_group,
    sample_von_mises,
)

ELEMENTS = ["Cu", "Zr"]


def network(config: SymGNNConfig, seed: int = 0):
    torch.manual_seed(seed)
    return build_model(config, 2).double().eval()


def change(model, graph, matrices) -> float:
    """Root mean square change of the prediction under transformations [T, 3, 3]."""
    with torch.no_grad():
        reference = model(graph.species, graph.edge_index, graph.edge_vector)
        changes = [
            model(graph.species, graph.edge_index, graph.edge_vector @ matrix.T) - reference
            for matrix in matrices
        ]
    return float(torch.stack(changes).square().mean().sqrt())


def spread(model, graph) -> float:
    with torch.no_grad():
        return float(model(graph.species, graph.edge_index, graph.edge_vector).std())


@pytest.fixture
def graph():
    return build_graph(random_glass(4, seed=2), 5.0, ELEMENTS, dtype=torch.float64)


@pytest.fixture
def matrices():
    torch.manual_seed(7)
    rotations = haar_rotations(4, dtype=torch.float64, device=torch.device("cpu"))
    return torch.cat([rotations[:2], -rotations[2:]])


@pytest.mark.parametrize("distribution", ["von_mises", "haar", "octahedral", "none"])
def test_every_transformation_is_orthogonal_and_half_are_rotations(distribution):
    matrices = Symmetrization(distribution, samples=5)()
    identity = torch.eye(3, dtype=matrices.dtype).expand_as(matrices)
    torch.testing.assert_close(matrices @ matrices.mT, identity)
    determinants = torch.linalg.det(matrices)
    expected = {"von_mises": 10, "haar": 10, "octahedral": 48, "none": 1}[distribution]
    assert len(matrices) == expected
    assert int((determinants > 0).sum()) == (expected + 1) // 2


def test_octahedral_group_is_closed():
    group = octahedral_group()
    members = {tuple(matrix.flatten().tolist()) for matrix in group}
    assert len(members) == 48
    assert {tuple((a @ b).flatten().tolist()) for a in group for b in group[:3]} <= members


def test_haar_rotations_send_a_vector_anywhere_with_equal_probability():
    torch.manual_seed(0)
    rotations = haar_rotations(20000, dtype=torch.float64, device=torch.device("cpu"))
    # The z component of a uniform point on the sphere is uniform, and so is its azimuth.
    points = (rotations @ torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)).numpy()
    assert stats.kstest(points[:, 2], stats.uniform(-1, 2).cdf).pvalue > 1e-3
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    assert stats.kstest(azimuth, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3


@settings(max_examples=20, deadline=None)
@given(
    location=st.floats(-3.0, 3.0),
    concentration=st.floats(0.05, 200.0),
    order=st.integers(1, 3),
)
def test_gradient_of_von_mises_expectation(location, concentration, order):
    """E[cos nθ] = I_n(κ)/I_0(κ) cos nμ has an exact derivative in μ and κ."""
    torch.manual_seed(order)
    count = 20000
    mu = torch.tensor([location], dtype=torch.float64, requires_grad=True)
    kappa = torch.tensor([concentration], dtype=torch.float64, requires_grad=True)
    angles = sample_von_mises(mu, kappa, count)[:, 0]
    values = torch.cos(order * angles)

    def ratio(k: float) -> float:
        from scipy.special import ive

        return float(ive(order, k) / ive(0, k))

    step = 1e-4 * concentration
    exact_kappa = (ratio(concentration + step) - ratio(concentration - step)) / (2 * step)
    exact_kappa *= np.cos(order * location)
    exact_mu = -order * ratio(concentration) * np.sin(order * location)
    # Gradients are means of independent samples: compare within five of their standard errors.
    derivative = -order * torch.sin(order * angles).detach()
    gradient_mu, gradient_kappa = torch.autograd.grad(values.mean(), [mu, kappa])
    error_mu = float(derivative.std()) / count**0.5
    assert abs(float(gradient_mu) - exact_mu) < 5 * error_mu + 1e-9
    # dθ/dκ is bounded by the spread of θ over κ, about κ^(-3/2) for sharp distributions.
    largest = float(derivative.abs().max()) * min(1.0, 2.0 * concentration**-1.5) * order
    assert abs(float(gradient_kappa) - exact_kappa) < 5 * largest / count**0.5 + 1e-9


def test_gradient_reaches_all_twelve_parameters_and_agrees_with_finite_differences():
    """The expectation over both sets, by quadrature over the three angles, differentiated."""
    torch.manual_seed(3)
    module = Symmetrization("von_mises", samples=40000).double()
    probe = torch.randn(3, 3, dtype=torch.float64)

    def observable(matrices: torch.Tensor) -> torch.Tensor:
        return torch.exp(0.5 * (matrices * probe).sum((-1, -2)))

    def expectation(location: torch.Tensor, concentration: torch.Tensor) -> float:
        grid = torch.linspace(-torch.pi, torch.pi, 65, dtype=torch.float64)[:-1]
        mesh = torch.stack(torch.meshgrid(grid, grid, grid, indexing="ij"), -1).view(-1, 3)
        total = 0.0
        for row, sign in ((0, 1.0), (1, -1.0)):
            logarithm = (concentration[row] * (torch.cos(mesh - location[row]) - 1.0)).sum(-1)
            weight = torch.exp(logarithm)
            values = observable(sign * euler_rotations(mesh))
            total += 0.5 * float((weight * values).sum() / weight.sum())
        return total

    module.train()
    observable(module()).mean().backward()
    step = 1e-4
    for parameter in (module.location, module.log_concentration):
        for index in np.ndindex(2, 3):
            values = []
            for sign in (1.0, -1.0):
                shifted = parameter.detach().clone()
                shifted[index] += sign * step
                location = shifted if parameter is module.location else module.location.detach()
                logarithm = (
                    shifted
                    if parameter is module.log_concentration
                    else module.log_concentration.detach()
                )
                values.append(expectation(location, logarithm.exp()))
            exact = (values[0] - values[1]) / (2 * step)
            assert parameter.grad[index] != 0.0
            assert abs(float(parameter.grad[index]) - exact) < 0.02, (index, exact)


def test_training_loss_reaches_all_twelve_parameters(graph):
    model = build_model(SymGNNConfig(width=8, heads=[2, 1]), 2).double()
    model(graph.species, graph.edge_index, graph.edge_vector).square().mean().backward()
    for parameter in (model.symmetrization.location, model.symmetrization.log_concentration):
        assert bool((parameter.grad != 0.0).all())


def test_training_draws_anew_and_evaluation_does_not():
    module = Symmetrization("haar", samples=2)
    assert not torch.equal(module(), module())
    module.eval()
    before = torch.random.get_rng_state()
    assert torch.equal(module(), module())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("distribution", ["von_mises", "haar", "octahedral", "none"])
def test_the_evaluation_set_is_the_same_in_every_dtype(distribution):
    """Or the exported float32 network would not be the one that was validated."""
    torch.manual_seed(0)
    module = Symmetrization(distribution, evaluation_samples=3).eval()
    before = module()
    assert before.dtype == torch.float64
    assert torch.equal(module.to(torch.float32)(), before)
    assert torch.equal(module.to(torch.float64)(), before)


def test_evaluation_seeds_no_other_device(monkeypatch):
    """torch.manual_seed would also reset GPUs, so that every epoch had the same dropout."""

    def seed_everything(_seed):
        raise AssertionError("seeds every device")

    monkeypatch.setattr(torch, "manual_seed", seed_everything)
    Symmetrization("haar").eval()()


@pytest.mark.parametrize("concentration", [0.0, float("nan"), float("inf"), 1e300, 1e20])
def test_a_concentration_out_of_bounds_gives_nan_and_ends(concentration):
    """torch's rejection sampler would never return."""
    kappa = torch.tensor([2.0, concentration], dtype=torch.float64)
    angles = sample_von_mises(torch.zeros(2, dtype=torch.float64), kappa, 5)
    assert angles[:, 0].isfinite().all()
    assert angles[:, 1].isnan().all()


@pytest.mark.parametrize("level", ["edge", "output"])
def test_haar_error_shrinks_with_the_number_of_samples(graph, matrices, level):
    """An average of 2K independent terms is off by an amount that falls like K^(-1/2)."""
    errors = []
    for samples in (1, 4, 16):
        config = SymGNNConfig(
            width=8,
            heads=[2, 1],
            symmetrization=SymmetrizationConfig(
                level=level, distribution="haar", evaluation_samples=samples
            ),
        )
        errors.append(np.mean([change(network(config, seed), graph, matrices) for seed in (0, 1)]))
    assert errors[0] > 0
    assert errors[1] < 0.75 * errors[0]
    assert errors[2] < 0.75 * errors[1]


@pytest.mark.parametrize("level", ["edge", "output"])
def test_octahedral_average_is_exact_under_its_own_group(graph, matrices, level):
    config = SymGNNConfig(
        width=8,
        heads=[2, 1],
        symmetrization=SymmetrizationConfig(level=level, distribution="octahedral"),
    )
    model = network(config)
    rounding = 1e-11 * spread(model, graph)
    assert change(model, graph, octahedral_group()[1::9]) < rounding
    # The cubic group is not all of O(3): other rotations do change the result.
    assert change(model, graph, matrices) > 1e3 * rounding


def test_lengths_are_invariant_without_any_average(graph, matrices):
    config = SymGNNConfig(
        width=8,
        heads=[2, 1],
        edge_input="length",
        symmetrization=SymmetrizationConfig(distribution="none"),
    )
    model = network(config)
    # Signs and permutations leave a length as it is; other transformations round it.
    signs = octahedral_group()[:8]
    assert change(model, graph, signs) == 0.0
    assert change(model, graph, matrices) < 1e-11 * spread(model, graph)


def test_bare_vectors_are_not_invariant(graph, matrices):
    """So that the tests above could fail."""
    config = SymGNNConfig(
        width=8, heads=[2, 1], symmetrization=SymmetrizationConfig(distribution="none")
    )
    model = network(config)
    assert change(model, graph, matrices) > 0.01 * spread(model, graph)
