"""A barrier in one line: a few local quantities with names, averaged over the surroundings.

    E_i = E_0(element of i) + Σ_k c_k ⟨q_k⟩_i

Every quantity q_k belongs to the first neighbors of an atom, whose distances are measured in units
of the length that a bond of these two elements has; ⟨…⟩ is an average with Gaussian weights over an
atom and its surroundings. Averages of local order over neighbors go back to Lechner and Dellago,
J. Chem. Phys. 129, 114707 (2008); bond energies of this form to Morse, Phys. Rev. 34, 57 (1929);
bond order to Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983).

The model is written for TorchScript, and is its own exported form.
"""

from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from symgnn.models.blocks import block_end, edge_block
from symgnn.models.densities import ramp, spherical_harmonics
from symgnn.models.network import NetworkConfig

QUANTITIES = ("bonding", "density", "count", "stretch", "compression", "bond_order")
Quantity = Literal["bonding", "density", "count", "stretch", "compression", "bond_order"]

SHELL, BOND, DENSITY = (1.3, 0.3), (1.5, 0.3), (1.75, 0.2)
"""Where bond orders, bonds (bonding and stretch) and densities end, in units of the bond length,
and over what they go to zero."""
DENSITY_WIDTH, COUNT_RAMP = 0.1, 0.1


