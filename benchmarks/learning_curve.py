"""What limits accuracy: labels, glasses, or the noise of labels.

The regressions of the shipped models on all seven labeled glasses (that of `cuzr-fast` without its
thermal copies), always scored on a glass that is left out with its relatives (`relatives.py`);
scores over labels and searches are those with the best of three penalties:
- learning curve over atoms per glass and over the number of unrelated glasses;
- noise added to the training labels, as if fewer searches had been made for each atom;
- as many searches on few atoms or on many;
- correlation of labels, predictions and residuals between atoms at a distance;
- where a glass was labeled twice, how much of the variance of labels is noise, how much a model
  finds, and how much it misses;
- the highest correlation that any prediction can have with labels of a given standard error.

    python benchmarks/learning_curve.py [FOLDER] [--output benchmarks/results]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import linalg

from published import NAMES, PUBLISHED, say_if_missing
from relatives import families_of
from symgnn import read_structures
from symgnn.graph import build_graph, neighbor_list
from symgnn.keys import ENERGY_BARRIER
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import preset
from symgnn.training.regression import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

ELEMENTS = ["Cu", "Zr"]
MODELS = {"cuzr-fast": "densities", "cuzr": "drag"}
"""Presets of the shipped models."""
TWINS = NAMES.index("train0"), NAMES.index("train1")
"""One glass, labeled twice."""
FRACTIONS = (1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
ADDED_NOISE = (0.0, 0.15, 0.30)
SEARCHES, STANDARD_ERROR = 20, 0.14  # of the published labels, measured by relatives.py
SHELLS = ((2.0, 3.7), (3.7, 5.2), (5.2, 6.5), (6.5, 8.0), (8.0, 10.0), (10.0, 12.0))
PENALTIES = (1.0, 5.0, 25.0)
"""In units of the model's: each table has the best one of these."""
COLUMNS = "mean Pearson    pooled      penalty"
BUDGET = 2000  # searches in each glass
DRAWS = 4


class Data:
    """Features [N, F], standardized over all glasses, labels [N] and species [N] of each glass.

    Of a fit of the preset to all glasses, only what labels have no part in is kept: scales of
    features, pair energies and lengths of steps.
    """

    def __init__(self, folder: Path, preset_name: str = "densities") -> None:
        config = preset(preset_name)
        config.data.train = [f"{glass}.xyz" for glass in NAMES]
        config.data.elements = ELEMENTS
        with tempfile.TemporaryDirectory() as scratch:
            config.output = f"{scratch}/run"
            content = load_checkpoint(fit(config, base=folder).best)
        model = restore_model(content, preset_name)
        self.config = model.config
        self.structures = [read_structures(folder / f"{glass}.xyz")[0] for glass in NAMES]
        self.labels = [atoms.arrays[ENERGY_BARRIER] for atoms in self.structures]
        self.family = families_of(self.structures)
        graphs = [build_graph(atoms, self.config.cutoff, ELEMENTS) for atoms in self.structures]
        self.species = [graph.species.numpy() for graph in graphs]
        features = []
        with torch.inference_mode():
            for graph in graphs:
                relaxed = replace(graph, edge_vector=model.relaxed(*graph.inputs))
                features.append(model.describe(*relaxed.inputs).numpy())
        scale = np.vstack(features).std(0) + 1e-6
        self.features = [x / scale for x in features]

    def others(self, *left_out: int) -> list[int]:
        """The glasses that are no relatives of those left out."""
        out = {self.family[glass] for glass in left_out}
        return [glass for glass in range(len(NAMES)) if self.family[glass] not in out]

    def predict(self, test: int, train: list[int], label: list, chosen: list) -> np.ndarray:
        """Barriers of glass ``test`` from ``train``: label [N] and chosen atoms [N] per glass."""
        return self.predict_all(test, train, label, chosen, (1.0,))[0]

    def predict_all(
        self, test: int, train: list[int], label: list, chosen: list, penalties: Sequence[float]
    ) -> list[np.ndarray]:
        """The same for each of some penalties, in units of the model's."""
        elements, features = range(len(ELEMENTS)), self.features[test].shape[1]
        gram = np.zeros((len(ELEMENTS), features, len(ELEMENTS), features))
        product = np.zeros((len(ELEMENTS), features))
        means: dict[tuple[int, int], tuple[np.ndarray, float]] = {}
        for element in elements:
            for glass in train:
                rows = (self.species[glass] == element) & chosen[glass]
                x, y = self.features[glass][rows], label[glass][rows]
                means[element, glass] = x.mean(0), y.mean()
                x = x - x.mean(0)
                gram[element, :, element] += x.T @ x
                product[element] += x.T @ (y - y.mean())
        gram = gram.reshape(product.size, product.size)
        covariance = np.full((len(ELEMENTS), len(ELEMENTS)), self.config.likeness)
        np.fill_diagonal(covariance, 1.0)
        unit = np.kron(self.config.strength * np.linalg.inv(covariance), np.eye(features))
        found = []
        for penalty in penalties:
            weight = linalg.solve(gram + penalty * unit, product.ravel(), assume_a="pos")
            weight = weight.reshape(product.shape)
            prediction = np.empty(len(self.labels[test]))
            for element in elements:
                centers = [means[element, glass] for glass in train]
                offset = np.mean([y - x @ weight[element] for x, y in centers])
                rows = self.species[test] == element
                prediction[rows] = self.features[test][rows] @ weight[element] + offset
            found.append(prediction)
        return found


