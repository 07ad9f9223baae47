"""The page of ``symgnn report``, opened in a browser: right numbers, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.neighborlist import neighbor_list

import symgnn.report
from conftest import random_glass
from symgnn.annotator import Annotator
from symgnn.cli import run
from symgnn.explain import Explanation, Fidelity, Provenance, write_explanations
from symgnn.keys import MODEL, MODEL_SHA256
from symgnn.samples import sample_glass
from symgnn.structures import read_structures, write_structures
from symgnn.training.checkpoint import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

# Pictures by software, so that the tests need no graphics card; nothing of Chromium's own asks
# the network.
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1024, "height": 640}, {"width": 390, "height": 844}
PATIENCE = 120_000  # ms; where many programs share the cores, a page may take long to open
DRAWN = 2e-3  # Å; positions travel in single precision


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium on the path, which opens the pages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=BROWSER_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page, and fails the test if it complains or asks for anything but itself."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: Path, *, fragment: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                complaints.append(f"asked for {request.url}")
                if not request.url.startswith((path.resolve().as_uri(), "data:", "blob:"))
                else None
            ),
        )
        page.goto(path.resolve().as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def annotated() -> Atoms:
    """The sample glass with barriers; not to be changed."""
    return Annotator("cuzr-fast").annotate(sample_glass())


@pytest.fixture(scope="module")
def sample_page(annotated: Atoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_structures(folder / "sample.xyz", [annotated])
    output = folder / "sample.html"
    assert run(["report", str(folder / "sample.xyz"), "-o", str(output)]) == 0
    return output


def small_glass(seed: int = 3) -> Atoms:
    """216 atoms with made-up barriers."""
    glass = random_glass(6, seed=seed)
    generator = np.random.default_rng(seed)
    glass.arrays["energy_barrier"] = generator.normal(1.5, 0.3, len(glass))
    return glass


def written(folder: Path, atoms: Atoms | list[Atoms], *arguments: str) -> Path:
    """The page about a structure."""
    structure, output = folder / "glass.xyz", folder / "glass.html"
    ase.io.write(structure, atoms, format="extxyz")
    assert run(["report", str(structure), "-o", str(output), *arguments]) == 0
    return output


def carried(path: Path) -> dict[str, Any]:
    """The data that a page carries."""
    text = path.read_text(encoding="utf-8")
    match = re.search('<script type="application/json" id="data">(.*?)</script>', text)
    assert match is not None
    data: dict[str, Any] = json.loads(match[1])
    return data


def floats(packed: dict[str, str]) -> np.ndarray:
    assert packed["type"] == "Float32Array"
    return np.frombuffer(base64.b64decode(packed["bytes"]), dtype="<f4")


def shown(page: Page) -> int:
    return int(page.evaluate("report.shown()"))


def values(page: Page) -> dict[str, str]:
    """What the card of the picked atom says."""
    names, texts = (page.locator(f"#values {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return dict(zip(names, texts, strict=True))


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


# --- picking ----------------------------------------------------------------------------------


def test_click_on_an_atom_shows_its_values(
    sample_page: Path, annotated: Atoms, opened: Callable[..., Page]
) -> None:
    page = opened(sample_page)
    box = page.locator("#glass").bounding_box()
    assert box is not None
    x, y = box["x"] + 0.5 * box["width"], box["y"] + 0.45 * box["height"]
    page.mouse.click(x, y)
    atom = page.evaluate("report.state.atom")
    assert atom >= 0
    # The sphere that was hit covers that place, and no shown atom in front of it does.
    places = page.evaluate(
        "[...Array(report.data.species.length).keys()].map((i) => {"
        " const p = report.data.positions.subarray(3 * i, 3 * i + 3);"
        " const camera = report.view.camera.matrixWorldInverse;"
        " const depth = new THREE.Vector3(...p).applyMatrix4(camera);"
        " return [...report.view.project(p), depth.z]; })"
    )
    pixels, depth = np.array(places)[:, :2], np.array(places)[:, 2]
    scale = page.evaluate(
        "report.view.canvas.clientWidth * report.view.camera.zoom"
        " / (report.view.camera.right - report.view.camera.left)"
    )
    radius = np.where(annotated.symbols == "Cu", 1.188, 1.575)
    under = (radius * scale) ** 2 - ((pixels - [x, y]) ** 2).sum(axis=1)
    front = np.where(under > 0, depth + np.sqrt(np.maximum(under, 0)) / scale, -np.inf)
    assert atom == front.argmax()

    said = values(page)
    for name, array in (
        ("energy barrier", "energy_barrier"),
        ("standard uncertainty", "energy_barrier_std"),
        ("out of distribution", "energy_barrier_ood"),
    ):
        number = float(said[name].split()[0].replace("−", "-"))
        assert number == pytest.approx(annotated.arrays[array][atom], abs=6e-4)
    barrier = annotated.arrays["energy_barrier"]
    found = np.array(page.evaluate("Array.from(report.data.barrier)"))
    np.testing.assert_allclose(found, barrier, rtol=0, atol=2e-7 * 2)
    share = 100 * (barrier < barrier[atom]).mean()
    assert float(said["among all atoms"].split("%")[0]) == pytest.approx(share, abs=0.51)
    assert page.locator("#picked-name").inner_text() == f"{annotated.symbols[atom]} {atom}"
    page.keyboard.press("Escape")
    assert page.evaluate("report.state.atom") == -1


def test_hover_names_the_atom(
    sample_page: Path, annotated: Atoms, opened: Callable[..., Page]
) -> None:
    page = opened(sample_page)
    page.locator("#glass").hover()
    page.wait_for_selector("#tip:not([hidden])")
    first, second = page.locator("#tip").inner_text().splitlines()
    symbol, atom = first.split()
    assert annotated.symbols[int(atom)] == symbol
    assert second.startswith(f"{annotated.arrays['energy_barrier'][int(atom)]:.3f} ± ")


@pytest.mark.parametrize("triclinic", [False, True])
def test_neighbors_are_those_of_ase_with_periodic_images(
    tmp_path: Path, opened: Callable[..., Page], triclinic: bool
) -> None:
    """Up to 7 Å in a box of 15.9 Å, some of them periodic images."""
    glass = small_glass()
    if triclinic:
        cell = glass.cell.array + np.array([[0, 0, 0], [5, 0, 0], [-3, 4, 0]])
        glass.set_cell(cell, scale_atoms=True)
        glass.pbc = [True, True, False]
    page = opened(written(tmp_path, glass), fragment="#atom=17")
    for reach in (3.5, 7.0):
        page.evaluate(
            f"(() => {{ const r = document.getElementById('reach'); r.value = {reach};"
            " r.dispatchEvent(new Event('input')); })()"
        )
        rows = page.locator("#neighbors tbody tr").all_inner_texts()
        found = [row.split() for row in rows]
        i, j, distance = neighbor_list("ijd", glass, reach)
        own = i == 17
        order = np.argsort(distance[own])
        assert len(found) == own.sum() > 0
        np.testing.assert_allclose([float(r[2]) for r in found], distance[own][order], atol=6e-3)
        assert sorted(int(r[1]) for r in found) == sorted(j[own].tolist())


@pytest.mark.parametrize("open_directions", [1, 2])
def test_slabs_and_wires_need_no_cell_along_open_directions(
    tmp_path: Path, opened: Callable[..., Page], open_directions: int
) -> None:
    glass = small_glass()
    cell = glass.cell.array.copy()
    cell[3 - open_directions :] = 0.0
    glass.set_cell(cell)
    glass.pbc = [number < 3 - open_directions for number in range(3)]
    glass.positions += [0.0, -30.0, 50.0]
    explanation = explanation_file(tmp_path / "e.json", explanation_of(glass, 17))
    page = opened(written(tmp_path, glass, "--explanation", str(explanation)), fragment="#atom=17")
    rows = [row.split() for row in page.locator("#neighbors tbody tr").all_inner_texts()]
    i, j = neighbor_list("ij", glass, float(page.evaluate("report.data.shell")))
    assert sorted(int(row[1]) for row in rows) == sorted(j[i == 17].tolist())


def test_positions_are_those_of_the_file(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """Cells of LAMMPS need not begin at 0."""
    glass = small_glass()
    glass.wrap()
    glass.positions -= 7.0
    glass.set_celldisp([-7.0] * 3)
    write_structures(tmp_path / "glass.xyz", [glass])
    assert run(["report", str(tmp_path / "glass.xyz"), "-o", str(tmp_path / "x.html")]) == 0
    page = opened(tmp_path / "x.html", fragment="#atom=17")
    position = values(page)["position"].replace("−", "-").removesuffix(" Å")
    shown = [float(number) for number in position.split(",")]
    np.testing.assert_allclose(shown, glass.positions[17], atol=0.006)


# --- what is shown ----------------------------------------------------------------------------


def test_thresholds_elements_and_slab_hide_atoms(
    tmp_path: Path, opened: Callable[..., Page]
) -> None:
    glass = small_glass()
    barrier = glass.arrays["energy_barrier"]
    page = opened(written(tmp_path, glass))
    assert shown(page) == len(glass)

    lowest, highest = page.locator("#thresholds input").all()
    lowest.focus()
    for _ in range(3):  # a reader without a mouse
        page.keyboard.press("PageUp")
    low, high = page.evaluate("[report.state.low, report.state.high]")
    assert high == pytest.approx(barrier.max(), abs=1e-6)
    assert shown(page) == (barrier >= low).sum() < len(glass)
    highest.focus()
    page.keyboard.press("PageDown")
    low, high = page.evaluate("[report.state.low, report.state.high]")
    inside = (barrier >= low) & (barrier <= high)
    assert shown(page) == inside.sum()
    assert f"{inside.sum()} of 216" in page.locator("#shown").inner_text()

    page.get_by_label("Zr").uncheck()
    inside &= glass.symbols == "Cu"
    assert shown(page) == inside.sum()

    page.select_option("#slab-axis", label="across b")
    start, end = page.evaluate("[report.state.from, report.state.to]")
    wrapped = glass.get_scaled_positions()[:, 1]
    inside &= (wrapped >= start) & (wrapped <= end)
    assert shown(page) == inside.sum() > 0
    mask = page.evaluate("Array.from(report.view.glass.paint).filter((_, i) => i % 4 === 3)")
    np.testing.assert_array_equal(np.array(mask) > 0, inside)
    # What is not shown cannot be picked.
    hidden = int(np.flatnonzero(~inside)[0])
    picked = page.evaluate(
        f"(() => {{ const p = report.data.positions.subarray({3 * hidden}, {3 * hidden + 3});"
        " return report.view.hit(...report.view.project(p)); })()"
    )
    assert picked != hidden

    page.get_by_role("button", name="Show all").click()
    assert shown(page) == len(glass)


def test_atoms_without_a_barrier_are_counted_apart(
    tmp_path: Path, opened: Callable[..., Page]
) -> None:
    glass = small_glass()
    glass.arrays["energy_barrier"][:50] = np.nan
    page = opened(written(tmp_path, glass), fragment="#atom=3")
    assert values(page)["energy barrier"] == "– eV"
    assert shown(page) == len(glass)
    page.locator("#thresholds input").first.press("PageUp")
    assert shown(page) < len(glass) - 50


# --- explanations -----------------------------------------------------------------------------


def explanation_of(glass: Atoms, atom: int) -> Explanation:
    """Every edge of the first shell, with importances that are all different."""
    i, j, vector = neighbor_list("ijD", glass, 3.6)
    own = i == atom
    atoms = np.concatenate([[atom], j[own]])
    count = len(atoms) - 1
    edges = np.column_stack([np.zeros(count, dtype=int), np.arange(1, count + 1)])
    generator = np.random.default_rng(0)
    shares = np.array([0.05, 0.1, 0.2])
    return Explanation(
        atom=atom,
        prediction=float(glass.arrays["energy_barrier"][atom]),
        atoms=atoms,
        positions=np.vstack([np.zeros(3), vector[own]]),
        edges=edges,
        importance=generator.permutation(count) / count,
        integrated_gradients=generator.normal(0.0, 0.1, count),
        leave_one_out=np.concatenate([[np.nan], generator.normal(0.0, 0.1, count)]),
        fidelity=Fidelity(shares, 10 * shares, shares, 2 * shares, 3 * shares),
    )


def explanation_file(path: Path, *explanations: Explanation) -> Path:
    provenance = Provenance(
        "0", {"name": "m", "sha256": "a" * 64}, {"file": "glass.xyz"}, {"learning_rate": 0.1}, 7
    )
    write_explanations(path, explanations, provenance)
    return path


def test_important_edges_of_an_explained_atom_are_drawn(
    tmp_path: Path, opened: Callable[..., Page]
) -> None:
    glass = small_glass()
    explanation = explanation_of(glass, 40)
    path = explanation_file(tmp_path / "explanation.json", explanation)
    page = opened(written(tmp_path, glass, "--explanation", str(path)))
    page.locator("#explained").get_by_role("button", name="40").click()
    count = len(explanation.edges)
    assert page.evaluate("report.view.links.count") == min(30, count)

    def strongest(measure: str, number: int) -> list[dict[str, Any]]:
        page.select_option("#measure", measure)
        page.evaluate(
            f"(() => {{ const e = document.getElementById('edges'); e.value = {number};"
            " e.dispatchEvent(new Event('input')); })()"
        )
        assert page.evaluate("report.view.links.count") == number
        edges: list[dict[str, Any]] = page.evaluate("report.state.edges")
        return edges

    for measure, weight in (
        ("importance", explanation.importance),
        ("gradients", np.abs(explanation.integrated_gradients)),
    ):
        edges = strongest(measure, 4)
        expected = np.argsort(-weight)[:4]
        for edge, number in zip(edges, expected, strict=True):
            np.testing.assert_allclose(edge["from"], explanation.positions[number + 1], atol=DRAWN)
            np.testing.assert_allclose(edge["to"], 0.0, atol=DRAWN)
    trust = page.locator("#fidelity").inner_text()
    assert "top 10% of the edges the barrier changes by 1.00 eV" in trust
    assert "random ones of the same lengths and steps away by 0.30 eV" in trust
    assert "(same lengths only: 0.20 eV)" in trust
    assert "do not read the eV" in trust
    assert "learning_rate 0.1, seed 7" in page.locator(".provenance").inner_text()
    # What leaving a neighbor out changes stands beside the neighbor that was left out.
    rows = [row.split() for row in page.locator("#neighbors tbody tr").all_inner_texts()]
    nearest = np.argmin(explanation.distances[1:]) + 1
    assert int(rows[0][1]) == explanation.atoms[nearest]
    change = float(rows[0][4].replace("−", "-"))
    assert change == pytest.approx(explanation.leave_one_out[nearest], abs=6e-4)
    # An atom that was not explained has no edges.
    page.get_by_role("button", name="Clear").click()
    page.fill("#number", "41")
    page.press("#number", "Enter")
    assert not page.locator("#explanation").is_visible()


def test_explanation_of_another_structure_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = explanation_file(tmp_path / "explanation.json", explanation_of(small_glass(), 200))
    for other in (small_glass()[:100], small_glass(seed=4)):
        ase.io.write(tmp_path / "other.xyz", other, format="extxyz")
        arguments = [str(tmp_path / "other.xyz"), "--explanation", str(path)]
        assert run(["report", *arguments, "-o", str(tmp_path / "x.html")]) == 1
        assert "give the structure that was explained" in complaint(capsys)
        assert not (tmp_path / "x.html").exists()


def test_a_page_takes_so_many_explained_atoms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    glass = small_glass()
    explained = [explanation_of(glass, atom) for atom in (40, 41, 42)]
    path = explanation_file(tmp_path / "explanation.json", *explained)
    ase.io.write(tmp_path / "glass.xyz", glass, format="extxyz")
    arguments = ["report", str(tmp_path / "glass.xyz"), "--explanation", str(path)]
    sizes = []
    for most, line in ((3, "3 explained"), (1, "the first 1 of 3 explained atoms")):
        monkeypatch.setattr("symgnn.report.structure.MOST_EXPLAINED", most)
        assert run([*arguments, "-o", str(tmp_path / "x.html")]) == 0
        assert line in capsys.readouterr().err
        sizes.append((tmp_path / "x.html").stat().st_size)
    assert sizes[1] < sizes[0]


def test_explanations_of_another_model_are_pointed_out(
    tmp_path: Path,
) -> None:
    glass = small_glass()
    path = explanation_file(tmp_path / "explanation.json", explanation_of(glass, 40))
    warned = []
    for checksum in ("a" * 64, "b" * 64, None):  # of the explanations, of another one, labels
        glass.info.pop(MODEL_SHA256, None)
        if checksum is not None:
            glass.info |= {MODEL: "simple", MODEL_SHA256: checksum}
        page = written(tmp_path, glass, "--explanation", str(path))
        warned.append("of another model (m) than the barriers (simple)" in page.read_text())
    assert warned == [False, True, False]


# --- everywhere -------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_has_no_horizontal_scroll_and_a_tap_picks(
    sample_page: Path, opened: Callable[..., Page], tmp_path: Path, scheme: str
) -> None:
    page = opened(sample_page, viewport=PHONE, has_touch=True, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("#view").scroll_into_view_if_needed()
    box = page.locator("#glass").bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.evaluate("report.state.atom") >= 0
    assert page.locator("#tip").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    picture = page.locator("#glass").screenshot(path=tmp_path / "phone.png")
    colors = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(colors.removeprefix("rgb(").split(",")[0])
    assert (red < 80) == (scheme == "dark")
    assert len(picture) > 20_000  # more than an empty ground


def test_keyboard_turns_and_zooms(sample_page: Path, opened: Callable[..., Page]) -> None:
    page = opened(sample_page)
    look = "[...report.view.camera.position.toArray(), report.view.camera.zoom]"
    page.locator("#glass").focus()
    before = page.evaluate(look)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("+")
    after = page.evaluate(look)
    assert after[3] > before[3]
    assert np.linalg.norm(np.subtract(after[:3], before[:3])) > 1.0
    page.keyboard.press("Home")
    np.testing.assert_allclose(page.evaluate(look), before, atol=1e-6)


def test_page_cannot_reach_the_network(tmp_path: Path, browser: Browser) -> None:
    context = browser.new_context(viewport=DESKTOP)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.split(":")[0]))
    page.add_init_script(
        "window.refused = []; document.addEventListener('securitypolicyviolation',"
        " (event) => window.refused.push(event.violatedDirective));"
    )
    page.goto(written(tmp_path, small_glass()).as_uri())
    page.locator("#by-element svg").first.wait_for()
    assert page.evaluate("window.refused") == []
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'evil = 1'}))"
    )
    assert page.evaluate("[typeof evil, ...window.refused]") == ["undefined", "script-src-elem"]
    outcome = page.evaluate(
        "fetch('https://symgnn.invalid/').then(() => 'reached', (error) => error.name)"
    )
    assert outcome == "TypeError"
    assert page.evaluate("window.refused.at(-1)") == "connect-src"
    context.close()
    assert set(asked) <= {"file", "data"}


def test_without_webgl_statistics_stay_readable(tmp_path: Path, browser: Browser) -> None:
    glass = small_glass()
    context = browser.new_context(viewport=DESKTOP)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(written(tmp_path, glass).as_uri())
    assert "no WebGL" in page.locator("#missing").inner_text()
    assert (
        f"{glass.arrays['energy_barrier'].mean():.3f}" in page.locator("#statistics").inner_text()
    )
    page.locator("#by-element svg").first.wait_for()
    page.fill("#number", "5")
    page.press("#number", "Enter")
    assert values(page)["energy barrier"] == f"{glass.arrays['energy_barrier'][5]:.4f} eV"
    context.close()


def test_strings_of_users_stay_text(tmp_path: Path, opened: Callable[..., Page]) -> None:
    glass = small_glass()
    evil = "<img src=x onerror=alert(1)>&amp;</script><b>"
    glass.info["symgnn_model"] = evil
    name = tmp_path / "<b>bold & $title.xyz"
    write_structures(name, [glass])
    output = tmp_path / "page.html"
    assert run(["report", str(name), "-o", str(output)]) == 0
    page = opened(output)
    assert page.locator("h1").inner_text() == name.name
    assert page.evaluate("report.data.name") == name.name
    assert evil in page.locator(".provenance").inner_text()
    assert page.locator("img").count() == 0


# --- structures and trajectories --------------------------------------------------------------


def test_structure_without_barriers_is_annotated(
    tmp_path: Path, annotated: Atoms, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = annotated.copy()
    for name in ("energy_barrier", "energy_barrier_std", "energy_barrier_ood"):
        del plain.arrays[name]
    plain.info.clear()
    plain.arrays["c_energy"] = np.zeros(len(plain))
    page = written(tmp_path, plain)
    said = capsys.readouterr().err
    assert "no column energy_barrier (columns: c_energy): predicted by cuzr\n" in said
    found = floats(carried(page)["barrier"])
    annotator = Annotator("cuzr")
    expected = annotator.predict(read_structures(tmp_path / "glass.xyz"))[0][:, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    text = page.read_text(encoding="utf-8")
    assert f"<dd>{annotator.sha256}</dd>" in text
    assert "page (barriers of the relaxed copy; positions as in the file)<" in text
    assert hashlib.sha256((tmp_path / "glass.xyz").read_bytes()).hexdigest() in text


def test_named_model_replaces_what_the_file_says(
    tmp_path: Path, opened: Callable[..., Page]
) -> None:
    glass = small_glass()
    glass.arrays["energy_barrier_std"] = np.full(len(glass), 9.0)
    path = written(tmp_path, glass, "--model", "cuzr-fast")
    expected = Annotator("cuzr-fast").predict([glass])[0]
    found = [floats(carried(path)[name]) for name in ("barrier", "std", "ood")]
    np.testing.assert_allclose(found, expected.T, rtol=1e-3, atol=2e-5)
    assert "Do not trust these barriers" in opened(path).locator(".warning").inner_text()


def test_column_of_a_dump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    glass = small_glass()
    glass.info[MODEL] = "other"
    glass.arrays["energy_barrier_std"] = glass.arrays["energy_barrier_ood"] = np.ones(len(glass))
    glass.arrays["c_barrier"] = np.linspace(1.0, 2.0, len(glass))
    first = glass.copy()  # of a live run, before its first average
    first.arrays["c_barrier"][:] = 0.0
    page = written(tmp_path, [first, glass, glass], "--column", "c_barrier")
    data = carried(page)
    assert data["frames"]["at"] == [1, 2]
    np.testing.assert_allclose(floats(data["barrier"]), glass.arrays["c_barrier"], atol=1e-6)
    assert data["std"] is data["ood"] is None  # they are of other barriers
    assert "column c_barrier of the file, which names no model" in page.read_text(encoding="utf-8")
    capsys.readouterr()
    again = ["report", str(tmp_path / "glass.xyz"), "-o", str(page), "--column"]
    assert run([*again, "c_barriers"]) == 1
    assert "no per-atom column c_barriers" in complaint(capsys)
    assert run([*again, "c_barrier", "--model", "cuzr-fast"]) == 2
    assert "give one of them" in complaint(capsys)


def test_a_structure_without_a_cell_is_told_apart(tmp_path: Path) -> None:
    glass = small_glass()
    glass.pbc, glass.cell = False, None
    page = written(tmp_path, glass, "--model", "cuzr-fast").read_text(encoding="utf-8")
    assert "the structure is not periodic and has no cell" in page


def test_statistics_table(tmp_path: Path, opened: Callable[..., Page]) -> None:
    glass = small_glass()
    page = opened(written(tmp_path, glass))
    rows = page.locator("#statistics tbody tr").all_inner_texts()
    symbols = np.array(glass.get_chemical_symbols())
    assert len(rows) == 3
    for row, kind in zip(rows, ("Cu", "Zr", "all"), strict=True):
        chosen = (symbols == kind) | (kind == "all")
        own = glass.arrays["energy_barrier"][chosen]
        quantiles = np.quantile(own, [0.05, 0.25, 0.5, 0.75, 0.95])
        expected = [own.mean(), own.std(), own.min(), *quantiles, own.max()]
        name, count, *numbers = row.split()
        assert (name, int(count)) == (kind, chosen.sum())
        np.testing.assert_allclose([float(n) for n in numbers], expected, atol=6e-4)


def test_trajectory_shows_the_chosen_frame_and_all_means(
    tmp_path: Path, opened: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [small_glass(seed) for seed in range(4)]
    for number, expected in (("1", 1), ("-3", 1), ("-1", 3)):
        path = written(tmp_path, frames, "--frame", number)
        data = carried(path)
        barrier = frames[expected].arrays["energy_barrier"]
        np.testing.assert_allclose(floats(data["barrier"]), barrier, atol=1e-6)
        assert data["frames"]["chosen"] == expected
    barriers = np.array([frame.arrays["energy_barrier"] for frame in frames])
    np.testing.assert_allclose(data["frames"]["mean"], barriers.mean(axis=1), rtol=1e-6)
    quantiles = np.quantile(barriers, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
    np.testing.assert_allclose(data["frames"]["quantiles"], quantiles, rtol=1e-6)
    page = opened(path)
    page.locator("#over-time svg").first.wait_for()
    capsys.readouterr()
    assert run(["report", str(tmp_path / "glass.xyz"), "--frame", "4", "-o", "x.html"]) == 1
    assert "has 4 structures and no number 4: choose --frame 0 to 3, or" in complaint(capsys)
    write_structures(tmp_path / "one.xyz", frames[:1])
    assert run(["report", str(tmp_path / "one.xyz"), "--frame", "4", "-o", "x.html"]) == 1
    assert "has 1 structure and no number 4: choose --frame 0, or -1" in complaint(capsys)


def test_frames_before_the_first_average_do_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [small_glass(seed) for seed in range(3)]
    frames[0].arrays["energy_barrier"][:] = 0.0
    data = carried(written(tmp_path, frames))["frames"]
    means = [frame.arrays["energy_barrier"].mean() for frame in frames[1:]]
    np.testing.assert_allclose(data["mean"], means, rtol=1e-6)
    assert (data["at"], data["chosen"]) == ([1, 2], 1)
    capsys.readouterr()
    assert run(["report", str(tmp_path / "glass.xyz"), "--frame", "0", "-o", "x.html"]) == 1
    assert "structure 0: all values of energy_barrier are 0" in complaint(capsys)


@pytest.mark.parametrize(
    ("column", "message"),
    [(np.full(216, np.nan), "has no value"), (np.zeros((216, 2)), "not one number per atom")],
)
def test_useless_columns_are_refused(
    tmp_path: Path, column: np.ndarray, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    glass = small_glass()
    glass.arrays["energy_barrier"] = column
    ase.io.write(tmp_path / "glass.xyz", glass, format="extxyz")
    assert run(["report", str(tmp_path / "glass.xyz"), "-o", str(tmp_path / "x.html")]) == 1
    error = complaint(capsys)
    assert message in error
    assert "--model" in error


def test_columns_beside_the_barriers_may_be_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glass = small_glass()
    glass.arrays["id"] = np.array([f"a{number}" for number in range(len(glass))])
    glass.arrays["energy_barrier_std"] = np.where(glass.symbols == "Cu", np.nan, 0.1)
    page = written(tmp_path, glass).read_text(encoding="utf-8")
    assert "<td>–</td></tr>" in page  # of copper, no uncertainty is known
    capsys.readouterr()
    glass.arrays["energy_barrier_std"] = glass.arrays["id"]
    ase.io.write(tmp_path / "glass.xyz", glass, format="extxyz")
    assert run(["report", str(tmp_path / "glass.xyz"), "-o", str(tmp_path / "x.html")]) == 1
    assert "column energy_barrier_std is not one number per atom" in complaint(capsys)


def test_positions_that_blew_up_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glass = small_glass()
    glass.pbc, glass.cell = False, None
    glass.positions[7] = np.nan
    ase.io.write(tmp_path / "glass.xyz", glass, format="extxyz")
    assert run(["report", str(tmp_path / "glass.xyz"), "-o", str(tmp_path / "x.html")]) == 1
    assert "not finite numbers, the first at index 7" in complaint(capsys)


def test_atoms_without_neighbors_have_a_page(tmp_path: Path) -> None:
    two = Atoms("CuZr", positions=[[0, 0, 0], [20, 20, 20]], cell=[40] * 3, pbc=True)
    two.arrays["energy_barrier"] = np.array([1.0, 2.0])
    assert carried(written(tmp_path, two))["shell"] == 3.7


def test_unwritable_page_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ase.io.write(tmp_path / "glass.xyz", small_glass(), format="extxyz")
    assert run(["report", str(tmp_path / "glass.xyz"), "-o", str(tmp_path / "no" / "x.html")]) == 1
    assert "cannot write" in complaint(capsys)


def test_a_page_never_replaces_what_it_is_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    structure = tmp_path / "glass.xyz"
    ase.io.write(structure, small_glass(), format="extxyz")
    before = structure.read_bytes()
    (tmp_path / "link.html").symlink_to(structure)
    for name in ("glass.xyz", "link.html"):
        assert run(["report", str(structure), "-o", str(tmp_path / name)]) == 1
        assert "would replace" in complaint(capsys)
    assert structure.read_bytes() == before


# --- runs -------------------------------------------------------------------------------------


def trained(folder: Path, name: str, settings: dict[str, Any]) -> Path:
    """The output folder of a short training on four small glasses."""
    for number in range(4):
        ase.io.write(folder / f"g{number}.xyz", small_glass(number), format="extxyz")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"output": name, **settings}))
    assert run(["train", str(folder / f"{name}.yaml")]) == 0
    return folder / name


NETWORK = {
    "data": {"train": ["g0.xyz"], "validation": ["g1.xyz"]},
    "model": {"architecture": "gcn"},
    "epochs": 3,
}
REGRESSION = {
    "data": {"train": ["g0.xyz", "g2.xyz", "g3.xyz"]},
    "model": {"architecture": "density_regression"},
}


FORMULA = {"data": REGRESSION["data"], "model": {"architecture": "formula"}}
MIXTURE = {
    "data": REGRESSION["data"],
    "model": {"architecture": "mixture", "network": {"width": 4, "heads": [1]}},
    "epochs": 1,
}


def test_run_of_a_network(tmp_path: Path, opened: Callable[..., Page]) -> None:
    threads = torch.get_num_threads()
    folder = trained(tmp_path, "run<1>", NETWORK)
    output = tmp_path / "run.html"
    assert run(["report", str(folder), "-o", str(output)]) == 0
    assert torch.get_num_threads() == threads
    page = opened(output, viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator("h1").inner_text() == "run<1>"
    for name in ("pearson", "loss", "errors", "rate"):
        page.locator(f"#{name} svg").first.wait_for()
    rows = np.loadtxt(folder / "metrics.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(page.evaluate("data.epochs.loss"), rows[:, 1])
    recorded = load_checkpoint(folder / "best.ckpt")["validation"]
    (parity,) = page.evaluate("data.parities.map(({name, pearson}) => [name, pearson])")
    assert parity == ["validation", pytest.approx(recorded["pearson"], abs=1e-5)]
    assert f"{recorded['mae']:.4f}" in page.locator("table").inner_text()
    assert "architecture: gcn" in page.locator("pre").inner_text()
    page.locator("#parities svg").first.wait_for()


@pytest.mark.parametrize(
    "settings",
    [REGRESSION, FORMULA, MIXTURE],
    ids=lambda settings: settings["model"]["architecture"],
)
def test_run_with_structures_left_out_is_compared_with_their_labels(
    tmp_path: Path, opened: Callable[..., Page], settings: dict[str, Any]
) -> None:
    folder = trained(tmp_path, "fit", settings)
    output = tmp_path / "run.html"
    assert run(["report", str(folder), "-o", str(output)]) == 0
    page = opened(output)
    recorded = load_checkpoint(folder / "best.ckpt")["held_out"]
    (parity,) = page.evaluate("data.parities.map(({name, pearson}) => [name, pearson])")
    assert parity == ["held out", pytest.approx(recorded["pearson"], abs=1e-4)]
    assert not page.locator("#training").is_visible()

    # A checkpoint from before, or one without its data: the page says why nothing is compared.
    content = load_checkpoint(folder / "best.ckpt")
    older = {key: value for key, value in content.items() if key != "held_out_predictions"}
    save_checkpoint(folder / "best.ckpt", older)
    assert run(["report", str(folder), "-o", str(output)]) == 0
    assert "left out were kept; fit again" in output.read_text(encoding="utf-8")
    save_checkpoint(folder / "best.ckpt", content)
    (tmp_path / "g2.xyz").write_bytes((tmp_path / "g3.xyz").read_bytes())
    assert run(["report", str(folder), "-o", str(output)]) == 0
    assert "g2.xyz has changed since the training" in output.read_text(encoding="utf-8")
    (tmp_path / "g2.xyz").unlink()
    assert run(["report", str(folder), "-o", str(output)]) == 0
    assert "is in none of the folders above" in output.read_text(encoding="utf-8")


def test_folders_that_are_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path), "-o", str(tmp_path / "x.html")]) == 1
    assert "holds no run" in complaint(capsys)
    assert run(["report", str(tmp_path), "--model", "cuzr-fast", "--frame", "0"]) == 2
    assert "--model, --frame" in complaint(capsys)


# --- what is embedded -------------------------------------------------------------------------


def test_embedded_libraries_are_the_recorded_ones() -> None:
    folder = Path(symgnn.report.__file__).parent / "vendor"
    lines = (folder / "SHA256SUMS").read_text().split("\n")[:-1]
    recorded = dict(line.split("  ")[::-1] for line in lines)
    assert sorted(recorded) == sorted(path.name for path in folder.glob("*.min.js"))
    for name, sha256 in recorded.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        assert (folder / name.replace(".min.js", ".LICENSE.txt")).stat().st_size > 1000
