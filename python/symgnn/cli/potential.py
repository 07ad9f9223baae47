"""``symgnn potential``: the shipped interatomic potential as the file that LAMMPS reads."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer


def potential(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file, or an existing folder.")
    ] = Path("CuZr_2009.eam.fs"),
) -> None:
    """Write the Cu-Zr potential of Mendelev and others (2009) for LAMMPS (pair_style eam/fs).

    Cite Philosophical Magazine 89, 967 (2009) for it. Its license is CDDL-1.0. A file with other
    content is not replaced.

    Example: symgnn potential -o CuZr_2009.eam.fs
    """
    from symgnn.files import check_unchanged
    from symgnn.potentials import write_potential

    with TemporaryDirectory(prefix="symgnn-") as temporary:
        made = write_potential(temporary)
        check_unchanged(output / made.name if output.is_dir() else output, made)
    typer.echo(f"wrote {write_potential(output)}", err=True)
