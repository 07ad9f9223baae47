"""``symgnn evaluate``: a model's predictions against labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from symgnn.cli.options import DeviceOption, ElementsOption, ThreadsOption, element_names
from symgnn.keys import ENERGY_BARRIER


def evaluate(
    model: Annotated[str, typer.Argument(help="A model file, or the name of a shipped model.")],
    files: Annotated[list[Path], typer.Argument(help="Structures with labels.")],
    label: Annotated[
        str, typer.Option("--label", help="Per-atom column with the label, eV.")
    ] = ENERGY_BARRIER,
    elements: ElementsOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare predicted energy barriers with labels: pooled, and for every structure.

    Atoms whose label is NaN do not count. Errors are in eV.

    Example: symgnn evaluate cuzr validation.xyz
    """
    from symgnn.evaluation import evaluate_files

    names = element_names(elements)
    evaluation = evaluate_files(
        model, files, label=label, elements=names, device=device, threads=threads
    )
    if as_json:
        typer.echo(json.dumps(evaluation.as_dict(), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for heading in ("structure", "atoms", "Pearson", "Spearman", "MAE (eV)", "RMSE (eV)"):
        table.add_column(heading, justify="left" if heading == "structure" else "right")
    for name, metrics in [*evaluation.structures.items(), ("pooled", evaluation.pooled)]:
        numbers = (metrics.pearson, metrics.spearman, metrics.mae, metrics.rmse)
        table.add_row(name, str(metrics.atoms), *(f"{number:.4f}" for number in numbers))
    Console().print(table)
