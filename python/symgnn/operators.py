"""The compiled operators ``torch.ops.symgnn``: importing this module makes torch know them.

Models use them where ``torch.ops.symgnn.has_kernel`` says so, and are plain torch elsewhere. The
first to build, fit, load or script a model imports this module: ``training`` does.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from symgnn._native import load_core

if TYPE_CHECKING:
    from collections.abc import Iterator

load_core()


@contextmanager
def plain_torch() -> Iterator[None]:
    """Within, models that are not scripted are the plain torch that defines the operators."""
    namespace: Any = torch.ops.symgnn
    has_kernel = namespace.has_kernel
    namespace.has_kernel = lambda *_: False
    try:
        yield
    finally:
        namespace.has_kernel = has_kernel
