"""The fused operators give what their definition in plain torch gives, and so do its gradients."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from symgnn.models import SymGNN, SymGNNConfig, settle_normalization
from symgnn.models.attention import EdgeAttention, attend, edge_attention
from symgnn.models.dropout import ByteDropout
from symgnn.models.symgnn import SymmetrizationConfig
from symgnn.operators import plain_torch
from symgnn.scripted.symgnn import ExportedLayer, ExportedSymGNN

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
SLOPE = 0.01


def random_inputs(
    seed, *, atoms=20, edges=300, heads=2, width=8, edge_width=8, dtype=torch.float64
):
    """Arguments up to edge_index; the last atoms have no edges."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype) / max(shape[0], 1) ** 0.25

    channels = heads * width
    center = torch.randint(0, max(atoms - 3, 1), (edges,), generator=generator).sort().values
    neighbor = torch.randint(0, atoms, (edges,), generator=generator)
    return (
        normal(atoms, 3 * channels),
        normal(edges, edge_width),
        normal(edge_width, channels),
        normal(heads, width),
        normal(channels, edge_width),
        normal(edge_width),
        torch.stack([center, neighbor]),
    )


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    atoms=st.integers(1, 40),
    edges=st.sampled_from([0, 1, 5, 30, 600]),
    heads=st.integers(1, 8),
    width=st.sampled_from([1, 3, 4, 8, 16, 32]),
    edge_width=st.sampled_from([1, 5, 8, 16, 32]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    skip=st.booleans(),
    has_output=st.booleans(),
)
def test_operator_gives_what_its_definition_gives(
    seed, atoms, edges, heads, width, edge_width, dtype, skip, has_output
):
    inputs = list(
        random_inputs(
            seed,
            atoms=atoms,
            edges=edges,
            heads=heads,
            width=width,
            edge_width=edge_width,
            dtype=dtype,
        )
    )
    if not has_output:
        inputs[4] = inputs[5] = None
    expected = edge_attention(*inputs, SLOPE, skip)
    found = torch.ops.symgnn.edge_attention(*inputs, SLOPE, skip, True, True)
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        scale = max(1.0, float(one.abs().max())) if one.numel() else 1.0
        assert one.numel() == 0 or float((one - other).abs().max()) <= TOLERANCE[dtype] * scale


def test_a_center_with_more_edges_than_a_group_holds():
    inputs = random_inputs(0, atoms=4, edges=3000)
    expected = edge_attention(*inputs, SLOPE, True)
    found = torch.ops.symgnn.edge_attention(*inputs, SLOPE, True, True, False)
    for one, other in zip(expected[:2], found[:2], strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_far_apart_do_not_overflow(dtype):
    inputs = list(random_inputs(1, dtype=dtype))
    inputs[3] = inputs[3] * 1e3
    expected = edge_attention(*inputs, SLOPE, True)
    found = torch.ops.symgnn.edge_attention(*inputs, SLOPE, True, True, False)
    assert torch.isfinite(found[0]).all()
    assert float((expected[0] - found[0]).abs().max()) < 1e3 * TOLERANCE[dtype]


@pytest.mark.parametrize("width", [8, 5])
@pytest.mark.parametrize("wanted", ["everything", "gathered", "new edges", "moments"])
def test_gradient(width, wanted):
    inputs = random_inputs(2, atoms=9, edges=50, heads=2, width=width, edge_width=width)
    *tensors, edge_index = inputs
    for tensor in tensors:
        tensor.requires_grad_()

    def call(*tensors):
        with_output = tensors if len(tensors) == 6 else (*tensors, None, None)
        gathered, new_edge, moments = torch.ops.symgnn.edge_attention(
            *with_output, edge_index, SLOPE, True, wanted != "new edges", wanted != "gathered"
        )
        if wanted == "everything":
            return gathered, new_edge, moments
        return {"gathered": gathered, "new edges": new_edge, "moments": moments}[wanted]

    chosen = tensors[:4] if wanted in ("gathered", "moments") else tensors
    assert torch.autograd.gradcheck(call, chosen)


def test_threads_change_nothing_but_the_rounding_of_weight_gradients():
    inputs = random_inputs(3, atoms=400, edges=20000, heads=4, width=16, edge_width=16)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaves = [tensor.clone().requires_grad_() for tensor in inputs[:6]]
            outputs = torch.ops.symgnn.edge_attention(*leaves, inputs[6], SLOPE, True, True, True)
            sum(output.square().sum() for output in outputs).backward()
            results.append((outputs, [leaf.grad for leaf in leaves]))
    finally:
        torch.set_num_threads(before)
    for outputs, gradients in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outputs, results[0][0], strict=True))
        for one, other in zip(gradients, results[0][1], strict=True):
            assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