def score(data: Data, label: list, chosen: list, count: int | None, rng) -> np.ndarray:
    """Mean Pearson correlation over glasses left out, and the pooled one, [PENALTIES, 2].

    Args:
        data: all glasses.
        label: of each glass, to train on.
        chosen: atoms of each glass to train on.
        count: of families to train on, one glass of each; None for all glasses.
        rng: chooses them.
    """
    predictions = []
    for test in range(len(NAMES)):
        train = data.others(test)
        if count is not None:
            wanted = rng.choice(sorted({data.family[glass] for glass in train}), count, False)
            train = [int(rng.choice([g for g in train if data.family[g] == of])) for of in wanted]
        predictions.append(data.predict_all(test, train, label, chosen, PENALTIES))
    scores = []
    for of_penalty in zip(*predictions, strict=True):
        each = [np.corrcoef(p, y)[0, 1] for p, y in zip(of_penalty, data.labels, strict=True)]
        pooled = np.corrcoef(np.concatenate(of_penalty), np.concatenate(data.labels))[0, 1]
        scores.append((np.mean(each), pooled))
    return np.array(scores)


def show(what: str, values: list[np.ndarray]) -> np.ndarray:
    """Print mean ± sd of both scores over draws, with the best penalty; give the means."""
    draws = np.array(values)
    best = int(draws[:, :, 0].mean(0).argmax())
    mean, deviation = draws[:, best].mean(0), draws[:, best].std(0)
    scores = "   ".join(f"{m:.3f} ± {d:.3f}" for m, d in zip(mean, deviation, strict=True))
    print(f"{what:24s}{scores}   {PENALTIES[best]:7g}", flush=True)
    return mean


def pairs_by_shell(atoms) -> list[tuple[np.ndarray, np.ndarray]]:
    """Atoms, and others at distances of each shell."""
    (center, neighbor), _, vector = neighbor_list(
        atoms.positions, atoms.cell.array, atoms.pbc, SHELLS[-1][1]
    )
    length = np.linalg.norm(vector, axis=1)
    shells = [(length >= low) & (length < high) for low, high in SHELLS]
    return [(center[shell], neighbor[shell]) for shell in shells]


def correlations(pairs: list, values: np.ndarray, others: np.ndarray) -> list[float]:
    """Covariance of values [N] with others [N] in each shell, as a share of that at one atom."""
    values, others = values - values.mean(), others - others.mean()
    same = (values * others).mean()
    return [float((values[center] * others[neighbor]).mean() / same) for center, neighbor in pairs]


