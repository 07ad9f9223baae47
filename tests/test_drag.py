"""What it costs to drag an atom: the definition, its compiled operator, and the potential."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from conftest import random_glass
from symgnn.annotator import Annotator
from symgnn.cli import run
from symgnn.errors import ConfigError, ModelError
from symgnn.explain.weighted_model import WeightedModel
from symgnn.export import export_checkpoint, export_model
from symgnn.graph import build_graph
from symgnn.models import DragConfig
from symgnn.models.drag import INTERVALS, LOWEST, DragEnergies
from symgnn.potentials import write_potential
from symgnn.report.run import report_run
from symgnn.scripted.density_regression import ExportedDensityRegression
from symgnn.structures import write_structures
from symgnn.training.checkpoint import load_checkpoint, restore_model, save_checkpoint
from symgnn.training.config import parse_config
from symgnn.training.embedded_atom import potential_file
from symgnn.training.pair_energies import PairEnergies
from symgnn.training.regression import fit
from test_density_regression import in_parts
from test_training import labeled_glass
from tiny_regression import DRAG, ELEMENTS, TINY_DRAG, morse, random_regression, tiny_config

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-10}
"""eV. Steps down a slope multiply what rounding does to the first of them."""
dtypes = pytest.mark.parametrize("dtype", list(ROUNDING))


def tiny_drag(elements: int = 2, **changes: Any) -> DragEnergies:
    drag = DragEnergies(DragConfig(**{**DRAG, **changes}), elements).double()
    morse(drag)
    return drag


def inputs_of(atoms: Atoms, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    return build_graph(atoms, 8.5, ELEMENTS, dtype=dtype).inputs


def slab() -> Atoms:
    """With surfaces, and an atom that has no neighbors."""
    atoms = random_glass(3, seed=4)
    atoms.cell[2, 2] += 60.0
    atoms += Atoms("Cu", positions=[atoms.cell[2] * 0.6])
    return atoms


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "glass": lambda: random_glass(4, seed=3),
    "slab": slab,
    "crystal": lambda: bulk("Cu", cubic=True) * (2, 2, 2),
    "pair": lambda: Atoms("CuZr", positions=[[0, 0, 0], [2.5, 0, 0]], cell=[40] * 3, pbc=True),
    "far": lambda: Atoms("CuZr", positions=[[0, 0, 0], [5.0, 0, 0]], cell=[40] * 3, pbc=True),
    "small": lambda: bulk("Cu", "fcc", a=3.6),  # neighbors are images of the atom itself
}


# --- the compiled operator --------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("stride", [0.4, -0.4])
def test_energies_are_those_of_the_definition(
    structure: str, stride: float, dtype: torch.dtype
) -> None:
    drag = tiny_drag(stride=stride).to(dtype)
    inputs = inputs_of(STRUCTURES[structure](), dtype)
    found, expected = drag(*inputs), drag.plain(*inputs)
    assert found.shape == expected.shape == (found.shape[0], drag.columns)
    torch.testing.assert_close(found, expected, rtol=0, atol=ROUNDING[dtype])


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "stride": st.floats(0.2, 0.5) | st.floats(-0.5, -0.2),
            "strides": st.integers(1, 4),
            "iterations": st.integers(0, 3),
            "relaxations": st.integers(0, 3),
            "mobile": st.floats(3.6, 4.2),
            "mobile_ramp": st.floats(0.2, 2.0),
            "far": st.none() | st.floats(0.0, 3.5),
            "far_ramp": st.floats(0.2, 2.0),
            "shell": st.floats(2.0, 3.6),
            "momentum": st.floats(0.0, 0.9),
            "longest": st.floats(0.01, 0.2),
            "temperatures": st.lists(st.floats(0.05, 1.0), min_size=1, max_size=3),
        }
    ),
    st.integers(0, 1000),
    st.sampled_from([20, 3000, 1 << 23]),
)
def test_settings_mean_the_same_to_the_operator(
    changes: dict[str, Any], seed: int, numbers: int
) -> None:
    drag = tiny_drag(**changes)
    drag.numbers_at_once = numbers
    inputs = inputs_of(random_glass(3, seed=seed))
    torch.testing.assert_close(drag(*inputs), drag.plain(*inputs), rtol=0, atol=1e-7)


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    drag, inputs = tiny_drag(), inputs_of(random_glass(5, seed=6))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(drag(*inputs))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_the_order_of_edges_does_not_change_a_bit() -> None:
    """As ranks find them in another one, and rounding would grow with every step."""
    drag = tiny_drag(iterations=10).float()
    species, edge_index, vector = inputs_of(random_glass(4, seed=2), torch.float32)
    expected = drag(species, edge_index, vector)
    shuffled = torch.randperm(len(vector), generator=torch.Generator().manual_seed(1))
    shuffled = shuffled[torch.argsort(edge_index[0, shuffled], stable=True)]
    found = drag(species, edge_index[:, shuffled].contiguous(), vector[shuffled])
    assert torch.equal(found, expected)


SCRIPT = """
import sys, torch
from conftest import random_glass
from test_drag import inputs_of, tiny_drag
atoms = random_glass(4, seed=3)
found = [tiny_drag().to(t)(*inputs_of(atoms, t)) for t in (torch.float32, torch.float64)]
torch.save(found, sys.argv[1])
"""


@pytest.mark.parametrize("capability", ["baseline", "avx2", "avx512"])
def test_instruction_sets_agree(capability: str, tmp_path: Path) -> None:
    path = tmp_path / "found.pt"
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        env={**os.environ, "SYMGNN_CAPABILITY": capability},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if "as far as this processor has them" in result.stderr:
        pytest.skip(f"this processor has no {capability}")
    assert result.returncode == 0, result.stderr
    for found, (dtype, tolerance) in zip(torch.load(path), ROUNDING.items(), strict=True):
        drag, inputs = tiny_drag().to(dtype), inputs_of(random_glass(4, seed=3), dtype)
        torch.testing.assert_close(found, drag.plain(*inputs), rtol=0, atol=tolerance)


# --- what they mean ---------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_energies_do_not_change_with_the_view(seed: int) -> None:
    atoms = random_glass(3, seed=seed)
    drag = tiny_drag()
    expected = drag(*inputs_of(atoms))
    turned = atoms.copy()
    mirrored = -Rotation.random(rng=seed).as_matrix()
    turned.set_cell(atoms.cell.array @ mirrored)
    turned.positions = atoms.positions @ mirrored + 1.0
    order = np.random.default_rng(seed).permutation(len(atoms))
    found = drag(*inputs_of(turned[order]))
    torch.testing.assert_close(found, expected[torch.from_numpy(order)], rtol=0, atol=1e-8)


@pytest.mark.parametrize("stride", [0.4, -0.2])
def test_a_pair_is_pulled_apart_or_pushed_together_along_its_energy(stride: float) -> None:
    """Without others, and without giving way: the energy of the pair."""
    drag = tiny_drag(iterations=0, relaxations=0, far=0.0, stride=stride)
    found = drag(*inputs_of(STRUCTURES["pair"]()))

    def energy(length: float) -> float:
        interval, place = divmod((length**2 - drag.lowest) / drag.spacing, 1.0)
        return float(np.polyval(drag.energy[0, 1, :, int(interval)].numpy()[::-1], place))

    lengths = 2.5 + drag.stride * np.arange(1, drag.strides + 1)
    expected = [energy(r) - energy(2.5) for r in lengths]
    expected.append(max(expected))
    # One direction: soft minima and mean are its energy. Nobody else has moved.
    for column in range(drag.levels + 1):
        energies = found[:, column : drag.energies : drag.levels + 1]
        np.testing.assert_allclose(energies, [expected] * 2, atol=1e-9)
    assert (found[:, drag.energies :] == 0.0).all()


@pytest.mark.parametrize(("far", "share"), [(1.0, 1.0), (2.4, 0.5), (2.5, 0.0)])
def test_displacements_of_those_that_were_far_are_counted(far: float, share: float) -> None:
    """One step of the other atom of a pair, by its force and not longer than allowed."""
    drag = tiny_drag(
        far=far, far_ramp=0.2, relaxations=0, iterations=1, strides=1, longest=0.02, momentum=0.0
    )
    drag.mobility[:] = torch.tensor([0.01, 100.0], dtype=torch.float64)
    found = drag(*inputs_of(STRUCTURES["pair"]()))[:, -1]
    square = (2.5 + drag.stride) ** 2
    interval, place = divmod((square - drag.lowest) / drag.spacing, 1.0)
    slope = np.polyval(np.polyder(drag.energy[1, 0, :, int(interval)].numpy()[::-1]), place) * (
        2.0 * square**0.5 / drag.spacing
    )
    # Cu is dragged away from Zr, which makes the longest step; Zr from Cu, which hardly moves.
    expected = share * np.array([0.02**2, (0.01 * slope) ** 2])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-15)


def test_models_of_before_displacements_get_energies_alone() -> None:
    drag, inputs = tiny_drag(), inputs_of(STRUCTURES["glass"]())
    found = torch.ops.symgnn.drag_energies(
        *(*inputs, drag.energy, drag.lowest, drag.spacing, drag.reach, drag.slack, drag.mobility),
        *(drag.mobile, drag.mobile_ramp, drag.shell, drag.shell_ramp, drag.relaxations),
        *(drag.stride, drag.strides, drag.iterations, drag.momentum, drag.longest),
        drag.temperatures,
    )
    assert torch.equal(found, drag(*inputs)[:, : drag.energies])


def test_a_pair_relaxes_before_it_is_pulled_apart() -> None:
    """To the length of least energy, wherever it started."""
    drag = tiny_drag(iterations=0, relaxations=300)
    results = []
    for length in (2.5, 2.9):
        atoms = STRUCTURES["pair"]()
        atoms.positions[1, 0] = length
        results.append(drag(*inputs_of(atoms)))
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)
    assert (results[0][:, : drag.energies] > 0.01).all()


def test_atoms_that_give_way_make_it_cheaper() -> None:
    inputs = inputs_of(random_glass(4, seed=3))
    drag = tiny_drag()
    highest = drag.energies - 1
    stiff, soft = (tiny_drag(iterations=k, shell=3.6)(*inputs)[:, highest] for k in (0, 3))
    assert (soft < stiff).double().mean() > 0.95


def test_an_atom_without_first_neighbors_costs_nothing() -> None:
    found = tiny_drag()(*inputs_of(slab()[:-1] + Atoms("Cu", positions=[[0, 0, 40.0]])))
    assert found[:-1].abs().max() > 0.1
    far = Atoms("CuCu", positions=[[0, 0, 0], [5.0, 0, 0]], cell=[40] * 3, pbc=True)
    assert (tiny_drag()(*inputs_of(far)) == 0.0).all()


def test_the_energy_is_smooth_where_neighbors_come_and_go() -> None:
    """A neighbor crosses the end of the first shell, and borders of those that give way."""
    drag = tiny_drag()
    for border in (2.8, 3.6, 3.8, 4.0):
        values = []
        for length in (border - 1e-5, border + 1e-5):
            positions = [[0, 0, 0], [2.4, 0, 0], [0, 2.5, 0], [0, 0, length]]
            atoms = Atoms("CuZrCuZr", positions=positions, cell=[40] * 3, pbc=True)
            values.append(drag(*inputs_of(atoms)))
        assert (values[1] - values[0]).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shell": 4.5}, "shell: first neighbors"),
        ({"far": 4.0}, "far: those whose displacements"),
        ({"temperatures": [0.1, 0.0]}, "temperatures: give positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        tiny_drag(**changes)


# --- pair energies ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def potential() -> Any:
    return potential_file("CuZr_2009", Path(), ["Cu", "Zr"])


def test_forces_are_those_of_the_potential(potential: Any) -> None:
    """To first order in displacements from a crystal, whose densities are the mean ones."""
    atoms = bulk("CuZr", "cesiumchloride", a=3.27, cubic=True) * (5, 5, 5)
    config = DragConfig(reach=7.6, reach_ramp=0.01)
    graph = build_graph(atoms, 8.0, ELEMENTS, dtype=torch.float64)
    pairs = PairEnergies(potential, ELEMENTS, [graph])
    moved = atoms.copy()
    moved.positions += np.random.default_rng(1).normal(scale=1e-4, size=moved.positions.shape)
    moved.calc = potential
    expected = moved.get_forces()

    species, edge_index, vector = build_graph(moved, 7.6, ELEMENTS, dtype=torch.float64).inputs
    length = vector.norm(dim=1).numpy()
    of = species[edge_index].numpy()
    slope = np.zeros(len(length))
    for first in range(2):
        for second in range(2):
            chosen = (of[0] == first) & (of[1] == second)
            above, below = (
                pairs.energy(first, second, length[chosen] + d, config) for d in (1e-5, -1e-5)
            )
            slope[chosen] = (above - below) / 2e-5
    found = np.zeros_like(expected)
    np.add.at(found, edge_index[0].numpy(), (slope / length)[:, None] * vector.numpy())
    assert np.abs(expected).max() > 1e-3
    # What is missing is the change of F' with the density.
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98
    assert abs(np.abs(found).mean() / np.abs(expected).mean() - 1.0) < 0.1


def test_polynomials_follow_the_energies(potential: Any) -> None:
    config = DragConfig()
    pairs = PairEnergies(potential, ELEMENTS, [build_graph(random_glass(6, 1), 7.0, ELEMENTS)])
    coefficients = pairs.polynomials(config)
    assert coefficients.shape == (2, 2, 4, INTERVALS)
    np.testing.assert_allclose(coefficients, coefficients.transpose(1, 0, 2, 3), atol=1e-12)
    assert (coefficients[..., -1] == 0.0).all()
    # They meet where intervals do, in their values and slopes.
    ends = coefficients.sum(2)
    slopes = np.einsum("abki,k->abi", coefficients, [0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(ends[..., :-1], coefficients[:, :, 0, 1:], atol=1e-7)
    np.testing.assert_allclose(slopes[..., :-1], coefficients[:, :, 1, 1:], atol=1e-7)
    length = np.linspace(2.1, config.reach - 1e-3, 500)
    place = (length**2 - LOWEST) / config.spacing
    powers = (place % 1.0)[:, None] ** np.arange(4)
    for a in range(2):
        for b in range(2):
            expected = pairs.energy(a, b, length, config)
            found = (coefficients[a, b, :, place.astype(int)] * powers).sum(1)
            assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
            assert np.abs(found - expected)[length > 2.4].max() < 0.01
            assert 2.3 < length[found.argmin()] < 3.6
    stiffness = pairs.stiffness(config)
    assert (stiffness >= 1.0).all()


def test_potentials_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither in \.alloy nor in \.fs"):
        potential_file("table.eam", tmp_path, ELEMENTS)
    with pytest.raises(ConfigError, match="cannot read"):
        potential_file("nothing.eam.fs", tmp_path, ELEMENTS)
    (tmp_path / "text.eam.alloy").write_text("one\ntwo\nthree\nfour\n")
    with pytest.raises(ConfigError, match="is no embedded-atom potential"):
        potential_file("text.eam.alloy", tmp_path, ELEMENTS)
    whole = write_potential(tmp_path).read_text()
    (tmp_path / "half.eam.fs").write_text(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="is no embedded-atom potential"):
        potential_file("half.eam.fs", tmp_path, ELEMENTS)
    with pytest.raises(ConfigError, match="knows Cu, Zr, not Ni"):
        potential_file("CuZr_2009", tmp_path, ["Cu", "Ni"])


PARTS: dict[str, dict[str, Any]] = {
    "energies": {"drag": {**DRAG, "variances": False}, "relaxation": None},
    "variances": {"relaxation": None},
    "relaxation": {"drag": {**DRAG, "variances": False}},
    "all": {},
}


# --- the regression ---------------------------------------------------------------------------


def test_a_regression_that_drags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted, saved, loaded, exported and used: the same barriers everywhere."""
    for seed in range(3):
        write_structures(tmp_path / f"{seed}.xyz", [labeled_glass(seed)])
    values = {
        "data": {"train": [f"{seed}.xyz" for seed in range(3)]},
        "model": {**TINY_DRAG, "drag": {**DRAG, "potential": "CuZr_2009"}},
        "output": "run",
    }
    config = parse_config(values, "test")
    result = fit(config, base=tmp_path)
    assert result.held_out is not None
    assert result.features == sum(random_regression(tiny_config(**TINY_DRAG)).sizes)
    content = load_checkpoint(result.best)
    model = restore_model(content, "best.ckpt")
    atoms = labeled_glass(7)
    graph = build_graph(atoms, 8.5, ELEMENTS)
    with torch.inference_mode():
        expected = model(*graph.inputs)
    assert model.local.drag.energy.abs().max() > 0.1
    exported = export_checkpoint(result.best, tmp_path / "model.pt")
    assert exported.invariance_rms < 1e-4
    monkeypatch.setattr("symgnn.export._RESTLESS", 0.0)
    assert run(["export", str(result.best), "-o", str(tmp_path / "model.pt")]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: barriers change by ")
    assert "shorter ones, such as model.drag.rate=0.4, or export with --dtype float64" in said
    annotator = Annotator(tmp_path / "model.pt")
    (found,) = annotator.predict([atoms])
    np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=1e-4)
    for name, prediction in content["held_out_predictions"].items():
        assert name.endswith(".xyz")
        assert prediction.isfinite().all()


