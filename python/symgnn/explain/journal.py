"""Explanations on their way to a file: each is kept as soon as it is done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from symgnn.errors import SymGNNError
from symgnn.explain.explanation import (
    from_line,
    read_lines,
    to_header,
    to_line,
    write_lines,
)
from symgnn.files import cannot_write, locked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from symgnn.explain.explanation import Explanation, Provenance


def output_alone(output: Path) -> AbstractContextManager[None]:
    """No other process explains into the same file, whose lines would mix with ours."""
    return locked(
        output.with_name(f".{output.name}.lock"),
        f"another `symgnn explain` writes {output}: wait for it, or give -o another name",
    )


class Journal:
    """A file beside the output that survives Ctrl-C, kill -9 and a full disk.

    Its first line says where the explanations come from, every other line is one of them. Those of
    an output that is there already are kept as well.

    Args:
        output: the file that the explanations are for; the journal is ``output`` + ``.partial``.
        provenance: of the explanations; that of an existing journal or output must be the same.

    Raises:
        SymGNNError: a journal or an output with something else is there, or the journal cannot be
            written.
    """

    def __init__(self, output: str | Path, provenance: Provenance) -> None:
        self.output, self.provenance = Path(output), provenance
        self.path = self.output.with_name(f"{self.output.name}.partial")
        self._places: dict[int, int] = {}
        header = to_header(provenance)
        finished: Iterable[tuple[int, str]] = ()
        if _filled(self.output):
            for _ in read_lines(self.output, provenance):
                pass  # before anything is written: the file is whole, and of this provenance
            finished = read_lines(self.output, provenance)
        with cannot_write(self.path):
            if _filled(self.path):
                self._continue(header)
            else:
                self._append(header)
            for atom, line in finished:
                if atom not in self._places:
                    self._places[atom] = self._append(line)

    @property
    def done(self) -> set[int]:
        """Atoms that are explained already."""
        return set(self._places)

    def add(self, explanation: Explanation) -> None:
        """Keep one explanation; when this returns, it is on the disk."""
        with cannot_write(self.path):
            self._places[explanation.atom] = self._append(to_line(explanation))

    def explanations(self, atoms: Sequence[int]) -> Iterator[Explanation]:
        """What is kept of some atoms."""
        return map(from_line, self._lines(atoms))

    def finish(self, atoms: Sequence[int]) -> None:
        """Write the output with all that is done, ``atoms`` first; remove the journal."""
        write_lines(
            self.output, self._lines(dict.fromkeys([*atoms, *self._places])), self.provenance
        )
        self.path.unlink()

    def _continue(self, header: str) -> None:
        with self.path.open("rb") as file:
            if file.readline().decode("utf-8", errors="replace").rstrip("\n") != header:
                raise SymGNNError(
                    f"{self.path} holds explanations of another structure, model or settings:"
                    " remove it, or give -o another name"
                )
            end = file.tell()
            for number, line in enumerate(file, start=2):
                if not line.endswith(b"\n"):
                    break  # the process was killed while it wrote
                try:
                    self._places[int(json.loads(line)["atom"])] = end
                except (ValueError, KeyError, TypeError) as error:
                    raise SymGNNError(
                        f"line {number} of {self.path} is no explanation: remove this line, and the"
                        " same command goes on"
                    ) from error
                end += len(line)
        os.truncate(self.path, end)

    def _append(self, line: str) -> int:
        with self.path.open("ab") as file:
            place = file.tell()
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return place

    def _lines(self, atoms: Iterable[int]) -> Iterator[str]:
        with self.path.open("rb") as file:
            for atom in atoms:
                file.seek(self._places[atom])
                yield file.readline().decode().rstrip("\n")


def _filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
