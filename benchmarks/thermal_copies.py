"""Copies of labeled glasses at 300 K, averaged over 1 ps, that keep the labels of their atoms.

They go into `data.thermal` of a training configuration: barriers of averaged positions then agree
with those of the minimum. Finished files are left as they are, so that the script can go on.

    python benchmarks/thermal_copies.py OUTPUT [GLASS.xyz ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import ase.io

from published import NAMES, PUBLISHED
from symgnn import read_structures
from symgnn.files import written_whole
from symgnn.keys import ENERGY_BARRIER
from temperature import frames

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOWS = 2


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("glasses", type=Path, nargs="*")
    options = parser.parse_args()
    make(options.output, options.glasses)


def make(output: Path, glasses: Sequence[Path] = ()) -> None:
    """Write one file per glass, of those that are not there yet; default: the labeled ones."""
    output.mkdir(parents=True, exist_ok=True)
    for path in glasses or [PUBLISHED / f"{name}.xyz" for name in NAMES]:
        target = output / path.name
        if target.exists():
            continue
        (glass,) = read_structures(path)
        copies = []
        for _, average in frames(glass, 300.0, seed=1, windows=WINDOWS):
            copy = glass.copy()
            copy.positions = average.positions
            copies.append(copy)
        with written_whole(target) as unfinished:
            columns = ["symbols", "positions", ENERGY_BARRIER]
            ase.io.write(unfinished, copies, format="extxyz", columns=columns)
        print(f"{target}: {len(copies)} copies of {len(glass)} atoms", flush=True)


if __name__ == "__main__":
    main()
