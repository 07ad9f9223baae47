"""Configuration of a training or a fit: strict, with the paper's values as preset ``paper``."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from symgnn.errors import ConfigError
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD
from symgnn.models import (
    AnyNetworkConfig,
    DensityRegressionConfig,
    DragConfig,
    FormulaConfig,
    MixtureConfig,
    NetworkConfig,
    RelaxationConfig,
    SymGNNConfig,
)
from symgnn.models.mixture import small_network
from symgnn.open_data import GLASSES, PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydantic_core import ErrorDetails


_FITTED = ("density_regression", "formula")
"""Architectures that are fitted in closed form; all others are networks."""


class DataConfig(BaseModel):
    """Where the labeled structures are."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    train: list[str] = []
    """Files with labeled structures; anything `symgnn annotate` reads. Relative to the config.
    ``open-data:NAME`` is a glass of the open dataset."""
    validation: list[str] = []
    """Files for choosing the epoch. Never put test structures here. Without any, the last epoch
    counts."""
    thermal: list[str] = []
    """Files with copies of training structures at other positions (time averages of a run at
    temperature), atom by atom with the same labels; not for a formula."""
    thermal_weight: float = Field(0.2, gt=0.0, lt=1.0)
    """Share of a structure's weight that its copies have together: in a fit; of the steps that take
    a copy instead, in the training of a network."""
    elements: list[str] | None = None
    """Chemical symbols, in the order of species. Default: those of the training files, sorted."""
    label: str = ENERGY_BARRIER
    """Per-atom column with the label, eV. NaN marks an atom without a label."""
    label_error: str | None = None
    """Per-atom column of the training files with the standard error of the label, eV, such as
    ``energy_barrier_std`` of `symgnn label export`: the more certain a label, the more it counts.
    """


class OptimizerConfig(BaseModel):
    """Adam or AdamW, with an optional schedule."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: Literal["adam", "adamw"] = "adamw"
    """``adamw`` keeps weight decay apart from the gradient."""
    learning_rate: float = Field(3e-3, gt=0.0)
    """The highest, where there is a schedule."""
    weight_decay: float = Field(1e-4, ge=0.0)
    """Strength of the pull of weights towards zero."""
    amsgrad: bool = False
    """Never let the step of a weight grow again (Reddi et al., ICLR 2018)."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """``cosine`` lowers the learning rate to zero at the last epoch."""
    warmup_epochs: int = Field(2, ge=0)
    """Linear increase of the learning rate, before the schedule begins."""
    gradient_clip: float | None = Field(1.0, gt=0.0)
    """Largest gradient norm; null for none."""


class RunConfig(BaseModel):
    """What the training of a network and a fit in closed form share."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    data: DataConfig = DataConfig()
    """What to learn from."""
    model: NetworkConfig
    """What to train or fit; its key ``architecture`` says which kind."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; auto takes a GPU if there is one."""
    threads: int | None = Field(None, ge=1)
    """torch threads; null for torch's own choice."""
    output: str = "run"
    """Folder of checkpoints and metrics. Relative to the config."""


class FitConfig(RunConfig):
    """Everything that decides a fit in closed form, which nothing random enters."""

    model: Annotated[
        DensityRegressionConfig | FormulaConfig, Field(discriminator="architecture")
    ] = DensityRegressionConfig()


class TrainingConfig(RunConfig):
    """Everything that decides the training of a network."""

    model: AnyNetworkConfig = SymGNNConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    """How weights change."""
    epochs: int = Field(200, ge=1)
    """Passes over the training structures at most."""
    patience: int = Field(50, ge=1)
    """Stop after this many epochs without a better validation Pearson correlation; no meaning
    without validation files."""
    batch_size: int | None = Field(1, ge=1)
    """Structures per optimizer step; null for all of them at once."""
    position_noise: float = Field(0.0, ge=0.0)
    """Standard deviation, Å, of a Gaussian displacement that every atom gets anew in each step: a
    stand-in for the thermal motion that an average over 1 ps leaves, and that labels ignore."""
    random_rotations: bool = False
    """Turn every structure by a random element of O(3) in each step: data augmentation for networks
    that see directions."""
    exact_normalization: bool = True
    """Before each validation, take the statistics of batch normalization from all training
    structures, without displacements and dropout, instead of running averages over steps."""
    weight_averaging: float = Field(0.95, ge=0.0, lt=1.0)
    """Decay per step of the exponential average of the weights, which is what is validated and
    exported; 0 for none."""
    seed: int = Field(0, ge=0)
    """Of initial weights, order of structures, dropout and all else that is random."""


def _paper() -> TrainingConfig:
    """Li et al. (ICML 2024) and their published code: all graphs in one step, no averaging."""
    return TrainingConfig(
        model=SymGNNConfig(self_edges=True),
        optimizer=OptimizerConfig(
            name="adam",
            learning_rate=1e-4,
            weight_decay=0.0,
            amsgrad=True,
            schedule="constant",
            warmup_epochs=0,
            gradient_clip=0.1,
        ),
        epochs=20000,
        patience=1000,
        batch_size=None,
        exact_normalization=False,
        weight_averaging=0.0,
    )


