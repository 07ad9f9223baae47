"""Structure in, energy barriers out: the public object, and its form as an ASE calculator."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import ase
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from symgnn import keys
from symgnn._native import load_core
from symgnn.errors import ModelError, NovelStructureWarning, StructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    Report = Callable[[int, float], None]

PRETRAINED = Path(__file__).resolve().parent / "pretrained"
"""Folder of the models that ship with the package."""


NOVEL, USUAL_SHARE = 0.5, 0.1
"""An atom is novel to a model above this ``energy_barrier_ood``; a warning follows where more than
this share of the atoms are. In glasses like those of the training set, 2 to 4% are."""

_NOT_THE_USER = tuple(f"{Path(module).parent}{os.sep}" for module in (__file__, ase.__file__))
"""Where code lies that stands between a user's line and a warning about it."""


def missing_cell(atoms: Atoms) -> str:
    """What a warning adds of a structure without a cell, which the file may have left out."""
    if atoms.cell.rank > 0 or atoms.pbc.any():
        return ""
    return (
        "the structure is not periodic and has no cell: if the glass has one, give it, as extended"
        " XYZ and LAMMPS dumps do; "
    )


def pretrained_names() -> list[str]:
    """Names of the models that ship with the package."""
    return sorted(path.stem for path in PRETRAINED.glob("*.pt"))


def find_model(model: str | PathLike[str]) -> Path:
    """Path of a model, given as a file or as the name of one that ships with the package.

    Raises:
        ModelError: there is neither.
    """
    path = Path(model)
    shipped = PRETRAINED / f"{model}.pt"
    if path.name == str(model) and shipped.is_file() and not path.is_file():
        return shipped
    if path.exists():
        return path
    raise ModelError(
        f"there is no model file '{model}', and no shipped model of this name"
        f" (shipped: {', '.join(pretrained_names()) or 'none'}); check the path"
    )


