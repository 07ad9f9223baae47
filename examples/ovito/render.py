"""A glass colored by energy barrier, rendered by OVITO: docs/images/ovito.png.

    python examples/ovito/render.py [glass.data] [-o ovito.png]

The barriers come from the modifier, so that any file that OVITO reads will do, if it names its
elements. OVITO 3.17 renders through Vulkan, even without a GPU: it needs libvulkan1 and, on a
machine without graphics, the software driver of mesa-vulkan-drivers (Debian's names).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ovito.io import import_file
from ovito.modifiers import ColorCodingModifier
from ovito.qt_compat import QtCore
from ovito.vis import ColorLegendOverlay, TachyonRenderer, Viewport
from PIL import Image

from symgnn.ovito import EnergyBarrierModifier
from symgnn.plots.style import BARRIER_COLORS, BARRIER_LABEL, barrier_range
from symgnn.samples import GLASS, write_sample

if TYPE_CHECKING:
    from ovito.pipeline import Pipeline

SIZE = (760, 640)


def main() -> None:
    """Render the sample glass, or the file of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structure", nargs="?", type=Path, help="default: the sample glass")
    parser.add_argument("-o", "--output", type=Path, default=Path("ovito.png"))
    parser.add_argument("--model", default="cuzr-fast", help="a file, or a shipped model's name")
    options = parser.parse_args()
    if options.structure is not None:
        render(colored_pipeline(options.structure, options.model), options.output)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_sample(folder)
        render(colored_pipeline(Path(folder) / GLASS, options.model), options.output)


def colored_pipeline(structure: Path, model: str) -> Pipeline:
    """A pipeline whose particles have barriers, and the colors that SymGNN gives them."""
    pipeline = import_file(str(structure))
    pipeline.modifiers.append(EnergyBarrierModifier(model=model))
    low, high = barrier_range(np.asarray(pipeline.compute().particles["Energy Barrier"]))
    colors = BARRIER_COLORS(np.linspace(0, 1, 64))[:, :3]
    pipeline.modifiers.append(
        ColorCodingModifier(
            property="Energy Barrier",
            gradient=ColorCodingModifier.Gradient(colors.tolist()),
            start_value=low,
            end_value=high,
        )
    )
    return pipeline


def render(pipeline: Pipeline, path: Path) -> None:
    """Ray-trace the pipeline's first frame, with a color legend."""
    legend = ColorLegendOverlay(
        modifier=pipeline.modifiers[-1],
        title=BARRIER_LABEL,
        format_string="%.2f",
        orientation=QtCore.Qt.Orientation.Vertical,
        alignment=QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter,
        rotate_title=True,
        legend_size=0.5,
        aspect_ratio=16.0,
        font_size=0.09,
        offset_x=-0.03,
    )
    pipeline.add_to_scene()
    try:
        viewport = Viewport(type=Viewport.Type.Perspective, camera_dir=(-2, 1.4, -1.1))
        viewport.overlays.append(legend)
        viewport.zoom_all(SIZE)
        viewport.fov *= 0.93  # zoom_all leaves room for a ball around the box
        viewport.render_image(size=SIZE, filename=str(path), renderer=TachyonRenderer())
    finally:
        pipeline.remove_from_scene()
    with Image.open(path) as image:  # 256 colors, dithered, in less than half of the bytes
        picture = image.convert("RGB")
    picture.quantize(palette=picture.quantize(256)).save(path, optimize=True)


if __name__ == "__main__":
    main()
