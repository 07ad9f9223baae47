"""What only a GPU can show: the same numbers as on the CPU. `pytest -m gpu`, see docs/gpu.md."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import torch

from conftest import random_glass
from symgnn import Annotator, _core
from symgnn.check import compare_with_lammps
from symgnn.errors import SymGNNError
from symgnn.export import export_random, random_model
from symgnn.graph import build_graph
from symgnn.training.config import preset
from test_cuda_kernels import CASES, assert_close, in_float32, operator
from test_drag import ROUNDING, inputs_of, tiny_drag
from test_relaxation import displaced, graph_of, relaxation

HAS_GPU = torch.cuda.is_available()
HAS_KERNELS = torch._C._dispatch_has_kernel_for_dispatch_key("symgnn::edge_attention", "CUDA")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not HAS_GPU, reason="needs a CUDA device and a CUDA build of torch"),
]
needs_kernels = pytest.mark.skipif(
    not HAS_KERNELS, reason="needs a build with SYMGNN_CUDA=ON: see docs/gpu.md"
)

TOLERANCE = 2e-5
"""eV: float32 rounding of the paper's network, as for LAMMPS against Python."""


def leaves(case, device="cuda"):
    """A copy of a case of test_cuda_kernels on a device, whose numbers ask for gradients."""
    tensors = {
        name: value.detach().to(device, copy=True).requires_grad_(value.is_floating_point())
        for name, value in vars(case).items()
        if isinstance(value, torch.Tensor)
    }
    return dataclasses.replace(case, **tensors)


@needs_kernels
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", CASES)
def test_attention_and_its_gradients_are_those_of_the_cpu(name, dtype, tolerance) -> None:
    cpu = leaves(CASES[name], "cpu")
    expected = [result for result in operator(cpu) if result.requires_grad]
    expected_gradients = torch.autograd.grad(
        sum(result.sin().sum() for result in expected), cpu.weights, allow_unused=True
    )
    gpu = leaves(in_float32(CASES[name]) if dtype == torch.float32 else CASES[name])
    results = [result for result in operator(gpu) if result.requires_grad]
    for one, other in zip(results, expected, strict=True):
        assert_close(one.detach().cpu(), other.detach(), tolerance)
    # Both are given the same gradients of the results, not those of their own rounding.
    given = [result.detach().cos().to(dtype).cuda() for result in expected]
    gradients = torch.autograd.grad(results, gpu.weights, given, allow_unused=True)
    for one, other in zip(gradients, expected_gradients, strict=True):
        if other is not None:
            assert_close(one.cpu(), other, tolerance)


@needs_kernels
def test_results_are_the_same_bytes_in_every_run() -> None:
    case = leaves(in_float32(CASES["many edges of one atom"]))
    runs = []
    for _ in range(3):
        results = operator(case)
        gradients = torch.autograd.grad(sum(r.square().sum() for r in results), case.weights)
        runs.append([tensor.detach().cpu().numpy().tobytes() for tensor in (*results, *gradients)])
    assert runs[0] == runs[1] == runs[2]


@needs_kernels
def test_kernels_use_the_current_stream() -> None:
    case = leaves(CASES["paper, 8 heads"])
    expected = operator(case)[0].detach().cpu()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(20_000_000)
        shifted = dataclasses.replace(case, projected=(case.projected + 1.0) - 1.0)
        result = operator(shifted)[0].detach().cpu()
    assert_close(result, expected, 1e-12)


@needs_kernels
def test_wrong_edges_are_refused() -> None:
    case = leaves(CASES["paper, 8 heads"])
    for wrong in (case.edge_index.flip(1), case.edge_index + 5, case.edge_index - 1):
        with pytest.raises(RuntimeError, match="sorted by center and name existing atoms"):
            operator(dataclasses.replace(case, edge_index=wrong))


@needs_kernels
def test_tensors_on_two_devices_are_refused() -> None:
    case = leaves(CASES["paper, 8 heads"])
    with pytest.raises(RuntimeError, match="on one device"):
        operator(dataclasses.replace(case, edge_index=case.edge_index.cpu()))


