"""``symgnn info``: what a model file says about itself."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from symgnn.cli.options import short_names


def info(
    model: Annotated[str, typer.Argument(help="A model file, or cuzr, cuzr-fast or simple.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Print the whole record below the summary.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole record as JSON.")
    ] = False,
) -> None:
    """Show what a model knows: elements, cutoff, measured invariance, training data and scores.

    A model that is a formula shows it too, with units and coefficients. The whole record adds the
    architecture, the configuration of the training, scores of every structure and checksums.

    Example: symgnn info cuzr
    """
    from symgnn.annotator import Annotator

    metadata = Annotator(model, device="cpu").metadata
    if as_json:
        typer.echo(json.dumps(metadata, indent=2, ensure_ascii=False))
        return
    _print_summary(model, metadata)
    formula = metadata.pop("formula", None)
    if formula is not None:
        typer.echo(f"\n{formula}")  # whole lines, to be copied
    if everything:
        typer.echo()
        for name, value in _flatten(metadata):
            typer.echo(f"{name}: {value}")


def _print_summary(model: str, metadata: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=model, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _summary(metadata).items():
        table.add_row(name, value)
    Console(markup=False, emoji=False, highlight=False).print(table)


def _summary(metadata: dict[str, Any]) -> dict[str, str]:
    """What most readers look for, each in one line."""
    training = metadata["training"]
    rows = {
        "elements": ", ".join(metadata["elements"]),
        "cutoff": f"{metadata['cutoff']:g} Å",
        "layers": str(metadata["layers"]),
        "dtype": metadata["dtype"],
        "outputs": ", ".join(metadata["outputs"]),
        "invariance": f"{metadata['invariance']['rms']:.1e} eV (rms)",
    }
    for name, key in (("held out", "held_out"), ("validation", "validation")):
        if scores := training.get(key):
            rows[name] = f"Pearson {scores['pearson']:.3f}, MAE {scores['mae']:.3f} eV"
    each = [own["pearson"] for own in training.get("held_out_structures", {}).values()]
    if len(each) > 1:
        rows["held out, each"] = (
            f"Pearson {min(each):.3f} to {max(each):.3f}, {sum(each) / len(each):.3f} in the mean"
        )
    data = training.get("data", {})
    for name, part in (("training", "train"), ("validation", "validation"), ("thermal", "thermal")):
        if files := data.get(part):
            rows[f"{name} files"] = ", ".join(short_names(list(files)))
    rows["version"] = f"SymGNN {metadata['symgnn_version']}, torch {metadata['torch_version']}"
    return rows


def _flatten(metadata: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names and values: nested keys get dotted names, and lists of words are joined."""
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
