"""What matters in density regression: one factor at a time, each glass left out in turn.

Prints mean and worst Pearson correlation over the seven labeled glasses, the pooled one and the
mean absolute error, and appends them to a file; variants that are there already are not repeated.

    python benchmarks/factors.py [FOLDER] [--copies FOLDER] [--output FILE.csv]

FOLDER/copies hold what `thermal_copies.py` writes; without it the thermal variants are left out.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

from published import NAMES, PUBLISHED, say_if_missing
from symgnn.training.config import parse_config
from symgnn.training.regression import fit

WIDE = {"radii": [2.5, 2.9, 3.4, 4.2, 5.0], "widths": [0.25, 0.25, 0.3, 0.4, 0.5]}
VARIANTS: dict[str, dict] = {
    "reference": {},
    "largest l 2": {"degree": 2},
    "largest l 4": {"degree": 4},
    "largest l 8": {"degree": 8},
    "three angular radii": {"radii": [2.6, 3.2, 4.4], "widths": [0.3, 0.4, 0.6]},
    "five angular radii": WIDE,
    "13 radial Gaussians": {"radial": 13},
    "cutoff 6 Å": {"cutoff": 6.0, "shells": [3.7, 5.6], "angular_cutoff": 5.5},
    "one shell, 3.7 Å": {"shells": [3.7]},
    "three shells": {"shells": [3.7, 5.2, 6.6]},
    "strength 3": {"strength": 3.0},
    "strength 300": {"strength": 300.0},
}
COPIES = {"thermal copies, weight 0.2": 0.2, "thermal copies, weight 0.5": 0.5}
COLUMNS = ("variant", "features", "mean_pearson", "worst_pearson", "pooled_pearson", "mae")


def main() -> None:
    """Fit the variants that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=PUBLISHED)
    parser.add_argument("--copies", type=Path)
    results = Path(__file__).parent / "results"
    parser.add_argument("--output", type=Path, default=results / "factors.csv")
    options = parser.parse_args()
    if say_if_missing(options.folder):
        return
    done = set()
    if options.output.exists():
        with options.output.open(newline="", encoding="utf-8") as file:
            done = {row["variant"] for row in csv.DictReader(file)}
    else:
        options.output.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    variants = {name: (model, None) for name, model in VARIANTS.items()}
    if options.copies is not None:
        variants |= {name: ({}, weight) for name, weight in COPIES.items()}
    train = [str((options.folder / f"{name}.xyz").resolve()) for name in NAMES]
    for name, (model, weight) in variants.items():
        if name in done:
            continue
        data: dict = {"train": train}
        if weight is not None:
            thermal = [str((options.copies / f"{glass}.xyz").resolve()) for glass in NAMES]
            data |= {"thermal": thermal, "thermal_weight": weight}
        content = {"data": data, "model": {"architecture": "density_regression", **model}}
        with tempfile.TemporaryDirectory() as folder:
            config = parse_config({**content, "output": f"{folder}/run"}, name)
            result = fit(config, base=Path(folder))
        assert result.held_out is not None
        each = [metrics.pearson for metrics in result.structures.values()]
        row = [name, result.features, sum(each) / len(each), min(each)]
        row += [result.held_out.pearson, result.held_out.mae]
        with options.output.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([v if isinstance(v, str | int) else f"{v:.4f}" for v in row])
        print(*row, flush=True)


if __name__ == "__main__":
    main()