@needs_kernels
@pytest.mark.parametrize("average", [True, False])
def test_embedding_is_that_of_the_cpu(average) -> None:
    shapes = ((5000, 3), (3, 128), (128,), (32, 32), (32,))
    tensors = [torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in shapes]
    expected = torch.ops.symgnn.edge_embedding(*tensors, average)
    result = torch.ops.symgnn.edge_embedding(*(tensor.cuda() for tensor in tensors), average)
    assert_close(result.cpu(), expected, 1e-5)


@pytest.mark.parametrize("preset_name", ["paper", "lengths"])
@pytest.mark.parametrize("side", [5, 12])
def test_barriers_of_networks_are_those_of_the_cpu(tmp_path, preset_name, side) -> None:
    model = tmp_path / "model.pt"
    export_random(preset_name, ["Cu", "Zr"], model)
    glass = random_glass(side, seed=side)
    (expected,) = Annotator(model, device="cpu").predict([glass])
    (found,) = Annotator(model, device="cuda").predict([glass])
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_barriers_of_the_shipped_model_are_those_of_the_cpu() -> None:
    glass = random_glass(10, seed=3)
    (expected,) = Annotator("cuzr-fast", device="cpu").predict([glass])
    (found,) = Annotator("cuzr-fast", device="cuda").predict([glass])
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_training_gradients_are_those_of_the_cpu(glass) -> None:
    # This preset samples nothing at random, which devices would do differently.
    config = preset("lengths").model.model_copy(update={"dropout": 0.0})
    model = random_model(config, ["Cu", "Zr"]).double().train()
    inputs = build_graph(glass, config.cutoff, ["Cu", "Zr"], dtype=torch.float64).inputs
    gradients = []
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        model.standardized(*(tensor.to(device) for tensor in inputs)).square().mean().backward()
        gradients.append([p.grad.cpu() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, 1e-9)


def test_annotators_in_several_threads_do_without_tf32(tmp_path) -> None:
    """One that ends must not give TF32 back to one that still computes."""
    model = tmp_path / "model.pt"
    export_random("paper", ["Cu", "Zr"], model)
    glasses = [random_glass(side, seed=1) for side in (4, 12)]
    expected = Annotator(model, device="cpu").predict(glasses)
    annotators = [Annotator(model, device="cuda") for _ in glasses]
    previous = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with ThreadPoolExecutor() as pool:
            futures = [
                pool.submit(annotator.predict, [glass] * 30)
                for annotator, glass in zip(annotators, glasses, strict=True)
            ]
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = previous
    for future, barriers in zip(futures, expected, strict=True):
        for found in future.result():
            np.testing.assert_allclose(found, barriers, rtol=0, atol=TOLERANCE)


def test_autocast_of_the_program_stays_outside() -> None:
    glass = random_glass(6, seed=2)
    annotator = Annotator("cuzr-fast", device="cuda")
    (expected,) = annotator.predict([glass])
    with torch.autocast("cuda"):
        (found,) = annotator.predict([glass])
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_lists_with_skin_serve_on_the_gpu() -> None:
    glass = random_glass(8, seed=4)
    on_gpu = Annotator("cuzr-fast", device="cuda", skin=0.6)
    moved = [glass.copy() for _ in range(3)]
    for number, atoms in enumerate(moved):
        atoms.rattle(0.02, seed=number)
    expected = Annotator("cuzr-fast", device="cpu").predict([glass, *moved])
    for found, barriers in zip(on_gpu.predict([glass, *moved]), expected, strict=True):
        np.testing.assert_allclose(found, barriers, rtol=0, atol=TOLERANCE)
    assert on_gpu._core.searches == 1


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_second_gpu_leaves_the_first_the_current_one() -> None:
    glass = random_glass(8, seed=5)
    (expected,) = Annotator("cuzr-fast", device="cpu").predict([glass])
    annotator = Annotator("cuzr-fast", device="cuda:1")
    (found,) = annotator.predict([glass])
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    del annotator
    assert torch.cuda.current_device() == 0


def test_plugin_alone_finds_the_gpu() -> None:
    """`lmp` imports no torch, which in Python loads NVRTC for the neighbor list."""
    glass = random_glass(8, seed=6)
    for ranks in (1, 2):
        (comparison,) = compare_with_lammps("cuzr-fast", glass, ranks=(ranks,), device="cuda")
        assert comparison.passed, comparison


@pytest.mark.parametrize("side", [2, 5, 14])
@pytest.mark.parametrize("pbc", [True, False, [True, False, True]])
@pytest.mark.parametrize("self_edges", [False, True])
def test_neighbor_list_is_that_of_the_cpu(side, pbc, self_edges) -> None:
    glass = random_glass(side, seed=side)
    glass.pbc = pbc
    glass.cell[1, 0] = 0.4 * glass.cell[0, 0]
    arguments = (glass.positions, glass.cell.array, glass.pbc, 5.0)
    found = _core.find_edges_on("cuda", *arguments, self_edges=self_edges)
    expected = _core.find_edges(*arguments, self_edges=self_edges)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-12)
    again = _core.find_edges_on("cuda", *arguments, self_edges=self_edges)
    assert all(one.tobytes() == other.tobytes() for one, other in zip(found, again, strict=True))


