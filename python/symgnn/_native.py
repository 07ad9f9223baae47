"""The door to the C++ core: loads it, or says in one line why it cannot be loaded."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

from symgnn.errors import SymGNNError

if TYPE_CHECKING:
    from types import ModuleType


def _minor(version: str) -> str:
    return ".".join(version.partition("+")[0].split(".")[:2])


def check_torch_version(compiled_against: str, installed: str) -> None:
    """Compare the minor versions of torch, across which its C++ interface is not compatible.

    Raises:
        SymGNNError: they differ.
    """
    if _minor(compiled_against) != _minor(installed):
        raise SymGNNError(
            f"SymGNN was compiled against torch {compiled_against}, but torch {installed} is"
            f' installed; run `pip install "torch~={_minor(compiled_against)}.0"`, or reinstall'
            " SymGNN to compile it again"
        )


def load_core() -> ModuleType:
    """The compiled module ``symgnn._core``.

    Raises:
        SymGNNError: it is missing, or compiled against another version of torch.
    """
    try:
        build = importlib.import_module("symgnn._build_info")
    except ModuleNotFoundError:
        raise SymGNNError(
            "the C++ core of SymGNN is not built; run `make install` in a checkout, or"
            " `pip install .`"
        ) from None
    try:
        installed = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        raise SymGNNError(
            f'torch is missing; run `pip install "torch~={_minor(build.TORCH_VERSION)}.0"`'
        ) from None
    check_torch_version(build.TORCH_VERSION, installed)
    try:
        return importlib.import_module("symgnn._core")
    except ImportError as problem:
        reason = str(problem).splitlines()[0]
        raise SymGNNError(
            f"the C++ core of SymGNN does not load ({reason}); reinstall SymGNN"
        ) from problem
