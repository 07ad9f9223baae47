"""Forces from LAMMPS, and saddles whose energies are known."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100

from saddles import COPPER, POTENTIALS, relaxed, shipped_by_lammps, vacancy
from symgnn.errors import StructureError, SymGNNError
from symgnn.lammps import open_lammps
from symgnn.landscape.forces import Forces
from symgnn.landscape.potential import PackedPotential, Potential
from symgnn.landscape.saddle import PHASES, SaddleSettings, Search, _Climber, search_saddle

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PRECISE = SaddleSettings(force_tolerance=0.01, relaxation_tolerance=0.005)


@pytest.fixture(scope="module")
def copper() -> Atoms:
    return relaxed(vacancy("Cu", 3.615), COPPER)


def fresh(atoms: Atoms, potential: Potential) -> tuple[float, NDArray[np.float64]]:
    """Energy and forces by `run 0` in a LAMMPS that knows nothing else."""
    lmp = open_lammps()
    (x, _, _), (xy, y, _), (xz, yz, z) = atoms.cell.tolist()
    lmp.commands_list(
        [
            "units metal",
            "atom_modify map array",
            f"region cell prism 0 {x} 0 {y} 0 {z} {xy} {xz} {yz}",
            f"create_box {len(potential.elements)} cell",
        ]
    )
    copy = atoms.copy()
    copy.wrap()
    types = potential.types_of(atoms.get_chemical_symbols())
    lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, copy.positions.ravel())
    lmp.commands_list([*potential.commands(), "run 0"])
    energy = lmp.get_thermo("pe")
    forces = np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
    lmp.close()
    return energy, forces


@pytest.mark.parametrize("sheared", [False, True])
def test_forces_are_those_of_a_fresh_lammps_wherever_atoms_went(sheared: bool) -> None:
    atoms = vacancy("Cu", 3.615, repeat=3)
    if sheared:
        cell = atoms.cell.array.copy()
        cell[2, 0], cell[1, 0] = 1.3, -2.1
        atoms.set_cell(cell, scale_atoms=True)
    generator = np.random.default_rng(0)
    with Forces(atoms, COPPER) as forces:
        for _ in range(40):  # across the cell, and a wide way beyond
            atoms.positions += generator.normal([0.9, -0.7, 0.4], 0.02, (len(atoms), 3))
            energy, force = forces(atoms.positions)
        calls = forces.calls
    assert calls == 41  # the first is of the start
    expected_energy, expected = fresh(atoms, COPPER)
    assert energy == pytest.approx(expected_energy, abs=1e-9)
    np.testing.assert_allclose(force, expected, rtol=0, atol=1e-10)


def test_forces_of_a_turned_cell_turn_with_it() -> None:
    atoms = vacancy("Cu", 3.615, repeat=2)
    atoms.rattle(0.1, seed=1)
    with Forces(atoms, COPPER) as forces:
        energy, force = forces(atoms.positions)
    turned = atoms.copy()
    turned.rotate(35, (1, 2, 3), rotate_cell=True)
    with Forces(turned, COPPER) as forces:
        turned_energy, turned_force = forces(turned.positions)
    assert turned_energy == pytest.approx(energy, abs=1e-9)
    copy = atoms.copy()
    copy.positions = force
    copy.rotate(35, (1, 2, 3))
    np.testing.assert_allclose(turned_force, copy.positions, rtol=0, atol=1e-8)


def test_forces_are_the_gradient_of_the_energy(copper: Atoms) -> None:
    generator = np.random.default_rng(3)
    positions = copper.positions + generator.normal(0.0, 0.05, (len(copper), 3))
    direction = generator.normal(0.0, 1.0, (len(copper), 3))
    direction /= np.linalg.norm(direction)
    with Forces(copper, COPPER) as forces:
        _, force = forces(positions)
        ahead, behind = (forces(positions + sign * 1e-3 * direction)[0] for sign in (1, -1))
    slope = -(ahead - behind) / 2e-3
    assert slope == pytest.approx(float(np.vdot(force, direction)), abs=1e-4)


def test_what_cannot_be_computed_is_one_line(copper: Atoms, tmp_path: Path) -> None:
    surface = copper.copy()
    surface.pbc = [True, True, False]
    with pytest.raises(StructureError, match="periodic along all three"):
        Forces(surface, COPPER)
    gold = copper.copy()
    gold.symbols[:] = "Au"
    with pytest.raises(StructureError, match="knows Cu but not Au"):
        Forces(gold, COPPER)
    with pytest.raises(
        SymGNNError, match=r"LAMMPS stops at `pair_style nonsense`: .*nonsense"
    ) as caught:
        Forces(copper, Potential("nonsense", ("* *",), ("Cu",)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["it's", "a#b", "a #b", "e$x", "${HOME}", 'say "x"', "end&", "back\\slash", "two  words"],
)
def test_a_potential_is_read_from_any_folder(copper: Atoms, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(POTENTIALS / "Cu_mishin1.eam.alloy", folder)
    there, usual = (
        Potential.read("eam/alloy", ["* * Cu_mishin1.eam.alloy Cu"], ["Cu"], place)
        for place in (folder, POTENTIALS)
    )
    assert there.checksum() == usual.checksum()
    with Forces(copper, there) as forces, Forces(copper, usual) as expected:
        assert forces(copper.positions)[0] == expected(copper.positions)[0]
    unpacked = PackedPotential.of(there).unpack(folder / "other")
    assert unpacked.checksum() == usual.checksum()
    Forces(copper, unpacked).close()


def test_names_that_lammps_cannot_read_are_one_line(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "x"'
    folder.mkdir()
    (folder / "Cu.eam").touch()
    with pytest.raises(SymGNNError, match="rename what has a quotation mark") as caught:
        Potential.read("eam", ["* * Cu.eam"], ["Cu"], folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(SymGNNError, match="a quotation mark has no end"):
        Potential.read("eam", ["* * it's.eam"], ["Cu"], tmp_path)


def test_only_names_of_files_are_replaced_by_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("Cu", "2", "*", "NULL", "1e-2", "zbl", "c.eam"):
        (tmp_path / name).write_text("nothing of a potential")
    lines = ["* * zbl 29 2 Cu NULL 1e-2", "1 2 eam/fs c.eam"]
    potential = Potential.read("hybrid/overlay zbl 1 2 eam/fs", lines, ["Cu", "Zr"], tmp_path)
    assert potential.pair_coeff == (lines[0], f"1 2 eam/fs {tmp_path.resolve()}/c.eam")
    before = potential.checksum()
    (tmp_path / "Cu").unlink()
    assert potential.checksum() == before
    assert [path for path, _ in PackedPotential.of(potential).files] == [str(tmp_path / "c.eam")]


def test_a_pair_style_may_name_files_too(tmp_path: Path) -> None:
    for name in ("Ta06A.mliap.model", "Ta06A.mliap.descriptor"):
        shutil.copy(POTENTIALS / name, tmp_path)
    style = "mliap model linear Ta06A.mliap.model descriptor sna Ta06A.mliap.descriptor"
    here, usual = (
        Potential.read(style, ["* * Ta"], ["Ta"], folder) for folder in (tmp_path, POTENTIALS)
    )
    assert here.checksum() == usual.checksum()
    tantalum = bulk("Ta", cubic=True) * (3, 3, 3)
    packed = PackedPotential.of(here)
    with (tmp_path / "Ta06A.mliap.model").open("a") as file:
        file.write("# another one\n")
    assert here.checksum() != usual.checksum()
    unpacked = packed.unpack(tmp_path / "other")
    assert unpacked.checksum() == usual.checksum()
    with Forces(tantalum, unpacked) as forces, Forces(tantalum, usual) as expected:
        assert forces(tantalum.positions)[0] == expected(tantalum.positions)[0]


def first_saddles(
    atoms: Atoms, potential: Potential, center: int, settings: SaddleSettings, searches: int
) -> list[Search]:
    with Forces(atoms, potential) as forces:
        results = []
        for number in range(searches):
            forces.restart(atoms.positions)
            generator = np.random.default_rng(number)
            results.append(search_saddle(forces, atoms, center, settings, generator))
    return results


@pytest.mark.parametrize(
    ("element", "pair_style", "file", "lattice", "migration"),
    [
        ("Cu", "eam/alloy", "Cu_mishin1.eam.alloy", 3.61496, 0.6886),
        ("Cu", "eam", "Cu_u3.eam", 3.615, 0.671),
        ("Al", "eam/fs", "Al_mm.eam.fs", 4.04763, 0.642),
        ("Pt", "eam", "Pt_u3.eam", 3.92, 0.814),
    ],
)
def test_a_vacancy_migrates_over_the_known_barrier(
    element: str, pair_style: str, file: str, lattice: float, migration: float
) -> None:
    potential = shipped_by_lammps(element, pair_style, file)
    atoms = relaxed(vacancy(element, lattice), potential)
    results = first_saddles(atoms, potential, 0, PRECISE, 6)
    connected = [result for result in results if result.status == "connected"]
    lowest = min(connected, key=lambda result: result.barrier)
    assert lowest.barrier == pytest.approx(migration, abs=0.005)
    assert lowest.backward_barrier == pytest.approx(migration, abs=0.005)  # a hop among equals
    assert lowest.final_displacement == pytest.approx(lattice / np.sqrt(2), abs=0.2)
    assert lowest.eigenvalue < 0.0
    assert lowest.displaced_atoms > 0


def test_a_search_tells_what_it_found(copper: Atoms) -> None:
    with Forces(copper, COPPER) as forces:
        (found, *_) = (
            result
            for seed in range(10)
            if (
                result := search_saddle(
                    forces, copper, 0, SaddleSettings(), np.random.default_rng(seed)
                )
            ).status
            == "connected"
        )
        before = forces.calls
        energy, force = forces(found.saddle)
        start, _ = forces(copper.positions)
        final, residual = forces(found.final)
    assert np.abs(force).max() < 0.05
    assert energy - start == pytest.approx(found.barrier, abs=1e-9)
    assert energy - final == pytest.approx(found.backward_barrier, abs=1e-9)
    assert np.abs(residual).max() < 0.02
    assert set(found.calls) == set(PHASES)
    assert min(found.calls.values()) > 0
    assert sum(found.calls.values()) < before
    moved = np.linalg.norm(found.saddle - copper.positions, axis=1)
    assert found.displacement == moved.max() == moved[found.most_displaced_atom]


def test_the_same_seed_finds_the_same_saddle_whatever_came_before(copper: Atoms) -> None:
    settings = SaddleSettings()
    one = first_saddles(copper, COPPER, 5, settings, 3)[2]
    with Forces(copper, COPPER) as forces:
        forces.restart(copper.positions)
        alone = search_saddle(forces, copper, 5, settings, np.random.default_rng(2))
        other = search_saddle(forces, copper, 5, settings, np.random.default_rng(7))
    assert one.calls == alone.calls
    assert (one.barrier, one.status) == (alone.barrier, alone.status)
    np.testing.assert_array_equal(one.saddle, alone.saddle)
    assert other.barrier != one.barrier


def test_a_search_without_an_end_fails(copper: Atoms) -> None:
    (result,) = first_saddles(copper, COPPER, 0, SaddleSettings(force_calls=100), 1)
    assert (result.status, result.saddle) == ("failed", None)
    assert "force calls" in result.reason
    assert sum(result.calls.values()) == 100
    assert np.isnan(result.barrier)


@pytest.mark.parametrize(
    ("element", "pair_style", "file", "lattice", "moves", "barrier"),
    [
        ("Cu", "eam/alloy", "Cu_mishin1.eam.alloy", 3.61496, "hops", 0.506),
        ("Cu", "eam", "Cu_u3.eam", 3.615, "hops", 0.505),
        ("Al", "eam/fs", "Al_mm.eam.fs", 4.04763, "hops", 0.439),
        ("Pt", "eam", "Pt_u3.eam", 3.92, "is exchanged", 0.402),
    ],
)
def test_an_adatom_on_a_100_surface(
    element: str, pair_style: str, file: str, lattice: float, moves: str, barrier: float
) -> None:
    """It hops over the bridge between two sites, or pushes an atom out of the layer below it.

    The latter is easier on platinum (Kellogg and Feibelman, PRL 64, 3143, 1990).
    """
    potential = shipped_by_lammps(element, pair_style, file)
    slab = fcc100(element, (4, 4, 6), a=lattice, vacuum=8.0)
    add_adsorbate(slab, element, 0.45 * lattice, "hollow")
    slab.pbc = True
    atoms = relaxed(slab, potential)
    adatom = len(atoms) - 1
    barriers: dict[str, list[float]] = {"hops": [], "is exchanged": []}
    for result in first_saddles(atoms, potential, adatom, PRECISE, 8):
        if result.status != "connected" or result.final is None:
            continue
        x, y, z = result.final[adatom] - atoms.positions[adatom]
        if z < -1.0:
            barriers["is exchanged"].append(result.barrier)
        elif abs(np.hypot(x, y) - lattice / np.sqrt(2.0)) < 0.1 and abs(z) < 0.01:
            barriers["hops"].append(result.barrier)
    assert min(barriers, key=lambda kind: min(barriers[kind])) == moves
    assert min(barriers[moves]) == pytest.approx(barrier, abs=0.005)


def test_a_lost_mode_is_pushed_on_to_its_own_curvature() -> None:
    """On 2 (1 - cos x) eV the curvature is 2 cos x eV/Å², and falls below -c at cos x < -c/2."""

    def forces(positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        x = positions[0, 0]
        across = positions * np.array([0.0, 5.0, 5.0])
        return 2.0 * (1.0 - np.cos(x)), -across - [[2.0 * np.sin(x), 0.0, 0.0]]

    for curvature in (0.1, 0.5):
        climber = _Climber(forces, Atoms("Cu"), SaddleSettings(repush_curvature=curvature))
        climber._move_to(np.array([[1.0, 0.0, 0.0]]))
        climber.mode, climber.eigenvalue = np.array([[1.0, 0.0, 0.0]]), -1.0
        before = climber.calls["push"]
        climber._climb()
        # The first step of the climb ends at 1.1, where the mode is lost; a push is 0.1 long.
        distance = np.arccos(-0.5 * curvature) - 1.1
        assert climber.calls["push"] - before == np.ceil(distance / 0.1)
        assert climber.positions[0, 0] == pytest.approx(np.pi, abs=0.03)


@pytest.mark.parametrize(("period", "status"), [(0.25, "unconnected"), (0.5, "connected")])
def test_a_saddle_leads_to_another_minimum(period: float, status: str) -> None:
    """The minima of a cosine lie its period apart; within 0.3 Å they count as the same."""
    number = 2.0 * np.pi / period

    def forces(positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        x = positions[0, 0]
        across = positions * np.array([0.0, 5.0, 5.0])
        slope = 0.1 * number * np.sin(number * x)
        return 0.1 * (1.0 - np.cos(number * x)), -across - [[slope, 0.0, 0.0]]

    climber = _Climber(forces, Atoms("Cu"), SaddleSettings(push_over=0.1))
    climber._move_to(np.array([[0.5 * period, 0.0, 0.0]]))
    climber.mode = np.array([[1.0, 0.0, 0.0]])
    result = climber._result()
    assert result.final_displacement == pytest.approx(period, abs=0.001)
    assert result.barrier == pytest.approx(0.2)
    assert result.status == status
    assert (result.reason == "both sides relax to the start") == (status == "unconnected")
