"""Options that several verbs share, defined once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from ase.data import chemical_symbols

from symgnn.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

Settings = TypeVar("Settings", bound="BaseModel")

_SYMBOL = re.compile("[A-Z][a-z]?")

ElementsOption = Annotated[
    str | None,
    typer.Option(
        "--elements",
        metavar="Cu Zr",
        help="Element of each LAMMPS atom type, in order; needed where the file does not say.",
    ),
]
ColumnOption = Annotated[
    str, typer.Option("--column", help="Per-atom column with the barriers, such as c_barrier.")
]
OneIndexOption = Annotated[
    int | None,
    typer.Option(
        "--index", help="Which structure of a trajectory: 0, -1; needed where there are several."
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A model file, or the name of a shipped model: cuzr (the most accurate), cuzr-fast"
        " (a hundredth of the time; can be explained) or simple (a formula).",
    ),
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
        max=2**31 - 1,
        help="Atoms at a time: fewer take less memory and more time; 0 leaves it to SymGNN.",
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option("--threads", min=0, max=1024, help="CPU threads; 0 leaves the choice to torch."),
]


def join_values(arguments: list[str]) -> list[str]:
    """Let ``--elements Cu Zr`` mean ``--elements Cu,Zr``, as LAMMPS users write it.

    For ``symgnn benchmark`` the same holds for the numbers after ``--sizes`` and ``--threads``.
    """
    belongs: dict[str, Callable[[str], bool]] = {"--elements": _is_symbol}
    if arguments[:1] == ["benchmark"]:
        belongs |= {"--sizes": str.isdigit, "--threads": str.isdigit}
    joined: list[str] = []
    option = ""
    for argument in arguments:
        if joined and joined[-1] in belongs:  # whatever it is, it is the value
            joined.append(argument)
        elif option and belongs[option](argument):
            joined[-1] += f",{argument}"
        else:
            option = argument if argument in belongs else ""
            joined.append(argument)
    return joined


def _is_symbol(argument: str) -> bool:
    return _SYMBOL.fullmatch(argument) is not None and argument in chemical_symbols


def element_names(text: str | None) -> list[str] | None:
    """The value of ``--elements`` as a list of chemical symbols; None where it was not given."""
    return None if text is None else [name for name in re.split(r"[,\s]+", text) if name]


def read_settings(changes: list[str], settings: type[Settings], **fixed: Any) -> Settings:
    """Settings with the values of ``--set KEY=VALUE``, beside those that are ``fixed``.

    Raises:
        ConfigError: a word without "=", an unknown key, a value that does not fit.
    """
    import yaml
    from pydantic import ValidationError

    values: dict[str, Any] = dict(fixed)
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise ConfigError(f"--set {change}: write KEY=VALUE")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {change}: the value is not YAML") from None
    try:
        return settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(
            name if field.is_required() else f"{name}={field.default}"
            for name, field in settings.model_fields.items()
        )
        raise ConfigError(
            f"--set {'.'.join(map(str, first['loc']))}: {first['msg']} (settings: {known})"
        ) from None


def short_names(paths: list[str]) -> list[str]:
    """The last parts of paths, where that leaves no two the same."""
    short = [Path(path).name or path for path in paths]
    return short if len(set(short)) == len(set(paths)) else paths
