"""`symgnn benchmark`: everything is measured, and what follows from it is consistent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from symgnn import benchmark_process
from symgnn.annotator import find_model
from symgnn.benchmark import KINDS, PIECES, network_operations
from symgnn.benchmark_simulation import run as run_simulation
from symgnn.benchmark_simulation import write_glass
from symgnn.cli import run
from symgnn.cli.options import join_values
from symgnn.export import random_model
from symgnn.graph import build_graph
from symgnn.models import SymGNNConfig
from symgnn.operators import plain_torch
from symgnn.samples import sample_glass, sample_slab
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Callable

SYMGNN = Path(sysconfig.get_path("scripts")) / "symgnn"
ATOMS, ROUNDS = 300, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a benchmark of the paper's network leaves behind."""
    folder = tmp_path_factory.mktemp("benchmark")
    arguments = ["--model", "paper", "--sizes", str(ATOMS), "--rounds", str(ROUNDS)]
    arguments += ["-o", str(folder / "speed.json"), "--plot", str(folder / "speed.png")]
    assert run(["benchmark", *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def written(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "speed.json").read_text())
    return content


# --- annotation -------------------------------------------------------------------------------


def test_every_kind_is_measured_in_every_round(written: dict[str, Any]) -> None:
    (row,) = written["annotation"]
    assert row["atoms"] == ATOMS
    assert row["threads"] == 1
    assert row["skipped"] == {}
    assert set(row["series"]) == {*KINDS, "limit"} - {"matrix_product"}
    for kind, series in row["series"].items():
        fields = ["best"] if kind == "limit" else ["first", "best", "memory"]
        for name in fields:
            assert len(series[name]) == ROUNDS
            assert min(series[name]) >= 0.0
        assert min(series["best"]) > 0.0
    assert len(row["gigaflop_per_second"]) == len(row["pieces"]) == ROUNDS
    assert row["series"]["eager"]["memory"][0] > 1.0


def test_the_machine_is_described(written: dict[str, Any]) -> None:
    machine = written["machine"]
    assert machine["torch"] == torch.__version__
    assert machine["cores"] >= 1
    assert machine["processor"]
    assert written["model"] == "paper"
    assert written["device"] == "cpu" or torch.cuda.is_available()


def test_ratios_are_quotients_round_by_round(written: dict[str, Any]) -> None:
    (row,) = written["annotation"]
    assert len(row["ratios"]) == 5
    for name, ratio in row["ratios"].items():
        over, under = name.replace("EAM step", "eam_step").split(" / ")
        above = row["series"][over.replace(" ", "_")]["best"]
        below = row["series"][under]["best"]
        pairs = [a / b for a, b in zip(above, below, strict=True)]
        expected = {"median": median(pairs), "low": min(pairs), "high": max(pairs)}
        assert ratio == pytest.approx(expected)


def test_shares_are_those_of_the_pieces(written: dict[str, Any]) -> None:
    (row,) = written["annotation"]
    assert tuple(row["shares"]) == PIECES
    assert sum(row["shares"].values()) == pytest.approx(1.0)
    # Each set of pieces belongs to one call, which cannot be shorter than they are.
    for pieces, call in zip(row["pieces"], row["series"]["pieces"]["best"], strict=True):
        assert sum(pieces.values()) <= 1.5 * call
        assert min(pieces.values()) > 0.0


def test_the_limit_is_arithmetic_over_speed(written: dict[str, Any]) -> None:
    (row,) = written["annotation"]
    graph = build_graph(sample_slab(ATOMS), 5.0, ["Cu", "Zr"], self_edges=True)
    assert row["edges"] == graph.edge_index.shape[1]
    config = SymGNNConfig(self_edges=True)
    assert row["gigaflop"] == network_operations(config, ATOMS, row["edges"]) / 1e9
    for limit, speed in zip(
        row["series"]["limit"]["best"], row["gigaflop_per_second"], strict=True
    ):
        assert limit == pytest.approx(row["gigaflop"] / speed)


def test_the_picture_is_written(folder: Path) -> None:
    content = (folder / "speed.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"heads": [2, 3], "decoder_layers": 1},
        {"symmetrization": {"level": "output", "distribution": "haar"}},
        {"edge_input": "length", "radial_basis": 6, "symmetrization": {"distribution": "none"}},
    ],
)
def test_operations_are_what_torch_counts(options: dict[str, Any]) -> None:
    """torch counts matrix products of its own; it does not see scores and weighted sums."""
    config = SymGNNConfig.model_validate({"width": 8, **options})
    network = random_model(config, ["Cu", "Zr"]).eval()
    graph = build_graph(sample_slab(40), config.cutoff, ["Cu", "Zr"])
    atoms, edges = 40, graph.edge_index.shape[1]
    with torch.inference_mode(), plain_torch(), FlopCounterMode(display=False) as counter:
        network(*graph.inputs)
    with torch.inference_mode(), FlopCounterMode(display=False) as drawing:
        transformations = len(network.symmetrization())

    copies = transformations if config.symmetrization.level == "output" else 1
    attention = copies * sum(2 * edges * 2 * heads * config.width for heads in config.heads)
    products = network_operations(config, atoms, edges) - attention
    # In plain torch what the encoder reads is transformed, and first node features are computed for
    # every atom.
    inputs = network.edge_encoder[0].in_features
    products += 2 * edges * inputs**2 * transformations + 2 * atoms * config.width**2
    assert counter.get_total_flops() == products + drawing.get_total_flops()


