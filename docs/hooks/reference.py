"""Reference pages that are made of the code, so that they cannot lag behind it.

A page of docs/reference says where, with a line such as ``<!-- commands -->``, and tells readers
of the repository why nothing stands there.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import griffe
import typer
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import symgnn.cli
from symgnn.explain import ExplanationSettings
from symgnn.landscape.saddle import SaddleSettings
from symgnn.models import (
    AnyNetworkConfig,
    DensityRegressionConfig,
    DragConfig,
    FormulaConfig,
    SymmetrizationConfig,
)
from symgnn.models.formula import Term
from symgnn.training.config import (
    PRESETS,
    DataConfig,
    FitConfig,
    OptimizerConfig,
    TrainingConfig,
    dump_config,
    preset,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mkdocs.structure.pages import Page

NETWORKS: tuple[type[BaseModel], ...] = get_args(get_args(AnyNetworkConfig)[0])
CONFIGURATIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "training": (TrainingConfig, FitConfig, DataConfig, OptimizerConfig),
    "models": (
        DensityRegressionConfig,
        DragConfig,
        FormulaConfig,
        Term,
        *NETWORKS,
        SymmetrizationConfig,
    ),
    "searches": (SaddleSettings,),
    "explanations": (ExplanationSettings,),
}
"""The models of each part of the configuration page, in its order."""

_MARKER = re.compile(r"^<!-- (commands|python|presets|configuration: (\w+)) -->$", re.MULTILINE)
_NOTE = "*Read in the repository, this page is empty: `make docs` fills it from the code.*\n\n"
_LIMITS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<", MinLen: "at least"}


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill in what is made of the code."""
    if "reference/" not in page.file.src_uri:
        return markdown
    return _MARKER.sub(_generated, markdown.replace(_NOTE, ""))


def _generated(match: re.Match[str]) -> str:
    if match[1] == "commands":
        return "\n".join(commands())
    if match[1] == "python":  # mkdocstrings goes on from here
        return "\n\n".join(f"::: symgnn.{name}" for name in symgnn.__all__ if name[0] != "_")
    if match[1] == "presets":
        return "\n".join(_presets())
    return "\n".join(line for model in CONFIGURATIONS[match[2]] for line in configuration(model))


# --- the command line ---------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """Markdown of all verbs, with all their arguments and options."""
    root = typer.main.get_command(symgnn.cli.app)
    context = root.make_context("symgnn", [], resilient_parsing=True)
    yield from _parameters(root, context)
    for verb in symgnn.cli.VERBS:
        yield from _command(root.commands[verb], f"symgnn {verb}", level=2)  # type: ignore[attr-defined]


def _command(command: Any, name: str, level: int) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    yield f"\n{'#' * level} {name}\n"
    words = [_argument(parameter) for parameter in command.params if _is_argument(parameter)]
    words = ["COMMAND", "..."] if hasattr(command, "commands") else words
    yield f"```text\n{' '.join([name, '[OPTIONS]', *words])}\n```\n"
    yield from _help(command.help or "")
    yield from _parameters(command, context)
    for verb, inner in getattr(command, "commands", {}).items():
        yield from _command(inner, f"{name} {verb}", level + 1)


