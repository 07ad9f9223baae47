"""Options that several verbs share, defined once."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from ase.data import chemical_symbols

_SYMBOL = re.compile("[A-Z][a-z]?")

ElementsOption = Annotated[
    str | None,
    typer.Option(
        "--elements",
        metavar="Cu Zr",
        help="Element of each LAMMPS atom type, in order; needed where the file does not say.",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option("--model", "-m", help="A model file, or the name of a shipped model."),
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda or cuda:N; auto takes a GPU if there is one."),
]
ChunkOption = Annotated[
    int,
    typer.Option(
        "--chunk",
        min=0,
        help="Atoms at a time: fewer take less memory and more time; 0 leaves it to SymGNN.",
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="CPU threads; 0 leaves the choice to torch.")
]


def join_element_names(arguments: list[str]) -> list[str]:
    """Let ``--elements Cu Zr`` mean ``--elements Cu,Zr``, as LAMMPS users write it."""
    joined: list[str] = []
    collecting = False
    for argument in arguments:
        symbol = _SYMBOL.fullmatch(argument) is not None and argument in chemical_symbols
        if collecting and symbol and joined[-1] != "--elements":
            joined[-1] += f",{argument}"
            continue
        if not (collecting and joined[-1] == "--elements"):
            collecting = argument == "--elements"
        joined.append(argument)
    return joined


def element_names(text: str | None) -> list[str] | None:
    """The value of ``--elements`` as a list of chemical symbols; None where it was not given."""
    return None if text is None else [name for name in re.split(r"[,\s]+", text) if name]
