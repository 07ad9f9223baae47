"""`compute symgnn` in the real LAMMPS on MPI ranks, against `symgnn.Annotator`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atom, Atoms
from ase.build import bulk

from conftest import random_glass
from lammps_runner import TOLERANCE, Simulation, dump, largest_difference
from symgnn import Annotator
from symgnn.export import export_checkpoint, export_model, export_random
from symgnn.lammps import open_lammps
from tiny_mixture import random_mixture, tiny_mixture_config
from tiny_model import tiny_metadata, write_tiny_model
from tiny_regression import (
    ELEMENTS,
    TINY_DRAG,
    coordination,
    fit_files,
    random_regression,
    tiny_config,
    write_labeled,
)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small models: float32.pt, float64.pt, std.pt, self_edges.pt."""
    folder = tmp_path_factory.mktemp("models")
    for dtype in TOLERANCE:
        metadata = {**tiny_metadata(dtype=dtype), "cutoff": 5.0}
        write_tiny_model(folder / f"{dtype}.pt", dtype=dtype, metadata=metadata)
    write_tiny_model(folder / "std.pt", std=True)
    metadata = {**tiny_metadata(), "self_edges": True}
    write_tiny_model(folder / "self_edges.pt", metadata=metadata)
    return folder


@pytest.fixture(scope="session")
def paper_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with untrained networks of the paper's size: float32.pt, float64.pt."""
    folder = tmp_path_factory.mktemp("paper-models")
    for dtype in TOLERANCE:
        export_random("paper", ("Cu", "Zr"), folder / f"{dtype}.pt", dtype=dtype)
    return folder


@pytest.fixture
def model(models: Path) -> Path:
    return models / "float64.pt"


@pytest.fixture
def simulation(tmp_path: Path, glass: Atoms) -> Simulation:
    return Simulation(tmp_path, glass)


def compute(model: Path, keywords: str = "", name: str = "b") -> str:
    return f"compute {name} all symgnn {model} Cu Zr {keywords}\n"


# Fast enough for atoms to change ranks within a few steps.
MOVE = "velocity all create 8000 8861 loop geom\nfix nve all nve\ntimestep 0.004\n"


# --- the same numbers as Python -----------------------------------------------------------------


def test_plugin_is_loaded(simulation: Simulation) -> None:
    output = simulation.succeed("if $(is_available(feature,exceptions)) then 'info styles compute'")
    assert re.search(r"^.*\bsymgnn\b", output.output, re.MULTILINE), output.output


@pytest.mark.parametrize(
    ("ranks", "dtype"), [(1, "float32"), (1, "float64"), (2, "float32"), (4, "float64")]
)
def test_same_as_python_after_migration(
    simulation: Simulation, models: Path, dtype: str, ranks: int
) -> None:
    path = models / f"{dtype}.pt"
    result = simulation.succeed(compute(path) + dump(every=40) + MOVE + "run 80", ranks)
    frames = result.frames()
    assert len(frames) == 3
    moved = np.abs(frames[2].positions - frames[0].positions).max(axis=1)
    assert (moved > simulation.atoms.cell[0, 0] / 2).any(), "no atom crossed a border"
    for frame in frames:
        assert largest_difference(frame, path) <= TOLERANCE[dtype]


@pytest.mark.parametrize("grid", ["2 1 1", "1 2 1", "1 1 2", "1 2 2"])
def test_processor_grids(simulation: Simulation, model: Path, grid: str) -> None:
    simulation.before_box = f"processors {grid}"
    ranks = int(np.prod([int(n) for n in grid.split()]))
    result = simulation.succeed(compute(model) + dump() + "run 0", ranks)
    assert largest_difference(result.frames()[0], model) <= 1e-9


def test_tiled_domains(simulation: Simulation, model: Path) -> None:
    script = "comm_style tiled\nbalance 0.9 rcb\n" + compute(model) + dump(every=20) + MOVE
    script += "fix balance all balance 10 1.0 rcb\nrun 40"
    for frame in simulation.succeed(script, 2).frames():
        assert largest_difference(frame, model) <= 1e-9


def test_newton_off(simulation: Simulation, model: Path) -> None:
    simulation.before_box = "newton off"
    result = simulation.succeed(compute(model) + dump() + "run 0", 2)
    assert largest_difference(result.frames()[0], model) <= 1e-9


