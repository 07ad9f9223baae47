"""What LAMMPS takes for the same glass: EAM steps, and a run with annotation on the way.

Both run in a folder with the slab of ``sample_slab`` and the shipped potential, on as many MPI
ranks as annotation has threads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ase.io import write

from symgnn.lammps_process import run_lammps
from symgnn.potentials import write_potential
from symgnn.samples import sample_slab

if TYPE_CHECKING:
    from pathlib import Path

SAMPLING: Final = 10
"""Steps between the positions that go into an average, as ``docs/compute_symgnn.md`` has it."""

_MOST_SAMPLES = 100  # 1 ps
_ATOM_STEPS = 800_000  # of one measurement of EAM steps
_FEWEST_STEPS, _MOST_STEPS = 10, 200
_DATA = "glass.data"

_SETUP = """\
units metal
boundary p p s
read_data {data}
pair_style eam/fs
pair_coeff * * CuZr_2009.eam.fs Cu Zr
timestep 0.001
velocity all create 600 4928459
"""

_EAM_STEPS = """\
fix motion all nve
thermo {steps}
run {warm_up}
run {steps}
"""

_RUN = """\
fix motion all nvt temp 300 300 0.1
run {sampling}
reset_timestep 0
{annotation}
thermo {every}
thermo_style custom step temp pe {columns}
run {steps}
"""

_ANNOTATION = """\
compute xu all property/atom xu yu zu
fix average all ave/atom {sampling} {samples} {every} c_xu[1] c_xu[2] c_xu[3]
compute barrier all symgnn "{model}" {elements} positions f_average device {device} threads 1
compute mean all reduce ave c_barrier
dump barriers all custom {every} barriers.dump id type f_average[*] c_barrier
"""


def write_glass(folder: Path, atoms: int) -> None:
    """Write what the runs read: the slab with this many atoms, and the potential."""
    slab = sample_slab(atoms)
    slab.center(vacuum=1.0, axis=2)  # LAMMPS wants every atom inside the box of the file
    write(folder / _DATA, slab, format="lammps-data", specorder=["Cu", "Zr"], masses=True)
    write_potential(folder)


def eam_steps(folder: Path, atoms: int, ranks: int) -> dict[str, Any]:
    """Seconds of one step with the EAM potential, and the memory that LAMMPS counts, MB."""
    steps = min(max(_ATOM_STEPS // atoms, _FEWEST_STEPS), _MOST_STEPS)
    script = _SETUP.format(data=_DATA)
    script += _EAM_STEPS.format(steps=steps, warm_up=_FEWEST_STEPS)
    output = _printed(folder, script, ranks)
    first, last = _loop_times(output)
    return {
        "seconds": [first / _FEWEST_STEPS, last / steps],
        "memory": _memory(output) * ranks,
        "steps": steps,
    }


def run(
    folder: Path, *, steps: int, every: int, ranks: int, annotation: dict[str, Any] | None
) -> dict[str, Any]:
    """An EAM run at 300 K, with annotation of averaged positions every so many steps or without.

    Args:
        folder: from :func:`write_glass`.
        steps: a multiple of ``every``.
        every: steps from one annotation to the next, a multiple of SAMPLING.
        ranks: MPI ranks.
        annotation: ``model`` (a file), ``elements`` (of the two atom types) and ``device``; None
            for none.

    Returns:
        ``seconds`` of the run's steps; ``sections``, LAMMPS's own account of them; and
        ``processor_use``, the share of them in which a processor worked on this and nothing else.
    """
    lines, columns = "", ""
    if annotation is not None:
        columns = "c_mean"
        lines = _ANNOTATION.format(
            sampling=SAMPLING,
            samples=min(every // SAMPLING, _MOST_SAMPLES),
            every=every,
            model=annotation["model"],
            elements=" ".join(annotation["elements"]),
            device=annotation["device"],
        )
    script = _SETUP.format(data=_DATA) + _RUN.format(
        sampling=SAMPLING, annotation=lines, columns=columns, every=every, steps=steps
    )
    output = _printed(folder, script, ranks)
    return {
        "seconds": _loop_times(output)[-1],
        "sections": _sections(output),
        "processor_use": _processor_use(output),
    }


def _printed(folder: Path, script: str, ranks: int) -> str:
    """What LAMMPS prints when it runs a script."""
    (folder / "in.benchmark").write_text(script, encoding="utf-8")
    lines: list[str] = []
    run_lammps("in.benchmark", folder, ranks=ranks, watch=lines.append)
    return "".join(lines)


def _loop_times(output: str) -> list[float]:
    """Seconds of the steps of each ``run``, without its setup."""
    return [float(seconds) for seconds in re.findall(r"^Loop time of (\S+)", output, re.MULTILINE)]


def _memory(output: str) -> float:
    """What LAMMPS says it allocated per rank, on average, MB."""
    line = r"^Per MPI rank memory allocation .* = \S+ \| (\S+) \|"
    return float(re.findall(line, output, re.MULTILINE)[-1])


def _sections(output: str) -> dict[str, float]:
    """Seconds in Pair, Neigh, Comm, Output, Modify and Other of the last run, mean of the ranks."""
    last = output[output.rindex("MPI task timing breakdown") :]
    rows = re.findall(r"^(\w+) +\|[^|]*\| *(\S+) *\|", last, re.MULTILINE)
    return {name: float(seconds) for name, seconds in rows if name != "Section"}


def _processor_use(output: str) -> float:
    """Of the last run."""
    return float(re.findall(r"^(\S+)% CPU use", output, re.MULTILINE)[-1]) / 100.0
