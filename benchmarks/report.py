"""How fast is the page of ``symgnn report``? Clicks, thresholds and loading, measured in the page.

Slabs of the sample glass of 3,000 to 30,000 atoms, opened in headless Chromium. A click is a
pointer event on the picture at a random place: its time runs from the event until the page shows
values, neighbors and place in the distribution (handled), and until the browser's next frame (next
frame). Pictures are drawn by software here, which is what the longest of those times show; a
graphics card takes that part over.

    python benchmarks/report.py [--output benchmarks/results] [--picture docs/images/report.png]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from symgnn import Annotator, write_structures
from symgnn.errors import NovelStructureWarning
from symgnn.report import report_structure
from symgnn.samples import sample_glass, sample_slab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZES = (3_000, 8_000, 30_000)
PROMISED, SIZE_PROMISED = 100.0, 8_000
"""Milliseconds for a click to be handled, at that many atoms."""

SOFTWARE_GRAPHICS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
MEASURE = """
async () => {
  const canvas = document.getElementById("glass");
  const nextFrame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const timed = async (act) => {
    await nextFrame();
    const began = performance.now();
    act();
    const handled = performance.now() - began;
    await nextFrame();
    return [handled, performance.now() - began];
  };
  const box = canvas.getBoundingClientRect();
  let seed = 1;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const click = () => {
    const place = {
      clientX: box.left + box.width * (0.3 + 0.4 * random()),
      clientY: box.top + box.height * (0.3 + 0.4 * random()),
      button: 0, isPrimary: true, pointerId: 1, pointerType: "mouse", bubbles: true,
    };
    canvas.dispatchEvent(new PointerEvent("pointerdown", place));
    canvas.dispatchEvent(new PointerEvent("pointerup", place));
  };
  const slider = document.querySelector("#thresholds input");
  const slide = () => {
    slider.value = Number(slider.min) + random() * (slider.max - slider.min) * 0.5;
    slider.dispatchEvent(new Event("input"));
  };
  const result = { click: [], threshold: [], hit: [], picked: 0 };
  for (let i = 0; i < 12; i++) {
    result.click.push(await timed(click));
    result.picked += report.state.atom >= 0;
    const began = performance.now();
    report.view.hit(box.left + box.width / 2, box.top + box.height / 2);
    result.hit.push([performance.now() - began, 0]);
  }
  report.pick(-1);
  for (let i = 0; i < 5; i++) result.threshold.push(await timed(slide));
  return result;
}
"""


def measure(browser: Browser, atoms: int) -> dict[str, Any]:
    """Numbers of one page, times in ms."""
    slab = sample_slab(atoms)
    with warnings.catch_warnings():  # surfaces, which the model does not know
        warnings.simplefilter("ignore", NovelStructureWarning)
        Annotator("cuzr-fast").annotate(slab)
    with tempfile.TemporaryDirectory() as folder:
        structure, output = Path(folder) / "slab.xyz", Path(folder) / "slab.html"
        write_structures(structure, [slab])
        began = time.perf_counter()
        report_structure(str(structure), output)
        writing = time.perf_counter() - began
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        began = time.perf_counter()
        page.goto(output.as_uri())
        page.wait_for_function("report.view !== null")
        loading = time.perf_counter() - began
        times = page.evaluate(MEASURE)
        page.close()
        size = output.stat().st_size
    row: dict[str, Any] = {
        "atoms": atoms,
        "megabytes": size / 1e6,
        "write_seconds": writing,
        "load_seconds": loading,
        "clicks": len(times["click"]),
        "clicks_on_atoms": times["picked"],
    }
    for name in ("hit", "click", "threshold"):
        handled, following = np.array(times[name]).T
        row[f"{name}_median"], row[f"{name}_longest"] = np.median(handled), handled.max()
        if name != "hit":
            row[f"{name}_next_frame_median"] = np.median(following)
            row[f"{name}_next_frame_longest"] = following.max()
    return row


def draw(browser: Browser, path: Path) -> None:
    """The page about the sample glass, its softest atom picked, in 256 colors."""
    with tempfile.TemporaryDirectory() as folder:
        structure, output = Path(folder) / "glass.xyz", Path(folder) / "glass.html"
        write_structures(structure, [sample_glass()])
        report_structure(str(structure), output)
        page = browser.new_page(viewport={"width": 1320, "height": 960})
        page.goto(output.as_uri())
        page.get_by_role("button", name="lowest").click()
        page.evaluate("report.view.turn(-0.25, -0.1)")
        page.wait_for_timeout(2000)
        page.screenshot(path=path)
        page.close()
    picture = Image.open(path).convert("RGB")
    dithered = picture.quantize(palette=picture.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)
    dithered.save(path, optimize=True)


def main() -> int:
    """Measure, print, write ``report.json`` and ``report.txt``; 1 where the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--picture", type=Path, help="Draw the page into this PNG, and stop.")
    options = parser.parse_args()
    output = options.output
    program = shutil.which("chromium")
    if program is None:
        sys.exit("needs chromium on the path: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", *SOFTWARE_GRAPHICS]
        )
        if options.picture is not None:
            draw(browser, options.picture)
            return 0
        rows = [measure(browser, atoms) for atoms in SIZES]
        version = browser.version
        browser.close()
    machine = f"{os.cpu_count()} cores, Chromium {version}, pictures by software (SwiftShader)"
    heading = (
        f"{'atoms':>7} {'page':>8} {'written':>8} {'loaded':>7} {'hit':>11} {'click handled':>15}"
        f" {'next frame':>15} {'threshold':>14} {'next frame':>15}"
    )
    explanation = (
        "milliseconds, median (longest) of 12 clicks and 5 moves of a threshold; hit: which atom is"
        " under the pointer"
    )
    lines = [f"machine: {machine}; shared with other work", explanation, heading]
    for row in rows:
        cells = [
            f"{row[f'{name}_median']:.1f} ({row[f'{name}_longest']:.1f})"
            for name in ("hit", "click", "click_next_frame", "threshold", "threshold_next_frame")
        ]
        lines.append(
            f"{row['atoms']:7d} {row['megabytes']:5.1f} MB {row['write_seconds']:6.1f} s"
            f" {row['load_seconds']:5.1f} s {cells[0]:>11} {cells[1]:>15} {cells[2]:>15}"
            f" {cells[3]:>14} {cells[4]:>15}"
        )
    print("\n".join(lines))
    (output / "report.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    content = {"machine": machine, "unit": "ms", "rows": rows}
    (output / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (promised,) = (row for row in rows if row["atoms"] == SIZE_PROMISED)
    return int(promised["click_longest"] > PROMISED)


if __name__ == "__main__":
    sys.exit(main())
