"""How sure it is that a saddle is connected: the same saddles, their sides looked at more closely.

    python benchmarks/connectivity.py FOLDER [--atoms 30]

FOLDER holds the published glasses as extended XYZ. One search for each of so many random atoms of
two of them, pushed over by 0.15 Å; then its sides are relaxed to smaller forces, pushed over by
0.3 Å, as shipped, or both.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from symgnn import read_structures
from symgnn.landscape.events import seed_of
from symgnn.landscape.forces import Forces
from symgnn.landscape.potential import Potential
from symgnn.landscape.saddle import SaddleSettings, Search, search_saddle
from symgnn.selection import chosen_atoms, structure_checksum

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
GLASSES = ("train0", "train5")
NEAR = "pushed 0.15 Å"
UNLIMITED = {"push_over": 0.15, "force_calls": 100_000}
LOOKS = {
    NEAR: {"push_over": 0.15},
    "pushed 0.15 Å, relaxed to 0.01 eV/Å": UNLIMITED | {"relaxation_tolerance": 0.01},
    "pushed 0.15 Å, relaxed to 0.005 eV/Å": UNLIMITED | {"relaxation_tolerance": 0.005},
    "pushed 0.3 Å": UNLIMITED | {"push_over": 0.3},
    "pushed 0.3 Å, relaxed to 0.005 eV/Å": UNLIMITED
    | {"push_over": 0.3, "relaxation_tolerance": 0.005},
}
TITLE = """\
Connected saddles, by several looks at both sides of the same saddles: all of them; those that are
connected in the first row; the others. Their mean barrier (eV). Force calls, median"""


class Remembered:
    """Forces that are calculated once at the same positions: the way to the saddle is the same."""

    def __init__(self, forces: Forces) -> None:
        self._forces = forces
        self._known: dict[bytes, tuple[float, NDArray[np.float64]]] = {}

    def __call__(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Like ``Forces``."""
        key = positions.tobytes()
        if key not in self._known:
            self._known[key] = self._forces(positions)
        return self._known[key]


def looks_at(forces: Forces, glass: Atoms, atom: int) -> dict[str, Search]:
    """The first search of an atom, with the first look and, if it found a saddle, all others."""
    forces.restart(glass.positions)
    remembered = Remembered(forces)
    seed = seed_of(structure_checksum(glass), atom, 0)
    found: dict[str, Search] = {}
    for name, settings in LOOKS.items():
        generator = np.random.default_rng(seed)
        found[name] = search_saddle(remembered, glass, atom, SaddleSettings(**settings), generator)
        if found[name].status == "failed":
            break
    return found


def summary(searches: list[dict[str, Search]]) -> dict[str, Any]:
    """How often each look agrees with the first one, what it costs, and the mean barrier."""
    found = [search for search in searches if len(search) == len(LOOKS)]
    result: dict[str, Any] = {"searches": len(searches), "saddles": len(found)}
    for name in LOOKS:
        barriers = np.array([s[name].barrier for s in found if s[name].status == "connected"])
        pairs = Counter((s[NEAR].status, s[name].status) for s in found)
        result[name] = {
            "connected": len(barriers),
            "of_those_in_the_first_row": pairs["connected", "connected"],
            "of_the_others": pairs["unconnected", "connected"],
            "mean_barrier": barriers.mean(),
            "standard_error": barriers.std(ddof=1) / np.sqrt(len(barriers)),
            "median_force_calls": float(np.median([sum(s[name].calls.values()) for s in found])),
        }
    return result


def main() -> None:
    """Search, and write results/connectivity.txt and .json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--atoms", type=int, default=30)
    options = parser.parse_args()

    searches: dict[str, list[dict[str, Search]]] = {}
    for name in GLASSES:
        glass = read_structures(options.folder / f"{name}.xyz")[0]
        atoms = chosen_atoms(f"random:{options.atoms}", glass)
        with (
            TemporaryDirectory() as folder,
            Forces(glass, Potential.shipped(Path(folder))) as forces,
        ):
            searches[name] = [looks_at(forces, glass, atom) for atom in tqdm(atoms, desc=name)]
    searches["both"] = [search for name in GLASSES for search in searches[name]]
    report = {name: summary(of_glass) for name, of_glass in searches.items()}
    (RESULTS / "connectivity.json").write_text(json.dumps(report, indent=2) + "\n")

    lines = [TITLE]
    for name, of_glass in report.items():
        lines += ["", f"{name}: {of_glass['saddles']} saddles of {of_glass['searches']} searches"]
        for look in LOOKS:
            row = of_glass[look]
            lines.append(
                f"{look:38}{row['connected']:4}{row['of_those_in_the_first_row']:4}"
                f"{row['of_the_others']:4}  {row['mean_barrier']:.2f} ± {row['standard_error']:.2f}"
                f"{row['median_force_calls']:7.0f}"
            )
    text = "\n".join(lines) + "\n"
    (RESULTS / "connectivity.txt").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