def test_the_same_call_gives_the_same_bits():
    inputs = random_inputs(4, edges=5000, dtype=torch.float32)
    results = []
    for _ in range(2):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs[:6]]
        outputs = torch.ops.symgnn.edge_attention(*leaves, inputs[6], SLOPE, True, True, True)
        sum(output.square().sum() for output in outputs).backward()
        results.append([*outputs, *(leaf.grad for leaf in leaves)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i[6].flip(1), "sorted by center"),
        (lambda i: torch.where(i[6] == i[6].max(), 99, i[6]), "existing atoms"),
        (lambda i: i[6] - 1, "existing atoms"),
        (lambda i: i[6][:, :-1], r"edge_index is \[2, E\]"),
        (lambda i: i[6].to(torch.int32), "int64"),
    ],
)
def test_graphs_that_are_none_are_refused(change, message):
    inputs = list(random_inputs(5))
    inputs[6] = change(inputs)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.symgnn.edge_attention(*inputs, SLOPE, True, True, False)


@pytest.mark.parametrize("number", range(6))
def test_tensors_of_the_wrong_shape_are_refused(number):
    inputs = list(random_inputs(6))
    inputs[number] = inputs[number][..., :-1]
    with pytest.raises(RuntimeError, match="is \\["):
        torch.ops.symgnn.edge_attention(*inputs, SLOPE, True, True, False)


def test_other_dtypes_than_those_of_the_edges_are_refused():
    inputs = list(random_inputs(7))
    inputs[2] = inputs[2].float()
    with pytest.raises(RuntimeError, match="Float"):
        torch.ops.symgnn.edge_attention(*inputs, SLOPE, True, True, False)


def layer_and_graph(*, updates_edges=True, normalization="batch"):
    torch.manual_seed(0)
    layer = EdgeAttention(8, 3, updates_edges=updates_edges, normalization=normalization).double()
    _, edge, *_, edge_index = random_inputs(8, edge_width=8)
    return layer, torch.randn(20, 8, dtype=torch.float64), edge, edge_index


@pytest.mark.parametrize("normalization", ["batch", "none"])
@pytest.mark.parametrize("updates_edges", [True, False])
def test_training_with_the_operator_is_training_without(normalization, updates_edges):
    """Two steps in training mode, then evaluation: outputs, gradients, running statistics."""
    results = []
    for choice in (nullcontext, plain_torch):
        layer, node, edge, edge_index = layer_and_graph(
            updates_edges=updates_edges, normalization=normalization
        )
        numbers = []
        with choice():
            for _ in range(2):
                node, edge = (x.detach().requires_grad_() for x in (node, edge))
                outputs = layer(node, edge, edge_index)
                sum(output.pow(3).sum() for output in outputs).backward()
                numbers += [*outputs, node.grad, edge.grad]
            numbers += [parameter.grad for parameter in layer.parameters()]
            numbers += list(layer.eval()(node, edge, edge_index))
        numbers += [buffer.double() for buffer in layer.buffers()]
        results.append(numbers)
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [16, 5])
@pytest.mark.parametrize("edges", [0, 1, 7, 3000])
def test_gradient_of_the_output_weight_alone(edges, width):
    """What batch normalization asks for first is what all gradients at once contain."""
    inputs = random_inputs(10, edges=edges, heads=3, width=width, edge_width=width)
    generator = torch.Generator().manual_seed(0)
    new_edge = torch.randn(edges, width, generator=generator, dtype=torch.float64)
    weight, bias = torch.ops.symgnn.edge_attention_output_backward(
        new_edge, *inputs[:4], inputs[6], SLOPE
    )
    every = torch.ops.symgnn.edge_attention_backward(
        None, new_edge, None, *inputs, SLOPE, True, True
    )
    _, hidden = attend(*inputs[:4], inputs[6], SLOPE)
    for found in (weight, every[4]):
        assert torch.allclose(found, hidden.T @ new_edge, rtol=0, atol=1e-10)
    for found in (bias, every[5]):
        assert torch.allclose(found, new_edge.sum(0), rtol=0, atol=1e-10)


@pytest.mark.parametrize("node_only", [True, False])
def test_gradient_with_batch_normalization(node_only):
    """Against finite differences, with results that the loss reads or leaves alone."""
    layer, node, edge, edge_index = layer_and_graph()
    node, edge, edge_index = node[:9], edge[:50], edge_index[:, :50].clamp(max=8)
    leaves = node.requires_grad_(), edge.requires_grad_(), *layer.parameters()
    layer.node_normalization.eval()

    def call(node, edge, *_):
        new_node, new_edge = layer(node, edge, edge_index)
        return new_node if node_only else (new_node, new_edge)

    assert torch.autograd.gradcheck(call, leaves)


@pytest.mark.parametrize("atoms", [1, 5])
def test_layer_without_edges_trains(atoms):
    layer, *_ = layer_and_graph()
    layer.node_normalization.eval()
    node = torch.randn(atoms, 8, dtype=torch.float64, requires_grad=True)
    edge = torch.empty(0, 8, dtype=torch.float64, requires_grad=True)
    new_node, new_edge = layer(node, edge, torch.empty(2, 0, dtype=torch.int64))
    (new_node.sum() + new_edge.sum()).backward()
    assert new_edge.shape == edge.shape
    assert torch.equal(node.grad, torch.ones_like(node))  # through the skip connection alone
    assert all(bool(parameter.grad.isfinite().all()) for parameter in layer.parameters())


