"""What the settings of saddle searches do to labels: bias, success and cost against published ones.

    python benchmarks/label_settings.py FOLDER [--atoms 10] [--searches 2] [--workers 2]

FOLDER holds the published glasses, labeled, as extended XYZ. Some random atoms of two glasses, one
quenched fastest and one slowest, are searched with each of a few settings. Searches go into
catalogs in `labels/settings`: the same command goes on where it stopped, larger numbers add to it,
and `--report` only reports.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scipy.stats import ks_2samp

from symgnn import read_structures
from symgnn.cli import run
from symgnn.keys import ENERGY_BARRIER
from symgnn.landscape.events import Catalog
from symgnn.structures import write_structures

if TYPE_CHECKING:
    import numpy as np

FOLDER = Path(__file__).parent
CATALOGS = FOLDER / "labels" / "settings"
GLASSES = ("train0", "train5")
LONG, HARD, NEAR = "force_calls=3000", "repush_curvature=0.5", "push_over=0.15"
LOOKING_AT_ONCE = ["first_pushes=1", HARD, LONG, NEAR]
SETTINGS: dict[str, tuple[str, list[str]]] = {
    "shipped": ("shipped", []),
    "pushed_over_0.15": ("shipped", [NEAR]),
    "hard_repushes": ("pushed_over_0.15", [HARD, NEAR]),
    "no_early_end": ("hard_repushes", [HARD, LONG, NEAR]),
    "look_from_first_push": ("no_early_end", LOOKING_AT_ONCE),
    "pushes_of_0.2": ("no_early_end", ["push_step=0.2", HARD, LONG, NEAR]),
    "pushes_of_0.2_relaxed": (
        "no_early_end",
        [
            "push_step=0.2",
            "push_relaxation=4",
            "climb_relaxation=[4,8,12,16,24]",
            HARD,
            LONG,
            NEAR,
        ],
    ),
    "soft_pushes": (
        "no_early_end",
        ["push_relaxation=3", "negative_curvature=0.3", *LOOKING_AT_ONCE],
    ),
    "five_lanczos_vectors": ("no_early_end", ["lanczos_vectors=5", *LOOKING_AT_ONCE]),
}
"""By name: the row that it is compared with, and what differs from the defaults."""

TITLE = """\
Barriers of saddles less the published label of their atom (eV, with standard errors);
p of Kolmogorov-Smirnov tests of all saddles and of connected ones, against the row named last"""
HEADER = (
    f"{'glass':8}{'settings':24}{'searches':>9}{'connected':>10}  {'all saddles':14}"
    f"{'connected':14}{'calls':>6}{'core-s per connected':>21}{'p all':>8}{'p conn':>8}  against"
)


def differences(path: Path, published: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Barriers of all saddles less the published label of their atom, eV, and who is connected."""
    with Catalog.read(path) as events:
        tally = events.tally()
    return tally.barrier - published[tally.atom], tally.connected


def mean(values: np.ndarray) -> str:
    """Mean and its standard error."""
    if len(values) < 2:
        return "-"
    return f"{values.mean():+.2f} ± {values.std(ddof=1) / len(values) ** 0.5:.2f}"


def main() -> None:
    """Search, and write results/label_settings.txt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("glasses", type=Path, metavar="FOLDER")
    parser.add_argument("--atoms", type=int, default=10)
    parser.add_argument("--searches", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()

    CATALOGS.mkdir(parents=True, exist_ok=True)
    lines = [TITLE, HEADER]
    for glass in GLASSES:
        atoms = read_structures(options.glasses / f"{glass}.xyz")[0]
        published = atoms.arrays.pop(ENERGY_BARRIER)
        structure = CATALOGS / f"{glass}.xyz"
        write_structures(structure, [atoms])
        references: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, (like, settings) in SETTINGS.items():
            path = CATALOGS / f"{name}_{glass}.db"
            changes = [word for setting in settings for word in ("--set", setting)]
            arguments = ["--atoms", f"random:{options.atoms}", "--searches", str(options.searches)]
            arguments += ["--workers", str(options.workers), "-o", str(path), *changes]
            if not options.report and run(["label", str(structure), *arguments]):
                sys.exit(1)
            if not path.is_file():
                continue
            difference, connected = differences(path, published)
            references[name] = difference, difference[connected]
            with Catalog.read(path) as events:
                calls, seconds = events.cost()
                done = int(events.tally().searches.sum())
            p_all, p_connected = (
                f"{ks_2samp(ours, theirs).pvalue:8.3f}"
                if len(ours) and len(theirs)
                else f"{'-':>8}"
                for ours, theirs in zip(references[name], references[like], strict=True)
            )
            lines.append(
                f"{glass:8}{name:24}{done:9}{connected.sum() / done:10.2f}  {mean(difference):14}"
                f"{mean(difference[connected]):14}{calls:6.0f}"
                f"{seconds / max(connected.sum(), 1):21.1f}{p_all}{p_connected}"
                f"  {like if like != name else '-'}"
            )
    lines.append("settings: " + json.dumps(SETTINGS))
    text = "\n".join(lines) + "\n"
    (FOLDER / "results" / "label_settings.txt").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
