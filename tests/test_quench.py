"""`symgnn quench` makes glasses, survives what ends it, and says true things about them."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.build import bulk

from symgnn.cli import run
from symgnn.errors import StructureError, SymGNNError
from symgnn.lammps_process import run_lammps
from symgnn.landscape import quench
from symgnn.landscape.potential import Potential
from symgnn.landscape.quench import QuenchSettings
from symgnn.landscape.quench_report import stress_strain
from symgnn.landscape.structure_report import (
    density,
    icosahedra,
    radial_distribution,
    voronoi_index,
)
from symgnn.samples import sample_glass
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from pathlib import Path

ATOMS = 108
QUICK = ["quench", "Cu64Zr36", "-n", str(ATOMS), "--rate", "1e14", "--hold", "3"]


def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small glass, sheared by .002."""
    folder = tmp_path_factory.mktemp("quench") / "glasses"
    assert run([*QUICK, "--shear", "0.002", "-o", str(folder)]) == 0
    return folder


def test_the_glass_is_an_energy_minimum_and_every_reader_takes_it(finished: Path) -> None:
    (sample,) = report(finished)["samples"]
    assert sample["largest_force_eV_per_A"] < 1e-4
    assert abs(sample["pressure_GPa"]) < 0.05
    assert -4.50 < sample["energy_eV_per_atom"] < -4.40
    assert sample["melt_displacement_A"] > sample["neighbor_distance_A"]
    for name in ("glass", "sheared"):
        (atoms,) = read_structures(finished / "sample-1" / f"{name}.xyz")
        (same,) = read_structures(finished / "sample-1" / f"{name}.data")
        assert atoms.symbols.formula.count() == {"Cu": 69, "Zr": 39}
        assert same.symbols.formula.count() == {"Cu": 69, "Zr": 39}
        np.testing.assert_allclose(atoms.cell.array, same.cell.array, atol=1e-6)
        assert atoms.info["quench_rate_K_per_s"] == 1e14
        assert atoms.info["seed"] == sample["seed"]
        assert len(atoms.info["potential_checksum"]) == 64
        assert atoms.info["resumed"] == 0


def test_lammps_finds_the_reported_energy_in_the_written_data_file(
    finished: Path, tmp_path: Path
) -> None:
    sample = finished / "sample-1"
    for name in ("glass.data", "in.interactions"):
        shutil.copy(sample / name, tmp_path)
    script = "units metal\nread_data glass.data\ninclude in.interactions\nrun 0\n"
    (tmp_path / "in.check").write_text(script + 'print "energy $(pe/atoms) $(density)"\n')
    lines: list[str] = []
    run_lammps("in.check", tmp_path, watch=lines.append)
    (line,) = (line for line in lines if line.startswith("energy "))
    energy, grams = map(float, line.split()[1:])
    (reported,) = report(finished)["samples"]
    assert energy == pytest.approx(reported["energy_eV_per_atom"], abs=1e-9)
    assert grams == pytest.approx(reported["density_g_per_cm3"], rel=1e-5)


def test_the_numbers_of_the_report_agree_with_each_other(finished: Path) -> None:
    (sample,) = report(finished)["samples"]
    mass = 69 * 63.546 + 39 * 91.224
    assert sample["density_g_per_cm3"] == pytest.approx(
        1.66053907 * mass / sample["volume_A3"], rel=1e-6
    )
    pairs = sample["radial_distribution"]
    distance, total = np.array(pairs["distance_A"]), np.array(pairs["total"])
    inside = distance < sample["first_minimum_A"]
    shells = 4 * math.pi * distance**2 * 0.05
    integral = (total * shells)[inside].sum() * ATOMS / sample["volume_A3"]
    assert integral == pytest.approx(sample["coordination"], rel=1e-3)
    (atoms,) = read_structures(finished / "sample-1" / "glass.xyz")
    assert radial_distribution(atoms).coordination * ATOMS == pytest.approx(
        2 * round(radial_distribution(atoms).coordination * ATOMS / 2)
    ), "neighbors come in pairs"
    page = (finished / "report.md").read_text(encoding="utf-8")
    assert f"{sample['energy_eV_per_atom']:.4f}" in page
    assert "**Warning**, sample 1: the box is narrower" in page
    assert (finished / "report.png").stat().st_size > 10_000


