"""The open dataset: make it, and measure what it can teach.

    python benchmarks/open_data.py [--make] [--searches N] [--workers 2]

With --make, searches for saddles around random atoms of the four glasses, in `open_data/` beside
this script (some core-hours; the same command goes on where it stopped), then writes labels,
catalogs and checksums. It begins with the glasses and catalogs that are published, so that a larger
number of searches adds to them; those that are missing are quenched first.

Without it, measures what is in the package: success and reliability of the searches, the mean
barrier against the cooling rate, and what models reach that learn from three glasses and predict
the fourth, beside models that learned from other labels.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
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
from symgnn.landscape.labels import pooled_spread
from symgnn.landscape.reliability import halves, reliability
from symgnn.open_data import GLASSES, PREFIX, open_data
from symgnn.training.config import parse_config, preset
from symgnn.training.formula import fit_formula
from symgnn.training.regression import fit

if TYPE_CHECKING:
    from symgnn.landscape.events import Tally

FOLDER = Path(__file__).parent
WORK = FOLDER / "open_data"
PACKAGE = open_data(GLASSES[0]).parent
CATALOGS = FOLDER.parent / "datasets" / "open_data"
ATOMS_OF_GLASS, LABELED, SEARCHES = 1000, 100, 3
DRAWS = 1000
ERROR = "energy_barrier_std"
MODELS: dict[str, dict[str, Any]] = {
    "element mean": {},
    "preset open-data": preset("open-data").model_dump(),
    "the same, labels alike": {
        **preset("open-data").model_dump(),
        "data": {"label_error": None},
    },
    "density regression": {"model": {"architecture": "density_regression"}},
    "density regression, strength 300": {
        "model": {"architecture": "density_regression", "strength": 300.0}
    },
    "density regression, strength 3000": {
        "model": {"architecture": "density_regression", "strength": 3000.0}
    },
    "dragging, strength 3000": {"model": {**preset("drag").model.model_dump(), "strength": 3000.0}},
}
SHIPPED = ("cuzr", "cuzr-fast", "simple")
HEADER = (
    f"{'glass':16}{'energy/atom':>12}{'atoms':>7}{'searches':>9}{'connected':>10}{'calls':>7}"
    f"{'core-s':>8}  {'mean barrier [95%]':22}{'within':>7}{'between':>8}{'reliability':>12}"
    f"{'halves: r, predicted':>22}"
)


def make(searches: int, workers: int) -> None:
    """Quench, search, and write the dataset."""
    WORK.mkdir(exist_ok=True)
    for glass in GLASSES:
        structure, catalog = open_data(glass), WORK / f"{glass}.db"
        published = CATALOGS / catalog.name
        if not published.is_file():
            composition, rate = glass.split("_")
            size = ["--atoms", ATOMS_OF_GLASS, "--rate", rate]
            _symgnn("quench", composition, *size, "-o", WORK / glass)
            structure = WORK / glass / "sample-1" / "glass.xyz"
        elif not catalog.is_file():
            shutil.copyfile(published, catalog)
        chosen = ["--atoms", f"random:{LABELED}", "--searches", searches, "--keep"]
        _symgnn("label", structure, *chosen, "--workers", workers, "-o", catalog)
    pack()


def pack() -> None:
    """Labels into the package, catalogs beside it, checksums of both."""
    CATALOGS.mkdir(parents=True, exist_ok=True)
    for glass in GLASSES:
        catalog = WORK / f"{glass}.db"
        _symgnn("label", "export", catalog, "-o", open_data(glass))
        shutil.copyfile(catalog, CATALOGS / catalog.name)
    for folder, pattern in ((PACKAGE, "*.xyz"), (CATALOGS, "*.db")):
        sums = (
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
            for file in sorted(folder.glob(pattern))
        )
        (folder / "checksums.txt").write_text("".join(sums), encoding="utf-8")


def _symgnn(*arguments: object) -> None:
    if run([str(argument) for argument in arguments]):
        sys.exit(1)


@dataclass
class Glass:
    """One glass: labels [N] (NaN: none) and errors [N] eV, elements [N], and its searches."""

    name: str
    energy: float
    label: np.ndarray
    error: np.ndarray
    symbols: np.ndarray
    tally: Tally
    row: dict[str, Any]


def read(name: str) -> Glass:
    """Labels and catalog of a glass, with a row of the table."""
    atoms = read_structures(open_data(name))[0]
    label, error = atoms.arrays[ENERGY_BARRIER], atoms.arrays[ENERGY_BARRIER_STD]
    with Catalog.read(CATALOGS / f"{name}.db") as events:
        tally, (calls, seconds) = events.tally(), events.cost()
    components = reliability(tally)
    assert components is not None
    energy = _energy(name)
    searches, connected = int(tally.searches.sum()), int(tally.connected.sum())
    measured, predicted, _ = halves(tally)
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
        "reliability": components.of_mean(connected / components.atoms),
        "halves": [measured, predicted],
    }
    symbols = np.array(atoms.get_chemical_symbols())
    return Glass(name, energy, label, error, symbols, tally, row)


def _energy(name: str) -> float:
    """Of a glass, eV per atom, by its potential."""
    from symgnn.landscape.forces import Forces
    from symgnn.landscape.potential import Potential

    with tempfile.TemporaryDirectory() as folder, Catalog.read(CATALOGS / f"{name}.db") as events:
        atoms = events.structure()
        with Forces(atoms, Potential.shipped(Path(folder))) as forces:
            return forces(atoms.positions)[0] / len(atoms)


def _mean(tally: Tally) -> list[float]:
    """Mean of the atoms' mean barriers, eV, with a 95% interval from resampled atoms."""
    atom, barrier = tally.atom[tally.connected], tally.barrier[tally.connected]
    means = np.array([barrier[atom == number].mean() for number in np.unique(atom)])
    generator = np.random.default_rng(0)
    drawn = generator.choice(means, (DRAWS, len(means))).mean(axis=1)
    return [float(means.mean()), *map(float, np.percentile(drawn, [2.5, 97.5]))]


