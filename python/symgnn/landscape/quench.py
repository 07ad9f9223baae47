"""Glasses from the melt: random packing, melt, cooling, energy minimum, shear.

Each sample is a folder with the LAMMPS inputs, restart files and logs of its stages, and with the
glass when it is done. A stage that was interrupted goes on from its last restart file.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import math
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from ase.data import atomic_numbers

from symgnn.errors import StructureError, SymGNNError
from symgnn.files import cannot_write, make_folder, written_whole
from symgnn.lammps_process import run_lammps
from symgnn.landscape.quench_input import (
    COLDEST,
    SKIN,
    STRAIN_STEP,
    TIMESTEP,
    inputs,
    sphere_volume,
)
from symgnn.structures import read_structures, write_structures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ase import Atoms

    from symgnn.landscape.potential import Potential

SLOWEST, FASTEST = 1e10, 1e14
"""K/s."""

LARGEST_FORCE: Final = 1e-4
"""eV/Å; the largest force component at an energy minimum is below."""

GLASS: Final = "glass"
"""Name, without suffix, of the glass in the folder of its sample: ``.xyz`` and ``.data``."""

SHEARED: Final = "sheared"
"""The same after the shear."""

_SETTINGS = "settings.json"
_LOCK = ".lock"
_PATIENCE = 5.0  # seconds until a LAMMPS whose reader was killed has noticed
_END_OF_RESTART = b"LammpS RestartT\0"
_DENSE = 1.1  # volume of a metal over that of its atoms as spheres
_LARGEST_SHEAR = 0.5
_LARGEST_SEED = 900_000_000
_REMEDIES = {
    "Lost atoms": "atoms flew apart, so the potential does not hold them at this temperature:"
    " lower --temperature, or correct the potential",
    "Non-numeric": "forces or pressure became infinite: correct the potential, or take another"
    " --seed",
    "Out of range atoms": "atoms moved too far in a step: correct the potential, or take another"
    " --seed",
}
_SYMBOL = re.compile(r"([A-Z][a-z]?)(\d+(?:\.\d+)?)?")
_SAMPLE = re.compile(r"sample-([1-9][0-9]*)")
_NUMBERS = re.compile(r"^[-+.\deE ]+$")


# --- what is asked for ------------------------------------------------------------------------


@dataclass(frozen=True)
class QuenchSettings:
    """What determines a sample, beside its number and the potential."""

    composition: str
    """Such as ``Cu64Zr36``, in any proportion."""
    atoms: int
    rate: float
    """Cooling rate, K/s."""
    hold: float = 100.0
    """Time in the melt, ps."""
    temperature: float = 2000.0
    """Of the melt, K."""
    seed: int = 1
    shear: float = 0.0
    """Shear strain after the minimization; 0 for none."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            SymGNNError: a value out of range.
            StructureError: a composition that cannot be read, or too few atoms for it.
        """
        if not SLOWEST <= self.rate <= FASTEST:
            raise SymGNNError(
                f"a cooling rate of {self.rate:g} K/s is out of range: choose {SLOWEST:.0e} to"
                f" {FASTEST:.0e} K/s"
            )
        if not 0 < self.hold <= 1e6:
            raise SymGNNError(f"--hold {self.hold:g} is out of range: choose up to 1e6 ps")
        if not 100 <= self.temperature <= 20000:
            raise SymGNNError(
                f"a melt of {self.temperature:g} K is out of range: choose 100 to 20000 K"
            )
        if self.shear != 0 and not STRAIN_STEP <= abs(self.shear) <= _LARGEST_SHEAR:
            raise SymGNNError(
                f"a shear strain of {self.shear:g} is out of range: choose {STRAIN_STEP:g} to"
                f" {_LARGEST_SHEAR:g}, or its negative"
            )
        self.counts()

    def counts(self) -> dict[str, int]:
        """Atoms of each element, nearest to the composition and ``atoms`` together."""
        parts = _parse_composition(self.composition)
        exact = {key: self.atoms * part / sum(parts.values()) for key, part in parts.items()}
        counts = {element: math.floor(number) for element, number in exact.items()}
        by_remainder = sorted(exact, key=lambda element: counts[element] - exact[element])
        for element in by_remainder[: self.atoms - sum(counts.values())]:
            counts[element] += 1
        absent = [element for element, count in counts.items() if count == 0]
        if absent:
            raise StructureError(
                f"{self.atoms} atoms of {self.composition} leave none for {', '.join(absent)}:"
                " take more atoms"
            )
        return counts

    @property
    def melt_steps(self) -> int:
        """Timesteps in the melt."""
        return max(1, round(self.hold / TIMESTEP))

    @property
    def steps(self) -> int:
        """Timesteps of melt and cooling together."""
        cooling = (self.temperature - COLDEST) / self.rate * 1e12 / TIMESTEP
        return self.melt_steps + round(cooling)

    @property
    def strain_steps(self) -> int:
        """Minimizations of the shear."""
        return round(abs(self.shear) / STRAIN_STEP)

    def seed_of(self, number: int) -> int:
        """Seed of one sample, which needs no other sample to have been made.

        From composition, atoms, rate, seed and number; up to what LAMMPS takes.
        """
        text = f"{sorted(self.counts().items())} {self.rate:.6g} {self.seed} {number}"
        return 1 + int(hashlib.sha256(text.encode()).hexdigest(), 16) % _LARGEST_SEED


def _parse_composition(text: str) -> dict[str, float]:
    """``Cu64Zr36`` → parts of each element."""
    found = _SYMBOL.findall(text)
    if not found or "".join(element + number for element, number in found) != text:
        raise StructureError(
            f"{text!r} is no composition: write elements and proportions, such as Cu64Zr36"
        )
    unknown = [element for element, _ in found if atomic_numbers.get(element, 0) == 0]
    if unknown:
        raise StructureError(
            f"{', '.join(unknown)} in {text} is no chemical element: write it as in Cu64Zr36"
        )
    parts = {element: float(number or 1) for element, number in found}
    if len(parts) < len(found) or not all(parts.values()):
        raise StructureError(
            f"{text} names an element twice, or with nothing of it: name each once, as in Cu64Zr36"
        )
    return parts


# --- running ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """Where a sample is."""

    stage: str
    """``packing``, ``melt``, ``cool``, ``minimize`` or ``shear``."""
    step: int
    """Timesteps of melt and cooling that are done."""
    temperature: float | None
    """K, in melt and cooling."""
    resumed_from: str | None
    """Name of the restart file from which this stage went on."""


def prepare(folder: Path, settings: QuenchSettings, potential: Potential) -> None:
    """Make the folder of all samples, or check that it was begun with the same settings.

    Raises:
        SymGNNError: other settings, or the folder cannot be written.
        StructureError: an element that the potential lacks.
    """
    potential.types_of(list(settings.counts()))
    wanted = {
        "counts": settings.counts(),
        "atoms": settings.atoms,
        "rate_K_per_s": settings.rate,
        "hold_ps": settings.hold,
        "melt_temperature_K": settings.temperature,
        "seed": settings.seed,
        "shear_strain": settings.shear,
        "pair_style": potential.style,
        "elements": list(potential.elements),
        "potential_checksum": potential.checksum(),
    }
    path = folder / _SETTINGS
    if path.is_file():
        begun = json.loads(path.read_text(encoding="utf-8"))
        for name, value in wanted.items():
            if begun.get(name) != value:
                raise SymGNNError(
                    f"{folder} was begun with {name} {begun.get(name)}, not {value}: choose another"
                    " folder with -o, or delete this one"
                )
        return
    make_folder(folder)
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def sample_folder(folder: Path, number: int) -> Path:
    """Where a sample lies; samples count from 1."""
    return folder / f"sample-{number}"


def finished_samples(folder: Path) -> list[int]:
    """Numbers of the samples in the folder of all that are finished, in order."""
    names = (_SAMPLE.fullmatch(path.name) for path in folder.iterdir() if is_finished(path))
    return sorted(int(name[1]) for name in names if name)


def is_finished(folder: Path) -> bool:
    """Whether the folder of a sample holds all that was asked for."""
    return (folder / f"{GLASS}.json").is_file()


def make_sample(
    folder: Path,
    number: int,
    settings: QuenchSettings,
    potential: Potential,
    *,
    ranks: int = 1,
    report: Callable[[Moment], None] = lambda _moment: None,
) -> None:
    """Make one glass, or finish one that was begun.

    Args:
        folder: of all samples, from :func:`prepare`.
        number: of the sample, from 1.
        settings: as for :func:`prepare`.
        potential: as for :func:`prepare`.
        ranks: MPI ranks.
        report: called as the work goes on.

    Raises:
        SymGNNError: LAMMPS fails, another process works in the folder, or the disk is full.
        StructureError: too few atoms for the range of the potential.
    """
    target = make_folder(sample_folder(folder, number))
    if is_finished(target):
        return
    counts, seed = settings.counts(), settings.seed_of(number)
    with _locked(target) as lock:
        scripts = inputs(settings, counts, seed, potential)
        for name, script in scripts.items():
            with written_whole(target / name) as unfinished:
                unfinished.write_text(script, encoding="utf-8")
        for name in scripts:
            stage = name.removeprefix("in.")
            if stage != "interactions":
                _run_stage(target, stage, ranks=ranks, report=report, lock=lock)
                if stage == "packing":
                    _check_size(target, settings, counts)
        _write_glass(target, number, settings, potential)


def _run_stage(
    folder: Path, stage: str, *, ranks: int, report: Callable[[Moment], None], lock: int
) -> None:
    done = folder / ("minimized.restart" if stage == "minimize" else f"{stage}.restart")
    if _is_complete(done):
        return
    restart = _latest_restart(folder, stage)
    if stage == "shear" and restart is None:
        with cannot_write(folder):
            (folder / "shear.txt").unlink(missing_ok=True)

    def watch(line: str) -> None:
        numbers = _thermo_row(line)
        if numbers and stage in ("melt", "cool"):
            report(Moment(stage, int(numbers[0]), numbers[1], restart))

    report(Moment(stage, 0, None, restart))
    variables = {} if restart is None else {"start": restart}
    run_lammps(
        f"in.{stage}",
        folder,
        ranks=ranks,
        variables=variables,
        watch=watch,
        keep_open=[lock],
        remedies=_REMEDIES,
    )
    if not _is_complete(done):
        raise SymGNNError(
            f"LAMMPS could not write {done}: free space, and give the same command again"
        )
    for number in (1, 2):
        with cannot_write(folder):
            (folder / f"{stage}.{number}.restart").unlink(missing_ok=True)


def _thermo_row(line: str) -> list[float]:
    """Numbers of a line of thermodynamic output; empty for any other line."""
    words = line.split()
    if len(words) < 5 or not words[0].isdigit() or not _NUMBERS.match(line):
        return []
    try:
        return [float(word) for word in words]
    except ValueError:
        return []


def thermo_rows(log: Path) -> list[list[float]]:
    """Rows of a log file, in order of their timestep, the last one where a step comes twice."""
    rows = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if numbers := _thermo_row(line):
            rows[numbers[0]] = numbers
    return [rows[step] for step in sorted(rows)]


def _is_complete(restart: Path) -> bool:
    """Whether LAMMPS wrote a restart file to its end."""
    if not restart.is_file() or restart.stat().st_size < len(_END_OF_RESTART):
        return False
    with restart.open("rb") as file:
        file.seek(-len(_END_OF_RESTART), 2)
        return file.read() == _END_OF_RESTART


def _latest_restart(folder: Path, stage: str) -> str | None:
    files = [path for path in folder.glob(f"{stage}.[12].restart") if _is_complete(path)]
    return max(files, key=lambda path: path.stat().st_mtime_ns).name if files else None


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """The folder is ours alone; LAMMPS inherits the lock, and so keeps it when we are killed."""
    with cannot_write(folder), (folder / _LOCK).open("w") as file:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise SymGNNError(
                        f"another `symgnn quench`, or a LAMMPS that one left, still works in"
                        f" {folder}: wait for it, or end it"
                    ) from None
                time.sleep(0.2)
        yield file.fileno()


def reach(folder: Path) -> float:
    """Cutoff of the potential, Å, as LAMMPS says it in the log of the packing."""
    log = (folder / "packing.log").read_text(encoding="utf-8", errors="replace")
    return float(re.findall(r"master list distance cutoff = (\S+)", log)[-1]) - SKIN


def _check_size(folder: Path, settings: QuenchSettings, counts: Mapping[str, int]) -> None:
    volume, cutoff = _DENSE * sphere_volume(counts), reach(folder)
    if volume < cutoff**3:
        needed = math.ceil(settings.atoms * cutoff**3 / volume)
        raise StructureError(
            f"{settings.atoms} atoms fill a box of about {volume ** (1 / 3):.1f} Å, but the"
            f" potential reaches {cutoff:.1f} Å, so that an atom would act on itself: take at least"
            f" {needed} atoms, better {8 * needed}"
        )


# --- results ----------------------------------------------------------------------------------


def _write_glass(folder: Path, number: int, settings: QuenchSettings, potential: Potential) -> None:
    """Structures in the formats that others read; the record last, which makes them finished."""
    record: dict[str, Any] = {
        "sample": number,
        "seed": settings.seed_of(number),
        "resumed_from": _resumptions(folder),
        **_state(folder / "minimized.json"),
    }
    names = {GLASS: "minimized"}
    if settings.shear:
        names[SHEARED] = SHEARED
        record["sheared"] = _state(folder / f"{SHEARED}.json")
    for name, source in names.items():
        atoms = _read(folder / f"{source}.data", potential)
        state = record["sheared"] if name == SHEARED else record
        atoms.info = {
            "composition": settings.composition,
            "quench_rate_K_per_s": settings.rate,
            "melt_temperature_K": settings.temperature,
            "melt_hold_ps": settings.hold,
            "sample": number,
            "seed": settings.seed_of(number),
            "shear_strain": settings.shear if name == SHEARED else 0.0,
            "potential_energy_eV_per_atom": state["energy_eV_per_atom"],
            "pair_style": potential.style,
            "potential_checksum": potential.checksum(),
            "resumed": len(record["resumed_from"]),
            "lammps_version": record["lammps_version"],
            "symgnn_version": importlib.metadata.version("symgnn"),
        }
        write_structures(folder / f"{name}.xyz", [atoms])
        text = _with_element_names((folder / f"{source}.data").read_text(), potential)
        with written_whole(folder / f"{name}.data") as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    with written_whole(folder / f"{GLASS}.json") as unfinished:
        unfinished.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _resumptions(folder: Path) -> list[str]:
    """Restart files from which a stage went on after an interruption.

    A run that was interrupted gives another glass of the same kind: rounding differs.
    """
    logs = (path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))
    resumed = re.compile(r"^read_restart (\w+\.[12]\S+)", re.MULTILINE)
    return [name for log in logs for name in resumed.findall(log)]


def _state(path: Path) -> dict[str, Any]:
    """What LAMMPS printed at an energy minimum, with units in the names."""
    state = json.loads(path.read_text(encoding="utf-8"))
    return {
        "energy_eV_per_atom": state["energy"],
        "pressure_GPa": state["pressure"] * 1e-4,
        "shear_stress_GPa": state["shear_stress"] * 1e-4,
        "largest_force_eV_per_A": state["largest_force"],
        "lammps_version": str(state["lammps"]),
    }


def _read(path: Path, potential: Potential) -> Atoms:
    """A glass without what LAMMPS numbers, atoms by their number, inside the cell."""
    (read,) = read_structures(path, elements=potential.elements)
    atoms = read[np.argsort(read.arrays["id"], kind="stable")] if "id" in read.arrays else read
    for name in set(atoms.arrays) - {"numbers", "positions"}:
        del atoms.arrays[name]
    atoms.positions -= atoms.get_celldisp().ravel()
    atoms.set_celldisp(np.zeros(3))
    atoms.wrap()
    return atoms


def _with_element_names(data: str, potential: Potential) -> str:
    """A LAMMPS data file that says which element each atom type is."""
    head, masses, rest = data.partition("Masses\n\n")
    lines = rest.split("\n", len(potential.elements))
    for index, element in enumerate(potential.elements):
        lines[index] += f"  # {element}"
    return head + masses + "\n".join(lines)
