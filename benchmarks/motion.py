"""Does the motion of atoms know what densities do not?

First, mean-square displacements of runs at 300 K (`local_sampling.py`, mean over four velocity
seeds) as further features of density regression, each labeled glass left out in turn: minus their
logarithm, the atom's own and averages with Gaussian weights. Then, for one glass, how that
displacement and the harmonic one (the diagonal of the inverse Hessian, without the noise of a run)
correlate with labels, and with what density regression leaves of them. It takes five minutes on one
core, 4 GB of memory, and another minute and a half for each run at 300 K that `table1.py` has not
made before.

    python benchmarks/motion.py [--glass train0]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.eam import EAM
from scipy.linalg import lapack
from scipy.sparse import coo_matrix, diags, eye

import learning_curve
from comparison import glasses
from comparison.baselines import sampled_displacement
from published import NAMES, PUBLISHED, say_if_missing
from symgnn.graph import neighbor_list
from symgnn.potentials import write_potential

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

SEEDS = 4
WIDTHS = (1.5, 2.5, 4.0)
"""Å, of the Gaussian weights."""
SHOWN = 2.5
SPRING = 0.02
"""eV/Å², from every atom to its place: without it the Hessian has no inverse."""


def averages(glass: Atoms, values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Values [N] averaged over the surroundings of each atom, itself included."""
    (center, neighbor), _, vector = neighbor_list(
        glass.positions, glass.cell.array, glass.pbc, 3.0 * width
    )
    weight = np.exp(-(vector**2).sum(axis=1) / (2.0 * width**2))
    matrix = coo_matrix((weight, (center, neighbor)), shape=(len(glass),) * 2).tocsr()
    matrix = matrix + eye(len(glass))
    mean: NDArray[np.float64] = (matrix @ values) / (matrix @ np.ones(len(glass)))
    return mean


def hessian(glass: Atoms) -> csr_matrix:
    """Second derivatives [3N, 3N] of the 2009 Cu-Zr potential, eV/Å²."""
    with tempfile.TemporaryDirectory() as folder:
        eam = EAM(potential=str(write_potential(Path(folder))), elements=["Cu", "Zr"], form="fs")
    (i, j), _, vector = neighbor_list(
        glass.positions, glass.cell.array, glass.pbc, float(eam.cutoff)
    )
    count = len(glass)
    length = np.linalg.norm(vector, axis=1)
    unit = vector / length[:, None]
    kind = (glass.numbers != 29).astype(int)

    def of_pairs(splines: NDArray[np.object_], order: int) -> NDArray[np.float64]:
        values = np.empty(len(length))
        for a in range(2):
            for b in range(2):
                pairs = (kind[i] == a) & (kind[j] == b)
                spline = splines[a, b].derivative(order) if order else splines[a, b]
                values[pairs] = spline(length[pairs])
        return values

    pair = [of_pairs(eam.phi, order) for order in range(3)]
    # In ASE as in the file, the first index is the atom that makes the density.
    made = [of_pairs(eam.electron_density, order) for order in range(3)]
    felt = [of_pairs(eam.electron_density.T, order) for order in range(3)]
    density = np.bincount(i, felt[0], count)
    embedding = np.empty((3, count))
    for a in range(2):
        for order in range(3):
            spline = eam.embedded_energy[a]
            spline = spline.derivative(order) if order else spline
            embedding[order, kind == a] = spline(density[kind == a])
    energy = 0.5 * np.bincount(i, pair[0], count) + embedding[0]
    published = glass.arrays["potential_energy"]
    assert np.abs(energy - published).max() < 1e-3, "these are not the energies of this potential"

    first = pair[1] + embedding[1][i] * felt[1] + embedding[1][j] * made[1]
    second = pair[2] + embedding[1][i] * felt[2] + embedding[1][j] * made[2]
    across = (first / length)[:, None, None]
    springs = (second[:, None, None] - across) * unit[:, :, None] * unit[:, None, :]
    springs += across * np.eye(3)
    own = np.zeros((count, 3, 3))
    np.add.at(own, i, springs)
    atoms, axes = np.arange(count), np.arange(3)

    def blocks(rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float64]):
        row = np.broadcast_to(3 * rows[:, None, None] + axes[:, None], values.shape)
        column = np.broadcast_to(3 * columns[:, None, None] + axes, values.shape)
        return coo_matrix((values.ravel(), (row.ravel(), column.ravel())), shape=(3 * count,) * 2)

    # How the density of each atom changes with every coordinate.
    slope = felt[1][:, None] * unit
    total = np.stack([np.bincount(i, slope[:, axis], count) for axis in axes], axis=1)
    change = coo_matrix(
        (
            np.concatenate([slope.ravel(), -total.ravel()]),
            (
                np.concatenate([np.repeat(i, 3), np.repeat(atoms, 3)]),
                np.concatenate([(3 * j[:, None] + axes).ravel(), np.arange(3 * count)]),
            ),
        ),
        shape=(count, 3 * count),
    ).tocsr()
    matrix = blocks(i, j, -springs) + blocks(atoms, atoms, own)
    return matrix.tocsr() + change.T @ diags(embedding[2]) @ change


