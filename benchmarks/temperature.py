"""Barriers at temperature: instantaneous and averaged positions against the inherent structure.

LAMMPS runs a glass with the 2009 Cu-Zr potential and averages positions over 1 ps, several times
for each of several velocity seeds; models then annotate the minimum, the last snapshot of each
window, and its average.

    python benchmarks/temperature.py [MODEL ...] [--glass FILE] [--temperatures 50 300 600]

With a labeled glass, such as one that a model was trained without, it also correlates with labels.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from cuzr_lammps import run_glass
from symgnn import Annotator, read_structures
from symgnn.keys import ENERGY_BARRIER
from symgnn.samples import sample_glass

if TYPE_CHECKING:
    from ase import Atoms

INPUT = """\
timestep      0.001
velocity      all create {twice} {seed}
fix           motion all nvt temp {temperature} {temperature} 0.1
run           3000
compute       unwrapped all property/atom xu yu zu
fix           average all ave/atom 10 100 1000 c_unwrapped[1] c_unwrapped[2] c_unwrapped[3]
dump          run all custom 1000 run.dump id type xu yu zu f_average[1] f_average[2] f_average[3]
dump_modify   run sort id first no format float %20.12g
run           {steps}
"""


def frames(glass: Atoms, temperature: float, seed: int, windows: int) -> list[tuple[Atoms, Atoms]]:
    """Snapshot and 1 ps average at the end of each window."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = INPUT.format(
            temperature=temperature, twice=2 * temperature, seed=seed, steps=1000 * windows
        )
        run_glass(folder, glass, script)
        snapshots = read_structures(folder / "run.dump", elements=["Cu", "Zr"])
    pairs = []
    for snapshot in snapshots[-windows:]:
        average = snapshot.copy()
        columns = [snapshot.arrays[f"f_average[{k}]"] for k in (1, 2, 3)]
        average.positions = np.stack(columns, axis=1)
        pairs.append((snapshot, average))
    return pairs


def correlation(values: np.ndarray, reference: np.ndarray) -> float:
    """Pearson correlation; 0 where all values are equal, at the end of the model's range."""
    return float(np.corrcoef(values, reference)[0, 1]) if np.ptp(values) > 0.0 else 0.0


def main() -> None:
    """Print a table for each model, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["cuzr"])
    parser.add_argument("--glass", help="a Cu-Zr glass at its minimum; default: the sample glass")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="a picture of the last model")
    options = parser.parse_args()

    glass = sample_glass() if options.glass is None else read_structures(options.glass)[0]
    label = glass.arrays.get(ENERGY_BARRIER)
    annotators = [Annotator(model) for model in options.models]
    inherent = {a.path: a.predict([glass])[0][:, 0] for a in annotators}
    curves: dict[str, list[tuple[float, float, float]]] = {"instantaneous": [], "averaged": []}
    for temperature in options.temperatures:
        pairs = [
            pair
            for seed in range(1, options.seeds + 1)
            for pair in frames(glass, temperature, seed, options.windows)
        ]
        distance = np.mean([_distance(average, glass) for _, average in pairs])
        print(f"{temperature:g} K, {len(pairs)} windows of 1 ps;", end=" ")
        print(f"averages lie {distance:.3f} A (rms per component) from the minimum")
        for annotator in annotators:
            reference = inherent[annotator.path]
            print(f"  {annotator.name}:", end=" ")
            print(f"inherent structure {reference.mean():.3f} +- {reference.std():.3f} eV", end="")
            print("" if label is None else f", with labels {correlation(reference, label):.3f}")
            for kind, index in (("instantaneous", 0), ("averaged", 1)):
                values = [annotator.predict([pair[index]])[0][:, 0] for pair in pairs]
                shifts = [value.mean() - reference.mean() for value in values]
                correlations = [correlation(value, reference) for value in values]
                print(f"    {kind:13s}", end=" ")
                print(f"mean shift {_range(shifts, '+.3f')} eV,", end=" ")
                print(f"correlation {_range(correlations, '.3f')}", end="")
                if label is not None:
                    correlations = [correlation(value, label) for value in values]
                    print(f", with labels {_range(correlations, '.3f')}", end="")
                print()
                if annotator is annotators[-1]:
                    point = (temperature, np.mean(shifts), np.mean(correlations))
                    curves[kind].append(point)
    if options.plot is not None:
        _draw(curves, label is not None, options.plot)


def _draw(curves: dict[str, list], labeled: bool, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), constrained_layout=True)
    for kind, points in curves.items():
        temperature, shift, correlations = zip(*points, strict=True)
        axes[0].plot(temperature, shift, "o-", label=kind)
        axes[1].plot(temperature, correlations, "o-")
    axes[0].set(xlabel="temperature (K)", ylabel="shift of the mean barrier (eV)")
    other = "labels" if labeled else "inherent structure"
    axes[1].set(xlabel="temperature (K)", ylabel=f"correlation with {other}")
    axes[0].legend()
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _range(values: list[float], form: str) -> str:
    return f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _distance(atoms: Atoms, glass: Atoms) -> float:
    """Root mean square displacement per component, Å, without whole cells."""
    fractional = (atoms.positions - glass.positions) @ np.linalg.inv(glass.cell.array)
    displacement = (fractional - np.round(fractional)) @ glass.cell.array
    return float(np.sqrt((displacement**2).mean()))


if __name__ == "__main__":
    main()
