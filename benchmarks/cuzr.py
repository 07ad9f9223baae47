"""Make the shipped models `cuzr` and `cuzr-fast` from the published glasses: one command for each.

The fit of a preset to all seven labeled glasses, and export. Models that look at positions as they
are also see thermal copies of the glasses (LAMMPS, a quarter of an hour; kept in FOLDER and not
made again). The scores that it prints leave out one glass at a time, with its relatives.

    python benchmarks/cuzr.py [FOLDER] [--output cuzr.pt]
    python benchmarks/cuzr.py --preset densities

The same for a mixture of regression and networks, which takes half an hour longer and goes on where
it was interrupted:

    python benchmarks/cuzr.py --preset mixture --output mixture.pt
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import thermal_copies
from published import NAMES, PUBLISHED, say_if_missing
from symgnn.annotator import PRETRAINED
from symgnn.export import export_checkpoint
from symgnn.training.config import TrainingConfig, dump_config, preset
from symgnn.training.mixture import train_mixture
from symgnn.training.regression import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from symgnn.training.config import FitConfig

SHIPPED = {"drag": "cuzr.pt", "densities": "cuzr-fast.pt"}


def show(what: str, done: int, total: int) -> None:
    """A line for each tenth of a network's training."""
    if what.startswith("network") and done % max(1, total // 10) == 0:
        print(f"{what}: epoch {done} of {total}", file=sys.stderr, flush=True)


def configuration(name: str, glasses: Sequence[str], folder: Path) -> TrainingConfig | FitConfig:
    """A preset for some of the glasses, with their thermal copies unless it relaxes structures.

    Files are named relative to the folder, so that models do not carry those of this computer.
    """
    config = preset(name)
    config.data.train = [f"data/{glass}.xyz" for glass in glasses]
    if name != "drag":
        thermal_copies.make(folder / "thermal")
        config.data.thermal = [f"thermal/{glass}.xyz" for glass in glasses]
    return config


def main() -> None:
    """Fit and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    build = Path(__file__).resolve().parents[1] / "build" / "cuzr"
    parser.add_argument("folder", type=Path, nargs="?", default=build)
    parser.add_argument("--preset", default="drag", choices=["drag", "densities", "mixture"])
    parser.add_argument("--output", type=Path, help="default: the file that ships")
    options = parser.parse_args()
    if options.output is None and options.preset not in SHIPPED:
        parser.error(f"--output is needed: {options.preset} does not ship")
    if say_if_missing():
        return
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data").exists():
        (folder / "data").symlink_to(PUBLISHED)
    config = configuration(options.preset, NAMES, folder)
    config.output = options.preset
    (folder / f"{options.preset}.yaml").write_text(dump_config(config), encoding="utf-8")
    began = time.perf_counter()
    if isinstance(config, TrainingConfig):
        result = train_mixture(config, base=folder, resume=True, report=show)
    else:
        result = fit(config, base=folder)
    seconds = time.perf_counter() - began
    assert result.held_out is not None
    print(f"fit: {seconds:.0f} s, {result.features} features")
    print(
        "glass left out          Pearson  Spearman  MAE     RMSE    bias   AUC lowest, highest 5%"
    )
    for name, metrics in [*result.structures.items(), ("pooled", result.held_out)]:
        print(
            f"{name:22s}  {metrics.pearson:.4f}   {metrics.spearman:.4f}    {metrics.mae:.4f}  "
            f"{metrics.rmse:.4f}  {metrics.bias:+.3f}  {metrics.auc_lowest:.3f}  "
            f"{metrics.auc_highest:.3f}"
        )
    output = options.output or PRETRAINED / SHIPPED[options.preset]
    exported = export_checkpoint(result.best, output)
    print(
        f"{output.name}: largest |exported - fitted| {exported.largest_difference:.1e} eV, "
        f"change under rotations {exported.invariance_rms:.1e} eV (rms)"
    )


if __name__ == "__main__":
    main()
