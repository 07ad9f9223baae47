"""Checkpoints: written whole or not at all, read without running foreign code."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from symgnn.errors import ConfigError, ModelError
from symgnn.files import written_whole
from symgnn.models import (
    DensityRegression,
    DensityRegressionConfig,
    Mixture,
    MixtureConfig,
    build_model,
)
from symgnn.training.config import parse_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from symgnn.training.config import FitConfig, TrainingConfig
    from symgnn.training.metrics import Metrics

FORMAT = 1
_KIND = "symgnn-checkpoint"
_FOLDER = 0x10  # of the attributes in a zip directory
_RETIRED = ("thermal_mean", "unbalanced")


def checkpoint_content(
    config: TrainingConfig | FitConfig,
    model: nn.Module,
    *,
    elements: Sequence[str],
    epoch: int,
    validation: Metrics | None,
    checksums: dict[str, dict[str, str]],
    example: dict[str, torch.Tensor],
) -> dict[str, Any]:
    """What every checkpoint holds: a model and how it came to be.

    Args:
        config: the run.
        model: the one to restore and export.
        elements: chemical symbols in the order of species.
        epoch: how many were trained; 0 for a fit in closed form.
        validation: scores of the model, if there are any.
        checksums: SHA-256 of the data files, by part and name.
        example: a structure of training, see ``dataset.example_of``.
    """
    return {
        "config": config.model_dump(),
        "elements": list(elements),
        "epoch": epoch,
        "validation": None if validation is None else validation.as_dict(),
        "checksums": checksums,
        "example": example,
        "network": model.state_dict(),
    }


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values so that ``path`` is always a whole checkpoint.

    The new file replaces the old in one step after it has reached the disk: a process killed at
    any moment leaves the one or the other.
    """
    buffer = io.BytesIO()
    torch.save({"kind": _KIND, "format": FORMAT, **content}, buffer)
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, with a configuration of this version's settings.

    Raises:
        ModelError: the file is missing, damaged, no checkpoint of ours or of a newer format.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint {path}; `symgnn train` writes best.ckpt and last.ckpt")
    try:
        content = _content_of(path)
    except ModelError:
        raise
    except Exception as error:  # a damaged archive fails in any way that its bytes allow
        raise ModelError(
            f"{path} is not a SymGNN checkpoint (damaged, or it holds more than tensors and plain"
            " values); take an undamaged copy, or train again"
        ) from error
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise ModelError(f"{path} is not a SymGNN checkpoint (written by another program)")
    if content.get("format") != FORMAT:
        raise ModelError(
            f"{path} has checkpoint format {content.get('format')}, this SymGNN reads {FORMAT}; "
            "install the version that wrote it"
        )
    return {
        key: _without_retired(value) if key == "config" else value for key, value in content.items()
    }


def restore_model(content: dict[str, Any], origin: str) -> nn.Module:
    """The trained model of a checkpoint, in evaluation mode.

    Args:
        content: what :func:`load_checkpoint` returned.
        origin: name of the checkpoint, for errors.

    Raises:
        ConfigError: a configuration that this version does not know, or whose model has become
            another one.
    """
    config = parse_config(content["config"], origin).model
    elements, state = len(content["elements"]), content["network"]
    model: nn.Module
    if isinstance(config, DensityRegressionConfig):
        model = DensityRegression(config, elements, len(state["weight"]))
    elif isinstance(config, MixtureConfig):
        model = Mixture(config, elements, len(state["regression.weight"]))
    else:
        model = build_model(config, elements)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(
            f"{origin}: made by another version of SymGNN, whose model has other weights: train "
            "again, or export it by that version"
        ) from error
    return model.eval()


def _without_retired(config: Any) -> Any:
    """A configuration without settings that this version has no more, where they were not used."""
    if not isinstance(config, dict):
        return config
    return {
        key: _without_retired(value)
        for key, value in config.items()
        if not (key in _RETIRED and value is None)
    }


def _content_of(path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path} is not a SymGNN checkpoint (truncated, or another kind of file)")
    with zipfile.ZipFile(path) as archive:
        exported = any(name.endswith("/constants.pkl") for name in archive.namelist())
        # torch looks at no checksums of tensors, and reads nothing where a folder is marked.
        marked = any(entry.external_attr & _FOLDER for entry in archive.infolist())
        damaged = marked or archive.testzip() is not None
    if exported:
        raise ModelError(
            f"{path} is not a SymGNN checkpoint (this is an exported model, which is ready to use;"
            " a checkpoint is called *.ckpt)"
        )
    if damaged:
        raise zipfile.BadZipFile("an entry is not what was written")
    with warnings.catch_warnings():
        # torch goes on with a pickle of another protocol, which only damage gives ours.
        warnings.filterwarnings("error", "Detected pickle protocol")
        return torch.load(path, map_location="cpu", weights_only=True)
