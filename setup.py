"""Build the C++ parts with CMake, and tie the package to the versions that it was compiled against.

Everything that does not depend on the build environment is in pyproject.toml.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def compiled_against(package: str) -> str:
    """Version of a package in the build environment, without its build tag."""
    return importlib.metadata.version(package).partition("+")[0]


def minor_version_range(package: str) -> str:
    """Requirement that keeps a package at the minor version in the build environment."""
    major, minor = compiled_against(package).split(".")[:2]
    return f"{package}>={major}.{minor},<{major}.{int(minor) + 1}"


class CMakeBuild(build_ext):
    """One CMake build gives the Python module and the LAMMPS plugin."""

    def build_extension(self, ext: Extension) -> None:
        """Configure, compile, and put the results beside the package's Python files."""
        package = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        # An editable install keeps its build folder, so that the next one compiles only changes.
        build = ROOT / "build" / "editable" if self.editable_mode else Path(self.build_temp)
        build = build.resolve()
        build.mkdir(parents=True, exist_ok=True)
        configure = [
            "cmake",
            "-S",
            str(ROOT),
            "-B",
            str(build),
            "-G",
            "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DSYMGNN_PYTHON=ON",
            "-DSYMGNN_PLUGIN=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DSYMGNN_ABSOLUTE_RPATH={'ON' if self.editable_mode else 'OFF'}",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build)], check=True)
        subprocess.run(["cmake", "--install", str(build), "--prefix", str(package)], check=True)
        (package / "_build_info.py").write_text(
            '"""Written by the build: versions that the C++ parts were compiled against."""\n\n'
            f'TORCH_VERSION = "{compiled_against("torch")}"\n'
            f'LAMMPS_VERSION = "{compiled_against("lammps")}"\n',
            encoding="utf-8",
        )

    def copy_extensions_to_source(self) -> None:
        """Editable install: also bring what is no Python module into the source tree."""
        built = Path(self.build_lib) / "symgnn"
        for file in filter(Path.is_file, built.rglob("*")):
            target = ROOT / "python" / "symgnn" / file.relative_to(built)
            target.parent.mkdir(parents=True, exist_ok=True)
            # A process may have the old library mapped: give it a new file, never new bytes.
            temporary = target.with_name(f".{target.name}.new")
            shutil.copy2(file, temporary)
            temporary.replace(target)


setup(
    ext_modules=[Extension("symgnn._core", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
    install_requires=[
        # C++ has no ABI across minor versions of torch, nor across versions of LAMMPS.
        minor_version_range("torch"),
        f"lammps[mpi]=={compiled_against('lammps')}",
        minor_version_range("vesin"),
        "numpy>=1.26",
        "ase>=3.24",
        "pydantic>=2.7",
        "typer>=0.15",
        "rich>=13",
        "pyyaml>=6",
        "matplotlib>=3.8",
    ],
)
