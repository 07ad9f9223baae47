"""Is there more in the densities than a linear map finds?

For some of the seven labeled glasses, left out in turn with their relatives (`relatives.py`):
density regression, and what learns its residuals on the same features, trained on the other
glasses: boosted trees, and a multilayer perceptron with dropout and weight decay. Nothing is chosen
on the glass that is left out.

    python benchmarks/beyond_linear.py [FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import nn

from learning_curve import Data
from published import NAMES, PUBLISHED, say_if_missing

GLASSES = (0, 2, 4, 6)
EPOCHS, BATCH, WIDTH = 10, 256, 256
LIMIT = 5.0  # standard deviations


def boosted_trees(x: np.ndarray, y: np.ndarray):
    """A hundred shallow trees."""
    model = HistGradientBoostingRegressor(
        max_iter=100,
        learning_rate=0.05,
        max_leaf_nodes=15,
        l2_regularization=10.0,
        max_features=0.2,
        random_state=0,
    )
    return model.fit(x, y).predict


def perceptron(x: np.ndarray, y: np.ndarray):
    """Two hidden layers."""
    torch.manual_seed(0)
    center, scale = x.mean(0), x.std(0) + 1e-6

    def inputs(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(((values - center) / scale).clip(-LIMIT, LIMIT), dtype=torch.float32)

    spread = float(y.std())
    data, target = inputs(x), torch.tensor(y / spread, dtype=torch.float32)
    network = nn.Sequential(
        nn.Dropout(0.25),
        nn.Linear(x.shape[1], WIDTH),
        nn.SiLU(),
        nn.Dropout(0.5),
        nn.Linear(WIDTH, WIDTH),
        nn.SiLU(),
        nn.Dropout(0.5),
        nn.Linear(WIDTH, 1),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, weight_decay=0.05)
    steps = EPOCHS * (len(data) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(data))
        for number in range(len(data) // BATCH):
            rows = order[number * BATCH : (number + 1) * BATCH]
            loss = nn.functional.mse_loss(network(data[rows])[:, 0], target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()

    def predict(values: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(inputs(values))[:, 0].numpy() * spread

    return predict


def main() -> None:
    """Print one row per glass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=PUBLISHED)
    folder = parser.parse_args().folder
    if say_if_missing(folder):
        return
    data = Data(folder)
    everything = [np.ones(len(y), bool) for y in data.labels]
    inputs = [np.c_[x, s] for x, s in zip(data.features, data.species, strict=True)]
    print("Pearson correlation on the glass left out")
    print("glass       linear  + boosted trees  + perceptron")
    for test in GLASSES:
        others = data.others(test)
        linear = data.predict(test, others, data.labels, everything)
        # Residuals of each training glass by the map fitted to the others.
        residuals = []
        for glass in others:
            rest = data.others(test, glass)
            residuals.append(
                data.labels[glass] - data.predict(glass, rest, data.labels, everything)
            )
        x = np.vstack([inputs[glass] for glass in others])
        y = np.concatenate(residuals)
        scores = [np.corrcoef(linear, data.labels[test])[0, 1]]
        for learn in (boosted_trees, perceptron):
            corrected = linear + learn(x, y)(inputs[test])
            scores.append(np.corrcoef(corrected, data.labels[test])[0, 1])
        print(
            f"{NAMES[test]:12s}", "           ".join(f"{score:.4f}" for score in scores), flush=True
        )


if __name__ == "__main__":
    main()
