"""Baselines of a challenge: what a submission has to beat."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from symgnn.challenge.submission import Prediction
from symgnn.errors import DatasetError
from symgnn.graph import build_graph
from symgnn.keys import ENERGY_BARRIER
from symgnn.structures import write_structures
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import FitConfig
from symgnn.training.regression import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ase import Atoms

    Structures = Mapping[str, Atoms]
    Baseline = Callable[[Structures, Structures], dict[str, Prediction]]


def element_mean(train: Structures, targets: Structures) -> dict[str, Prediction]:
    """Mean and standard deviation of the training labels of each element.

    Raises:
        DatasetError: an element without a training label.
    """
    symbols = np.concatenate([atoms.get_chemical_symbols() for atoms in train.values()])
    label = np.concatenate([atoms.arrays[ENERGY_BARRIER] for atoms in train.values()])
    predictions = {}
    for name, atoms in targets.items():
        barrier, std = np.empty((2, len(atoms)))
        own = np.array(atoms.get_chemical_symbols())
        for element in sorted(set(own.tolist())):
            labels = label[(symbols == element) & ~np.isnan(label)]
            if len(labels) < 2 or not labels.std():
                raise DatasetError(
                    f"{name} holds {element}, of which too few training atoms have a label: give"
                    " more training structures"
                )
            barrier[own == element], std[own == element] = labels.mean(), labels.std()
        predictions[name] = Prediction(barrier, std)
    return predictions


def density_regression(train: Structures, targets: Structures) -> dict[str, Prediction]:
    """The fit of the preset ``densities``, on the CPU; without uncertainties.

    Raises:
        DatasetError: as :func:`symgnn.training.regression.fit`, or an element without labels.
    """
    with tempfile.TemporaryDirectory(prefix="symgnn-") as folder:
        base = Path(folder)
        for name, atoms in train.items():
            write_structures(base / f"{name}.xyz", [atoms])
        config = FitConfig(device="cpu")
        config.data.train = [f"{name}.xyz" for name in train]
        content = load_checkpoint(fit(config, base=base).best)
    model, elements = restore_model(content, "baseline"), content["elements"]
    predictions = {}
    with torch.inference_mode():
        for name, atoms in targets.items():
            graph = build_graph(atoms, config.model.cutoff, elements)
            barrier = model(*graph.inputs)[:, 0].double().numpy()
            predictions[name] = Prediction(barrier, None)
    return predictions


BASELINES: Final[dict[str, Baseline]] = {
    "element_mean": element_mean,
    "density_regression": density_regression,
}
