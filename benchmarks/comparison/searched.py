"""Glasses labeled by our own searches, and what models reach that learn from the others.

Shared by `open_data.py` and `another_alloy.py`.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symgnn import read_structures
from symgnn.annotator import Annotator
from symgnn.cli import run
from symgnn.errors import NovelStructureWarning
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD
from symgnn.landscape.events import Catalog
from symgnn.landscape.forces import Forces
from symgnn.landscape.labels import pooled_spread
from symgnn.landscape.reliability import halves, reliability
from symgnn.training.config import parse_config
from symgnn.training.formula import fit_formula
from symgnn.training.regression import fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from symgnn.landscape.events import Tally
    from symgnn.landscape.potential import Potential

DRAWS = 1000
_GLASSES = (
    f"{'glass':16}{'energy/atom':>12}{'atoms':>7}{'searches':>9}{'connected':>10}{'calls':>7}"
    f"{'core-s':>8}  {'mean barrier [95%]':22}{'within':>7}{'between':>8}{'reliability':>12}"
    f"{'halves: r, predicted':>22}"
)
_MODELS = f"{'mean [95%]':24}{'pooled':>7}{'MAE':>7}{'bias':>7}   by glass"


def symgnn(*arguments: object) -> None:
    """Run a command of the package; its failure ends the program."""
    if run([str(argument) for argument in arguments]):
        sys.exit(1)


def write_checksums(folder: Path, *patterns: str) -> None:
    """SHA-256 of files in a folder, as ``sha256sum`` writes them."""
    sums = (
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for pattern in patterns
        for file in sorted(folder.glob(pattern))
    )
    (folder / "checksums.txt").write_text("".join(sums), encoding="utf-8")


@dataclass
class Glass:
    """One glass: labels [N] eV (NaN: none), elements [N], its searches, and its row of a table."""

    name: str
    file: Path
    label: np.ndarray
    symbols: np.ndarray
    tally: Tally
    row: dict[str, Any]


def read(name: str, file: Path, catalog: Path, potential: Callable[[Path], Potential]) -> Glass:
    """A glass from its labels and its catalog.

    Args:
        name: in tables.
        file: the structure with its labels.
        catalog: of its searches.
        potential: that it was made with, for its energy; given a folder for its files.
    """
    atoms = read_structures(file)[0]
    label = atoms.arrays[ENERGY_BARRIER]
    with Catalog.read(catalog) as events:
        tally, (calls, seconds) = events.tally(), events.cost()
        energy = _energy_per_atom(events, potential)
    components = reliability(tally)
    assert components is not None
    searches, connected = int(tally.searches.sum()), int(tally.connected.sum())
    measured, predicted, _ = halves(tally)
    saddles = connected / components.atoms
    row = {
        "glass": name,
        "energy_per_atom": energy,
        "labeled": int(np.isfinite(label).sum()),
        "searches": searches,
        "connected": connected / searches,
        "force_calls": calls,
        "core_seconds_per_search": seconds / searches,
        "mean_barrier": _mean(tally),
        "within": pooled_spread(tally),
        "between": components.between,
        "reliability": components.of_mean(saddles),
        "halves": [measured, predicted],
    }
    return Glass(name, file, label, np.array(atoms.get_chemical_symbols()), tally, row)


def _energy_per_atom(events: Catalog, potential: Callable[[Path], Potential]) -> float:
    """Potential energy in eV."""
    with tempfile.TemporaryDirectory() as folder:
        atoms = events.structure()
        with Forces(atoms, potential(Path(folder))) as forces:
            return forces(atoms.positions)[0] / len(atoms)


def _mean(tally: Tally) -> list[float]:
    """Mean of the atoms' mean barriers, eV, with a 95% interval from resampled atoms."""
    atom, barrier = tally.atom[tally.connected], tally.barrier[tally.connected]
    means = np.array([barrier[atom == number].mean() for number in np.unique(atom)])
    generator = np.random.default_rng(0)
    drawn = generator.choice(means, (DRAWS, len(means))).mean(axis=1)
    return [float(means.mean()), *map(float, np.percentile(drawn, [2.5, 97.5]))]


def left_out(glasses: list[Glass], model: dict[str, Any]) -> list[np.ndarray]:
    """Predictions [N] for each glass by a model that learned from the others, eV.

    Args:
        glasses: at least two.
        model: a training configuration without its files; without anything, means of elements.
    """
    if not model:
        return [_element_means(glass, [g for g in glasses if g is not glass]) for glass in glasses]
    predictions = []
    for glass in glasses:
        with tempfile.TemporaryDirectory() as folder:
            others = [other for other in glasses if other is not glass]
            predictions.append(annotated(trained(others, model, Path(folder)), glass.file))
    return predictions


