"""What it costs to drag an atom out of its place while the atoms around it give way.

At first the atoms around take a few steps down the slope of the energy, which forgets where thermal
motion has left them. Then the atom is dragged towards each of its first neighbors or away from it,
in strides along the line between them. After every stride the atoms around it, and the dragged one
across the line, take more such steps; what the energy has become by then is remembered, and the
highest on the way. Soft minima and means over the directions are features of the atom: a barrier in
small, of one hop of one atom. The idea is that of the drag method for saddle points (see Henkelman,
Jóhannesson, Jónsson, in: Progress in Theoretical Chemistry and Physics 5, 269 (2000)), without its
precision.

If wanted, how far atoms a few shells away have gone by then makes further features: it tells what
atoms that are farther still, and do not give way here, would bear of the cost.

Energies are those of pairs: an embedded-atom potential at the mean density of each element, see
``training.pair_energies``.

Written for TorchScript. It defines the features; a compiled operator computes them
(cpp/kernels/drag_energies.h).
"""

from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from symgnn.models.blocks import edges_shorter_than
from symgnn.models.densities import ramp

SLACK = 0.3
"""Å: pairs that are farther than ``reach`` by more than this count as never coming near, but for
the dragged atom's."""
LOWEST = 2.25
"""Å²: the squared distance from which on pair energies are kept; nearer pairs have that of this."""
INTERVALS = 32
"""Of squared distances, each with a polynomial of its own: as many as a register holds of the
largest vectors. The last one stands for all that is beyond ``reach``, where energies are zero."""
_NUMBERS_AT_ONCE = 1 << 19  # of one tensor and direction, without the compiled operator


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
    mobile: float = Field(8.0, gt=0.0)
    """Å, from the dragged atom: who gives way."""
    mobile_ramp: float = Field(1.0, gt=0.0)
    """Å, over which atoms give way less and less."""
    far: float | None = Field(None, ge=0.0)
    """Å, from the dragged atom: where those begin whose displacements count as well; null for
    energies alone."""
    far_ramp: float = Field(1.0, gt=0.0)
    """Å, over which they count more and more."""
    shell: float = Field(3.5, gt=0.0)
    """Å, where first neighbors end."""
    shell_ramp: float = Field(0.4, gt=0.0)
    """Å, over which a direction loses its weight."""
    relaxations: int = Field(12, ge=0)
    """Steps down the slope before an atom is dragged."""
    stride: float = 0.5
    """Å, of the dragged atom, away from a neighbor; negative: towards it."""
    strides: int = Field(5, ge=1)
    """How many."""
    iterations: int = Field(10, ge=0)
    """Steps down the slope after each."""
    rate: float = Field(0.8, gt=0.0, le=1.0)
    """Length of such a step, in that to the minimum if no other atom moved."""
    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    """Share of a step that the next one repeats."""
    longest: float = Field(0.1, gt=0.0)
    """Å, of such a step."""
    temperatures: list[float] = Field([0.1, 0.3], min_length=1)
    """eV, of the soft minima over directions."""
    variances: bool = False
    """Whether the variances of all that dragging tells count as well, those over the neighbors of
    each element in the first of ``shells``."""

    @property
    def cutoff(self) -> float:
        """Å: the farthest atom that matters."""
        return self.mobile + self.reach + SLACK

    @property
    def spacing(self) -> float:
        """Å²: an interval of squared distances."""
        return (self.reach**2 - LOWEST) / (INTERVALS - 1)

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.stride == 0.0:
            raise ValueError("stride: a dragged atom goes somewhere")
        if self.shell > self.mobile:
            raise ValueError("shell: first neighbors are among those that give way (mobile)")
        if self.far is not None and self.far >= self.mobile:
            raise ValueError("far: those whose displacements count are among those that give way")
        if min(self.temperatures) <= 0.0:
            raise ValueError("temperatures: give positive ones")
        return self