def test_eager_is_left_out_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_process, "free_memory", lambda _: 0.5)
    model = str(find_model("cuzr-fast"))
    request = {"kind": "eager", "model": model, "atoms": 100, "device": "cpu"}
    result = benchmark_process.measure({**request, "threads": torch.get_num_threads()})
    assert set(result) == {"skipped"}
    assert "plain torch needs about" in result["skipped"]


def test_eager_is_left_out_where_it_takes_hours() -> None:
    request = {"kind": "eager", "model": str(find_model("cuzr")), "atoms": 100}
    result = benchmark_process.measure({**request, "device": "cpu", "threads": 1})
    assert result == {
        "skipped": "plain torch only defines what dragging atoms means, and takes hours"
    }


def test_memory_is_the_peak_of_the_calls() -> None:
    """40 MB for a moment, in a process of its own."""
    code = (
        "import numpy as np; from symgnn.benchmark_process import _timed;"
        "print(_timed(lambda: np.ones(5_000_000).sum(), 'cpu')['memory'])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert float(output.stdout) == pytest.approx(40.0, abs=8.0)


# --- live -------------------------------------------------------------------------------------


def test_live_runs_are_paired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "live.json"
    arguments = ["--live", "--sizes", str(ATOMS), "--steps", "40", "--every", "20"]
    assert run(["benchmark", *arguments, "--rounds", "2", "-o", str(path)]) == 0
    written = json.loads(path.read_text())
    assert written["annotation"] == []
    (row,) = written["live"]
    assert (row["atoms"], row["ranks"], row["steps"], row["every"]) == (ATOMS, 1, 40, 20)
    pairs = [a / p for a, p in zip(row["annotated"], row["plain"], strict=True)]
    assert len(pairs) == 2
    assert row["ratio"] == pytest.approx(
        {"median": median(pairs), "low": min(pairs), "high": max(pairs)}
    )
    for kind in ("plain", "annotated"):
        for seconds, sections in zip(row[kind], row["sections"][kind], strict=True):
            assert {"Pair", "Output", "Modify"} <= set(sections)
            assert sum(sections.values()) == pytest.approx(seconds, rel=0.05)
        assert all(0.0 < share <= 1.1 for share in row["processor_use"][kind])
    assert f"{ATOMS} atoms" in capsys.readouterr().out


@pytest.mark.parametrize("ranks", [1, 2])
def test_live_runs_annotate_averages(tmp_path: Path, ranks: int) -> None:
    write_glass(tmp_path, ATOMS)
    annotation = {"model": find_model("cuzr-fast"), "elements": ["Cu", "Zr"], "device": "cpu"}
    result = run_simulation(tmp_path, steps=40, every=20, ranks=ranks, annotation=annotation)
    assert result["seconds"] > 0.0
    lines = (tmp_path / "barriers.dump").read_text().splitlines()
    head = len(lines) // 3 - ATOMS
    first, middle, last = np.split(np.array(lines), 3)
    assert "c_barrier" in first[head - 1]
    # At step 0 there is no average yet; present positions would have barriers.
    assert (np.loadtxt(first[head:])[:, 5] == 0.0).all()
    for frame in (middle, last):
        assert (np.loadtxt(frame[head:])[:, 5] > 0.0).all()


# --- the command line -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--sizes", "0"], "--sizes takes positive whole numbers"),
        (["--sizes", "many"], "--sizes takes positive whole numbers"),
        (["--threads", "1", "0"], "--threads takes positive whole numbers"),
        (["--rounds", "0"], "--rounds"),
        (["--steps", "100"], "belong to --live"),
        (["--every", "100"], "belong to --live"),
        (["--live", "--plot", "a.png"], "--plot draws times of annotation"),
        (["--live", "--every", "15"], "a multiple of 10"),
        (["--live", "--steps", "1500"], "give a multiple"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["benchmark", *arguments]) == 2
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--model", "missing.pt"], "there is no model file"),
        (["--device", "tpu"], "device"),
        (["--plot", "speed.docx"], "no picture format"),
        (["-o", "missing/speed.json"], "cannot write"),
    ],
)
def test_failures_are_one_line(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["benchmark", *arguments]) == 1
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1


