"""Is the uncertainty right on glasses that the model has never seen?

Each labeled glass is left out in turn, with its relatives (`relatives.py`): a preset is fitted to
the others, its uncertainty included, and the labels of the glass are counted inside the intervals
that it predicts.

    python benchmarks/calibration.py [FOLDER] [--preset densities] [--plot PICTURE]

FOLDER is that of `cuzr.py`.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from cuzr import configuration
from published import NAMES
from relatives import families_of
from symgnn import read_structures
from symgnn.graph import build_graph
from symgnn.keys import ENERGY_BARRIER
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.metrics import NOMINAL_COVERAGES, compute_metrics, compute_reliability
from symgnn.training.regression import fit


@functools.cache
def fitted_to(others: tuple[str, ...], folder: Path, name: str):
    """A preset, fitted to some glasses, and its elements."""
    config = configuration(name, others, folder)
    with tempfile.TemporaryDirectory() as scratch:
        config.output = f"{scratch}/run"
        content = load_checkpoint(fit(config, base=folder).best)
    return restore_model(content, str(folder)), content["elements"]


def predict(model, elements: list[str], atoms) -> np.ndarray:
    """Outputs [N, 3]."""
    graph = build_graph(atoms, model.config.cutoff, elements)
    with torch.inference_mode():
        return model(*graph.inputs).numpy()


def main() -> None:
    """Print a row per glass and draw the reliability diagram."""
    parser = argparse.ArgumentParser(description=__doc__)
    build = Path(__file__).resolve().parents[1] / "build" / "cuzr"
    parser.add_argument("folder", type=Path, nargs="?", default=build)
    parser.add_argument("--preset", default="drag", choices=["drag", "densities"])
    parser.add_argument("--plot", type=Path, help="the reliability diagram")
    options = parser.parse_args()
    if not (options.folder / "data").is_dir():
        print(f"left out: no glasses in {options.folder}; cuzr.py puts them there")
        return
    everything: list[tuple[np.ndarray, np.ndarray]] = []
    print("glass left out   Pearson  std    68%    95%")
    figure, axis = plt.subplots(figsize=(4.2, 4), constrained_layout=True)
    glasses = [read_structures(options.folder / "data" / f"{name}.xyz")[0] for name in NAMES]
    family = families_of(glasses)
    for name, of, glass in zip(NAMES, family, glasses, strict=True):
        others = tuple(other for other, its in zip(NAMES, family, strict=True) if its != of)
        model, elements = fitted_to(others, options.folder, options.preset)
        label = glass.arrays[ENERGY_BARRIER]
        values = predict(model, elements, glass)
        everything.append((values, label))
        reliability = compute_reliability(values[:, 0], values[:, 1], label)
        print(
            f"{name:15s}  {compute_metrics(values[:, 0], label).pearson:.3f}   "
            f"{values[:, 1].mean():.3f}  {reliability.at(0.68):.3f}  {reliability.at(0.95):.3f}",
            flush=True,
        )
        axis.plot(reliability.nominal, reliability.observed, color="0.7", linewidth=1)
    values, label = (np.concatenate(part) for part in zip(*everything, strict=True))
    reliability = compute_reliability(values[:, 0], values[:, 1], label, NOMINAL_COVERAGES)
    print(
        f"pooled           {compute_metrics(values[:, 0], label).pearson:.3f}   "
        f"{values[:, 1].mean():.3f}  {reliability.at(0.68):.3f}  {reliability.at(0.95):.3f}"
    )
    if options.plot is None:
        return
    axis.plot(reliability.nominal, reliability.observed, "o-", label="all seven glasses")
    axis.plot([0, 1], [0, 1], "k:", linewidth=1)
    axis.set(xlabel="nominal coverage", ylabel="share of labels inside", title="glasses left out")
    axis.legend()
    figure.savefig(options.plot, dpi=120)


if __name__ == "__main__":
    main()
