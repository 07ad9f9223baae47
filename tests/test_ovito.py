"""The OVITO modifier gives the numbers of Python, and OVITO reads what annotate writes."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ovito.io import export_file, import_file

from symgnn import ovito as symgnn_ovito
from symgnn.annotator import Annotator
from symgnn.errors import ModelError, NovelStructureWarning, StructureError
from symgnn.ovito import EnergyBarrierModifier
from symgnn.plots.style import BARRIER_COLORS, barrier_range
from symgnn.samples import GLASS, sample_glass, write_sample
from symgnn.structures import read_structures, write_structures
from tiny_model import write_tiny_model

if TYPE_CHECKING:
    from ase import Atoms

FILE_ROUNDING = 1e-4
"""eV; the files keep eight to ten digits of a position, and the network is in single precision."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    symgnn_ovito._annotator.cache_clear()
    return tmp_path


@pytest.fixture
def model() -> str:
    return str(write_tiny_model(Path("model.pt")))


def computed(file: str, frame: int = 0, **parameters: Any) -> Any:
    pipeline = import_file(file)
    pipeline.modifiers.append(EnergyBarrierModifier(**parameters))
    return pipeline.compute(frame)


def barriers(data: Any) -> np.ndarray:
    """In the order of the particle identifiers, where the file has them."""
    found = np.asarray(data.particles["Energy Barrier"])
    identifiers = data.particles.identifiers
    return found if identifiers is None else found[np.argsort(np.asarray(identifiers))]


def test_every_frame_with_one_annotator(glass: Atoms, model: str) -> None:
    frames = [glass.copy() for _ in range(4)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
    write_structures("run.xyz", frames)
    pipeline = import_file("run.xyz")
    modifier = EnergyBarrierModifier(model=model)
    pipeline.modifiers.append(modifier)
    assert pipeline.num_frames == 4
    expected = Annotator(model).predict(read_structures("run.xyz"))
    for frame in (2, 0, 1, 3):
        data = pipeline.compute(frame)
        np.testing.assert_allclose(barriers(data), expected[frame][:, 0], rtol=0, atol=1e-9)
        assert data.attributes["symgnn_model"] == "model"
        assert data.attributes["symgnn_model_sha256"] == Annotator(model).sha256
    assert symgnn_ovito._annotator.cache_info().misses == 1
    modifier.chunk = 7
    np.testing.assert_allclose(barriers(pipeline.compute(1)), expected[1][:, 0], rtol=0, atol=1e-9)
    assert symgnn_ovito._annotator.cache_info().misses == 2


def test_the_sample_glass_with_the_shipped_model() -> None:
    write_sample(".")
    data = computed(GLASS)
    expected = Annotator("cuzr-fast").predict([sample_glass()])[0]
    order = np.argsort(np.asarray(data.particles["Particle Identifier"]))
    for column, name in enumerate(["Energy Barrier", "Energy Barrier Std", "Energy Barrier OOD"]):
        found = np.asarray(data.particles[name])[order]
        np.testing.assert_allclose(found, expected[:, column], rtol=0, atol=FILE_ROUNDING)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 0, 0)])
def test_tilted_and_partly_periodic_cells_and_unwrapped_positions(
    glass: Atoms, model: str, pbc: tuple[int, int, int]
) -> None:
    cell = glass.cell.array.copy()
    cell[1, 0], cell[2, 0], cell[2, 1] = 4.0, -3.0, 5.0
    glass.set_cell(cell, scale_atoms=True)
    glass.pbc = pbc
    (expected,) = Annotator(model).predict([glass])
    jumps = np.random.default_rng(0).integers(-3, 4, (len(glass), 3)) * np.array(pbc)
    glass.positions += jumps @ cell
    glass.set_celldisp([3.0, -2.0, 1.0])
    glass.positions += [3.0, -2.0, 1.0]
    write_structures("far.dump", [glass])
    data = computed("far.dump", model=model)
    assert tuple(data.cell.pbc) == tuple(map(bool, pbc))
    np.testing.assert_allclose(barriers(data), expected[:, 0], rtol=0, atol=1e-6)


def nameless(glass: Atoms, name: str) -> str:
    """A LAMMPS dump without an element column."""
    write_structures(name, [glass])
    text = Path(name).read_text().replace(" element ", " ")
    Path(name).write_text(text.replace(" Cu ", " ").replace(" Zr ", " "))
    return name


def test_types_without_names_take_those_of_the_modifier(glass: Atoms, model: str) -> None:
    (expected,) = Annotator(model).predict([glass])
    file = nameless(glass, "types.dump")
    for elements in ("Cu Zr", "Cu,Zr"):
        found = barriers(computed(file, model=model, elements=elements))
        np.testing.assert_allclose(found, expected[:, 0], rtol=0, atol=1e-6)
    for elements in ("", "Cu"):
        with pytest.raises(StructureError, match=r"particle type \d .without a name.*elements="):
            computed(file, model=model, elements=elements)
    # Names in the file win: the numbers of its types may be in any order.
    write_structures("named.xyz", [glass])
    found = barriers(computed("named.xyz", model=model, elements="Zr Cu"))
    np.testing.assert_allclose(found, expected[:, 0], rtol=0, atol=1e-6)