def harmonic_displacement(glass: Atoms) -> NDArray[np.float64]:
    """Mean-square displacement [N] of each atom over the temperature (in eV), Å²/eV."""
    dense = hessian(glass).astype(np.float32).toarray().T
    dense[np.diag_indices(len(dense))] += SPRING
    factor, failed = lapack.spotrf(dense, lower=1, overwrite_a=1)
    assert not failed, "the structure is not at a minimum"
    inverse, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    assert not failed
    displacement: NDArray[np.float64] = np.diag(inverse).reshape(-1, 3).sum(axis=1).astype(float)
    return displacement


def left_over(
    species: NDArray[np.int64], values: NDArray[np.float64], prediction: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Values [N] less their mean, or their regression on a prediction, element by element."""
    rest = values.copy()
    for element in np.unique(species):
        own = species == element
        if prediction is None:
            rest[own] -= values[own].mean()
        else:
            fit = np.polyfit(prediction[own], values[own], 1)
            rest[own] -= np.polyval(fit, prediction[own])
    return rest


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glass", default="train0", choices=NAMES)
    options = parser.parse_args()
    if say_if_missing():
        return
    data = learning_curve.Data(PUBLISHED)
    everything = [np.ones(len(y), bool) for y in data.labels]
    cache = Path(__file__).parent / "table1" / "runs" / "computed"
    softness = []
    for name in NAMES:
        glass = glasses.Glass(PUBLISHED / f"{name}.xyz", cache)
        runs = [sampled_displacement(glass, seed) for seed in range(SEEDS)]
        softness.append(-np.log(np.mean(runs, axis=0)))

    def predictions() -> list[NDArray[np.float64]]:
        return [
            data.predict(test, data.others(test), data.labels, everything)
            for test in range(len(data.labels))
        ]

    plain = predictions()
    for glass, atoms in enumerate(data.structures):
        moved = [softness[glass], *(averages(atoms, softness[glass], width) for width in WIDTHS)]
        data.features[glass] = np.c_[data.features[glass], np.stack(moved, axis=1)]
    everything_known = predictions()
    print("Pearson correlation on the glass left out")
    print("glass        densities  + motion at 300 K")
    scores = []
    for name, label, *both in zip(NAMES, data.labels, plain, everything_known, strict=True):
        scores.append([np.corrcoef(prediction, label)[0, 1] for prediction in both])
        print(f"{name:12s}   {scores[-1][0]:.4f}  {scores[-1][1]:.4f}")
    print("mean           {:.4f}  {:.4f}".format(*np.mean(scores, axis=0)))
    labels = np.concatenate(data.labels)
    pooled = [np.corrcoef(np.concatenate(p), labels)[0, 1] for p in (plain, everything_known)]
    print("pooled         {:.4f}  {:.4f}".format(*pooled))

    chosen = NAMES.index(options.glass)
    glass, species = data.structures[chosen], data.species[chosen]
    label, prediction = data.labels[chosen], plain[chosen]
    harmonic = -np.log(harmonic_displacement(glass))
    print(
        f"\n{options.glass}, within an element: correlation with labels, and with what is left of"
    )
    print("both after regression on the prediction from densities")
    for what, values in (("300 K", softness[chosen]), ("harmonic", harmonic)):
        for where, field in (("own", values), (f"{SHOWN} Å", averages(glass, values, SHOWN))):
            pairs = [
                (left_over(species, field, base), left_over(species, label, base))
                for base in (None, prediction)
            ]
            found = [np.corrcoef(*pair)[0, 1] for pair in pairs]
            print(f"{what:10s}{where:8s} {found[0]:+.3f}  {found[1]:+.3f}")


if __name__ == "__main__":
    main()
