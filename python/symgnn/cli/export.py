"""``symgnn export``: from a checkpoint to a model file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from symgnn.cli.options import element_names
from symgnn.cli.warned import warnings_at_once


class Precision(StrEnum):
    """Dtype of the exported network."""

    float32 = "float32"
    float64 = "float64"


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file to write.")],
    checkpoint: Annotated[Path | None, typer.Argument(help="best.ckpt of a training run.")] = None,
    dtype: Annotated[Precision, typer.Option("--dtype", help="Of the network.")] = (
        Precision.float32
    ),
    random: Annotated[
        bool, typer.Option("--random", help="An untrained network, for benchmarks and tests.")
    ] = False,
    preset: Annotated[str, typer.Option("--preset", help="Architecture for --random.")] = "paper",
    elements: Annotated[
        str | None, typer.Option("--elements", metavar="Cu Zr", help="Elements for --random.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed for --random.")] = 0,
) -> None:
    """Write the model file that LAMMPS, Python and the command line read.

    The exported network is compared with the trained one before it is written, on a structure of
    training.

    Examples:

      symgnn export run/best.ckpt -o model.pt

      symgnn export --preset paper --random --elements Cu Zr -o random.pt
    """
    if random == (checkpoint is not None):
        raise typer.BadParameter("name a checkpoint, or ask for --random with --elements")
    names = element_names(elements)
    if random and not names:
        raise typer.BadParameter("--random needs --elements, such as --elements Cu Zr")
    if checkpoint is not None and names:
        raise typer.BadParameter("--elements is for --random: a checkpoint has its own elements")

    from symgnn.export import export_checkpoint, export_random
    from symgnn.files import check_output

    check_output(output, *([] if checkpoint is None else [checkpoint]))
    with warnings_at_once():
        if checkpoint is not None:
            result = export_checkpoint(checkpoint, output, dtype=dtype.value)
        else:
            result = export_random(preset, names or [], output, dtype=dtype.value, seed=seed)
    typer.echo(
        f"{result.path}: largest |exported - trained| {result.largest_difference:.1e} eV; "
        f"change under rotations {result.invariance_rms:.1e} eV (rms), "
        f"{result.invariance_max:.1e} eV (largest)"
    )
