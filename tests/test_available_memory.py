"""Memory that can be taken, where containers and batch systems limit it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from symgnn import _core
from symgnn.samples import sample_glass
from symgnn.structures import write_structures

if TYPE_CHECKING:
    from pathlib import Path

FREE = 4096 * 1024
"""Bytes that the machine has left in these tests."""


def write_files(root: Path, files: dict[str, str]) -> None:
    """A file system with Linux's account of memory and these files."""
    meminfo = f"MemTotal: 8192 kB\nMemFree: 10 kB\nMemAvailable: {FREE // 1024} kB\n"
    for name, content in {"proc/meminfo": meminfo, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")


def group(folder: str, limit: int | str, used: int, cached: int, version: int) -> dict[str, str]:
    """The files of a control group."""
    names = ("memory.max", "memory.current", "inactive_file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return {
        f"sys/fs/cgroup/{folder}{names[0]}": str(limit),
        f"sys/fs/cgroup/{folder}{names[1]}": str(used),
        f"sys/fs/cgroup/{folder}memory.stat": f"anon 1\n{names[2]} {cached}\nfile 9",
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, FREE),
        ({"proc/self/cgroup": "0::/", **group("", "max", 50, 0, 2)}, FREE),
        ({"proc/self/cgroup": "0::/", **group("", 1000, 300, 50, 2)}, 750),
        ({"proc/self/cgroup": "0::/", **group("", 1000, 1300, 50, 2)}, 0),
        # As under a batch system: the group around the process's own is the narrower one.
        (
            {
                "proc/self/cgroup": "0::/job_7/step_0",
                **group("job_7/", 1000, 300, 50, 2),
                **group("job_7/step_0/", 2000, 250, 0, 2),
            },
            750,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/other\n4:cpuset,memory:/job\n0::/",
                **group("memory/", 2**63 - 4096, 300, 0, 1),
                **group("memory/job/", 900, 300, 20, 1),
            },
            620,
        ),
        # As in a container, which sees its group as the whole, and is told a name from outside.
        (
            {"proc/self/cgroup": "4:memory:/docker/ab12", **group("memory/", 900, 300, 20, 1)},
            620,
        ),
    ],
)
def test_limits_of_control_groups_count(tmp_path, files, expected) -> None:
    write_files(tmp_path, files)
    assert _core.available_memory(str(tmp_path)) == expected


def test_a_system_that_does_not_tell(tmp_path) -> None:
    assert _core.available_memory(str(tmp_path)) == float("inf")


def test_this_machine() -> None:
    assert 1e7 < _core.available_memory() < 1e15


SHORT_OF_MEMORY = """
import resource
import sys
import numpy as np
from symgnn import Annotator
from symgnn.errors import SymGNNError
from symgnn.samples import sample_glass

annotator = Annotator("cuzr-fast", device="cpu", threads=1)
small = sample_glass()
large = small * (3, 3, 3)
(before,) = annotator.predict([small])
status = open("/proc/self/status").read()
used = int(status.split("VmSize:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 1000000, -1))
try:
    annotator.predict([large])
except SymGNNError as problem:
    print(problem)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
(after,) = annotator.predict([small])
assert np.array_equal(before, after)
annotator.predict([large])
"""


@pytest.mark.parametrize("megabytes", [60, 300])
def test_a_structure_without_enough_memory_is_refused_and_others_are_not(megabytes: int) -> None:
    """In the neighbor list, whose library frees what it goes on to point to, and after it."""
    result = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(megabytes)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("there is too little memory for this structure; give"), result


TRAINED_WITH_LITTLE_MEMORY = """
import resource
import sys
import torch
from symgnn.cli import run

status = open("/proc/self/status").read()
used = int(status.split("VmSize:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 2_000_000_000, -1))
sys.exit(run(["train", sys.argv[1]]))
"""


def test_a_training_without_enough_memory_ends_in_one_line(tmp_path) -> None:
    glass = sample_glass()
    glass.arrays["energy_barrier"] = glass.positions[:, 0]
    write_structures(tmp_path / "glass.xyz", [glass])
    config = tmp_path / "network.yaml"
    config.write_text("data: {train: [glass.xyz]}\nmodel: {cutoff: 25}\noutput: run\n")
    result = subprocess.run(
        [sys.executable, "-c", TRAINED_WITH_LITTLE_MEMORY, str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("symgnn: there is too little memory"), result.stderr
    assert "Traceback" not in result.stderr
