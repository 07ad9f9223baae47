"""``symgnn info``: what a model file says about itself."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def info(
    model: Annotated[str, typer.Argument(help="A model file, or cuzr, cuzr-fast or simple.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the metadata as JSON.")] = False,
) -> None:
    """Show what a model knows: elements, cutoff, measured invariance, training data and scores.

    A model that is a formula shows it too, with units and coefficients.

    Example: symgnn info cuzr
    """
    from symgnn.annotator import Annotator

    metadata = Annotator(model, device="cpu").metadata
    if as_json:
        typer.echo(json.dumps(metadata, indent=2, ensure_ascii=False))
    else:
        _print_table(model, metadata)


def _print_table(model: str, metadata: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=model, show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    formula = metadata.pop("formula", None)
    for name, value in _flatten(metadata):
        table.add_row(name, value)
    Console(markup=False, emoji=False).print(table)
    if formula is not None:
        typer.echo(f"\n{formula}")  # whole lines, to be copied


def _flatten(metadata: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Rows of the table: nested keys get dotted names, and lists of words are joined."""
    rows: list[tuple[str, str]] = []
    for key, value in metadata.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            rows += _flatten(value, f"{name}.")
        elif isinstance(value, list) and all(isinstance(item, (str, int)) for item in value):
            rows.append((name, ", ".join(map(str, value))))
        elif isinstance(value, float):
            rows.append((name, f"{value:.6g}"))
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value)))
    return rows
