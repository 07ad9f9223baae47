"""What the scripts of the page about a structure read: atoms, frames, explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.geometry import complete_cell

from symgnn import keys
from symgnn.errors import StructureError
from symgnn.landscape.structure_report import radial_distribution
from symgnn.plots.style import element_color
from symgnn.report.page import packed

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from symgnn.explain import Explanation
    from symgnn.report.frames import Frames

_COLORS = mpl.colormaps["inferno_r"](np.linspace(0.04, 0.86, 256))[:, :3]
_RADIUS = 0.9  # of the covalent radius: neighbors touch
_SHELL, _MOST_FOR_SHELL = 3.7, 20_000
"""Å, first shell of Cu–Zr: where neighbors end at first if g(r) cannot be had or is of more atoms,
whose pairs would take longer and more memory (2 GB for 80,000 atoms) than all else."""
_FARTHEST = 7.0
"""Å; neighbors are listed up to here at most."""
_TOP_SHARE = 0.1
_MOST_EDGES = 300
"""Edges of one explanation that the page carries: the strongest by each measure."""


def atom_data(atoms: Atoms) -> dict[str, Any]:
    """Places from the origin of the cell, elements and barriers of atoms, wrapped into it.

    Raises:
        StructureError: more elements than one page tells apart.
    """
    shown, origin = _in_full_cell(atoms)
    numbers, species = np.unique(shown.numbers, return_inverse=True)
    if len(numbers) > np.iinfo(np.uint8).max:
        raise StructureError(f"{len(numbers)} elements are too many for one page")
    identifiers = atoms.arrays.get("id", np.zeros(0))
    return {
        "positions": packed(shown.positions, "float32"),
        "origin": origin.tolist(),
        "species": packed(species, "uint8"),
        "elements": [
            {
                "symbol": chemical_symbols[number],
                "color": element_color(chemical_symbols[number]),
                "radius": round(_RADIUS * float(covalent_radii[number]), 3),
            }
            for number in numbers
        ],
        "cell": shown.cell.array.tolist() if shown.cell.rank == 3 else None,
        "periodic": [bool(each) for each in shown.pbc],
        "barrier": packed(atoms.arrays[keys.ENERGY_BARRIER], "float32"),
        "std": _column(atoms, keys.ENERGY_BARRIER_STD),
        "ood": _column(atoms, keys.ENERGY_BARRIER_OOD),
        "identifiers": packed(identifiers, "int32") if identifiers.dtype.kind == "i" else None,
        "colors": packed((255 * _COLORS).round(), "uint8"),
        "shell": _first_shell(shown),
        "farthest": _FARTHEST,
    }


def _in_full_cell(atoms: Atoms) -> tuple[Atoms, NDArray[np.float64]]:
    """Atoms wrapped into a cell at the origin, and where that lies in the structure [3], Å.

    An open direction of a slab or wire without a cell vector gets one that spans the atoms.
    """
    shown, origin = atoms.copy(), np.ravel(atoms.get_celldisp())
    missing = ~shown.cell.array.any(axis=1)
    if missing.any() and shown.pbc.any() and not shown.pbc[missing].any():
        cell = np.asarray(complete_cell(shown.cell.array))
        heights = (shown.positions - origin) @ cell[missing].T
        origin = origin + heights.min(axis=0) @ cell[missing]
        cell[missing] *= np.maximum(np.ptp(heights, axis=0), 1.0)[:, None]
        shown.cell = cell
    shown.positions -= origin
    if shown.cell.rank == 3:
        shown.wrap()
    return shown, origin


def _column(atoms: Atoms, name: str) -> dict[str, str] | None:
    values = atoms.arrays.get(name)
    return None if values is None else packed(values, "float32")


def _first_shell(atoms: Atoms) -> float:
    """First minimum of g(r), Å, where the structure fills a cell."""
    if atoms.cell.rank < 3 or not 2 <= len(atoms) <= _MOST_FOR_SHELL:
        return _SHELL
    minimum = radial_distribution(atoms).first_minimum
    return round(minimum, 2) if 2.0 < minimum < _FARTHEST else _SHELL


def frame_data(frames: Frames) -> dict[str, Any] | None:
    """Statistics over the frames of a trajectory; None for a single structure."""
    rows = frames.statistics
    if len(rows) < 2:
        return None
    times = np.array([row.timestep for row in rows])
    timed = bool(np.isfinite(times).all() and (np.diff(times) > 0).all())
    novel = [row.novel for row in rows]
    return {
        "axis": "time step" if timed else "frame",
        "at": times.tolist() if timed else [row.number for row in rows],
        "mean": [row.mean for row in rows],
        "quantiles": np.array([row.quantiles for row in rows]).T.tolist(),
        "novel": None if None in novel else novel,
        "chosen": [row.number for row in rows].index(frames.number),
    }


def explanation_data(explanation: Explanation) -> dict[str, Any]:
    """The strongest edges by each measure, and the atoms at their ends."""
    importance = np.asarray(explanation.importance, dtype=np.float64)
    gradients = np.asarray(explanation.integrated_gradients, dtype=np.float64)
    chosen = np.union1d(_strongest(importance), _strongest(gradients))
    edges = np.asarray(explanation.edges)[chosen]
    kept, numbers = np.unique(edges, return_inverse=True)
    if 0 not in kept:  # the target, from which positions are counted
        kept, numbers = np.concatenate([[0], kept]), numbers + 1
    left_out = np.asarray(explanation.leave_one_out, dtype=np.float64)
    tried = np.flatnonzero(np.isfinite(left_out))
    atoms, positions = np.asarray(explanation.atoms), np.asarray(explanation.positions)
    return {
        "atom": int(explanation.atom),
        "prediction": float(explanation.prediction),
        "total": len(importance),
        "fidelity": _fidelity(explanation),
        "atoms": packed(atoms[kept], "int32"),
        "positions": packed(positions[kept], "float32"),
        "edges": packed(numbers.reshape(-1, 2), "int32"),
        "importance": packed(importance[chosen], "float32"),
        "gradients": packed(gradients[chosen], "float32"),
        "left_out": {
            "atoms": packed(atoms[tried], "int32"),
            "positions": packed(positions[tried], "float32"),
            "change": packed(left_out[tried], "float32"),
        },
    }


def _fidelity(explanation: Explanation) -> dict[str, float] | None:
    """Change of the barrier, eV, without the top tenth of the edges, and without random ones.

    Random ones share lengths and steps from the atom with the top, or only lengths.
    """
    curves = explanation.fidelity
    if not len(curves.share):
        return None
    place = int(np.argmin(np.abs(curves.share - _TOP_SHARE)))
    values = {
        "share": float(curves.share[place]),
        "top": float(curves.drop[place]),
        "same_lengths": float(curves.drop_random[place]),
        "same_steps": float(curves.drop_random_same_hop[place]),
    }
    return values if np.isfinite(list(values.values())).all() else None


def _strongest(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:_MOST_EDGES]
