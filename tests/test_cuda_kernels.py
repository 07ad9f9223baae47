"""The GPU's kernels compile for the GPU, and give the right numbers on the host.

`cpp/kernels/device.h` lets a C++ compiler build the very same kernel bodies for the host. What
only a GPU can show is in test_gpu.py.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch

from symgnn import _core  # noqa: F401 (brings the CPU operator)
from symgnn.models.attention import neighbor_softmax
from test_drag import ROUNDING, STRUCTURES, inputs_of, tiny_drag

SLOPE = 0.01


def nvcc():
    """The CUDA compiler, on the path or where its installer puts it."""
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


SOURCES = tuple(
    f"cpp/kernels/{name}_cuda.cu" for name in ("drag_energies", "edge_attention", "edge_embedding")
)


@pytest.mark.parametrize("architecture", ["80", "90"])
@pytest.mark.parametrize("source", SOURCES)
def test_kernels_compile_without_warnings(repository, tmp_path, architecture, source) -> None:
    compiler = nvcc()
    if compiler is None:
        pytest.skip("needs nvcc")
    command = [compiler, "-std=c++17", "-O3", f"-arch=sm_{architecture}", "-Werror", "all-warnings"]
    command += ["-Xcompiler", "-Wall,-Wextra,-Werror", "-Xptxas", "-v"]
    command += ["-c", str(repository / source), "-o", str(tmp_path / "kernels.o")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    # What registers cannot hold goes to slow memory, without a word.
    found = re.findall(r"Function properties for (\S+)\n +(\d+) bytes stack frame", run.stderr)
    outside = {name: int(count) for name, count in found if "KernelIf" in name}
    assert outside
    assert not any(outside.values()), outside


def build_for_host(repository, output, harness, *options):
    """Compile the kernels and a file of tests/ for the host; skip where there is no compiler."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    command = [compiler, "-std=c++17", "-pthread", "-Wall", "-Wextra", "-Werror", *options]
    # Few blocks, so that each takes several tiles of edges.
    command += ["-DSYMGNN_MOST_BLOCKS=2", "-I", str(repository / "cpp"), "-o", str(output)]
    sources = [str(repository / source) for source in (*SOURCES, f"tests/{harness}")]
    command += ["-x", "c++", *sources]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def host(repository, tmp_path_factory):
    """The kernels as a library for the host."""
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    built = build_for_host(repository, library, "cuda_kernels_host.cpp", "-O2", "-fPIC", "-shared")
    assert built.returncode == 0, built.stderr
    loaded = ctypes.CDLL(str(library))
    for name in ("forward", "backward", "embed", "drag"):
        for scalar in ("float", "double"):
            getattr(loaded, f"{name}_{scalar}").restype = ctypes.c_char_p
    return loaded


def structure_of(fields, scalar):
    """A ctypes structure; a field without a type is a pointer."""
    types = {"int": ctypes.c_int64, "scalar": scalar, "bool": ctypes.c_bool}
    names = [field.partition(":") for field in fields.split()]
    kinds = [(name, types.get(kind, ctypes.c_void_p)) for name, _, kind in names]
    return type("Structure", (ctypes.Structure,), {"_fields_": kinds})


TASK = """atoms:int edges:int heads:int width:int edge_width:int first neighbor projected edge
    edge_weight attention output_weight output_bias slope:scalar skip:bool gathered new_edge moments
"""
GRADIENT = """gathered new_edge moments d_projected d_edge d_edge_weight d_attention
    d_output_weight d_output_bias"""


def address(array):
    return None if array is None or array.numel() == 0 else array.data_ptr()


@dataclass
class Case:
    """Arguments of the operator, in its order."""

    projected: torch.Tensor
    edge: torch.Tensor
    edge_weight: torch.Tensor
    attention: torch.Tensor
    output_weight: torch.Tensor | None
    output_bias: torch.Tensor | None
    edge_index: torch.Tensor
    skip: bool

    @property
    def weights(self):
        """What has a gradient."""
        given = (self.projected, self.edge, self.edge_weight, self.attention)
        return (
            given if self.output_weight is None else (*given, self.output_weight, self.output_bias)
        )

    def first(self, row):
        atoms = self.projected.shape[0]
        return torch.searchsorted(row.contiguous(), torch.arange(atoms + 1))