def scores_over(data: Data, rng) -> tuple[np.ndarray, np.ndarray]:
    """Tables of the learning curves; both scores for each number of atoms, and of glasses."""
    everything = [np.ones(len(y), bool) for y in data.labels]

    def drawn(fraction: float, count: int | None) -> list[np.ndarray]:
        values = []
        for _ in range(1 if fraction == 1.0 and count is None else DRAWS):
            chosen = [rng.random(len(y)) < fraction for y in data.labels]
            values.append(score(data, data.labels, chosen, count, rng))
        return values

    print(f"atoms per glass (all others)    {COLUMNS}")
    atoms = [show(f"{8000 * fraction:8.0f}", drawn(fraction, None)) for fraction in FRACTIONS]
    print(f"atoms of one glass              {COLUMNS}")
    for fraction in FRACTIONS[::2]:
        show(f"{8000 * fraction:8.0f}", drawn(fraction, 1))
    print(f"glasses (all 8,000 atoms)       {COLUMNS}")
    glasses = []
    for count in range(1, len(set(data.family))):
        values = [score(data, data.labels, everything, count, rng) for _ in range(DRAWS)]
        glasses.append(show(f"{count:8d}", values))
    return np.array(atoms), np.array(glasses)


def scores_over_noise(data: Data, rng) -> None:
    """Table of what noisier training labels cost."""
    everything = [np.ones(len(y), bool) for y in data.labels]
    print("noise added to training labels (eV; searches that it stands for)")
    for noise in ADDED_NOISE:
        searches = SEARCHES * STANDARD_ERROR**2 / (STANDARD_ERROR**2 + noise**2)
        values = []
        for _ in range(1 if noise == 0.0 else DRAWS):
            noisy = [y + noise * rng.standard_normal(len(y)) for y in data.labels]
            values.append(score(data, noisy, everything, None, rng))
        show(f"{noise:8.2f} {searches:6.1f}", values)


def scores_over_budget(data: Data, rng) -> None:
    """Table of how as many searches are spent best: on few atoms or on many.

    Fewer searches than the labels were made with are imitated by noise, as if each found a saddle.
    """
    print(f"{BUDGET} searches in each glass: searches of an atom, atoms")
    for searches in (1, 2, 5, 10, SEARCHES):
        noise = STANDARD_ERROR * (SEARCHES / searches - 1.0) ** 0.5
        share, values = BUDGET / searches / 8000, []
        for _ in range(DRAWS):
            noisy = [y + noise * rng.standard_normal(len(y)) for y in data.labels]
            chosen = [rng.random(len(y)) < share for y in data.labels]
            values.append(score(data, noisy, chosen, None, rng))
        show(f"{searches:8d} {BUDGET // searches:6d}", values)


def correlations_in_space(data: Data) -> None:
    """Table of how labels, predictions and residuals of neighbors go together."""
    everything = [np.ones(len(y), bool) for y in data.labels]
    print("correlation between atoms at a distance (Å), mean over glasses left out")
    print(" " * 12, "  ".join(f"{low:4.1f}-{high:4.1f}" for low, high in SHELLS))
    rows: dict[str, list] = {"label": [], "prediction": [], "residual": []}
    for test, atoms in enumerate(data.structures):
        prediction = data.predict(test, data.others(test), data.labels, everything)
        pairs = pairs_by_shell(atoms)
        fields = (data.labels[test], prediction, data.labels[test] - prediction)
        for name, values in zip(rows, fields, strict=True):
            rows[name].append(correlations(pairs, values, values))
    for name, values in rows.items():
        print(f"{name:12s}", "  ".join(f"{v:9.3f}" for v in np.mean(values, axis=0)))


