"""Which of the published glasses are nearly the same, and what their labels tell of their error.

Two of the labeled glasses are one glass found twice, with labels of their own: where nothing around
an atom differs, the labels of both are two measurements of one mean, and half the variance of their
difference is the variance of a label.

    python benchmarks/relatives.py
"""

from __future__ import annotations

import argparse
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from published import NAMES, PUBLISHED, TEST, say_if_missing
from symgnn import read_structures
from symgnn.graph import build_graph, neighbor_list
from symgnn.training.relatives import families, shared_neighbors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

ELEMENTS = ["Cu", "Zr"]
CUTOFF = 4.5
"""Å; 12 neighbors reach to 3.6."""
SURROUNDINGS = 7.0
"""Å, around an atom, within which distances are compared."""
LIMITS = (0.02, 0.05, 0.1, 0.2, np.inf)
"""Å, by which they may differ."""
DRAWS = 1000


def families_of(structures: Sequence[Atoms]) -> list[int]:
    """Family of each Cu-Zr glass: relatives are left out of a fit together."""
    return families([build_graph(atoms, CUTOFF, ELEMENTS) for atoms in structures])


def largest_change(first: Atoms, second: Atoms) -> NDArray[np.float64]:
    """Largest change [N], Å, of the distances from each atom to all others in its surroundings."""
    (center, neighbor), _, vector = neighbor_list(
        first.positions, first.cell.array, first.pbc, SURROUNDINGS
    )
    apart = second.positions[neighbor] - second.positions[center]
    fraction = np.linalg.solve(second.cell.array.T, apart.T).T
    there = np.linalg.norm((fraction - fraction.round()) @ second.cell.array, axis=1)
    change = np.zeros(len(first))
    np.maximum.at(change, center, np.abs(there - np.linalg.norm(vector, axis=1)))
    return change


def main() -> None:
    """Print shares, correlations and errors."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    if say_if_missing():
        return
    glasses = {name: read_structures(PUBLISHED / f"{name}.xyz")[0] for name in [*NAMES, *TEST]}
    graphs = {name: build_graph(atoms, CUTOFF, ELEMENTS) for name, atoms in glasses.items()}
    labels = {name: glasses[name].arrays["energy_barrier"] for name in NAMES}
    print("glasses              pairs of neighbors in common   Pearson of the labels, atom by atom")
    for first, second in combinations(glasses, 2):
        share = shared_neighbors(graphs[first], graphs[second])
        if len(glasses[first]) != len(glasses[second]):
            continue
        line = f"{first:10s} {second:10s} {share:.4f}"
        if second in labels:
            line += f"{np.corrcoef(labels[first], labels[second])[0, 1]:33.3f}"
        print(line)
    family = families_of([glasses[name] for name in NAMES])
    print("families:", " ".join(f"{name} {of}" for name, of in zip(NAMES, family, strict=True)))

    print("\ntrain0 and train1: atoms around which no distance up to 7 Å differs by more (Å)")
    print(
        "limit  element  atoms  Pearson  standard error of a label (eV)  difference of means (eV)"
    )
    first, second = (glasses[name] for name in ("train0", "train1"))
    change = largest_change(first, second)
    rng = np.random.default_rng(0)
    for limit in LIMITS:
        for element in (*ELEMENTS, "both"):
            atoms = change < limit
            if element != "both":
                atoms &= first.symbols == element
            pair = np.stack([labels["train0"][atoms], labels["train1"][atoms]])
            difference = pair[0] - pair[1]
            draws = [
                rng.choice(difference, len(difference)).std(ddof=1) / 2**0.5 for _ in range(DRAWS)
            ]
            low, high = np.quantile(draws, [0.025, 0.975])
            print(
                f"{limit:5.2f}  {element:7s} {atoms.sum():6d}  {np.corrcoef(pair)[0, 1]:7.3f}"
                f"  {difference.std(ddof=1) / 2**0.5:.4f} ({low:.4f} to {high:.4f})"
                f"  {difference.mean():+25.4f}"
            )
            if limit == LIMITS[0] and element == "both":
                error = difference.std(ddof=1) / 2**0.5
    within = np.mean([values.var() for values in labels.values()])
    pooled = np.concatenate(list(labels.values())).var()
    print(
        f"\nlabels with a standard error of {error:.3f} eV allow a Pearson correlation of at most"
    )
    for name, values in labels.items():
        print(f"{name:11s} {np.sqrt(1.0 - error**2 / values.var()):.3f}")
    print(f"within      {np.sqrt(1.0 - error**2 / within):.3f}")
    print(f"pooled      {np.sqrt(1.0 - error**2 / pooled):.3f}")


if __name__ == "__main__":
    main()
