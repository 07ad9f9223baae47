"""One measurement of speed and memory, in a process of its own.

``python -m symgnn.benchmark_process REQUEST`` prints a JSON object; ``symgnn.benchmark`` starts it
and says what the requests are. A process of its own knows nothing of the caches, threads and memory
of the measurement before.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symgnn._native import load_core
from symgnn.annotator import Annotator
from symgnn.graph import build_graph
from symgnn.models import (
    DensityRegression,
    DensityRegressionConfig,
    Mixture,
    MixtureConfig,
    SymGNN,
    SymGNNConfig,
)
from symgnn.samples import sample_glass, sample_slab

if TYPE_CHECKING:
    from collections.abc import Callable

    from symgnn.models import NetworkConfig

_LONGEST, _LONG_ENOUGH = 30.0, 1.0  # seconds of all calls
_FEWEST, _USUAL, _MOST = 2, 4, 20  # calls
_MATRIX_WIDTH = {"cpu": 2048, "cuda": 8192}  # large enough for the machine's best


class Skipped(Exception):  # noqa: N818  nothing is wrong
    """The measurement is left out; the message says why."""


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Make the measurement ``request["kind"]``.

    Args:
        request: ``kind``, ``model`` (a file), ``atoms``, ``threads``, ``device``.

    Returns:
        ``seconds`` of every call, in order, and more, depending on the kind; or ``skipped``, the
        reason.
    """
    import torch

    torch.set_num_threads(request["threads"])
    try:
        return _KINDS[request["kind"]](request)
    except Skipped as reason:
        return {"skipped": str(reason)}


def _annotation(request: dict[str, Any]) -> dict[str, Any]:
    """The annotator, from positions to barriers."""
    annotator = Annotator(request["model"], device=request["device"], threads=request["threads"])
    slab = sample_slab(request["atoms"], annotator.elements)
    return _timed(lambda: annotator.predict([slab]), request["device"])


def _neighbor_list(request: dict[str, Any]) -> dict[str, Any]:
    """The core's neighbor list, with the copy of its result to NumPy."""
    find_edges = _edge_finder(request)
    return _timed(find_edges, "cpu") | {"edges": int(find_edges()[0].shape[1])}


def _eager(request: dict[str, Any]) -> dict[str, Any]:
    """The same architecture in plain torch with random weights, from the graph to barriers."""
    import torch

    from symgnn.operators import plain_torch

    annotator = Annotator(request["model"], device="cpu")
    metadata, device = annotator.metadata, request["device"]
    dtype = getattr(torch, metadata["dtype"])
    model = _eager_model(request["model"], metadata).to(dtype)
    needed, free = eager_memory(model, request["atoms"]), free_memory(device)
    if needed > free:
        raise Skipped(f"plain torch needs about {needed:.0f} MB, and {free:.0f} MB are free")
    graph = build_graph(
        sample_slab(request["atoms"], annotator.elements),
        annotator.cutoff,
        annotator.elements,
        self_edges=metadata["self_edges"],
        dtype=dtype,
    )
    model = model.to(device).eval()
    inputs = graph.to(device).inputs
    with torch.inference_mode(), plain_torch():
        return _timed(lambda: model(*inputs), device)


def _eager_model(path: str, metadata: dict[str, Any]) -> SymGNN | DensityRegression | Mixture:
    import torch

    if "architecture" not in metadata:
        raise Skipped("the model file does not say what its architecture is")
    architecture, elements = metadata["architecture"], len(metadata["elements"])
    if architecture["architecture"] == "formula":
        raise Skipped("a formula has no other form than plain torch")
    if architecture["architecture"] == "density_regression":
        config = DensityRegressionConfig(**architecture)
        if config.drag is not None:
            raise Skipped("plain torch only defines what dragging atoms means, and takes hours")
        return DensityRegression(config, elements, torch.jit.load(path).members)
    if architecture["architecture"] == "mixture":
        return Mixture(MixtureConfig(**architecture), elements, torch.jit.load(path).members)
    return SymGNN(SymGNNConfig(**architecture), elements)


def eager_memory(model: SymGNN | DensityRegression | Mixture, atoms: int) -> float:
    """About what a model takes in plain torch for a piece of the sample glass, MB.

    The attention of a SymGNN holds up to five tensors edges × heads × width at a time: hidden
    features, values, weighted values, and one or two in the making. A density regression holds the
    features of all atoms some times over, and its weights once for each atom and member. A mixture
    holds the one, then the other.
    """
    if isinstance(model, Mixture):
        return max(eager_memory(part, atoms) for part in (model.regression, model.network))
    if isinstance(model, SymGNN):
        numbers = 5 * _edges(model.config, atoms) * max(model.config.heads) * model.config.width
    else:
        numbers = atoms * sum(model.sizes) * (model.members + 4)
    return numbers * next(model.buffers()).element_size() / 1e6


def _edges(config: NetworkConfig, atoms: int) -> int:
    """As many for each atom as in the whole sample glass."""
    glass = sample_glass()
    index, _ = load_core().find_edges(
        glass.positions,
        glass.cell.array,
        glass.pbc,
        config.cutoff,
        self_edges=config.self_edges,
    )
    return atoms * int(index.shape[1]) // len(glass)


