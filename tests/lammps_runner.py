"""Write LAMMPS inputs, run the real `lmp` on MPI ranks, and read its dumps."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.io import write

from symgnn import Annotator
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

ELEMENTS = ("Cu", "Zr")
# Largest |LAMMPS − Annotator| in eV. Ranks sum the same edges in another order: rounding of the
# network's dtype, accumulated over its layers.
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}
BINARIES = Path(sys.executable).parent
# Repulsive, smooth, and cut off below every model's cutoff: atoms move but do not overlap.
REPULSION = """
pair_style soft 2.8
pair_coeff * * 20.0
neighbor 1.0 bin
neigh_modify delay 0 every 1 check yes
"""


@dataclass
class Result:
    """What one run of LAMMPS left behind."""

    folder: Path
    returncode: int
    output: str

    def frames(self, name: str = "barriers.dump") -> list[Atoms]:
        """Frames of a dump, atoms sorted by id, further columns as arrays."""
        return read_structures(self.folder / name, elements=ELEMENTS)

    def value(self, name: str) -> float:
        """Number from the last line `name = number` that the script printed."""
        lines = [line for line in self.output.splitlines() if line.startswith(f"{name} = ")]
        return float(lines[-1].split("=")[1])


@dataclass
class Simulation:
    """A folder in which LAMMPS runs, with the structure that its scripts read."""

    folder: Path
    atoms: Atoms
    boundary: str = "p p p"
    units: str = "metal"
    before_box: str = ""
    after_box: str = ""
    potential: str = REPULSION
    extra_types: int = 0
    runs: int = field(default=0, init=False)

    def setup(self) -> str:
        """The part of the script up to the potential."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write(
            self.folder / "glass.data",
            self.atoms,
            format="lammps-data",
            specorder=list(ELEMENTS),
            units=self.units,
        )
        masses = "\n".join(
            f"mass {number} {atomic_masses[atomic_numbers[element]]}"
            for number, element in enumerate(ELEMENTS, start=1)
        )
        masses += "".join(f"\nmass {len(ELEMENTS) + k + 1} 1.0" for k in range(self.extra_types))
        extra = f" extra/atom/types {self.extra_types}" if self.extra_types else ""
        return (
            f"units {self.units}\nboundary {self.boundary}\natom_modify map array\n"
            f"{self.before_box}\nread_data glass.data{extra}\n{masses}\n{self.after_box}\n"
            f"{self.potential}\nthermo 10\n"
        )

    def run(self, script: str, ranks: int = 1, arguments: Sequence[str] = ()) -> Result:
        """Run setup and script; the result may be an error."""
        self.runs += 1
        name = f"in.{self.runs}"
        setup = self.setup()
        (self.folder / name).write_text(setup + script, encoding="utf-8")
        return run_lammps(self.folder, name, ranks, arguments)

    def succeed(self, script: str, ranks: int = 1, arguments: Sequence[str] = ()) -> Result:
        """Run setup and script, which must end without an error."""
        result = self.run(script, ranks, arguments)
        assert result.returncode == 0, result.output
        assert "ERROR" not in result.output, result.output
        return result

    def fail(self, script: str, ranks: int = 1) -> str:
        """Run setup and script, which must end with an error; returns its one line."""
        result = self.run(script, ranks)
        assert result.returncode != 0, result.output
        errors = [line for line in result.output.splitlines() if line.startswith("ERROR")]
        assert len(errors) == 1, result.output
        return errors[0]


def run_lammps(folder: Path, script: str, ranks: int = 1, arguments: Sequence[str] = ()) -> Result:
    """Run `mpiexec -n ranks lmp -in script` in a folder."""
    command = [
        str(BINARIES / "mpiexec"),
        "-n",
        str(ranks),
        str(BINARIES / "lmp"),
        *("-in", script, "-log", "none", "-nocite", *arguments),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    return Result(folder, finished.returncode, finished.stdout)


def dump(columns: str = "c_b", every: int = 10, name: str = "barriers.dump") -> str:
    """Lines of a script that dump positions and columns with all digits."""
    return (
        f"dump {name} all custom {every} {name} id type x y z {columns}\n"
        f"dump_modify {name} sort id format float %20.15g\n"
    )


def largest_difference(
    frame: Atoms, model: Path, column: str = "c_b", *, output: str = "energy_barrier"
) -> float:
    """Largest |LAMMPS − Annotator| over the atoms of a dumped frame, in eV."""
    expected = Annotator(model).annotate(frame.copy()).arrays[output]
    barriers = frame.arrays[column]
    assert np.ptp(expected) > 1e-3, "the model gives every atom the same barrier"
    return float(np.abs(barriers - expected).max())