def test_the_neighbor_list_gets_memory_that_torch_does_not_use() -> None:
    glass = random_glass(56, seed=7)  # its list takes 0.9 GB
    free, _ = torch.cuda.mem_get_info()
    kept = torch.empty(free - 2**29, dtype=torch.uint8, device="cuda")
    del kept
    arguments = (glass.positions, glass.cell.array, glass.pbc, 5.0)
    found, _ = _core.find_edges_on("cuda", *arguments)
    np.testing.assert_array_equal(found, _core.find_edges(*arguments)[0])


def test_a_structure_that_does_not_fit_is_an_error_of_one_line() -> None:
    """And what was short of memory then works the next time."""
    glass = random_glass(56, seed=7)
    free, _ = torch.cuda.mem_get_info()
    used = torch.empty(free - 2**29, dtype=torch.uint8, device="cuda")
    annotator = Annotator("cuzr-fast", device="cuda")
    with pytest.raises(SymGNNError, match="too little memory for this structure"):
        annotator.predict([glass])
    del used
    torch.cuda.empty_cache()
    assert np.isfinite(annotator.predict([glass])[0]).all()


@needs_kernels
def test_a_graph_without_edges() -> None:
    gathered, new_edge, moments = operator(leaves(CASES["no edges"]))
    assert not gathered.any()
    assert not moments.any()
    assert new_edge.shape == (0, 16)


@pytest.mark.parametrize(("far", "stride"), [(2.8, 0.4), (None, 0.4), (2.8, -0.4)])
def test_energies_of_dragging_are_those_of_the_cpu(far: float | None, stride: float) -> None:
    drag = tiny_drag(far=far, stride=stride)
    inputs = inputs_of(random_glass(4, seed=3))
    expected = drag(*inputs)
    found = drag.cuda()(*(tensor.cuda() for tensor in inputs))
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=ROUNDING[torch.float64])
    again = drag(*(tensor.cuda() for tensor in inputs))
    assert torch.equal(found, again)


def test_relaxed_structures_are_those_of_the_cpu() -> None:
    inputs = graph_of(displaced(0.1)).inputs
    expected = relaxation()(*inputs)
    found = deepcopy(relaxation()).cuda()(*(tensor.cuda() for tensor in inputs))
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 0.1])
def test_barriers_of_dragging_are_those_of_the_cpu(size: float) -> None:
    glass = displaced(size)
    barriers = [
        Annotator("cuzr", device=device).predict([glass])[0][:, 0] for device in ("cpu", "cuda")
    ]
    # Single atoms differ by what rounding becomes on the way down a slope.
    assert np.sqrt(np.mean((barriers[0] - barriers[1]) ** 2)) < 2e-4
    assert np.abs(barriers[0] - barriers[1]).max() < 2e-2
