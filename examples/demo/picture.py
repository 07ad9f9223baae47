"""The demo's picture: a slice of the glass colored by barrier, and three distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from symgnn.plots.histogram import draw_distributions
from symgnn.plots.slice import cut, draw_slice
from symgnn.plots.style import save

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray


def draw_barriers(inherent: Atoms, kinds: dict[str, NDArray[np.float64]], path: Path) -> None:
    """Draw and save.

    Args:
        inherent: N atoms with the array ``energy_barrier`` in eV.
        kinds: barriers [N] in eV by kind of positions.
        path: PNG file.
    """
    with mpl.rc_context({"font.size": 11, "axes.linewidth": 0.8}):
        figure = Figure(figsize=(11.5, 5.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.12, 1])
        draw_slice(figure, left, inherent, cut(inherent))
        left.set_title("A slice of the inherent structure, one atom thick", loc="left")
        shares = draw_distributions(right, kinds, {})
        # The snapshot may be a spike at the end of the model's range.
        spared = [
            share
            for name, share in zip(kinds, shares, strict=True)
            if not name.startswith("instantaneous")
        ]
        right.set_ylim(0, max(spared) * 1.4)
        right.set_title("Barriers of all atoms, by kind of positions", loc="left")
        save(figure, path)
