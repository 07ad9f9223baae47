"""``symgnn report``: a structure or a training run as one interactive page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from symgnn.cli.options import (
    ColumnOption,
    DeviceOption,
    ElementsOption,
    ThreadsOption,
    element_names,
)
from symgnn.cli.progress import late_line
from symgnn.errors import Interrupted
from symgnn.keys import ENERGY_BARRIER

_LAST = -1


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="STRUCTURE|RUN",
            help="A file that ASE reads, a LAMMPS data file or text dump, - for standard input; or"
            " the output folder of symgnn train.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.html", help="The page.")
    ] = Path("report.html"),
    explanation: Annotated[
        Path | None,
        typer.Option("--explanation", metavar="FILE.json", help="What symgnn explain wrote."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Predict the barriers with this model; default: those of the file, and cuzr"
            " where it has no such column.",
        ),
    ] = None,
    column: ColumnOption = ENERGY_BARRIER,
    elements: ElementsOption = None,
    frame: Annotated[
        int, typer.Option("--frame", help="Which structure of a trajectory; -1 is the last.")
    ] = _LAST,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Write one HTML page to look at: atoms in three dimensions, colored by energy barrier.

    The page needs nothing but a browser: no network, no other files. Of a structure it shows the
    atoms, with thresholds, and the neighbors and explanation of the atom that is clicked; of a
    training run its curves, scores and settings.

    Examples:

      symgnn report glass.data -o glass.html

      symgnn report glass.xyz --model cuzr-fast --explanation explanation.json -o glass.html

      symgnn report barriers.dump --column c_barrier -o glass.html

      symgnn report run/ -o run.html
    """
    from symgnn.files import check_output
    from symgnn.report import report_run, report_structure

    folder = Path(source).is_dir()
    of_structure = {
        "--explanation": explanation is not None,
        "--model": model is not None,
        "--column": column != ENERGY_BARRIER,
        "--elements": elements is not None,
        "--frame": frame != _LAST,
    }
    if folder and any(of_structure.values()):
        given = ", ".join(name for name, there in of_structure.items() if there)
        raise typer.BadParameter(f"{source} is a folder, and {given} belongs to a structure file")
    if model is not None and column != ENERGY_BARRIER:
        raise typer.BadParameter(
            "--model predicts the barriers, and --column names those of the file: give one of them"
        )
    check_output(output, source, *([] if explanation is None else [explanation]))
    try:
        with late_line() as line:
            if folder:
                summary = report_run(
                    Path(source), output, device=device, threads=threads, report=line.show
                )
            else:
                summary = report_structure(
                    source,
                    output,
                    model=model,
                    column=column,
                    explanations=explanation,
                    elements=element_names(elements),
                    frame=frame,
                    device=device,
                    threads=threads,
                    report=lambda count: line.show(f"{source}: {count} structures"),
                    say=lambda text: line.say(f"{source}: {text}"),
                )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; no page was written: start it again") from None
    print(f"{source} → {output}: {summary}", file=sys.stderr)
