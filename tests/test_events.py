"""The catalog keeps every search, once, and belongs to one structure, potential and settings."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk

from symgnn.errors import StructureError, SymGNNError
from symgnn.landscape.events import Catalog, Origin, Task, seed_of
from symgnn.landscape.labels import label_columns, labeled
from symgnn.landscape.saddle import SaddleSettings, Search
from symgnn.selection import chosen_atoms, structure_checksum

if TYPE_CHECKING:
    from pathlib import Path

ATOMS = bulk("Cu", cubic=True).repeat(2)
ORIGIN = Origin(structure_checksum(ATOMS), "p" * 64, SaddleSettings(), relax=False)


def saddle(barrier: float, status: str = "connected") -> Search:
    moved = ATOMS.positions.copy()
    moved[3] += [0.0, 0.5, 0.0]
    moved[4] += 0.01
    return Search(
        status, barrier=barrier, displaced_atoms=1, saddle=moved, final=2 * moved - ATOMS.positions
    )


def test_what_is_written_is_there_and_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with Catalog.append(path, ORIGIN, ATOMS) as catalog:
        tasks = catalog.missing([7, 3], 2)
        assert [(task.atom, task.search) for task in tasks] == [(3, 0), (7, 0), (3, 1), (7, 1)]
        catalog.add(tasks[0], saddle(1.5), 2.0, configurations=True)
        with pytest.raises(SymGNNError, match="UNIQUE"):
            catalog.add(tasks[0], saddle(1.6), 2.0, configurations=False)
    with Catalog.append(path, ORIGIN) as catalog:
        assert catalog.missing([7, 3], 2) == tasks[1:]
        catalog.add(tasks[1], Search("failed", "lost"), 1.0, configurations=True)
    with Catalog.read(path) as catalog:
        assert catalog.structure() == ATOMS
        assert catalog.origin() == ORIGIN
        assert catalog.reasons() == {"lost": 1}
        assert catalog.configurations(7, 0) is None
        over, final = catalog.configurations(3, 0)
        tally = catalog.tally()
    np.testing.assert_allclose(over.positions[3] - ATOMS.positions[3], [0.0, 0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(final.positions[3] - ATOMS.positions[3], [0.0, 1.0, 0.0], atol=1e-6)
    assert (over.positions[4] == ATOMS.positions[4]).all()
    assert tally.searches.sum() == 2
    assert tally.barrier.tolist() == [1.5]


def test_seeds_belong_to_structure_atom_and_search() -> None:
    structure = structure_checksum(ATOMS)
    other = ATOMS.copy()
    other.positions[0, 0] += 1e-9
    seeds = {
        seed_of(checksum, atom, search)
        for checksum in (structure, structure_checksum(other))
        for atom in range(10)
        for search in range(10)
    }
    assert len(seeds) == 200
    assert seed_of(structure, 3, 4) == seed_of(structure, 3, 4)


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (replace(ORIGIN, structure="0" * 64), "another structure"),
        (replace(ORIGIN, potential="0" * 64), "another potential"),
        (replace(ORIGIN, relax=True), "no --relax"),
        (replace(ORIGIN, settings=SaddleSettings(push_step=0.2)), r"settings \(push_step=0.1\)"),
    ],
)
def test_a_catalog_made_otherwise_is_refused(tmp_path: Path, origin: Origin, message: str) -> None:
    Catalog.append(tmp_path / "catalog.db", ORIGIN, ATOMS).close()
    with pytest.raises(SymGNNError, match=message) as caught:
        Catalog.append(tmp_path / "catalog.db", origin)
    assert "\n" not in str(caught.value)
    Catalog.append(tmp_path / "catalog.db", ORIGIN).close()


def test_what_is_no_catalog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SymGNNError, match="there is no catalog"):
        Catalog.read(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("not a database, but long enough to be taken for one" * 9)
    with pytest.raises(SymGNNError, match="is no catalog"):
        Catalog.read(tmp_path / "text.db")
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE other (x)").connection.close()
    with pytest.raises(SymGNNError, match="is no catalog"):
        Catalog.append(tmp_path / "empty.db", ORIGIN)
    with pytest.raises(SymGNNError, match="cannot write"):
        Catalog.append(tmp_path / "no folder" / "catalog.db", ORIGIN, ATOMS)


def test_an_older_catalog_is_read_and_continued_by_the_rules_of_today(tmp_path: Path) -> None:
    """Format 2 counted searches as connected that came back to the start."""
    path = tmp_path / "catalog.db"
    came_back = replace(saddle(1.0), final_displacement=0.3)
    went_on = replace(saddle(2.0), final_displacement=0.31)
    with Catalog.append(path, ORIGIN, ATOMS) as catalog:
        catalog.add(Task(0, 0, 1), came_back, 1.0, configurations=True)
        catalog.add(Task(0, 1, 1), went_on, 1.0, configurations=False)
        catalog.add(Task(0, 2, 1), Search("failed", "lost"), 1.0, configurations=False)
        catalog._connection.execute("UPDATE about SET value = 2 WHERE key = 'format'")
        catalog._connection.commit()

    def check(catalog: Catalog) -> None:
        assert catalog.tally().connected.tolist() == [False, True]
        assert catalog.reasons() == {"both sides relax to the start": 1, "lost": 1}
        assert catalog.configurations(0, 0) is not None

    before = path.read_bytes()
    with Catalog.read(path) as catalog:
        check(catalog)
    assert path.read_bytes() == before
    with pytest.raises(SymGNNError, match="another potential"):
        Catalog.append(path, replace(ORIGIN, potential="0" * 64))
    assert path.read_bytes() == before
    with Catalog.append(path, ORIGIN) as catalog:
        check(catalog)
    assert path.read_bytes() != before
    with Catalog.read(path) as catalog:
        check(catalog)
        assert catalog.origin() == ORIGIN


def test_there_is_one_writer_and_any_number_of_readers(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with Catalog.append(path, ORIGIN, ATOMS):
        with pytest.raises(SymGNNError, match="another process writes"):
            Catalog.append(path, ORIGIN)
        with Catalog.read(path) as reader:
            assert reader.tally().searches.sum() == 0
    assert [file.name for file in tmp_path.iterdir()] == ["catalog.db"]


def test_a_full_disk_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with Catalog.append(path, ORIGIN, ATOMS) as catalog:
        pages = catalog._connection.execute("PRAGMA page_count").fetchone()[0]
        catalog._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
        written, complaint = 0, ""
        while not complaint:
            try:
                catalog.add(Task(0, written, 1), saddle(1.0), 1.0, configurations=True)
                written += 1
            except SymGNNError as error:
                complaint = str(error)
    assert "full" in complaint
    assert "free space" in complaint
    with Catalog.append(path, ORIGIN) as catalog:
        assert catalog.tally().searches.sum() == written > 0
        assert catalog.missing([0], written + 1)[0].search == written


KILLED = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the commit
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE searches SET reason = hex(zeroblob(20000)), status = 'failed'")
os.kill(os.getpid(), signal.SIGKILL)
"""


