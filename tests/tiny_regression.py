"""Density regressions small enough for tests: random, fitted, and labels that they can learn."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline

from conftest import random_glass
from symgnn.graph import build_graph
from symgnn.models import DensityRegression, DensityRegressionConfig
from symgnn.models.drag import INTERVALS, LOWEST
from symgnn.structures import write_structures
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import parse_config
from symgnn.training.embedded_atom import potential_file, set_potential
from symgnn.training.regression import Fit, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.eam import EAM

    from symgnn.models.drag import DragEnergies

ELEMENTS = ["Cu", "Zr"]
TINY: dict[str, Any] = {
    "architecture": "density_regression",
    "cutoff": 5.5,
    "radial": 6,
    "coarse": 2,
    "radii": [2.6, 3.4],
    "widths": [0.3, 0.4],
    "degree": 2,
    "angular_cutoff": 5.0,
    "shells": [3.7, 5.0],
    "components": 4,
}


DRAG: dict[str, Any] = {
    "reach": 4.0,
    "mobile": 4.0,
    "far": 2.8,
    "shell": 3.6,
    "relaxations": 2,
    "stride": 0.4,
    "strides": 3,
    "iterations": 2,
    "variances": True,
}
"""Dragging on TINY, with ``cutoff`` 8.5 and ``density_cutoff`` 5.5."""
RELAXATION: dict[str, Any] = {"steps": 4, "last_steps": 2}
TINY_DRAG: dict[str, Any] = {
    **TINY,
    "cutoff": 8.5,
    "density_cutoff": 5.5,
    "relaxation": RELAXATION,
    "drag": DRAG,
}


@cache
def shipped_potential() -> EAM:
    return potential_file("CuZr_2009", Path(), ELEMENTS)


def morse(drag: DragEnergies) -> None:
    """Pair energies of Morse's form (eV), with another depth for each pair of elements."""
    square = LOWEST + drag.spacing * torch.arange(INTERVALS, dtype=torch.float64)
    length = square.sqrt().requires_grad_()
    ramp = ((drag.reach - length) / 1.0).clamp(0.0, 1.0)
    for first in range(drag.elements):
        for second in range(drag.elements):
            decay = torch.exp(-1.5 * (length - 2.6 - 0.2 * (first + second)))
            depth = 0.2 + 0.1 * (first + second)
            energy = depth * (decay.square() - 2.0 * decay) * ramp.square() * (3.0 - 2.0 * ramp)
            (slope,) = torch.autograd.grad(energy.sum(), length, retain_graph=True)
            slope = slope / (2.0 * length) * drag.spacing
            spline = CubicHermiteSpline(
                np.arange(INTERVALS), energy.detach().numpy(), slope.detach().numpy()
            )
            drag.energy[first, second, :, :-1] = torch.from_numpy(spline.c[::-1].copy())
    drag.mobility.copy_(torch.linspace(0.15, 0.25, drag.elements))


def tiny_config(**changes: Any) -> DensityRegressionConfig:
    """Six radial Gaussians, two radii, degree 2: some two hundred features of two elements."""
    return DensityRegressionConfig.model_validate({**TINY, **changes})


def random_regression(
    config: DensityRegressionConfig, elements: int = 2, members: int = 1, seed: int = 0
) -> DensityRegression:
    """Random where a fit would put numbers, of such sizes that every output varies."""
    model = DensityRegression(config, elements, members).double()
    generator = torch.Generator().manual_seed(seed)

    def random(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64)

    if model.local.drag is not None:
        morse(model.local.drag)
    if model.relaxation is not None:
        known = ELEMENTS[:elements]
        set_potential(model.relaxation.forces, shipped_potential(), known)
        model.relaxation.mobility.fill_(0.03)
    model.local_mean.copy_(random(model.local_mean))
    model.local_scale.copy_(1.0 + random(model.local_scale).abs())
    model.weight.copy_(random(model.weight) / sum(model.sizes) ** 0.5)
    model.intercept.copy_(1.5 + random(model.intercept))
    model.noise.copy_(random(model.noise).abs())
    for name in ("local", "average"):
        center, whitening = getattr(model, f"{name}_center"), getattr(model, f"{name}_whitening")
        center.copy_(random(center))
        whitening.copy_(random(whitening) / whitening.shape[-1] ** 0.5)
    # Distances of order one in a dense structure, where the novelty is steepest.
    graph = build_graph(random_glass(3, seed=1), config.cutoff, ELEMENTS, dtype=torch.float64)
    species = torch.arange(len(graph.species)) % elements
    local = model.standardized(species, graph.edge_index, graph.edge_vector)[:, : model.own]
    for number in (0, 1):  # the second distance depends on the scale of the first
        distance = model.distances(local, species, graph.edge_index, graph.edge_vector)[number]
        model.distance_scale[number].fill_(float(distance.median()))
    return model.eval()


def write_labeled(path: Path, structures: Sequence[Atoms], labels: Sequence[Any]) -> None:
    """Write copies of structures with an energy barrier per atom; NaN where there is none."""
    copies = [atoms.copy() for atoms in structures]
    for atoms, label in zip(copies, labels, strict=True):
        atoms.arrays["energy_barrier"] = np.asarray(label, dtype=np.float64)
    write_structures(path, copies)


def coordination(atoms: Atoms) -> np.ndarray:
    """Barriers that follow from nearest neighbors: smooth coordination numbers, by element."""
    graph = build_graph(atoms, 5.0, ELEMENTS, dtype=torch.float64)
    center, neighbor = graph.edge_index.numpy()
    near = 1.0 / (1.0 + np.exp((graph.edge_vector.norm(dim=1).numpy() - 3.3) / 0.15))
    weight = near * np.where(graph.species.numpy()[neighbor] == 1, 1.5, 1.0)
    number = np.bincount(center, weight, minlength=len(atoms))
    return np.asarray(1.5 + 0.06 * (number - 7.0) - 0.2 * graph.species.numpy())


def fit_files(
    folder: Path, *, data: dict[str, Any] | None = None, **changes: Any
) -> tuple[Fit, DensityRegression]:
    """Fit ``train.xyz`` of a folder; what :func:`fit` returned, and the model of its checkpoint."""
    settings = parse_config(
        {
            "data": {"train": ["train.xyz"], "elements": ELEMENTS, **(data or {})},
            "model": {**TINY, **changes},
            "device": "cpu",
        },
        "test",
    )
    result = fit(settings, base=folder)
    model = restore_model(load_checkpoint(result.best), str(result.best))
    assert isinstance(model, DensityRegression)
    return result, model
