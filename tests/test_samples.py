"""The shipped glass is what its description says."""

from __future__ import annotations

import subprocess
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from symgnn.errors import SymGNNError
from symgnn.samples import GLASS, INPUT, sample_glass, write_sample

LMP = Path(sysconfig.get_path("scripts")) / "lmp"

STATE = f"""
units        metal
atom_modify  map array
read_data    {GLASS}
pair_style   eam/fs
pair_coeff   * * CuZr_2009.eam.fs Cu Zr
thermo_style custom pe press fmax density
run          0
print        "state $(pe/atoms) $(press) $(fmax) $(density)"
"""


def test_the_sample_needs_no_element_names() -> None:
    atoms = sample_glass()
    assert Counter(atoms.get_chemical_symbols()) == {"Cu": 1920, "Zr": 1080}
    assert atoms.pbc.all()
    np.testing.assert_allclose(atoms.cell.lengths(), 36.2434, atol=1e-4)


def test_the_sample_lies_at_an_energy_minimum_without_pressure(tmp_path: Path) -> None:
    """The numbers of examples/sample_glass/README.md."""
    write_sample(tmp_path)
    (tmp_path / "in.state").write_text(STATE)
    command = [LMP, "-in", "in.state", "-log", "none"]
    result = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    (line,) = (row for row in result.stdout.splitlines() if row.startswith("state "))
    energy, pressure, force, density = map(float, line.split()[1:])
    assert energy == pytest.approx(-4.46745, abs=1e-4)
    assert abs(pressure) < 50  # bar
    assert force < 1e-5  # eV/Å
    assert density == pytest.approx(7.692, abs=1e-3)


def test_the_sample_folder_is_complete(tmp_path: Path) -> None:
    paths = write_sample(tmp_path / "new" / "folder")
    assert sorted(path.name for path in paths) == [GLASS, "CuZr_2009.eam.fs", INPUT]
    assert all(path.stat().st_size > 1000 for path in paths)
    (tmp_path / "file").touch()
    with pytest.raises(SymGNNError, match="cannot write"):
        write_sample(tmp_path / "file")
