"""Energy barriers in OVITO: a modifier for its pipelines, in OVITO Pro and in scripts.

    from ovito.io import import_file
    from symgnn.ovito import EnergyBarrierModifier

    pipeline = import_file("glass.dump")
    pipeline.modifiers.append(EnergyBarrierModifier(model="cuzr-fast"))
    data = pipeline.compute()
    data.particles["Energy Barrier"]  # eV

Needs ``pip install 'symgnn[ovito]'``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from symgnn import keys
from symgnn.annotator import Annotator, find_model
from symgnn.errors import StructureError, SymGNNError

try:
    from ovito.pipeline import ModifierInterface
    from traits.api import Int, Str
except ImportError as error:
    raise SymGNNError(
        f"the OVITO modifier needs OVITO ({error}): pip install 'symgnn[ovito]'"
    ) from error

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from ovito.data import DataCollection

PROPERTIES: Final = {
    keys.ENERGY_BARRIER: "Energy Barrier",
    keys.ENERGY_BARRIER_STD: "Energy Barrier Std",
    keys.ENERGY_BARRIER_OOD: "Energy Barrier OOD",
}
"""Particle property of each output of a model; the first two in eV, the last from 0 to 1."""


class EnergyBarrierModifier(ModifierInterface):
    """Adds the energy barrier of every particle to an OVITO pipeline.

    It sets the particle property ``Energy Barrier`` (eV), and ``Energy Barrier Std`` (eV) and
    ``Energy Barrier OOD`` (0 to 1) if the model has them; the global attributes ``symgnn_model``
    and ``symgnn_model_sha256`` say where they came from. Barriers belong to energy minima: unless
    the model relaxes frames (``cuzr``), they should be minimized, or averages over about 1 ps.
    Particles may lie outside the cell.

    A model is loaded once, and again only when its file has changed.

    Raises, out of ``pipeline.compute()``:
        ModelError: no such model, or the device is absent.
        StructureError: particle types that are no elements, or that the model does not know.
    """

    model = Str("cuzr-fast", label="Model")
    """A model file, or the name of a shipped model."""

    elements = Str("", label="Elements of the types")
    """Like ``Cu Zr``, the elements of particle types 1, 2, …; only for types whose own names are no
    chemical symbols, as in LAMMPS dumps without an element column."""

    device = Str("auto", label="Device")
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``."""

    chunk = Int(0, label="Atoms at a time (0: automatic)")
    """Atoms that the network works on at a time; fewer need less memory and more time."""

    def modify(self, data: DataCollection, **_: Any) -> None:
        """Annotate one frame; OVITO calls it."""
        annotator = _load(self.model, self.device, self.chunk)
        atoms = _atoms(data, self.elements.replace(",", " ").split())
        (prediction,) = annotator.predict([atoms])
        for column, output in enumerate(annotator.outputs):
            name = PROPERTIES.get(output, output)
            data.particles_.create_property(name, data=prediction[:, column])
        data.attributes[keys.MODEL] = annotator.name
        data.attributes[keys.MODEL_SHA256] = annotator.sha256
        annotator.warn_if_novel(prediction, atoms)


def _load(model: str, device: str, chunk: int) -> Annotator:
    return _annotator(model, device, chunk, find_model(model).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _annotator(model: str, device: str, chunk: int, _changed: int) -> Annotator:
    """The modification time makes a file that was written anew another model."""
    return Annotator(model, device=device, chunk=chunk)


def _atoms(data: DataCollection, elements: list[str]) -> Atoms:
    """The particles of a frame as ASE knows them."""
    if data.particles is None or data.particles.count == 0:
        raise StructureError("the pipeline holds no particles: import a structure first")
    symbols = _symbols(data, elements)
    cell = data.cell
    if cell is None:
        return Atoms(symbols, positions=np.asarray(data.particles.positions))
    matrix = np.asarray(cell[...], dtype=np.float64)
    return Atoms(
        symbols,
        positions=np.asarray(data.particles.positions) - matrix[:, 3],
        cell=matrix[:, :3].T,
        pbc=[*cell.pbc[:2], cell.pbc[2] and not cell.is2D],
    )


def _symbols(data: DataCollection, elements: list[str]) -> NDArray[np.str_]:
    """Chemical symbol of every particle, [N]."""
    types = data.particles.particle_types
    if types is None:
        raise StructureError(
            "the particles have no types: map a column of the file to Particle Type on import"
        )
    names = {kind.id: kind.name for kind in types.types}
    present, inverse = np.unique(np.asarray(types), return_inverse=True)
    for number in map(int, present):
        if names.get(number) not in chemical_symbols[1:] and 1 <= number <= len(elements):
            names[number] = elements[number - 1]
        if names.get(number) not in chemical_symbols[1:]:
            raise StructureError(
                f"particle type {number} ({names.get(number) or 'without a name'}) is no chemical"
                " element: set elements='Cu Zr', one for each type, on the modifier, or give the"
                " particle types their names in OVITO"
            )
    return np.array([names[int(number)] for number in present])[inverse]
