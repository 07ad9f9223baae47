"""Does a model give the same barriers in LAMMPS as in Python?"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.io import write

from symgnn.annotator import NOVEL, Annotator
from symgnn.errors import StructureError
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_OOD
from symgnn.lammps_process import run_lammps
from symgnn.samples import sample_glass
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms

TOLERANCE: Final = {"float32": 2e-5, "float64": 1e-9}
"""Largest |LAMMPS − Python| in eV, by dtype of the model: the same sums in another order."""

_EVERY = 30  # atom of the sample glass, to tell whether a model knows such glasses

_SCRIPT = """\
units metal
boundary {boundary}
read_data structure.data
{masses}
compute barrier all symgnn "{model}" {elements} device {device}
dump barriers all custom 1 barriers.dump id type x y z c_barrier
dump_modify barriers sort id format float %20.15g
run 0
"""


@dataclass(frozen=True)
class Comparison:
    """One run of LAMMPS against Python: numbers of ranks and atoms; barriers in eV."""

    ranks: int
    atoms: int
    mean_barrier: float
    largest_difference: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the two differ by rounding only."""
        return self.largest_difference <= self.allowed


def default_glass(model: str | Path, device: str = "auto") -> Atoms:
    """The sample glass, with elements that a model knows.

    Args:
        model: a model file, or the name of a shipped model.
        device: as in :func:`compare_with_lammps`.

    Raises:
        StructureError: the model was trained on glasses so different that barriers of this one
            may all be the same, and would agree whatever happens.
        SymGNNError: the model is unusable.
    """
    annotator = Annotator(model, device=device)
    glass = sample_glass(annotator.elements)
    if ENERGY_BARRIER_OOD in annotator.outputs:
        some = np.arange(0, len(glass), _EVERY)
        (columns,) = annotator.predict([glass], group=some)
        novelty = columns[some, annotator.outputs.index(ENERGY_BARRIER_OOD)]
        if np.median(novelty) > NOVEL:
            raise StructureError(
                f"the sample glass is nothing like what {model} was trained on, so it says little: "
                "name a glass of its alloy, --structure FILE"
            )
    return glass


def compare_with_lammps(
    model: str | Path, atoms: Atoms, *, ranks: Sequence[int] = (1, 2), device: str = "auto"
) -> Iterator[Comparison]:
    """Run a model on one structure in Python and in LAMMPS, on each number of MPI ranks.

    LAMMPS turns a tilted cell into its own orientation; Python annotates what LAMMPS dumped.

    Args:
        model: a model file, or the name of a shipped model.
        atoms: the structure.
        ranks: numbers of MPI ranks.
        device: auto, cpu, cuda or cuda:N, for both.

    Raises:
        SymGNNError: the model or the structure is unusable, or LAMMPS fails.
    """
    annotator = Annotator(model, device=device)
    elements = sorted(set(atoms.get_chemical_symbols()))
    allowed = TOLERANCE[annotator.metadata["dtype"]]
    with tempfile.TemporaryDirectory(prefix="symgnn-check-") as name:
        folder = Path(name)
        _write_input(folder, model, atoms, elements, device)
        for number in ranks:
            run_lammps("in.check", folder, ranks=number)
            dumped = read_structures(folder / "barriers.dump", elements=elements)[0]
            barriers = dumped.arrays["c_barrier"]
            expected = annotator.annotate(dumped.copy()).arrays[ENERGY_BARRIER]
            difference = float(np.abs(barriers - expected).max())
            yield Comparison(number, len(dumped), float(barriers.mean()), difference, allowed)


def _write_input(
    folder: Path, model: str | Path, atoms: Atoms, elements: list[str], device: str
) -> None:
    structure = atoms.copy()
    for axis in np.flatnonzero(~structure.pbc):
        # Where nothing repeats, a file may carry no cell at all; LAMMPS wants one.
        structure.center(vacuum=1.0, axis=int(axis))
    write(folder / "structure.data", structure, format="lammps-data", specorder=elements)
    masses = [
        f"mass {number} {atomic_masses[atomic_numbers[element]]}"
        for number, element in enumerate(elements, start=1)
    ]
    script = _SCRIPT.format(
        boundary=" ".join("p" if periodic else "s" for periodic in atoms.pbc),
        masses="\n".join(masses),
        model=Path(model).resolve() if Path(model).exists() else model,
        elements=" ".join(elements),
        device=device,
    )
    (folder / "in.check").write_text(script, encoding="utf-8")