class Term(BaseModel):
    """One quantity of the formula, in terms of x, a distance over the length of such a bond.

    ``bonding``: Morse energies of the bonds in units of their depth, of steepness ``value``;
    ``density``: neighbors around x = ``value``; ``count``: neighbors below x = ``value``;
    ``stretch``: of the bonds that are too long; ``compression``: squared, of those too short;
    ``bond_order``: q_l² of degree l = ``value``.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    quantity: Quantity
    """Its kind."""
    value: float | None = None
    """Steepness, distance in bond lengths, or degree; null for stretch and compression."""
    neighbors: str | None = None
    """Element of the neighbors that are counted; null for all."""

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if self.quantity in ("stretch", "compression"):
            if self.value is not None:
                raise ValueError(f"{self.quantity} has no value: leave it out")
        elif self.value is None or self.value <= 0.0:
            raise ValueError(f"{self.quantity} needs a positive value")
        elif self.quantity == "bond_order" and self.value not in range(1, 13):
            raise ValueError("bond_order needs a degree from 1 to 12 as its value")
        return self

    @property
    def name(self) -> str:
        """Such as ``bonding 6.5`` or ``count 1.2 of Zr``."""
        value = "" if self.value is None else f" {self.value:g}"
        return f"{self.quantity}{value}" + (f" of {self.neighbors}" if self.neighbors else "")

    @property
    def reach(self) -> float:
        """Where the quantity ends, in units of the bond length."""
        if self.quantity == "count":
            return (self.value or 0.0) + 0.5 * COUNT_RAMP
        if self.quantity == "compression":
            return 1.0
        end, width = {"density": DENSITY, "bond_order": SHELL}.get(self.quantity, BOND)
        return end + 0.5 * width


class FormulaConfig(NetworkConfig):
    """Architecture ``formula``: the terms, and the lengths that they are measured by."""

    architecture: Literal["formula"] = "formula"
    cutoff: float = Field(7.0, gt=1.0)
    """Å, where averages end."""
    elements: list[str] = Field(["Cu", "Zr"], min_length=1)
    """Of the lengths below, and so of the data."""
    bond_lengths: list[list[float]] = Field([[2.59, 2.81], [2.81, 3.17]], min_length=1)
    """Å, by pairs of elements: where the partial pair correlation functions have their maxima."""
    smoothing: float = Field(2.5, gt=0.0)
    """Å, standard deviation of the Gaussian that averages are weighted with."""
    terms: list[Term] = Field(
        [
            Term(quantity="bonding", value=6.0),
            Term(quantity="bond_order", value=1.0),
            Term(quantity="bond_order", value=7.0),
        ],
        min_length=1,
    )
    """The quantities that are averaged, each with a coefficient."""

    def build(self, elements: int) -> "Formula":
        """A formula whose coefficients still have to be fitted."""
        if elements != len(self.elements):
            raise ValueError("a formula is built for the elements of its bond lengths")
        return Formula(self)

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        count = len(self.elements)
        rows = self.bond_lengths
        if len(rows) != count or any(len(row) != count for row in rows):
            raise ValueError("bond_lengths: give one row and one column per element")
        if any(
            rows[i][j] <= 0.0 or rows[i][j] != rows[j][i]
            for i in range(count)
            for j in range(i, count)
        ):
            raise ValueError("bond_lengths: give positive lengths, the same for AB and BA")
        unknown = {term.neighbors for term in self.terms} - {None, *self.elements}
        if unknown:
            raise ValueError(f"terms: {', '.join(map(str, unknown))} is none of the elements")
        if len({term.name for term in self.terms}) < len(self.terms):
            raise ValueError("terms: one stands there twice")
        if max(term.reach for term in self.terms) * max(map(max, rows)) > self.cutoff:
            raise ValueError("cutoff: no term may reach farther")
        if self.self_edges:
            raise ValueError("self_edges: an atom is no neighbor of itself here; leave them out")
        return self


class Formula(nn.Module):
    """Graph in; barrier (eV), its uncertainty (eV) and novelty (0 to 1) of each atom out.

    ``forward`` at once, or ``start``, ``step`` twice (quantities, averages) and ``finish``: the
    interface of a model file. Channels of an atom: one per term, and the element.

    Numbers are float64, as they are printed, until the module is cast.

    Args:
        config: the terms.
    """

    bond_lengths: Tensor
    coefficient: Tensor
    coefficient_spread: Tensor
    intercept: Tensor
    intercept_spread: Tensor
    std: Tensor
    center: Tensor
    whitening: Tensor
    distance_scale: Tensor

    def __init__(self, config: FormulaConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = 2
        self.shell_end, self.shell_ramp = SHELL
        self.bond_end, self.bond_ramp = BOND
        self.density_end, self.density_ramp = DENSITY
        self.density_width, self.count_ramp = DENSITY_WIDTH, COUNT_RAMP
        self.cutoff_ramp = 1.0  # Å
        self.smallest_total = 0.1  # hardly any neighbors give a bond order of zero, not infinity
        terms, elements = len(config.terms), len(config.elements)
        self.terms, self.elements, self.channels = terms, elements, terms + 1
        self.reach = max(term.reach for term in config.terms)
        self.cutoff, self.smoothing = config.cutoff, config.smoothing
        self.kinds = [QUANTITIES.index(term.quantity) for term in config.terms]
        self.values = [float(term.value or 0.0) for term in config.terms]
        self.of = [
            config.elements.index(term.neighbors) if term.neighbors else -1 for term in config.terms
        ]
        self.degree = max(
            [int(term.value or 0) for term in config.terms if term.quantity == "bond_order"],
            default=0,
        )
        self.register_buffer(
            "bond_lengths", torch.tensor(config.bond_lengths, dtype=torch.float64).flatten()
        )
        for name, shape in (
            ("coefficient", (terms,)),
            ("coefficient_spread", (terms,)),
            ("intercept", (elements,)),
            ("intercept_spread", (elements,)),
            ("std", (elements,)),
            ("center", (elements, terms)),
            ("whitening", (elements, terms, terms)),
            ("distance_scale", (elements,)),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.distance_scale.fill_(1.0)

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """From species [N], sorted edge_index [2, E], edge_vector [E, 3] in Å to [N, 3]."""
        return self.finish(self.averages(species, edge_index, edge_vector))

    @torch.jit.export
    def averages(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """Channels [N, terms + 1] before ``finish``: ⟨q_k⟩_i, and the element."""
        node, edge = self.start(species, edge_vector)
        for number in range(2):
            node, edge = self.step(number, node, edge, edge_index)
        return node

    @torch.jit.export
    def start(self, species: Tensor, edge_vector: Tensor) -> tuple[Tensor, Tensor]:
        """Channels [N, terms + 1], so far the element alone; vectors of edges [E, 3]."""
        node = torch.zeros(
            [species.size(0), self.channels], dtype=edge_vector.dtype, device=edge_vector.device
        )
        node[:, -1] = species.to(node.dtype)
        return node, edge_vector

    @torch.jit.export
    def step(
        self, layer: int, node: Tensor, edge: Tensor, edge_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Quantities of every center, then their averages: channels [N, terms + 1], updated."""
        if layer == 0:
            return self._quantities(node, edge, edge_index), edge
        return self._averages(node, edge, edge_index), edge

    @torch.jit.export
    def finish(self, node: Tensor) -> Tensor:
        """Outputs [N, 3] from channels [N, terms + 1].

        The uncertainty is that of labels around the formula on glasses left out, by element. The
        novelty is one half where the averages are as far from those of the training atoms
        (Mahalanobis distance) as their outermost percent.
        """
        species = node[:, -1].to(torch.int64)
        averages = node[:, : self.terms]
        barrier = torch.mv(averages, self.coefficient) + self.intercept.index_select(0, species)
        distance = torch.zeros_like(barrier)
        for element in range(self.elements):
            rows = (species == element).nonzero()[:, 0]
            x = averages.index_select(0, rows) - self.center[element]
            x = torch.mm(x, self.whitening[element])
            distance.index_copy_(0, rows, x.square().sum(1) / self.distance_scale[element])
        fourth = distance.square().square()
        novelty = (1.0 - 1.0 / (1.0 + fourth)).clamp(0.0, 1.0)
        return torch.stack([barrier, self.std.index_select(0, species), novelty], dim=1)

    def _quantities(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> Tensor:
        species = node[:, -1].to(torch.int64)
        length = edge.square().sum(1).sqrt()
        of_center = species.index_select(0, edge_index[0])
        of_neighbor = species.index_select(0, edge_index[1])
        pair = of_center * self.elements + of_neighbor
        x = length / self.bond_lengths.index_select(0, pair)
        near = (x < self.reach).nonzero()[:, 0]
        x = x.index_select(0, near)
        center, of_neighbor = edge_index[0].index_select(0, near), of_neighbor.index_select(0, near)
        harmonics = edge
        if self.degree > 0:
            direction = edge.index_select(0, near)
            # Two atoms on one spot have no direction.
            direction = direction / length.index_select(0, near).clamp(min=1e-6)[:, None]
            harmonics = spherical_harmonics(direction, self.degree)
        result = node.clone()
        for term in range(self.terms):
            kind, value, of = self.kinds[term], self.values[term], self.of[term]
            chosen = torch.ones_like(x)
            if of >= 0:
                chosen = (of_neighbor == of).to(x.dtype)
            if kind == 5:
                degree = int(value)
                first = degree * degree - 1  # degrees below have 3 + 5 + … columns
                weight = chosen * ramp(x, self.shell_end, self.shell_ramp)
                total = torch.zeros_like(node[:, 0]).index_add_(0, center, weight)
                moments = torch.zeros(
                    [node.size(0), 2 * degree + 1], dtype=node.dtype, device=node.device
                )
                columns = harmonics.narrow(1, first, 2 * degree + 1)
                moments.index_add_(0, center, weight[:, None] * columns)
                power = moments.square().sum(1)
                result[:, term] = power / total.clamp(min=self.smallest_total).square()
            else:
                weight = chosen * self._of_bond(kind, value, x)
                total = torch.zeros_like(node[:, 0]).index_add_(0, center, weight)
                result[:, term] = total
        return result

    def _of_bond(self, kind: int, value: float, x: Tensor) -> Tensor:
        """What each bond [E] of scaled length x adds to a quantity."""
        if kind == 0:
            attraction = torch.exp(-value * (x - 1.0))
            energy = 2.0 * attraction - attraction.square()
            return energy * ramp(x, self.bond_end, self.bond_ramp)
        if kind == 1:
            gaussian = torch.exp(-0.5 * ((x - value) / self.density_width).square())
            return gaussian * ramp(x, self.density_end, self.density_ramp)
        if kind == 2:
            return ramp(x, value, self.count_ramp)
        if kind == 3:
            return (x - 1.0).clamp(min=0.0) * ramp(x, self.bond_end, self.bond_ramp)
        return (1.0 - x).clamp(min=0.0).square()

    def _averages(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> Tensor:
        result = node.clone()
        own = node[:, : self.terms]
        # A column of ones adds up the weights.
        sent = torch.cat([own, torch.ones_like(own[:, :1])], dim=1)
        sums = sent.clone()
        center, neighbor = edge_index[0], edge_index[1]
        begin = 0
        while begin < center.size(0):
            end = block_end(center, begin, edge_block(node))
            length = edge[begin:end].square().sum(1).sqrt()
            weight = torch.exp(-0.5 * (length / self.smoothing).square())
            weight = weight * ramp(length, self.cutoff - 0.5 * self.cutoff_ramp, self.cutoff_ramp)
            low = int(center[begin].item())
            high = int(center[end - 1].item()) + 1
            weighted = weight[:, None] * sent.index_select(0, neighbor[begin:end])
            sums[low:high].index_add_(0, center[begin:end] - low, weighted)
            begin = end
        result[:, : self.terms] = sums[:, : self.terms] / sums[:, self.terms :]
        return result


def formula_text(model: Formula) -> str:
    """The fitted formula in lines of text: what to compute, in which units, with which numbers."""
    config = model.config
    of_pairs = [
        f"{value:g} ({first}-{second})"
        for i, (first, row) in enumerate(zip(config.elements, config.bond_lengths, strict=True))
        for second, value in list(zip(config.elements, row, strict=True))[i:]
    ]
    middle = config.cutoff - 0.5 * model.cutoff_ramp
    lines = [
        "energy_barrier(i) = E0(element of i) + sum over k of c_k <q_k>(i)",
        "",
        "  E0, eV:",
        *(
            f"    {symbol:4s}{value:10.5g}  +- {spread:.2g}"
            for symbol, value, spread in zip(
                config.elements,
                model.intercept.tolist(),
                model.intercept_spread.tolist(),
                strict=True,
            )
        ),
        "  c_k, eV, and q_k(i), without unit:",
        *(
            f"    {value:10.5g}  +- {spread:<9.2g}  {_written(term, model)}"
            for value, spread, term in zip(
                model.coefficient.tolist(),
                model.coefficient_spread.tolist(),
                config.terms,
                strict=True,
            )
        ),
        "  +-: standard deviation over the fits that leave out one structure each",
        "",
        "  <q>(i) = sum_j g(r_ij) q(j) / sum_j g(r_ij), over i itself (r = 0) and all j",
        f"  g(r) = exp(-r^2 / (2 {config.smoothing:g}^2)) s(r; {middle:g}, {model.cutoff_ramp:g})",
        "  r in angstrom; x = r_ij / d, with d, angstrom: " + ", ".join(of_pairs),
        "  s(x; c, w) = u^2 (3 - 2 u), u = (c + w/2 - x) / w, at least 0 and at most 1",
    ]
    if model.degree > 0:
        end, width = model.shell_end, model.shell_ramp
        lines += [
            "  Q_l(i) = sum_jk h_j h_k P_l(cos of angle jik) / (sum_j h_j)^2, with Legendre's P_l",
            f"  h_j = s(x; {end:g}, {width:g}); the sum is at least {model.smallest_total:g}",
        ]
    return "\n".join(lines)


def _written(term: Term, model: Formula) -> str:
    """A quantity in symbols."""
    over = f"sum over {term.neighbors} j" if term.neighbors else "sum_j"
    bond = f"s(x; {model.bond_end:g}, {model.bond_ramp:g})"
    value = term.value or 0.0
    if term.quantity == "bonding":
        return f"{over} [2 exp(-{value:g} (x - 1)) - exp(-{2.0 * value:g} (x - 1))] {bond}"
    if term.quantity == "density":
        end = f"s(x; {model.density_end:g}, {model.density_ramp:g})"
        return f"{over} exp(-(x - {value:g})^2 / (2 {model.density_width:g}^2)) {end}"
    if term.quantity == "count":
        return f"{over} s(x; {value:g}, {model.count_ramp:g})"
    if term.quantity == "stretch":
        return f"{over} max(0, x - 1) {bond}"
    if term.quantity == "compression":
        return f"{over} max(0, 1 - x)^2"
    return f"Q_{value:g}" + (f", of {term.neighbors} j alone" if term.neighbors else "")
