"""The published glasses (Li et al., ICML 2024): beside the checkout, if at all."""

from __future__ import annotations

from pathlib import Path

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "data" / "cuzr-barriers"
"""Folder of the files ``NAME.xyz``."""

NAMES = [*(f"train{number}" for number in range(6)), "validation"]
"""Of those with labels."""

TEST = ["test0", "test1"]
"""Those without."""


def say_if_missing(folder: Path = PUBLISHED) -> bool:
    """Whether the glasses are not in a folder, which a line tells then."""
    if folder.is_dir():
        return False
    print(f"left out: the published glasses are not in {folder}")
    return True
