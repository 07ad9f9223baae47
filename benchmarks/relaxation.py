"""How close to a minimum does a model relax, and what do barriers lose by what is left?

LAMMPS runs a glass at a temperature with the 2009 Cu-Zr potential. Snapshots and 1 ps averages are
held against the minima that LAMMPS finds below these very positions, not against the one that the
run began at, so that what the glass itself has done meanwhile does not count (`temperature.py` has
that). Each row is a mean over runs with other velocities.

    python benchmarks/relaxation.py [MODEL] [--glass FILE] [--temperatures 50 300 600] [--seeds 3]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from averages import RELAX
from cuzr_lammps import run_glass
from symgnn import Annotator, read_structures
from symgnn.graph import build_graph
from symgnn.samples import sample_glass
from temperature import correlation, frames

if TYPE_CHECKING:
    from ase import Atoms

COLUMNS = """\
                        rms distance per component (A)   shift of     corre-
temperature  positions  before       after               mean (eV)    lation"""


def minimum(atoms: Atoms) -> Atoms:
    """Where LAMMPS's minimizer ends."""
    with tempfile.TemporaryDirectory() as name:
        run_glass(Path(name), atoms, RELAX)
        (end,) = read_structures(Path(name) / "relaxed.dump", elements=["Cu", "Zr"])
    result = atoms.copy()
    result.positions = end.positions
    return result


def displacement(module: Any, atoms: Atoms, annotator: Annotator) -> np.ndarray:
    """What the model's own relaxation does, [N, 3], Å."""
    cutoff = annotator.metadata["cutoff"]
    graph = build_graph(atoms, cutoff, annotator.elements)
    node, edge = module.start(graph.species, graph.edge_vector)
    layer = 0
    while True:
        after, moved = module.step(layer, node, edge, graph.edge_index)
        if moved is not edge:
            return node[:, :3].double().numpy()
        node, layer = after, layer + 1


def rms(atoms: Atoms, other: Atoms, moved: np.ndarray | float = 0.0) -> float:
    """Distance per component, Å, without that of the whole glass."""
    fractional = (atoms.positions - other.positions) @ np.linalg.inv(atoms.cell.array)
    away = (fractional - np.round(fractional)) @ atoms.cell.array + moved
    away -= away.mean(axis=0)
    return float(np.sqrt((away**2).mean()))


def main() -> None:
    """Print a row for each temperature and kind of positions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="cuzr")
    parser.add_argument("--glass", help="a Cu-Zr glass at its minimum; default: the sample glass")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[50.0, 300.0, 600.0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    glass = sample_glass() if options.glass is None else read_structures(options.glass)[0]
    annotator = Annotator(options.model)
    module = torch.jit.load(annotator.path)
    print(COLUMNS)
    for temperature in options.temperatures:
        rows: dict[str, list[tuple[float, ...]]] = {"snapshot": [], "average": []}
        for seed in range(1, options.seeds + 1):
            (pair,) = frames(glass, temperature, seed, windows=1)
            for kind, atoms in zip(rows, pair, strict=True):
                below = minimum(atoms)
                found, own = (values[:, 0] for values in annotator.predict([atoms, below]))
                with torch.inference_mode():
                    moved = displacement(module, atoms, annotator)
                distances = rms(atoms, below), rms(atoms, below, moved)
                shift = float(found.mean() - own.mean())
                rows[kind].append((*distances, shift, correlation(found, own)))
        for kind, values in rows.items():
            before, after, shift, alike = np.mean(values, axis=0)
            print(
                f"{temperature:5g} K      {kind:9s}  {before:.3f}        {after:.3f}"
                f"               {shift:+.3f}       {alike:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
