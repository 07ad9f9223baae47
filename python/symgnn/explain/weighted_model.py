"""A model file whose prediction depends on a weight per edge, differentiably."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING, Any

import torch

import symgnn.operators  # noqa: F401  makes torch know what model files call
from symgnn.annotator import Annotator, find_model
from symgnn.errors import ModelError
from symgnn.explain.receptive_field import Batch, ReceptiveField, Surroundings, unite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike
    from pathlib import Path

    from ase import Atoms

    WeightsToBarriers = Callable[[torch.Tensor], torch.Tensor]
    """Weights [E] of the edges of a batch to barriers [B], eV."""

EXACT = {"float32": 1e-4, "float64": 1e-8}
"""eV: predictions of a receptive field and of the whole structure differ by rounding alone."""


class WeightedModel:
    """A model file that declares support for weights on edges.

    A weight of one is the edge, a weight of zero is as if it did not exist.

    Args:
        model: a file written by ``symgnn export``, or the name of a shipped model.

    Raises:
        ModelError: no model that this version can read, or one without support.
    """

    def __init__(self, model: str | PathLike[str] = "cuzr-fast") -> None:
        self.path: Path = find_model(model)
        self._annotator = Annotator(self.path, device="cpu", threads=1)
        self.metadata: dict[str, Any] = self._annotator.metadata
        support = self.metadata.get("edge_weights")
        if "formula" in self.metadata:
            raise ModelError(
                f"the model '{self.path.stem}' is a formula, which is its own explanation"
                f" (`symgnn info {model}`): explain another model"
            )
        architecture = self.metadata.get("architecture", {})
        regression = architecture.get("densities", architecture)
        for key, what in (("drag", "drags atoms"), ("relaxation", "relaxes structures")):
            if regression.get(key) is not None:
                raise ModelError(
                    f"the model '{self.path.stem}' {what}, which weights of edges cannot explain:"
                    f" explain a model without model.{key}, such as cuzr-fast"
                )
        if support is None:
            raise ModelError(
                f"the model file '{self.path}' does not support explanations: export its"
                " checkpoint again"
            )
        self.reach: list[float] = support["reach"]
        self._limits: list[float] | None = support["limits"]
        self._dtype: torch.dtype = getattr(torch, self.metadata["dtype"])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.*")
            self._module: Any = torch.jit.load(str(self.path), map_location="cpu")
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def name(self) -> str:
        """File name without the suffix."""
        return self.path.stem

    def surroundings(self, atoms: Atoms) -> Surroundings:
        """The edges of a structure.

        Raises:
            StructureError: an element that the model lacks, or no usable structure.
        """
        return Surroundings(
            atoms,
            self.metadata["elements"],
            float(self.metadata["cutoff"]),
            self.reach,
            self_edges=bool(self.metadata["self_edges"]),
        )

    def predict(self, atoms: Atoms) -> torch.Tensor:
        """Barriers [N] of the whole structure, eV, as ``symgnn annotate`` gives them."""
        (prediction,) = self._annotator.predict([atoms])
        self._annotator.warn_if_novel(prediction, atoms)
        return torch.from_numpy(prediction[:, 0])

    def limited(self, barriers: torch.Tensor) -> torch.Tensor:
        """Barriers within the limits that the model has, if it has any."""
        return barriers if self._limits is None else barriers.clamp(*self._limits)

    def of_fields(self, fields: Sequence[ReceptiveField]) -> tuple[Batch, WeightsToBarriers]:
        """The barriers of explained atoms as a function of the weights of their edges.

        They are not limited to the range of labels, so that they answer to every weight.
        """
        batch = unite(fields, len(self.reach), self._dtype)
        with torch.no_grad():
            constants = self._module.weighted_start(
                batch.species, batch.edge_index, batch.edge_vector, batch.within
            )

        def barriers(weight: torch.Tensor) -> torch.Tensor:
            # The optimizing executor would compile anew for every size.
            with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
                found: torch.Tensor = self._module.weighted(
                    weight, constants, batch.species, batch.edge_index, batch.within
                )
            return found[:, 0]

        return batch, barriers

    @property
    def dtype(self) -> torch.dtype:
        """Of the network."""
        return self._dtype

    @property
    def tolerance(self) -> float:
        """eV: what rounding alone does to a prediction."""
        return EXACT[self.metadata["dtype"]]
