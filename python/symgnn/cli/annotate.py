"""``symgnn annotate``: structures in, the same structures with energy barriers out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symgnn.cli.options import (
    ChunkOption,
    DeviceOption,
    ElementsOption,
    ModelOption,
    ThreadsOption,
    element_names,
)
from symgnn.cli.progress import LateLine, late_line
from symgnn.errors import Interrupted, NovelStructureWarning, StructureError, SymGNNError

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray

    from symgnn.annotator import Annotator
    from symgnn.structures import StructureWriter

_SUFFIX_OF_FORMAT = {"extxyz": ".xyz", "lammps-dump": ".dump", "csv": ".csv"}


def annotate(
    structures: Annotated[
        list[str],
        typer.Argument(
            help="Files that ASE reads, LAMMPS data files and text dumps; - is standard input.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A file (.xyz, .dump, .lammpstrj, .csv; also .gz), a folder, or - for standard"
            " output. Without it, glass.data gives glass.barriers.xyz beside it.",
        ),
    ] = None,
    output_format: Annotated[
        str | None,
        typer.Option("--format", help="extxyz, lammps-dump or csv, where the name does not say."),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option("--suffix", help="Ending of outputs beside their inputs: .barriers.csv"),
    ] = None,
    model: ModelOption = "cuzr",
    elements: ElementsOption = None,
    index: Annotated[
        str, typer.Option("--index", help="Which structures of a trajectory: 0, -1, ::10.")
    ] = ":",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    chunk: ChunkOption = 0,
) -> None:
    """Add the energy barrier of every atom (eV) to structures, in any format.

    Barriers belong to energy minima. cuzr relaxes a copy of the atoms first; for other models
    annotate minimized structures or time averages, not instantaneous snapshots of a hot glass.

    The columns are energy_barrier, and energy_barrier_std and energy_barrier_ood where the model
    has them. What a file says there without naming a model may be labels, and is kept as
    energy_barrier_label. Other columns of one number per atom stay (in extended XYZ, all columns).

    Example: symgnn annotate glass.data --elements Cu Zr -o glass.xyz
    """
    from symgnn.annotator import Annotator

    if output is not None and suffix is not None:
        raise SymGNNError("--output and --suffix exclude each other: give one of them")
    targets = _targets(structures, output, suffix, output_format)
    annotator = Annotator(model, device=device, threads=threads, chunk=chunk)
    with late_line() as line:
        for source, target in zip(structures, targets, strict=True):
            _annotate_file(
                annotator, source, target, output_format, element_names(elements), index, line
            )


def _annotate_file(
    annotator: Annotator,
    source: str,
    target: str,
    output_format: str | None,
    elements: list[str] | None,
    index: str,
    line: LateLine,
) -> None:
    from symgnn.keys import ENERGY_BARRIER
    from symgnn.structures import (
        STANDARD_STREAM,
        StructureWriter,
        iterate_structures,
    )

    barriers: list[NDArray[np.float64]] = []
    labels = _Labels(source, line)
    layers = annotator.metadata["layers"]

    def show(layer: int, share: float) -> None:
        counted = f"{source} {len(barriers)} structures"
        line.show(f"{counted}, in the next: layer {layer + 1} of {layers}, {share:.0%}")

    writer = StructureWriter(target, output_format)
    try:
        with writer:
            for atoms in iterate_structures(source, elements=elements, index=index):
                labels.keep(atoms)
                try:
                    with warnings.catch_warnings(record=True) as caught:
                        warnings.simplefilter("always", NovelStructureWarning)
                        annotator.annotate(atoms, report=show)
                    for item in caught:
                        line.say(f"warning: {source}, structure {len(barriers)}: {item.message}")
                except SymGNNError as error:
                    raise StructureError(f"{source}, structure {len(barriers)}: {error}") from error
                writer.write(atoms)
                barriers.append(atoms.arrays[ENERGY_BARRIER])
                line.show(f"{source} {len(barriers)} structures")
            if not barriers:
                raise StructureError(f"{source}: --index {index} selects no structures")
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted {_kept(writer)}") from None
    except SymGNNError as error:
        if writer.partial is not None:
            raise type(error)(f"{error} ({_kept(writer)})") from error
        raise
    name = "standard output" if target == STANDARD_STREAM else target
    line.say(f"{source} → {name}: {_summary(barriers)} ({annotator.position_note})")


class _Labels:
    """Labels of one input, which predictions would otherwise take the place of."""

    def __init__(self, source: str, line: LateLine) -> None:
        self._source, self._line = source, line
        self._said = False

    def keep(self, atoms: Atoms) -> None:
        """Rename columns that may be labels, and say so once."""
        from symgnn.label_columns import keep_labels

        renamed = keep_labels(atoms)
        if renamed and not self._said:
            self._said = True
            self._line.say(
                f"warning: {self._source}: {' and '.join(renamed)} may be labels (or predictions"
                f" of a model without novelty): kept as {' and '.join(renamed.values())}"
            )


def _kept(writer: StructureWriter) -> str:
    """What is left of an unfinished output."""
    structures = "1 structure" if writer.count == 1 else f"{writer.count} structures"
    return f"after {structures}" + (f", kept in {writer.partial}" if writer.partial else "")


def _summary(barriers: list[NDArray[np.float64]]) -> str:
    import numpy as np

    values = np.concatenate(barriers)
    count = f"{len(barriers)} structures, " if len(barriers) > 1 else ""
    return f"{count}{len(values)} atoms, energy barrier {values.mean():.3f} ± {values.std():.3f} eV"


def _targets(
    sources: list[str], output: str | None, suffix: str | None, output_format: str | None
) -> list[str]:
    """The output of each input."""
    from symgnn.files import make_folder
    from symgnn.structures import STANDARD_STREAM, stem_of

    for source in sources:
        if not Path(source).name:
            raise StructureError(
                f"{source or 'an empty name'} is no file: name the structure files"
            )
    if suffix is not None and Path(suffix).name != suffix:
        raise SymGNNError(
            f"--suffix {suffix}: an ending of names, such as .barriers.csv, has no folder: -o does"
        )
    if output is not None:
        folder = output.endswith("/") or Path(output).is_dir()
        if not folder and len(sources) == 1:
            return [output]
        if not folder and (output == STANDARD_STREAM or Path(output).suffix):
            raise SymGNNError(
                f"{len(sources)} inputs cannot go into the one output {output}:"
                " give a folder with -o, or --suffix for outputs beside the inputs"
            )
        make_folder(output)
        ending = _SUFFIX_OF_FORMAT.get(output_format or "extxyz", ".xyz")
        targets = [str(Path(output) / f"{stem_of(source)}{ending}") for source in sources]
    elif sources == [STANDARD_STREAM]:
        return [STANDARD_STREAM]
    else:
        ending = suffix or f".barriers{_SUFFIX_OF_FORMAT.get(output_format or 'extxyz', '.xyz')}"
        targets = [str(Path(source).with_name(stem_of(source) + ending)) for source in sources]
    if len(set(targets)) < len(targets):
        raise SymGNNError(
            "two inputs of the same name would go into one output: annotate them separately"
        )
    return targets
