"""Time of a training epoch of the paper's network: fused operators against plain torch.

One epoch here is one glass, the slab that `symgnn benchmark` uses: forward, backward and optimizer
step. Either kind runs in a process of its own, in turn; ratios are taken pair by pair.

    python benchmarks/training.py [--atoms 8000] [--threads 2] [--pairs 5]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

LEAST_RATIO = 4.0
STEPS = 4
RESULT = Path(__file__).parent / "results" / "training.json"


def measure(kind: str, atoms: int, threads: int) -> None:
    """Print seconds of the best of the steps after the first, and the loss after all of them."""
    import torch

    from symgnn.graph import build_graph
    from symgnn.models import SymGNN
    from symgnn.operators import plain_torch
    from symgnn.samples import sample_slab
    from symgnn.training.config import preset
    from symgnn.training.dataset import in_spatial_order
    from symgnn.training.device import keep_freed_memory
    from symgnn.training.loop import make_optimizer

    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = preset("paper")
    slab = in_spatial_order(sample_slab(atoms))
    graph = build_graph(slab, config.model.cutoff, ["Cu", "Zr"], self_edges=True)
    network = SymGNN(config.model, 2).train()
    optimizer = make_optimizer(config.optimizer, network)
    label = torch.randn(atoms, 1)
    seconds = []
    with plain_torch() if kind == "plain" else nullcontext():
        for _ in range(STEPS):
            began = time.perf_counter()
            loss = (network.standardized(*graph.inputs) - label).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": min(seconds[1:]), "loss": loss.item()}))


def main() -> None:
    """Run the pairs, print and save the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--measure", choices=("fused", "plain"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.atoms, arguments.threads)
        return

    from symgnn.benchmark import describe_machine

    rows: dict[str, list[dict[str, float]]] = {"fused": [], "plain": []}
    for _ in range(arguments.pairs):
        for kind, results in rows.items():
            command = [sys.executable, __file__, "--measure", kind]
            command += ["--atoms", str(arguments.atoms), "--threads", str(arguments.threads)]
            output = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append(json.loads(output.stdout))
    pairs = zip(rows["plain"], rows["fused"], strict=True)
    ratios = [plain["seconds"] / fused["seconds"] for plain, fused in pairs]
    for kind, results in rows.items():
        print(f"{kind}: {np.median([result['seconds'] for result in results]):.3f} s per epoch")
    print(
        f"plain / fused: median {np.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
        f" in {len(ratios)} pairs"
    )
    record = {"machine": describe_machine(), **vars(arguments), **rows, "ratios": ratios}
    record.pop("measure")
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if np.median(ratios) < LEAST_RATIO:
        sys.exit(f"promised: a ratio of {LEAST_RATIO}")


if __name__ == "__main__":
    main()
