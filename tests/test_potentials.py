"""The shipped potential is the published one."""

from __future__ import annotations

import hashlib
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from symgnn import potentials
from symgnn.errors import SymGNNError
from symgnn.structures import read_structures

LMP = Path(sysconfig.get_path("scripts")) / "lmp"

POTENTIAL_ENERGIES = """
units        metal
boundary     p p p
atom_modify  map array
read_data    glass.data
pair_style   eam/fs
pair_coeff   * * {potential} Cu Zr
compute      energy all pe/atom
compute      force all property/atom fx fy fz
thermo_style custom step pe press
dump         energies all custom 1 energies.dump id element xs ys zs c_energy c_force[*]
dump_modify  energies element Cu Zr format float %.10g sort id
run          0
"""


def test_the_written_file_is_the_published_one(tmp_path: Path) -> None:
    assert potentials.write_potential(tmp_path) == tmp_path / "CuZr_2009.eam.fs"
    named = potentials.write_potential(tmp_path / "other.fs")
    assert (
        hashlib.sha256(named.read_bytes()).hexdigest()
        == "7871ba1196a490973d8eb941aefba250a3b9db5b772628157fd937a9a5f9ba39"
    )


def test_a_damaged_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = (potentials._FOLDER / "CuZr_2009.eam.fs.xz").read_bytes()
    (tmp_path / "CuZr_2009.eam.fs.xz").write_bytes(table[:-100])
    monkeypatch.setattr(potentials, "_FOLDER", tmp_path)
    with pytest.raises(SymGNNError, match="install symgnn again"):
        potentials.write_potential(tmp_path)


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(SymGNNError, match="cannot write"):
        potentials.write_potential(tmp_path / "no such folder" / "file.fs")


@pytest.mark.parametrize(
    "glass", [*(f"train{number}" for number in range(6)), "validation", "test0", "test1"]
)
def test_published_glasses_are_minima_of_the_published_energies(
    shared: Path, tmp_path: Path, glass: str
) -> None:
    """The published numbers carry float32 precision of positions: 1e-4 eV."""
    (atoms,) = read_structures(shared / "cuzr-barriers" / f"{glass}.xyz")
    potentials.write_potential(tmp_path)
    from ase.io import write

    write(tmp_path / "glass.data", atoms, format="lammps-data", specorder=["Cu", "Zr"], masses=True)
    script = tmp_path / "in.energies"
    script.write_text(POTENTIAL_ENERGIES.format(potential=potentials.CUZR_2009))
    subprocess.run([LMP, "-in", script.name], cwd=tmp_path, check=True, capture_output=True)
    (computed,) = read_structures(tmp_path / "energies.dump")
    energies = computed.arrays["c_energy"]
    np.testing.assert_allclose(energies, atoms.arrays["potential_energy"], rtol=0, atol=1e-4)
    for axis in (1, 2, 3):
        assert np.abs(computed.arrays[f"c_force[{axis}]"]).max() < 0.01  # eV/Å