@pytest.mark.parametrize("potential", ["", "pair_style zero 1.5\npair_coeff * *\n"])
def test_ghost_cutoff_is_raised(simulation: Simulation, model: Path, potential: str) -> None:
    simulation.potential = potential
    result = simulation.succeed(compute(model) + dump() + "run 0", 2)
    assert largest_difference(result.frames()[0], model) <= 1e-9


def test_model_with_self_edges(simulation: Simulation, models: Path) -> None:
    for ranks in (1, 2):
        path = models / "self_edges.pt"
        result = simulation.succeed(compute(path) + dump() + "run 0", ranks)
        assert largest_difference(result.frames()[0], path) <= 1e-9


@pytest.mark.parametrize("ranks", [1, 2])
def test_rank_without_atoms(tmp_path: Path, model: Path, ranks: int) -> None:
    slab = random_glass(4, seed=2)
    slab.cell[0, 0] *= 4
    simulation = Simulation(tmp_path, slab, before_box=f"processors {ranks} 1 1")
    result = simulation.succeed(compute(model) + dump(every=20) + MOVE + "run 20", ranks)
    for frame in result.frames():
        assert largest_difference(frame, model) <= 1e-9


@pytest.mark.parametrize("ranks", [1, 2])
def test_triclinic_box(tmp_path: Path, model: Path, ranks: int) -> None:
    tilted = random_glass(5, seed=3)
    tilted.set_cell(tilted.cell[:] @ [[1, 0, 0], [0.4, 1, 0], [-0.3, 0.35, 1]], scale_atoms=True)
    result = Simulation(tmp_path, tilted).succeed(
        compute(model) + dump(every=20) + MOVE + "run 20", ranks
    )
    for frame in result.frames():
        assert abs(frame.cell[1, 0]) > 1.0
        assert largest_difference(frame, model) <= 1e-9


@pytest.mark.parametrize(("boundary", "ranks"), [("f s m", 1), ("s p f", 2), ("m m s", 2)])
def test_free_surfaces(tmp_path: Path, model: Path, boundary: str, ranks: int) -> None:
    cluster = random_glass(5, seed=4)
    cluster.pbc = [letter == "p" for letter in boundary.split()]
    cluster.center(vacuum=2.0, axis=[k for k in range(3) if not cluster.pbc[k]])
    lost = "thermo_modify lost ignore\n"
    result = Simulation(tmp_path, cluster, boundary=boundary).succeed(
        lost + compute(model) + dump(every=10) + MOVE + "run 10", ranks
    )
    for frame in result.frames():
        assert frame.pbc.tolist() == cluster.pbc.tolist()
        assert largest_difference(frame, model) <= 1e-9


@pytest.mark.parametrize("ranks", [1, 2])
def test_box_smaller_than_the_cutoff(tmp_path: Path, model: Path, ranks: int) -> None:
    crystal = bulk("Cu", "fcc", a=3.7, cubic=True)
    crystal.symbols[0] = "Zr"
    crystal.rattle(0.2, seed=5)
    result = Simulation(tmp_path, crystal).succeed(compute(model) + dump() + "run 0", ranks)
    assert largest_difference(result.frames()[0], model) <= 1e-9


def test_two_dimensions(simulation: Simulation, model: Path) -> None:
    script = "clear\nunits metal\ndimension 2\nlattice sq 2.5\nregion box block 0 6 0 6 -0.1 0.1\n"
    script += "create_box 2 box\ncreate_atoms 1 box\nset type 1 type/subset 2 12 5\nmass * 60.0\n"
    script += "displace_atoms all random 0.3 0.3 0.0 5\n" + compute(model) + dump() + "run 0"
    for ranks in (1, 2):
        frame = simulation.succeed(script, ranks).frames()[0]
        frame.pbc[2] = False  # LAMMPS has no images along z in two dimensions
        assert largest_difference(frame, model) <= 1e-9


def test_same_run_gives_the_same_bytes(simulation: Simulation, models: Path) -> None:
    script = compute(models / "float32.pt") + dump(every=20) + MOVE + "run 20"
    for ranks in (1, 2):
        first = simulation.succeed(script, ranks)
        bytes_of_first = (first.folder / "barriers.dump").read_bytes()
        simulation.succeed(script, ranks)
        assert (first.folder / "barriers.dump").read_bytes() == bytes_of_first