class Annotator:
    """Predicts per-atom energy barriers with one exported model.

    The barriers belong to inherent structures (energy minima). ``cuzr`` lets a copy of the atoms
    relax first; for other models minimize a structure, or average its positions over about 1 ps:
    of an instantaneous snapshot of a warm glass their numbers mean little.

    Args:
        model: a file written by ``symgnn export``, or the name of a shipped model: ``cuzr``
            (accurate), ``cuzr-fast`` (a hundredth of the time) or ``simple`` (a formula).
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads during a call; 0 leaves torch's setting.
        chunk: atoms that the network works on at a time; fewer need less memory and, where edge
            features are computed anew for each layer, more time. 0 leaves the choice to SymGNN.
        skin: Å. With it, a neighbor list serves until an atom has moved by half of it or the cell
            has changed: faster for the frames of a trajectory at constant volume.

    Raises:
        ModelError: the file is no model that this version can read, or the device is absent.
    """

    def __init__(
        self,
        model: str | PathLike[str] = "cuzr",
        *,
        device: str = "auto",
        threads: int = 0,
        chunk: int = 0,
        skin: float = 0.0,
    ) -> None:
        self.path = find_model(model)
        self._core = load_core().Annotator(str(self.path), device, threads, chunk, skin)
        self.metadata: dict[str, Any] = json.loads(self._core.metadata_json)
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self._species = {symbol: index for index, symbol in enumerate(self.elements)}
        self._warned = False

    @property
    def name(self) -> str:
        """Name of the model: its file name without the suffix."""
        return self.path.stem

    @property
    def elements(self) -> list[str]:
        """Chemical symbols that the model was trained on."""
        return list(self.metadata["elements"])

    @property
    def cutoff(self) -> float:
        """Edge cutoff, Å."""
        return float(self.metadata["cutoff"])

    @property
    def outputs(self) -> list[str]:
        """Names of the predicted arrays; the first is ``energy_barrier``."""
        return list(self.metadata["outputs"])

    @property
    def position_note(self) -> str:
        """Which positions barriers belong to, and that a file keeps its own."""
        architecture = self.metadata.get("architecture", {})
        relaxes = architecture.get("densities", architecture).get("relaxation") is not None
        return ("barriers of the relaxed copy; " if relaxes else "") + "positions as in the file"

    @property
    def device(self) -> str:
        """Device that the network runs on, such as ``cpu`` or ``cuda:0``."""
        return str(self._core.device)

    def predict(
        self,
        structures: Sequence[Atoms],
        *,
        group: ArrayLike | None = None,
        report: Report | None = None,
    ) -> list[NDArray[np.float64]]:
        """Predict without touching the structures.

        Args:
            structures: any number of them.
            group: indices of the atoms whose barriers are wanted, or a mask [N], for every
                structure; only what these depend on is computed (exactly, unless pairs come more
                than 1.5 Å nearer while a model relaxes). All atoms without it.
            report: called now and then while a large structure is worked on, with the layer of the
                model (0 to ``layers`` − 1) and the share of it that is done. What it raises ends
                the work, as Ctrl-C does.

        Returns:
            One array [N, outputs] per structure, eV (the novelty: 0 to 1); NaN for atoms outside
            the group.

        Raises:
            StructureError: a group with atoms that a structure lacks, an element that the model
                lacks, no atoms, positions that are not finite, or a periodic cell without volume.
        """
        inputs = [
            (
                atoms.positions,
                self._species_of(atoms),
                atoms.cell.array,
                atoms.pbc,
                None if group is None else _mask(atoms, group),
            )
            for atoms in structures
        ]
        predictions: list[NDArray[np.float64]] = self._core.annotate(inputs, report)
        return predictions

    @overload
    def annotate(self, structures: Atoms, *, report: Report | None = None) -> Atoms: ...
    @overload
    def annotate(
        self, structures: Iterable[Atoms], *, report: Report | None = None
    ) -> list[Atoms]: ...
    def annotate(
        self, structures: Atoms | Iterable[Atoms], *, report: Report | None = None
    ) -> Atoms | list[Atoms]:
        """Set ``arrays["energy_barrier"]`` [N], eV, and say in ``info`` where it came from.

        ``energy_barrier_std`` (eV) and ``energy_barrier_ood`` (0 to 1) are set too if the model has
        them, and removed if it has not. ``info`` gets ``symgnn_model``, ``symgnn_model_sha256`` and
        ``symgnn_units``. The first structure with many atoms in surroundings unlike the training
        set gives a NovelStructureWarning.

        Args:
            structures: one structure, or any iterable of them (changed in place).
            report: as in :meth:`predict`.

        Returns:
            The same structure, or a list of the same structures.

        Raises:
            StructureError: as in :meth:`predict`; none of the structures is changed then.
        """
        if isinstance(structures, Atoms):
            return self.annotate([structures], report=report)[0]
        annotated = list(structures)
        for atoms, prediction in zip(
            annotated, self.predict(annotated, report=report), strict=True
        ):
            for name in keys.PREDICTIONS:  # what another model said would pass for ours
                atoms.arrays.pop(name, None)
            for column, output in enumerate(self.outputs):
                atoms.arrays[output] = prediction[:, column].copy()
            atoms.info[keys.MODEL] = self.name
            atoms.info[keys.MODEL_SHA256] = self.sha256
            atoms.info[keys.UNITS] = str(self.metadata["units"]["energy"])
            self.warn_if_novel(prediction, atoms)
        return annotated

    def warn_if_novel(self, prediction: NDArray[np.float64], atoms: Atoms) -> None:
        """Warn, once in the life of this object, of a structure unlike the training set.

        Args:
            prediction: [N, outputs], as :meth:`predict` returns.
            atoms: the structure; a missing cell may be the reason.
        """
        if self._warned or keys.ENERGY_BARRIER_OOD not in self.outputs:
            return
        novelty = prediction[:, self.outputs.index(keys.ENERGY_BARRIER_OOD)]
        share = float((novelty > NOVEL).mean())
        if share > USUAL_SHARE:
            self._warned = True
            warnings.warn(
                f"{share:.0%} of the atoms have surroundings unlike those that the model"
                f" '{self.name}' was trained on ({keys.ENERGY_BARRIER_OOD} > {NOVEL:g}): do not"
                f" trust their barriers; {missing_cell(atoms)}is this an energy minimum, or an"
                " average over 1 ps, of the same alloy and density?",
                NovelStructureWarning,
                stacklevel=_level_of_user(),
            )

    def _species_of(self, atoms: Atoms) -> NDArray[np.int64]:
        numbers, inverse = np.unique(atoms.numbers, return_inverse=True)
        symbols = Atoms(numbers=numbers).get_chemical_symbols()
        unknown = [symbol for symbol in symbols if symbol not in self._species]
        if unknown:
            raise StructureError(
                f"the model '{self.name}' was not trained on {', '.join(unknown)}; it knows"
                f" {', '.join(self.elements)}: use another model, or correct the element names"
            )
        return np.array([self._species[symbol] for symbol in symbols], dtype=np.int64)[inverse]

    def __repr__(self) -> str:
        return f"Annotator({self.name!r}, device={self.device!r})"


