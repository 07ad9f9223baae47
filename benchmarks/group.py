"""What barriers of a group of atoms cost beside those of the whole structure.

Spheres of atoms in the middle of the sample glass, repeated along each edge, on one thread. Groups
and the whole take turns; the largest difference between their barriers is printed too. Seconds are
those of the processor, so that other programs disturb them less.

    python benchmarks/group.py [--model cuzr] [--repeat 2] [--rounds 1]
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np

from symgnn import Annotator
from symgnn.samples import sample_glass

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

RADII = (0.0, 5.0, 10.0, 20.0)


def spheres(glass: Atoms) -> dict[str, NDArray[np.int64]]:
    """Indices of atoms within some radii (Å) of the one in the middle."""
    middle = 0.5 * glass.cell.sum(axis=0)
    center = int(np.linalg.norm(glass.positions - middle, axis=1).argmin())
    distances = np.linalg.norm(glass.positions - glass.positions[center], axis=1)
    return {f"{radius:g} Å": np.flatnonzero(distances <= radius) for radius in RADII}


def main() -> None:
    """Time, compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="cuzr")
    parser.add_argument("--repeat", type=int, default=2, help="of the glass along each edge")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()

    glass = sample_glass() * ([options.repeat] * 3)
    annotator = Annotator(options.model, threads=1)
    groups: dict[str, NDArray[np.int64]] = {"whole": np.arange(len(glass)), **spheres(glass)}
    seconds: dict[str, list[float]] = {name: [] for name in groups}
    barriers: dict[str, NDArray[np.float64]] = {}
    for _ in range(options.rounds):
        for name, group in groups.items():
            began = time.process_time()
            (found,) = annotator.predict([glass], group=None if name == "whole" else group)
            seconds[name].append(time.process_time() - began)
            barriers[name] = found[:, 0]
    print(f"{options.model}, {len(glass)} atoms, one thread, best of {options.rounds}")
    print("group          atoms   seconds   of the whole   largest difference (eV)")
    for name, group in groups.items():
        best, whole = min(seconds[name]), min(seconds["whole"])
        difference = np.abs(barriers[name] - barriers["whole"])[group].max()
        print(f"{name:12} {len(group):7d} {best:9.2f} {best / whole:14.3f} {difference:25.1e}")


if __name__ == "__main__":
    main()
