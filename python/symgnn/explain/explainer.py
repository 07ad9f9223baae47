"""Explanations of many atoms of a structure, on all cores."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from symgnn import __version__
from symgnn.errors import ModelError, StructureError
from symgnn.explain.edge_mask import edge_masks
from symgnn.explain.explanation import Explanation, Provenance
from symgnn.explain.fidelity import fidelity
from symgnn.explain.references import integrated_gradients, leave_one_out
from symgnn.explain.settings import ExplanationSettings
from symgnn.explain.weighted_model import WeightedModel
from symgnn.selection import structure_checksum

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from os import PathLike

    from ase import Atoms
    from numpy.typing import NDArray

    from symgnn.explain.receptive_field import ReceptiveField

EDGES_AT_A_TIME = 20_000
"""Receptive fields are joined up to this many edges: more are no faster on a processor."""


class Explainer:
    """Explains the barriers of atoms of one structure.

    Args:
        structure: N atoms at an energy minimum, or averaged over about 1 ps.
        model: a model file that supports it, or the name of a shipped model.
        settings: how; the defaults if None.

    Raises:
        ModelError: no such model, or one that does not support explanations.
        StructureError: an element that the model lacks, or a structure that cannot be used.
    """

    def __init__(
        self,
        structure: Atoms,
        model: str | PathLike[str] | WeightedModel = "cuzr-fast",
        settings: ExplanationSettings | None = None,
    ) -> None:
        self.model = model if isinstance(model, WeightedModel) else WeightedModel(model)
        self.settings = settings or ExplanationSettings()
        self._structure = structure
        self._surroundings = self.model.surroundings(structure)
        self._predictions = self.model.predict(structure)

    def provenance(self, file: str) -> Provenance:
        """Where the explanations come from, for their file."""
        return Provenance(
            __version__,
            {"name": self.model.name, "sha256": self.model.sha256},
            {
                "file": file,
                "atoms": len(self._structure),
                "sha256": structure_checksum(self._structure),
            },
            self.settings.model_dump(exclude={"seed"}),
            self.settings.seed,
        )

    def check(self, atoms: Iterable[int]) -> None:
        """Refuse atoms that cannot be explained.

        Raises:
            StructureError: an atom outside the structure, or one without neighbors.
        """
        count = len(self._structure)
        for atom in atoms:
            if not 0 <= atom < count:
                raise StructureError(
                    f"there is no atom {atom}: the {count} atoms have indices 0 to {count - 1}"
                )
            if self._surroundings.neighbors(atom) == 0:
                raise StructureError(
                    f"atom {atom} has no neighbors within {self.model.metadata['cutoff']:g} Å, and"
                    " so no edges to explain its barrier with: choose other atoms"
                )

    def explain(self, atoms: Sequence[int], *, workers: int = 0) -> Generator[Explanation]:
        """Explanations of atoms, in their order, as they are done.

        Args:
            atoms: indices, from 0.
            workers: threads, of one core each; 0: one for each core.

        Raises:
            StructureError: see ``check``.
            ModelError: the model ignores edges.
        """
        self.check(atoms)
        workers = workers or len(os.sched_getaffinity(0))
        batches = self._batches(atoms)
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
        try:
            running: deque[Future[list[Explanation]]] = deque(
                pool.submit(self._explain, batch) for batch in islice(batches, workers + 1)
            )
            while running:
                done = running.popleft().result()
                running.extend(pool.submit(self._explain, batch) for batch in islice(batches, 1))
                yield from done
        finally:
            pool.shutdown(cancel_futures=True)

    def _batches(self, atoms: Iterable[int]) -> Iterator[list[ReceptiveField]]:
        fields: list[ReceptiveField] = []
        for atom in atoms:
            field = self._surroundings.field(atom)
            edges = len(field.edges) + sum(len(other.edges) for other in fields)
            if fields and edges > EDGES_AT_A_TIME:
                yield fields
                fields = []
            fields.append(field)
        if fields:
            yield fields

    def _explain(self, fields: list[ReceptiveField]) -> list[Explanation]:
        settings = self.settings
        batch, barriers = self.model.of_fields(fields)
        targets = [int(field.atoms[0]) for field in fields]
        self._check_predictions(targets, barriers(torch.ones_like(batch.edge_vector[:, 0])))

        gradients, scale = integrated_gradients(barriers, batch, settings.path_points)
        for atom, gradient in zip(targets, gradients, strict=True):
            if not gradient.any():
                raise ModelError(
                    f"the model '{self.model.name}' ignores edges: the barrier of atom {atom} does"
                    " not change with any of them, so there is nothing to explain"
                )
        masks = [
            edge_masks(
                barriers, batch, scale, settings, [(settings.seed, number, t) for t in targets]
            )
            for number in range(settings.seeds)
        ]
        importance = [np.mean(of_field, axis=0) for of_field in zip(*masks, strict=True)]
        removed = leave_one_out(barriers, batch, fields, settings.leave_out)
        curves = fidelity(
            barriers,
            batch,
            fields,
            importance,
            settings.draws,
            [(settings.seed, target) for target in targets],
        )
        return [
            Explanation(
                target,
                float(self._predictions[target]),
                field.atoms,
                field.positions,
                field.edges,
                importance[number],
                gradients[number],
                removed[number],
                curves[number],
                stability([of_field[number] for of_field in masks]),
            )
            for number, (target, field) in enumerate(zip(targets, fields, strict=True))
        ]

    def _check_predictions(self, targets: list[int], found: torch.Tensor) -> None:
        """The receptive field has to give what the structure gives."""
        limited = self.model.limited(found.detach().double())
        difference = (limited - self._predictions[targets]).abs()
        worst = int(difference.argmax())
        if not difference[worst] <= self.model.tolerance:
            raise ModelError(
                f"the model '{self.model.name}' gives atom {targets[worst]} another barrier with"
                f" weights of one on its edges ({float(difference[worst]):.1e} eV off): export its"
                " checkpoint again"
            )


def explain(
    structure: Atoms,
    atoms: Sequence[int],
    model: str | PathLike[str] = "cuzr-fast",
    *,
    settings: ExplanationSettings | None = None,
    workers: int = 0,
) -> list[Explanation]:
    """Which edges and atoms the barriers of some atoms come from.

    Args:
        structure: N atoms at an energy minimum, or averaged over about 1 ps.
        atoms: indices of the atoms to explain, from 0.
        model: a model file that supports it, or the name of a shipped model.
        settings: how; the defaults if None.
        workers: threads, of one core each; 0: one for each core.

    Raises:
        ModelError: no such model, one that does not support explanations, or that ignores edges.
        StructureError: an element that the model lacks, or an atom that is not in the structure
            or has no neighbors.
    """
    return list(Explainer(structure, model, settings).explain(atoms, workers=workers))


def stability(masks: Sequence[NDArray[np.float64]]) -> float:
    """Mean rank correlation between masks [E] of different seeds; NaN for a single one."""
    from scipy.stats import rankdata

    if len(masks) < 2:
        return float("nan")
    correlation = np.corrcoef([rankdata(mask) for mask in masks])
    return float(correlation[np.triu_indices(len(masks), 1)].mean())
