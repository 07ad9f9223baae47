"""``symgnn explain``: right numbers in the file, work that survives, one clear line for errors."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from ase import Atoms

from conftest import random_glass
from symgnn.cli import run
from symgnn.explain import (
    ExplanationSettings,
    explain,
    read_explanations,
    read_provenance,
)
from symgnn.explain.journal import output_alone
from symgnn.export import export_model, random_model
from symgnn.models import SymGNNConfig
from symgnn.structures import write_structures

if TYPE_CHECKING:
    from pathlib import Path

FAST = ["--set", "steps=3", "--set", "path_points=2", "--set", "leave_out=2"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(3)
    config = SymGNNConfig(width=6, heads=[2, 1], cutoff=4.0)
    path = tmp_path_factory.mktemp("model") / "small.pt"
    export_model(random_model(config, ["Cu", "Zr"]), ["Cu", "Zr"], path)
    return str(path)


@pytest.fixture
def structure(tmp_path: Path) -> Path:
    path = tmp_path / "glass.xyz"
    write_structures(path, [random_glass(4, seed=2)])
    return path


def arguments(structure: Path, model: str, *more: str) -> list[str]:
    output = str(structure.with_name("e.json"))
    return ["explain", str(structure), "--model", model, "-o", output, *FAST, *more]


def test_the_file_holds_what_python_gives(
    structure: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = structure.with_name("picture.png")
    more = ["--atom", "7", "--atoms", "1,2", "--seed", "4", "--plot", str(picture)]
    assert run(arguments(structure, model, *more)) == 0
    assert "3 atoms; without the top 10% of edges" in capsys.readouterr().err
    output = structure.with_name("e.json")
    found = read_explanations(output)
    settings = ExplanationSettings(steps=3, path_points=2, leave_out=2, seed=4)
    expected = explain(random_glass(4, seed=2), [7, 1, 2], model, settings=settings)
    assert [item.atom for item in found] == [7, 1, 2]
    for new, old in zip(found, expected, strict=True):
        np.testing.assert_array_equal(new.edges, old.edges)
        np.testing.assert_allclose(new.importance, old.importance, atol=1e-5)
        np.testing.assert_allclose(new.integrated_gradients, old.integrated_gradients, atol=1e-5)
    provenance = read_provenance(output)
    assert (provenance.model["name"], provenance.structure["atoms"]) == ("small", 64)
    assert (provenance.settings["steps"], provenance.seed) == (3, 4)
    assert picture.stat().st_size > 10_000
    assert not output.with_name("e.json.partial").exists()


@pytest.mark.usefixtures("children_heed_ctrl_c")
def test_ctrl_c_and_kill_lose_nothing_that_was_done(structure: Path, model: str) -> None:
    output = structure.with_name("e.json")
    partial = structure.with_name("e.json.partial")
    # Enough steps for the signal to arrive in the middle.
    line = ["--atoms", "all", "--set", "steps=60", "--workers", "1"]
    command = [sys.executable, "-m", "symgnn", *arguments(structure, model, *line)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (partial.exists() and partial.read_text().count("\n") > 3):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "of 64 explanations are in" in error
    assert "the same command goes on" in error
    assert not output.exists()
    kept = partial.read_text().splitlines()[1:]
    # A process that is killed may leave half a line.
    partial.write_text(partial.read_text() + '{"atom": 63, "pre')
    assert run(command[3:]) == 0
    found = read_explanations(output)
    assert [item.atom for item in found] == list(range(64))
    text = output.read_text()
    assert all(line in text for line in kept)


def test_more_atoms_add_to_what_is_there(
    structure: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, partial = structure.with_name("e.json"), structure.with_name("e.json.partial")
    assert run(arguments(structure, model, "--atoms", "5,6")) == 0
    first = {item.atom: item for item in read_explanations(output)}
    assert run(arguments(structure, model, "--atom", "3", "--atom", "6")) == 0
    assert "(3 in the file): 2 atoms" in capsys.readouterr().err
    found = read_explanations(output)
    assert [item.atom for item in found] == [3, 6, 5]
    np.testing.assert_array_equal(found[2].importance, first[5].importance)
    # What an interrupted command leaves is kept by one that asks for another atom.
    header, *lines = output.read_text().splitlines()[:-1]
    header = header.removesuffix(', "explanations": [') + "}"
    partial.write_text("\n".join([header, *(line.removesuffix(",") for line in lines)]) + "\n")
    output.unlink()
    assert run(arguments(structure, model, "--atom", "9")) == 0
    assert [item.atom for item in read_explanations(output)] == [9, 3, 6, 5]
    assert not partial.exists()


@pytest.mark.parametrize("damage", [None, "something else", "half"])
def test_a_finished_file_is_not_overwritten_by_other_work(
    damage: str | None, structure: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = structure.with_name("e.json")
    assert run(arguments(structure, model, "--atom", "5")) == 0
    capsys.readouterr()
    if damage == "half":
        output.write_text(output.read_text()[:-100])
    elif damage is not None:
        output.write_text(damage)
    kept = output.read_text()
    more = ["--seed", "1"] if damage is None else []
    assert run(arguments(structure, model, "--atom", "5", *more)) == 1
    error = capsys.readouterr().err
    assert "give -o another name" in error
    assert error.count("\n") == 1
    assert output.read_text() == kept
    assert not structure.with_name("e.json.partial").exists()


def test_other_work_in_progress_is_not_mixed(
    structure: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    structure.with_name("e.json.partial").write_text("{}\n")
    assert run(arguments(structure, model, "--atom", "3")) == 1
    assert "remove it, or give -o another name" in capsys.readouterr().err


def test_two_commands_do_not_mix_their_lines(
    structure: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with output_alone(structure.with_name("e.json")):
        assert run(arguments(structure, model, "--atom", "3")) == 1
    assert "another `symgnn explain` writes" in capsys.readouterr().err
    assert sorted(path.name for path in structure.parent.iterdir()) == [structure.name]


def test_a_damaged_line_of_work_in_progress_is_named(
    structure: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, partial = structure.with_name("e.json"), structure.with_name("e.json.partial")
    assert run(arguments(structure, model, "--atom", "3")) == 0
    header, line, _ = output.read_text().splitlines()
    header = header.removesuffix(', "explanations": [') + "}"
    output.unlink()
    partial.write_text("\n".join([header, line, '{"atom": "?"}', ""]))
    assert run(arguments(structure, model, "--atom", "3")) == 1
    assert f"line 3 of {partial} is no explanation: remove this line" in capsys.readouterr().err
    partial.write_text("\n".join([header, line, ""]))
    assert run(arguments(structure, model, "--atom", "3")) == 0


def test_an_output_that_cannot_be_is_refused_before_the_work(
    structure: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    structure.with_name("e.json").mkdir()
    assert run(arguments(structure, model, "--atom", "3")) == 1
    assert "it is a folder" in capsys.readouterr().err


def with_isolated_atom(path: Path) -> None:
    glass = random_glass(3, seed=2)
    glass.pbc = False
    write_structures(path, [glass + Atoms("Cu", positions=[[60, 0, 0]])])


def with_aluminum(path: Path) -> None:
    glass = random_glass(3, seed=2)
    glass.symbols[0] = "Al"
    write_structures(path, [glass])


def two_structures(path: Path) -> None:
    write_structures(path, [random_glass(3, seed=2)] * 2)


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (None, [], "give --atom INDEX"),
        (None, ["--atom", "64"], "no atom 64: the 64 atoms have indices 0 to 63"),
        (None, ["--atoms", "Al"], "one of the elements Cu, Zr"),
        (None, ["--atom", "0", "--set", "speed=9"], "--set speed"),
        (None, ["--atom", "0", "--set", "steps"], "write KEY=VALUE"),
        (None, ["--atom", "0", "--set", "steps=[1"], "--set steps=[1: the value is not YAML"),
        (None, ["--atom", "0", "--plot", "picture"], "end it in .png"),
        (None, ["--atom", "0", "--plot", "missing/e.png"], "there is no folder missing"),
        (with_isolated_atom, ["--atom", "27"], "atom 27 has no neighbors within 4 Å"),
        (with_aluminum, ["--atom", "3"], "Al"),
        (two_structures, ["--atom", "3"], "choose one of them, as with --index -1"),
    ],
)
def test_requests_that_cannot_be_met(
    change: object,
    more: list[str],
    message: str,
    structure: Path,
    model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if callable(change):
        change(structure)
    assert run(arguments(structure, model, *more)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in structure.parent.iterdir()) == ["glass.xyz"]


def test_a_box_smaller_than_the_cutoff_is_explained(structure: Path, model: str) -> None:
    """Atoms then are their own neighbors, image by image."""
    cell = Atoms("Cu4", positions=[[0, 0, 0], [0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]])
    cell.set_cell([3.6] * 3)
    cell.pbc = True
    write_structures(structure, [cell])
    assert run(arguments(structure, model, "--atom", "0")) == 0
    (item,) = read_explanations(structure.with_name("e.json"))
    assert (item.atoms == 0).sum() > 1
    assert len(item.edges) == (item.edges[:, 0] == 0).sum() * (1 + (item.hops == 1).sum())


def test_a_model_file_of_before_is_refused(
    structure: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = str(repository / "tests" / "data" / "second_model.pt")
    assert run(arguments(structure, old, "--atom", "0")) == 1
    assert "does not support explanations: export its checkpoint again" in capsys.readouterr().err