def make_case(degrees, heads, width, edge_width, *, output=True, skip=True, dtype=torch.float64):
    """Random weights, and a graph whose atom i is the center of degrees[i] edges."""
    generator = torch.Generator().manual_seed(heads * 1000 + width)
    atoms, edges, channels = len(degrees), sum(degrees), heads * width
    center = torch.repeat_interleave(torch.arange(atoms), torch.tensor(degrees))
    # The last atom is nobody's neighbor.
    neighbor = torch.randint(max(1, atoms - 1), (edges,), generator=generator)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype) / shape[0] ** 0.5

    return Case(
        random(atoms, 3 * channels) * atoms**0.5,
        random(edges, edge_width) * max(edges, 1) ** 0.5,
        random(edge_width, channels),
        random(heads, width) * heads**0.5,
        random(channels, edge_width) if output else None,
        random(edge_width) if output else None,
        torch.stack((center, neighbor)),
        skip,
    )


def task_of(case, results):
    """The C structure of a case; `results` are gathered, new_edge and moments, or None."""
    scalar = ctypes.c_float if case.projected.dtype == torch.float32 else ctypes.c_double
    first = case.first(case.edge_index[0])
    heads, width = case.attention.shape
    task = structure_of(TASK, scalar)(
        case.projected.shape[0],
        *(case.edge.shape[0], heads, width, case.edge.shape[1]),
        first.data_ptr(),
        case.edge_index[1].data_ptr(),
        *(address(tensor) for tensor in (case.projected, case.edge, case.edge_weight)),
        *(address(tensor) for tensor in (case.attention, case.output_weight, case.output_bias)),
        SLOPE,
        case.skip,
        *(address(tensor) for tensor in results),
    )
    task.keep = (case, first, results)
    return task


def suffix(tensor):
    return "float" if tensor.dtype == torch.float32 else "double"


def on_host(host, case, *, gather=True, moments=True):
    """gathered, new_edge and moments of the kernels; NaN where they wrote nothing."""
    atoms, channels = case.projected.shape[0], case.attention.numel()
    nothing = torch.nan
    results = (
        case.projected.new_full((atoms, channels), nothing) if gather else None,
        None if case.output_weight is None else torch.full_like(case.edge, nothing),
        case.projected.new_full((2, channels), nothing) if moments else None,
    )
    task = task_of(case, results)
    forward = getattr(host, f"forward_{suffix(case.edge)}")
    assert forward(ctypes.byref(task), ctypes.c_void_p(case.edge_index.data_ptr())) is None
    return results


def gradients_on_host(host, case, given):
    """Gradients of case.weights, from gradients of the results, or None for them."""
    wanted = [torch.full_like(tensor, torch.nan) for tensor in case.weights]
    task = task_of(case, (None, None, None))
    pointers = [address(tensor) for tensor in (*given, *wanted)]
    gradient = structure_of(GRADIENT, None)(*pointers, *[None] * (9 - len(pointers)))
    order = torch.argsort(case.edge_index[1], stable=True)
    first = case.first(case.edge_index[1][order])
    by_neighbor = structure_of("first edge", None)(address(first), address(order))
    backward = getattr(host, f"backward_{suffix(case.edge)}")
    center = ctypes.c_void_p(case.edge_index.data_ptr())
    task, gradient, by_neighbor = map(ctypes.byref, (task, gradient, by_neighbor))
    assert backward(task, gradient, center, by_neighbor) is None
    return wanted


