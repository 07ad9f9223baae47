"""What all pictures share: colors, their range, labels, and how a file is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import matplotlib as mpl
import numpy as np
from ase.data import atomic_numbers
from ase.data.colors import jmol_colors
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure

from symgnn.errors import SymGNNError
from symgnn.files import check_output, written_whole

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from numpy.typing import NDArray

BARRIER_COLORS: Final = LinearSegmentedColormap.from_list(
    "barrier", mpl.colormaps["inferno_r"](np.linspace(0.04, 0.93, 256))
)
"""Perceptually uniform; the soft spots, where barriers are low, glow."""

COUNT_COLORS: Final = LinearSegmentedColormap.from_list(
    "count", mpl.colormaps["Greys"](np.linspace(0.3, 1.0, 256))
)
"""Light gray to black: what stands for a single atom is still seen on white."""

BARRIER_LABEL: Final = "energy barrier (eV)"

SERIES: Final = ("#6b7a8f", "#c8553d", "#2a9d8f", "#e0a030", "#7b5ea7", "#3d6fb0", "#9c8f5a")
"""Colors of lines side by side; they begin anew where there are more."""

_ELEMENTS: Final = {
    "Cu": "#c8553d",
    "Zr": "#2a9d8f",
    "Al": "#7b5ea7",
    "Ni": "#e0a030",
    "Fe": "#3d6fb0",
}

LOW_COLOR, HIGH_COLOR = (mpl.colors.to_hex(BARRIER_COLORS(end)) for end in (0.3, 0.9))
"""Atoms with the lowest and the highest barriers, where they are drawn as lines."""


def element_color(*elements: str) -> str:
    """The color of an element, the same in every picture; of several, what lies between theirs.

    Elements without a color of ours have that of Jmol.
    """
    colors = [to_rgb(_ELEMENTS.get(name, jmol_colors[atomic_numbers[name]])) for name in elements]
    return to_hex(np.mean(colors, axis=0))


def barrier_range(barriers: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the color scale, eV: the 1st and 99th percentile of all barriers of the structure.

    Args:
        barriers: of any shape; NaN does not count.
    """
    low, high = np.nanpercentile(barriers, [1, 99])
    return float(low), float(high)


def add_colorbar(figure: Figure, axes: Axes, colored: ScalarMappable) -> Colorbar:
    """Beside the axes; its pointed ends stand for the percent of atoms beyond the range."""
    bar = figure.colorbar(colored, ax=axes, shrink=0.96, aspect=28, pad=0.02, extend="both")
    bar.set_label(BARRIER_LABEL)
    bar.outline.set_visible(False)
    return bar


def remove_frame(axes: Axes) -> None:
    """Leave only the lines at the left and the bottom."""
    axes.spines[["top", "right"]].set_visible(False)


def check_format(path: Path) -> None:
    """Raise SymGNNError unless matplotlib can draw into a file of this name, and its folder exists.

    For commands to call before work that takes long.
    """
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in formats:
        raise SymGNNError(
            f"the name {path.name} asks for no picture format: end it in .png, .pdf or .svg"
        )
    check_output(path)


def save(figure: Figure, path: Path) -> None:
    """Write the picture in the format that its name asks for, whole or not at all.

    Raises:
        SymGNNError: the file cannot be written.
    """
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=150)
