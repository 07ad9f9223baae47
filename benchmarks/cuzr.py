"""Make the shipped models `cuzr` and `cuzr-fast` from the published glasses: one command for each.

Thermal copies of the seven labeled glasses (LAMMPS, a quarter of an hour; kept in FOLDER and not
made again), the fit of a preset to all seven, export. The scores that it prints leave out one glass
at a time, with its relatives.

    python benchmarks/cuzr.py [FOLDER] [--output cuzr.pt]
    python benchmarks/cuzr.py --preset densities

The same for a mixture of regression and networks, which takes half an hour longer and goes on where
it was interrupted:

    python benchmarks/cuzr.py --preset mixture --output mixture.pt
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import thermal_copies
from symgnn.annotator import PRETRAINED
from symgnn.export import export_checkpoint
from symgnn.training.config import TrainingConfig, dump_config, preset
from symgnn.training.mixture import train_mixture
from symgnn.training.regression import fit

SHIPPED = {"drag": "cuzr.pt", "densities": "cuzr-fast.pt"}
NAMES = [*(f"train{number}" for number in range(6)), "validation"]


def show(what: str, done: int, total: int) -> None:
    """A line for each tenth of a network's training."""
    if what.startswith("network") and done % max(1, total // 10) == 0:
        print(f"{what}: epoch {done} of {total}", file=sys.stderr, flush=True)


def main() -> None:
    """Copies, fit, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    build = Path(__file__).resolve().parents[1] / "build" / "cuzr"
    parser.add_argument("folder", type=Path, nargs="?", default=build)
    parser.add_argument("--preset", default="drag", choices=["drag", "densities", "mixture"])
    parser.add_argument("--output", type=Path, help="default: the file that ships")
    options = parser.parse_args()
    if options.output is None and options.preset not in SHIPPED:
        parser.error(f"--output is needed: {options.preset} does not ship")
    if not thermal_copies.PUBLISHED.is_dir():
        print(f"left out: the published glasses are not in {thermal_copies.PUBLISHED}")
        return
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data").exists():
        (folder / "data").symlink_to(thermal_copies.PUBLISHED)
    script = Path(thermal_copies.__file__)
    subprocess.run([sys.executable, script, folder / "thermal"], check=True)

    config = preset(options.preset)
    config.output = options.preset
    # Relative names, so that the model file does not carry the folders of this computer.
    config.data.train = [f"data/{name}.xyz" for name in NAMES]
    config.data.thermal = [f"thermal/{name}.xyz" for name in NAMES]
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
