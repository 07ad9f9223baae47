"""What `Annotator` and `SymGNNCalculator` promise."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.calculators.lj import LennardJones
from ase.io import read, write
from ase.md.verlet import VelocityVerlet

import symgnn
from symgnn import Annotator, SymGNNCalculator
from symgnn._native import check_torch_version
from symgnn.errors import NovelStructureWarning, StructureError, SymGNNError
from symgnn.export import export_random
from symgnn.graph import build_graph
from symgnn.samples import sample_glass
from tiny_model import CUTOFF, ELEMENTS, tiny_network, write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Tiny models by name: one output in either precision, and one with an uncertainty."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "float32": write_tiny_model(folder / "single.pt", dtype="float32"),
        "float64": write_tiny_model(folder / "double.pt"),
        "std": write_tiny_model(folder / "uncertain.pt", std=True),
    }


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Path:
    """The paper's network with random weights."""
    file = tmp_path_factory.mktemp("paper") / "paper.pt"
    export_random("paper", ELEMENTS, file)
    return file


def eager_barriers(atoms: Atoms, **options) -> np.ndarray:
    """The network run by Python on the graph made by Python."""
    network = tiny_network(**options)
    graph = build_graph(atoms, CUTOFF, ELEMENTS, dtype=network.readout.dtype)
    with torch.no_grad():
        return network(graph.species, graph.edge_index, graph.edge_vector).double().numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_gives_what_the_eager_network_gives(models, glass, dtype, tolerance) -> None:
    annotated = Annotator(models[dtype]).annotate(glass)
    assert annotated is glass
    barriers = glass.arrays["energy_barrier"]
    assert barriers.shape == (len(glass),)
    assert barriers.dtype == np.float64
    np.testing.assert_allclose(barriers, eager_barriers(glass, dtype=dtype)[:, 0], atol=tolerance)
    assert barriers.std() > 0.01


def test_several_models_live_in_one_process(models, glass) -> None:
    single, double, uncertain = (Annotator(models[key]) for key in ("float32", "float64", "std"))
    first = single.annotate(glass.copy()).arrays["energy_barrier"]
    double_result = double.annotate(glass.copy()).arrays["energy_barrier"]
    assert "energy_barrier_std" in uncertain.annotate(glass.copy()).arrays
    again = single.annotate(glass.copy()).arrays["energy_barrier"]
    assert first.tobytes() == again.tobytes()
    np.testing.assert_allclose(first, double_result, atol=1e-5)