# --- what the line can say ----------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2])
def test_uncertainty_and_several_models_at_once(
    simulation: Simulation, models: Path, ranks: int
) -> None:
    script = compute(models / "std.pt", "std yes threads 2 device cpu", "two")
    script += compute(models / "std.pt", "std no", "one")
    script += compute(models / "float64.pt", "", "other")
    script += compute(models / "float64.pt", "chunk 60", "chunks")
    script += compute(models / "float64.pt", "skin 1.0", "skin")
    script += dump("c_two[1] c_two[2] c_one c_other c_chunks c_skin", every=20) + MOVE + "run 20"
    for frame in simulation.succeed(script, ranks).frames():
        std = models / "std.pt"
        assert largest_difference(frame, std, "c_two[1]") <= 1e-9
        assert largest_difference(frame, std, "c_two[2]", output="energy_barrier_std") <= 1e-9
        assert largest_difference(frame, models / "float64.pt", "c_other") <= 1e-9
        assert largest_difference(frame, models / "float64.pt", "c_chunks") <= 1e-9
        assert largest_difference(frame, models / "float64.pt", "c_skin") <= 1e-9
        np.testing.assert_array_equal(frame.arrays["c_one"], frame.arrays["c_two[1]"])


CHANGES = [
    "displace_atoms all random 0.1 0.1 0.1 87",
    "set atom 3 type 2",
    "set atom 1*60 type 2",
    "change_box all x scale 1.02 remap",
    "change_box all boundary p p f",
    "group gone id 5\ndelete_atoms group gone compress no",
    "group gone id 1:40\ndelete_atoms group gone compress no",
    "create_atoms 1 single 1.0 1.0 1.0",
    "balance 1.0 shift xyz 10 1.0",
    "comm_style tiled",
]


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_runs_at_one_step_counts(
    simulation: Simulation, model: Path, change: str, ranks: int
) -> None:
    """Barriers of a step serve its dumps and its thermo output, but only while they are true."""
    script = compute(model) + "compute mean all reduce ave c_b\nthermo_style custom step c_mean\n"
    script += f"run 0\n{change}\n" + dump() + "run 0\n"
    (frame,) = simulation.succeed(script, ranks).frames()
    assert largest_difference(frame, model) <= 1e-9


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_runs_is_right_or_refused_before_the_next(
    simulation: Simulation, model: Path, change: str, ranks: int
) -> None:
    """Ranks learn of each other's new atoms in a run only; of new types at once."""
    now = "write_dump all custom now.dump id type x y z c_b modify sort id format float %20.15g\n"
    script = compute(model) + f"run 0\n{change}\n" + now
    if ranks > 1 and not change.startswith("set"):
        assert "give `run 0` before barriers are asked for" in simulation.fail(script, ranks)
        return
    result = simulation.succeed(script + dump() + "run 0\n", ranks)
    for name in ("now.dump", "barriers.dump"):
        (frame,) = result.frames(name)
        assert largest_difference(frame, model) <= 1e-9


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    "fix",
    [
        "deform 1 x erate 0.5 remap x",
        "deform 20 x erate 0.5 remap v",
        "deform 5 xy erate 2.0 remap x",
        "press/berendsen iso 0.0 0.0 0.1 modulus 1e7",
    ],
)
def test_box_that_changes_at_the_end_of_a_step(
    simulation: Simulation, model: Path, fix: str, ranks: int
) -> None:
    """The ghosts that LAMMPS holds are older than the atoms they are images of."""
    if "xy" in fix:
        simulation.after_box = "change_box all triclinic"
    script = compute(model) + dump(every=20) + MOVE + f"fix box all {fix}\nrun 40"
    first, *later = simulation.succeed(script, ranks).frames()
    for frame in later:
        assert np.abs(frame.cell.array - first.cell.array).max() > 0.01
        assert largest_difference(frame, model) <= 1e-9


