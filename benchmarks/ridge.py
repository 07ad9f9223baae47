"""The simple baseline: ridge regression on radial densities averaged over neighbors.

Per atom: Gaussian radial densities of each element (ten Gaussians of width 0.4 Å up to 5 Å), then
their means over the neighbors of each element in two shells (0–3.7 and 3.7–6.3 Å), twice. One
regression per central element on standardized features, with the strength chosen by leaving out
one training glass at a time; validation is only scored.

    python benchmarks/ridge.py [FOLDER]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from symgnn.graph import neighbor_list
from symgnn.structures import read_structures
from symgnn.training.metrics import compute_metrics

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "data" / "cuzr-barriers"
SHELLS = ((0.0, 3.7), (3.7, 6.3))
STRENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
ELEMENTS = (29, 40)


def features(atoms) -> np.ndarray:
    """Densities and their averages over two generations of neighbors, [N, 420]."""
    count = len(atoms)
    (center, neighbor), _, vector = neighbor_list(
        atoms.positions, atoms.cell.array, atoms.pbc, SHELLS[-1][1]
    )
    length = np.linalg.norm(vector, axis=1)
    density = []
    for number in ELEMENTS:
        near = (atoms.numbers[neighbor] == number) & (length < 5.0)
        for middle in np.linspace(2.0, 5.0, 10):
            weight = np.exp(-0.5 * ((length[near] - middle) / 0.4) ** 2)
            density.append(np.bincount(center[near], weight, minlength=count))
    generations = [np.stack(density, axis=1)]
    averages = []
    for low, high in SHELLS:
        for number in ELEMENTS:
            inside = (length >= low) & (length < high) & (atoms.numbers[neighbor] == number)
            matrix = csr_array(
                (np.ones(inside.sum()), (center[inside], neighbor[inside])), shape=(count, count)
            )
            total = np.maximum(matrix.sum(axis=1), 1.0)
            averages.append((matrix, total))
    for _ in range(2):
        last = generations[-1]
        generations.append(np.hstack([(m @ last) / total[:, None] for m, total in averages]))
    return np.hstack(generations)


def fit(x: np.ndarray, y: np.ndarray, strength: float):
    """Ridge weights on standardized features; gives a prediction function."""
    mean, scale = x.mean(0), x.std(0) + 1e-9
    z = (x - mean) / scale
    weight = np.linalg.solve(z.T @ z + strength * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    return lambda new: (new - mean) / scale @ weight + y.mean()


def predict(train: list, test, strength: float) -> np.ndarray:
    """One regression per central element."""
    prediction = np.empty(len(test[0]))
    for number in ELEMENTS:
        x = np.vstack([data[kind == number] for data, _, kind in train])
        y = np.concatenate([label[kind == number] for _, label, kind in train])
        chosen = test[2] == number
        prediction[chosen] = fit(x, y, strength)(test[0][chosen])
    return prediction


def main() -> None:
    """Choose the strength on the training glasses, score validation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=PUBLISHED)
    folder = parser.parse_args().folder
    if not folder.is_dir():
        print(f"left out: the published glasses are not in {folder}")
        return
    began = time.perf_counter()

    def load(name: str):
        (atoms,) = read_structures(folder / f"{name}.xyz")
        return features(atoms), atoms.arrays["energy_barrier"], atoms.numbers

    train = [load(f"train{number}") for number in range(6)]
    validation = load("validation")
    scores = {}
    for strength in STRENGTHS:
        predictions = [
            predict(train[:left_out] + train[left_out + 1 :], train[left_out], strength)
            for left_out in range(len(train))
        ]
        each = [
            compute_metrics(prediction, label).pearson
            for prediction, (_, label, _) in zip(predictions, train, strict=True)
        ]
        scores[strength] = float(np.mean(each))
        print(f"strength {strength:6g}: leave-one-glass-out Pearson {scores[strength]:.4f}")
    best = max(scores, key=lambda strength: scores[strength])
    print(
        f"validation, strength {best:g}:",
        compute_metrics(predict(train, validation, best), validation[1]),
    )
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
