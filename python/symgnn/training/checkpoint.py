"""Checkpoints: written whole or not at all, read without running foreign code."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ConfigError, ModelError
from ..files import written_whole
from ..models import (
    DensityRegression,
    DensityRegressionConfig,
    Mixture,
    MixtureConfig,
    build_model,
)
from .config import parse_config

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

FORMAT = 1
_KIND = "symgnn-checkpoint"
_RETIRED = ("thermal_mean", "unbalanced")


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
    """Read a checkpoint onto the CPU.

    Raises:
        ModelError: the file is missing, damaged, no checkpoint of ours or of a newer format.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint {path}; `symgnn train` writes best.ckpt and last.ckpt")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path} is not a SymGNN checkpoint (truncated, or another kind of file)")
    names = _names_in(path)
    if any(name.endswith("/constants.pkl") for name in names):
        raise ModelError(
            f"{path} is not a SymGNN checkpoint (this is an exported model, which is ready to use;"
            " a checkpoint is called *.ckpt)"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, KeyError) as error:
        raise ModelError(
            f"{path} is not a SymGNN checkpoint (it holds more than tensors and plain values)"
        ) from error
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise ModelError(f"{path} is not a SymGNN checkpoint (written by another program)")
    if content["format"] != FORMAT:
        raise ModelError(
            f"{path} has checkpoint format {content['format']}, this SymGNN reads {FORMAT}; "
            "install the version that wrote it"
        )
    return content


def restore_model(content: dict[str, Any], origin: str) -> nn.Module:
    """The trained model of a checkpoint, in evaluation mode.

    Args:
        content: what :func:`load_checkpoint` returned.
        origin: name of the checkpoint, for errors.

    Raises:
        ConfigError: a configuration that this version does not know, or whose model has become
            another one.
    """
    config = parse_config(_without_retired(content["config"]), origin).model
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


def _names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()
