"""The page about a training run: how it went, how good the model is, and with which settings."""

from __future__ import annotations

import hashlib
import html
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from symgnn.errors import ConfigError, DatasetError, ModelError, SymGNNError
from symgnn.plots.training import read_curves
from symgnn.report.page import definitions, file_date, packed, table, tiles, write_page
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import FitConfig, TrainingConfig, dump_config, parse_config
from symgnn.training.dataset import build_labeled_graphs, checksum, located, read_labeled
from symgnn.training.device import choose_device
from symgnn.training.loop import predict
from symgnn.training.metrics import Metrics, compute_metrics
from symgnn.training.output import BEST, CONFIG, METRICS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from symgnn.training.dataset import LabeledGraph

_SCRIPTS = ("vendor/plot.min.js", "templates/common.js", "templates/run.js")
_COLUMNS = {
    "Pearson": "pearson",
    "Spearman": "spearman",
    "MAE (eV)": "mae",
    "RMSE (eV)": "rmse",
    "bias (eV)": "bias",
    "slope": "slope",
    "AUC low": "auc_lowest",
    "AUC high": "auc_highest",
}


@dataclass(frozen=True)
class _Parity:
    """Labels and predictions of atoms that the model was not fitted to; eV, without NaN."""

    name: str
    label: NDArray[np.float64]
    prediction: NDArray[np.float64]

    @property
    def metrics(self) -> Metrics:
        return compute_metrics(self.prediction, self.label)


def report_run(
    folder: Path,
    output: Path,
    *,
    device: str = "auto",
    threads: int = 0,
    report: Callable[[str], None] | None = None,
) -> str:
    """Write the page about a folder that ``symgnn train`` filled.

    Predictions against labels need the data files: they are looked for where the configuration
    names them, seen from the folders above the run, and used if their checksums are right.
    Otherwise the page says what is missing.

    Args:
        folder: with ``best.ckpt``, and for a network ``metrics.csv``.
        output: HTML file.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; 0 leaves torch's setting.
        report: called with what is being done.

    Returns:
        One line about what is on the page.

    Raises:
        ModelError: the folder holds no run that this version can read.
        SymGNNError: the page cannot be written.
    """
    checkpoint = folder / BEST
    if not checkpoint.is_file():
        raise ModelError(
            f"{folder} holds no run: there is no {BEST}, which `symgnn train` writes; name the"
            " output folder of a training, or a structure file"
        )
    content = load_checkpoint(checkpoint)
    config = parse_config(content["config"], str(checkpoint))
    epochs = _read_epochs(folder)
    if threads:
        torch.set_num_threads(threads)
    source = _Source(folder, content, config, choose_device(device), report or (lambda _: None))
    parities, note = _parities(source)
    rows = _score_rows(content)
    write_page(
        output,
        "run",
        title=folder.resolve().name,
        parts={
            "subtitle": html.escape(_subtitle(content, config)),
            "tiles": tiles(_tiles(content, config, epochs)),
            "scores": table(["", *_COLUMNS, "atoms"], rows) if rows else _nothing_scored(),
            "note": f'<p class="hint">{html.escape(note)}</p>' if note else "",
            "config": html.escape(dump_config(config)),
            "provenance": definitions(_provenance(folder, content)),
        },
        data={
            "epochs": epochs,
            "best": content["epoch"],
            "parities": [
                {
                    "name": each.name,
                    "pearson": each.metrics.pearson,
                    "label": packed(each.label, "float32"),
                    "prediction": packed(each.prediction, "float32"),
                }
                for each in parities
            ],
        },
        scripts=_SCRIPTS,
    )
    scored = f", parity of {sum(len(p.label) for p in parities)} atoms" if parities else ""
    return f"{_subtitle(content, config)}{scored}"


def _read_epochs(folder: Path) -> dict[str, list[float | None]] | None:
    """Columns of ``metrics.csv``; None for a fit in closed form, which has no epochs."""
    if not (folder / METRICS).is_file():
        return None
    return {
        name: [value if np.isfinite(value) else None for value in values.tolist()]
        for name, values in read_curves(folder).columns.items()
    }