def twenty_searches(folder: Path) -> tuple[Path, bytes]:
    """A catalog, and the bytes of its file."""
    path = folder / "catalog.db"
    with Catalog.append(path, ORIGIN, ATOMS) as catalog:
        for search in range(20):
            catalog.add(Task(0, search, 1), saddle(1.0), 1.0, configurations=True)
    return path, path.read_bytes()


def test_what_a_kill_left_half_written_is_rolled_back_by_readers(tmp_path: Path) -> None:
    path, whole = twenty_searches(tmp_path)
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert path.read_bytes() != whole
    assert path.with_name("catalog.db-journal").stat().st_size > 0
    with Catalog.read(path) as catalog:
        assert catalog.tally().connected.sum() == 20
        with pytest.raises(SymGNNError, match="readonly"):
            catalog.add(Task(1, 0, 1), saddle(1.0), 1.0, configurations=False)
    assert path.read_bytes() == whole


def test_a_damaged_page_is_one_line(tmp_path: Path) -> None:
    path, whole = twenty_searches(tmp_path)
    size = int.from_bytes(whole[16:18], "big")
    complaints = []
    for page in range(1, len(whole) // size):
        damaged = bytearray(whole)
        damaged[page * size : (page + 1) * size] = b"\xff" * size
        path.write_bytes(damaged)
        try:
            with Catalog.read(path) as catalog:
                labeled(catalog)
                catalog.reasons()
                catalog.cost()
                catalog.calls_by_phase()
                catalog.missing([0], 30)
                for search in range(20):
                    catalog.configurations(0, search)
        except SymGNNError as error:
            complaints.append(str(error))
    assert complaints
    for complaint in complaints:
        assert complaint.startswith(f"the catalog {path} is damaged (")
        assert complaint.endswith(".recover`")
        assert "\n" not in complaint


def test_labels_are_means_with_standard_errors(tmp_path: Path) -> None:
    barriers = {0: [1.0, 2.0, 3.0, 2.0], 1: [1.0, 1.2], 2: [0.7], 3: []}
    with Catalog.append(tmp_path / "catalog.db", ORIGIN, ATOMS) as catalog:
        for atom, values in barriers.items():
            for search, barrier in enumerate(values):
                catalog.add(Task(atom, search, 0), saddle(barrier), 1.0, configurations=False)
            last = Task(atom, len(values), 0)
            catalog.add(last, saddle(5.0, "unconnected"), 1.0, configurations=False)
        columns = label_columns(catalog.tally())
    np.testing.assert_allclose(columns["energy_barrier"][:4], [2.0, 1.1, 0.7, np.nan])
    np.testing.assert_allclose(columns["energy_barrier_all"][:4], [13 / 5, 7.2 / 3, 2.85, 5.0])
    pooled = (2.0 + 0.02) / (3 + 1)  # squares of atoms 0 and 1 over their degrees of freedom
    variance = np.array([(4 * pooled + 2.0) / (4 + 3), (4 * pooled + 0.02) / (4 + 1), pooled])
    np.testing.assert_allclose(columns["energy_barrier_std"][:3] ** 2, variance / [4, 2, 1])
    assert np.isnan(columns["energy_barrier_std"][3])
    assert columns["searches"][:5].tolist() == [5, 3, 2, 1, 0]
    assert columns["searches_connected"][:5].tolist() == [4, 2, 1, 0, 0]
    assert np.isnan(columns["energy_barrier"][4:]).all()


def test_atoms_are_chosen_by_number_element_or_chance() -> None:
    atoms = ATOMS.copy()
    atoms.symbols[5:8] = "Zr"
    assert chosen_atoms("all", atoms) == list(range(32))
    assert chosen_atoms("Zr", atoms) == [5, 6, 7]
    assert chosen_atoms("0,4-6", atoms) == [0, 4, 5, 6]
    few, more = chosen_atoms("random:5", atoms), chosen_atoms("random:9", atoms)
    assert len(set(few)) == 5
    assert set(few) < set(more)
    atoms.set_array("Selection", np.isin(np.arange(32), [3, 30]))
    atoms.set_array("barrier", np.where(np.arange(32) == 7, 1.5, np.nan) * (np.arange(32) != 8))
    assert chosen_atoms("column:Selection", atoms) == [3, 30]
    assert chosen_atoms("column:barrier", atoms) == [7]
    atoms.set_array("none", np.zeros(32))
    for choice in (
        "32",
        "random:33",
        "random:²",
        "Ni",
        "²",
        "1,x",
        "1-²",
        "3-",
        "column:none",
        "column:numbers",
    ):
        with pytest.raises(StructureError, match=choice):
            chosen_atoms(choice, atoms)
    with pytest.raises(StructureError, match="those it has: Selection, barrier, none"):
        chosen_atoms("column:shell", atoms)
