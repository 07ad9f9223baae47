"""Memory that can be taken, where containers and batch systems limit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from symgnn import _core

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
