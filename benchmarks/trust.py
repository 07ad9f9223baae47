"""Does the model know when not to be trusted? Its novelty score on structures of many kinds.

The sample glass (not in the training data): minimum, averages and snapshots of a run at 300 K,
compressed and expanded, cut open; glasses of other compositions, quenched here at 1e14 K/s;
crystals. A table, and a picture.

    python benchmarks/trust.py [MODEL] [--plot PICTURE]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk

from cuzr_lammps import INTERACTIONS, run_with_potential
from symgnn import Annotator, read_structures
from symgnn.annotator import NOVEL
from symgnn.keys import ENERGY_BARRIER_OOD, ENERGY_BARRIER_STD
from symgnn.samples import sample_glass
from temperature import frames

if TYPE_CHECKING:
    from ase import Atoms

QUENCH = """\
units         metal
boundary      p p p
atom_modify   map array
region        box block 0 {length} 0 {length} 0 {length}
create_box    2 box
create_atoms  1 random {atoms} 5 NULL overlap 1.9 maxtry 1000
set           type 1 type/subset 2 {zirconium} 5
{interactions}
minimize      1e-4 1e-4 200 1000
reset_timestep 0
timestep      0.001
velocity      all create 2000 5 mom yes rot yes dist gaussian
fix           barostat all npt temp 2000 2000 0.1 iso 0 0 1.0
run           10000
fix           barostat all npt temp 2000 1 0.1 iso 0 0 1.0
run           20000
unfix         barostat
min_style     cg
fix           relax all box/relax iso 0 vmax 0.0001
minimize      0 1e-4 2000 20000
unfix         relax
minimize      0 1e-4 10000 100000
write_data    quenched.data nocoeff
"""
ATOMS = 1000


def quench(copper: float) -> Atoms:
    """A glass with a fraction ``copper`` of Cu, the rest Zr, at an inherent structure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zirconium = round((1.0 - copper) * ATOMS)
        length = (16.5 * ATOMS) ** (1 / 3)  # Å; the barostat finds the density
        sizes = {"atoms": ATOMS, "zirconium": zirconium, "length": length}
        run_with_potential(folder, QUENCH.format(interactions=INTERACTIONS, **sizes))
        return read_structures(folder / "quenched.data", elements=["Cu", "Zr"])[0]


def scaled(glass: Atoms, volume: float) -> Atoms:
    """The glass with its volume multiplied."""
    copy = glass.copy()
    copy.set_cell(copy.cell * volume ** (1 / 3), scale_atoms=True)
    return copy


def cases() -> dict[str, tuple[Atoms, np.ndarray]]:
    """Structures by name, and which of their atoms count."""
    glass = sample_glass()
    cold, cool = (frames(glass, kelvin, seed=1, windows=1)[0][0] for kelvin in (50.0, 100.0))
    snapshot, average = frames(glass, 300.0, seed=1, windows=1)[0]
    slab = glass.copy()
    slab.cell[2, 2] += 20.0
    slab.pbc = (True, True, False)
    slab.wrap()
    depth = np.minimum(glass.get_scaled_positions()[:, 2], 1.0 - glass.get_scaled_positions()[:, 2])
    depth *= glass.cell.lengths()[2]
    every = np.ones(len(glass), bool)
    found = {
        "inherent structure": (glass, every),
        "average over 1 ps, 300 K": (average, every),
        "snapshot, 50 K": (cold, every),
        "snapshot, 100 K": (cool, every),
        "snapshot, 300 K": (snapshot, every),
        "volume −3%": (scaled(glass, 0.97), every),
        "volume −1%": (scaled(glass, 0.99), every),
        "volume +1%": (scaled(glass, 1.01), every),
        "volume +3%": (scaled(glass, 1.03), every),
        "slab, outer 4 Å": (slab, depth < 4.0),
        "slab, deeper than 12 Å": (slab, depth > 12.0),
        "B2 CuZr crystal": (bulk("CuZr", "cesiumchloride", a=3.26) * (8, 8, 8), None),
        "fcc Cu crystal": (bulk("Cu", "fcc", a=3.64, cubic=True) * (6, 6, 6), None),
    }
    for copper in (0.64, 0.5, 0.8):
        name = f"Cu{100 * copper:.0f}Zr{100 - 100 * copper:.0f}, 1e14 K/s"
        found[name] = (quench(copper), None)
    return {
        name: (atoms, np.ones(len(atoms), bool) if which is None else which)
        for name, (atoms, which) in found.items()
    }


def main() -> None:
    """Print the table and draw the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="cuzr")
    parser.add_argument("--plot", type=Path, help="the shares of the table")
    options = parser.parse_args()
    annotator = Annotator(options.model)
    novelty, std = (annotator.outputs.index(n) for n in (ENERGY_BARRIER_OOD, ENERGY_BARRIER_STD))
    shares = {}
    print(f"{'structure':28s} atoms  barrier (eV)  std (eV)  novelty  share above {NOVEL:g}")
    for name, (atoms, which) in cases().items():
        values = annotator.predict([atoms])[0][which]
        shares[name] = (values[:, novelty] > NOVEL).mean()
        print(
            f"{name:28s} {len(values):5d}  {values[:, 0].mean():12.3f}",
            f"{values[:, std].mean():9.3f}  {values[:, novelty].mean():7.3f}  {shares[name]:.3f}",
            flush=True,
        )
    if options.plot is None:
        return
    figure, axis = plt.subplots(figsize=(7, 4.2), constrained_layout=True)
    axis.barh(list(shares), list(shares.values()))
    axis.invert_yaxis()
    axis.set(xlabel=f"share of atoms with energy_barrier_ood > {NOVEL:g}", xlim=(0, 1))
    axis.grid(alpha=0.3, axis="x")
    figure.savefig(options.plot, dpi=120)


if __name__ == "__main__":
    main()
