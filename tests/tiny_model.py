"""A network small enough to check by hand, in the format that `symgnn export` writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

ELEMENTS = ["Cu", "Zr"]
CUTOFF = 4.0


class TinyNetwork(torch.nn.Module):
    """Two layers that sum neighbors with a weight that falls with the distance."""

    def __init__(self, outputs: int, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(outputs)

        def weights(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        self.register_buffer("embedding", weights(len(ELEMENTS), 3))
        self.register_buffer("mixing", weights(2, 3, 3) / 3)
        self.register_buffer("readout", weights(3, outputs))

    @torch.jit.export
    def start(
        self, species: torch.Tensor, edge_vector: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.embedding[species], torch.exp(-edge_vector.square().sum(1, keepdim=True) / 8)

    @torch.jit.export
    def step(
        self, layer: int, node: torch.Tensor, edge: torch.Tensor, edge_index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        message = edge * (node @ self.mixing[layer])[edge_index[1]]
        return torch.tanh(node + torch.zeros_like(node).index_add(0, edge_index[0], message)), edge

    @torch.jit.export
    def finish(self, node: torch.Tensor) -> torch.Tensor:
        return node @ self.readout

    def forward(
        self, species: torch.Tensor, edge_index: torch.Tensor, edge_vector: torch.Tensor
    ) -> torch.Tensor:
        node, edge = self.start(species, edge_vector)
        for layer in range(2):
            node, edge = self.step(layer, node, edge, edge_index)
        return self.finish(node)


def tiny_metadata(*, std: bool = False, dtype: str = "float64") -> dict[str, Any]:
    """Everything that symgnn.json has to say about the tiny network."""
    return {
        "format": 1,
        "elements": ELEMENTS,
        "cutoff": CUTOFF,
        "layers": 2,
        "width": 3,
        "dtype": dtype,
        "self_edges": False,
        "outputs": ["energy_barrier", "energy_barrier_std"] if std else ["energy_barrier"],
        "units": {"energy": "eV", "length": "angstrom"},
        "invariance": {"rms": 0.0, "max": 0.0},
        "training": {},
        "symgnn_version": "0.1.0",
        "torch_version": torch.__version__,
    }


def tiny_network(*, std: bool = False, dtype: str = "float64") -> TinyNetwork:
    """The eager network."""
    return TinyNetwork(2 if std else 1, getattr(torch, dtype)).eval()


def write_tiny_model(
    path: Path,
    *,
    std: bool = False,
    dtype: str = "float64",
    metadata: dict[str, Any] | str | None = None,
) -> Path:
    """Write a model file; `metadata` replaces its symgnn.json by other values or other text."""
    if metadata is None:
        metadata = tiny_metadata(std=std, dtype=dtype)
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    scripted = torch.jit.script(tiny_network(std=std, dtype=dtype))
    torch.jit.save(scripted, str(path), _extra_files={"symgnn.json": text})
    return path
