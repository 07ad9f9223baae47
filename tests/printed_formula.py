"""A printed formula, read from its text and computed with NumPy: nothing of the model is used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.neighborlist import neighbor_list
from numpy.polynomial import legendre

if TYPE_CHECKING:
    from ase import Atoms

NUMBER = r"(-?[\d.]+(?:e[-+]?\d+)?)"


@dataclass
class PrintedFormula:
    """What `symgnn info` printed.

    Args:
        text: the lines, as a reader copies them.
    """

    text: str

    def numbers(self, pattern: str) -> list[float]:
        """The numbers of the one place that ``pattern`` describes, where # stands for a number."""
        (found,) = re.findall(pattern.replace("#", NUMBER), self.text)
        return [float(value) for value in ([found] if isinstance(found, str) else found)]

    def __call__(self, atoms: Atoms) -> np.ndarray:
        """Barriers [N], eV."""
        smoothing, end, width = self.numbers(r"g\(r\) = exp\(-r\^2 / \(2 #\^2\)\) s\(r; #, #\)")
        symbols = np.array(atoms.get_chemical_symbols())
        i, j, r, vector = neighbor_list("ijdD", atoms, end + width)
        lengths = {
            frozenset(pair): float(value)
            for value, *pair in re.findall(NUMBER + r" \((\w+)-(\w+)\)", self.text)
        }
        d = np.array(
            [lengths[frozenset(pair)] for pair in zip(symbols[i], symbols[j], strict=True)]
        )
        bonds = Bonds(i, r / d.reshape(r.shape), symbols[j], vector, len(atoms))
        weight = np.exp(-(r**2) / (2.0 * smoothing**2)) * step(r, end, width)
        barrier = np.array([dict(self.intercepts())[symbol] for symbol in symbols])
        for coefficient, written in self.terms():
            q = self.quantity(written, bonds)
            total = q + np.bincount(i, weight * q[j], minlength=len(atoms))
            barrier += coefficient * total / (1.0 + np.bincount(i, weight, minlength=len(atoms)))
        return barrier

    def intercepts(self) -> list[tuple[str, float]]:
        """E0, eV, by element."""
        block = self.text.split("E0, eV:\n")[1].split("  c_k")[0]
        return [(symbol, float(value)) for symbol, value in re.findall(r"(\w+)\s+" + NUMBER, block)]

    def terms(self) -> list[tuple[float, str]]:
        """Coefficient, eV, and quantity in symbols."""
        block = self.text.split("without unit:\n")[1].split("  +-:")[0]
        lines = [re.split(r"\s+", line.strip(), maxsplit=3) for line in block.splitlines()]
        return [(float(coefficient), written) for coefficient, _, _, written in lines]

    def quantity(self, written: str, bonds: Bonds) -> np.ndarray:
        """q(i) [N] from its symbols."""
        chosen = np.ones(len(bonds.x), bool)
        if element := re.search(r"(?:sum over|of) (\w+) j", written):
            chosen = bonds.symbols == element[1]
        if degree := re.match(r"Q_(\d+)", written):
            end, width = self.numbers(r"h_j = s\(x; #, #\)")
            (least,) = self.numbers(r"at least #$")
            return bonds.order(int(degree[1]), chosen * step(bonds.x, end, width), least)
        expression = re.sub(r"^sum_j |^sum over \w+ j ", "", written)
        names = {"x": bonds.x, "exp": np.exp, "max": np.maximum, "s": step}
        expression = expression.replace("[", "(").replace("]", ")").replace("^", "**")
        expression = re.sub(r"; ", ", ", expression)
        expression = re.sub(r"(\d|\)) (?=[(\w])", r"\1 * ", expression)
        return bonds.sum(chosen * eval(expression, {"__builtins__": {}}, names))


@dataclass
class Bonds:
    """Pairs of neighbors: center, scaled length, symbol of the neighbor, vector; N atoms."""

    center: np.ndarray
    x: np.ndarray
    symbols: np.ndarray
    vector: np.ndarray
    count: int

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Over the bonds of each atom, [N]."""
        return np.bincount(self.center, values, minlength=self.count)

    def order(self, degree: int, h: np.ndarray, least: float) -> np.ndarray:
        """Q_l: all pairs of bonds of an atom, by the angle between them."""
        polynomial = legendre.Legendre.basis(degree)
        result = np.zeros(self.count)
        for atom in range(self.count):
            mine = (self.center == atom) & (h > 0.0)
            direction = self.vector[mine] / np.linalg.norm(self.vector[mine], axis=1)[:, None]
            pairs = polynomial((direction @ direction.T).clip(-1.0, 1.0))
            result[atom] = h[mine] @ pairs @ h[mine] / max(h[mine].sum(), least) ** 2
        return result


def step(x: np.ndarray, c: float, w: float) -> np.ndarray:
    """s(x; c, w)."""
    u = ((c + 0.5 * w - x) / w).clip(0.0, 1.0)
    return u**2 * (3.0 - 2.0 * u)
