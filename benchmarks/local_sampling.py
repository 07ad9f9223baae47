"""Local sampling: how far atoms move in a short run at 300 K, as a predictor of their barriers.

After Sastry, Debenedetti, Stillinger (Nature 393, 554, 1998), where short runs sample the basin
that a glass is in. The protocol: LAMMPS with the 2009 Cu-Zr potential starts at the minimum with
velocities for 600 K, half of which becomes potential energy; Nosé-Hoover thermostat at 300 K
(damping 0.1 ps), constant volume, time step 2 fs; 2 ps to equilibrate; then 6 ps in which every
fifth step counts. The result is each atom's mean-square displacement from its mean position over
those 6 ps, Å². One velocity seed is one run. The prediction is minus its logarithm, scaled by a
linear regression per element on the labels of other glasses.

Alone, this script prints how the displacement correlates with the labels, per element; `table1.py`
takes it as a row.

    python benchmarks/local_sampling.py [FILE ...] [--seed 0]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cuzr_lammps import run_glass
from symgnn.samples import sample_glass
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

INPUT = """\
timestep      0.002
velocity      all create 600 {seed}
fix           motion all nvt temp 300 300 0.1
run           1000
reset_timestep 0
compute       moved all displace/atom
variable      xx atom c_moved[1]*c_moved[1]
variable      yy atom c_moved[2]*c_moved[2]
variable      zz atom c_moved[3]*c_moved[3]
fix           mean all ave/atom 5 600 3000 c_moved[1] c_moved[2] c_moved[3] v_xx v_yy v_zz
dump          mean all custom 3000 mean.dump id type &
              f_mean[1] f_mean[2] f_mean[3] f_mean[4] f_mean[5] f_mean[6]
dump_modify   mean sort id first no format float %20.12g
run           3000
"""


def mean_square_displacement(glass: Atoms, seed: int) -> NDArray[np.float64]:
    """Mean-square displacement [N] of each atom of a Cu-Zr glass, Å², from a LAMMPS run.

    Args:
        glass: at its energy minimum.
        seed: of the initial velocities, 0 or greater.

    Raises:
        SymGNNError: LAMMPS fails, with its error.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_glass(folder, glass, INPUT.format(seed=seed + 1))
        *_, last = (folder / "mean.dump").read_text().split("ITEM: ATOMS")
    columns = np.loadtxt(last.splitlines()[1:])[:, 2:]
    return (columns[:, 3:] - columns[:, :3] ** 2).sum(axis=1)


def main() -> None:
    """Print mean displacements and correlations, per element."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="Cu-Zr glasses at their minima; default: a sample")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    glasses = {file: read_structures(file)[0] for file in options.files}
    for name, glass in (glasses or {"the sample glass": sample_glass()}).items():
        began = time.perf_counter()
        motion = mean_square_displacement(glass, options.seed)
        print(f"{name}: {len(glass)} atoms, {time.perf_counter() - began:.0f} s")
        label = glass.arrays.get("energy_barrier")
        for number in np.unique(glass.numbers):
            own = glass.numbers == number
            symbol = glass.symbols[int(np.flatnonzero(own)[0])]
            print(f"  {symbol}: mean-square displacement {motion[own].mean():.4f} A^2", end="")
            if label is not None:
                correlation = np.corrcoef(-np.log(motion[own]), label[own])[0, 1]
                print(f", Pearson of -log with the label {correlation:.3f}", end="")
            print()


if __name__ == "__main__":
    main()
