"""Barrier labels of a real glass: what a search costs, how often it succeeds, how good labels are.

    python benchmarks/labels.py [--atoms 20] [--searches 4] [--workers 2] [--glass FILE]

The sample glass, or any Cu-Zr glass. Searches go into a catalog in `labels/`: the same command goes
on where it stopped, and larger numbers add to it. `--report` only reports. For comparison with
published labels see `published_labels.py`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symgnn import read_structures
from symgnn.cli import run
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD
from symgnn.landscape.events import Catalog
from symgnn.landscape.labels import label_columns, pooled_spread
from symgnn.landscape.reliability import ceiling_interval, halves, reliability
from symgnn.landscape.saddle import PHASES
from symgnn.samples import sample_glass
from symgnn.structures import write_structures

if TYPE_CHECKING:
    from ase import Atoms

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
SEARCHES = 20  # of each published label


def measure(catalog: Path, glass: Atoms) -> dict[str, Any]:
    """Cost, success and quality of the labels in a catalog."""
    with Catalog.read(catalog) as events:
        tally, (calls, seconds) = events.tally(), events.cost()
        reasons, phases = events.reasons(), events.calls_by_phase()
    done, converged = int(tally.searches.sum()), len(tally.barrier)
    connected = int(tally.connected.sum())
    report: dict[str, Any] = {
        "atoms": len(glass),
        "labeled_atoms": int((tally.searches > 0).sum()),
        "searches": done,
        "converged": converged,
        "connected": connected,
        "not_connected": reasons,
        "median_force_calls": calls,
        "median_force_calls_by_phase": dict(zip(PHASES, phases, strict=True)),
        "core_seconds_per_search": seconds / done,
        "core_seconds_per_connected": seconds / max(connected, 1),
        "core_hours_for_3000_atoms_and_20_searches": 60000 * seconds / done / 3600,
        "mean_barrier": float(tally.barrier[tally.connected].mean()),
        "mean_barrier_of_all_saddles": float(tally.barrier.mean()),
        "spread_within_atoms": pooled_spread(tally),
    }
    components = reliability(tally)
    if components is not None:
        low, high = ceiling_interval(tally, SEARCHES)
        measured, predicted, atoms = halves(tally)
        report |= {
            "spread_between_atoms": components.between,
            "connected_saddles_per_atom": components.saddles,
            "reliability_of_these_means": components.of_mean(connected / components.atoms),
            f"reliability_of_means_of_{SEARCHES}": components.of_mean(SEARCHES),
            f"ceiling_of_means_of_{SEARCHES}": components.ceiling(SEARCHES),
            f"ceiling_of_means_of_{SEARCHES}_interval": [low, high],
            "halves": {"atoms": atoms, "pearson": measured, "predicted": predicted},
        }
    report["median_standard_error"] = _median(label_columns(tally)[ENERGY_BARRIER_STD])
    return report


def _median(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def main() -> None:
    """Search, and write results/labels*.txt and .json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glass", type=Path, help="a Cu-Zr glass; default: the sample glass")
    parser.add_argument("--atoms", type=int, default=20)
    parser.add_argument("--searches", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()

    glass = sample_glass() if options.glass is None else read_structures(options.glass)[0]
    name = "labels" if options.glass is None else f"labels_{options.glass.stem}"
    catalog = FOLDER / "labels" / f"{name}.db"
    if not options.report:
        catalog.parent.mkdir(exist_ok=True)
        bare = glass.copy()
        bare.arrays.pop(ENERGY_BARRIER, None)
        structure = catalog.with_suffix(".xyz")
        write_structures(structure, [bare])
        arguments = ["--atoms", f"random:{options.atoms}", "--searches", str(options.searches)]
        arguments += ["--workers", str(options.workers), "-o", str(catalog)]
        if run(["label", str(structure), *arguments]):
            sys.exit(1)
    report = measure(catalog, glass) | {"machine": f"{platform.processor() or platform.machine()}"}
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    lines = [f"{key:45} {value}" for key, value in report.items()]
    text = "\n".join((f"symgnn label, {glass.get_chemical_formula()}", *lines)) + "\n"
    (RESULTS / f"{name}.txt").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
