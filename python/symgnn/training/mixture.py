"""Training of a mixture: a regression fitted in closed form, networks, and what both know.

The regression is fitted first, with its jackknife. A network is then trained on all structures, and
one without each group of the jackknife, so that scores and uncertainty are those of mixtures that
never saw the structure in question. Only the first network enters the model.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from symgnn.models import Mixture, MixtureConfig
from symgnn.training.checkpoint import load_checkpoint
from symgnn.training.config import DataConfig, FitConfig
from symgnn.training.dataset import LabeledGraph, build_labeled_graphs, read_parts
from symgnn.training.loop import Run, predict, score_pooled
from symgnn.training.output import (
    NETWORK,
    REGRESSION,
    Scores,
    checked_output,
    output_alone,
    write_fit,
)
from symgnn.training.regression import Fit, fit, predict_held_out, score_held_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from symgnn.training.config import TrainingConfig
    from symgnn.training.loop import Epoch
    from symgnn.training.metrics import Metrics


def train_mixture(
    config: TrainingConfig,
    *,
    base: Path,
    resume: bool = False,
    report: Callable[[str, int, int], None] | None = None,
) -> Fit:
    """Fit the regression, train the networks, write ``best.ckpt`` and ``config.yaml``.

    All epochs of every network are trained: a structure that decided when to stop could not score
    it. Each network has a folder of its own, from which ``resume`` goes on.

    Args:
        config: the run; what it says of epochs is for the networks.
        base: folder that relative paths in the configuration start from.
        resume: continue the run in the output folder instead of refusing to overwrite it.
        report: called with what is being done and how much of it is.

    Raises:
        ConfigError, DatasetError, SymGNNError: as :func:`fit` and :func:`train`.
    """
    assert isinstance(config.model, MixtureConfig)
    report = report or (lambda *_: None)
    with output_alone(base / config.output):
        output = checked_output(config, base, resume=resume)
        regression = FitConfig(
            data=config.data,
            model=config.model.densities,
            device=config.device,
            threads=config.threads,
            output=f"{config.output}/{REGRESSION}",
        )
        fitted = fit(regression, base=base, report=report)
        content = load_checkpoint(fitted.best)
        groups: list[int] = content["jackknife"]
        train, validation = _read(config, base, content["elements"])
        left_out = _left_out(train, groups)
        networks = _train_networks(config, base, content["elements"], left_out, resume, report)
        model = Mixture(config.model, len(content["elements"]), len(networks) if groups else 1)
        model.regression.load_state_dict(content["network"])
        model.eval()
        held_out: Metrics | None = None
        scores: dict[str, Metrics] = {}
        predictions: dict[str, Tensor] = {}
        if groups:
            for group, item in zip(groups, train, strict=True):
                report("held-out predictions", len(predictions), len(train))
                model.network.load_state_dict(networks[1 + group].state_dict())
                predictions[item.name] = _held_out(model, group, item)
            held_out, scores = score_held_out(model.regression, train, predictions.values())
        model.network.load_state_dict(networks[0].state_dict())
        validated = score_pooled(predict(model, validation), validation) if validation else None
        best = write_fit(
            output,
            config,
            model,
            elements=content["elements"],
            checksums=content["checksums"],
            example=content["example"],
            scores=Scores(held_out, scores, predictions, validated),
        )
    return Fit(best, fitted.features, held_out, scores, validated, fitted.relatives)


def _left_out(structures: Sequence[LabeledGraph], groups: Sequence[int]) -> list[set[str]]:
    """Names that each network does without: the first without none, then one group each."""
    names: list[set[str]] = [set() for _ in range(2 + max(groups, default=-1))]
    for group, item in zip(groups, structures, strict=False):  # no groups of few structures
        names[1 + group].add(item.name)
    return names


def _train_networks(
    config: TrainingConfig,
    base: Path,
    elements: Sequence[str],
    left_out: Sequence[set[str]],
    resume: bool,
    report: Callable[[str, int, int], None],
) -> list[nn.Module]:
    """One network for each set of names that it does without."""
    networks = []
    for number, names in enumerate(left_out):
        settings = _of_network(config, elements, number)
        run = Run(settings, base=base, resume=resume, left_out=names)
        what = f"network {number + 1} of {len(left_out)}"
        report(what, run.epoch, config.epochs)
        run.train(partial(_report_epoch, report, what, config.epochs))
        networks.append(run.validated_model.cpu().eval())
    return networks


def _report_epoch(
    report: Callable[[str, int, int], None], what: str, planned: int, epoch: Epoch
) -> None:
    report(what, epoch.number, planned)


def _of_network(config: TrainingConfig, elements: Sequence[str], number: int) -> TrainingConfig:
    """The run of one network, without validation."""
    data: DataConfig = config.data.model_copy(update={"validation": [], "elements": list(elements)})
    folder = f"{NETWORK}-{number}" if number else NETWORK
    assert isinstance(config.model, MixtureConfig)
    return config.model_copy(
        update={
            "data": data,
            "model": config.model.network,
            "output": f"{config.output}/{folder}",
        }
    )


def _read(
    config: TrainingConfig, base: Path, elements: Sequence[str]
) -> tuple[list[LabeledGraph], list[LabeledGraph]]:
    """Training and validation structures, as the regression has them."""
    data = config.data
    parts = read_parts(
        {"train": data.train, "validation": data.validation}, base, data.label, data.label_error
    )
    train, validation = (
        build_labeled_graphs(
            list(parts[part].values()),
            data.label,
            cutoff=config.model.cutoff,
            elements=elements,
            self_edges=False,
            device=torch.device("cpu"),
        )
        for part in ("train", "validation")
    )
    return train, validation


def _held_out(model: Mixture, group: int, item: LabeledGraph) -> Tensor:
    """Barriers [N], eV, of a structure by regression and network that were fitted without it."""
    with torch.inference_mode():
        known = predict_held_out(model.regression, group, item)
        learned = model.learned(*item.graph.inputs)[:, 0]
    share = model.config.share
    return (1.0 - share) * known + share * learned
