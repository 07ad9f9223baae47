"""The fused edge encoder gives what plain torch gives: values, gradients, running statistics."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from symgnn.models import SymGNN, SymGNNConfig
from symgnn.models.edge_encoder import embed_transformed
from symgnn.models.symgnn import SymmetrizationConfig
from symgnn.models.symmetrization import haar_rotations
from symgnn.operators import plain_torch


def plain_embedding(value, first_weight, first_bias, second_weight, second_bias, average):
    """What ``torch.ops.symgnn.edge_embedding`` is defined as."""
    hidden = hidden_layer(value, first_weight, first_bias, second_bias.size(-1))
    result = torch.relu((hidden[:, :, None] @ second_weight)[:, :, 0] + second_bias)
    return result.mean(1) if average else result.flatten(1)


def hidden_layer(value, first_weight, first_bias, width):
    """[E, T, W]."""
    return torch.relu(value @ first_weight + first_bias).unflatten(1, (-1, width))


def random_tensors(seed, *, edges, inputs, transformations, width, own_second, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    channels = transformations * width
    second = (transformations,) if own_second else ()
    return (
        normal(edges, inputs),
        normal(inputs, channels),
        normal(channels),
        normal(*second, width, width),
        normal(*second, width),
    )


CASES = {
    "edges": st.sampled_from([0, 1, 5, 72, 73, 2500]),
    "inputs": st.sampled_from([1, 3, 10]),
    "transformations": st.sampled_from([1, 2, 4]),
    "width": st.sampled_from([1, 5, 8, 16, 32]),
}


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), own_second=st.booleans(), average=st.booleans(), **CASES)
def test_embedding_and_its_gradient_are_those_of_the_definition(seed, own_second, average, **sizes):
    tensors = random_tensors(seed, own_second=own_second, **sizes)
    expected = plain_embedding(*tensors, average)
    found = torch.ops.symgnn.edge_embedding(*tensors, average)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10)
    given_gradient = torch.sin(torch.arange(float(expected.numel()))).double().view_as(expected)
    for one, other in zip(
        torch.autograd.grad(found, tensors, given_gradient),
        torch.autograd.grad(expected, tensors, given_gradient),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), **CASES)
def test_moments_are_sums_over_edges(seed, **sizes):
    width = sizes["width"]
    value, weight, bias, *_ = tensors = random_tensors(seed, own_second=True, **sizes)
    hidden = hidden_layer(value, weight, bias, width)
    found = torch.ops.symgnn.hidden_moments(value, weight, bias, width)
    expected = hidden.sum(0), torch.einsum("eti,etj->tij", hidden, hidden)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)
    results = [
        torch.autograd.grad(sums.sin().sum() + products.cos().sum(), tensors[:3])
        for sums, products in (found, expected)
    ]
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("width", [8, 5])
def test_gradients_are_those_of_finite_differences(width):
    tensors = random_tensors(0, edges=9, inputs=3, transformations=2, width=width, own_second=True)
    ops = torch.ops.symgnn
    assert torch.autograd.gradcheck(lambda *given: ops.edge_embedding(*given, True), tensors)
    assert torch.autograd.gradcheck(lambda *given: ops.hidden_moments(*given, width), tensors[:3])


@pytest.mark.parametrize("number", range(1, 5))
def test_tensors_of_the_wrong_shape_are_refused(number):
    sizes = {"edges": 9, "inputs": 3, "transformations": 2, "width": 8, "own_second": True}
    tensors = list(random_tensors(0, **sizes))
    tensors[number] = tensors[number][..., :-1]
    with pytest.raises(RuntimeError, match="is \\["):
        torch.ops.symgnn.edge_embedding(*tensors, True)


def test_other_dtypes_than_that_of_the_input_are_refused():
    sizes = {"edges": 9, "inputs": 3, "transformations": 2, "width": 8, "own_second": True}
    value, *others = random_tensors(0, **sizes)
    with pytest.raises(RuntimeError, match="one dtype"):
        torch.ops.symgnn.edge_embedding(value.float(), *others, True)


@pytest.mark.parametrize("edges", [2, 50, 5000])
@pytest.mark.parametrize("transformations", [1, 2, 8])
@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_training_fused_is_training_in_plain_torch(edges, transformations, normalization):
    """Two steps and an evaluation. Rows are off the origin, so that variances are differences."""
    results = []
    for choice in (nullcontext, plain_torch):
        torch.manual_seed(0)
        encoder = SymGNN(SymGNNConfig(width=8, normalization=normalization), 2).edge_encoder
        encoder = encoder.double()
        matrices = haar_rotations(transformations, dtype=torch.float64, device=torch.device("cpu"))
        matrices.requires_grad_()
        numbers = []
        with choice():
            for _ in range(2):
                value = (torch.randn(edges, 3, dtype=torch.float64) + 2.0).requires_grad_()
                result = embed_transformed(encoder, value, matrices)
                result.pow(3).sum().backward()
                numbers += [result, value.grad]
            numbers += [matrices.grad, *(parameter.grad for parameter in encoder.parameters())]
            numbers.append(embed_transformed(encoder.eval(), value, matrices))
        numbers += [buffer.double() for buffer in encoder.buffers()]
        results.append(numbers)
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"symmetrization": SymmetrizationConfig(level="output", samples=1)},
        {"symmetrization": SymmetrizationConfig(distribution="octahedral")},
        {"edge_input": "length", "symmetrization": SymmetrizationConfig(distribution="none")},
        {
            "edge_input": "length",
            "radial_basis": 6,
            "symmetrization": SymmetrizationConfig(distribution="none"),
        },
    ],
    ids=["edge", "output", "octahedral", "length", "radial basis"],
)
def test_a_network_trains_fused_as_in_plain_torch(config):
    """All gradients and running statistics; the last atoms are isolated."""
    torch.manual_seed(1)
    center = torch.randint(0, 17, (400,)).sort().values
    graph = torch.randint(0, 2, (20,)), torch.stack([center, torch.randint(0, 20, (400,))])
    vector = torch.randn(400, 3, dtype=torch.float64)
    results = []
    for choice in (nullcontext, plain_torch):
        torch.manual_seed(0)
        network = SymGNN(SymGNNConfig(width=8, heads=[2, 1], **config), 2).double().train()
        with choice():
            predicted = network.standardized(*graph, vector)
            predicted.pow(2).sum().backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        results.append([predicted, *gradients, *network.buffers()])
    for one, other in zip(*results, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one.double(), other.double(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("width", [16, 5])
def test_not_a_number_stays_one(width):
    """A run that diverges ends because of it."""
    sizes = {"edges": 9, "inputs": 3, "transformations": 2, "own_second": True}
    value, weight, *others = random_tensors(0, width=width, **sizes)
    weight = torch.full_like(weight, torch.nan)
    assert torch.ops.symgnn.edge_embedding(value, weight, *others, True).isnan().all()
    sums, products = torch.ops.symgnn.hidden_moments(value, weight, others[0], width)
    assert sums.isnan().all()
    assert products.isnan().all()


def test_threads_and_repetition_change_no_bit():
    sizes = {"edges": 9000, "inputs": 3, "transformations": 4, "width": 32, "own_second": True}
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 3):
            torch.set_num_threads(threads)
            tensors = random_tensors(2, dtype=torch.float32, **sizes)
            embedding = torch.ops.symgnn.edge_embedding(*tensors, True)
            moments = torch.ops.symgnn.hidden_moments(*tensors[:3], 32)
            total = embedding.square().sum() + sum(moment.sin().sum() for moment in moments)
            results.append([embedding, *moments, *torch.autograd.grad(total, tensors)])
    finally:
        torch.set_num_threads(before)
    for numbers in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(numbers, results[0], strict=True))
