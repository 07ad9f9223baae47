"""Progress on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_QUIET_SECONDS = 1.0  # before a late line appears


@contextmanager
def count_structures() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that counts structures, by name, and goes away at the end."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed} structures {task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("")
        yield lambda name: bar.update(task, advance=1, description=name)


@contextmanager
def count_to(total: int, *, done: int = 0, lines: int = 0) -> Iterator[Callable[[int, str], None]]:
    """A bar on the terminal, which takes how many are done and a text.

    Args:
        total: how many there are to do.
        done: how many are done at the start.
        lines: where the output is no terminal, a line after every so many; 0 for none.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task("starting", total=total, completed=done)

    def show(done: int, text: str) -> None:
        if not bar.disable:
            bar.update(task, completed=done, description=text)
        elif lines and done % lines == 0:
            print(f"{done}/{total}  {text}", file=sys.stderr)

    with bar:
        yield show


class LateLine:
    """A line on the terminal that appears once the work has lasted longer than a second."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._started = time.monotonic()
        self._task = self._bar.add_task("", total=None)

    def show(self, text: str) -> None:
        """What is being done."""
        late = time.monotonic() - self._started > _QUIET_SECONDS
        if late and not self._bar.live.is_started and sys.stderr.isatty():
            self._bar.start()
        self._bar.update(self._task, description=text)

    def say(self, line: str) -> None:
        """Print one line that stays, in place of the one that goes away."""
        self.stop()
        print(line, file=sys.stderr)
        self._started = time.monotonic()

    def stop(self) -> None:
        """Take the line away."""
        if self._bar.live.is_started:  # rich prints an empty line for a bar that never ran
            self._bar.stop()


@contextmanager
def late_line() -> Iterator[LateLine]:
    """A line for work that may be over at once."""
    line = LateLine()
    try:
        yield line
    finally:
        line.stop()