def test_uncertainty_is_the_second_output(models, glass) -> None:
    Annotator(models["std"]).annotate(glass)
    expected = eager_barriers(glass, std=True)
    np.testing.assert_allclose(glass.arrays["energy_barrier"], expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(glass.arrays["energy_barrier_std"], expected[:, 1], atol=1e-12)


def test_takes_any_iterable_of_structures(models, glass) -> None:
    structures = [glass, glass[:20], Atoms("Cu"), glass.repeat((1, 1, 2))]
    annotator = Annotator(models["float64"])
    annotated = annotator.annotate(atoms for atoms in structures)
    assert all(one is other for one, other in zip(annotated, structures, strict=True))
    for atoms in structures:
        alone = annotator.predict([atoms])[0][:, 0]
        assert atoms.arrays["energy_barrier"].tobytes() == alone.tobytes()
    assert annotator.annotate([]) == []


def test_one_bad_structure_leaves_all_untouched(models, glass) -> None:
    broken = glass.copy()
    broken.positions[7, 1] = np.nan
    with pytest.raises(StructureError, match="atom 7"):
        Annotator(models["float64"]).annotate([glass, broken])
    assert "energy_barrier" not in glass.arrays
    assert not glass.info


def test_annotating_again_replaces(models, glass) -> None:
    annotator = Annotator(models["float64"])
    before = annotator.annotate(glass).arrays["energy_barrier"].copy()
    glass.rattle(0.1, seed=3)
    assert not np.allclose(annotator.annotate(glass).arrays["energy_barrier"], before)


@pytest.mark.parametrize("old", [np.zeros(125, int), np.zeros(125, np.float32), np.zeros((125, 1))])
def test_a_column_of_another_kind_is_replaced(models, glass, old) -> None:
    expected = Annotator(models["float64"]).predict([glass])[0][:, 0]
    glass.arrays["energy_barrier"] = old
    Annotator(models["float64"]).annotate(glass)
    np.testing.assert_array_equal(glass.arrays["energy_barrier"], expected)


@pytest.mark.filterwarnings("ignore::symgnn.errors.NovelStructureWarning")
def test_what_another_model_said_is_removed(models, glass) -> None:
    Annotator("simple").annotate(glass)
    assert {"energy_barrier_std", "energy_barrier_ood"} < set(glass.arrays)
    Annotator(models["float64"]).annotate(glass)
    assert "energy_barrier" in glass.arrays
    assert not {"energy_barrier_std", "energy_barrier_ood"} & set(glass.arrays)


def test_a_folder_named_like_a_shipped_model_is_not_taken_for_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cuzr").mkdir()
    assert Annotator("cuzr").path.name == "cuzr.pt"


def test_permuted_atoms_have_permuted_barriers(models, glass) -> None:
    order = np.random.default_rng(0).permutation(len(glass))
    shuffled = glass[order]
    annotator = Annotator(models["float64"])
    annotator.annotate([glass, shuffled])
    np.testing.assert_allclose(  # the order of sums differs
        shuffled.arrays["energy_barrier"], glass.arrays["energy_barrier"][order], atol=1e-12
    )


def test_wrapping_and_repeating_change_nothing(models, glass) -> None:
    annotator = Annotator(models["float64"])
    expected = annotator.annotate(glass).arrays["energy_barrier"]
    moved = glass.copy()
    shifts = np.random.default_rng(1).integers(-3, 4, (len(glass), 3))
    moved.positions += shifts @ glass.cell.array
    repeated = glass.repeat((2, 1, 1))
    annotator.annotate([moved, repeated])
    np.testing.assert_allclose(moved.arrays["energy_barrier"], expected, atol=1e-11)
    np.testing.assert_allclose(repeated.arrays["energy_barrier"], np.tile(expected, 2), atol=1e-11)


def test_parts_of_a_large_graph_give_the_whole(models, glass) -> None:
    """With several threads, each takes a part of the atoms; some atoms here have no neighbors."""
    large = glass.repeat((3, 3, 3))
    lonely = Atoms("Cu2", [[5.0, 5.0, 60.0], [15.0, 15.0, 80.0]])
    large = lonely[:1] + large + lonely[1:]
    large.set_cell([39.75, 39.75, 99.75])
    large.pbc = True
    results = {
        threads: [Annotator(models["float64"], threads=threads).predict([large])[0] for _ in "ab"]
        for threads in (1, 2, 3)
    }
    for threads, (first, again) in results.items():
        assert first.tobytes() == again.tobytes(), threads
        np.testing.assert_allclose(first, results[1][0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(results[3][0], eager_barriers(large), rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", ["paper", "cuzr-fast"])
@pytest.mark.parametrize("chunk", [1, 7, 64, 10**6])
def test_chunks_change_nothing_beyond_rounding(paper, glass, model, chunk) -> None:
    """A given chunk also means that edge features are computed anew for every layer."""
    file = paper if model == "paper" else model
    atoms = glass[:300]
    whole = Annotator(file).predict([atoms])[0]
    chunks = Annotator(file, chunk=chunk).predict([atoms])[0]
    np.testing.assert_allclose(chunks, whole, rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize("pbc", [True, False, [True, False, True]])
@pytest.mark.parametrize("triclinic", [True, False])
def test_a_skin_changes_nothing_but_the_number_of_searches(models, glass, pbc, triclinic) -> None:
    """Small steps, and atoms that are wrapped or moved by whole cells, need no new search."""
    atoms = glass.copy()
    if triclinic:
        tilt = np.array([[0, 0, 0], [3, 0, 0], [1, -2, 0]])
        atoms.set_cell(atoms.cell.array + tilt, scale_atoms=True)
    atoms.pbc = pbc
    kept, fresh = (Annotator(models["float64"], skin=skin) for skin in (0.8, 0.0))
    generator = np.random.default_rng(0)
    for step in range(6):
        atoms.positions += generator.uniform(-0.03, 0.03, atoms.positions.shape)
        if step == 3:
            atoms.wrap()
            atoms.positions[:20] += (2 * atoms.pbc) @ atoms.cell.array
        np.testing.assert_allclose(
            kept.predict([atoms])[0], fresh.predict([atoms])[0], rtol=0, atol=1e-10
        )
    assert (kept._core.searches, fresh._core.searches) == (1, 6)

    atoms.positions[0] += 0.41  # one atom is enough
    for change in (lambda: None, lambda: atoms.set_cell(atoms.cell * 1.001), atoms.pop):
        change()
        before = kept._core.searches
        np.testing.assert_allclose(
            kept.predict([atoms])[0], fresh.predict([atoms])[0], rtol=0, atol=1e-10
        )
        assert kept._core.searches == before + 1


@pytest.mark.parametrize("skin", [-0.1, 100.0, float("nan")])
def test_an_impossible_skin_is_refused(models, skin) -> None:
    with pytest.raises(SymGNNError, match="skin must be between 0 and"):
        Annotator(models["std"], skin=skin)


def test_more_neighbors_than_memory_are_refused_before_they_are_sought(models) -> None:
    positions = np.random.default_rng(1).uniform(0.0, 3.0, (300_000, 3))
    crowd = Atoms("Cu" * len(positions), positions=positions)
    annotator = Annotator(models["float64"])
    with pytest.raises(SymGNNError, match=r"need about \S+ GB of memory, and .* are free: use"):
        annotator.predict([crowd])


def test_a_refused_structure_leaves_the_annotator_as_it_was(models, glass) -> None:
    annotator = Annotator(models["float64"], skin=1.0)
    good = annotator.predict([glass])[0]
    bad = glass.copy()
    bad.pbc = False
    bad.positions[0, 0] += 1e6
    with pytest.raises(StructureError, match="too long and thin"):
        annotator.predict([bad])
    again = glass.copy()
    again.pbc = False
    expected = Annotator(models["float64"]).predict([again])[0]
    np.testing.assert_allclose(annotator.predict([again])[0], expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(annotator.predict([glass])[0], good, rtol=0, atol=1e-10)


def test_threads_of_a_program_may_share_an_annotator(models, glass) -> None:
    annotator = Annotator(models["float64"])
    structures = [glass, glass[:50], glass[: len(glass) // 2]]
    expected = [annotator.predict([atoms])[0] for atoms in structures]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda atoms: annotator.predict([atoms])[0], structures * 20))
    for number, prediction in enumerate(found):
        np.testing.assert_array_equal(prediction, expected[number % 3])


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunks_without_edges(models, chunk) -> None:
    """Isolated atoms before, between and after those of a cluster."""
    positions = [[0, 0, 0], [100, 0, 0], [200, 0, 0], [201, 0, 0], [202, 1, 0], [300, 0, 0]]
    atoms = Atoms("CuZrCuZrCuZr", positions=positions)
    expected = Annotator(models["float64"]).predict([atoms])[0]
    found = Annotator(models["float64"], chunk=chunk, threads=2).predict([atoms])[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_reports_how_far_it_is(paper, glass, threads) -> None:
    annotator = Annotator(paper, chunk=10, threads=threads)
    (expected,) = annotator.predict([glass])
    reports: list[tuple[int, float]] = []
    (found,) = annotator.predict([glass], report=lambda *report: reports.append(report))
    np.testing.assert_array_equal(found, expected)
    assert reports == sorted(reports)
    assert {layer for layer, _ in reports} == set(range(annotator.metadata["layers"]))
    assert all(0.0 < share <= 1.0 for _, share in reports)

    def refuse(layer: int, share: float) -> None:
        raise RuntimeError(f"enough of layer {layer}")

    with pytest.raises(RuntimeError, match="enough of layer 0"):
        annotator.annotate(glass, report=refuse)
    with pytest.raises(SymGNNError, match="while it reports"):
        annotator.predict([glass], report=lambda *_: annotator.predict([glass]))
    np.testing.assert_array_equal(annotator.predict([glass])[0], expected)


def test_signals_do_not_wait_for_a_large_structure() -> None:
    annotator = Annotator("cuzr", chunk=20, threads=1)
    glass = sample_glass()
    atoms = glass[glass.positions[:, 2] < 20.0]
    began = time.perf_counter()
    annotator.predict([atoms])
    whole = time.perf_counter() - began

    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    former = signal.signal(signal.SIGALRM, ring)
    try:
        began = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, 0.2 * whole)
        with pytest.raises(TimeoutError):
            annotator.predict([atoms])
        assert time.perf_counter() - began < 0.7 * whole
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, former)


def test_a_negative_chunk_is_refused(models) -> None:
    with pytest.raises(SymGNNError, match="chunk must be 0"):
        Annotator(models["std"], chunk=-1)


def test_the_order_of_atoms_in_an_error_is_that_of_the_structure(models, glass) -> None:
    """Inside, atoms are put in spatial order."""
    atoms = glass.copy()
    atoms.positions[5, 1] = np.nan
    with pytest.raises(StructureError, match="atom 5"):
        Annotator(models["std"]).predict([atoms])


def test_threads_change_nothing_beyond_rounding(models, glass) -> None:
    before = torch.get_num_threads()
    large = glass.repeat((3, 3, 3))
    one = Annotator(models["float32"], threads=1).predict([large])[0]
    two = Annotator(models["float32"], threads=2).predict([large])[0]
    np.testing.assert_allclose(one, two, atol=1e-6)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "setting",
    [
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.set_float32_matmul_precision('medium')",
    ],
)
def test_whatever_precision_the_program_asks_of_torch(models, setting) -> None:
    """torch throws where its older and newer switch for TF32 are mixed."""
    script = (
        f"import torch; from ase import Atoms; from symgnn import Annotator; {setting}\n"
        f"Annotator({str(models['float32'])!r}).annotate(Atoms('Cu2', [[0, 0, 0], [2, 2, 0]]))\n"
        "assert torch.backends.cuda.matmul.fp32_precision == 'tf32'"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


def test_autocast_of_the_program_stays_outside(paper, glass) -> None:
    annotator = Annotator(paper, device="cpu", threads=1)
    (expected,) = annotator.predict([glass])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = annotator.predict([glass])
        assert torch.is_autocast_enabled("cpu")
    assert found.tobytes() == expected.tobytes()


PREDICT = """
import sys
import numpy as np
{first}
import symgnn._core as core
{last}
positions = np.load(sys.argv[2])
inputs = [(positions, np.arange(len(positions)) % 2, np.eye(3) * 13.25, [True] * 3, None)]
sys.stdout.buffer.write(core.Annotator(sys.argv[1], "cpu").annotate(inputs)[0].tobytes())
"""


def test_processes_agree_byte_for_byte_in_any_import_order(models, glass, tmp_path) -> None:
    np.save(tmp_path / "positions.npy", glass.positions)
    outputs = set()
    for first, last in (("import torch", ""), ("", "import torch"), ("", "")):
        script = PREDICT.format(first=first, last=last)
        outputs.add(
            subprocess.run(
                [sys.executable, "-c", script, models["float32"], tmp_path / "positions.npy"],
                check=True,
                capture_output=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            ).stdout
        )
    assert len(outputs) == 1
    assert len(outputs.pop()) == 8 * len(glass)


def test_info_survives_extended_xyz(models, glass, tmp_path) -> None:
    path = tmp_path / "glass.xyz"
    write(path, Annotator(models["float64"]).annotate(glass))
    (again,) = read(path, ":")
    assert again.info["symgnn_model"] == "double"
    assert again.info["symgnn_units"] == "eV"
    digest = hashlib.sha256(models["float64"].read_bytes()).hexdigest()
    assert again.info["symgnn_model_sha256"] == digest
    np.testing.assert_allclose(
        again.arrays["energy_barrier"], glass.arrays["energy_barrier"], atol=1e-8
    )


def test_describes_its_model(models) -> None:
    annotator = Annotator(models["std"])
    assert annotator.elements == ELEMENTS
    assert annotator.cutoff == CUTOFF
    assert annotator.name == "uncertain"
    assert annotator.metadata["layers"] == 2
    assert annotator.device in ("cpu", "cuda:0")


def test_unknown_element_is_named(models) -> None:
    with pytest.raises(StructureError, match="not trained on Al; it knows Cu, Zr"):
        Annotator(models["float64"]).annotate(Atoms("CuAl", positions=np.eye(3)[:2]))


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (Atoms(), "no atoms"),
        (Atoms("Cu", pbc=True), "no extent"),
        (Atoms("Cu", positions=[[np.inf, 0, 0]]), "finite"),
    ],
)
def test_impossible_structures(models, atoms, words) -> None:
    with pytest.raises(StructureError, match=words):
        Annotator(models["float64"]).annotate(atoms)


@pytest.mark.parametrize("bare", [True, False])
def test_a_structure_without_a_cell_is_told_apart(glass, bare) -> None:
    if bare:
        glass.pbc, glass.cell = False, None
    with pytest.warns(NovelStructureWarning) as caught:
        Annotator("cuzr-fast").annotate(glass)
    assert ("is not periodic and has no cell" in str(caught[0].message)) is bare


def test_calculator_follows_the_atoms(models, glass) -> None:
    calculator = SymGNNCalculator(models["std"])
    glass.calc = calculator
    before = glass.calc.get_property("energy_barrier", glass)
    expected = Annotator(models["std"]).annotate(glass.copy())
    np.testing.assert_array_equal(before, expected.arrays["energy_barrier"])
    np.testing.assert_array_equal(
        calculator.get_property("energy_barrier_std", glass), expected.arrays["energy_barrier_std"]
    )
    glass.rattle(0.05, seed=2)
    assert not np.allclose(calculator.get_property("energy_barrier", glass), before)


def test_calculator_over_a_trajectory(models, glass) -> None:
    trajectory = [glass, glass[:50], glass.repeat((2, 1, 1))]
    calculator = SymGNNCalculator(models["float64"])
    for atoms in trajectory:
        barriers = calculator.get_property("energy_barrier", atoms)
        np.testing.assert_allclose(barriers, eager_barriers(atoms)[:, 0], atol=1e-12)


def test_calculator_watches_molecular_dynamics(models, glass) -> None:
    small = glass[:20]
    small.pbc = False
    small.calc = LennardJones(sigma=2.0, epsilon=0.01, rc=4.0)
    calculator = SymGNNCalculator(models["float64"])
    means = []
    dynamics = VelocityVerlet(small, timestep=1.0 * units.fs)
    dynamics.attach(
        lambda: means.append(calculator.get_property("energy_barrier", small).mean()), interval=2
    )
    dynamics.run(4)
    assert len(means) == 3
    assert len(set(means)) == 3


def test_import_is_quick_and_brings_no_torch() -> None:
    script = "import sys, symgnn, symgnn.lammps; symgnn.lammps.plugin_directory();"
    script += "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_other_torch_is_one_readable_error() -> None:
    check_torch_version("2.13.0", "2.13.1+cu128")
    with pytest.raises(SymGNNError, match=r"compiled against torch 2\.13\.0, but torch 2\.14\.0"):
        check_torch_version("2.13.0", "2.14.0")


def test_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert symgnn.__version__ == version("symgnn")