def test_the_stress_of_the_shear_is_the_slope_of_its_energy(
    finished: Path,
) -> None:
    (sample,) = report(finished)["samples"]
    (glass,) = read_structures(finished / "sample-1" / "glass.xyz")
    (sheared,) = read_structures(finished / "sample-1" / "sheared.xyz")
    assert sheared.cell[1, 0] / sheared.cell[1, 1] == pytest.approx(0.002)
    assert sheared.get_volume() == pytest.approx(glass.get_volume())
    strain, stress, energy = stress_strain(finished / "sample-1").T
    np.testing.assert_allclose(strain, np.arange(1, 21) * 1e-4, rtol=1e-4)
    # Stress is the slope of the energy; eV/Å³ = 160.2177 GPa.
    slope = np.gradient(energy, strain)[1:-1] * ATOMS / glass.get_volume() * 160.2177
    np.testing.assert_allclose(np.median(stress[1:-1] / slope), 1.0, atol=0.01)
    assert sample["sheared"]["shear_stress_GPa"] == pytest.approx(stress[-1], rel=1e-3)
    assert sample["sheared"]["largest_force_eV_per_A"] < 1e-4


def test_samples_are_reproducible_alone(finished: Path, tmp_path: Path) -> None:
    """The same seed gives the same bytes; a sample needs none of those before it."""
    settings = QuenchSettings("Cu64Zr36", ATOMS, 1e14, hold=3.0, shear=0.002)
    potential = Potential.shipped(tmp_path)
    quench.prepare(tmp_path / "again", settings, potential)
    quench.make_sample(tmp_path / "again", 1, settings, potential)
    for name in ("glass.xyz", "sheared.xyz"):
        again = (tmp_path / "again" / "sample-1" / name).read_bytes()
        assert again == (finished / "sample-1" / name).read_bytes()
    seeds = {settings.seed_of(number) for number in range(1, 6)}
    slower = QuenchSettings("Cu64Zr36", ATOMS, 1e13, hold=3.0)
    assert len(seeds | {slower.seed_of(1)}) == 6


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.usefixtures("children_heed_ctrl_c")
def test_an_interrupted_quench_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    folder = tmp_path / "glasses"
    command = [sys.executable, "-m", "symgnn", *QUICK, "-o", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    restart = folder / "sample-1" / "cool.1.restart"
    end = time.monotonic() + 300
    while not restart.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert process.returncode == 1
        assert "the same command goes on" in said.splitlines()[-1]
    assert not (folder / "sample-1" / "glass.xyz").exists()

    assert run([*QUICK, "-o", str(folder)]) == 0
    said = capsys.readouterr().err
    assert "sample 1 of 1: melt" not in said
    (sample,) = report(folder)["samples"]
    assert sample["largest_force_eV_per_A"] < 1e-4
    assert sample["energy_eV_per_atom"] < -4.40
    if sample["resumed_from"]:
        assert "goes on from" in said
    started = time.monotonic()
    assert run([*QUICK, "-o", str(folder)]) == 0
    assert "is finished: kept" in capsys.readouterr().err
    assert time.monotonic() - started < 10


def test_an_input_runs_by_hand_and_an_interrupted_shear_goes_on(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "glasses"
    shutil.copytree(finished, folder)
    sample = folder / "sample-1"
    for name in ("glass.json", "sheared.xyz", "shear.txt", "shear.restart"):
        (sample / name).unlink()
    run_lammps("in.shear", sample)
    for name in ("shear.1.restart", "shear.restart"):  # as if killed after 10 of 20 steps of strain
        (sample / name).unlink()
    assert run([*QUICK, "--shear", "0.002", "-o", str(folder)]) == 0
    assert "goes on from" in capsys.readouterr().err
    (before,), (after,) = report(finished)["samples"], report(folder)["samples"]
    assert after["resumed_from"] == ["shear.2.restart"]
    assert stress_strain(sample)[:, 0] == pytest.approx(np.arange(1, 21) * 1e-4)
    for key in ("energy_eV_per_atom", "shear_stress_GPa"):
        assert after["sheared"][key] == pytest.approx(before["sheared"][key], rel=1e-4)


@pytest.mark.parametrize("lost", ["sheared.data", "sheared.json"])
def test_a_shear_goes_on_from_its_last_strain(finished: Path, tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "glasses"
    shutil.copytree(finished, folder)
    sample = folder / "sample-1"
    (sample / "glass.json").unlink()
    (sample / "shear.restart").unlink()
    run_lammps("in.shear", sample)
    # As if killed in the minimization after the last of 20 steps of strain.
    for name in ("shear.2.restart", "shear.restart", lost):
        (sample / name).unlink()
    assert (sample / "shear.1.restart").is_file()
    assert run([*QUICK, "--shear", "0.002", "-o", str(folder)]) == 0
    (before,), (after,) = report(finished)["samples"], report(folder)["samples"]
    assert after["resumed_from"] == ["shear.1.restart"]
    for key in ("energy_eV_per_atom", "shear_stress_GPa"):
        assert after["sheared"][key] == pytest.approx(before["sheared"][key], rel=1e-4)


def test_what_ends_a_stage_is_written_last(finished: Path) -> None:
    sample = finished / "sample-1"
    for end, others in (
        ("minimized.restart", ("minimized.data", "minimized.json")),
        ("shear.restart", ("sheared.json",)),  # the data file is rewritten, with element names
    ):
        for other in others:
            assert (sample / other).stat().st_mtime_ns <= (sample / end).stat().st_mtime_ns


def test_folders_of_other_names_are_no_samples(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "glasses"
    shutil.copytree(finished, folder)
    for name in ("sample-1-old", "sample-²", "sample-"):
        shutil.copytree(finished / "sample-1", folder / name)
    assert run([*QUICK, "--shear", "0.002", "-o", str(folder)]) == 0
    assert [sample["sample"] for sample in report(folder)["samples"]] == [1]


def test_a_half_written_restart_file_is_not_used(finished: Path, tmp_path: Path) -> None:
    whole = (finished / "sample-1" / "cool.restart").read_bytes()
    (tmp_path / "cool.1.restart").write_bytes(whole)
    (tmp_path / "cool.2.restart").write_bytes(whole[:-100])
    os.utime(tmp_path / "cool.1.restart", (1, 1))
    assert quench._latest_restart(tmp_path, "cool") == "cool.1.restart"
    (tmp_path / "cool.1.restart").unlink()
    assert quench._latest_restart(tmp_path, "cool") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Cu64Xx36"], "Xx in Cu64Xx36 is no chemical element"),
        (["copper"], "is no composition"),
        (["Cu64Cu36"], "names an element twice"),
        (["Cu64Ni36"], "the potential knows Cu, Zr but not Ni"),
        (["Cu99Zr1", "-n", "20"], "leave none for Zr: take more atoms"),
        (["CuZr", "--rate", "1e15"], "choose 1e+10 to 1e+14 K/s"),
        (["CuZr", "--hold", "0"], "--hold 0 is out of range"),
        (["CuZr", "--shear", "2"], "a shear strain of 2 is out of range"),
        (["CuZr", "--shear", "nan"], "a shear strain of nan is out of range"),
        (["CuZr", "--pair-style", "eam/fs"], "--pair-style, --pair-coeff and --elements together"),
        (["CuZr", "-n", "20"], "an atom would act on itself: take at least 2"),
    ],
)
def test_errors_are_one_line_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["quench", *arguments, "-o", str(tmp_path / "glasses")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("symgnn: ")
    assert message in last


def test_an_alloy_that_the_potential_lacks_leaves_nothing_behind(tmp_path: Path) -> None:
    assert run(["quench", "Cu64Ni36", "-o", str(tmp_path / "glasses")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_pair_style_may_lie_elsewhere_but_not_change(tmp_path: Path) -> None:
    settings = QuenchSettings("Cu", 100, 1e13)
    potentials = []
    for name, content in (("here", "1"), ("there", "1"), ("changed", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.txt").write_text(content, encoding="utf-8")
        potentials.append(Potential.read("ml model.txt", ["* * Cu"], ["Cu"], tmp_path / name))
    here, there, changed = potentials
    quench.prepare(tmp_path / "glasses", settings, here)
    quench.prepare(tmp_path / "glasses", settings, there)
    with pytest.raises(SymGNNError, match="was begun with potential_checksum"):
        quench.prepare(tmp_path / "glasses", settings, changed)


def test_a_lammps_that_stops_shows_its_own_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--pair-style", "lj/cut 8.0", "--pair-coeff", "* * 0.1", "--elements", "Cu"]
    assert run(["quench", "Cu", "-n", "200", *options, "-o", str(tmp_path / "glasses")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "in.packing: ERROR" in last
    assert "pair_coeff" in last or "pair coeff" in last.lower()


def test_another_command_in_the_same_folder_is_refused(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*QUICK, "--shear", "0.003", "-o", str(finished)]) == 1
    assert "was begun with shear_strain 0.002, not 0.003" in capsys.readouterr().err


def test_two_cannot_work_on_one_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quench, "_PATIENCE", 0.1)
    with (
        quench._locked(tmp_path),
        pytest.raises(SymGNNError, match="still works in"),
        quench._locked(tmp_path),
    ):
        pass


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """LAMMPS may write no more than 8 kB into a file, and a restart file is larger."""
    script = f"""
import resource, sys
from pathlib import Path
from symgnn.errors import SymGNNError
from symgnn.landscape.potential import Potential
from symgnn.landscape.quench import QuenchSettings, make_sample, prepare

folder = Path({str(tmp_path)!r})
settings = QuenchSettings("Cu64Zr36", {ATOMS}, 1e14, hold=3.0)
potential = Potential.shipped(folder)
prepare(folder, settings, potential)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    make_sample(folder, 1, settings, potential)
except SymGNNError as error:
    sys.exit(f"symgnn: {{error}}")
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("symgnn: ")
    assert "disk" in line or "free space" in line
    assert not (tmp_path / "sample-1" / "glass.xyz").exists()


def test_atoms_are_shared_out_to_the_nearest() -> None:
    assert QuenchSettings("Cu64Zr36", 1000, 1e13).counts() == {"Cu": 640, "Zr": 360}
    assert QuenchSettings("CuZrAl", 100, 1e13).counts() == {"Cu": 34, "Zr": 33, "Al": 33}
    assert QuenchSettings("Cu64.5Zr35.5", 1000, 1e13).counts() == {"Cu": 645, "Zr": 355}
    with pytest.raises(StructureError, match="take more atoms"):
        QuenchSettings("Cu99Zr1", 10, 1e13)


def test_crystals_have_the_coordination_and_polyhedra_of_textbooks() -> None:
    fcc = bulk("Cu", "fcc", a=3.6, cubic=True) * (4, 4, 4)
    assert radial_distribution(fcc).coordination == pytest.approx(12)
    assert density(fcc) == pytest.approx(63.546 * 1.66053907 / (3.6**3 / 4))
    bcc = bulk("Fe", "bcc", a=2.87, cubic=True) * (5, 5, 5)
    bcc.rattle(1e-3, seed=1)  # corners where more than four polyhedra meet would be ambiguous
    assert (voronoi_index(bcc) == (0, 6, 0, 8)).all(), "a truncated octahedron"


def test_the_sample_glass_has_the_icosahedra_of_copper_zirconium() -> None:
    """Every atom has a closed polyhedron, and copper centers most of the icosahedra."""
    glass = sample_glass()
    fractions = icosahedra(glass)
    assert fractions["Cu"] > 3 * fractions["Zr"]
    assert 0.02 < fractions["all"] < 0.3


@pytest.mark.slow
def test_density_of_a_larger_glass(tmp_path: Path) -> None:
    """Within 2% of the sample glass, whose density test_samples.py measures."""
    command = ["quench", "Cu64Zr36", "-n", "500", "--rate", "1e13", "--hold", "20"]
    assert run([*command, "-o", str(tmp_path / "glasses")]) == 0
    (sample,) = report(tmp_path / "glasses")["samples"]
    assert sample["density_g_per_cm3"] == pytest.approx(7.692, rel=0.02)


@pytest.mark.slow
def test_slower_cooling_finds_lower_energies(tmp_path: Path) -> None:
    """Means of two samples; -4.4687 and -4.4558 eV per atom when the test was written."""
    means = {}
    for rate in ("1e14", "1e13"):
        folder = tmp_path / rate
        command = ["quench", "Cu64Zr36", "-n", str(ATOMS), "--rate", rate, "--hold", "10"]
        assert run([*command, "--samples", "2", "-o", str(folder)]) == 0
        means[rate] = np.mean([s["energy_eV_per_atom"] for s in report(folder)["samples"]])
    assert means["1e13"] < means["1e14"]
