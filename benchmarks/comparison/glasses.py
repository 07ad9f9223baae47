"""The glasses of the comparison, how they are split, and what is computed of them once."""

from __future__ import annotations

import ast
import hashlib
import time
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relatives import families_of
from symgnn.files import make_folder, written_whole
from symgnn.keys import ENERGY_BARRIER
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from numpy.typing import NDArray

VALIDATION = "validation"
STANDARD, LEAVE_OUT = "standard", "leave-out-"
"""Split names: train on ``train*`` and validate on ``validation``, as in the paper; or train on all
labeled glasses but one family, named by its first member, as in ``leave-out-train3``."""


class Data:
    """The folder with ``train*.xyz``, ``validation.xyz`` and unlabeled ``test*.xyz``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train, self.test = (self._names(kind) for kind in ("train", "test"))
        self.labeled = [*self.train, VALIDATION]

    def _names(self, kind: str) -> list[str]:
        return sorted(path.stem for path in self.folder.glob(f"{kind}*.xyz"))

    @property
    def splits(self) -> list[str]:
        """Names of all splits."""
        first = {family: name for name, family in reversed(self.families.items())}
        return [STANDARD, *(LEAVE_OUT + name for name in self.labeled if name in first.values())]

    @property
    def repeated(self) -> str:
        """Name of the glass that every seed predicts while it is held out: the first that is alone.

        The other splits have one seed: how much seeds matter shows on one glass, how much glasses
        do with one seed, and all of both would be three times the work.
        """
        of = list(self.families.values())
        alone = [name for name, family in self.families.items() if of.count(family) == 1]
        return alone[0] if alone else self.labeled[0]

    def parts(self, split: str) -> tuple[list[str], list[str]]:
        """Names of the glasses to train on, and of those to predict."""
        if split not in self.splits:
            raise ValueError(f"there is no split {split}: choose from {', '.join(self.splits)}")
        if split == STANDARD:
            return self.train, [VALIDATION]
        families = self.families
        family = families[split.removeprefix(LEAVE_OUT)]
        held_out = [name for name in self.labeled if families[name] == family]
        return [name for name in self.labeled if name not in held_out], held_out

    @cached_property
    def families(self) -> dict[str, int]:
        """Family of every labeled glass: relatives are left out together."""
        glasses = [read_structures(self.path(name))[0] for name in self.labeled]
        return dict(zip(self.labeled, families_of(glasses), strict=True))

    def path(self, name: str) -> Path:
        """File of a glass."""
        return self.folder / f"{name}.xyz"

    def label(self, name: str) -> NDArray[np.float64]:
        """Labels [N] of a labeled glass, eV."""
        (atoms,) = read_structures(self.path(name))
        return np.asarray(atoms.arrays[ENERGY_BARRIER], dtype=np.float64)

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of every file by name of the glass."""
        return {
            name: hashlib.sha256(self.path(name).read_bytes()).hexdigest()
            for name in [*self.labeled, *self.test]
        }


class Glass:
    """One structure, and a folder that keeps what was computed of it."""

    def __init__(self, path: Path, cache: Path) -> None:
        self.name = path.stem
        (self.atoms,) = read_structures(path)
        label = self.atoms.arrays.get(ENERGY_BARRIER)
        self.label = None if label is None else np.asarray(label, dtype=np.float64)
        self.cost = self.spent = 0.0
        """Seconds that the quantities asked for took when computed, and that they took now."""
        self._cache = cache
        self._known: dict[str, NDArray[np.floating]] = {}

    @property
    def labels(self) -> NDArray[np.float64]:
        """Labels [N], eV. Raises ValueError without any."""
        if self.label is None:
            raise ValueError(f"{self.name} has no labels to train on")
        return self.label

    def quantity(
        self, name: str, recipe: str, compute: Callable[[], NDArray[np.floating]]
    ) -> NDArray[np.floating]:
        """A result that is kept on disk, as long as structure and recipe stay the same.

        Args:
            name: for the file's name.
            recipe: text that changes when the computation does.
            compute: gives the array.
        """
        if name in self._known:
            return self._known[name]
        positions = np.ascontiguousarray(self.atoms.positions).tobytes()
        key = hashlib.sha256(recipe.encode() + positions).hexdigest()[:16]
        path = self._cache / f"{self.name}-{name}-{key}.npz"
        if path.exists():
            with np.load(path) as file:
                values, seconds = file["values"], float(file["seconds"])
        else:
            began = time.perf_counter()
            values = compute()
            seconds = time.perf_counter() - began
            self.spent += seconds
            make_folder(self._cache)
            with written_whole(path) as unfinished:
                np.savez(unfinished, values=values, seconds=seconds)
        self.cost += seconds
        self._known[name] = values
        return values


def code_of(*modules: ModuleType) -> str:
    """The code of modules without comments and docstrings: it changes when what they do might."""
    return "".join(_code(Path(str(module.__file__))) for module in modules)


@cache
def _code(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_text(statement)]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
