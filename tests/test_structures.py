"""Structures come in from any format and go out unchanged but for what was added."""

from __future__ import annotations

import gzip
import io
import re
import resource
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from symgnn.errors import StructureError, SymGNNError
from symgnn.lammps_data import read_data
from symgnn.structures import (
    StructureWriter,
    format_of,
    iterate_structures,
    read_structure,
    read_structures,
    stem_of,
    write_structures,
)

DATA = """LAMMPS data file

4 atoms
2 atom types

-3.0 7.0 xlo xhi
-3.0 8.0 ylo yhi
-3.0 9.0 zlo zhi
{labels}
Masses

1 63.546{copper}
2 91.224{zirconium}

Atoms # atomic

3 2 3.0 0.5 0.5 0 0 0
1 1 1.0 0.5 0.5 0 0 0
4 1 4.0 0.5 0.5 1 0 0
2 1 2.0 0.5 0.5 0 0 0
"""


@pytest.fixture
def annotated(glass: Atoms) -> Atoms:
    glass.arrays["energy_barrier"] = np.random.default_rng(2).normal(1.6, 0.3, len(glass))
    return glass


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- LAMMPS data ------------------------------------------------------------------------------


def test_data_file_with_elements_from_the_command_line(tmp_path: Path) -> None:
    path = written(tmp_path / "glass.data", DATA.format(labels="", copper="", zirconium=""))
    (atoms,) = read_structures(path, elements=["Cu", "Zr"])
    assert atoms.get_chemical_symbols() == ["Cu", "Cu", "Zr", "Cu"]
    np.testing.assert_array_equal(atoms.positions[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(atoms.cell.lengths(), [10, 11, 12])
    np.testing.assert_array_equal(np.ravel(atoms.get_celldisp()), [-3, -3, -3])
    assert atoms.pbc.all()


def test_data_file_without_elements_names_the_option(tmp_path: Path) -> None:
    path = written(tmp_path / "glass.data", DATA.format(labels="", copper="", zirconium=""))
    with pytest.raises(StructureError, match="--elements Cu,Zr"):
        read_structures(path)


@pytest.mark.parametrize(
    "names",
    [
        {"labels": "", "copper": " # Cu", "zirconium": "  #Zr"},
        {"labels": "\nAtom Type Labels\n\n1 Cu\n2 Zr\n", "copper": "", "zirconium": ""},
    ],
)
def test_data_file_that_names_its_elements(tmp_path: Path, names: dict[str, str]) -> None:
    path = written(tmp_path / "any.name", DATA.format(**names))
    assert read_structures(path)[0].get_chemical_symbols() == ["Cu", "Cu", "Zr", "Cu"]
    # what the user says counts more
    (atoms,) = read_structures(path, elements=["Ni", "P"])
    assert atoms.get_chemical_symbols() == ["Ni", "Ni", "P", "Ni"]


@pytest.mark.parametrize(
    ("elements", "remark"),
    [
        (["Cu"], "has 2 atom types"),
        (["Cu", "Zr", "Al"], "has 2 atom types"),
        (["Cu", "Xx"], "'Xx' is not a chemical symbol"),
        (["Cu", "X"], "'X' is not a chemical symbol"),
    ],
)
def test_wrong_element_names_for_a_data_file(
    tmp_path: Path, elements: list[str], remark: str
) -> None:
    path = written(tmp_path / "glass.data", DATA.format(labels="", copper="", zirconium=""))
    with pytest.raises(StructureError, match=remark):
        read_structures(path, elements=elements)


@pytest.mark.parametrize(
    ("sound", "damaged", "remark"),
    [
        ("\n1 1 1.0", f"\n{'9' * 30} 1 1.0", "damaged or unusual"),
        ("\n1 1 1.0", f"\n1 {'9' * 30} 1.0", "damaged or unusual"),
        ("4 atoms", f"{'9' * 15} atoms", "ends after 4 of 9999"),
        ("2 atom types", f"{'9' * 5000} atom types", "no structure when read as"),
        ("1 63.546", f"{'9' * 5000} 63.546", "does not name the elements"),
    ],
)
def test_a_data_file_of_huge_numbers_is_named(
    tmp_path: Path, sound: str, damaged: str, remark: str
) -> None:
    text = DATA.format(labels="", copper=" # Cu", zirconium=" # Zr")
    assert sound in text
    path = written(tmp_path / "glass.data", text.replace(sound, damaged))
    with pytest.raises(StructureError, match=remark):
        read_structures(path)


def test_a_data_file_that_was_cut_off_is_named() -> None:
    """Anywhere: the message says how much is there, or nothing but velocities is missing."""
    text = DATA.format(labels="", copper=" # Cu", zirconium=" # Zr")
    text += "\nVelocities\n\n3 1.5 2.5 3.5\n1 1.5 2.5 3.5\n4 1.5 2.5 3.5\n2 1.5 2.5 3.5\n"
    remark = r"no section Atoms for its 4 atoms|ends after \d of 4 (atoms|velocities)"
    header = text.index("2 atom types") + len("2 atom types")
    atoms, heading = text.index("\n\nVelocities"), text.index("Velocities") + len("Velocities")
    velocities = text.rindex("3.5") + 1
    for length in (*range(header, atoms), *range(heading, velocities)):
        with pytest.raises(StructureError, match=remark):
            read_data(io.StringIO(text[:length]), None)
    for length in (*range(atoms, heading), *range(velocities, len(text) + 1)):
        assert len(read_data(io.StringIO(text[:length]), None)) == 4


@pytest.mark.parametrize(
    ("sound", "damaged", "remark"),
    [
        ("4 atoms", "3 atoms", "its header says 3 atoms, but 4 rows stand below Atoms"),
        (" 1.0 0.5 0.5 0", " 1.0 0.5 0", "row 2 of Atoms has 7 columns, and the first has 8"),
        ("3 2 3.0", "3 7 3.0", "7 is no type of the file"),
        ("ylo yhi", "ylo", "xlo xhi, ylo yhi and zlo zhi"),
        ("# atomic", "# charge", "8 columns, but those of atom style charge have 6, or 9 with"),
        ("# atomic", "# peri", "'Atoms # peri' names no atom style that is read"),
    ],
)
def test_a_damaged_data_file_is_named(sound: str, damaged: str, remark: str) -> None:
    text = DATA.format(labels="", copper=" # Cu", zirconium=" # Zr")
    assert sound in text
    with pytest.raises(StructureError, match=remark):
        read_data(io.StringIO(text.replace(sound, damaged)), None)


def test_a_data_file_with_charges_names_its_style() -> None:
    text = DATA.format(labels="", copper=" # Cu", zirconium=" # Zr")
    text = re.sub(r"^(\d [12]) (.* 0)$", r"\1 -0.5 \2", text, flags=re.MULTILINE)
    charged = text.replace("# atomic", "# charge")
    np.testing.assert_array_equal(
        read_data(io.StringIO(charged), None).positions[:, 0], [1, 2, 3, 4]
    )
    with pytest.raises(StructureError, match=r"does not name its atom style: .* 'Atoms # charge'"):
        read_data(io.StringIO(text.replace(" # atomic", "")), None)


# --- LAMMPS dumps -----------------------------------------------------------------------------

CELLS = {
    "orthogonal": np.diag([10.0, 11.0, 12.0]),
    "triclinic": np.array([[10.0, 0, 0], [2.0, 11.0, 0], [-3.0, 4.0, 12.0]]),
    "general": np.array([[8.0, 1, 0.5], [-1.0, 9.0, 0.3], [0.2, 1.0, 10.0]]),
}
ORIGIN = np.array([-5.0, 1.0, 2.0])


def box_lines(cell: np.ndarray, kind: str) -> str:
    if kind == "general":
        rows = np.column_stack((cell, ORIGIN))
        return "ITEM: BOX BOUNDS abc origin pp ff pp\n" + "\n".join(
            " ".join(map(repr, row.tolist())) for row in rows
        )
    xy, xz, yz = cell[1, 0], cell[2, 0], cell[2, 1]
    low, high = ORIGIN, ORIGIN + np.diag(cell)
    if kind == "orthogonal":
        return "ITEM: BOX BOUNDS pp ff pp\n" + "\n".join(
            f"{a} {b}" for a, b in zip(low, high, strict=True)
        )
    low = low + np.array([min(0, xy, xz, xy + xz), min(0, yz), 0])
    high = high + np.array([max(0, xy, xz, xy + xz), max(0, yz), 0])
    return "ITEM: BOX BOUNDS xy xz yz pp ff pp\n" + "\n".join(
        f"{a} {b} {tilt}" for a, b, tilt in zip(low, high, (xy, xz, yz), strict=True)
    )


def frame(kind: str, columns: str, fraction: np.ndarray, timestep: int, element: bool) -> str:
    cell = CELLS[kind]
    values = fraction if columns.startswith("xs") else fraction @ cell + ORIGIN
    types = np.arange(len(fraction)) % 2 + 1
    order = np.random.default_rng(timestep).permutation(len(fraction))
    rows = "\n".join(
        f"{n + 1} {types[n]} {('Cu ', 'Zr ')[types[n] - 1] if element else ''}"
        f"{' '.join(map(repr, values[n].tolist()))} {n / 4}"
        for n in order
    )
    return (
        f"ITEM: TIMESTEP\n{timestep}\nITEM: NUMBER OF ATOMS\n{len(fraction)}\n"
        f"{box_lines(cell, kind)}\n"
        f"ITEM: ATOMS id type {'element ' if element else ''}{columns} c_stress\n{rows}\n"
    )


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("columns", ["x y z", "xs ys zs", "xu yu zu", "xsu ysu zsu"])
@pytest.mark.parametrize("element", [True, False])
def test_dump(tmp_path: Path, kind: str, columns: str, element: bool) -> None:
    fraction = np.random.default_rng(7).uniform(-0.5, 1.5, (6, 3))
    text = "".join(frame(kind, columns, fraction, step, element) for step in (0, 100, 200))
    plain = written(tmp_path / "glass.dump", text)
    packed = tmp_path / "run.lammpstrj.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (plain, packed):
        frames = read_structures(path, elements=None if element else ["Cu", "Zr"])
        assert [atoms.info["timestep"] for atoms in frames] == [0, 100, 200]
        for atoms in frames:
            assert atoms.get_chemical_symbols() == ["Cu", "Zr"] * 3
            np.testing.assert_allclose(atoms.positions, fraction @ CELLS[kind] + ORIGIN, atol=1e-9)
            np.testing.assert_allclose(atoms.cell.array, CELLS[kind], atol=1e-9)
            assert atoms.pbc.tolist() == [True, False, True]
            np.testing.assert_array_equal(atoms.arrays["c_stress"], np.arange(6) / 4)
            np.testing.assert_array_equal(atoms.arrays["id"], np.arange(1, 7))


@pytest.mark.parametrize("index", [0, 2, -1, "0", "-1", ":", "1:", "::2", "-2:", "::-1", "3:1:-1"])
def test_index_selects_as_in_a_list(tmp_path: Path, index: int | str) -> None:
    fraction = np.full((2, 3), 0.25)
    text = "".join(frame("orthogonal", "x y z", fraction, step, True) for step in range(5))
    frames = read_structures(written(tmp_path / "glass.dump", text), index=index)
    steps = [atoms.info["timestep"] for atoms in frames]
    if ":" in str(index):
        assert steps == list(range(5))[slice(*(int(w) if w else None for w in index.split(":")))]
    else:
        assert steps == [range(5)[int(index)]]


def test_a_dump_is_read_one_structure_at_a_time(tmp_path: Path) -> None:
    good = frame("orthogonal", "x y z", np.full((2, 3), 0.25), 0, True)
    frames = iterate_structures(written(tmp_path / "glass.dump", good + "ITEM: TIMESTEP\n1\n"))
    assert len(next(frames)) == 2
    with pytest.raises(StructureError, match="cut off"):
        next(frames)


def test_one_of_several_structures_is_chosen(tmp_path: Path) -> None:
    frames = [frame("orthogonal", "x y z", np.full((2, 3), 0.25), step, True) for step in range(3)]
    single = written(tmp_path / "glass.dump", frames[1])
    assert read_structure(single).info["timestep"] == 1
    # Damage beyond the second structure is not come to.
    several = written(tmp_path / "run.dump", "".join(frames) + "ITEM: TIMESTEP\n3\n")
    assert read_structure(several, index=2).info["timestep"] == 2
    with pytest.raises(StructureError, match=r"run\.dump holds several structures: .*--index"):
        read_structure(several)
    with pytest.raises(StructureError, match="no structure number 5"):
        read_structure(single, index=5)


HUGE = "9" * 30
GOOD = frame("orthogonal", "x y z", np.full((4, 3), 0.25), 0, False)


@pytest.mark.parametrize(
    ("text", "elements", "remark"),
    [
        (GOOD, None, "--elements Cu,Zr"),
        (GOOD, ["Cu"], "atoms of type 2"),
        (GOOD.replace("c_stress", "c_stress extra"), ["Cu", "Zr"], "does not have the"),
        (GOOD.replace(" x y z ", " a b c "), ["Cu", "Zr"], "no positions"),
        (GOOD.replace("TIMESTEP\n0", "TIMESTEP\nzero"), ["Cu", "Zr"], "'zero' where a number"),
        ("\n".join(GOOD.splitlines()[:-2]), ["Cu", "Zr"], "ends after 2 of 4 atoms"),
        (f"ITEM: UNITS\nlj\n{GOOD}", ["Cu", "Zr"], "units lj"),
        (GOOD.replace("id type", "id kind"), ["Cu", "Zr"], "no type column"),
        (GOOD.replace("pp ff pp\n-5.0", "pp ff pp\nleft"), ["Cu", "Zr"], "not numbers"),
        (GOOD.replace("ATOMS\n4", "ATOMS\n-5"), ["Cu", "Zr"], "-5 as the number of atoms"),
        (GOOD.replace("ATOMS\n4", f"ATOMS\n{HUGE}"), ["Cu", "Zr"], "999 as the number of atoms"),
        (f"ITEM: UNITS\n{GOOD}", ["Cu", "Zr"], "UNITS without the name"),
        (re.sub(r"(\n\d [12]) \S+", r"\1 left", GOOD), ["Cu", "Zr"], "x y z are not all numbers"),
    ],
)
def test_damaged_dumps_are_named(
    tmp_path: Path, text: str, elements: list[str] | None, remark: str
) -> None:
    path = written(tmp_path / "glass.dump", text)
    with pytest.raises(StructureError, match=remark) as caught:
        read_structures(path, elements=elements)
    assert "glass.dump" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- everything else that is read -------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.xyz", "POSCAR", "a.cif", "a.xyz.gz", "a.traj", "a.json"])
def test_what_ase_reads_is_read(tmp_path: Path, glass: Atoms, name: str) -> None:
    del glass[10:]
    glass = glass[np.argsort(glass.numbers, kind="stable")]
    ase.io.write(tmp_path / name, glass)
    (atoms,) = read_structures(tmp_path / name)
    assert sorted(atoms.get_chemical_symbols()) == sorted(glass.get_chemical_symbols())
    with pytest.raises(StructureError, match="no LAMMPS file"):
        read_structures(tmp_path / name, elements=["Cu", "Zr"])


@pytest.mark.parametrize(
    ("name", "content", "remark"),
    [
        ("empty.xyz", b"", "is empty"),
        ("blank.data", b"\n \n", "is empty"),
        ("cut.xyz", b'5\nLattice="1 0 0 0 1 0 0 0 1"\nCu 0 0 0\n', "cannot be read as extxyz"),
        ("noise.xyz", b"\x00\xff\x13garbage" * 40, "cannot be read"),
        ("text", b"hello there\n", "format is not known"),
        ("text.unknown", b"hello there\n", "format is not known"),
        ("broken.xyz.gz", b"5\nno gzip\n", "cannot be read"),
        (
            "broken.data",
            b"t\n\n2 atoms\n1 atom types\n0 1 xlo xhi\n\nMasses\n\n1 1 # Cu\n",
            "no section Atoms for its 2 atoms",
        ),
        ("xyz.data", b"1\n\nCu 0 0 0\n", "no structure .* '3000 atoms' and '2 atom types'"),
        ("head.data", DATA.replace("4 atoms", "4 atomz").encode(), "no structure .* '3000 atoms'"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes, remark: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StructureError, match=remark) as caught:
        read_structures(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["xyz.gz", "xyz.xz", "dump.gz", "dump.xz"])
@pytest.mark.parametrize("place", [20, -200])
def test_a_damaged_compression_is_named(
    tmp_path: Path, glass: Atoms, ending: str, place: int
) -> None:
    path = tmp_path / f"a.{ending}"
    write_structures(path, [glass] * 5)
    content = bytearray(path.read_bytes())
    content[place : place + 100] = bytes(byte ^ 0x5A for byte in content[place : place + 100])
    path.write_bytes(content)
    with pytest.raises(StructureError, match="cannot be read") as caught:
        read_structures(path)
    assert path.name in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match="does not exist"):
        read_structures(tmp_path / "none.xyz")
    with pytest.raises(StructureError, match="is a folder"):
        read_structures(tmp_path)


@pytest.mark.parametrize("index", [5, "7", "first", "1:2:3:4", "::0"])
def test_an_index_that_selects_nothing_is_named(
    tmp_path: Path, glass: Atoms, index: int | str
) -> None:
    for name in ("a.xyz", "a.dump"):
        write_structures(tmp_path / name, [glass, glass])
        with pytest.raises(StructureError, match=str(index)):
            read_structures(tmp_path / name, index=index)


def test_standard_input(tmp_path: Path, annotated: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.xyz", "a.dump"):
        write_structures(tmp_path / name, [annotated, annotated])
        stream = io.TextIOWrapper(io.BytesIO((tmp_path / name).read_bytes()))
        monkeypatch.setattr(sys, "stdin", stream)
        frames = read_structures("-")
        assert len(frames) == 2
        np.testing.assert_allclose(frames[1].positions, annotated.positions, atol=1e-7)


# --- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["xyz", "extxyz", "xyz.gz", "dump", "lammpstrj.bz2", "dump.xz"])
def test_what_is_written_is_read_again(tmp_path: Path, annotated: Atoms, ending: str) -> None:
    tilted = annotated.copy()
    tilted.set_cell([[13.0, 0, 0], [2.0, 12.0, 0], [-1.0, 3.0, 14.0]])
    tilted.set_celldisp([1.0, -2.0, 3.0])
    turned = annotated.copy()
    turned.set_cell([[0, 13.0, 0], [0, 2.0, 12.0], [14.0, 1.0, 0]])
    turned.pbc = [True, False, True]
    path = tmp_path / f"glass.{ending}"
    write_structures(path, [annotated, tilted, turned])
    frames = read_structures(path)
    for expected, found in zip((annotated, tilted, turned), frames, strict=True):
        np.testing.assert_allclose(found.positions, expected.positions, atol=1e-7)
        np.testing.assert_allclose(found.cell.array, expected.cell.array, atol=1e-7)
        np.testing.assert_array_equal(found.pbc, expected.pbc)
        assert found.get_chemical_symbols() == expected.get_chemical_symbols()
        np.testing.assert_allclose(
            found.arrays["energy_barrier"], expected.arrays["energy_barrier"], rtol=1e-6
        )
        np.testing.assert_allclose(
            np.ravel(found.get_celldisp()), np.ravel(expected.get_celldisp()), atol=1e-7
        )


@pytest.mark.parametrize("timestep", ["early", True, 0.5])
def test_a_dump_has_whole_numbers_where_lammps_reads_them(tmp_path: Path, timestep: object) -> None:
    pair = Atoms("CuZr", positions=[[0, 0, 0], [0, 0, 3]], cell=[9, 9, 9], pbc=True)
    pair.info["timestep"] = timestep
    pair.set_array("id", np.array(["one", "two"]))
    write_structures(tmp_path / "pair.dump", [pair])
    (atoms,) = read_structures(tmp_path / "pair.dump")
    assert atoms.info["timestep"] == 0
    assert atoms.arrays["id"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "column", [["a", "b"], [1.5, 2.5], [[1, 1, 1], [2, 2, 2]], [True, True], [0, 0]]
)
def test_only_numbers_from_one_up_are_types_of_a_dump(tmp_path: Path, column: list) -> None:
    pair = Atoms("ZrCu", positions=[[0, 0, 0], [0, 0, 3]], cell=[9, 9, 9], pbc=True)
    pair.set_array("type", np.array(column))
    pair.set_array("id", np.array([[4, 4], [5, 5]]))
    write_structures(tmp_path / "pair.dump", [pair])
    (atoms,) = read_structures(tmp_path / "pair.dump", elements=["Cu", "Zr"])
    assert atoms.get_chemical_symbols() == ["Zr", "Cu"]
    pair.arrays["type"] = np.array([3, 1], dtype=np.int32)
    write_structures(tmp_path / "pair.dump", [pair])
    assert read_structures(tmp_path / "pair.dump")[0].arrays["type"].tolist() == [3, 1]


def test_a_column_never_takes_the_place_of_the_elements(tmp_path: Path) -> None:
    text = GOOD.replace("c_stress", "numbers")
    (atoms,) = read_structures(written(tmp_path / "a.dump", text), elements=["Cu", "Zr"])
    assert atoms.get_chemical_symbols() == ["Cu", "Zr"] * 2


def test_a_molecule_without_a_cell_goes_into_a_dump(tmp_path: Path) -> None:
    pair = Atoms("CuZr", positions=[[0, 0, 0], [2.5, 0, 0]])
    write_structures(tmp_path / "pair.dump", [pair])
    (atoms,) = read_structures(tmp_path / "pair.dump")
    np.testing.assert_allclose(atoms.positions, pair.positions)
    assert not atoms.pbc.any()


def test_csv(tmp_path: Path, annotated: Atoms) -> None:
    annotated.arrays["energy_barrier_std"] = np.full(len(annotated), 0.1)
    write_structures(tmp_path / "glass.csv", [annotated, annotated])
    lines = (tmp_path / "glass.csv").read_text().splitlines()
    assert lines[0] == "structure,index,element,x,y,z,energy_barrier,energy_barrier_std"
    assert len(lines) == 1 + 2 * len(annotated)
    structure, index, element, x, y, z, barrier, _ = lines[-1].split(",")
    assert (structure, index) == ("1", str(len(annotated) - 1))
    assert element == annotated.get_chemical_symbols()[-1]
    np.testing.assert_allclose([float(x), float(y), float(z)], annotated.positions[-1])
    assert float(barrier) == pytest.approx(annotated.arrays["energy_barrier"][-1])


def test_csv_has_the_columns_of_its_first_structure(tmp_path: Path) -> None:
    plain = Atoms("CuZr", positions=[[0, 0, 0], [0, 0, 3]])
    more = plain.copy()
    more.arrays |= {
        "energy_barrier": np.array([1.0, 2.0]),
        "id": np.array([8, 9]),
        "velocity": np.zeros((2, 3)),  # no single number per atom
        "two words": np.zeros(2),
        "element": np.zeros(2),
        "chosen": np.array([True, False]),
    }
    more.calc = SinglePointCalculator(more, charges=np.array([0.1, 0.2]))
    path = tmp_path / "pair.csv"
    write_structures(path, [more, plain])
    assert path.read_text().splitlines() == [
        "structure,index,element,x,y,z,energy_barrier,charges,id,chosen",
        "0,0,Cu,0,0,0,1,0.1,8,1",
        "0,1,Zr,0,0,3,2,0.2,9,0",
        "1,0,Cu,0,0,0,nan,nan,nan,nan",
        "1,1,Zr,0,0,3,nan,nan,nan,nan",
    ]
    del more.arrays["energy_barrier"]
    write_structures(path, [plain, more])  # only barriers are missed
    assert path.read_text().splitlines()[-1] == "1,1,Zr,0,0,3"
    more.arrays["energy_barrier_label"] = np.zeros(2)
    with pytest.raises(
        StructureError, match="energy_barrier_label is no column of structures before"
    ):
        write_structures(path, [plain, more])


@pytest.mark.parametrize(
    ("columns", "kept"),
    [("x y z", True), ("xs ys zs", True), ("xu yu zu", False), ("xsu ysu zsu", False)],
)
def test_image_flags_stay_with_the_positions_they_belong_to(
    tmp_path: Path, columns: str, kept: bool
) -> None:
    """Unwrapped positions are written as x y z, which image flags would unwrap once more."""
    text = GOOD.replace("x y z", columns).replace("c_stress", "ix")
    (atoms,) = read_structures(written(tmp_path / "a.dump", text), elements=["Cu", "Zr"])
    write_structures(tmp_path / "b.dump", [atoms])
    (again,) = read_structures(tmp_path / "b.dump")
    assert ("ix" in again.arrays) == kept


def test_the_stem_of_a_file_has_no_suffix_and_no_folder() -> None:
    names = ["-", "run/glass.dump.gz", Path("glass.v2.xyz"), "glass.data.XZ", "glass"]
    stems = ["structure", "glass", "glass.v2", "glass", "glass"]
    assert [stem_of(name) for name in names] == stems


def test_formats_are_known_by_their_suffix() -> None:
    assert format_of("-") == "extxyz"
    assert format_of("a.LAMMPSTRJ.gz") == "lammps-dump"
    for name in ("a", "a.foo", "a.gz"):
        with pytest.raises(StructureError, match="--format"):
            format_of(name)
    with pytest.raises(StructureError, match="cannot be written"):
        StructureWriter("a.xyz", "pdf")


def test_nothing_stands_under_the_final_name_before_it_is_whole(
    tmp_path: Path, annotated: Atoms
) -> None:
    path = tmp_path / "glass.xyz"
    path.write_text("what was here before")
    with StructureWriter(path) as writer:
        writer.write(annotated)
        assert path.read_text() == "what was here before"
    assert len(read_structures(path)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["glass.xyz"]


@pytest.mark.parametrize("ending", ["xyz", "dump.gz"])
def test_an_interruption_keeps_what_was_written(
    tmp_path: Path, annotated: Atoms, ending: str
) -> None:
    path = tmp_path / f"glass.{ending}"
    with pytest.raises(KeyboardInterrupt), StructureWriter(path) as writer:  # noqa: PT012
        for _ in range(3):
            writer.write(annotated)
        raise KeyboardInterrupt
    assert not path.exists()
    assert writer.partial == tmp_path / f"glass.partial.{ending}"
    assert len(read_structures(writer.partial)) == 3
    with pytest.raises(KeyboardInterrupt), StructureWriter(tmp_path / "none.xyz") as writer:
        raise KeyboardInterrupt
    assert writer.partial is None
    assert [file.name for file in tmp_path.iterdir()] == [f"glass.partial.{ending}"]


@pytest.mark.parametrize("ending", ["xyz", "xyz.gz"])
def test_a_disk_that_fills_up_at_the_end_leaves_no_hidden_file(
    tmp_path: Path, annotated: Atoms, ending: str
) -> None:
    del annotated[40:]  # few enough that all of them wait in buffers until the file is closed
    path, limit = tmp_path / f"glass.{ending}", resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(SymGNNError, match="cannot write"), StructureWriter(path) as writer:  # noqa: PT012
            writer.write(annotated)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert writer.count == 1
    assert writer.partial == tmp_path / f"glass.partial.{ending}"
    assert list(tmp_path.iterdir()) == [writer.partial]


def test_a_name_that_is_taken_meanwhile_costs_no_structures(
    tmp_path: Path, annotated: Atoms
) -> None:
    path = tmp_path / "glass.xyz"
    with pytest.raises(SymGNNError, match="cannot write"), StructureWriter(path) as writer:  # noqa: PT012
        writer.write(annotated)
        path.mkdir()
    assert writer.partial == tmp_path / "glass.partial.xyz"
    assert len(read_structures(writer.partial)) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["glass.partial.xyz", "glass.xyz"]


def test_unwritable_places_are_named(tmp_path: Path, annotated: Atoms) -> None:
    for path in (tmp_path / "missing" / "a.xyz", Path("/proc/a.xyz")):
        with pytest.raises(SymGNNError, match="cannot write"):
            write_structures(path, [annotated])
    (tmp_path / "folder.xyz").mkdir()
    with pytest.raises(SymGNNError, match="cannot write"):
        write_structures(tmp_path / "folder.xyz", [annotated])


def test_a_full_disk_is_named(annotated: Atoms) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(SymGNNError, match="No space left"):
        write_structures(full, [annotated] * 50, "csv")
    assert full.exists()


def test_links_survive(tmp_path: Path, annotated: Atoms) -> None:
    (tmp_path / "target.xyz").touch()
    (tmp_path / "link.xyz").symlink_to(tmp_path / "target.xyz")
    write_structures(tmp_path / "link.xyz", [annotated])
    assert (tmp_path / "link.xyz").is_symlink()
    assert len(read_structures(tmp_path / "target.xyz")) == 1