def test_after_an_error_the_step_has_no_barriers(
    simulation: Simulation, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that goes on after the error must not read zeros as barriers."""
    (simulation.folder / "in.setup").write_text(simulation.setup() + compute(model) + "run 0\n")
    monkeypatch.chdir(simulation.folder)
    lammps = open_lammps()
    try:
        lammps.file("in.setup")
        lammps.command("reset_timestep 1")
        lammps.numpy.extract_atom("x")[3] = np.nan
        for _ in range(2):
            with pytest.raises(Exception, match="not a finite number"):
                lammps.numpy.extract_compute("b", 1, 1)
    finally:
        lammps.close()


@pytest.mark.parametrize("ranks", [1, 2])
def test_null_leaves_atoms_out_of_the_graph(
    simulation: Simulation, model: Path, ranks: int
) -> None:
    script = f"compute b all symgnn {model} Cu NULL\n" + dump() + "run 0"
    frame = simulation.succeed(script, ranks).frames()[0]
    copper = frame.symbols == "Cu"
    assert (frame.arrays["c_b"][~copper] == 0.0).all()
    assert largest_difference(frame[copper], model) <= 1e-9


def test_all_types_null(simulation: Simulation, model: Path) -> None:
    for ranks in (1, 2):
        script = f"compute b all symgnn {model} NULL NULL\n" + dump() + "run 0"
        assert (simulation.succeed(script, ranks).frames()[0].arrays["c_b"] == 0.0).all()


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_outside_the_group_read_zero(simulation: Simulation, model: Path, ranks: int) -> None:
    script = f"group chosen id 1:40\ncompute b chosen symgnn {model} Cu Zr\n" + dump()
    script += "run 0\ngroup chosen clear\ngroup chosen id 30:90\nrun 10\n"
    script += "group chosen clear\nrun 10"
    frames = simulation.succeed(script, ranks).frames()
    expected = Annotator(model).annotate(frames[0].copy()).arrays["energy_barrier"]
    for frame, (first, last) in zip(frames, [(1, 40), (30, 90), (0, 0)], strict=True):
        ids = np.arange(1, len(frame) + 1)
        inside = (ids >= first) & (ids <= last)
        assert (frame.arrays["c_b"][~inside] == 0.0).all()
        np.testing.assert_allclose(frame.arrays["c_b"][inside], expected[inside], rtol=0, atol=1e-9)


@pytest.mark.parametrize("ranks", [1, 2])
def test_dynamic_group(simulation: Simulation, model: Path, ranks: int) -> None:
    script = "variable left atom 'x < 6.0'\ngroup chosen dynamic all var left every 1\n"
    script += f"compute b chosen symgnn {model} Cu Zr\n" + dump("c_b v_left", every=20)
    script += MOVE + "run 40"
    frames = simulation.succeed(script, ranks).frames()
    members = []
    for frame in frames[1:]:
        expected = Annotator(model).annotate(frame.copy()).arrays["energy_barrier"]
        inside = frame.arrays["c_b"] != 0.0
        members.append(inside)
        # LAMMPS updates the group at the start of a step, before atoms move.
        agreement = inside == frame.arrays["v_left"].astype(bool)
        assert agreement.mean() > 0.95
        np.testing.assert_allclose(frame.arrays["c_b"][inside], expected[inside], rtol=0, atol=1e-9)
    assert (members[0] != members[1]).any()


def test_other_commands_can_use_it(simulation: Simulation, model: Path) -> None:
    script = compute(model) + MOVE + "compute_modify b dynamic/dof yes\n"
    script += "compute mean all reduce ave c_b\ncompute least all reduce min c_b\n"
    script += "fix average all ave/atom 5 4 20 c_b\nvariable double atom 2*c_b\n"
    script += "variable first equal C_b[1]\ncompute bins all chunk/atom bin/1d x lower 4.0\n"
    script += "fix profile all ave/chunk 10 2 20 bins c_b file profile.txt\n"
    script += "thermo_style custom step c_mean c_least v_first\n"
    script += "thermo_modify format float %20.15g\n"
    script += dump("c_b f_average v_double", every=20) + dump("c_b", 5, "often.dump") + "run 20\n"
    script += 'print "mean = $(c_mean:%20.15g)"\nprint "first = $(v_first:%20.15g)"'
    for ranks in (1, 2):
        result = simulation.succeed(script, ranks)
        last = result.frames()[-1].arrays
        samples = [frame.arrays["c_b"] for frame in result.frames("often.dump")[1:]]
        assert len(samples) == 4
        np.testing.assert_allclose(last["f_average"], np.mean(samples, axis=0), atol=1e-12)
        np.testing.assert_allclose(last["v_double"], 2 * last["c_b"], atol=1e-12)
        assert result.value("mean") == pytest.approx(last["c_b"].mean(), abs=1e-12)
        assert result.value("first") == pytest.approx(last["c_b"][0], abs=1e-12)
        assert (result.folder / "profile.txt").stat().st_size > 0


@pytest.mark.parametrize("ranks", [1, 2])
def test_rerun(simulation: Simulation, model: Path, ranks: int) -> None:
    script = compute(model) + dump(every=20) + MOVE + "run 20\nundump barriers.dump\n"
    script += dump(every=20, name="again.dump") + "rerun barriers.dump dump x y z"
    result = simulation.succeed(script, ranks)
    for live, again in zip(result.frames(), result.frames("again.dump"), strict=True):
        np.testing.assert_allclose(again.arrays["c_b"], live.arrays["c_b"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_lost_and_created(tmp_path: Path, model: Path, ranks: int) -> None:
    cluster = random_glass(4, seed=8)
    cluster.pbc = False
    cluster.center(vacuum=1.0)
    simulation = Simulation(tmp_path, cluster, boundary="f f f")
    script = "thermo_modify lost ignore\n" + compute(model) + dump(every=10) + MOVE
    script += "run 20\ncreate_atoms 1 single 7.0 7.0 0.1\ncreate_atoms 2 single 0.1 7.0 5.0\n"
    script += "run 10"
    frames = simulation.succeed(script, ranks).frames()
    counts = [len(frame) for frame in frames]
    assert counts[2] < counts[0]
    assert counts[3] != counts[2]
    for frame in frames:
        assert largest_difference(frame, model) <= 1e-9


@pytest.mark.parametrize("ranks", [1, 2])
def test_no_atoms(tmp_path: Path, model: Path, ranks: int) -> None:
    simulation = Simulation(tmp_path, random_glass(4, seed=9))
    script = "delete_atoms group all\n" + compute(model) + dump() + "run 0\n"
    script += "create_atoms 1 single 5.0 5.0 5.0\ncreate_atoms 2 single 5.0 5.0 8.0\nrun 10"
    frames = simulation.succeed(script, ranks).frames()
    assert [len(frame) for frame in frames] == [0, 2]
    assert largest_difference(frames[1], model) <= 1e-9


def test_partitions(simulation: Simulation, models: Path) -> None:
    script = f"variable kind world float32 float64\ncompute b all symgnn {models}/${{kind}}.pt "
    script += "Cu Zr\n" + dump(name="${kind}.dump") + "run 0\n"
    script += f"partition yes 2 compute alone all symgnn {models}/std.pt Cu Zr\nrun 0"
    result = simulation.succeed(script, 3, ["-partition", "2", "1"])
    for kind, tolerance in TOLERANCE.items():
        path = models / f"{kind}.pt"
        assert largest_difference(result.frames(f"{kind}.dump")[0], path) <= tolerance


def test_units_real(tmp_path: Path, glass: Atoms, model: Path) -> None:
    simulation = Simulation(tmp_path, glass, units="real")
    frame = simulation.succeed(compute(model) + dump() + "run 0").frames()[0]
    frame.arrays["c_b"] /= 23.060547830619  # kcal/mol in one eV
    assert largest_difference(frame, model) <= 1e-9


def test_model_by_name(
    simulation: Simulation, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYMGNN_MODELS", str(models))
    result = simulation.succeed("compute b all symgnn float64 Cu Zr\n" + dump() + "run 0")
    assert largest_difference(result.frames()[0], models / "float64.pt") <= 1e-9


def test_plugin_can_be_unloaded_and_loaded(simulation: Simulation, model: Path) -> None:
    from symgnn.lammps import plugin_directory

    plugin = Path(plugin_directory()) / "symgnnplugin.so"
    script = compute(model) + "run 0\nplugin unload compute symgnn\nrun 0\n"
    script += f"plugin load {plugin}\n" + compute(model) + dump() + "run 0"
    result = simulation.succeed(script)
    assert largest_difference(result.frames()[0], model) <= 1e-9


# --- density regression -------------------------------------------------------------------------


@pytest.fixture(scope="session", params=["regression", "mixture", "drag"])
def regression(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fitted density regression that has a jackknife, alone, or in a mixture with a
    random network, or a random one that drags atoms: float32.pt, float64.pt."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param != "regression":
        model = (
            random_regression(tiny_config(**TINY_DRAG), members=4)
            if request.param == "drag"
            else random_mixture(tiny_mixture_config([2, 2, 1, 1]))
        )
        for dtype in TOLERANCE:
            export_model(model, ELEMENTS, folder / f"{dtype}.pt", dtype=dtype)
        return folder
    glasses = [random_glass(5, seed) for seed in (11, 12, 13)]
    write_labeled(folder / "train.xyz", glasses, [coordination(atoms) for atoms in glasses])
    result, _ = fit_files(folder)
    for dtype in TOLERANCE:
        export_checkpoint(result.best, folder / f"{dtype}.pt", dtype=dtype)
    return folder


def assert_regression_same_as_python(
    simulation: Simulation, regression: Path, ranks: int
) -> list[Atoms]:
    """Barrier and uncertainty of both dtypes in one run, in which atoms move."""
    computes = "".join(compute(regression / f"{dtype}.pt", "std yes", dtype) for dtype in TOLERANCE)
    columns = " ".join(f"c_{dtype}[{column}]" for dtype in TOLERANCE for column in (1, 2))
    script = computes + dump(columns, every=20) + MOVE + "run 20"
    frames = simulation.succeed(script, ranks).frames()
    assert len(frames) == 2
    outputs = ("energy_barrier", "energy_barrier_std")
    for frame in frames:
        for dtype, tolerance in TOLERANCE.items():
            for column, output in enumerate(outputs, start=1):
                path = regression / f"{dtype}.pt"
                difference = largest_difference(frame, path, f"c_{dtype}[{column}]", output=output)
                assert difference <= tolerance, f"{output} in {dtype}"
    return frames


# Hot and torn structures are novel to the model, which is right and not the point here.
@pytest.mark.filterwarnings("ignore::symgnn.errors.NovelStructureWarning")
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_density_regression(simulation: Simulation, regression: Path, ranks: int) -> None:
    assert_regression_same_as_python(simulation, regression, ranks)


@pytest.mark.filterwarnings("ignore::symgnn.errors.NovelStructureWarning")
@pytest.mark.parametrize("ranks", [1, 4])
def test_density_regression_with_isolated_atoms_and_ranks_without_any(
    tmp_path: Path, regression: Path, ranks: int
) -> None:
    """Along x: a slab, nothing, one atom alone, nothing."""
    slab = random_glass(4, seed=2)
    length = slab.cell[0, 0]
    slab.cell[0, 0] *= 4
    slab.append(Atom("Cu", position=[2.5 * length, 0.5 * length, 0.5 * length]))
    simulation = Simulation(tmp_path, slab, before_box=f"processors {ranks} 1 1")
    frames = assert_regression_same_as_python(simulation, regression, ranks)
    for frame in frames:
        distances = frame.get_distances(-1, range(len(frame) - 1), mic=True)
        assert distances.min() > Annotator(regression / "float64.pt").cutoff


# --- averaged positions -------------------------------------------------------------------------

AVERAGE = """
compute unwrapped all property/atom xu yu zu
fix average all ave/atom 2 10 20 c_unwrapped[1] c_unwrapped[2] c_unwrapped[3]
"""
AVERAGE_COLUMNS = "f_average[1] f_average[2] f_average[3] c_b"


@pytest.mark.parametrize("ranks", [1, 2])
def test_averaged_positions(simulation: Simulation, model: Path, ranks: int) -> None:
    script = AVERAGE + compute(model, "positions f_average") + MOVE
    script += dump(AVERAGE_COLUMNS, every=20) + "run 40\nrun 20"
    result = simulation.succeed(script, ranks)
    frames = result.frames()
    assert (frames[0].arrays["c_b"] == 0.0).all()
    assert result.output.count("has no average yet") == 1
    far = 0.0
    for frame in frames[1:]:
        averaged = frame.copy()
        averaged.positions = np.stack([frame.arrays[f"f_average[{k}]"] for k in (1, 2, 3)], axis=1)
        assert largest_difference(averaged, model) <= 1e-9
        far = max(far, np.abs(averaged.positions - frame.positions).max())
        assert np.abs(averaged.arrays["c_b"]).max() > 0
    assert far > simulation.atoms.cell[0, 0] / 2, "no atom crossed a periodic border"


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_without_a_usable_average_keep_their_position(
    simulation: Simulation, model: Path, ranks: int
) -> None:
    # Wrapped coordinates, an easy mistake: the average of an atom that crossed a border lies
    # somewhere inside the box.
    script = "compute wrapped all property/atom x y z\n"
    script += "fix average all ave/atom 2 10 20 c_wrapped[*]\n"
    script += compute(model, "positions f_average") + MOVE
    script += dump(AVERAGE_COLUMNS, every=20) + "run 40"
    result = simulation.succeed(script, ranks)
    frame = result.frames()[-1]
    assert "their present positions are used" in result.output
    average = np.stack([frame.arrays[f"f_average[{k}]"] for k in (1, 2, 3)], axis=1)
    usable = np.linalg.norm(average - frame.positions, axis=1) <= 2.5
    assert 0 < usable.sum() < len(frame)


def test_averages_at_other_steps_are_refused(simulation: Simulation, model: Path) -> None:
    script = AVERAGE + compute(model, "positions f_average") + dump(every=10) + MOVE + "run 20"
    error = simulation.fail(script, 2)
    assert "every 20 steps" in error
    assert "step 10" in error


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("what", ["minimize", "rerun"])
def test_averages_that_are_not_of_this_step_are_refused(
    simulation: Simulation, model: Path, what: str, ranks: int
) -> None:
    """Fixes keep their last average there, which would pass for that of other positions."""
    script = AVERAGE + compute(model, "positions f_average") + MOVE
    script += "dump all all custom 20 all.dump id type x y z xu yu zu\nrun 60\nundump all\n"
    script += dump(every=20)
    if what == "minimize":
        script += "minimize 0 0 20 100"
    else:
        script += "rerun all.dump dump x y z"
    error = simulation.fail(script, ranks)
    assert "Fix average made no average for step" in error
    assert "without positions" in error


def test_a_new_fix_without_averages_is_told_again(simulation: Simulation, model: Path) -> None:
    script = AVERAGE + compute(model, "positions f_average") + MOVE
    script += "compute mean all reduce ave c_b\nthermo_style custom step c_mean\nthermo 20\n"
    script += "run 20\nunfix average\n" + AVERAGE.strip().splitlines()[-1]
    result = simulation.succeed(script + "\nrun 20")
    assert result.output.count("has no average yet") == 2


# --- one clear line for what goes wrong ---------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ["there is no model", "symgnn export"]),
        ("truncated", ["truncated"]),
        ("checkpoint", ["checkpoint", "symgnn export"]),
        ("newer", ["format 99", "newer SymGNN"]),
        ("foreign", ["not a SymGNN model"]),
        ("text", ["not a SymGNN model"]),
    ],
)
def test_wrong_model_file(
    simulation: Simulation, model: Path, tmp_path: Path, kind: str, words: list[str]
) -> None:
    path = tmp_path / f"{kind}.pt"
    if kind == "checkpoint":
        torch.save({"network": {"weight": torch.zeros(3)}}, path)
    elif kind == "foreign":
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    elif kind == "text":
        path.write_text("weights: none\n", encoding="utf-8")
    elif kind == "truncated":
        path.write_bytes(model.read_bytes()[:-200])
    elif kind == "newer":
        write_tiny_model(path, metadata={**tiny_metadata(), "format": 99})
    error = simulation.fail(compute(path), ranks=2)
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ["needs a model"]),
        ("{model} Cu", ["1 element name", "2 atom types"]),
        ("{model} Cu device cpu", ["1 element name", "2 atom types"]),
        ("{model} Cu Ni", ["Ni", "Cu, Zr"]),
        ("{model} Cu Zirconium", ["Zirconium", "Cu, Zr"]),
        (
            "{model} Cu Zr Zr",
            ["Unknown keyword Zr", "device, std, positions, threads, chunk and skin"],
        ),
        ("{model} Cu Zr colour blue", ["Unknown keyword colour", "device, std, positions"]),
        ("{model} Cu Zr device", ["device needs a value"]),
        ("{model} Cu Zr device gpu", ["gpu", "auto, cpu, cuda or cuda:N"]),
        ("{model} Cu Zr device cuda:77", ["cuda:77", "absent"]),
        ("{model} Cu Zr threads 0", ["threads needs a positive number"]),
        ("{model} Cu Zr threads two", ["two"]),
        ("{model} Cu Zr chunk 0", ["chunk needs a positive number of atoms"]),
        ("{model} Cu Zr skin 99", ["skin must be between 0 and the model's cutoff"]),
        ("{model} Cu Zr skin -1", ["skin must be between 0 and the model's cutoff"]),
        ("{model} Cu Zr std maybe", ["maybe"]),
        ("{model} Cu Zr std yes", ["energy_barrier_std"]),
        ("{model} Cu Zr positions average", ["f_ID"]),
        ("{model} Cu Zr positions f_average", ["no fix average", "before the compute"]),
        ("{model} Cu Zr positions f_one", ["fix one", "3 columns"]),
        ("{model} Cu Zr positions f_nve", ["fix nve", "3 columns"]),
    ],
)
def test_wrong_line(simulation: Simulation, model: Path, line: str, words: list[str]) -> None:
    script = "compute x all property/atom xu\nfix one all ave/atom 1 1 10 c_x\nfix nve all nve\n"
    error = simulation.fail(script + "compute b all symgnn " + line.format(model=model))
    for word in words:
        assert word in error


def test_units_lj_are_refused(tmp_path: Path, glass: Atoms, model: Path) -> None:
    simulation = Simulation(tmp_path, glass, before_box="")
    script = "clear\nunits lj\nlattice fcc 1.0\nregion box block 0 2 0 2 0 2\ncreate_box 2 box\n"
    error = simulation.fail(script + compute(model))
    assert "units lj" in error
    assert "units metal" in error


def test_fix_deleted_before_the_run(simulation: Simulation, model: Path) -> None:
    script = AVERAGE + compute(model, "positions f_average") + "unfix average\nrun 0"
    assert "no fix average" in simulation.fail(script, 2)


@pytest.mark.parametrize("ranks", [1, 2])
def test_positions_that_are_not_finite(simulation: Simulation, model: Path, ranks: int) -> None:
    script = compute(model) + "compute mean all reduce ave c_b\nrun 0\n"
    script += "variable large atom 1e308*10\nset atom 17 x v_large\n"
    script += "variable mean equal c_mean\nprint 'mean = ${mean}'"
    error = simulation.fail(script, ranks)
    assert "atom 17" in error
    assert "finite" in error


def test_multi_cutoffs_are_refused(simulation: Simulation, model: Path) -> None:
    simulation.after_box = "neighbor 1.0 multi\ncomm_modify mode multi"
    simulation.potential = "pair_style zero 3.0\npair_coeff * *\n"
    assert "mode single" in simulation.fail(compute(model) + "run 0", 2)


# --- larger glasses -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("side", [14, 20], ids=["2744 atoms", "8000 atoms"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_glass(tmp_path: Path, paper_models: Path, side: int, dtype: str) -> None:
    glass = random_glass(side, seed=side)
    path = paper_models / f"{dtype}.pt"
    runs = [(1, "1 1 1"), (2, "2 1 1"), (2, "1 1 2"), (4, "4 1 1"), (4, "2 2 1"), (4, "1 2 2")]
    for ranks, grid in runs:
        simulation = Simulation(tmp_path / grid.replace(" ", ""), glass)
        simulation.before_box = f"processors {grid}"
        script = MOVE + "run 50\n" + compute(path) + dump() + "run 0"
        (frame,) = simulation.succeed(script, ranks).frames()
        difference = largest_difference(frame, path)
        print(f"{len(frame)} atoms, {dtype}, {grid}: {difference:.2e} eV")
        assert difference <= TOLERANCE[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_glass_with_an_empty_rank(tmp_path: Path, paper_models: Path, dtype: str) -> None:
    slab = random_glass(14, seed=1)
    slab.cell[0, 0] *= 4
    simulation = Simulation(tmp_path, slab, before_box="processors 4 1 1")
    path = paper_models / f"{dtype}.pt"
    result = simulation.succeed(compute(path) + dump() + "run 0", 4)
    assert largest_difference(result.frames()[0], path) <= TOLERANCE[dtype]