def plain(case):
    """The definition, in plain torch."""
    center, neighbor = case.edge_index
    heads, width = case.attention.shape
    as_center, as_neighbor, value = case.projected.split(heads * width, dim=1)
    entering = case.edge @ case.edge_weight + as_center[center] + as_neighbor[neighbor]
    hidden = torch.nn.functional.leaky_relu(entering, SLOPE)
    score = (hidden.view(-1, heads, width) * case.attention).sum(-1)
    weight = neighbor_softmax(score, center, case.projected.shape[0])
    message = (weight[..., None] * value[neighbor].view(-1, heads, width)).flatten(1)
    gathered = torch.zeros_like(value).index_add(0, center, message)
    new_edge = None
    if case.output_weight is not None:
        new_edge = hidden @ case.output_weight + case.output_bias
        new_edge = new_edge + case.edge if case.skip else new_edge
    return gathered, new_edge, torch.stack((hidden.sum(0), (hidden**2).sum(0)))


GLASS = [32, 0, 35, 29, 0, 33, 31, 40, 1, 28, 0]
CASES = {
    "paper, 8 heads": make_case(GLASS, 8, 32, 32),
    "paper, 4 heads": make_case(GLASS, 4, 32, 32, skip=False),
    "paper, 2 heads": make_case([*GLASS, 300, 2], 2, 32, 32),
    "last layer": make_case(GLASS, 1, 32, 32, output=False),
    "many edges of one atom": make_case([3, 700, 0, 5], 2, 32, 32),
    "odd widths": make_case(GLASS, 3, 5, 7),
    "odd heads, even edges": make_case(GLASS, 3, 7, 16),
    "wide": make_case(GLASS, 2, 48, 40),
    "one edge": make_case([0, 1, 0], 2, 16, 16),
    "no edges": make_case([0, 0, 0], 2, 16, 16),
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request):
    return CASES[request.param]


def operator(case):
    return torch.ops.symgnn.edge_attention(
        *(case.projected, case.edge, case.edge_weight, case.attention),
        *(case.output_weight, case.output_bias, case.edge_index),
        *(SLOPE, case.skip, True, True),
    )


def in_float32(case):
    tensors = {
        name: value.float()
        for name, value in vars(case).items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }
    return Case(**{**vars(case), **tensors})


