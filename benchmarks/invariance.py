"""How invariant a symmetrized network is: its change under random rotations and reflections.

The paper's network with random weights, on a ball of atoms of the sample glass. Change: root mean
square over atoms and random elements of O(3), divided by the standard deviation over atoms, so that
1 means that orientation matters as much as structure.

    python benchmarks/invariance.py
"""

from __future__ import annotations

import statistics

import torch

from symgnn.export import random_model
from symgnn.graph import build_graph
from symgnn.models import SymGNNConfig, SymmetrizationConfig
from symgnn.models.symmetrization import haar_rotations
from symgnn.samples import sample_glass

RADIUS = 10.0  # Å, of the ball
TRANSFORMATIONS = 4
NETWORKS = 3
CASES = (
    ("edge", "none", (1,)),
    ("edge", "von_mises", (2, 16, 128)),
    ("edge", "haar", (2, 16, 128)),
    ("edge", "octahedral", (24,)),
    ("output", "von_mises", (2,)),
    ("output", "haar", (2, 16)),
)


def change(level: str, distribution: str, samples: int, seed: int) -> float:
    """Relative change of one network with random weights."""
    torch.manual_seed(seed)
    config = SymGNNConfig(
        symmetrization=SymmetrizationConfig(
            level=level, distribution=distribution, evaluation_samples=samples
        )
    )
    elements = ["Cu", "Zr"]
    model = random_model(config, elements).double()
    glass = sample_glass()
    ball = glass[glass.get_distances(0, range(len(glass)), mic=True) < RADIUS]
    graph = build_graph(ball, config.cutoff, elements, dtype=torch.float64)
    species, edges, vectors = graph.inputs
    rotations = haar_rotations(TRANSFORMATIONS, dtype=torch.float64, device=torch.device("cpu"))
    with torch.no_grad():
        reference = model(species, edges, vectors)
        changed = [
            model(species, edges, vectors @ ((-1.0) ** number * rotation.T))
            for number, rotation in enumerate(rotations)
        ]
    return float((torch.stack(changed) - reference).square().mean().sqrt() / reference.std())


def main() -> None:
    """Print one line per case."""
    print("K rotations and as many reflections; octahedral: all 48 elements of the cubic group")
    print(f"average of    distribution    K  change / sd: median of {NETWORKS} networks (range)")
    for level, distribution, counts in CASES:
        for samples in counts:
            values = [change(level, distribution, samples, seed) for seed in range(NETWORKS)]
            shown = (statistics.median(values), min(values), max(values))
            print(
                f"{level:12s}  {distribution:12s}  {samples:3d}  "
                "{:.1e} ({:.1e} to {:.1e})".format(*shown),
                flush=True,
            )


if __name__ == "__main__":
    main()