def _help(text: str) -> Iterator[str]:
    """A docstring; its examples become code."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        example = re.fullmatch(r"(?:Examples?:)?\s*(symgnn .*)", paragraph, re.DOTALL)
        if example:
            yield f"Example:\n\n```sh\n{' '.join(example[1].split())}\n```\n"
        elif not re.fullmatch(r"Examples?:", paragraph.strip()):
            yield f"{_prose(paragraph)}\n"


def _parameters(command: Any, context: Any) -> Iterator[str]:
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        if _is_argument(parameter):
            names = _code(_argument(parameter))
        else:
            names = ", ".join(map(_code, parameter.opts))
            names += "" if parameter.is_flag else f" {_code(_metavar(parameter))}"
        rows.append((names, _default(parameter, context), _prose(parameter.help or "")))
    if rows:
        yield from _table(("option", "default", "meaning"), rows)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _argument(parameter: Any) -> str:
    """``STRUCTURE``, ``[CONFIG]`` where it may be left out, ``FILES...`` where several may come."""
    name = (parameter.metavar or parameter.name.upper()).strip("[].")
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _metavar(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    annotation = parameter.type_descriptor.annotation
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return "|".join(map(str, arguments))
    kind = arguments[0] if arguments else annotation
    if issubclass(kind, Enum):
        return "|".join(str(choice.value) for choice in kind)
    return {int: "INTEGER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _default(parameter: Any, context: Any) -> str:
    default = parameter.get_default(context)
    if parameter.required:
        return "required"
    if default is None or default == "" or getattr(parameter, "is_flag", False):
        return "–"
    return _code(str(default))


# --- configurations -----------------------------------------------------------------------------


def configuration(model: type[BaseModel]) -> Iterator[str]:
    """Markdown of one model: what it is, and a row for each key."""
    own = _architecture(model)
    yield f"\n### {own or model.__name__}\n"
    yield f"{_prose(_description(model))}\n"
    rows = []
    for key, field in model.model_fields.items():
        if own and key == "architecture":
            continue
        limits = [
            f"{_LIMITS[type(limit)]} {next(iter(_numbers(limit).values())):g}"
            for limit in field.metadata
            if type(limit) in _LIMITS
        ]
        kind = " ".join([_type(field.annotation), *limits])
        rows.append((_code(key), kind, _value(field), _prose(meaning(model, key))))
    yield from _table(("key", "type", "default", "meaning"), rows)


def _description(model: type[BaseModel]) -> str:
    """The docstring; for a network also the first lines of its module, where its paper is named."""
    own = inspect.getdoc(model) or ""
    if _architecture(model) is None:
        return own
    module = inspect.getdoc(inspect.getmodule(model)) or ""
    return module.partition("\n\n")[0] + " " + own.partition(".")[2]


def meaning(model: type[BaseModel], key: str) -> str:
    """The docstring below a field, of the class that declares it last."""
    for ancestor in model.__mro__:
        if key in inspect.get_annotations(ancestor):
            docstring = _source(ancestor.__module__)[ancestor.__name__][key].docstring
            if docstring is not None:
                return str(docstring.value)
    return ""


def _numbers(limit: Any) -> dict[str, Any]:
    """The one number of a limit such as ``Gt(gt=0)``."""
    return {name: getattr(limit, name) for name in limit.__dataclass_fields__}


@functools.cache
def _source(module: str) -> Any:
    return griffe.load(module)


def _architecture(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("architecture")
    return None if field is None else f"architecture: {field.default}"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(_code(str(value)) for value in arguments)
    if origin in (Union, types.UnionType):
        if _architecture_union(arguments):
            return "a [model](#models)"
        return " or ".join(_type(argument) for argument in arguments)
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if annotation is type(None):
        return "`null`"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if _architecture(annotation):
            return "a [model](#models)"
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    names = {"str": "text", "int": "integer", "float": "number", "bool": "`true`, `false`"}
    return names[annotation.__name__]


def _architecture_union(arguments: Iterable[Any]) -> bool:
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in arguments)


def _value(field: Any) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, BaseModel):
        own = _architecture(type(default))
        return f"`{own.removeprefix('architecture: ')}`" if own else "its defaults"
    if isinstance(default, tuple):
        default = list(default)
    if isinstance(default, bool):
        return _code(str(default).lower())
    return "`null`" if default is None else _code(str(default))


def _presets() -> Iterator[str]:
    for name, make in PRESETS.items():
        yield f"\n### preset: {name}\n\n{_prose(make.__doc__ or '')}\n"
        yield f"```yaml\n{dump_config(preset(name))}```\n"


# --- Markdown -----------------------------------------------------------------------------------


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"\n| {' | '.join(header)} |\n|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _prose(text: str) -> str:
    """Text of the code as Markdown in one line: code in backticks stays, all else is literal."""
    text = " ".join(text.replace("``", "`").split())
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([*_|<\[\]\\])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)