def assert_close(actual, expected, tolerance):
    """Within a tolerance relative to the largest number, or both None."""
    if expected is None or expected.numel() == 0:
        return
    scale = max(1.0, float(expected.abs().max()))
    assert float((actual.double() - expected.double()).abs().max()) <= tolerance * scale


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
def test_kernels_agree_with_the_operator_of_the_cpu(host, case, dtype, tolerance) -> None:
    expected = operator(case)
    case = in_float32(case) if dtype == torch.float32 else case
    for actual, reference in zip(on_host(host, case), expected, strict=True):
        assert_close(actual, reference, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_gradients_agree_with_those_of_the_definition(host, case, dtype, tolerance) -> None:
    weights = [tensor.clone().requires_grad_() for tensor in case.weights]
    names = ("projected", "edge", "edge_weight", "attention", "output_weight", "output_bias")
    results = plain(Case(**{**vars(case), **dict(zip(names, weights, strict=False))}))
    generator = torch.Generator().manual_seed(5)
    given = [
        None if result is None else torch.randn(result.shape, generator=generator).to(result)
        for result in results
    ]
    present = [k for k, result in enumerate(results) if result is not None]
    expected = torch.autograd.grad(
        [results[k] for k in present], weights, [given[k] for k in present], allow_unused=True
    )
    if dtype == torch.float32:
        case = in_float32(case)
        given = [None if tensor is None else tensor.float() for tensor in given]
    actual = gradients_on_host(host, case, given)
    for name, one, other in zip(names, actual, expected, strict=False):
        assert not one.isnan().any(), name
        assert_close(one, torch.zeros_like(one) if other is None else other, tolerance)


@pytest.mark.parametrize("only", [0, 1, 2])
def test_gradients_of_one_result_alone(host, only) -> None:
    case = CASES["paper, 8 heads"]
    weights = [tensor.clone().requires_grad_() for tensor in case.weights]
    result = plain(Case(*weights, case.edge_index, case.skip))[only]
    expected = torch.autograd.grad(result.sin().sum(), weights, allow_unused=True)
    given = [None, None, None]
    given[only] = result.detach().cos()
    for one, other in zip(gradients_on_host(host, case, given), expected, strict=True):
        assert_close(one, torch.zeros_like(one) if other is None else other, 1e-12)


def test_results_that_are_not_wanted_are_left_out(host) -> None:
    case = CASES["paper, 8 heads"]
    everything = on_host(host, case)
    assert torch.equal(on_host(host, case, gather=False)[1], everything[1])
    assert torch.equal(on_host(host, case, moments=False)[0], everything[0])


def test_results_do_not_depend_on_the_number_of_threads(host, case) -> None:
    case = in_float32(case)
    results = []
    for threads in (1, 2, 7):
        host.set_threads(threads)
        forward = on_host(host, case)
        given = [None if result is None else torch.ones_like(result) for result in forward]
        results.append((*forward, *gradients_on_host(host, case, given)))
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            assert one is other is None or one.numpy().tobytes() == other.numpy().tobytes()


def test_threads_meet_at_barriers_only(repository, tmp_path) -> None:
    """ThreadSanitizer sees a barrier that is missing, and two threads that share a sum."""
    program = tmp_path / "race"
    built = build_for_host(
        repository, program, "cuda_kernels_race.cpp", "-O1", "-g", "-fsanitize=thread"
    )
    if "tsan" in built.stderr:
        pytest.skip("needs the compiler's ThreadSanitizer")
    assert built.returncode == 0, built.stderr
    run = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    if "unexpected memory mapping" in run.stderr:
        # Some kernels hand out addresses that it wants for itself.
        fixed = ["setarch", "-R", str(program)]
        run = subprocess.run(fixed, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[:3000]


def first_edges(host, center, neighbor, atoms):
    center, neighbor = np.array(center, np.int64), np.array(neighbor, np.int64)
    first = np.full(atoms + 1, -9, np.int64)
    problem = np.full(1, 7, np.int32)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (center, neighbor, first, problem)]
    count = ctypes.c_int64(len(center))
    host.find_first_edges(*pointers[:2], count, ctypes.c_int64(atoms), *pointers[2:])
    return first, int(problem[0])


@pytest.mark.parametrize("degrees", [GLASS, [0, 0, 3], [2, 0, 0], [0, 0], [1]])
def test_first_edges_of_centers(host, degrees) -> None:
    center = np.repeat(np.arange(len(degrees)), degrees)
    first, problem = first_edges(host, center, np.zeros_like(center), len(degrees))
    assert problem == 0
    assert all(end - begin == n for (begin, end), n in zip(pairwise(first), degrees, strict=True))
    assert first[0] == 0


@pytest.mark.parametrize(
    ("center", "neighbor"),
    [([1, 0], [0, 0]), ([0, 3], [0, 0]), ([0, 1], [0, 3]), ([-1, 0], [0, 0]), ([0, 0], [-1, 0])],
)
def test_wrong_edges_are_noticed(host, center, neighbor) -> None:
    assert first_edges(host, center, neighbor, 3)[1] == 1


EMBEDDING = """edges:int inputs:int width:int transformations:int average:bool
    input first_weight first_bias second_weight second_bias result own_second:bool"""


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize(
    ("edges", "inputs", "width", "transformations"),
    [(300, 3, 32, 4), (128, 8, 32, 1), (5, 3, 7, 3), (130, 5, 48, 2), (0, 3, 32, 2)],
)
def test_embedding_agrees_with_the_operator_of_the_cpu(
    host, edges, inputs, width, transformations, average, dtype, tolerance
) -> None:
    generator = torch.Generator().manual_seed(width)
    channels = transformations * width
    shapes = ((edges, inputs), (inputs, channels), (channels,), (width, width), (width,))
    tensors = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    expected = torch.ops.symgnn.edge_embedding(*(tensor.double() for tensor in tensors), average)

    result = torch.full((edges, width if average else channels), torch.nan, dtype=dtype)
    pointers = [address(tensor) for tensor in (*tensors, result)]
    sizes = (edges, inputs, width, transformations)
    task = structure_of(EMBEDDING, None)(*sizes, average, *pointers, False)
    assert getattr(host, f"embed_{suffix(result)}")(ctypes.byref(task)) is None
    assert_close(result, expected, tolerance)


DRAGGING = """species first neighbor edge_vector edge_stride:int elements:int energy slope
    lowest:scalar spacing:scalar reach:scalar slack:scalar mobility
    mobile_end:scalar mobile_ramp:scalar shell_end:scalar shell_ramp:scalar
    far:scalar far_ramp:scalar stride:scalar momentum:scalar longest:scalar
    relaxations:int strides:int iterations:int displacements:int
    levels:int temperatures most:int first_center:int result"""


def drag_on_host(host, drag, species, edge_index, edge_vector):
    """Columns [rows, columns] of the kernel; NaN where it wrote nothing."""
    dtype = edge_vector.dtype
    center, neighbor = edge_index
    first = torch.searchsorted(center.contiguous(), torch.arange(len(species) + 1))
    rows = int(center[-1] - center[0]) + 1
    powers = torch.arange(1.0, 4.0, dtype=dtype)[:, None] * (2.0 / drag.spacing)
    slope = (drag.energy[:, :, 1:] * powers).contiguous()
    temperatures = torch.tensor(drag.temperatures, dtype=dtype)
    result = torch.full((rows, drag.columns), torch.nan, dtype=dtype)
    scalar = ctypes.c_float if dtype == torch.float32 else ctypes.c_double
    task = structure_of(DRAGGING, scalar)(
        *(address(tensor) for tensor in (species, first, neighbor, edge_vector)),
        *(3, drag.elements, address(drag.energy), address(slope)),
        *(drag.lowest, drag.spacing, drag.reach, drag.slack, address(drag.mobility)),
        *(drag.mobile, drag.mobile_ramp, drag.shell, drag.shell_ramp),
        *(drag.far or 0.0, drag.far_ramp, drag.stride, drag.momentum, drag.longest),
        *(drag.relaxations, drag.strides, drag.iterations, drag.columns - drag.energies),
        *(drag.levels, address(temperatures)),
        *(int(first.diff().max()), int(center[0]), address(result)),
    )
    run = getattr(host, f"drag_{suffix(edge_vector)}")
    assert run(ctypes.byref(task), ctypes.c_int64(rows)) is None
    return result


DRAGGED = {
    "as it is": {},
    "no relaxation": {"relaxations": 0, "iterations": 3},
    "one stride, no iterations": {"strides": 1, "iterations": 0},
    "everything is mobile": {"mobile": 4.5, "mobile_ramp": 3.0, "shell": 4.5},
    "three temperatures": {"temperatures": [0.05, 0.2, 1.0]},
    "energies alone": {"far": None},
    "towards neighbors": {"stride": -0.4},
    "displacements of all": {"far": 0.0, "far_ramp": 2.0},
}


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("structure", STRUCTURES)
def test_dragging_agrees_with_the_operator_of_the_cpu(host, structure, dtype) -> None:
    drag = tiny_drag().to(dtype)
    inputs = inputs_of(STRUCTURES[structure](), dtype)
    found, expected = drag_on_host(host, drag, *inputs), drag(*inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=ROUNDING[dtype])


@pytest.mark.parametrize("changes", DRAGGED.values(), ids=list(DRAGGED))
def test_dragging_with_other_settings(host, changes) -> None:
    drag, inputs = tiny_drag(**changes), inputs_of(STRUCTURES["glass"]())
    found, expected = drag_on_host(host, drag, *inputs), drag(*inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=ROUNDING[torch.float64])


def test_dragging_depends_neither_on_threads_nor_on_the_order_of_edges(host) -> None:
    drag = tiny_drag().float()
    species, edge_index, edge_vector = inputs_of(STRUCTURES["slab"](), torch.float32)
    expected = None
    for threads in (1, 2, 7):
        host.set_threads(threads)
        order = torch.randperm(len(edge_vector), generator=torch.Generator().manual_seed(threads))
        order = order[torch.argsort(edge_index[0][order], stable=True)]
        found = drag_on_host(host, drag, species, edge_index[:, order], edge_vector[order])
        expected = found if expected is None else expected
        assert found.numpy().tobytes() == expected.numpy().tobytes()