def _lengths() -> TrainingConfig:
    """A small attention network on interatomic distances: some minutes on one core."""
    return TrainingConfig(
        model=small_network(),
        optimizer=OptimizerConfig(learning_rate=5e-3, weight_decay=1e-3),
        epochs=60,
        patience=60,
    )


def _mixture() -> TrainingConfig:
    """Density regression and the network of preset ``lengths``: half an hour on one core."""
    return _lengths().model_copy(update={"model": MixtureConfig()})


def _densities() -> FitConfig:
    """The shipped model ``cuzr-fast``, a density regression: a minute on one core."""
    return FitConfig()


def _drag() -> FitConfig:
    """The shipped model ``cuzr``, which relaxes and drags atoms: minutes."""
    drag = DragConfig(far=5.5, stride=-0.5, variances=True)
    return FitConfig(
        model=DensityRegressionConfig(
            cutoff=drag.cutoff,
            density_cutoff=7.0,
            relaxation=RelaxationConfig(),
            drag=drag,
            strength=400.0,
            likeness=0.98,
        ),
    )


def _simple() -> FitConfig:
    """The shipped model ``simple``, a formula of three terms: seconds on one core.

    ``benchmarks/simple.py`` chose the terms.
    """
    return FitConfig(model=FormulaConfig())


def _open_data() -> FitConfig:
    """The open dataset, and a model that its few hundred noisy labels can teach: seconds."""
    return FitConfig(
        data=DataConfig(
            train=[f"{PREFIX}{glass}" for glass in GLASSES], label_error=ENERGY_BARRIER_STD
        ),
        model=FormulaConfig(),
    )


PRESETS: dict[str, Callable[[], TrainingConfig | FitConfig]] = {
    "paper": _paper,
    "lengths": _lengths,
    "mixture": _mixture,
    "densities": _densities,
    "drag": _drag,
    "simple": _simple,
    "open-data": _open_data,
}


def preset(name: str) -> TrainingConfig | FitConfig:
    """A named configuration. Raises ConfigError for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]()


def load_config(path: Path, overrides: list[str] | None = None) -> TrainingConfig | FitConfig:
    """Read a YAML configuration and apply dotted overrides such as ``optimizer.name=adam``.

    Raises:
        ConfigError: the file is missing or no YAML mapping, a key is unknown, a value is wrong.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds no configuration; `symgnn train --preset paper` prints one"
        )
    for override in overrides or []:
        _apply(values, override)
    return parse_config(values, str(path))


def parse_config(values: dict[str, Any], origin: str) -> TrainingConfig | FitConfig:
    """Validate plain values. Raises ConfigError naming every wrong key in one line."""
    model = values.get("model")
    fitted = isinstance(model, dict) and model.get("architecture") in _FITTED
    config = FitConfig if fitted else TrainingConfig
    try:
        return config.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_describe(problem, config) for problem in error.errors())
        raise ConfigError(f"{origin}: {problems}") from error


def _describe(problem: ErrorDetails, config: type[RunConfig]) -> str:
    """A key of a configuration and what is wrong with it."""
    kind, location = problem["type"], problem["loc"]
    if kind == "union_tag_invalid":
        context = problem["ctx"]
        fitted = ", ".join(map(repr, _FITTED))
        known = f"{context['expected_tags']}, {fitted}"
        return f"model: unknown architecture '{context['tag']}'; there are {known}"
    # The architecture is not part of the key.
    shown = ("model", *location[2:]) if location[:1] == ("model",) else location
    name = ".".join(map(str, shown)) or "configuration"
    if kind == "extra_forbidden" and config is FitConfig and name in TrainingConfig.model_fields:
        return f"{name} serves networks only: leave it out of a {' or '.join(_FITTED)}"
    message = problem["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        message = f"unknown key; {_remedy(str(location[-1]), _keys_beside(location, config))}"
    elif kind == "list_type" and isinstance(problem["input"], str | int | float):
        message = f"a list is needed: write [{problem['input']}]"
    return f"{name}: {message}"


def _remedy(key: str, known: list[str]) -> str:
    """What an unknown key may stand for."""
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    return f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"


def _keys_beside(location: tuple[int | str, ...], config: type[BaseModel]) -> list[str]:
    """The keys at the level of the last one of a location as pydantic gives it."""
    level = [config]
    for key in location[:-1]:
        fields = [each.model_fields[str(key)] for each in level if str(key) in each.model_fields]
        if fields:
            level = _configurations_in(fields[0].annotation)
        elif isinstance(key, str):
            level = [each for each in level if each.model_fields["architecture"].default == key]
    return [name for each in level[:1] for name in each.model_fields]


def _configurations_in(annotation: Any) -> list[type[BaseModel]]:
    """Those that a type such as ``list[Term]`` or a union consists of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _configurations_in(part)]


def dump_config(config: TrainingConfig | FitConfig) -> str:
    """The whole configuration as YAML."""
    text: str = yaml.safe_dump(config.model_dump(), sort_keys=False, default_flow_style=None)
    return text


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    *sections, name = key.split(".")
    for section in sections:
        child = values.setdefault(section, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {section} is a value, not a section")
        values = child
    try:
        values[name] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not YAML") from error
