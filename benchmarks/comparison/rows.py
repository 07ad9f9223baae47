"""Rows of the comparison: one YAML file each, a training configuration or a simple baseline."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from symgnn.errors import ConfigError
from symgnn.training.config import FitConfig, TrainingConfig, parse_config

from . import baselines, densities
from .baselines import BASELINES
from .glasses import LEAVE_OUT, code_of

if TYPE_CHECKING:
    from pathlib import Path

    from .glasses import Data

_SET_BY_JOBS = ("data", "seed", "output", "threads", "patience")
RESULT = "prediction.npz"


@dataclass(frozen=True, eq=False)
class Row:
    """A row: its name (that of the file), its content, and what that means."""

    name: str
    content: dict[str, Any]
    config: TrainingConfig | FitConfig | None
    """None for a simple baseline."""

    @property
    def simple(self) -> str | None:
        """Name of the simple baseline, if it is one."""
        return self.content.get("simple")

    @property
    def closed_form(self) -> bool:
        """A model of the package that is fitted instead of trained in epochs."""
        return isinstance(self.config, FitConfig)

    @property
    def seeded(self) -> bool:
        """Whether another seed gives another result."""
        if self.simple is not None:
            return BASELINES[self.simple].seeded
        return not self.closed_form

    @property
    def epochs(self) -> int:
        """Epochs of training; 0 for what is not trained in epochs."""
        return self.config.epochs if isinstance(self.config, TrainingConfig) else 0

    def key(self, data: Data) -> str:
        """Eight digits that change with the row's file, the data, and a baseline's code."""
        text = json.dumps([self.content, data.checksums, data.families], sort_keys=True)
        code = ""
        if self.simple is not None:
            code = code_of(baselines, densities, *BASELINES[self.simple].uses)
        return hashlib.sha256((text + code).encode()).hexdigest()[:8]


@dataclass(frozen=True, eq=False)
class Job:
    """One training: a row on a split with a seed, and the folder that is its alone."""

    row: Row
    split: str
    seed: int
    folder: Path

    @property
    def result(self) -> Path:
        """The predictions; there as soon as the job is done, and never half of them."""
        return self.folder / RESULT

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.row.name} {self.split} seed {self.seed}"


def load_row(path: Path) -> Row:
    """Read a row.

    Raises:
        ConfigError: no such file, or one with a key that does not belong there.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no configuration")
    if "simple" in content:
        if set(content) != {"simple"} or content["simple"] not in BASELINES:
            raise ConfigError(
                f"{path}: a simple baseline is one line, simple: NAME, with a name out of "
                f"{', '.join(BASELINES)}"
            )
        return Row(path.stem, content, None)
    wrong = [key for key in _SET_BY_JOBS if key in content]
    if wrong:
        raise ConfigError(f"{path}: leave out {', '.join(wrong)}, which the comparison sets")
    return Row(path.stem, content, parse_config(content, str(path)))


def load_rows(folder: Path, names: list[str] | None = None) -> list[Row]:
    """All rows of a folder, sorted by name, or those of these names.

    Raises:
        ConfigError: as :func:`load_row`, or there is none.
    """
    paths = sorted(folder.glob("*.yaml"))
    if names is not None:
        paths = [folder / f"{name}.yaml" for name in names]
    if not paths:
        raise ConfigError(f"{folder} holds no rows (*.yaml)")
    return [load_row(path) for path in paths]


def jobs_of(row: Row, data: Data, runs: Path, *, splits: list[str], seeds: int) -> list[Job]:
    """Jobs of a row: one on each split, and all seeds where they make a difference on one split."""
    folder = runs / f"{row.name}-{row.key(data)}"
    repeated = LEAVE_OUT + data.repeated
    return [
        Job(row, split, seed, folder / split / f"seed-{seed}")
        for split in splits
        for seed in range(seeds if row.seeded and split == repeated else 1)
    ]
