"""Four small Cu–Zr glasses with barrier labels of our own, free for any use (CC BY 4.0).

``README.md`` beside this file says how they were made, what they hold, and what they are not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from symgnn.errors import ConfigError

_FOLDER = Path(__file__).parent

GLASSES: Final = ("Cu64Zr36_1e14", "Cu64Zr36_1e13", "Cu64Zr36_1e12", "Cu50Zr50_1e13")
"""Composition and cooling rate (K/s) of each glass."""

PREFIX: Final = "open-data:"
"""Before the name of a glass where a configuration names files."""


def open_data(glass: str) -> Path:
    """The file with the structure and labels of a glass, as extended XYZ.

    Raises:
        ConfigError: there is no such glass.
    """
    if glass not in GLASSES:
        raise ConfigError(f"{PREFIX}{glass}: the open dataset has {', '.join(GLASSES)}")
    return _FOLDER / f"{glass}.xyz"
