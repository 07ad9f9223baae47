"""``symgnn sample``: a glass, its potential and a LAMMPS input to try SymGNN with."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer


def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write; created if missing.")],
) -> None:
    """Write a sample Cu64Zr36 glass, its potential, and a LAMMPS input that prints barriers.

    Files of these names that were changed are not replaced.

    Example: symgnn sample glass && cd glass && lmp -in in.barriers
    """
    from symgnn.files import check_unchanged
    from symgnn.samples import INPUT, write_sample

    with TemporaryDirectory(prefix="symgnn-") as temporary:
        for made in write_sample(temporary):
            check_unchanged(folder / made.name, made)
    for path in write_sample(folder):
        typer.echo(f"wrote {path}", err=True)
    typer.echo(f"next: cd {folder} && lmp -in {INPUT}", err=True)
