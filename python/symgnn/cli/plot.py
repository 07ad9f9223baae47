"""``symgnn plot``: pictures of annotated structures and of training runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symgnn.cli.options import ColumnOption, ElementsOption, element_names, short_names
from symgnn.cli.progress import count_structures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

plot = typer.Typer(
    no_args_is_help=False,
    help="Draw structures with energy barriers, and training runs.\n\n"
    "Structures come from any file that symgnn annotate writes or reads, if it has a column of"
    " barriers. Each picture has its own --help.\n\n"
    "Example: symgnn annotate glass.data -o annotated.xyz && symgnn plot slice annotated.xyz"
    " -o slice.png",
)

StructureArgument = Annotated[
    str, typer.Argument(help="A file with annotated structures; - is standard input.")
]
StructuresArgument = Annotated[list[str], typer.Argument(help="Files with annotated structures.")]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE.png", help="Picture; also .pdf and .svg.")
]
IndexOption = Annotated[
    str, typer.Option("--index", help="Which structures of a trajectory: 0, -1, ::10.")
]
RangeOption = Annotated[
    float,
    typer.Option("--range", min=0.5, max=1000.0, help="Largest distance, Å.", show_default=True),
]


@plot.command()
def histogram(
    structures: StructuresArgument,
    output: OutputOption,
    column: ColumnOption = "energy_barrier",
    elements: ElementsOption = None,
    index: IndexOption = ":",
) -> None:
    """Distribution of barriers: by element for one file, side by side for several.

    A file with several frames adds their mean over time, and the band that holds 80% of the atoms.

    Example: symgnn plot histogram slow.xyz fast.xyz -o h.png
    """
    from symgnn.plots.frames import iterate_annotated
    from symgnn.plots.histogram import collect, draw
    from symgnn.plots.style import check_format

    check_format(output)
    with count_structures() as report:
        names = element_names(elements)
        files = {
            name: collect(
                iterate_annotated(
                    path, column=column, elements=names, index=index, report=report, note=_say
                )
            )
            for name, path in zip(short_names(structures), structures, strict=True)
        }
        _save(draw(files), output)
    for name, found in files.items():
        count = f"{len(found.mean)} structures, " if len(found.mean) > 1 else ""
        _say(
            f"{name}: {count}{len(found.values)} barriers, {found.values.mean():.3f} ±"
            f" {found.values.std():.3f} eV"
        )


@plot.command("slice")
def slice_(
    structure: StructureArgument,
    output: OutputOption,
    axis: Annotated[str, typer.Option("--axis", help="x, y or z: normal to the slab.")] = "z",
    position: Annotated[
        float | None,
        typer.Option(
            "--position",
            min=-10_000.0,
            max=10_000.0,
            help="Middle of the slab along the axis, Å; default: center.",
        ),
    ] = None,
    thickness: Annotated[
        float, typer.Option("--thickness", min=0.1, max=10_000.0, help="Of the slab, Å.")
    ] = 3.2,
    column: ColumnOption = "energy_barrier",
    elements: ElementsOption = None,
    index: Annotated[
        str, typer.Option("--index", help="Which structure of a trajectory; -1 is the last.")
    ] = "-1",
) -> None:
    """A slab of the glass, its atoms colored by barrier.

    Colors span the 1st to 99th percentile of the barriers of the whole structure.

    Example: symgnn plot slice annotated.xyz --axis x -o slice.png
    """
    from symgnn.errors import SymGNNError
    from symgnn.plots.frames import iterate_annotated
    from symgnn.plots.slice import AXES, cut, draw
    from symgnn.plots.style import check_format

    check_format(output)
    if axis not in tuple(AXES):
        raise SymGNNError(f"--axis {axis}: choose x, y or z")
    found = list(
        iterate_annotated(
            structure, column=column, elements=element_names(elements), index=index, note=_say
        )
    )
    if len(found) > 1:
        raise SymGNNError(
            f"--index {index} selects {len(found)} structures, and a slice shows one: give a number"
        )
    piece = cut(found[0], AXES.index(axis), position, thickness)
    _save(draw(found[0], piece), output)


@plot.command()
def gr(
    structure: StructureArgument,
    output: OutputOption,
    cutoff: RangeOption = 10.0,
    column: ColumnOption = "energy_barrier",
    elements: ElementsOption = None,
    index: IndexOption = ":",
) -> None:
    """Pair correlation g(r): around atoms with low and high barriers, and by pair of elements.

    Averaged over the frames. It tends to 1 in periodic and in partly periodic boxes: along open
    directions the part of each shell that lies outside of the sample does not count.

    Example: symgnn plot gr annotated.xyz -o gr.png
    """
    from symgnn.plots.frames import iterate_annotated
    from symgnn.plots.radial_distribution import draw, radial_distributions
    from symgnn.plots.style import check_format

    check_format(output)
    with count_structures() as report:
        frames = iterate_annotated(
            structure,
            column=column,
            elements=element_names(elements),
            index=index,
            report=report,
            note=_say,
        )
        _save(draw(radial_distributions(frames, cutoff)), output)


@plot.command()
def correlation(
    structure: StructureArgument,
    output: OutputOption,
    cutoff: RangeOption = 12.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the permutations.")] = 0,
    column: ColumnOption = "energy_barrier",
    elements: ElementsOption = None,
    index: IndexOption = ":",
) -> None:
    """How alike the barriers of two atoms are, by their distance, against chance.

    The band holds 95% of 200 permutations of the barriers among atoms of the same element.

    Example: symgnn plot correlation annotated.xyz -o correlation.png
    """
    from symgnn.plots.autocorrelation import autocorrelation, draw
    from symgnn.plots.frames import iterate_annotated
    from symgnn.plots.style import check_format

    check_format(output)
    with count_structures() as report:
        frames = iterate_annotated(
            structure,
            column=column,
            elements=element_names(elements),
            index=index,
            report=report,
            note=_say,
        )
        _save(draw(autocorrelation(frames, cutoff, seed)), output)


@plot.command()
def parity(
    structures: StructuresArgument,
    output: OutputOption,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            help="Per-atom column with the labels, eV; default: what evaluate compared with, or"
            " energy_barrier_label.",
        ),
    ] = None,
    column: ColumnOption = "energy_barrier",
    elements: ElementsOption = None,
    index: IndexOption = ":",
) -> None:
    """Labels against predictions that stand side by side in a file, with uncertainty bars.

    symgnn evaluate writes such files with --predictions, and draws the same picture with --plot.

    Example: symgnn evaluate model.pt test.xyz --predictions out && symgnn plot parity out/test.xyz
    -o parity.png
    """
    from symgnn.evaluation import Evaluation
    from symgnn.plots.parity import compare_columns, draw
    from symgnn.plots.style import check_format
    from symgnn.structures import iterate_structures

    check_format(output)
    names = element_names(elements)
    with count_structures() as report:
        compared = [
            compare_columns(
                iterate_structures(path, elements=names, index=index), path, label, column, report
            )
            for path in structures
        ]
        _save(draw(Evaluation([each for file in compared for each in file.structures])), output)


@plot.command()
def training(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of symgnn train.")],
    output: OutputOption,
) -> None:
    """Loss and validation scores over the epochs of runs, finished or not.

    Example: symgnn plot training run -o training.png
    """
    from symgnn.plots.style import check_format
    from symgnn.plots.training import draw, read_curves

    check_format(output)
    names = short_names([str(run) for run in runs])
    _save(draw({name: read_curves(run) for name, run in zip(names, runs, strict=True)}), output)


def _save(figure: Figure, path: Path) -> None:
    from symgnn.plots.style import save

    save(figure, path)
    _say(f"wrote {path}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
