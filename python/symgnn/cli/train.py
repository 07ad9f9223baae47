"""``symgnn train``: from labeled structures to a checkpoint."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symgnn.cli.warned import warnings_at_once
from symgnn.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from symgnn.training.config import FitConfig, TrainingConfig
    from symgnn.training.loop import Epoch
    from symgnn.training.regression import Fit


def train(
    config: Annotated[Path | None, typer.Argument(help="YAML configuration.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Dotted keys, such as model.width=16."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="paper, lengths, mixture, densities, drag, simple or open-data: print a complete"
            " configuration and stop.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the output folder, if any.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Same as seed=N.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="Same as device=NAME.")] = None,
) -> None:
    """Train a model on structures with labels.

    The output folder receives best.ckpt (highest validation Pearson), last.ckpt (for --resume),
    metrics.csv and the resolved config.yaml. A run that was killed continues with --resume. A
    density regression or a formula is fitted at once: it writes best.ckpt and config.yaml. A
    mixture writes the same, and its networks have folders of their own.

    Examples:

      symgnn train --preset paper > config.yaml

      symgnn train config.yaml optimizer.learning_rate=1e-3 output=run1

      symgnn train config.yaml --resume
    """
    from symgnn.models import MixtureConfig
    from symgnn.training.config import FitConfig, dump_config, load_config
    from symgnn.training.config import preset as named_preset

    if preset is not None:
        if config is not None or resume or seed is not None or device is not None:
            raise typer.BadParameter(
                "--preset prints a configuration and trains nothing: give it alone, and the rest"
                " with the printed file"
            )
        typer.echo(dump_config(named_preset(preset)), nl=False)
        return
    if config is None:
        raise typer.BadParameter("name a configuration; --preset paper prints one to start from")
    changes = list(overrides or [])
    changes += [] if seed is None else [f"seed={seed}"]
    changes += [] if device is None else [f"device={device}"]
    settings = load_config(config, changes)

    if isinstance(settings, FitConfig):
        if resume:
            raise typer.BadParameter("this model is fitted at once: leave out --resume")
        with warnings_at_once():
            _fit(settings, config.parent)
        return
    if isinstance(settings.model, MixtureConfig):
        with warnings_at_once():
            _train_mixture(settings, config.parent, resume=resume)
        return
    from symgnn.training.loop import train as run
    from symgnn.training.output import BEST, LAST

    folder = config.parent / settings.output
    runs = (folder / LAST, folder / BEST, config.parent / LAST)
    if resume and not any(file.exists() for file in runs):
        print(f"nothing to resume in {folder}: a new run begins", file=sys.stderr)
    try:
        with _EpochProgress(settings.epochs) as report, warnings_at_once():
            result = run(settings, base=config.parent, resume=resume, report=report)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; every finished epoch is in {folder}: go on with --resume"
        ) from None
    stop = ", stopped early" if result.stopped_early else ""
    score = (
        "no validation files, hence the last"
        if result.best_pearson is None
        else f"validation Pearson {result.best_pearson:.4f} at"
    )
    typer.echo(f"{result.best}: {score} epoch {result.best_epoch} of {result.epochs}{stop}")
    typer.echo(f"next: symgnn export {result.best} -o model.pt")


def _fit(settings: FitConfig, base: Path) -> None:
    """Fit a density regression or a formula: at most ten seconds for 8,000 atoms."""
    from symgnn.models import FormulaConfig
    from symgnn.training.formula import fit_formula
    from symgnn.training.regression import fit

    run = fit_formula if isinstance(settings.model, FormulaConfig) else fit
    try:
        with _progress_of_fit() as report:
            result = run(settings, base=base, report=report)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was written: start it again") from None
    _show_fit(result)


def _train_mixture(settings: TrainingConfig, base: Path, *, resume: bool) -> None:
    """Fit a regression and train its networks: minutes for each of them."""
    from symgnn.training.mixture import train_mixture

    try:
        with _progress_of_fit(lines=True) as report:
            result = train_mixture(settings, base=base, resume=resume, report=report)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; every finished epoch is in {base / settings.output}: go on with --resume"
        ) from None
    _show_fit(result)


@contextmanager
def _progress_of_fit(*, lines: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on a terminal; elsewhere a line for each part of the work, if asked for."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task("reading structures", total=None)
        said = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal said
            bar.update(task, description=what, completed=done, total=total)
            if bar.disable and lines and what != said:
                print(what, file=sys.stderr, flush=True)
                said = what

        yield report


def _show_fit(result: Fit) -> None:
    from symgnn.training.regression import FEWEST_STRUCTURES

    for names in result.relatives:
        typer.echo(
            f"{', '.join(names)}: nearly the same structure, and left out together", err=True
        )
    if result.held_out is None:
        few = (
            f"with fewer than {FEWEST_STRUCTURES} training structures that are not nearly the same"
        )
        typer.echo(f"no held-out score: nothing can be left out of the fit {few}")
        typer.echo(f"no energy_barrier_std: the model will not know its uncertainty {few}")
    for name, metrics in result.structures.items():
        typer.echo(f"{name}, held out: Pearson {metrics.pearson:.4f}, MAE {metrics.mae:.4f} eV")
    for kind, pooled in (("held out, pooled", result.held_out), ("validation", result.validation)):
        if pooled is not None:
            typer.echo(f"{kind}: Pearson {pooled.pearson:.4f}, MAE {pooled.mae:.4f} eV")
    typer.echo(f"next: symgnn export {result.best} -o model.pt")


class _EpochProgress:
    """A progress bar on a terminal; one line per epoch elsewhere. Gives the report function."""

    def __init__(self, epochs: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.epochs = epochs
        self.bar = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task("reading structures", total=epochs)

    def __enter__(self) -> Callable[[Epoch], None]:
        self.bar.start()
        return self._report

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def _report(self, epoch: Epoch) -> None:
        text = f"loss {epoch.loss:.4f}"
        if epoch.validation is not None:
            text += (
                f"  validation Pearson {epoch.validation.pearson:.4f} "
                f"(best {epoch.best_pearson:.4f}, epoch {epoch.best_epoch})"
            )
        if self.bar.disable:
            print(f"epoch {epoch.number}/{self.epochs}  {text}", file=sys.stderr, flush=True)
        else:
            self.bar.update(self.task, completed=epoch.number, description=text)