def parts_of_variance(data: Data) -> None:
    """Table of what labels of one glass share, and what the model misses of that.

    Noise of two labelings is independent; what a model misses of the barriers, it misses twice.
    """
    everything = [np.ones(len(y), bool) for y in data.labels]
    labels = [data.labels[glass] for glass in TWINS]
    residuals = [
        data.labels[glass] - data.predict(glass, data.others(glass), data.labels, everything)
        for glass in TWINS
    ]
    (first, barrier), (_, second) = np.cov(labels)
    missed = np.cov(residuals)[0, 1]
    print("train0 and train1, one glass labeled twice: variance of labels (eV²)")
    print(f"noise      {0.5 * (first + second) - barrier:.4f}")
    print(f"barriers   {barrier:.4f}")
    print(f"  found    {barrier - missed:.4f}   {1.0 - missed / barrier:.3f} of it")
    print(f"  missed   {missed:.4f}")
    print("barriers and what is missed, between atoms at a distance, as above")
    pairs = pairs_by_shell(data.structures[TWINS[0]])
    for name, (one, other) in (("barrier", labels), ("missed", residuals)):
        values = correlations(pairs, one, other)
        print(f"{name:12s}", "  ".join(f"{value:9.3f}" for value in values))


def limits_of_noise(data: Data, best: np.ndarray) -> list[float]:
    """Table of the highest correlations; those for the stated standard error."""
    print("highest correlation that labels of a standard error allow (eV; within a glass, pooled)")
    variances = np.mean([y.var() for y in data.labels]), np.concatenate(data.labels).var()
    for error in (0.13, STANDARD_ERROR, 0.15):
        limits = [float(np.sqrt(1.0 - error**2 / variance)) for variance in variances]
        true = [found / limit for found, limit in zip(best, limits, strict=True)]
        print(
            f"{error:8.2f}   {limits[0]:.3f}  {limits[1]:.3f}   so that predictions correlate with "
            f"noise-free barriers by {true[0]:.2f} and {true[1]:.2f}"
        )
    return [float(np.sqrt(1.0 - STANDARD_ERROR**2 / variance)) for variance in variances]


def draw(curves: dict[str, tuple[np.ndarray, np.ndarray]], limits: list[float], path: Path) -> None:
    """Both learning curves of each model, below the limits that label noise sets."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, constrained_layout=True)
    counts = [round(8000 * fraction) for fraction in FRACTIONS]
    for color, (model, (atoms, glasses)) in enumerate(curves.items()):
        for column, name, line in ((1, "pooled", "o--"), (0, "within a glass", "o-")):
            label, style = f"{model}, {name}", {"color": f"C{color}", "markersize": 4}
            axes[0].semilogx(counts, atoms[:, column], line, label=label, **style)
            axes[1].plot(range(1, 1 + len(glasses)), glasses[:, column], line, **style)
    axes[0].set(xlabel="labeled atoms per glass (all other glasses)", ylabel="Pearson correlation")
    axes[0].set_xticks(counts, [f"{count:,}" for count in counts])
    axes[0].minorticks_off()
    axes[1].set(xlabel="unrelated glasses (8,000 labeled atoms each)")
    axes[1].set_xticks(range(1, 1 + len(glasses)))
    for axis in axes:
        for limit, line in zip(limits, ("-", "--"), strict=True):
            axis.axhline(limit, color="0.5", linestyle=line, linewidth=1)
        axis.grid(alpha=0.3)
    axes[1].annotate(
        f"what label noise of {STANDARD_ERROR} eV allows",
        (0.98, sum(limits) / 2),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="center",
        color="0.4",
        fontsize=8,
    )
    axes[0].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print all tables and draw the learning curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=PUBLISHED)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if say_if_missing(options.folder):
        return
    curves, limits = {}, []
    for model, name in MODELS.items():
        print(f"{model} (preset {name})", flush=True)
        rng = np.random.default_rng(0)
        data = Data(options.folder, name)
        curves[model] = scores_over(data, rng)
        scores_over_noise(data, rng)
        scores_over_budget(data, rng)
        correlations_in_space(data)
        parts_of_variance(data)
        limits = limits_of_noise(data, curves[model][0][-1])
        print()
    draw(curves, limits, options.output / "learning_curve.png")


if __name__ == "__main__":
    main()