class DragEnergies(nn.Module):
    """What it costs to drag each atom, and how far its surroundings go.

    Columns: soft minima of energies (eV) at each temperature, then their mean, over directions;
    first after each stride, at last of the highest energy on the way. Then, where ``config.far`` is
    given, after each stride the mean over directions of the sum of squared displacements (Å²) of
    atoms that were as far from the dragged one. Zero for an atom without first neighbors.

    Args:
        config: how.
        elements: S.
    """

    energy: Tensor
    mobility: Tensor
    far: float | None

    def __init__(self, config: DragConfig, elements: int) -> None:
        super().__init__()
        self.reach, self.slack, self.cutoff = config.reach, SLACK, config.cutoff
        self.lowest, self.spacing, self.intervals = LOWEST, config.spacing, INTERVALS
        self.mobile, self.mobile_ramp = config.mobile, config.mobile_ramp
        self.shell, self.shell_ramp = config.shell, config.shell_ramp
        self.relaxations = config.relaxations
        self.stride, self.strides = config.stride, config.strides
        self.iterations, self.momentum = config.iterations, config.momentum
        self.longest, self.temperatures = config.longest, list(config.temperatures)
        self.levels = len(config.temperatures)
        self.far, self.far_ramp, self.variances = config.far, config.far_ramp, config.variances
        self.energies = (config.strides + 1) * (self.levels + 1)
        self.columns = self.energies + (0 if config.far is None else config.strides)
        self.elements, self.numbers_at_once = elements, _NUMBERS_AT_ONCE
        # Set by a fit: energies of pairs (eV), by ascending powers of the place in each interval of
        # the squared distance, and steps down the slope (Å²/eV).
        self.register_buffer("energy", torch.zeros(elements, elements, 4, INTERVALS))
        self.register_buffer("mobility", torch.zeros(elements))

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Columns [n, columns] of the centers from the first to the last.

        Args:
            species: [N], index of the element.
            edge_index: [2, E], sorted by center; E > 0.
            edge_vector: [E, 3], Å, up to ``config.cutoff``; longer ones do not matter.
        """
        if torch.ops.symgnn.has_kernel("drag_energies", edge_vector):
            found: Tensor = torch.ops.symgnn.drag_energies(
                species,
                edge_index,
                edge_vector,
                self.energy,
                self.lowest,
                self.spacing,
                self.reach,
                self.slack,
                self.mobility,
                self.mobile,
                self.mobile_ramp,
                self.shell,
                self.shell_ramp,
                self.relaxations,
                self.stride,
                self.strides,
                self.iterations,
                self.momentum,
                self.longest,
                self.temperatures,
                self.far,
                self.far_ramp,
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
        numbers = 3 * (int(moving.max().item()) + 1) * (int(count.max().item()) + 1)
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
    ) -> Tensor:
        """Columns [n, columns] of n centers whose edges lie side by side, the shortest first."""
        if moving == 0:
            return torch.zeros(
                [count.size(0), self.columns], dtype=vector.dtype, device=vector.device
            )
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

        # Pairs [n, M, A] of an atom that moves and any other.
        between = (start[:, None, :, :] - start[:, : moving + 1, None, :]).square().sum(3)
        limit = torch.full_like(between, self.reach + self.slack)
        limit[:, 0, :] = self.reach + abs(self.stride) * float(self.strides)
        limit[:, :, 0] = self.reach + abs(self.stride) * float(self.strides)
        pair = mobile[:, :, None] & there[:, None, :] & (between < limit.square())
        pair = pair & (column[None, None, :] != column[: moving + 1][None, :, None])
        both = torch.zeros_like(there)
        both[:, : moving + 1] = mobile
        # Those in which both move stand there twice.
        share = torch.where(both[:, None, :], 0.5, 1.0).to(vector.dtype) * pair.to(vector.dtype)
        row = kind[:, : moving + 1, None] * self.elements + kind[:, None, :]
        row = torch.where(pair, row, torch.full_like(row, self.elements * self.elements))

        # One system [n, 1, M, 3], whose center is free, then one for each direction [n, D, M, 3].
        position = start[:, None, : moving + 1]
        velocity, free_center = torch.zeros_like(position), torch.zeros_like(position[:, :, 0])
        for _ in range(self.relaxations):
            position, velocity = self._move(position, velocity, free_center, start, row, mobility)
        start_energy = self._energies(position, start, row)
        origin = position
        far = torch.zeros_like(distance[:, : moving + 1])
        begin = self.far
        if begin is not None:
            middle = begin + 0.5 * self.far_ramp
            far = 1.0 - ramp(distance[:, : moving + 1], middle, self.far_ramp)
            far = torch.where(mobile, far, torch.zeros_like(far))
        direction, weight = self._directions(position[:, 0], mobile)
        position = position.expand(-1, direction.size(1), -1, -1).clone()
        velocity = torch.zeros_like(position)
        found: list[Tensor] = []
        displacements: list[Tensor] = []
        for _ in range(self.strides):
            position[:, :, 0] += self.stride * direction
            for _ in range(self.iterations):
                position, velocity = self._move(position, velocity, direction, start, row, mobility)
            # Pair by pair, since what changes is a small part of the whole.
            change = self._energies(position, start, row) - start_energy
            found.append((change * share[:, None]).sum(3).sum(2))
            squared = (position - origin).square().sum(3)
            displacements.append((far[:, None] * squared).sum(2))
        energies = torch.stack(found, dim=1)
        energies = torch.cat([energies, energies.amax(1, keepdim=True)], dim=1)
        result = self._over_directions(energies, weight)
        if begin is None:
            return result
        return torch.cat([result, self._mean(torch.stack(displacements, dim=1), weight)], dim=1)

    def _directions(self, position: Tensor, mobile: Tensor) -> tuple[Tensor, Tensor]:
        """Directions [n, D, 3] away from first neighbors, and their weights [n, D].

        Args:
            position: [n, M, 3], Å, of the center and the atoms that move.
            mobile: [n, M], whether there is such an atom.
        """
        away = position[:, :1] - position[:, 1:]
        length = away.square().sum(2).sqrt()
        weight = ramp(length, self.shell - 0.5 * self.shell_ramp, self.shell_ramp)
        weight = torch.where(mobile[:, 1:] & (length > 0.0), weight, torch.zeros_like(weight))
        most = max(1, int((weight > 0.0).sum(1).max().item()))
        chosen = torch.argsort(weight, dim=1, descending=True, stable=True)[:, :most]
        direction = away / length.clamp(min=1e-12)[..., None]
        direction = direction.gather(1, chosen[..., None].expand(-1, -1, 3))
        return direction, weight.gather(1, chosen)

    def _move(
        self,
        position: Tensor,
        velocity: Tensor,
        direction: Tensor,
        start: Tensor,
        row: Tensor,
        mobility: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Positions and last steps after one more step of descent with momentum.

        Args:
            position: [n, D, M, 3], Å; the center first.
            velocity: [n, D, M, 3], Å, the step before.
            direction: [n, D, 3], along which the center does not move.
            start: [n, A, 3], Å, of those that do not move.
            row: [n, M, A], see ``_read``.
            mobility: [n, 1, M, 1], Å²/eV.
        """
        vector = self._between(position, start)
        force = (self._slopes(vector.square().sum(4), row)[..., None] * vector).sum(3)
        along = (force[:, :, 0] * direction).sum(2, keepdim=True)
        force[:, :, 0] -= along * direction
        velocity = self.momentum * velocity + mobility * force
        size = velocity.square().sum(3, keepdim=True).sqrt()
        velocity = velocity * (self.longest / size.clamp(min=self.longest))
        return position + velocity, velocity

    def _energies(self, position: Tensor, start: Tensor, row: Tensor) -> Tensor:
        """Energies [n, D, M, A] of pairs, eV."""
        square = self._between(position, start).square().sum(4)
        return self._read(list(self.energy.unbind(2)), square, row)

    def _slopes(self, square: Tensor, row: Tensor) -> Tensor:
        """Their derivatives by distance over distance, twice those by its square, eV/Å²."""
        per_square = 2.0 / self.spacing
        terms = [self.energy[:, :, power] * (per_square * float(power)) for power in range(1, 4)]
        return self._read(terms, square, row)

    def _between(self, position: Tensor, start: Tensor) -> Tensor:
        """Vectors [n, D, M, A, 3] from atoms that move to all."""
        others = start[:, None, position.size(2) :].expand(-1, position.size(1), -1, -1)
        every = torch.cat([position, others], dim=2)
        return every[:, :, None, :, :] - position[:, :, :, None, :]

    def _read(self, terms: list[Tensor], square: Tensor, row: Tensor) -> Tensor:
        """Polynomials at squared distances [n, D, M, A], Å².

        Args:
            terms: [S, S, intervals] each, by ascending powers of the place in an interval.
            square: Å².
            row: [n, M, A], of the terms; S · S where there is no pair.
        """
        last = float(self.intervals) - 0.5
        place = ((square - self.lowest) / self.spacing).clamp(min=0.0, max=last)
        interval = place.to(torch.int64)
        fraction = place - interval.to(place.dtype)
        at = row[:, None] * self.intervals + interval
        value = torch.zeros_like(square)
        for k in range(len(terms)):
            term = terms[len(terms) - 1 - k].flatten()
            none = torch.zeros([self.intervals], dtype=term.dtype, device=term.device)
            value = value * fraction + torch.cat([term, none])[at]
        return value

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
        columns.append(self._mean(energies, weight))
        return torch.stack(columns, dim=2).flatten(1)

    def _mean(self, values: Tensor, weight: Tensor) -> Tensor:
        """Means [n, K] of values [n, K, D] by weight [n, D]; of few directions, a share of it."""
        return (weight[:, None, :] * values).sum(2) / weight.sum(1).clamp(min=1.0)[:, None]