def left_out(glasses: list[Glass], model: dict[str, Any]) -> list[np.ndarray]:
    """Predictions [N] for each glass by a model that learned from the others, eV."""
    if not model:
        return [_element_means(glass, [g for g in glasses if g is not glass]) for glass in glasses]
    predictions = []
    for number, _ in enumerate(glasses):
        others = [f"{PREFIX}{name}" for k, name in enumerate(GLASSES) if k != number]
        data = {"label_error": ERROR, **model.get("data", {}), "train": others}
        with tempfile.TemporaryDirectory() as folder:
            config = parse_config({**model, "data": data, "device": "cpu"}, "open data")
            run_fit = fit_formula if config.model.architecture == "formula" else fit
            result = run_fit(config, base=Path(folder))
            exported = Path(folder) / "model.pt"
            if run(["export", str(result.best), "-o", str(exported)]):
                sys.exit(1)
            predictions.append(_annotated(exported, open_data(GLASSES[number])))
    return predictions


def _annotated(model: str | Path, structure: Path) -> np.ndarray:
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


def picture(glasses: list[Glass], path: Path) -> None:
    """Mean barrier against energy for one composition, and the barriers of single saddles."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, glass in enumerate(glasses):
        composition, rate = glass.name.split("_")
        name, color = f"{composition}, {rate} K/s", f"C{number}"
        barrier = glass.tally.barrier[glass.tally.connected]
        right.ecdf(barrier, label=f"{name} ({len(barrier)})", color=color)
        if composition != "Cu64Zr36":  # energies of another composition cannot be compared
            continue
        mean, low, high = glass.row["mean_barrier"]
        error = [[mean - low], [high - mean]]
        left.errorbar(glass.energy, mean, yerr=error, fmt="o", capsize=3, color=color, label=name)
    left.legend(frameon=False, fontsize=8)
    left.locator_params(axis="x", nbins=4)
    left.set_xlabel("potential energy (eV per atom)")
    left.set_ylabel("mean barrier (eV)")
    right.set_xlabel("barrier of a connected saddle (eV)")
    right.set_ylabel("share of saddles below")
    right.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=120)


def report() -> str:
    """Measure, and write results/open_data.*."""
    glasses = [read(name) for name in GLASSES]
    lines = [
        "The open dataset: glasses of 1,000 atoms (energies in eV)",
        "",
        HEADER,
    ]
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
    scores = {
        name: correlations(glasses, left_out(glasses, model)) for name, model in MODELS.items()
    }
    shipped = {name: [_annotated(name, open_data(glass)) for glass in GLASSES] for name in SHIPPED}
    for name, predictions in shipped.items():
        scores[f"shipped {name}"] = correlations(glasses, predictions)
    more = difference(glasses, shipped["cuzr"], shipped["cuzr-fast"])
    lines += [
        "",
        "Pearson correlation with the labels of a glass: models that learned from the other three,",
        "and the shipped models, which learned from the published labels",
        "",
        f"{'model':36}{'mean [95%]':24}{'pooled':>7}{'MAE':>7}{'bias':>7}   by glass",
    ]
    for name, score in scores.items():
        low, high = score["interval"]
        by_glass = " ".join(f"{value:.2f}" for value in score["by_glass"])
        interval = f"{score['mean']:.3f} [{low:.3f}, {high:.3f}]"
        lines.append(
            f"{name:36}{interval:24}{score['pooled']:7.3f}{score['mean_absolute_error']:7.3f}"
            f"{score['bias']:+7.3f}   {by_glass}"
        )
    lines += ["", "cuzr minus cuzr-fast: {:+.3f} [{:.3f}, {:.3f}]".format(*more)]
    results = FOLDER / "results"
    rows = {
        "glasses": [glass.row for glass in glasses],
        "models": scores,
        "cuzr_minus_cuzr_fast": more,
    }
    (results / "open_data.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    picture(glasses, results / "open_data.png")
    text = "\n".join(lines) + "\n"
    (results / "open_data.txt").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    """Make the dataset, or measure it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--searches", type=int, default=SEARCHES)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.make:
        make(options.searches, options.workers)
    else:
        print(report(), end="")


if __name__ == "__main__":
    main()
