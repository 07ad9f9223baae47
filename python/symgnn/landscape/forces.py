"""Energy and forces of a periodic structure, from LAMMPS inside this process.

A saddle search asks for forces hundreds of times at positions that hardly differ. They go straight
into LAMMPS's memory, and ``run 1 pre no post no`` without an integrator evaluates them: the numbers
of ``run 0`` without its set-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from ase.calculators.lammps import Prism

from symgnn.errors import StructureError, SymGNNError
from symgnn.lammps import open_lammps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from symgnn.landscape.potential import Potential

_ARGUMENTS = ("-log", "none", "-screen", "none", "-suffix", "opt")
_SKIN = 0.4  # Å; to build a neighbor list takes no longer than one evaluation over it
_NEIGHBORHOOD = 5.0  # Å; edge of the cells by which atoms are sorted

# LAMMPS packs the three image numbers of an atom into one 32-bit integer.
_BITS, _ZERO, _MASK = 10, 512, 1023


class Forces:
    """Energy and forces of the same atoms in the same periodic cell, at any positions.

    Positions are unwrapped: an atom that leaves the cell keeps its coordinates. From one call to
    the next no atom may move by more than the cell is wide. Use it in a ``with`` block, or
    ``close`` it.
    """

    def __init__(self, atoms: Atoms, potential: Potential) -> None:
        """Start LAMMPS with these atoms.

        Args:
            atoms: N > 1 atoms, periodic along all three cell vectors, which may be at any angle.
            potential: in LAMMPS metal units.

        Raises:
            StructureError: not periodic, a cell without a volume, a single atom, or an element that
                the potential lacks.
            SymGNNError: LAMMPS refuses the potential or the structure.
        """
        if not atoms.pbc.all():
            raise StructureError(
                "saddle searches need a structure that is periodic along all three cell vectors:"
                " add vacuum where it ends, and set pbc"
            )
        if np.linalg.matrix_rank(atoms.cell.array) < 3:
            raise StructureError(
                "the cell of the structure has no volume: set its three cell vectors"
            )
        if len(atoms) < 2:
            raise StructureError(
                "saddle searches need at least two atoms, since one alone has none to move against:"
                " repeat the cell"
            )
        types = potential.types_of(atoms.get_chemical_symbols())
        self.calls = 0
        """How many times forces were computed."""
        self._prism = Prism(atoms.cell.array)
        self._turned = not np.allclose(self._prism.lammps_cell, atoms.cell, rtol=0.0, atol=1e-10)
        self._vectors = self._prism.lammps_cell if self._turned else atoms.cell.array.copy()
        self._lammps = open_lammps(_ARGUMENTS)
        try:
            self._set_up(atoms.positions, types, potential)
        except BaseException:
            self.close()
            raise

    def _set_up(
        self, positions: NDArray[np.float64], types: Sequence[int], potential: Potential
    ) -> None:
        (x, _, _), (xy, y, _), (xz, yz, z) = self._vectors.tolist()
        region = f"block 0 {x!r} 0 {y!r} 0 {z!r}"
        if xy or xz or yz:
            region = f"prism 0 {x!r} 0 {y!r} 0 {z!r} {xy!r} {xz!r} {yz!r}"
        self._run("units metal", "boundary p p p", "atom_style atomic", "box tilt large")
        self._run("atom_modify map array sort 0 0", f"region cell {region}")
        self._run(f"create_box {len(potential.elements)} cell")
        self._forget_images(positions)
        wrapped = self._wrapped(positions)
        order = self._spatial_order(wrapped)
        created = self._lammps.create_atoms(
            len(types),
            (order + 1).tolist(),
            [types[atom] for atom in order],
            wrapped[order].ravel().tolist(),
        )
        if created != len(types):
            raise StructureError("LAMMPS does not take all atoms of this structure: check its cell")
        self._rows = np.argsort(self._lammps.numpy.extract_atom("id"))
        self._run(*potential.commands())
        self._run(f"neighbor {_SKIN} bin", "neigh_modify delay 0 every 1 check yes")
        # LAMMPS computes energies in the steps of thermodynamic output alone.
        self._run("thermo_style custom step pe", "thermo 1")
        self.restart(positions)

    def restart(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Like a call, but without a memory of the calls before.

        What follows is the same, bit for bit, in every process that starts here. Without it, sums
        run in the order of whatever neighbor list earlier calls left behind.
        """
        self._forget_images(positions)
        self._lammps.numpy.extract_atom("image")[:] = _packed_zero()
        return self._evaluate(positions, "run 0 post no")

    def __call__(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Energy (eV) and forces (eV/Å, [N, 3]) at unwrapped positions (Å, [N, 3]).

        Raises:
            SymGNNError: LAMMPS fails, or gives no finite numbers.
        """
        return self._evaluate(positions, "run 1 pre no post no")

    def _evaluate(
        self, positions: NDArray[np.float64], command: str
    ) -> tuple[float, NDArray[np.float64]]:
        # LAMMPS moves its arrays when it needs more room, so that no view of them may be kept.
        self._lammps.numpy.extract_atom("x")[self._rows] = self._wrapped(positions)
        self._run(command)
        self.calls += 1
        self._flags = self._lammps.numpy.extract_atom("image")[self._rows]
        energy = float(self._lammps.extract_compute("thermo_pe", 0, 0))
        forces = self._lammps.numpy.extract_atom("f")[self._rows]
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise SymGNNError(
                "LAMMPS gives no finite energy and forces: atoms lie on top of each other, or the"
                " potential does not hold for this structure"
            )
        return energy, self._prism.vector_to_ase(forces) if self._turned else forces

    def _forget_images(self, positions: NDArray[np.float64]) -> None:
        """Begin with all atoms in the cell, as far as LAMMPS knows."""
        fractions = self._to_lammps(positions) @ np.linalg.inv(self._vectors)
        self._first_images = np.floor(fractions)
        self._flags = np.full(len(positions), _packed_zero())

    def _wrapped(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions as LAMMPS holds them, which wraps atoms when it rebuilds its neighbor list."""
        shifts = _BITS * np.arange(3)
        images = self._first_images + ((self._flags[:, None] >> shifts) & _MASK) - _ZERO
        wrapped: NDArray[np.float64] = self._to_lammps(positions) - images @ self._vectors
        return wrapped

    def _spatial_order(self, wrapped: NDArray[np.float64]) -> NDArray[np.int64]:
        """Atoms cell by cell, so that neighbors lie near each other in memory too."""
        lengths = np.linalg.norm(self._vectors, axis=1)
        cells = np.maximum(lengths // _NEIGHBORHOOD, 1.0)
        fractions = wrapped @ np.linalg.inv(self._vectors)
        return np.lexsort(np.floor(fractions * cells).T)

    def _to_lammps(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self._turned:
            return vectors
        turned: NDArray[np.float64] = self._prism.vector_to_lammps(vectors)
        return turned

    def _run(self, *commands: str) -> None:
        for command in commands:
            try:
                self._lammps.command(command)
            except Exception as error:  # LAMMPS raises nothing more special
                reason = str(error).partition("\n")[0].removeprefix("ERROR: ")
                reason = reason.rpartition(" (src")[0] or reason
                raise SymGNNError(f"LAMMPS stops at `{command}`: {reason}") from error

    def close(self) -> None:
        """End LAMMPS."""
        self._lammps.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _packed_zero() -> np.int32:
    """The image (0, 0, 0)."""
    return np.int32(_ZERO | _ZERO << _BITS | _ZERO << 2 * _BITS)
