"""Where a run computes: the device, and how the process keeps its memory."""

from __future__ import annotations

import ctypes
import sys

import torch

from symgnn.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Raises ConfigError for an absent one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r}: choose auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r}: choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {name!r}: torch finds {torch.cuda.device_count()} GPUs; use device=cpu"
        )
    return device


def keep_freed_memory() -> None:
    """Ask glibc to reuse freed memory instead of returning it to the system.

    The large temporary tensors of a step are otherwise mapped, and their pages zeroed, anew in
    every operation, which doubles to triples the time of a step.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            trim_threshold, mmap_max = -1, -4
            mallopt(trim_threshold, -1)
            mallopt(mmap_max, 0)
