"""The command line: right numbers in every format, and one clear line for every error."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from symgnn.annotator import Annotator
from symgnn.cli import VERBS, run
from symgnn.errors import SymGNNError
from symgnn.files import locked
from symgnn.structures import read_structures, write_structures

if TYPE_CHECKING:
    from ase import Atoms

SYMGNN = Path(sysconfig.get_path("scripts")) / "symgnn"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained model, exported as a user would."""
    path = tmp_path_factory.mktemp("model") / "random.pt"
    arguments = ["--preset", "paper", "--random", "--elements", "Cu", "Zr", "-o", str(path)]
    assert run(["export", *arguments]) == 0
    return str(path)


@pytest.fixture
def structure(tmp_path: Path, glass: Atoms) -> Path:
    path = tmp_path / "glass.xyz"
    write_structures(path, [glass, glass, glass])
    return path


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("symgnn: ")
    return captured.err


# --- the program itself -----------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    assert f"symgnn {verb}" in capsys.readouterr().out.split("Example", 1)[1]


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, symgnn.cli; symgnn.cli.run(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_version() -> None:
    result = subprocess.run([SYMGNN, "--version"], check=True, capture_output=True, text=True)
    assert result.stdout.startswith("symgnn 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["annotate"],
        ["annotate", "a.xyz", "--unknown"],
        ["annotate", "a.xyz", "--threads", "-1"],
        ["annotate", "a.xyz", "--threads", "many"],
        ["unknown"],
        ["--unknown"],
        ["import-dataset", "a.pkl"],
        ["info"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert "--help" in complaint(capsys)


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["annotate", "none.xyz", "--model", "none", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


# --- annotate ---------------------------------------------------------------------------------


FILE_ROUNDING = 2e-5
"""eV. Files keep eight decimals of a position, which may round edge vectors of a float32 network
the other way; that network itself rounds by about 1e-5."""


def test_annotate_gives_the_numbers_of_python_in_every_format(
    tmp_path: Path, model: str, structure: Path, glass: Atoms
) -> None:
    expected = Annotator(model).annotate(glass).arrays["energy_barrier"]
    for ending in ("xyz", "dump", "lammpstrj.gz"):
        output = tmp_path / f"out.{ending}"
        assert run(["annotate", str(structure), "-m", model, "-o", str(output)]) == 0
        frames = read_structures(output)
        assert len(frames) == 3
        for atoms in frames:
            found = atoms.arrays["energy_barrier"]
            np.testing.assert_allclose(found, expected, rtol=0, atol=FILE_ROUNDING)
    output = tmp_path / "out.csv"
    assert run(["annotate", str(structure), "-m", model, "-o", str(output), "--index", "0"]) == 0
    column = np.loadtxt(output, delimiter=",", skiprows=1, usecols=6)
    np.testing.assert_allclose(column, expected, rtol=0, atol=FILE_ROUNDING)


def test_annotate_lammps_data_with_elements(
    tmp_path: Path, model: str, glass: Atoms, capsys: pytest.CaptureFixture[str]
) -> None:
    from ase.io import write

    path = tmp_path / "glass.data"
    write(path, glass, format="lammps-data", specorder=["Cu", "Zr"])
    assert run(["annotate", str(path), "-m", model]) == 1
    assert "--elements" in complaint(capsys)
    for names in (["Cu", "Zr"], ["Cu,Zr"]):
        assert run(["annotate", str(path), "-m", model, "--elements", *names]) == 0
        (atoms,) = read_structures(tmp_path / "glass.barriers.xyz")
        assert atoms.get_chemical_symbols() == glass.get_chemical_symbols()


def test_annotate_many(tmp_path: Path, model: str, structure: Path, glass: Atoms) -> None:
    second = tmp_path / "second.dump.gz"
    write_structures(second, [glass])
    sources = [str(structure), str(second)]
    assert run(["annotate", *sources, "-m", model, "-o", f"{tmp_path}/new/"]) == 0
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["glass.xyz", "second.xyz"]
    assert run(["annotate", *sources, "-m", model, "--suffix", ".b.csv"]) == 0
    assert (tmp_path / "glass.b.csv").exists()
    assert (tmp_path / "second.b.csv").exists()


def test_annotate_from_standard_input_to_standard_output(model: str, structure: Path) -> None:
    result = subprocess.run(
        [SYMGNN, "annotate", "-", "-m", model],
        input=structure.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert result.stdout.count(b"energy_barrier:R:1") == 3
    assert b"3 structures" in result.stderr


def labeled(glass: Atoms, **columns: float) -> Atoms:
    """The glass with a column of numbers of its own for each name."""
    atoms = glass.copy()
    for name, start in columns.items():
        atoms.arrays[name] = start + np.arange(len(glass)) / len(glass)
    return atoms


def test_annotate_keeps_labels(
    tmp_path: Path, model: str, glass: Atoms, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lab.xyz"
    atoms = labeled(glass, energy_barrier=1.0, energy_barrier_std=0.1)
    write_structures(path, [atoms, atoms])
    expected = Annotator(model).predict([glass])[0][:, 0]
    for kept in (1, 0):  # predictions are no labels: the second time, nothing is new
        assert run(["annotate", str(path), "-m", model, "-o", str(path)]) == 0
        assert capsys.readouterr().err.count("energy_barrier_label") == kept
        for found in read_structures(path):
            prediction = found.arrays["energy_barrier"]
            np.testing.assert_allclose(prediction, expected, rtol=0, atol=FILE_ROUNDING)
            for name in ("energy_barrier", "energy_barrier_std"):
                label = found.arrays[f"{name}_label"]
                np.testing.assert_allclose(label, atoms.arrays[name], atol=1e-8)


def test_annotate_keeps_labels_beside_older_ones(tmp_path: Path, model: str, glass: Atoms) -> None:
    atoms = labeled(glass, energy_barrier=1.0, energy_barrier_label=2.0)
    write_structures(tmp_path / "lab.xyz", [atoms])
    assert run(["annotate", str(tmp_path / "lab.xyz"), "-m", model]) == 0
    (found,) = read_structures(tmp_path / "lab.barriers.xyz")
    for name, before in (
        ("energy_barrier_label", "energy_barrier_label"),
        ("energy_barrier_label_label", "energy_barrier"),
    ):
        np.testing.assert_allclose(found.arrays[name], atoms.arrays[before], atol=1e-8)


def test_annotate_keeps_labels_and_all_other_columns_in_every_format(
    tmp_path: Path, model: str, glass: Atoms, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lab.dump"
    atoms = labeled(glass, energy_barrier=1.0, c_potential=-5.0)
    atoms.arrays["flag"] = np.arange(len(glass)) + 2**40
    write_structures(path, [atoms])
    table = tmp_path / "out.csv"
    for target in (table, path):  # the second in its own place
        assert run(["annotate", str(path), "-m", model, "-o", str(target)]) == 0
        assert "kept as energy_barrier_label" in capsys.readouterr().err
    (found,) = read_structures(path)
    rows = np.genfromtxt(table, delimiter=",", names=True, dtype=None, encoding="utf-8")
    expected = Annotator(model).predict([glass])[0][:, 0]
    for columns in (found.arrays, rows):
        np.testing.assert_allclose(columns["energy_barrier"], expected, rtol=0, atol=FILE_ROUNDING)
        for name, before in (
            ("energy_barrier_label", "energy_barrier"),
            ("c_potential", "c_potential"),
        ):
            np.testing.assert_allclose(columns[name], atoms.arrays[before], rtol=1e-7)
        np.testing.assert_array_equal(columns["flag"], atoms.arrays["flag"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cuzr", "(barriers of the relaxed copy; positions as in the file)"),
        ("cuzr-fast", " eV (positions as in the file)"),
    ],
)
def test_annotate_says_which_positions_barriers_belong_to(
    structure: Path, name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["annotate", str(structure), "-m", name, "--index", "0"]) == 0
    assert words in capsys.readouterr().err


def test_annotate_into_a_closed_pipe_is_quiet(model: str, structure: Path) -> None:
    command = f"{SYMGNN} annotate - -m {model} < {structure} | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def bad_structures(folder: Path, glass: Atoms) -> dict[str, tuple[Path, str]]:
    """Files that cannot be annotated, and a word of the complaint about each."""
    unfinite, missing, flat = glass.copy(), glass.copy(), glass.copy()
    unfinite.positions[3, 1] = np.nan
    missing.symbols[7] = "Al"
    flat.cell[2] = 0
    cases = {"nan": (unfinite, "finite"), "element": (missing, "Al"), "volume": (flat, "cell")}
    for name, (atoms, _) in cases.items():
        write_structures(folder / f"{name}.xyz", [atoms])
    (folder / "empty.xyz").touch()
    (folder / "none.xyz").write_text(
        '0\nLattice="1 0 0 0 1 0 0 0 1" Properties=species:S:1:pos:R:3\n'
    )
    return {
        **{name: (folder / f"{name}.xyz", word) for name, (_, word) in cases.items()},
        "empty": (folder / "empty.xyz", "empty"),
        "no atoms": (folder / "none.xyz", ""),
        "missing": (folder / "nowhere.xyz", "does not exist"),
        "folder": (folder, "is a folder"),
    }


@pytest.mark.parametrize(
    "case", ["nan", "element", "volume", "empty", "no atoms", "missing", "folder"]
)
def test_structures_that_cannot_be_annotated(
    tmp_path: Path, model: str, glass: Atoms, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, word = bad_structures(tmp_path, glass)[case]
    output = tmp_path / "out.xyz"
    assert run(["annotate", str(path), "-m", model, "-o", str(output)]) == 1
    assert word in complaint(capsys)
    assert not output.exists()


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "empty"])
def test_models_that_cannot_be_loaded(
    tmp_path: Path, model: str, structure: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.pt"
    content = Path(model).read_bytes()
    if damage != "missing":
        path.write_bytes(
            {"truncated": content[: len(content) // 2], "text": b"hello", "empty": b""}[damage]
        )
    for arguments in (["annotate", str(structure), "-m", str(path)], ["info", str(path)]):
        assert run(arguments) == 1
        assert "broken.pt" in complaint(capsys)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-o", "missing/folder/out.xyz"], "cannot write"),
        (["-o", "out.pdf"], "--format"),
        (["-o", "out.xyz", "--format", "pdf"], "cannot be written"),
        (["-o", "out.xyz", "--suffix", ".x.xyz"], "exclude each other"),
        (["--suffix", "a/b.xyz"], "has no folder: -o does"),
        ([".", "-o", "out"], ". is no file"),
        (["/"], "/ is no file"),
        ([""], "an empty name is no file"),
        (["-o", "out.xyz", "--index", "9"], "structure number 9"),
        (["-o", "out.xyz", "--index", "5:"], "selects no structures"),
        (["-o", "out.xyz", "--index", "last"], "selects no structures"),
        (["-o", "out.xyz", "--elements", "Cu", "Zr"], "leave --elements away"),
        (["-o", "out.xyz", "--device", "abacus"], "abacus"),
        (["second.xyz", "-o", "out.xyz"], "cannot go into the one output"),
        (["elsewhere/glass.xyz", "-o", "folder/"], "same name"),
    ],
)
def test_requests_that_cannot_be_met(
    tmp_path: Path,
    model: str,
    structure: Path,
    arguments: list[str],
    word: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["annotate", str(structure), "-m", model, *arguments]) == 1
    assert word in complaint(capsys)
    assert not Path("out.xyz").exists()


def test_an_error_in_a_later_structure_keeps_the_earlier_ones(
    tmp_path: Path, model: str, glass: Atoms, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = glass.copy()
    broken.positions[0] = np.nan
    write_structures(tmp_path / "run.xyz", [glass, glass, broken, glass])
    output = tmp_path / "out.xyz"
    assert run(["annotate", str(tmp_path / "run.xyz"), "-m", model, "-o", str(output)]) == 1
    message = complaint(capsys)
    assert "structure 2" in message
    assert "out.partial.xyz" in message
    assert not output.exists()
    assert len(read_structures(tmp_path / "out.partial.xyz")) == 2


@pytest.mark.usefixtures("children_heed_ctrl_c")
def test_ctrl_c_loses_nothing_that_was_written(tmp_path: Path, model: str, glass: Atoms) -> None:
    trajectory = tmp_path / "long.xyz"
    write_structures(trajectory, [glass] * 1500)
    output = tmp_path / "out.xyz"
    process = subprocess.Popen(
        [SYMGNN, "annotate", trajectory, "-m", model, "-o", output],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(path.stat().st_size > 0 for path in tmp_path.glob(".unfinished-*")):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message.count("\n") == 1
    assert not output.exists()
    kept = read_structures(tmp_path / "out.partial.xyz")
    assert f"interrupted after {len(kept)} structure" in message
    assert 0 < len(kept) < 1500
    assert all("energy_barrier" in atoms.arrays for atoms in kept)


@pytest.mark.parametrize("verb", ["annotate", "quench"])
def test_the_end_of_a_batch_job_leaves_nothing_temporary(
    tmp_path: Path, model: str, glass: Atoms, verb: str
) -> None:
    """SIGTERM; LAMMPS, which a quench runs in a process group of its own, ends with it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    if verb == "annotate":
        command = ["annotate", "-", "-m", model, "-o", "out.xyz"]
    else:
        command = ["quench", "Cu64Zr36", "--atoms", "200", "--rate", "1e10", "-o", "quenched"]
    process = subprocess.Popen(
        [SYMGNN, *command],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)},
    )
    begun = "temporary/symgnn-*/*" if verb == "annotate" else "quenched/*/melt.log"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob(begun)):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in message
    assert list(temporary.iterdir()) == []
    if verb == "quench":  # nobody holds the lock, which LAMMPS inherits, any longer
        (lock,) = tmp_path.glob("quenched/*/.lock")
        with lock.open() as file:
            deadline = time.monotonic() + 10
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)


# --- info, sample, potential ------------------------------------------------------------------


def test_info(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", model, "--json"]) == 0
    metadata = json.loads(capsys.readouterr().out)
    assert metadata["elements"] == ["Cu", "Zr"]
    assert run(["info", model]) == 0
    table = capsys.readouterr().out
    assert "cutoff" in table
    assert "Cu, Zr" in table


def test_info_begins_with_a_summary(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["info", "simple"]) == 0
    summary = capsys.readouterr().out
    assert summary.count("\n") < 40
    for words in (
        "energy_barrier, energy_barrier_std, energy_barrier_ood",
        "Pearson 0.722, MAE 0.190 eV",
        "Pearson 0.610 to 0.702, 0.648 in the mean",
        "validation.xyz",
        "float32",
        "SymGNN 0.1.0",
        "\nenergy_barrier(i) = E0(element of i)",
    ):
        assert words in summary
    assert run(["info", "simple", "--json"]) == 0
    metadata = json.loads(capsys.readouterr().out)
    assert run(["info", "simple", "--all"]) == 0
    everything = capsys.readouterr().out
    assert everything.startswith(summary)
    for name, checksum in metadata["training"]["data"]["train"].items():
        assert f"training.data.train.{name}: {checksum}\n" in everything


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["sample", "."], "in.barriers"),
        (["sample", "."], "CuZr_2009.eam.fs"),
        (["potential", "-o", "."], "CuZr_2009.eam.fs"),
        (["potential", "-o", "mine.fs"], "mine.fs"),
    ],
)
def test_files_that_were_changed_are_not_replaced(
    tmp_path: Path,
    command: list[str],
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # what is there already may be written again
        assert run(command) == 0
    with Path(name).open("a") as file:
        file.write("# mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert run(command) == 1
    assert f"{name} is there and differs" in complaint(capsys)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_potential(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["potential", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "CuZr_2009.eam.fs").stat().st_size == 2_232_370
    capsys.readouterr()
    assert run(["potential", "-o", str(tmp_path / "missing" / "file")]) == 1
    assert "cannot write" in complaint(capsys)


@pytest.mark.slow
def test_the_sample_prints_barriers_from_a_live_run(tmp_path: Path, model: str) -> None:
    folder = tmp_path / "new" / "glass"
    assert run(["sample", str(folder)]) == 0
    lmp = SYMGNN.with_name("lmp")
    command = [lmp, "-in", "in.barriers", "-var", "model", model]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    frames = read_structures(folder / "barriers.dump")
    assert [len(atoms) for atoms in frames] == [3000] * 2
    expected = Annotator(model).annotate(frames[0]).arrays["energy_barrier"]
    assert np.ptp(frames[-1].arrays["c_barrier"]) > 0
    assert expected.shape == frames[0].arrays["c_barrier"].shape


def test_a_lock_in_a_folder_that_is_missing_names_that_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(SymGNNError, match=f"there is no folder {tmp_path / 'missing'};"),
        locked(tmp_path / "missing" / ".lock", "busy"),
    ):
        pass
