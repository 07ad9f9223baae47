"""What does averaging cost at 300 K, apart from what the glass itself has done meanwhile?

Each labeled glass ran at 300 K and was averaged over 1 ps (`thermal_copies.py`). Barriers of the
average are held against the labels, beside those of the minimum that the labels belong to, and of
the minimum that the average itself relaxes into: where the glass has rearranged, that is another
one, with barriers of its own. By maps that were fitted without the glass and its relatives.

    python benchmarks/averages.py [FOLDER] [--preset densities]

FOLDER is that of `cuzr.py`, which fits. Copies are kept in FOLDER/thermal, relaxed ones in
FOLDER/relaxed, which are made again where copies are newer.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import ase.io
import numpy as np
import torch

import thermal_copies
from cuzr_lammps import run_glass
from published import NAMES
from symgnn import read_structures
from symgnn.files import written_whole
from symgnn.graph import build_graph
from symgnn.keys import ENERGY_BARRIER
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.dataset import LabeledGraph
from symgnn.training.regression import predict_held_out

if TYPE_CHECKING:
    from ase import Atoms

RELAX = """\
min_style     cg
minimize      0 1e-5 5000 50000
write_dump    all custom relaxed.dump id type xu yu zu modify sort id format float %20.12g
"""
REARRANGED = 0.3
"""Å, from the minimum of the labels, without the drift of the whole glass."""


def relaxed(copies: Path, path: Path) -> list[Atoms]:
    """The minima that copies of a glass relax into with the 2009 potential, kept in a file."""
    if not path.exists() or path.stat().st_mtime < copies.stat().st_mtime:
        minima = []
        for copy in read_structures(copies):
            with tempfile.TemporaryDirectory() as name:
                run_glass(Path(name), copy, RELAX)
                (end,) = read_structures(Path(name) / "relaxed.dump", elements=["Cu", "Zr"])
            minimum = copy.copy()
            minimum.positions = end.positions
            minima.append(minimum)
        path.parent.mkdir(exist_ok=True)
        with written_whole(path) as unfinished:
            columns = ["symbols", "positions", ENERGY_BARRIER]
            ase.io.write(unfinished, minima, format="extxyz", columns=columns)
    return read_structures(path)


def moved(atoms: Atoms, glass: Atoms) -> float:
    """Share of atoms that lie farther from where they were than ``REARRANGED``."""
    fractional = (atoms.positions - glass.positions) @ np.linalg.inv(glass.cell.array)
    displacement = (fractional - np.round(fractional)) @ glass.cell.array
    displacement -= displacement.mean(axis=0)
    return float((np.linalg.norm(displacement, axis=1) > REARRANGED).mean())


class HeldOut:
    """The model of a checkpoint, and the maps in it that were fitted without each glass."""

    def __init__(self, path: Path) -> None:
        content = load_checkpoint(path)
        self.model = restore_model(content, str(path))
        self.elements: list[str] = content["elements"]
        self.groups: list[int] = content["jackknife"]

    def predict(self, number: int, atoms: Atoms) -> np.ndarray:
        """Barriers [N], eV, by the map that does not know the glass of that number."""
        graph = build_graph(atoms, self.model.config.cutoff, self.elements)
        nothing = torch.full((len(atoms),), torch.nan)
        item = LabeledGraph(graph, nothing, nothing, NAMES[number])
        with torch.inference_mode():
            return predict_held_out(self.model, self.groups[number], item).numpy()


def print_rows(model: HeldOut, number: int, folder: Path) -> None:
    """A row for each copy of a glass, by picosecond of its run."""
    name = NAMES[number]
    (glass,) = read_structures(folder / "data" / f"{name}.xyz")
    copies = folder / "thermal" / f"{name}.xyz"
    minima = relaxed(copies, folder / "relaxed" / f"{name}.xyz")
    label = glass.arrays[ENERGY_BARRIER]
    reference = model.predict(number, glass)
    for picosecond, average, minimum in zip((4, 5), read_structures(copies), minima, strict=True):
        barriers, own = (model.predict(number, atoms) for atoms in (average, minimum))
        pearson = [np.corrcoef(x, label)[0, 1] for x in (reference, barriers, own)]
        print(
            f"{name:15s}  {picosecond}   {pearson[0]:.3f}    {pearson[1]:.3f}    "
            f"{pearson[2]:.3f}   {pearson[1] - pearson[2]:+.3f}   "
            f"{barriers.mean() - reference.mean():+.3f}   {barriers.mean() - own.mean():+.3f}"
            f"    {moved(minimum, glass):.1%}",
            flush=True,
        )


def main() -> None:
    """Print a row for each copy of each glass."""
    parser = argparse.ArgumentParser(description=__doc__)
    build = Path(__file__).resolve().parents[1] / "build" / "cuzr"
    parser.add_argument("folder", type=Path, nargs="?", default=build)
    parser.add_argument("--preset", default="drag", choices=["drag", "densities"])
    options = parser.parse_args()
    checkpoint = options.folder / options.preset / "best.ckpt"
    if not checkpoint.exists():
        print(f"left out: no fit in {checkpoint.parent}; cuzr.py makes it")
        return
    model = HeldOut(checkpoint)
    thermal_copies.make(options.folder / "thermal")
    print("                     Pearson with labels                mean of average minus that of")
    print("glass left out   ps  labeled  average  own     differ-  labeled  own       atoms moved")
    print("                     minimum           minimum ence     minimum  minimum   ", end="")
    print(f"by {REARRANGED:g} A")
    for number in range(len(NAMES)):
        print_rows(model, number, options.folder)


if __name__ == "__main__":
    main()
