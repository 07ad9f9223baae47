"""Relaxation by an embedded-atom potential: from positions at a temperature towards their minimum.

Barriers belong to minima. Before a model looks at a structure, its atoms go down the slope with
momentum, each by its own force, so that atoms of other processors need not be asked for more than
where they are. Steps suffice that leave the structure close to its minimum; one that is in its
minimum stays as it is.

Written for TorchScript.
"""

from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from symgnn.models.blocks import block_end, edge_block
from symgnn.models.embedded_atom import EmbeddedAtomForces, moved

STATE = 7
"""Numbers per atom: displacement and last step [3 + 3], Å, slope of the embedding energy, eV."""


class RelaxationConfig(BaseModel):
    """How a structure relaxes."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    potential: str = "CuZr_2009"
    """File of an embedded-atom potential without kinks as LAMMPS reads it (``*.eam.alloy``,
    ``*.eam.fs``), relative to the configuration; ``CuZr_2009`` ships with SymGNN."""
    steps: int = Field(50, ge=1)
    """Down the slope, all atoms at once."""
    rate: float = Field(1.3, gt=0.0, lt=2.0)
    """Length of a step, in that to the minimum along the stiffest motion of the first structure."""
    momentum: float = Field(0.93, ge=0.0, lt=1.0)
    """Share of a step that the next one repeats."""
    last_steps: int = Field(15, ge=0)
    """Of these, those at the end with ``last_momentum``."""
    last_momentum: float = Field(0.7, ge=0.0, lt=1.0)
    """Less than before, so that atoms come to rest."""
    longest: float = Field(0.3, gt=0.0)
    """Å, of such a step of an atom."""

    @model_validator(mode="after")
    def _last_steps_are_steps(self) -> Self:
        if self.last_steps > self.steps:
            raise ValueError("last_steps: no more than steps")
        return self


class Relaxation(nn.Module):
    """Steps down the slope.

    Args:
        config: how.
        elements: S.
    """

    mobility: Tensor

    def __init__(self, config: RelaxationConfig, elements: int) -> None:
        super().__init__()
        self.forces = EmbeddedAtomForces(elements)
        self.longest, self.width = config.longest, STATE
        first = [config.momentum] * (config.steps - config.last_steps)
        self.momentum = first + [config.last_momentum] * config.last_steps
        # Å²/eV: displacement per force. Set by a fit.
        self.register_buffer("mobility", torch.zeros(()))
        self.passes = config.steps + 1

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Vectors [E, 3] of edges after all steps, Å, from those before."""
        state = torch.zeros(
            [species.size(0), self.width], dtype=edge_vector.dtype, device=edge_vector.device
        )
        for number in range(self.passes):
            state = self.step(number, state, species, edge_index, edge_vector)
        return self.moved(state, edge_index, edge_vector)

    def step(
        self, number: int, state: Tensor, species: Tensor, edge_index: Tensor, edge_vector: Tensor
    ) -> Tensor:
        """State [N, 7] after a step of the centers of edges; that of others is as before.

        Args:
            number: from 0 to ``passes`` - 1; the first finds slopes of embedding energies, and
                moves no atom.
            state: [N, 7], of all atoms; zero at first.
            species: [N], index of the element.
            edge_index: [2, E], sorted by center.
            edge_vector: [E, 3], Å, before the first step.
        """
        result = state.clone()
        if edge_index.size(1) == 0:
            return result
        force, slopes = self.forces(
            state[:, :3].contiguous(),
            state[:, self.width - 1].contiguous(),
            species,
            edge_index,
            edge_vector,
        )
        first = int(edge_index[0, 0].item())
        own = result[first : first + force.size(0)]
        own[:, self.width - 1] = slopes
        if number > 0:
            step = self.momentum[number - 1] * own[:, 3:6] + self.mobility * force
            length = step.square().sum(1, keepdim=True).sqrt()
            step = step * (self.longest / length.clamp(min=self.longest))
            own[:, 3:6] = step
            own[:, :3] += step
        return result

    def moved(self, state: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Vectors [E, 3] of edges between displaced atoms, Å."""
        displacement = state[:, :3].contiguous()
        result = torch.empty_like(edge_vector)
        center, neighbor = edge_index[0], edge_index[1]
        begin = 0
        while begin < center.size(0):
            end = block_end(center, begin, edge_block(edge_vector))
            result[begin:end] = moved(
                edge_vector[begin:end], displacement, center[begin:end], neighbor[begin:end]
            )
            begin = end
        return result