@pytest.mark.usefixtures("children_heed_ctrl_c")
def test_interruption_keeps_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    process = subprocess.Popen(
        [SYMGNN, "benchmark", "--sizes", str(ATOMS), "--rounds", "100", "-o", path],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_for(lambda: path.is_file() and "neighbor_list" in path.read_text(), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == f"symgnn: interrupted; what was measured so far is in {path}\n"
    (row,) = json.loads(path.read_text())["annotation"]
    assert len(row["series"]["annotation"]["best"]) >= 1


@pytest.mark.usefixtures("children_heed_ctrl_c")
@pytest.mark.parametrize("ranks", ["1", "2"])
def test_interruption_ends_lammps(tmp_path: Path, ranks: str) -> None:
    arguments = ["--live", "--sizes", "4000", "--threads", ranks, "-o", tmp_path / "live.json"]
    arguments += ["--steps", "100000", "--every", "100000"]
    process = subprocess.Popen(
        [SYMGNN, "benchmark", *arguments],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )

    def running() -> int:
        """Processes that work in the folder of the runs."""
        count = 0
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                count += str(link.readlink()).startswith(str(tmp_path))
        return count

    wait_for(lambda: running() > int(ranks), process)
    time.sleep(4.0)  # into the run, in which LAMMPS prints nothing and no closed pipe ends it
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "interrupted" in errors
    wait_for(lambda: running() == 0)
    assert [path.name for path in tmp_path.iterdir()] == ["live.json"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_numbers_may_stand_apart() -> None:
    line = ["benchmark", "--sizes", "10", "20", "--threads", "1", "2", "--live"]
    assert join_values(line) == ["benchmark", "--sizes", "10,20", "--threads", "1,2", "--live"]
    other = ["annotate", "--threads", "2", "2", "--elements", "Cu", "Zr"]
    assert join_values(other) == ["annotate", "--threads", "2", "2", "--elements", "Cu,Zr"]


# --- the glass --------------------------------------------------------------------------------


@pytest.mark.parametrize("atoms", [1, 1000, 3000, 7000])
def test_a_slab_is_a_piece_of_the_glass(atoms: int) -> None:
    slab, glass = sample_slab(atoms, ["Al", "Ni"]), sample_glass()
    assert len(slab) == atoms
    assert slab.pbc.tolist() == [True, True, False]
    assert set(slab.get_chemical_symbols()) <= {"Al", "Ni"}
    area = np.linalg.norm(np.cross(*slab.cell[:2]))
    height = np.ptp(slab.positions[:, 2])
    if atoms > 1:
        assert atoms / (area * height) == pytest.approx(len(glass) / glass.get_volume(), rel=0.05)


def test_lammps_reads_the_slab(tmp_path: Path) -> None:
    write_glass(tmp_path, 4000)
    structure = read_structures(tmp_path / "glass.data", elements=["Cu", "Zr"])[0]
    heights = structure.positions[:, 2]
    assert len(structure) == 4000
    assert 0.0 <= heights.min() < heights.max() <= structure.cell[2, 2]