# --- predictions against labels ---------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """A run, and how to work with it."""

    folder: Path
    content: dict[str, Any]
    config: TrainingConfig | FitConfig
    device: torch.device
    report: Callable[[str], None]

    def graphs(self, files: dict[str, str]) -> list[LabeledGraph]:
        """Graphs of the files with these checksums by name."""
        base = _base_of(self.folder, list(files))
        labeled = []
        for name, sha256 in files.items():
            self.report(f"reading {name}")
            path = located(base, name)
            if checksum(path) != sha256:
                raise DatasetError(f"{path} has changed since the training")
            labeled.append(replace(read_labeled(path, self.config.data.label), name=name))
        return build_labeled_graphs(
            labeled,
            self.config.data.label,
            cutoff=self.config.model.cutoff,
            elements=self.content["elements"],
            self_edges=self.config.model.self_edges,
            device=self.device,
        )


def _parities(source: _Source) -> tuple[list[_Parity], str]:
    """What can be compared with labels, and why not more."""
    model = restore_model(source.content, str(source.folder / BEST)).to(source.device)
    held_out = source.content.get("held_out_predictions") or {}
    parities, missing = [], []
    if source.content.get("held_out") and not held_out:
        missing.append(
            "the checkpoint is from before predictions for structures left out were kept; fit again"
        )
    for part, name in (("validation", "validation"), ("train", "held out")):
        files = source.content["checksums"].get(part, {})
        if not files or (part == "train" and not held_out):
            continue
        try:
            graphs = source.graphs(files)
            source.report("predictions")
            if part == "train":
                predictions = [held_out[item.name].cpu().numpy() for item in graphs]
            else:
                predictions = predict(model, graphs)
        except SymGNNError as error:
            missing.append(str(error))
            continue
        label = np.concatenate([item.label.cpu().numpy() for item in graphs]).astype(np.float64)
        there = ~np.isnan(label)
        parities.append(_Parity(name, label[there], np.concatenate(predictions)[there]))
    if not parities and not missing:
        missing.append("no structures were left out of the fit, and none given for validation")
    return parities, f"Not drawn: {'; '.join(missing)}." if missing else ""


def _base_of(folder: Path, names: list[str]) -> Path:
    """The folder that held the configuration: file names are relative to it."""
    for base in (*folder.resolve().parents, Path.cwd()):
        if all(located(base, name).is_file() for name in names):
            return base
    raise ConfigError(f"{names[0]} is in none of the folders above {folder}")


# --- what stands on the page ------------------------------------------------------------------


def _subtitle(content: dict[str, Any], config: TrainingConfig | FitConfig) -> str:
    return f"{config.model.architecture} · {', '.join(content['elements'])}"


def _tiles(
    content: dict[str, Any],
    config: TrainingConfig | FitConfig,
    epochs: dict[str, list[float | None]] | None,
) -> dict[str, str]:
    entries = {}
    for key, name in (("validation", "validation"), ("held_out", "held-out")):
        scores = content.get(key)
        if scores:
            entries[f"{name} Pearson"] = f"{scores['pearson']:.4f}"
            entries[f"{name} MAE"] = f"{scores['mae']:.4f} eV"
    if epochs is not None and isinstance(config, TrainingConfig):
        done = len(epochs.get("epoch", []))
        entries["best epoch"] = f"{content['epoch']} of {done} ({config.epochs} planned)"
        seconds = sum(value or 0.0 for value in epochs.get("seconds", []))
        entries["training time"] = (
            f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
        )
    parameters = sum(value.numel() for value in content["network"].values())
    entries["numbers in the model"] = f"{parameters:,}"
    return entries


def _score_rows(content: dict[str, Any]) -> list[list[str]]:
    """Scores that the run recorded."""
    rows = []
    for key, name in (("validation", "validation"), ("held_out", "held out, pooled")):
        if content.get(key):
            rows.append(_score_row(name, content[key]))
    for name, scores in (content.get("held_out_structures") or {}).items():
        rows.append(_score_row(f"{name}, held out", scores))
    return rows


def _score_row(name: str, scores: dict[str, float]) -> list[str]:
    cells = [f"{scores[key]:.4f}" if key in scores else "–" for key in _COLUMNS.values()]
    return [name, *cells, f"{scores['atoms']:,.0f}" if "atoms" in scores else "–"]


def _nothing_scored() -> str:
    return "<p>This run has no scores: nothing was left out of the fit.</p>"


def _provenance(folder: Path, content: dict[str, Any]) -> dict[str, str]:
    best = folder / BEST
    with best.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    entries = {
        "Run": folder.resolve().name,
        "Checkpoint": BEST,
        "Checkpoint, date of file": file_date(best),
        "Checkpoint, sha256": digest,
        "Configuration, date of file": file_date(folder / CONFIG),
    }
    for part, files in content["checksums"].items():
        for name, sha256 in files.items():
            entries[f"Data, {part}: {name}"] = f"sha256 {sha256}"
    return entries