def trained(glasses: list[Glass], model: dict[str, Any], folder: Path) -> Path:
    """The model file of a training on glasses, in a folder."""
    files = [str(glass.file) for glass in glasses]
    data = {"label_error": ENERGY_BARRIER_STD, **model.get("data", {}), "train": files}
    config = parse_config({**model, "data": data, "device": "cpu"}, "benchmark")
    run_fit = fit_formula if config.model.architecture == "formula" else fit
    result = run_fit(config, base=folder)
    exported = folder / "model.pt"
    symgnn("export", result.best, "-o", exported)
    return exported


def annotated(model: str | Path, structure: Path) -> np.ndarray:
    """Barriers [N] of a structure by a model, eV."""
    atoms = read_structures(structure)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NovelStructureWarning)  # other glasses are the point
        barrier: np.ndarray = Annotator(model).annotate(atoms).arrays[ENERGY_BARRIER]
    return barrier


def _element_means(glass: Glass, others: list[Glass]) -> np.ndarray:
    prediction = np.empty(len(glass.label))
    for symbol in np.unique(glass.symbols):
        values = np.concatenate([other.label[other.symbols == symbol] for other in others])
        prediction[glass.symbols == symbol] = np.nanmean(values)
    return prediction


def _with_labels(
    glasses: list[Glass], predictions: list[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (found[known], glass.label[known])
        for glass, found in zip(glasses, predictions, strict=True)
        for known in [np.isfinite(glass.label)]
    ]


def _drawn(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Mean correlations of atoms drawn within each glass: the same atoms for every model."""
    generator = np.random.default_rng(0)
    return np.array(
        [
            np.mean(
                [
                    _pearson(x[chosen], y[chosen])
                    for x, y in pairs
                    for chosen in [generator.integers(len(x), size=len(x))]
                ]
            )
            for _ in range(DRAWS)
        ]
    )


def difference(glasses: list[Glass], of: list[np.ndarray], to: list[np.ndarray]) -> list[float]:
    """By how much the mean correlation of one model exceeds that of another: itself, interval."""
    pairs = [_with_labels(glasses, predictions) for predictions in (of, to)]
    means = [np.mean([_pearson(*pair) for pair in found]) for found in pairs]
    drawn = _drawn(pairs[0]) - _drawn(pairs[1])
    return [float(means[0] - means[1]), *map(float, np.percentile(drawn, [2.5, 97.5]))]


def correlations(glasses: list[Glass], predictions: list[np.ndarray]) -> dict[str, Any]:
    """Pearson correlation with labels: mean of the glasses with its interval, and pooled."""
    pairs = _with_labels(glasses, predictions)
    x, y = (np.concatenate(values) for values in zip(*pairs, strict=True))
    return {
        "by_glass": [_pearson(*pair) for pair in pairs],
        "mean": float(np.mean([_pearson(*pair) for pair in pairs])),
        "interval": [float(value) for value in np.percentile(_drawn(pairs), [2.5, 97.5])],
        "pooled": _pearson(x, y),
        "mean_absolute_error": float(np.abs(x - y).mean()),
        "bias": float((x - y).mean()),
    }


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0.0 else float("nan")


def glass_lines(glasses: list[Glass]) -> list[str]:
    """A table of what was searched for and found."""
    lines = [_GLASSES]
    for glass in glasses:
        row = glass.row
        mean, low, high = row["mean_barrier"]
        lines.append(
            f"{glass.name:16}{row['energy_per_atom']:12.4f}{row['labeled']:7}{row['searches']:9}"
            f"{row['connected']:10.2f}{row['force_calls']:7.0f}"
            f"{row['core_seconds_per_search']:8.2f}  {f'{mean:.3f} [{low:.3f}, {high:.3f}]':22}"
            f"{row['within']:7.2f}{row['between']:8.2f}{row['reliability']:12.2f}"
            f"{row['halves'][0]:14.2f}, {row['halves'][1]:.2f}"
        )
    return lines


def model_lines(scores: dict[str, dict[str, Any]]) -> list[str]:
    """A table of what :func:`correlations` says of each model."""
    width = max(map(len, scores)) + 2
    lines = [f"{'model':{width}}{_MODELS}"]
    for name, score in scores.items():
        low, high = score["interval"]
        by_glass = " ".join(f"{value:.2f}" for value in score["by_glass"])
        interval = f"{score['mean']:.3f} [{low:.3f}, {high:.3f}]"
        lines.append(
            f"{name:{width}}{interval:24}{score['pooled']:7.3f}{score['mean_absolute_error']:7.3f}"
            f"{score['bias']:+7.3f}   {by_glass}"
        )
    return lines
