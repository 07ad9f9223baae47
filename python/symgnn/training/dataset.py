"""Labeled structures as graphs in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from symgnn._native import load_core
from symgnn.columns import is_number_per_atom
from symgnn.elements import check_elements
from symgnn.errors import ConfigError, DatasetError, StructureError
from symgnn.graph import Graph, build_graph
from symgnn.label_columns import label_candidates, label_of
from symgnn.open_data import PREFIX, open_data
from symgnn.structures import STANDARD_STREAM, read_structures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import ase
    from numpy.typing import NDArray


_EXAMPLE_ATOMS = 100


@dataclass(frozen=True)
class LabeledGraph:
    """A graph with the label [N] of its atoms, eV; NaN where there is none.

    ``weight`` [N] says how much each label counts: 1 on average, 0 without a label.
    """

    graph: Graph
    label: Tensor
    weight: Tensor
    name: str


@dataclass(frozen=True)
class LabeledFile:
    """The structures of one file, and the file's checksum for the record."""

    name: str
    """As in the configuration, or the path."""
    structures: list[ase.Atoms]
    sha256: str
    label_error: str | None = None
    """Name of the column with the standard error of labels."""

    def in_spatial_order(self) -> LabeledFile:
        """The same with the atoms of every structure in spatial order."""
        return replace(self, structures=[in_spatial_order(atoms) for atoms in self.structures])


