"""``symgnn import-dataset``: the published pickles of the paper to extended XYZ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symgnn.cli.options import ElementsOption, element_names


def import_dataset(
    pickles: Annotated[list[Path], typer.Argument(help="Data files of the paper.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A file for one structure, or a folder for one file each."
        ),
    ],
    elements: ElementsOption = "Cu,Zr",
) -> None:
    """Convert the data files published with the paper to extended XYZ.

    Nothing but arrays of numbers is read from the pickles; a file that asks for more is refused.

    Example: symgnn import-dataset train0.pkl train1.pkl -o glasses/
    """
    from symgnn.dataset_import import read_published_pickle
    from symgnn.errors import DatasetError
    from symgnn.files import make_folder
    from symgnn.keys import ENERGY_BARRIER
    from symgnn.structures import uncompressed, write_structures

    one_file = uncompressed(output).suffix in (".xyz", ".extxyz")
    if one_file and len(pickles) > 1:
        raise DatasetError(f"{len(pickles)} files cannot go into {output}: name a folder with -o")
    if len({path.stem for path in pickles}) < len(pickles):
        raise DatasetError("two files of one name would go into one output: convert them apart")
    for path in pickles:
        atoms = read_published_pickle(path, element_names(elements) or [])
        if one_file:
            target = output
        else:
            make_folder(output)
            target = output / f"{path.stem}.xyz"
        write_structures(target, [atoms], "extxyz")
        labels = atoms.arrays.get(ENERGY_BARRIER)
        described = (
            "no barriers"
            if labels is None
            else f"mean barrier {labels.mean():.3f} ± {labels.std():.3f} eV"
        )
        typer.echo(f"{target}: {len(atoms)} atoms, {described}", err=True)
