"""The output folder of a run: names of its files, who may write there, and what a fit leaves."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from symgnn.errors import ConfigError, ModelError
from symgnn.files import locked, make_folder, remove_unfinished, written_whole
from symgnn.models import MixtureConfig
from symgnn.training.checkpoint import checkpoint_content, load_checkpoint, save_checkpoint
from symgnn.training.config import TrainingConfig, dump_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from symgnn.training.config import FitConfig
    from symgnn.training.metrics import Metrics

BEST, LAST, METRICS, CONFIG = "best.ckpt", "last.ckpt", "metrics.csv", "config.yaml"
REGRESSION, NETWORK = "regression", "network"
"""Folders in the output of a mixture; ``network-1`` and so on are those of the groups left out."""

_REMEDY = "choose another folder with output=FOLDER, or delete it"


@contextmanager
def output_alone(folder: Path) -> Iterator[None]:
    """No other training or fit works in the output folder: each would break the other's files.

    A folder that was made for the block and is empty after it is removed again.

    Raises:
        SymGNNError: another process works there, or the folder cannot be written.
    """
    made = not folder.exists()
    make_folder(folder)
    try:
        with locked(
            folder / ".lock",
            f"another `symgnn train` works in {folder}: wait for it, or give output=FOLDER with"
            " another name",
        ):
            yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()


def checked_output(config: TrainingConfig | FitConfig, base: Path, *, resume: bool = False) -> Path:
    """The output folder, if the run may write there: no run is lost but what a fit replaces.

    A fit in closed form replaces an earlier one of the same architecture.

    Args:
        config: the run.
        base: folder that relative paths in the configuration start from.
        resume: whether a network or a mixture continues what is there.

    Raises:
        ConfigError: the folder is that of the configuration, or holds a run that would be lost.
    """
    folder = base / config.output
    if folder.resolve() == base.resolve():
        raise ConfigError("output: name a folder of its own, beside the configuration")
    found = _architecture_in(folder)
    if found not in (None, config.model.architecture):
        raise ConfigError(
            f"{folder} holds a run of architecture {found}, not {config.model.architecture}: "
            f"{_REMEDY}"
        )
    if isinstance(config, TrainingConfig):
        _check_epochs(config, base, folder, resume)
    return folder


def _check_epochs(config: TrainingConfig, base: Path, folder: Path, resume: bool) -> None:
    """Whether the epochs of a network or a mixture may begin, or go on, in a folder."""
    mixture = isinstance(config.model, MixtureConfig)
    last, best = Path(NETWORK, LAST) if mixture else Path(LAST), folder / BEST
    # Beside the configuration of a mixture, `network` may be the output of another.
    if resume and (base / last).exists() and (not mixture or (base / BEST).exists()):
        raise ConfigError(
            f"{base} is itself the output of a run: to continue that, give --resume with the "
            "configuration that it was started with, not with the copy in the output"
        )
    if (folder / last).exists():
        if not resume:
            raise ConfigError(
                f"{folder} holds a run already: add --resume to continue it, "
                "or output=FOLDER to start another"
            )
    elif best.exists():
        # A network that is killed in its first epoch may leave the best checkpoint alone.
        killed = not mixture and load_checkpoint(best).get("epoch") == 1
        if not (resume and killed):
            raise ConfigError(
                f"{folder} holds a model, and no {last} to continue its training from: {_REMEDY}"
            )


def _architecture_in(folder: Path) -> str | None:
    """Architecture of the model whose run a folder holds; None where it holds none.

    Raises:
        ConfigError: there is a checkpoint that cannot be read.
    """
    for name in (LAST, BEST):
        if (folder / name).exists():
            try:
                return _architecture_of(load_checkpoint(folder / name).get("config"))
            except ModelError as error:
                raise ConfigError(f"{error}; nothing is written beside it: {_REMEDY}") from error
    if (folder / REGRESSION / BEST).exists() and (folder / NETWORK / LAST).exists():
        return "mixture"
    if (folder / CONFIG).exists():
        with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):  # none that we wrote
            return _architecture_of(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")))
    return None


def _architecture_of(config: Any) -> str | None:
    """Of a configuration as it was written, maybe by another version; None if it is none."""
    model = config.get("model") if isinstance(config, dict) else None
    return model.get("architecture", "symgnn") if isinstance(model, dict) else None


@dataclass(frozen=True)
class Scores:
    """What a fit knows about its errors; barriers in eV.

    ``predictions`` [N] are those of the maps that were fitted without the structure in question,
    ``structures`` their scores by structure, ``held_out`` those of all atoms. Without a jackknife
    these are empty and None. ``validation`` is None without validation files.
    """

    held_out: Metrics | None
    structures: dict[str, Metrics]
    predictions: dict[str, Tensor]
    validation: Metrics | None


def write_fit(
    folder: Path,
    config: TrainingConfig | FitConfig,
    model: nn.Module,
    *,
    elements: Sequence[str],
    checksums: dict[str, dict[str, str]],
    example: dict[str, Tensor],
    scores: Scores,
    **further: Any,
) -> Path:
    """Write ``best.ckpt`` and ``config.yaml`` of a fit or a mixture; gives the former.

    Both are whole before either gets its name, so that a full disk leaves neither.

    Args:
        folder: the output folder.
        config: the run.
        model: fitted.
        elements: chemical symbols in the order of species.
        checksums: SHA-256 of the data files, by part and name.
        example: a structure of training, see ``dataset.example_of``.
        scores: for the record.
        further: what else the checkpoint is to hold.

    Raises:
        SymGNNError: the folder cannot be written.
    """
    held_out = scores.held_out
    content = checkpoint_content(
        config,
        model,
        elements=elements,
        epoch=config.epochs if isinstance(config, TrainingConfig) else 0,
        validation=scores.validation,
        checksums=checksums,
        example=example,
    )
    content |= {
        "held_out": None if held_out is None else held_out.as_dict(),
        "held_out_structures": {name: one.as_dict() for name, one in scores.structures.items()},
        "held_out_predictions": scores.predictions,
        **further,
    }
    make_folder(folder)
    remove_unfinished(folder)
    with written_whole(folder / CONFIG) as unfinished:
        unfinished.write_text(dump_config(config), encoding="utf-8")
        save_checkpoint(folder / BEST, content)
    return folder / BEST
