"""What it costs to drag an atom out of its place while the atoms around it give way.

The atom is dragged away from each of its first neighbors, in strides along the line between them.
After every stride the atoms around it, and the dragged one across the line, take a few steps down
the slope of the energy; what the energy has become by then is remembered, and the highest on the
way. Soft minima and means over the directions are features of the atom: a barrier in small, of one
hop of one atom. The idea is that of the drag method for saddle points (see Henkelman, Jóhannesson,
Jónsson, in: Progress in Theoretical Chemistry and Physics 5, 269 (2000)), without its precision.

Energies are those of pairs: an embedded-atom potential at the mean density of each element, see
``training.pair_energies``. Forces of the beginning are taken away first, so that every structure
begins in equilibrium.

Written for TorchScript. It defines the energies, and computes them on GPUs; on the CPU a compiled
operator does (cpp/kernels/drag_energies.h).
"""

from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from .blocks import edges_shorter_than
from .densities import ramp

SLACK = 0.5
"""Å: pairs that are farther than ``reach`` by more than this never come near, but for the dragged
atom's."""
LOWEST, SPACING = 1.5, 0.02
"""Å²: the squared distances at which pair energies are kept."""
_NUMBERS_AT_ONCE = 1 << 23  # of one tensor, without the compiled operator


class DragConfig(BaseModel):
    """How atoms are dragged."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    potential: str = "CuZr_2009"
    """File of an embedded-atom potential as LAMMPS reads it (``*.eam.alloy``, ``*.eam.fs``),
    relative to the configuration; ``CuZr_2009`` ships with SymGNN."""
    reach: float = Field(5.0, gt=2.0)
    """Å, where pair energies end."""
    reach_ramp: float = Field(1.0, gt=0.0)
    """Å, over which they go to zero."""
    mobile: float = Field(6.0, gt=0.0)
    """Å, from the dragged atom: who gives way."""
    mobile_ramp: float = Field(1.0, gt=0.0)
    """Å, over which atoms give way less and less."""
    shell: float = Field(3.7, gt=0.0)
    """Å, where first neighbors end."""
    shell_ramp: float = Field(0.6, gt=0.0)
    """Å, over which a direction loses its weight."""
    stride: float = Field(0.25, gt=0.0)
    """Å, of the dragged atom."""
    strides: int = Field(8, ge=1)
    """How many."""
    iterations: int = Field(3, ge=0)
    """Steps down the slope after each."""
    rate: float = Field(0.8, gt=0.0, le=1.0)
    """Length of such a step, in that to the minimum if no other atom moved."""
    momentum: float = Field(0.7, ge=0.0, lt=1.0)
    """Share of a step that the next one repeats."""
    longest: float = Field(0.1, gt=0.0)
    """Å, of such a step."""
    temperatures: list[float] = Field([0.1, 0.3], min_length=1)
    """eV, of the soft minima over directions."""

    @property
    def cutoff(self) -> float:
        """Å: the farthest atom that matters."""
        return self.mobile + self.reach + SLACK

    @property
    def points(self) -> int:
        """Squared distances at which pair energies are kept; they are zero at the last two."""
        return int((self.reach**2 - LOWEST) / SPACING) + 3

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.shell > self.mobile:
            raise ValueError("shell: first neighbors are among those that give way (mobile)")
        if min(self.temperatures) <= 0.0:
            raise ValueError("temperatures: give positive ones")
        return self


class DragEnergies(nn.Module):
    """Energies of dragging each atom, from all edges up to ``config.cutoff``.

    Columns: soft minima at each temperature, then the mean, over directions; first after each
    stride, at last of the highest energy on the way. Zero for an atom without first neighbors.

    Args:
        config: how.
        elements: S.
    """

    energy: Tensor
    slope: Tensor
    mobility: Tensor

    def __init__(self, config: DragConfig, elements: int) -> None:
        super().__init__()
        self.reach, self.slack, self.cutoff = config.reach, SLACK, config.cutoff
        self.lowest, self.spacing = LOWEST, SPACING
        self.mobile, self.mobile_ramp = config.mobile, config.mobile_ramp
        self.shell, self.shell_ramp = config.shell, config.shell_ramp
        self.stride, self.strides = config.stride, config.strides
        self.iterations, self.momentum = config.iterations, config.momentum
        self.longest, self.temperatures = config.longest, list(config.temperatures)
        self.levels = len(config.temperatures)
        self.columns = (config.strides + 1) * (self.levels + 1)
        self.elements, self.numbers_at_once = elements, _NUMBERS_AT_ONCE
        # Set by a fit: energies (eV) of pairs over squared distances, their derivatives by distance
        # over distance (eV/Å²), and steps down the slope (Å²/eV).
        self.register_buffer("energy", torch.zeros(elements, elements, config.points))
        self.register_buffer("slope", torch.zeros(elements, elements, config.points))
        self.register_buffer("mobility", torch.zeros(elements))

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Energies [n, columns], eV, of the centers from the first to the last.

        Args:
            species: [N], index of the element.
            edge_index: [2, E], sorted by center; E > 0.
            edge_vector: [E, 3], Å.
        """
        if torch.ops.symgnn.has_kernel("drag_energies", edge_vector):
            found: Tensor = torch.ops.symgnn.drag_energies(
                species,
                edge_index,
                edge_vector,
                self.energy,
                self.slope,
                self.lowest,
                self.spacing,
                self.reach,
                self.slack,
                self.mobility,
                self.mobile,
                self.mobile_ramp,
                self.shell,
                self.shell_ramp,
                self.stride,
                self.strides,
                self.iterations,
                self.momentum,
                self.longest,
                self.temperatures,
            )
            return found
        return self.plain(species, edge_index, edge_vector)

    def plain(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """What ``forward`` gives, as defined, on any device, some centers at a time."""
        first = int(edge_index[0, 0].item())
        rows = int(edge_index[0, -1].item()) - first + 1
        result = torch.zeros([rows, self.columns], dtype=edge_vector.dtype, device=species.device)
        near = edges_shorter_than(edge_vector, self.cutoff)
        vector = edge_vector.index_select(0, near)
        center, neighbor = edge_index[0].index_select(0, near), edge_index[1].index_select(0, near)
        length = vector.square().sum(1).sqrt()
        # The nearest neighbors of each center first.
        order = torch.argsort(length, stable=True)
        order = order.index_select(0, torch.argsort(center.index_select(0, order), stable=True))
        vector, length = vector.index_select(0, order), length.index_select(0, order)
        neighbor = neighbor.index_select(0, order)
        count = torch.bincount(center - first, minlength=rows)
        begins = torch.cumsum(count, 0) - count
        moving = torch.bincount((center - first)[length < self.mobile], minlength=rows)
        around = torch.bincount((center - first)[length < self.shell], minlength=rows)
        numbers = (int(moving.max().item()) + 1) * (int(count.max().item()) + 1)
        numbers = 3 * numbers * max(1, int(around.max().item()))
        at_once = max(1, self.numbers_at_once // numbers)
        for begin in range(0, rows, at_once):
            end = min(rows, begin + at_once)
            result[begin:end] = self._of_centers(
                species,
                species[first + begin : first + end],
                neighbor,
                vector,
                length,
                begins[begin:end],
                count[begin:end],
                int(moving[begin:end].max().item()),
                int(around[begin:end].max().item()),
            )
        return result

    def _of_centers(
        self,
        species: Tensor,
        of_center: Tensor,
        neighbor: Tensor,
        vector: Tensor,
        length: Tensor,
        begins: Tensor,
        count: Tensor,
        moving: int,
        around: int,
    ) -> Tensor:
        """Energies [n, columns] of n centers whose edges lie side by side, the shortest first."""
        centers = count.size(0)
        if around == 0:
            return torch.zeros([centers, self.columns], dtype=vector.dtype, device=vector.device)
        # The center in column 0, then its neighbors, then nothing.
        column = torch.arange(int(count.max().item()) + 1, device=count.device)
        there = column[None, :] <= count[:, None]
        edge = (begins[:, None] + column[None, :] - 1).clamp(min=0, max=length.size(0) - 1)
        is_neighbor = there & (column[None, :] > 0)
        start = torch.where(is_neighbor[..., None], vector[edge], torch.zeros_like(vector[:1]))
        distance = torch.where(is_neighbor, length[edge], torch.zeros_like(length[:1]))
        kind = torch.where(is_neighbor, species[neighbor[edge]], of_center[:, None])
        mobile = there[:, : moving + 1] & (distance[:, : moving + 1] < self.mobile)
        middle = self.mobile - 0.5 * self.mobile_ramp
        free = ramp(distance[:, : moving + 1], middle, self.mobile_ramp)
        mobility = torch.where(mobile, free * self.mobility[kind[:, : moving + 1]], 0.0)
        mobility = mobility[:, None, :, None]

        # [n, D, 3] and [n, D]: away from each first neighbor.
        near = distance[:, 1 : around + 1]
        direction = -start[:, 1 : around + 1] / near.clamp(min=1e-12)[..., None]
        weight = ramp(near, self.shell - 0.5 * self.shell_ramp, self.shell_ramp)
        weight = torch.where(is_neighbor[:, 1 : around + 1] & (near > 0.0), weight, 0.0)

        # Pairs [n, M, A] of an atom that moves and any other.
        between = (start[:, None, :, :] - start[:, : moving + 1, None, :]).square().sum(3)
        limit = torch.full_like(between, self.reach + self.slack)
        limit[:, 0, :] = self.reach + self.stride * float(self.strides)
        limit[:, :, 0] = self.reach + self.stride * float(self.strides)
        pair = mobile[:, :, None] & there[:, None, :] & (between < limit.square())
        pair = pair & (column[None, None, :] != column[: moving + 1][None, :, None])
        both = torch.zeros_like(there)
        both[:, : moving + 1] = mobile
        # Those in which both move stand there twice.
        share = torch.where(both[:, None, :], 0.5, 1.0).to(vector.dtype) * pair.to(vector.dtype)
        row = kind[:, : moving + 1, None] * self.elements + kind[:, None, :]
        row = torch.where(pair, row, torch.full_like(row, self.elements * self.elements))

        rest = start[:, None].expand(-1, around, -1, -1)
        position = rest[:, :, : moving + 1].clone()
        velocity = torch.zeros_like(position)
        start_force = self._forces(position[:, :1], rest[:, :1], row)
        start_energy = self._energies(position[:, :1], rest[:, :1], row)
        found: list[Tensor] = []
        for _ in range(self.strides):
            position[:, :, 0] += self.stride * direction
            for _ in range(self.iterations):
                pull = self._forces(position, rest, row) - start_force
                along = (pull[:, :, 0] * direction).sum(2, keepdim=True)
                pull[:, :, 0] -= along * direction
                velocity = self.momentum * velocity + mobility * pull
                size = velocity.square().sum(3, keepdim=True).sqrt()
                velocity = velocity * (self.longest / size.clamp(min=self.longest))
                position = position + velocity
            work = (start_force * (position - rest[:, :, : moving + 1])).sum(3).sum(2)
            # Pair by pair, since what changes is a small part of the whole.
            change = self._energies(position, rest, row) - start_energy
            found.append((change * share[:, None]).sum(3).sum(2) + work)
        energies = torch.stack(found, dim=1)
        energies = torch.cat([energies, energies.amax(1, keepdim=True)], dim=1)
        return self._over_directions(energies, weight)

    def _forces(self, position: Tensor, rest: Tensor, row: Tensor) -> Tensor:
        """Forces [n, D, M, 3], eV/Å, on atoms at [n, D, M, 3], others at rest [n, D, A, 3]."""
        vector = self._between(position, rest)
        slope = self._read(self.slope, vector.square().sum(4), row)
        return (slope[..., None] * vector).sum(3)

    def _energies(self, position: Tensor, rest: Tensor, row: Tensor) -> Tensor:
        """Energies [n, D, M, A] of pairs, eV."""
        return self._read(self.energy, self._between(position, rest).square().sum(4), row)

    def _between(self, position: Tensor, rest: Tensor) -> Tensor:
        """Vectors [n, D, M, A, 3] from atoms that move to all."""
        other = torch.cat([position, rest[:, :, position.size(2) :]], dim=2)
        return other[:, :, None, :, :] - position[:, :, :, None, :]

    def _read(self, table: Tensor, square: Tensor, row: Tensor) -> Tensor:
        """A table at squared distances [n, D, M, A], on straight lines between its points.

        Args:
            table: [S, S, points].
            square: Å².
            row: [n, M, A], of the table; S · S where there is no pair.
        """
        points = table.size(2)
        values = torch.cat([table.flatten(0, 1), torch.zeros_like(table[:1, 0])])
        place = ((square - self.lowest) / self.spacing).clamp(min=0.0, max=float(points - 2))
        point = place.to(torch.int64)
        at = row[:, None] * points + point
        low = values.flatten()[at]
        high = values.flatten()[(at + 1).clamp(max=values.numel() - 1)]
        value = low + (place - point.to(place.dtype)) * (high - low)
        return torch.where(place < float(points - 2), value, torch.zeros_like(value))

    def _over_directions(self, energies: Tensor, weight: Tensor) -> Tensor:
        """Soft minima and means [n, columns] of energies [n, strides + 1, D] by weight [n, D]."""
        total = weight.sum(1)[:, None]
        chosen = weight[:, None, :] > 0.0
        lowest = torch.where(chosen, energies, torch.full_like(energies, torch.inf)).amin(2)
        lowest = torch.where(total > 0.0, lowest, torch.zeros_like(lowest))
        share = total.clamp(max=1.0)
        safe = torch.where(total > 0.0, total, torch.ones_like(total))
        above = torch.where(chosen, energies - lowest[..., None], torch.zeros_like(energies))
        columns: list[Tensor] = []
        for temperature in self.temperatures:
            sums = (weight[:, None, :] * torch.exp(-above / temperature)).sum(2) / safe
            sums = torch.where(total > 0.0, sums, torch.ones_like(sums))
            columns.append(share * (lowest - temperature * sums.log()))
        columns.append(share * (lowest + (weight[:, None, :] * above).sum(2) / safe))
        return torch.stack(columns, dim=2).flatten(1)