def _mask(atoms: Atoms, group: ArrayLike) -> NDArray[np.bool_]:
    """Mask [N] of atoms that are given by their indices, or by a mask."""
    chosen = np.asarray(group)
    mask = np.zeros(len(atoms), dtype=bool)
    try:
        mask[chosen if chosen.size > 0 else []] = True
    except IndexError as problem:
        raise StructureError(
            f"group: {problem}; give indices of atoms, or a mask of {len(atoms)} True and False"
        ) from problem
    return mask


def _level_of_user() -> int:
    """The caller's ``stacklevel`` for a warning at the line that called this package or ASE."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_code.co_filename.startswith(_NOT_THE_USER):
        frame, level = frame.f_back, level + 1
    return level


class SymGNNCalculator(Calculator):
    """An :class:`Annotator` as an ASE calculator.

    ``atoms.calc = SymGNNCalculator("cuzr")`` and then
    ``atoms.calc.get_property("energy_barrier", atoms)`` give the barriers [N] in eV; they are
    computed again only after the atoms or the cell have changed. It predicts neither energies nor
    forces: in a simulation another calculator drives, and this one looks on.

    Args:
        model: a file written by ``symgnn export``, or the name of a shipped model: ``cuzr``
            (accurate), ``cuzr-fast`` (a hundredth of the time) or ``simple`` (a formula).
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads during a call; 0 leaves torch's setting.
        chunk: atoms that the network works on at a time; fewer need less memory and, where edge
            features are computed anew for each layer, more time. 0 leaves the choice to SymGNN.
        skin: Å. With it, a neighbor list serves until an atom has moved by half of it or the cell
            has changed: faster for the frames of a trajectory at constant volume.
    """

    implemented_properties: list[str] = [keys.ENERGY_BARRIER]  # noqa: RUF012 (ASE's convention)
    ignored_changes: set[str] = {"initial_charges", "initial_magmoms"}  # noqa: RUF012

    def __init__(
        self,
        model: str | PathLike[str] = "cuzr",
        *,
        device: str = "auto",
        threads: int = 0,
        chunk: int = 0,
        skin: float = 0.0,
    ) -> None:
        super().__init__()
        self.annotator = Annotator(model, device=device, threads=threads, chunk=chunk, skin=skin)
        self.implemented_properties = self.annotator.outputs

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill ``results`` with every output of the model, arrays [N]: barriers in eV."""
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise StructureError("the calculator has no atoms; pass them, or set atoms.calc")
        (prediction,) = self.annotator.predict([self.atoms])
        self.annotator.warn_if_novel(prediction, self.atoms)
        self.results = {
            output: prediction[:, column].copy()
            for column, output in enumerate(self.annotator.outputs)
        }
