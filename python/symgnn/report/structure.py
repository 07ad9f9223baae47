"""The page about a structure: its atoms in three dimensions, statistics, and where it is from."""

from __future__ import annotations

import hashlib
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.geometry import complete_cell

from symgnn import keys
from symgnn.annotator import NOVEL, USUAL_SHARE, missing_cell
from symgnn.errors import StructureError
from symgnn.plots.frames import all_zero
from symgnn.report.frames import (
    QUANTILES,
    EnsureBarriers,
    Frames,
    finite_barriers,
    read_frames,
    share_of_novel,
)
from symgnn.report.page import definitions, file_date, table, tiles, warning, write_page
from symgnn.report.structure_data import atom_data, explanation_data, frame_data
from symgnn.structures import STANDARD_STREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from symgnn.explain import Explanation

_SCRIPTS = (
    "vendor/three.min.js",
    "vendor/plot.min.js",
    "templates/common.js",
    "templates/glass_view.js",
    "templates/structure.js",
)

MOST_EXPLAINED = 100
"""Explained atoms on a page: of each the page holds some 20 kB, and offers a button."""


def report_structure(
    source: str,
    output: Path,
    *,
    model: str | None = None,
    column: str = keys.ENERGY_BARRIER,
    explanations: Path | None = None,
    elements: Sequence[str] | None = None,
    frame: int = -1,
    device: str = "auto",
    threads: int = 0,
    report: Callable[[int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> str:
    """Write the page about a structure, or about one frame of a trajectory.

    Args:
        source: a file that :func:`iterate_structures` reads.
        output: HTML file.
        model: predicts the barriers; None keeps those of the file, and predicts with ``cuzr``
            where there is no ``energy_barrier``.
        column: per-atom column with the barriers, such as the ``c_barrier`` of a LAMMPS dump.
        explanations: a file that ``symgnn explain`` wrote for this structure; its first
            ``MOST_EXPLAINED`` atoms are on the page.
        elements: chemical symbol of each LAMMPS atom type.
        frame: which frame of a trajectory; negative numbers count from the end.
        device: as in :class:`Annotator`.
        threads: as in :class:`Annotator`.
        report: called with the number of frames read so far.
        say: called with one line if ``cuzr`` predicts because the file has no barriers, and if
            frames are left out because all their barriers are 0.

    Returns:
        One line about what is on the page.

    Raises:
        StructureError: the file cannot be read, has no such frame, or not one number per atom in
            the column; or the explanations belong to another structure.
        ModelError: the model cannot be used.
        SymGNNError: the page cannot be written.
    """
    ensure = EnsureBarriers(model, device, threads, say)
    frames = read_frames(source, column, elements, frame, ensure, report)
    left_out = frames.count - len(frames.statistics)
    if left_out and say is not None:
        say(f"{left_out} of {frames.count} frames are left out over time: {all_zero(column)}")
    atoms = frames.atoms
    read = [] if explanations is None else _read_explanations(explanations, atoms, source)
    name = "standard input" if source == STANDARD_STREAM else Path(source).name
    share = share_of_novel(atoms)
    write_page(
        output,
        "structure",
        title=name,
        parts={
            "subtitle": html.escape(_subtitle(atoms, frames)),
            "tiles": tiles(_tiles(atoms, share)),
            "warning": warning(_novelty_warning(atoms, share))
            + warning(_model_warning(atoms, explanations)),
            "table": table(*_summary(atoms)),
            "novelty": html.escape(_novelty_line(share)),
            "provenance": definitions(
                _provenance(source, column, frames, ensure, explanations, read)
            ),
        },
        data={
            **atom_data(atoms),
            "name": name,
            "novel": NOVEL,
            "frames": frame_data(frames),
            "explanations": [explanation_data(each) for each in read[:MOST_EXPLAINED]],
        },
        scripts=_SCRIPTS,
    )
    barrier = finite_barriers(atoms)
    line = f"{len(atoms)} atoms, energy barrier {barrier.mean():.3f} ± {barrier.std():.3f} eV"
    if len(read) > MOST_EXPLAINED:
        return f"{line}, the first {MOST_EXPLAINED} of {len(read)} explained atoms"
    return f"{line}, {len(read)} explained" if read else line


# --- reading ----------------------------------------------------------------------------------


def _read_explanations(path: Path, atoms: Atoms, source: str) -> list[Explanation]:
    from symgnn.explain import read_explanations

    explanations = read_explanations(path)
    for each in explanations:
        if not _belongs(each, atoms):
            raise StructureError(
                f"{path} explains an atom {each.atom} with other surroundings than in {source}:"
                " give the structure that was explained"
            )
    return explanations


def _belongs(explanation: Explanation, atoms: Atoms) -> bool:
    """Whether the explained atom and those around it are at the same places in a structure."""
    from symgnn.explain.explanation import SAME_PLACE

    numbers = np.asarray(explanation.atoms)
    if numbers.min() < 0 or numbers.max() >= len(atoms):
        return False
    there = atoms.positions[numbers] - atoms.positions[explanation.atom]
    apart = there - np.asarray(explanation.positions)
    cell = np.asarray(complete_cell(atoms.cell.array))
    if np.linalg.matrix_rank(cell) == 3:
        apart -= (np.linalg.solve(cell.T, apart.T).T.round() * atoms.pbc) @ cell
    return bool(np.linalg.norm(apart, axis=1).max() < SAME_PLACE)


# --- numbers ----------------------------------------------------------------------------------


def _subtitle(atoms: Atoms, frames: Frames) -> str:
    count = frames.count
    where = f" · frame {frames.number} of {count}, counted from 0" if count > 1 else ""
    return f"{_formula(atoms)} · {len(atoms):,} atoms{where}"


def _formula(atoms: Atoms) -> str:
    """``Cu64Zr36``: percent of the atoms, or the plain symbols where those are no whole numbers."""
    symbols, counts = np.unique(atoms.get_chemical_symbols(), return_counts=True)
    percent = 100 * counts / len(atoms)
    if np.abs(percent - percent.round()).max() < 0.05 and len(symbols) > 1:
        return "".join(f"{s}{p:.0f}" for s, p in zip(symbols, percent, strict=True))
    return " ".join(symbols)


def _tiles(atoms: Atoms, share: float | None) -> dict[str, str]:
    barrier = finite_barriers(atoms)
    low, high = np.quantile(barrier, [0.05, 0.95])
    entries = {
        "mean energy barrier": f"{barrier.mean():.3f} eV",
        "standard deviation": f"{barrier.std():.3f} eV",
        "5% of atoms are below": f"{low:.3f} eV",
        "5% of atoms are above": f"{high:.3f} eV",
    }
    if share is not None:
        entries["atoms out of distribution"] = f"{share:.1%}"
    return entries


def _summary(atoms: Atoms) -> tuple[list[str], list[list[str]]]:
    """Statistics for each element and for all atoms."""
    symbols = np.array(atoms.get_chemical_symbols())
    barrier = atoms.arrays[keys.ENERGY_BARRIER]
    std, novelty = (
        atoms.arrays.get(name) for name in (keys.ENERGY_BARRIER_STD, keys.ENERGY_BARRIER_OOD)
    )
    headings = ["element", "atoms", "mean", "sd", "lowest", *(f"{q:.0%}" for q in QUANTILES)]
    headings += ["highest"]
    headings += [] if std is None else ["mean std"]
    headings += [] if novelty is None else [f"ood > {NOVEL:g}"]
    rows = []
    kinds = np.unique(symbols).tolist()
    for kind in [*kinds, "all"] if len(kinds) > 1 else kinds:
        chosen = (symbols == kind) | (kind == "all")
        values = barrier[chosen & np.isfinite(barrier)]
        row = [kind, f"{chosen.sum():,}"]
        if len(values):
            numbers = [values.mean(), values.std(), values.min()]
            numbers += [*np.quantile(values, QUANTILES), values.max()]
            row += [f"{number:.3f}" for number in numbers]
        else:
            row += ["–"] * (len(QUANTILES) + 4)
        if std is not None:
            stated = std[chosen & np.isfinite(std)]
            row.append(f"{stated.mean():.3f}" if len(stated) else "–")
        row += [] if novelty is None else [f"{(novelty[chosen] > NOVEL).mean():.1%}"]
        rows.append(row)
    return headings, rows


def _novelty_line(share: float | None) -> str:
    if share is None:
        return (
            f"Nothing here says whether the model knows such surroundings: there is no column"
            f" {keys.ENERGY_BARRIER_OOD}."
        )
    return (
        f"{share:.1%} of the atoms have surroundings unlike those the model was trained on"
        f" ({keys.ENERGY_BARRIER_OOD} > {NOVEL:g}); in glasses like the training set, 2 to 4% do."
    )


def _novelty_warning(atoms: Atoms, share: float | None) -> str:
    if share is None or share <= USUAL_SHARE:
        return ""
    return (
        f"Do not trust these barriers: {share:.0%} of the atoms have surroundings unlike those that"
        f" the model was trained on; {missing_cell(atoms)}is this an energy minimum, or an average"
        " over 1 ps, of the same alloy and density?"
    )


def _model_warning(atoms: Atoms, explanations: Path | None) -> str:
    """Explanations of another model than the one that predicted the barriers, if both are known."""
    from symgnn.explain import read_provenance

    if explanations is None or keys.MODEL_SHA256 not in atoms.info:
        return ""
    explained = read_provenance(explanations).model
    if explained["sha256"] == atoms.info[keys.MODEL_SHA256]:
        return ""
    return (
        f"The explanations are of another model ({explained['name']}) than the barriers"
        f" ({atoms.info.get(keys.MODEL, 'unnamed')}): do not compare them. Explain with the model"
        " of the barriers."
    )


def _provenance(
    source: str,
    column: str,
    frames: Frames,
    ensure: EnsureBarriers,
    path: Path | None,
    explanations: list[Explanation],
) -> dict[str, str]:
    info, count = frames.atoms.info, frames.count
    model = str(info.get(keys.MODEL, ""))
    entries = {
        "Structure": Path(source).name if source != STANDARD_STREAM else "standard input",
        "Structure, date of file": file_date(Path(source)),
        "Structure, sha256": _checksum(Path(source)),
        "Frame": f"{frames.number} of {count}, counted from 0" if count > 1 else "",
        "Time step": str(info.get("timestep", "")),
    }
    if ensure.annotator is not None:
        entries["Barriers"] = f"predicted for this page ({ensure.annotator.position_note})"
        entries["Computed on"] = ensure.annotator.device
    elif model:
        entries["Barriers"] = "predicted before, as the file says"
    else:
        entries["Barriers"] = f"column {column} of the file, which names no model: labels, perhaps"
    entries |= {"Model": model, "Model, sha256": str(info.get(keys.MODEL_SHA256, ""))}
    if ensure.annotator is not None:
        entries |= _model_settings(ensure.annotator.metadata)
    if path is not None:
        entries["Explanations"] = f"{path.name}, {len(explanations)} atoms"
        entries["Explanations, date of file"] = file_date(path)
        entries |= _explanation_settings(path)
        entries["Explanations, sha256"] = _checksum(path)
    return entries


def _explanation_settings(path: Path) -> dict[str, str]:
    from symgnn.explain import read_provenance

    origin = read_provenance(path)
    return {
        "Explanations, model": f"{origin.model['name']}, sha256 {origin.model['sha256']}",
        "Explanations, settings": ", ".join(
            [*(f"{name} {value}" for name, value in origin.settings.items()), f"seed {origin.seed}"]
        ),
        "Explanations, written with": f"SymGNN {origin.symgnn}",
    }


def _model_settings(metadata: dict[str, Any]) -> dict[str, str]:
    training = metadata.get("training") or {}
    settings = (training.get("config") or {}).get("model") or {}
    held_out = training.get("held_out") or training.get("validation") or {}
    scores = [
        f"{name} {held_out[key]:.3f}{unit}"
        for name, key, unit in (("Pearson", "pearson", ""), ("MAE", "mae", " eV"))
        if key in held_out
    ]
    return {
        "Model, architecture": str(settings.get("architecture", "")),
        "Model, elements": ", ".join(metadata["elements"]),
        "Model, cutoff": f"{metadata['cutoff']:g} Å",
        "Model, own scores": ", ".join(scores),
        "Model, written with": f"SymGNN {metadata.get('symgnn_version', '?')},"
        f" torch {metadata.get('torch_version', '?')}",
    }


def _checksum(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
