"""Do searches of `results/published_labels.csv` end alike when they are repeated?

    python benchmarks/repeat_searches.py FOLDER [--searches 40] [--workers 2]

FOLDER holds the published glasses. So many random connected searches of each of two glasses are
repeated with the settings that ship. Most of those in the table were made when saddles were pushed
0.15 Å over, not 0.3 Å (`published_labels.py`).
"""

from __future__ import annotations

import argparse
import csv
import random
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from published_labels import GLASSES, RESULTS, SEARCHES_FILE
from symgnn import read_structures
from symgnn.landscape.events import Task, seed_of
from symgnn.landscape.potential import Potential
from symgnn.landscape.saddle import SaddleSettings
from symgnn.landscape.workers import run_searches
from symgnn.selection import structure_checksum


def main() -> None:
    """Repeat, and write results/repeat_searches.txt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--searches", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    with SEARCHES_FILE.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "connected"]
    lines = ["Connected searches of published_labels.csv, repeated: how they end now"]
    for glass in GLASSES:
        atoms = read_structures(options.folder / f"{glass}.xyz")[0]
        structure = structure_checksum(atoms)
        of_glass = [row for row in rows if row["glass"] == glass]
        barriers = {}
        for row in random.Random(0).sample(of_glass, options.searches):
            atom, search = int(row["atom"]), int(row["search"])
            barriers[Task(atom, search, seed_of(structure, atom, search))] = float(row["barrier"])
        ends: Counter[str] = Counter()
        with TemporaryDirectory() as folder:
            done = run_searches(
                list(barriers),
                atoms,
                Potential.shipped(Path(folder)),
                SaddleSettings(),
                options.workers,
            )
            for task, result, _ in tqdm(done, desc=glass, total=len(barriers)):
                assert result is not None
                same = abs(result.barrier - barriers[task]) < 1e-4
                ends[f"{result.reason or 'connected'}{'' if same else ', another barrier'}"] += 1
        lines += [f"{glass}: {len(barriers)}", *(f"  {n:4} {end}" for end, n in ends.most_common())]
    text = "\n".join(lines) + "\n"
    (RESULTS / "repeat_searches.txt").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