def checksum(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits; empty for standard input, which is read once."""
    if str(path) == STANDARD_STREAM:
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Parts = dict[str, dict[str, LabeledFile]]
"""Files by part of the data (train, validation, thermal) and name in the configuration."""


def read_parts(
    names: Mapping[str, Sequence[str]], base: Path, label: str, error: str | None = None
) -> Parts:
    """Read the labeled files of a configuration, each of which may stand in it once.

    Args:
        names: of the files in each part, as in the configuration.
        base: folder of the configuration.
        label: name of the per-atom column.
        error: name of the column with the standard error of labels in the files of ``train``, if
            there is one.

    Raises:
        ConfigError: a file is named twice, or has the content of another.
        DatasetError, StructureError: as :func:`read_labeled`.
    """
    places = [(part, name) for part in names for name in names[part]]
    paths = [located(base, name) for _, name in places]
    _refuse_repeated(places, [str(path.resolve()) for path in paths])
    files = [
        replace(read_labeled(path, label, error if part == "train" else None), name=name)
        for path, (part, name) in zip(paths, places, strict=True)
    ]
    _refuse_repeated(places, [file.sha256 for file in files])
    parts: Parts = {part: {} for part in names}
    for (part, name), file in zip(places, files, strict=True):
        parts[part][name] = file
    return parts


def located(base: Path, name: str) -> Path:
    """The file that a configuration in the folder ``base`` names.

    Raises:
        ConfigError: ``open-data:`` before a name that the open dataset has not.
    """
    return open_data(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else base / name


def _refuse_repeated(places: Sequence[tuple[str, str]], identities: Sequence[str]) -> None:
    first: dict[str, tuple[str, str]] = {}
    for (part, name), identity in zip(places, identities, strict=True):
        if identity in first:
            other_part, other = first[identity]
            raise ConfigError(
                f"data.{part}: {name} is the same as {other} in data.{other_part}; "
                "name every file once"
            )
        first[identity] = (part, name)


def checksums_of(parts: Parts) -> dict[str, dict[str, str]]:
    """SHA-256 of every file by part and name, for the record."""
    return {
        part: {name: file.sha256 for name, file in files.items()} for part, files in parts.items()
    }


def choose_elements(wanted: Sequence[str] | None, files: Iterable[LabeledFile]) -> list[str]:
    """Chemical symbols in the order of species: those wanted, or those of the files, sorted.

    Raises:
        ConfigError: one that is no chemical symbol, or stands there twice.
    """
    if not wanted:
        structures = [atoms for file in files for atoms in file.structures]
        return sorted({symbol for atoms in structures for symbol in atoms.symbols.species()})
    try:
        check_elements(wanted)
    except StructureError as error:
        raise ConfigError(f"data.elements: {error}") from error
    if len(set(wanted)) < len(wanted):
        raise ConfigError("data.elements: an element stands there twice; name each once")
    return list(wanted)


def read_labeled(path: Path, label: str, error: str | None = None) -> LabeledFile:
    """Read structures that carry the per-atom array ``label``.

    Args:
        path: anything `symgnn annotate` reads.
        label: name of the per-atom column.
        error: name of the column with the standard error of labels, if there is one.

    Raises:
        DatasetError: a column is missing, no atom has a label, or a label has no error.
        StructureError: the file cannot be read.
    """
    structures = read_structures(path)
    for number, atoms in enumerate(structures):
        where = f"{path}" if len(structures) == 1 else f"{path}, structure {number}"
        if label_of(atoms, label, where) is None:
            raise DatasetError(
                f"{where} has no per-atom column {label!r} (columns there: "
                f"{label_candidates(atoms)}); name yours with data.label=COLUMN"
            )
        if error is not None:
            _check_errors(atoms, label, error, where)
    if not any((~np.isnan(atoms.arrays[label].astype(float))).any() for atoms in structures):
        raise DatasetError(f"{path}: every value of column {label!r} is NaN, nothing is labeled")
    return LabeledFile(str(path), structures, checksum(path), error)


def _check_errors(atoms: ase.Atoms, label: str, error: str, where: str) -> None:
    """Whether every label has a standard error."""
    values = atoms.arrays.get(error)
    if values is None:
        raise DatasetError(
            f"{where} has no per-atom column {error!r} (columns there: {label_candidates(atoms)});"
            " leave data.label_error out where labels have no errors"
        )
    known = ~np.isnan(atoms.arrays[label].astype(float))
    numbers = is_number_per_atom(values, atoms)
    if not numbers or not np.isfinite(values[known]).all() or (values[known] < 0.0).any():
        raise DatasetError(
            f"{where}: column {error!r} is not a standard error for each label, a number from 0 up:"
            " search on until some atom has two connected saddles, or leave data.label_error out"
        )


def spatial_order(atoms: ase.Atoms) -> NDArray[np.int64]:
    """Numbers [N] of the atoms in their order along a space-filling curve.

    Neighbors are then close in memory: a tenth of an epoch of the paper's network. A structure with
    positions that are not finite stays as it is, so that whoever refuses it names the right atom.
    """
    if not np.isfinite(atoms.positions).all():
        return np.arange(len(atoms))
    order: NDArray[np.int64] = load_core().spatial_order(
        atoms.positions, atoms.cell.array, atoms.pbc
    )
    return order


def in_spatial_order(atoms: ase.Atoms) -> ase.Atoms:
    """The same structure, labels included, with its atoms in :func:`spatial_order`."""
    ordered: ase.Atoms = atoms[spatial_order(atoms)]
    return ordered


def weights(
    labels: Sequence[NDArray[np.float64]], errors: Sequence[NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """How much each label counts that is known up to a standard error.

    s² / (s² + error²), the share of a label that is real, where s² is the variance of labels within
    structures beyond their errors, at least a tenth of all. Scaled to 1 on average over all labels.

    Args:
        labels: [N] of each structure, eV; NaN where there is none.
        errors: [N] of each structure, eV.

    Returns:
        [N] of each structure; 0 where there is no label.
    """
    known = [~np.isnan(label) for label in labels]
    square = [np.square(error[there]) for error, there in zip(errors, known, strict=True)]
    values = [label[there] for label, there in zip(labels, known, strict=True)]
    variance = np.concatenate([value - value.mean() for value in values]).var()
    real = max(variance - np.concatenate(square).mean(), 0.1 * variance)
    share = [np.ones_like(part) if real == 0.0 else real / (real + part) for part in square]
    mean = np.concatenate(share).mean()
    found = [np.zeros(label.shape) for label in labels]
    for weight, there, part in zip(found, known, share, strict=True):
        weight[there] = part / mean
    return found


def labeled_structures(
    files: Sequence[LabeledFile], label: str
) -> list[tuple[str, ase.Atoms, LabeledFile]]:
    """Name, atoms and file of every structure in which some atom has a label."""
    return [
        (file.name if len(file.structures) == 1 else f"{file.name}:{number}", atoms, file)
        for file in files
        for number, atoms in enumerate(file.structures)
        if not np.isnan(atoms.arrays[label].astype(float)).all()
    ]


def example_of(parts: Parts, label: str, elements: Sequence[str]) -> dict[str, Tensor]:
    """A structure of training for the checkpoint, which an export is tried on.

    The smallest that has all elements and some hundred atoms; failing that, the one with most of
    the elements, and of those the largest.

    Args:
        parts: of the data.
        label: name of the per-atom column.
        elements: chemical symbols of the model.

    Returns:
        ``numbers`` [N], ``positions`` [N, 3] and ``cell`` [3, 3], Å, and ``pbc`` [3].
    """
    every = [atoms for _, atoms, _ in labeled_structures(list(parts["train"].values()), label)]
    whole = [
        atoms
        for atoms in every
        if len(atoms) >= _EXAMPLE_ATOMS and len(atoms.symbols.species()) == len(elements)
    ]
    atoms = (
        min(whole, key=len)
        if whole
        else max(every, key=lambda atoms: (len(atoms.symbols.species()), len(atoms)))
    )
    return {
        "numbers": torch.from_numpy(atoms.numbers.astype(np.int64)),
        "positions": torch.from_numpy(atoms.positions.copy()),
        "cell": torch.from_numpy(atoms.cell.array.copy()),
        "pbc": torch.from_numpy(atoms.pbc.copy()),
    }


def build_labeled_graphs(
    files: Sequence[LabeledFile],
    label: str,
    *,
    cutoff: float,
    elements: Sequence[str],
    self_edges: bool,
    device: torch.device,
) -> list[LabeledGraph]:
    """One graph for each of :func:`labeled_structures`, on ``device``, float32.

    Raises:
        DatasetError: an element that is not in ``elements``, positions or a cell that make no
            graph, or a structure with fewer than two edges.
    """
    named = labeled_structures(files, label)
    if not named:
        return []
    labels = [atoms.arrays[label].astype(float) for _, atoms, _ in named]
    errors = [
        np.zeros(len(atoms))
        if file.label_error is None
        else atoms.arrays[file.label_error].astype(float)
        for _, atoms, file in named
    ]
    graphs = []
    for (name, atoms, _), values, weight in zip(
        named, labels, weights(labels, errors), strict=True
    ):
        try:
            graph = build_graph(atoms, cutoff, elements, self_edges=self_edges)
        except StructureError as error:
            raise DatasetError(f"{name}: {error}") from error
        if len(atoms) < 2 or graph.edge_index.shape[1] < 2:
            raise DatasetError(
                f"{name}: fewer than two atoms or two neighbors within {cutoff:g} Å, from "
                "which nothing can be learned; leave this structure out"
            )
        target, importance = (
            torch.as_tensor(array, dtype=torch.float32, device=device) for array in (values, weight)
        )
        graphs.append(LabeledGraph(graph.to(device), target, importance, name))
    return graphs


def copies_of(
    structures: Sequence[LabeledGraph], copies: Sequence[LabeledGraph]
) -> list[list[int]]:
    """Numbers of the copies of each structure, told by equal elements and labels.

    Args:
        structures: with the atoms in the order of their files; so the copies.
        copies: the same atoms at other positions.

    Raises:
        ConfigError: a copy of no structure.
    """
    found: list[list[int]] = [[] for _ in structures]
    for number, copy in enumerate(copies):
        for item, own in zip(structures, found, strict=True):
            if torch.equal(copy.graph.species, item.graph.species) and torch.equal(
                copy.label.nan_to_num(), item.label.nan_to_num()
            ):
                own.append(number)
                break
        else:
            raise ConfigError(
                f"data.thermal: {copy.name} has the elements and labels of no structure in "
                "data.train, atom by atom in the same order"
            )
    return found


def merge(graphs: Sequence[LabeledGraph]) -> LabeledGraph:
    """One graph with several unconnected parts, so that a step can see several structures."""
    if len(graphs) == 1:
        return graphs[0]
    atoms = [len(item.graph.species) for item in graphs]
    offsets = np.cumsum([0, *atoms[:-1]])
    return LabeledGraph(
        Graph(
            torch.cat([item.graph.species for item in graphs]),
            torch.cat(
                [
                    item.graph.edge_index + int(offset)
                    for item, offset in zip(graphs, offsets, strict=True)
                ],
                dim=1,
            ),
            torch.cat([item.graph.edge_vector for item in graphs]),
        ),
        torch.cat([item.label for item in graphs]),
        torch.cat([item.weight for item in graphs]),
        "+".join(item.name for item in graphs),
    )