def test_particle_type_zero_is_no_element(model: str) -> None:
    Path("zero.dump").write_text(
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n"
        + 3 * "0 20\n"
        + "ITEM: ATOMS id type x y z\n1 0 1 1 1\n2 1 3 1 1\n"
    )
    with pytest.raises(StructureError, match="particle type 0"):
        computed("zero.dump", model=model, elements="Cu Zr")


def test_what_cannot_be_annotated_is_one_line(glass: Atoms, model: str) -> None:
    write_structures("glass.xyz", [glass])
    with pytest.raises(ModelError, match=r"no model file 'none\.pt'"):
        computed("glass.xyz", model="none.pt")
    with pytest.raises(ModelError, match="abacus"):
        computed("glass.xyz", model=model, device="abacus")
    glass.symbols[:3] = "Al"
    write_structures("aluminum.xyz", [glass])
    with pytest.raises(StructureError, match=r"was not trained on Al; it knows Cu, Zr") as caught:
        computed("aluminum.xyz", model=model)
    assert "\n" not in str(caught.value)


def test_a_model_that_was_written_anew_is_loaded_anew(glass: Atoms, model: str) -> None:
    write_structures("glass.xyz", [glass])
    before = computed("glass.xyz", model=model)
    assert "Energy Barrier Std" not in before.particles
    write_tiny_model(Path(model), std=True)
    assert "Energy Barrier Std" in computed("glass.xyz", model=model).particles


def test_strange_surroundings_warn(glass: Atoms) -> None:
    write_structures("glass.xyz", [glass])
    with pytest.warns(NovelStructureWarning, match="unlike those"):
        computed("glass.xyz")


@pytest.mark.parametrize("name", ["annotated.xyz", "annotated.dump", "annotated.dump.gz"])
def test_ovito_reads_the_columns_that_annotate_writes(name: str) -> None:
    glass = Annotator("cuzr-fast").annotate(sample_glass())
    write_structures(name, [glass, glass])
    pipeline = import_file(name)
    assert pipeline.num_frames == 2
    data = pipeline.compute(1)
    for column in ("energy_barrier", "energy_barrier_std", "energy_barrier_ood"):
        found = np.asarray(data.particles[column])
        np.testing.assert_allclose(found, glass.arrays[column], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(data.particles.positions, glass.positions, atol=1e-6)
    assert all(data.cell.pbc)


def test_what_ovito_exports_comes_back(glass: Atoms, model: str) -> None:
    write_structures("glass.xyz", [glass])
    columns = ["Particle Type", "Position.X", "Position.Y", "Position.Z", "Energy Barrier"]
    export_file(computed("glass.xyz", model=model), "out.xyz", "xyz", columns=columns)
    (atoms,) = read_structures("out.xyz")
    (name,) = set(atoms.arrays) - {"numbers", "positions"}
    (expected,) = Annotator(model).predict([glass])
    np.testing.assert_allclose(atoms.arrays[name], expected[:, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "order", ["ovito torch matplotlib.pyplot", "torch matplotlib.pyplot ovito"]
)
def test_ovito_torch_and_matplotlib_share_a_process(order: str) -> None:
    write_sample(".")
    code = f"""
for name in {order.split()!r}:
    __import__(name)
from matplotlib.figure import Figure
from ovito.io import import_file
from symgnn.ovito import EnergyBarrierModifier
pipeline = import_file({GLASS!r})
pipeline.modifiers.append(EnergyBarrierModifier())
found = pipeline.compute().particles["Energy Barrier"]
figure = Figure()
figure.subplots().hist(found)
figure.savefig("h.png")
print(found[...].mean())
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    expected = Annotator("cuzr-fast").predict([sample_glass()])[0][:, 0].mean()
    assert float(result.stdout) == pytest.approx(expected, abs=1e-5)


def test_the_documented_script_runs(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sample("glass")
    page = (repository / "docs" / "viewers.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(script, {})
    mean = Annotator("cuzr-fast").predict([sample_glass()])[0][:, 0].mean()
    assert float(capsys.readouterr().out.split()[0]) == pytest.approx(mean, abs=1e-5)


def test_the_example_gives_particles_the_colors_of_symgnn(repository: Path) -> None:
    example = runpy.run_path(str(repository / "examples" / "ovito" / "render.py"))
    write_sample(".")
    pipeline = example["colored_pipeline"](Path(GLASS), "cuzr-fast")
    particles = pipeline.compute().particles
    found = np.asarray(particles["Energy Barrier"])
    low, high = barrier_range(found)
    expected = BARRIER_COLORS((found - low) / (high - low))[:, :3]
    np.testing.assert_allclose(np.asarray(particles.colors), expected, atol=0.03)


@pytest.mark.slow
def test_the_example_renders(repository: Path) -> None:
    script = str(repository / "examples" / "ovito" / "render.py")
    command = [sys.executable, "-W", "error", script, "-o", "ovito.png"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Vulkan" in result.stderr:
        pytest.skip("OVITO renders through Vulkan, of which this machine has no driver")
    assert result.returncode == 0, result.stderr
    assert 50_000 < Path("ovito.png").stat().st_size < 200_000


def test_ovito_pro_finds_the_modifier(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (target,) = project["entry-points"]["OVITO.Modifier"].values()
    module, name = target.split(":")
    assert getattr(importlib.import_module(module), name) is EnergyBarrierModifier


def test_without_ovito_the_message_names_the_extra() -> None:
    code = "import sys; sys.modules['ovito'] = None; import symgnn.ovito"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "pip install 'symgnn[ovito]'" in result.stderr.splitlines()[-1]
