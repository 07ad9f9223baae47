"""Warnings as a person reads them: one line each."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from symgnn.errors import SymGNNWarning

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def warnings_at_once() -> Iterator[None]:
    """Print warnings as they come, as they matter before hours are spent."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"warning: {message}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", SymGNNWarning)
        warnings.showwarning = show
        yield