def test_batch_normalization_is_that_of_torch():
    """Statistics from sums of f against torch's own module on f itself."""
    layer, node, edge, edge_index = layer_and_graph()
    reference = torch.nn.BatchNorm1d(24).double()
    with torch.no_grad():
        reference.weight.uniform_(0.5, 1.5)
        reference.bias.normal_()
        layer.edge_normalization.load_state_dict(reference.state_dict())
    hidden = layer.edge(edge) + layer.center(node)[edge_index[0]]
    hidden = torch.nn.functional.leaky_relu(hidden + layer.neighbor(node)[edge_index[1]], SLOPE)
    expected = edge + layer.edge_projection(reference(hidden))
    _, found = layer(node, edge, edge_index)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    for name, buffer in reference.state_dict().items():
        assert torch.allclose(layer.edge_normalization.state_dict()[name], buffer, atol=1e-10)


def test_settled_statistics_are_those_of_the_edges():
    """`settle_normalization` trains the normalizations alone, in a model that is evaluated."""
    layer, node, edge, edge_index = layer_and_graph()
    settle_normalization(layer, [(node, edge, edge_index)])
    normalization = layer.edge_normalization
    with torch.no_grad():
        projected = torch.nn.functional.linear(node, *layer.node_input())
        inputs = projected, edge, layer.edge.weight.T, layer.attention, None, None, edge_index
        _, _, (mean, square) = edge_attention(*inputs, SLOPE, skip=True)
    mean, square = mean / len(edge), square / len(edge)
    variance = (square - mean.square()) * len(edge) / (len(edge) - 1)
    assert torch.allclose(normalization.running_mean, mean, rtol=0, atol=1e-12)
    assert torch.allclose(normalization.running_var, variance, rtol=0, atol=1e-12)


def test_exported_layer_in_blocks_is_the_operator():
    """What a device without kernels runs: plain torch, a block of edges at a time."""
    layer, node, _, _ = layer_and_graph()
    _, edge, *_, edge_index = random_inputs(9, atoms=20, edges=6000, edge_width=8)
    exported = ExportedLayer(layer.eval())
    with torch.no_grad():
        projected = torch.addmm(exported.node_bias, node, exported.node_weight)
        output = exported.output_weight, exported.output_bias
        gathered, new_edge = exported._in_blocks(projected, edge, *output, edge_index)
        new_node = node + exported.node_output(gathered)
        expected = exported(node, edge, edge_index)
    assert torch.allclose(new_node, expected[0], rtol=0, atol=1e-12)
    assert torch.allclose(new_edge, expected[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", ["edge", "output"])
@pytest.mark.parametrize("width", [8, 5])
def test_edge_embedding_is_what_plain_torch_gives(level, width):
    torch.manual_seed(0)
    config = SymGNNConfig(
        width=width,
        heads=[2],
        symmetrization=SymmetrizationConfig(level=level, evaluation_samples=3),
    )
    model = ExportedSymGNN(SymGNN(config, 2).double().eval())
    vector = torch.randn(5000, 3, dtype=torch.float64)
    with torch.no_grad():
        _, edge = model.start(torch.zeros(1, dtype=torch.int64), vector)
        expected = model._embed_in_blocks(vector)
    assert edge.shape == (5000, width if level == "edge" else 6 * width)
    assert torch.allclose(edge, expected, rtol=0, atol=1e-12)


def test_dropout_zeroes_the_share_that_it_should_and_keeps_the_mean():
    dropout = ByteDropout(0.25)
    value = torch.ones(1000, 333, requires_grad=True)
    torch.manual_seed(0)
    dropped = dropout(value)
    assert float((dropped == 0).double().mean()) == pytest.approx(0.25, abs=0.004)
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    dropped.sum().backward()
    assert torch.equal(value.grad, dropped)
    # Neighbors in memory share a random number, but none of its bits.
    zeros = (dropped.detach().flatten()[: 333 * 1000 // 8 * 8].view(-1, 8) == 0).double()
    correlation = torch.corrcoef(zeros.T) - torch.eye(8, dtype=torch.float64)
    assert float(correlation.abs().max()) < 0.03
    torch.manual_seed(0)
    assert torch.equal(dropout(value), dropped)
    assert dropout.eval()(value) is value
    assert ByteDropout(0.0)(value) is value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(0, 8), (3, 5), (1000, 32)])
def test_dropout_fused_is_dropout_in_plain_torch(shape, dtype):
    results = []
    for choice in (nullcontext, plain_torch):
        value = torch.linspace(-1.0, 1.0, shape[0] * shape[1], dtype=dtype).view(shape)
        value.requires_grad_()
        torch.manual_seed(0)
        with choice():
            dropped = ByteDropout(0.3)(value)
        dropped.square().sum().backward()
        results.append((dropped, value.grad))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=0)


def test_dropout_takes_one_byte_for_each_element():
    with pytest.raises(RuntimeError, match="one for each element"):
        torch.ops.symgnn.byte_dropout(torch.ones(4), torch.ones(3, dtype=torch.uint8), 64)