def test_a_cutoff_below_that_of_the_potential_is_refused(tmp_path: Path) -> None:
    """Mean densities would lack what lies beyond."""
    write_structures(tmp_path / "train.xyz", [labeled_glass(0)])
    drag = {**DRAG, "mobile": 3.7, "reach": 3.4}
    values = {
        "data": {"train": ["train.xyz"]},
        "model": {**TINY_DRAG, "cutoff": 7.4, "drag": drag, "relaxation": None},
        "output": "run",
    }
    with pytest.raises(ConfigError, match=r"CuZr_2009 needs edges up to 7\.6 Å.*at least that"):
        fit(parse_config(values, "test"), base=tmp_path)


@pytest.mark.parametrize("changes", PARTS.values(), ids=list(PARTS))
def test_exported_form_is_the_model(changes: dict[str, Any], tmp_path: Path) -> None:
    model = random_regression(tiny_config(**{**TINY_DRAG, **changes}), members=4)
    exported = export_model(model, ELEMENTS, tmp_path / "model.pt", dtype="float64")
    assert exported.largest_difference < 1e-9
    with pytest.raises(ModelError, match="drags atoms, which weights of edges cannot explain"):
        WeightedModel(tmp_path / "model.pt")


@pytest.mark.parametrize("members", [1, 4])
def test_ranks_that_share_a_graph_give_the_numbers_of_the_model(members: int) -> None:
    """Ghosts have no channels before the first exchange."""
    model = random_regression(tiny_config(**TINY_DRAG), members=members)
    scripted = torch.jit.script(ExportedDensityRegression(model))
    for atoms in (random_glass(3, seed=5), STRUCTURES["pair"](), Atoms("Cu", cell=[40] * 3)):
        graph = build_graph(atoms, model.config.cutoff, ELEMENTS, dtype=torch.float64)
        expected = model(*graph.inputs)
        torch.testing.assert_close(scripted(*graph.inputs), expected, rtol=0, atol=1e-9)
        found = in_parts(scripted, graph, [len(atoms) // 3, len(atoms) // 2])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_a_model_of_before_variances_is_restored(tmp_path: Path) -> None:
    model = random_regression(tiny_config(**TINY_DRAG | PARTS["energies"]))
    config = parse_config({"model": model.config.model_dump()}, "test").model_dump()
    del config["model"]["drag"]["variances"], config["model"]["relaxation"]
    config["model"]["drag"]["unbalanced"] = config["model"]["thermal_mean"] = None
    content = {"config": config, "elements": ELEMENTS, "network": model.state_dict()}
    further = {"jackknife": [], "checksums": {}, "epoch": 0, "validation": None}
    save_checkpoint(tmp_path / "best.ckpt", {**content, **further})
    restored = restore_model(load_checkpoint(tmp_path / "best.ckpt"), "best.ckpt")
    inputs = build_graph(random_glass(3, seed=5), 8.5, ELEMENTS).inputs
    torch.testing.assert_close(restored(*inputs), model.float()(*inputs), rtol=0, atol=1e-4)

    exported = export_checkpoint(tmp_path / "best.ckpt", tmp_path / "model.pt")
    recorded = Annotator(exported.path).metadata["training"]["config"]["model"]
    assert "thermal_mean" not in recorded
    (tmp_path / "config.yaml").touch()
    assert report_run(tmp_path, tmp_path / "run.html") == "density_regression · Cu, Zr"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cutoff": 8.0}, "mobile \\+ reach"),
        ({"density_cutoff": 9.0}, "density_cutoff"),
        ({"drag": {**DRAG, "shell": 5.0}}, "first neighbors are among those"),
        ({"drag": {**DRAG, "temperatures": [0.0]}}, "positive"),
        ({"drag": {**DRAG, "stride": 0}}, "stride"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config({"model": {**TINY_DRAG, **changes}}, "test")
