"""Embedded-atom potentials, which ASE reads: their tables, and how stiff they hold a structure."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.calculators.eam import EAM
from scipy.interpolate import CubicHermiteSpline

from symgnn.errors import ConfigError
from symgnn.models.embedded_atom import INTERVALS, LOWEST, EmbeddedAtomForces, moved
from symgnn.potentials import write_potential

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from symgnn.graph import Graph
    from symgnn.models.relaxation import Relaxation

SHIPPED = "CuZr_2009"
_FORMS = (".alloy", ".fs")
_ITERATIONS = 30
"""Of a power iteration; the stiffest motion of a glass is found to a percent after half of them."""
_DISPLACEMENT = 1e-3
"""Å, rms, that forces are compared at."""


def potential_file(name: str, base: Path, elements: Sequence[str]) -> EAM:
    """Read an embedded-atom potential.

    Args:
        name: of the file, or ``CuZr_2009``.
        base: folder that relative names start from.
        elements: chemical symbols that it has to know.

    Raises:
        ConfigError: no such file, not such a potential, or one without these elements.
    """
    if name == SHIPPED:
        with tempfile.TemporaryDirectory() as folder:
            potential = _read(write_potential(folder))
    else:
        potential = _read(base / name)
    known = list(potential.elements)
    missing = sorted(set(elements) - set(known))
    if missing:
        raise ConfigError(
            f"potential: {name} knows {', '.join(known)}, not {', '.join(missing)}: name one that "
            "knows the data's elements"
        )
    return potential


def _read(path: Path) -> EAM:
    form = path.suffix.removeprefix(".")
    if path.suffix not in _FORMS:
        raise ConfigError(
            f"potential: {path.name} ends neither in .alloy nor in .fs, which say what kind of "
            "embedded-atom potential it is"
        )
    try:
        return EAM(potential=str(path), form=form)
    except OSError as error:
        raise ConfigError(f"potential: cannot read {path}: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise ConfigError(
            f"potential: {path} is no embedded-atom potential (eam/{form})"
        ) from error


def set_relaxation(
    relaxation: Relaxation, potential: EAM, elements: Sequence[str], graph: Graph, rate: float
) -> None:
    """Give a relaxation the potential that it is by, and the length of its steps.

    Args:
        relaxation: to be set.
        potential: as ``potential_file`` reads it.
        elements: chemical symbols, in the order of species.
        graph: a structure near its minimum, with edges beyond the potential's cutoff.
        rate: length of a step, in that to the minimum along the structure's stiffest motion.
    """
    set_potential(relaxation.forces, potential, elements)
    relaxation.mobility.fill_(rate / stiffest(relaxation.forces, graph))


def set_potential(forces: EmbeddedAtomForces, potential: EAM, elements: Sequence[str]) -> None:
    """Give forces the potential that they are by.

    Args:
        forces: to be set.
        potential: as ``potential_file`` reads it, with all elements.
        elements: chemical symbols, in the order of species.
    """
    source: Any = potential
    index = [list(source.elements).index(symbol) for symbol in elements]
    ends = LOWEST, float(source.cutoff) ** 2
    largest = float((source.nrho - 1) * source.drho)
    forces.cutoff.fill_(float(source.cutoff))
    forces.largest_density.fill_(largest)
    for a, center in enumerate(index):
        for b, neighbor in enumerate(index):
            row = a * len(index) + b
            added = (neighbor, center) if source.form == "fs" else neighbor
            forces.density[row] = _of_squares(source.electron_density[added], ends)
            forces.slope[row] = _of_squares(
                source.d_electron_density[added], ends, over_length=True
            )
            forces.pair[row] = _of_squares(source.d_phi[center, neighbor], ends, over_length=True)
        forces.embedding[a] = _table(source.d_embedded_energy[center], (0.0, largest))


def stiffest(forces: EmbeddedAtomForces, graph: Graph) -> float:
    """The largest eigenvalue of a structure's Hessian, eV/Å², by power iteration; at least 1."""
    forces = deepcopy(forces).double()
    species, edge_index, edge_vector = graph.inputs
    center, neighbor = edge_index
    edge_vector = edge_vector.double()
    generator = torch.Generator().manual_seed(0)
    motion = torch.randn(len(species), 3, generator=generator, dtype=torch.float64).to(edge_vector)
    size = 1.0

    def forces_at(displacement: torch.Tensor) -> torch.Tensor:
        vector = moved(edge_vector, displacement, center, neighbor)
        return forces.of_all(species, edge_index, vector)

    for _ in range(_ITERATIONS):
        motion *= _DISPLACEMENT / motion.square().sum(1).mean().sqrt()
        response = 0.5 * (forces_at(-motion) - forces_at(motion))
        size = float(response.norm() / motion.norm())
        if size == 0.0:
            break
        motion = response
    return max(size, 1.0)


def _of_squares(
    function: Callable[[Any], Any], ends: tuple[float, float], *, over_length: bool = False
) -> torch.Tensor:
    """Table of a function of the length, if wanted over the length, by squared lengths."""

    def of_square(square: NDArray[np.float64]) -> Any:
        length = np.sqrt(square)
        return function(length) / length if over_length else function(length)

    return _table(of_square, ends)


def _table(function: Callable[[Any], Any], ends: tuple[float, float]) -> torch.Tensor:
    """Cubic polynomials [INTERVALS, 4] that have the function's values and slopes at places."""
    places = np.linspace(*ends, INTERVALS + 1)
    width = places[1] - places[0]
    step = 1e-3 * width
    inner = np.clip(places, places[0] + step, places[-1] - step)
    slope = (function(inner + step) - function(inner - step)) / (2.0 * step)
    spline = CubicHermiteSpline(np.arange(len(places)), function(places), slope * width)
    return torch.from_numpy(spline.c[::-1].T.copy())
