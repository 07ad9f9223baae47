"""``symgnn evaluate``: a model's predictions against labels."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symgnn.cli.options import (
    DeviceOption,
    ElementsOption,
    ThreadsOption,
    element_names,
    short_names,
)
from symgnn.cli.progress import count_structures
from symgnn.errors import NovelStructureWarning

if TYPE_CHECKING:
    from rich.table import Table

    from symgnn.evaluation import Evaluation
    from symgnn.training.metrics import Intervals

_AGREEMENT = {
    "Pearson": "pearson",
    "Spearman": "spearman",
    "MAE (eV)": "mae",
    "RMSE (eV)": "rmse",
}
_CALIBRATION = {
    "AUC low": "auc_lowest",
    "AUC high": "auc_highest",
    "bias (eV)": "bias",
    "slope": "slope",
    "offset": "intercept",
}
_COVERAGES = (0.68, 0.95)


def evaluate(
    model: Annotated[str, typer.Argument(help="A model file, or the name of a shipped model.")],
    files: Annotated[list[Path], typer.Argument(help="Structures, with labels or without.")],
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            help="Per-atom column with the label, eV; default: energy_barrier where it is there.",
        ),
    ] = None,
    elements: ElementsOption = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            metavar="FOLDER",
            help="Write the structures with their predicted columns here, as extended XYZ; labels"
            " called energy_barrier become energy_barrier_label.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png",
            help="Picture: label against prediction, and reliability if the model has it.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare predicted energy barriers with labels: pooled, and for every structure.

    Structures without labels are predicted only, and atoms whose label is NaN do not count.
    Intervals come from resampling structures. AUC: how well the atoms with the 5% lowest (highest)
    labels are found; 0.5 is chance. Slope and offset (eV): of labels as a line over predictions, 1
    and 0 if calibrated. In 68%, in 95%: share of labels inside the model's own intervals.

    Example: symgnn evaluate model.pt held_out.xyz new.xyz --predictions out/ --plot parity.png
    """
    from symgnn.evaluation import evaluate_files

    if plot is not None:
        from symgnn.plots.parity import draw
        from symgnn.plots.style import check_format, save

        check_format(plot)
    with count_structures() as report, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NovelStructureWarning)
        evaluation = evaluate_files(
            model,
            files,
            label=label,
            elements=element_names(elements),
            device=device,
            threads=threads,
            predictions=predictions,
            report=report,
        )
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    if evaluation.known:
        print(f"warning: {_known_line(evaluation.known)}", file=sys.stderr)
    if plot is not None:
        save(draw(evaluation), plot)
    if as_json:
        typer.echo(json.dumps(evaluation.as_dict(), indent=2))
    else:
        print_evaluation(evaluation)


def _known_line(known: dict[str, str]) -> str:
    names = ", ".join(f"{name} ({part})" for name, part in known.items())
    return (
        f"the model was made with {names}: scores there say little about other structures; "
        "evaluate it on files that it has not seen"
    )


def print_evaluation(evaluation: Evaluation) -> None:
    """Tables of all scores."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)  # names of files are no markup
    console.print(_agreement(evaluation))
    if evaluation.pooled is None:
        return
    console.print(_calibration(evaluation))
    if evaluation.intervals is not None:
        console.print(_interval_line(evaluation.intervals), highlight=False)


def _agreement(evaluation: Evaluation) -> Table:
    """Every structure, the mean over those with labels, and all their atoms pooled."""
    table = _table(["atoms", *_AGREEMENT])
    names = short_names([structure.name for structure in evaluation.structures])
    for name, structure in zip(names, evaluation.structures, strict=True):
        if structure.metrics is None:
            table.add_row(name, str(len(structure.prediction)), "no labels")
        else:
            scores = structure.metrics.as_dict()
            table.add_row(name, str(structure.metrics.atoms), *_cells(scores, _AGREEMENT))
    if evaluation.pooled is not None and evaluation.mean is not None:
        atoms = str(evaluation.pooled.atoms)
        if len(evaluation.labeled) > 1:
            name = f"mean of {len(evaluation.labeled)}"
            table.add_row(name, atoms, *_cells(evaluation.mean, _AGREEMENT))
        table.add_row("pooled", atoms, *_cells(evaluation.pooled.as_dict(), _AGREEMENT))
    return table


def _calibration(evaluation: Evaluation) -> Table:
    """The same rows for structures with labels: extremes, calibration and coverage."""
    covered = evaluation.pooled_reliability is not None
    table = _table([*_CALIBRATION, *(f"in {p:.0%}" for p in _COVERAGES if covered)])
    names = short_names([structure.name for structure in evaluation.labeled])
    rows = [
        (name, structure.metrics.as_dict(), structure.reliability)
        for name, structure in zip(names, evaluation.labeled, strict=True)
        if structure.metrics is not None
    ]
    if evaluation.pooled is not None and evaluation.mean is not None:
        if len(rows) > 1:
            rows.append((f"mean of {len(rows)}", evaluation.mean, None))
        rows.append(("pooled", evaluation.pooled.as_dict(), evaluation.pooled_reliability))
    for name, scores, coverage in rows:
        shares = [] if coverage is None else [f"{coverage.at(p):.3f}" for p in _COVERAGES]
        table.add_row(name, *_cells(scores, _CALIBRATION), *shares)
    return table


def _table(headings: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("structure", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _cells(scores: dict[str, float], columns: dict[str, str]) -> list[str]:
    return [f"{scores[key]:.4f}" for key in columns.values()]


def _interval_line(intervals: Intervals) -> str:
    mean, pooled = (
        f"{low:.4f} to {high:.4f}"
        for low, high in (intervals.mean_pearson, intervals.pooled_pearson)
    )
    return (
        f"Pearson, {intervals.level:.0%} bootstrap intervals over {intervals.glasses} structures: "
        f"mean {mean}, pooled {pooled}"
    )