def free_memory(device: str) -> float:
    """Memory that a process could still take on a device, MB."""
    import torch

    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0] / 1e6
    return float(load_core().available_memory()) / 1e6


def _pieces(request: dict[str, Any]) -> dict[str, Any]:
    """The pieces of an annotation, timed one by one on the whole graph.

    They are the same that the annotator runs in C++: the core's neighbor list, and the methods
    ``start``, ``step`` and ``finish`` of the model file. ``rest`` is ``finish`` and the copies of
    graph and result.
    """
    import torch

    annotator = Annotator(request["model"], device="cpu")
    metadata, device = annotator.metadata, request["device"]
    dtype = getattr(torch, metadata["dtype"])
    network = torch.jit.load(request["model"], map_location=device).eval()
    species = torch.from_numpy(_species(annotator, request["atoms"])).to(device)
    find_edges = _edge_finder(request)
    calls: list[dict[str, float]] = []

    def call() -> None:
        clock = _Clock(device)
        index, vector = find_edges()
        spent = {"neighbor_list": clock.lap()}
        edge_index = torch.from_numpy(index).to(device)
        edge_vector = torch.from_numpy(vector).to(device, dtype)
        spent["rest"] = clock.lap()
        node, edge = network.start(species, edge_vector)
        spent["edge_embedding"] = clock.lap()
        for layer in range(metadata["layers"]):
            node, edge = network.step(layer, node, edge, edge_index)
        spent["attention_layers"] = clock.lap()
        network.finish(node).to("cpu", torch.float64).numpy()
        spent["rest"] += clock.lap()
        calls.append(spent)

    optimized = torch.jit.optimized_execution  # type: ignore[attr-defined]  # torch lists it nowhere
    with torch.inference_mode(), optimized(False):  # as the core does
        result = _timed(call, device)
    best = min(calls[1:], key=lambda spent: sum(spent.values()))
    return result | {"pieces": best}


def _matrix_product(request: dict[str, Any]) -> dict[str, Any]:
    """Product of two large square matrices, in the dtype of the model."""
    import torch

    device = torch.device(request["device"])
    dtype = getattr(torch, Annotator(request["model"], device="cpu").metadata["dtype"])
    width = _MATRIX_WIDTH[device.type]
    matrix = torch.randn(width, width, dtype=dtype, device=device)
    result = _timed(lambda: torch.mm(matrix, matrix), request["device"])
    return result | {"operations": 2 * width**3}


_KINDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "annotation": _annotation,
    "eager": _eager,
    "neighbor_list": _neighbor_list,
    "pieces": _pieces,
    "matrix_product": _matrix_product,
}


def _edge_finder(request: dict[str, Any]) -> Callable[[], tuple[Any, Any]]:
    metadata = Annotator(request["model"], device="cpu").metadata
    slab, core = sample_slab(request["atoms"]), load_core()
    edges: Callable[[], tuple[Any, Any]] = lambda: core.find_edges(  # noqa: E731
        slab.positions,
        slab.cell.array,
        slab.pbc,
        metadata["cutoff"],
        self_edges=metadata["self_edges"],
        threads=request["threads"],
    )
    return edges


def _species(annotator: Annotator, atoms: int) -> Any:
    symbols = sample_slab(atoms, annotator.elements).get_chemical_symbols()
    number = {symbol: index for index, symbol in enumerate(annotator.elements)}
    return np.array([number[symbol] for symbol in symbols], dtype=np.int64)


class _Clock:
    """Seconds from lap to lap, with everything done that a GPU was asked for."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._began = 0.0
        self.lap()

    def lap(self) -> float:
        import torch

        if self._device != "cpu":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        spent, self._began = now - self._began, now
        return spent


def _timed(call: Callable[[], object], device: str) -> dict[str, Any]:
    """Seconds of each call; ``memory``: the peak above what was there before the first, MB.

    On a GPU it is the GPU's memory.
    """
    memory = _GpuMemory(device) if device != "cpu" else _Memory()
    seconds: list[float] = []
    while not _enough(seconds):
        clock = _Clock(device)
        call()
        seconds.append(clock.lap())
    return {"seconds": seconds, "memory": memory.peak()}


def _enough(seconds: list[float]) -> bool:
    calls, total = len(seconds), sum(seconds)
    return calls >= _FEWEST and (
        total > _LONGEST or calls >= _MOST or (calls >= _USUAL and total > _LONG_ENOUGH)
    )


class _Memory:
    """Peak of the resident memory above where it began, from Linux's own count."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _kilobytes("/proc/self/status", "VmRSS")

    def peak(self) -> float:
        return (_kilobytes("/proc/self/status", "VmHWM") - self._before) * 1024 / 1e6


class _GpuMemory:
    """The same of torch's memory on a GPU."""

    def __init__(self, device: str) -> None:
        import torch

        self._device = device
        torch.cuda.init()  # or torch counts nothing of what the core has allocated
        torch.cuda.reset_peak_memory_stats(device)
        self._before = torch.cuda.memory_allocated(device)

    def peak(self) -> float:
        import torch

        return (torch.cuda.max_memory_allocated(self._device) - self._before) / 1e6


def _kilobytes(file: str, field: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise KeyError(field)


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
