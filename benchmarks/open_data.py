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
import json
import shutil
from pathlib import Path
from typing import Any

from comparison.searched import (
    Glass,
    annotated,
    correlations,
    difference,
    glass_lines,
    left_out,
    model_lines,
    read,
    symgnn,
    write_checksums,
)
from symgnn.landscape.potential import Potential
from symgnn.open_data import GLASSES, open_data
from symgnn.training.config import preset

FOLDER = Path(__file__).parent
WORK = FOLDER / "open_data"
PACKAGE = open_data(GLASSES[0]).parent
CATALOGS = FOLDER.parent / "datasets" / "open_data"
ATOMS_OF_GLASS, LABELED, SEARCHES = 1000, 100, 3
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


def make(searches: int, workers: int) -> None:
    """Quench, search, and write the dataset."""
    WORK.mkdir(exist_ok=True)
    for glass in GLASSES:
        structure, catalog = open_data(glass), WORK / f"{glass}.db"
        published = CATALOGS / catalog.name
        if not published.is_file():
            composition, rate = glass.split("_")
            size = ["--atoms", ATOMS_OF_GLASS, "--rate", rate]
            symgnn("quench", composition, *size, "-o", WORK / glass)
            structure = WORK / glass / "sample-1" / "glass.xyz"
        elif not catalog.is_file():
            shutil.copyfile(published, catalog)
        chosen = ["--atoms", f"random:{LABELED}", "--searches", searches, "--keep"]
        symgnn("label", structure, *chosen, "--workers", workers, "-o", catalog)
    pack()


def pack() -> None:
    """Labels into the package, catalogs beside it, checksums of both."""
    CATALOGS.mkdir(parents=True, exist_ok=True)
    for glass in GLASSES:
        catalog = WORK / f"{glass}.db"
        symgnn("label", "export", catalog, "-o", open_data(glass))
        shutil.copyfile(catalog, CATALOGS / catalog.name)
    for folder, pattern in ((PACKAGE, "*.xyz"), (CATALOGS, "*.db")):
        write_checksums(folder, pattern)


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
        left.errorbar(
            glass.row["energy_per_atom"],
            mean,
            yerr=error,
            fmt="o",
            capsize=3,
            color=color,
            label=name,
        )
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
    glasses = [
        read(name, open_data(name), CATALOGS / f"{name}.db", Potential.shipped) for name in GLASSES
    ]
    scores = {
        name: correlations(glasses, left_out(glasses, model)) for name, model in MODELS.items()
    }
    shipped = {name: [annotated(name, glass.file) for glass in glasses] for name in SHIPPED}
    for name, predictions in shipped.items():
        scores[f"shipped {name}"] = correlations(glasses, predictions)
    more = difference(glasses, shipped["cuzr"], shipped["cuzr-fast"])
    lines = [
        "The open dataset: glasses of 1,000 atoms (energies in eV)",
        "",
        *glass_lines(glasses),
        "",
        "Pearson correlation with the labels of a glass: models that learned from the other three,",
        "and the shipped models, which learned from the published labels",
        "",
        *model_lines(scores),
    ]
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
