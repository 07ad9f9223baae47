"""Writing files so that nobody ever finds half of one under its final name."""

from __future__ import annotations

import fcntl
import filecmp
import os
import signal
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from symgnn.errors import SymGNNError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


_UNFINISHED = ".unfinished-"


@contextmanager
def cannot_write(path: str | Path) -> Iterator[None]:
    """Turn an operating system error inside the block into one line that names the file."""
    try:
        yield
    except OSError as error:
        if not Path(path).parent.is_dir():
            raise _no_folder(path) from error
        reason = error.strerror or str(error)
        raise SymGNNError(
            f"cannot write {path}: {reason}; free space or choose another place for the output"
        ) from error


def _no_folder(path: str | Path) -> SymGNNError:
    return SymGNNError(
        f"cannot write {path}: there is no folder {Path(path).parent}; create it or choose another"
        " place for the output"
    )


def check_output(path: str | Path, *inputs: str | Path) -> None:
    """Refuse an output that cannot be written, or that would replace what it is made from.

    For commands to call before work that takes long.

    Args:
        path: of the output.
        inputs: files that are read; names of none, such as ``-``, are allowed.

    Raises:
        SymGNNError: the folder is missing, a folder is in the place of the file, or the file is
            one of the inputs.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise _no_folder(path)
    if target.is_dir():
        raise SymGNNError(f"cannot write {path}: it is a folder; name a file for the output")
    for file in inputs:
        if target.is_file() and Path(file).exists() and target.samefile(file):
            raise SymGNNError(
                f"the output would replace {file}, which it is made from: choose another name"
            )


def check_unchanged(path: str | Path, made: Path) -> None:
    """Refuse to replace a file by one with other content.

    Args:
        path: what would be replaced; a device, or nothing yet, is allowed.
        made: what would take its place.

    Raises:
        SymGNNError: the contents differ, or the file cannot be read.
    """
    target = Path(path)
    with cannot_write(path):
        same = not target.is_file() or filecmp.cmp(target, made, shallow=False)
    if not same:
        raise SymGNNError(
            f"{path} is there and differs from what would be written: choose another place,"
            " or delete it"
        )


def unfinished_path(path: str | Path) -> Path:
    """Where to write before renaming to ``path``: the same folder and, for compression, suffix.

    Symbolic links are followed, so that the link survives and its target is replaced.
    """
    target = Path(os.path.realpath(path))
    return target.with_name(f"{_UNFINISHED}{os.getpid()}-{target.name}")


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder that is ours alone."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            path.unlink()


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes ``path`` when the block ends without an exception.

    An existing file stays as it was until then. Devices such as ``/dev/null`` are written directly.

    Raises:
        SymGNNError: the folder is missing or not writable, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        with cannot_write(path):
            yield target
        return
    unfinished = unfinished_path(path)
    try:
        with cannot_write(path):
            yield unfinished
            unfinished.replace(target)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise


def make_folder(path: str | Path) -> Path:
    """Create a folder and its parents unless it exists.

    Raises:
        SymGNNError: it cannot be created.
    """
    folder = Path(path)
    with cannot_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Keep other processes out while the block runs, by a file that is removed after it.

    The lock ends with the process, however that ends.

    Args:
        path: of the lock file, in a folder that exists.
        busy: what to say where another process holds the lock.

    Raises:
        SymGNNError: another process holds it, or it cannot be written.
    """
    with cannot_write(path):
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SymGNNError(busy) from None
        except OSError:  # some network file systems have no locks: better without than not at all
            pass
        if os.fstat(file.fileno()).st_nlink == 0:  # removed by its holder after we opened it
            raise SymGNNError(busy)
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block is done, so that they never leave half a record.

    Where nothing handles SIGTERM, it ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    waiting = [signal.SIGINT]
    if callable(signal.getsignal(signal.SIGTERM)):
        waiting.append(signal.SIGTERM)
    previous = [signal.signal(number, remember) for number in waiting]
    try:
        yield
    finally:
        for number, handler in zip(waiting, previous, strict=True):
            signal.signal(number, handler)
    if signal.SIGTERM in arrived:
        signal.raise_signal(signal.SIGTERM)
    if arrived:
        raise KeyboardInterrupt


@contextmanager
def heeding_interrupts() -> Iterator[Callable[[], None]]:
    """Let no Ctrl-C be lost: gives a function that raises KeyboardInterrupt if one came.

    Python drops what destructors raise. A Ctrl-C that comes while one runs is kept for the
    function, to be called now and then; any other acts at once.
    """
    arrived: list[int] = []
    previous = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        if callable(previous) and not _in_destructor(frame):
            previous(number, frame)

    def check() -> None:
        if arrived:
            raise KeyboardInterrupt

    if not callable(previous) or threading.current_thread() is not threading.main_thread():
        yield check
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)


def _in_destructor(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
