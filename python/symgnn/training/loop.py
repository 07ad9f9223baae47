"""The training loop: one for every model."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from symgnn.errors import ConfigError, DatasetError
from symgnn.files import make_folder, remove_unfinished, written_whole
from symgnn.models import MixtureConfig, build_model, settle_normalization
from symgnn.models.symmetrization import haar_rotations
from symgnn.training.checkpoint import checkpoint_content, load_checkpoint, save_checkpoint
from symgnn.training.config import (
    FitConfig,
    OptimizerConfig,
    TrainingConfig,
    dump_config,
    parse_config,
)
from symgnn.training.dataset import (
    LabeledGraph,
    Parts,
    build_labeled_graphs,
    checksums_of,
    choose_elements,
    copies_of,
    example_of,
    labeled_structures,
    merge,
    read_parts,
    spatial_order,
)
from symgnn.training.device import choose_device, keep_freed_memory
from symgnn.training.metrics import Metrics, compute_metrics
from symgnn.training.output import BEST, CONFIG, LAST, METRICS, checked_output, output_alone
from symgnn.training.relatives import warn_of_relatives

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from symgnn.graph import Graph

COLUMNS = [
    "epoch",
    "loss",
    "learning_rate",
    "seconds",
    *(f"validation_{name}" for name in ("pearson", "spearman", "mae", "rmse")),
]
# What may change between the first run and its continuation.
_MAY_CHANGE = ("epochs", "patience", "output", "device", "threads")


@dataclass(frozen=True)
class Epoch:
    """What one epoch achieved, for the progress bar and the table."""

    number: int
    loss: float
    learning_rate: float
    seconds: float
    validation: Metrics | None
    """None without validation files."""
    best_pearson: float
    best_epoch: int

    def row(self) -> list[float]:
        """Values of COLUMNS, NaN for those there are none of."""
        metrics = self.validation
        scores = (
            [math.nan] * 4
            if metrics is None
            else [metrics.pearson, metrics.spearman, metrics.mae, metrics.rmse]
        )
        return [self.number, self.loss, self.learning_rate, self.seconds, *scores]


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    best: Path
    best_epoch: int
    """The last one without validation files."""
    best_pearson: float | None
    """None without validation files."""
    epochs: int
    stopped_early: bool


def train(
    config: TrainingConfig,
    *,
    base: Path,
    resume: bool = False,
    report: Callable[[Epoch], None] | None = None,
) -> Result:
    """Train until the last epoch or until validation stops improving.

    Every epoch ends with ``last.ckpt``, from which ``resume`` continues with the same numbers
    that an uninterrupted run would have given on the same machine; ``best.ckpt`` is the epoch
    with the highest validation Pearson correlation, or the last without validation files.

    Args:
        config: the run.
        base: folder that relative paths in the configuration start from.
        resume: continue the run in the output folder instead of refusing to overwrite it.
        report: called after each epoch.

    Raises:
        ConfigError: no data files, or an output folder that does not fit ``resume``.
        DatasetError: a file without usable labels.
        SymGNNError: the output folder cannot be written, or another process trains in it.
    """
    with output_alone(base / config.output):
        return Run(config, base=base, resume=resume).train(report)


class Run:
    """A training run: the state that a checkpoint holds, and the steps that change it.

    Args:
        config: the run.
        base: folder that relative paths in the configuration start from.
        resume: continue the run in the output folder instead of refusing to overwrite it.
        left_out: names of training structures that are not trained on.

    Raises:
        ConfigError, DatasetError, SymGNNError: as :func:`train`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        base: Path,
        resume: bool = False,
        left_out: Collection[str] = (),
    ) -> None:
        if isinstance(config, FitConfig):
            raise ConfigError(
                f"{config.model.architecture} is fitted in closed form, not trained in epochs"
            )
        if isinstance(config.model, MixtureConfig):
            raise ConfigError("a mixture is more than one network: train it as a whole")
        self.config, self.left_out = config, sorted(left_out)
        self.output = checked_output(config, base, resume=resume)
        previous = self._previous()
        data = config.data
        parts = read_parts(
            {"train": data.train, "validation": data.validation, "thermal": data.thermal},
            base,
            data.label,
            data.label_error,
        )
        if not parts["train"]:
            raise ConfigError("data.train needs at least one file")
        self.elements = choose_elements(data.elements, parts["train"].values())
        self.device = choose_device(config.device)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        keep_freed_memory()

        structures, self.validation_graphs, copies = (
            build_labeled_graphs(
                [file.in_spatial_order() for file in parts[part].values()],
                data.label,
                cutoff=config.model.cutoff,
                elements=self.elements,
                self_edges=config.model.self_edges,
                device=self.device,
            )
            for part in ("train", "validation", "thermal")
        )
        self.checksums = checksums_of(parts)
        self.example = example_of(parts, data.label, self.elements)
        if self.validation_graphs:
            self._check_labels()
        of_structures = self._compare(parts, structures, copies)
        taught = [item.name not in left_out for item in structures]
        self.train_graphs = list(compress(structures, taught))
        self.copies = list(compress(of_structures, taught))

        torch.manual_seed(config.seed)
        self.model: nn.Module = build_model(config.model, len(self.elements)).to(self.device)
        self._scale_labels()
        self.averaged = (
            AveragedModel(
                self.model,
                avg_fn=exponential_average(config.weight_averaging),
                use_buffers=True,
            )
            if config.weight_averaging
            else None
        )
        self.optimizer = make_optimizer(config.optimizer, self.model)
        batches = math.ceil(len(self.train_graphs) / (config.batch_size or len(self.train_graphs)))
        self.scheduler = make_schedule(self.optimizer, config.optimizer, config.epochs, batches)
        self.epoch = self.best_epoch = 0
        self.best_pearson = -math.inf
        self.rows: list[list[float]] = []
        if previous is not None:
            self._restore(previous)
        make_folder(self.output)
        remove_unfinished(self.output)
        with written_whole(self.output / CONFIG) as unfinished:
            unfinished.write_text(dump_config(config), encoding="utf-8")

    def train(self, report: Callable[[Epoch], None] | None = None) -> Result:
        """Run the remaining epochs."""
        config = self.config
        while self.epoch < config.epochs and not self._exhausted():
            began = time.perf_counter()
            loss = self._train_epoch()
            if config.exact_normalization:
                settle_normalization(
                    self.validated_model, (item.graph.inputs for item in self.train_graphs)
                )
            validation = self.validate()
            self.epoch += 1
            if validation is None:
                self.best_epoch = self.epoch
            elif validation.pearson > self.best_pearson:
                self.best_pearson, self.best_epoch = validation.pearson, self.epoch
            epoch = Epoch(
                self.epoch,
                loss,
                float(self.scheduler.get_last_lr()[0]),
                time.perf_counter() - began,
                validation,
                self.best_pearson,
                self.best_epoch,
            )
            self.rows.append(epoch.row())
            self._save(validation)
            if report is not None:
                report(epoch)
        best_pearson = self.best_pearson if self.validation_graphs else None
        return Result(
            self.output / BEST, self.best_epoch, best_pearson, self.epoch, self._exhausted()
        )

    @property
    def validated_model(self) -> nn.Module:
        """The network whose score counts: the averaged one if weights are averaged."""
        return self.model if self.averaged is None else self.averaged.module

    def validate(self) -> Metrics | None:
        """Metrics over all labeled validation atoms, pooled; None without any.

        Raises:
            DatasetError: a prediction is not finite, of the first training structure if there is
                nothing to validate on.
        """
        predictions = predict(self.validated_model, self.validation_graphs or self.train_graphs[:1])
        if not all(np.isfinite(part).all() for part in predictions):
            raise self._diverged("prediction after the last step", "not finite")
        if not self.validation_graphs:
            return None
        return score_pooled(predictions, self.validation_graphs)

    def _diverged(self, what: str, value: float | str) -> DatasetError:
        return DatasetError(
            f"the {what} became {value} in epoch {self.epoch + 1}: lower "
            "optimizer.learning_rate or optimizer.gradient_clip, and check the labels"
        )

    def _train_epoch(self) -> float:
        self.model.train()
        order = torch.randperm(len(self.train_graphs)).tolist()
        size = self.config.batch_size or len(order)
        total, atoms = 0.0, 0
        for begin in range(0, len(order), size):
            chosen = [self._at_some_time(number) for number in order[begin : begin + size]]
            batch = merge([self._turned(item) for item in chosen])
            graph, labeled = batch.graph, ~torch.isnan(batch.label)
            edge_vector = self._displaced(graph)
            output = self.model(graph.species, graph.edge_index, edge_vector)[:, 0]
            error = (output[labeled] - batch.label[labeled]) / self.model.get_buffer("label_std")
            loss = (batch.weight[labeled] * error.square()).mean()
            value = loss.item()
            if not math.isfinite(value):
                raise self._diverged("loss", value)
            self.optimizer.zero_grad()
            loss.backward()
            if self.config.optimizer.gradient_clip is not None:
                nn.utils.clip_grad_norm_(
                    self.model.parameters(), self.config.optimizer.gradient_clip
                )
            self.optimizer.step()
            self.scheduler.step()
            if self.averaged is not None:
                self.averaged.update_parameters(self.model)
            total += value * int(labeled.sum())
            atoms += int(labeled.sum())
        return total / atoms

    def _at_some_time(self, number: int) -> LabeledGraph:
        """A structure, or one of its thermal copies as often as they count."""
        copies = self.copies[number]
        if not copies or float(torch.rand(())) >= self.config.data.thermal_weight:
            return self.train_graphs[number]
        return copies[int(torch.randint(len(copies), ()))]

    def _turned(self, item: LabeledGraph) -> LabeledGraph:
        """The structure after a random element of O(3), if the run wants that."""
        if not self.config.random_rotations:
            return item
        rotation = haar_rotations(1, dtype=torch.float64, device=torch.device("cpu"))[0]
        reflection = 1.0 if torch.rand(()) < 0.5 else -1.0
        vector = item.graph.edge_vector
        turned = vector @ (reflection * rotation).T.to(vector)
        return replace(item, graph=replace(item.graph, edge_vector=turned))

    def _displaced(self, graph: Graph) -> Tensor:
        """Edge vectors after a random displacement of every atom; edges stay the same."""
        if self.config.position_noise == 0.0:
            return graph.edge_vector
        shape = (len(graph.species), 3)
        displacement = self.config.position_noise * torch.randn(shape, device=self.device)
        center, neighbor = graph.edge_index
        return graph.edge_vector + displacement[neighbor] - displacement[center]

    def _exhausted(self) -> bool:
        return self.epoch - self.best_epoch >= self.config.patience

    def _check_labels(self) -> None:
        pooled = torch.cat([item.label for item in self.validation_graphs]).cpu().numpy()
        try:
            compute_metrics(np.zeros_like(pooled), pooled)
        except DatasetError as error:
            raise DatasetError(f"validation files: {error}") from error

    def _compare(
        self, parts: Parts, structures: list[LabeledGraph], copies: list[LabeledGraph]
    ) -> list[list[LabeledGraph]]:
        """The copies of each training structure; warns of a validation that is one.

        A label counts in a copy as much as in its structure.
        """
        if not (parts["validation"] or parts["thermal"]):
            return [[] for _ in structures]
        trained, scored, moved = (  # in the order of the files, by which they are told
            build_labeled_graphs(
                list(parts[part].values()),
                self.config.data.label,
                cutoff=self.config.model.cutoff,
                elements=self.elements,
                self_edges=False,
                device=torch.device("cpu"),
            )
            for part in ("train", "validation", "thermal")
        )
        warn_of_relatives(trained, scored)
        files = list(parts["thermal"].values())
        orders = [
            spatial_order(atoms)
            for _, atoms, _ in labeled_structures(files, self.config.data.label)
        ]
        return [
            [
                replace(copies[number], weight=item.weight[orders[number]].to(self.device))
                for number in own
            ]
            for item, own in zip(trained, copies_of(trained, moved), strict=True)
        ]

    def _scale_labels(self) -> None:
        labels = torch.cat([item.label for item in self.train_graphs])
        labels = labels[~torch.isnan(labels)].double()
        deviation = labels.std(correction=0)
        if deviation == 0.0:
            raise DatasetError(
                f"train files: all {len(labels)} labels equal {labels[0]:g}, nothing to learn"
            )
        self.model.get_buffer("label_mean").fill_(labels.mean())
        self.model.get_buffer("label_std").fill_(deviation)

    def _previous(self) -> dict[str, Any] | None:
        """The checkpoint to go on from, if there is one: of the same configuration."""
        last = self.output / LAST
        if not last.exists():
            return None
        previous = load_checkpoint(last)
        # Read anew, so that options which are younger than the run have their defaults.
        before = parse_config(previous["config"], str(last)).model_dump()
        now = self.config.model_dump()
        changed = [key for key in now if key not in _MAY_CHANGE and before.get(key) != now[key]]
        if changed:
            raise ConfigError(
                f"{last} was trained with another {', '.join(changed)}: restore the "
                "configuration to continue it, or choose another output"
            )
        return previous

    def _save(self, validation: Metrics | None) -> None:
        with (
            written_whole(self.output / METRICS) as unfinished,
            unfinished.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file).writerows([COLUMNS, *self.rows])
        content = checkpoint_content(
            self.config,
            self.validated_model,
            elements=self.elements,
            epoch=self.epoch,
            validation=validation,
            checksums=self.checksums,
            example=self.example,
        )
        content["left_out"] = self.left_out
        if self.best_epoch == self.epoch:
            save_checkpoint(self.output / BEST, content)
        save_checkpoint(
            self.output / LAST,
            {
                **content,
                "model": self.model.state_dict(),
                "averaged": None if self.averaged is None else self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "random_state": torch.get_rng_state(),
                # Dropout on a GPU draws from the GPU's own generator.
                "gpu_random_state": (
                    torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
                ),
                "best_epoch": self.best_epoch,
                "best_pearson": self.best_pearson,
                "rows": self.rows,
            },
        )

    def _restore(self, previous: dict[str, Any]) -> None:
        if _files_of(previous["checksums"]) != _files_of(self.checksums):
            raise ConfigError(
                f"the data files changed since {self.output / LAST} was written: restore them, "
                "or choose another output"
            )
        if previous.get("left_out", []) != self.left_out:
            raise ConfigError(
                f"{self.output / LAST} was trained without other structures than are left out now,"
                " or by a version that did not write them down: restore"
                " model.densities.jackknife_groups to continue it, delete"
                f" {self.output}, or choose another output"
            )
        self.model.load_state_dict(previous["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(previous["averaged"])
        self.optimizer.load_state_dict(previous["optimizer"])
        self.scheduler.load_state_dict(previous["scheduler"])
        torch.set_rng_state(previous["random_state"])
        if self.device.type == "cuda" and previous["gpu_random_state"] is not None:
            torch.cuda.set_rng_state(previous["gpu_random_state"], self.device)
        self.epoch, self.best_epoch = previous["epoch"], previous["best_epoch"]
        self.best_pearson, self.rows = previous["best_pearson"], previous["rows"]


def _files_of(checksums: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Without parts that have no files, which younger versions may name and older ones not."""
    return {part: files for part, files in checksums.items() if files}


def predict(model: nn.Module, graphs: list[LabeledGraph]) -> list[np.ndarray]:
    """Barriers [N] of each graph, eV, from the network in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        return [model(*item.graph.inputs)[:, 0].cpu().numpy() for item in graphs]


def score_pooled(predictions: Sequence[np.ndarray], graphs: Sequence[LabeledGraph]) -> Metrics:
    """Metrics of predictions [N] for each graph, eV, over all labeled atoms."""
    labels = np.concatenate([item.label.cpu().numpy() for item in graphs])
    return compute_metrics(np.concatenate(predictions), labels)


def exponential_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential average whose decay starts low, so that the first random weights soon fade."""

    def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        count = int(steps)
        weight = 1.0 - min(decay, (1.0 + count) / (10.0 + count))
        return averaged.lerp(current, weight) if averaged.is_floating_point() else current

    return average


def make_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters."""
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(
        model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        amsgrad=config.amsgrad,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, epochs: int, batches: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning rate per step: linear warm-up, then constant or half a cosine down to zero."""
    warmup, total = config.warmup_epochs * batches, epochs * batches

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
