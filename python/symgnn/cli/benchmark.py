"""``symgnn benchmark``: speed and memory of annotation, and its cost in a running simulation."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from symgnn.cli.options import DeviceOption
from symgnn.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from symgnn.benchmark import Benchmark, LiveRow, Row, Step

_ROWS = {
    "annotation": "annotation",
    "eager": "plain torch",
    "eam_step": "EAM step",
    "neighbor_list": "neighbor list",
    "limit": "arithmetic limit",
}
_RATIOS = {
    "eager / annotation": "plain torch takes {} times as long",
    "annotation / limit": "annotation takes {} times as long as its arithmetic",
    "annotation / EAM step": "annotation takes as long as {} EAM steps",
    "neighbor list / annotation": "of which the neighbor list is {}",
}


def benchmark(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A model file, the name of a shipped model, or paper: the paper's network with"
            " random weights.",
        ),
    ] = "cuzr-fast",
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            metavar="1000 8000",
            help="Numbers of atoms; default 1000 8000 64000, with --live 8000.",
        ),
    ] = None,
    threads: Annotated[
        str,
        typer.Option(
            "--threads",
            metavar="1 2",
            help="Numbers of CPU threads; LAMMPS runs on as many MPI ranks.",
        ),
    ] = "1",
    device: DeviceOption = "auto",
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Measurements of each kind, in turn.")
    ] = 3,
    live: Annotated[
        bool,
        typer.Option("--live", help="Measure LAMMPS runs with annotation and without instead."),
    ] = False,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Of a --live run; default 10000.")
    ] = None,
    every: Annotated[
        int | None,
        typer.Option("--every", min=1, help="Steps from one annotation to the next; default 1000."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.json", help="All that was measured.")
    ] = Path("benchmark.json"),
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Picture: seconds over atoms."),
    ] = None,
) -> None:
    """Measure time and memory of annotation on this machine.

    They stand beside the same network in plain torch, one EAM step of LAMMPS,
    the neighbor list alone, and the network's arithmetic at the speed of a large
    matrix product. With --live, EAM runs with annotation on the way stand beside
    the same runs without. The JSON grows with every measurement; Ctrl-C keeps it.

    Examples:

      symgnn benchmark --sizes 1000 8000 --threads 1 2 --plot speed.png

      symgnn benchmark --model paper --sizes 1000000 --rounds 1

      symgnn benchmark --live --steps 10000 --every 1000
    """
    counts = _numbers(threads, "--threads")
    if not live and (steps is not None or every is not None):
        raise typer.BadParameter("--steps and --every belong to --live runs: add it")
    if live and plot is not None:
        raise typer.BadParameter("--plot draws times of annotation: leave it out, or --live")
    atoms = _numbers(sizes or ("8000" if live else "1000 8000 64000"), "--sizes")
    steps, every = steps or 10_000, every or 1_000

    from symgnn import benchmark as measuring

    try:
        measuring.check_steps(steps, every)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    if plot is not None:
        from symgnn.plots.style import check_format

        check_format(plot)
    with measuring.model_file(model) as path:
        result = measuring.start(path, device)
        if live:
            work = measuring.measure_live(
                result, path, sizes=atoms, ranks=counts, steps=steps, every=every, rounds=rounds
            )
        else:
            work = measuring.measure_annotation(
                result, path, sizes=atoms, threads=counts, rounds=rounds
            )
        _go_through(work, result, output)
    _print(result)
    if plot is not None:
        from symgnn.benchmark_plot import draw

        draw(result, plot)


def _numbers(text: str, option: str) -> list[int]:
    """``1000 8000`` or ``1000,8000`` as positive integers, each once."""
    words = text.replace(",", " ").split()
    if not words or not all(word.isdigit() and int(word) > 0 for word in words):
        raise typer.BadParameter(f"{option} takes positive whole numbers, not '{text}'")
    return list(dict.fromkeys(int(word) for word in words))


def _go_through(work: Iterator[Step], result: Benchmark, output: Path) -> None:
    """Measure, with a progress bar on a terminal, and write the JSON after every measurement."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    try:
        with bar:
            task = bar.add_task("")
            for step in work:
                bar.update(task, completed=step.done, total=step.total, description=step.text)
                result.write(output)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what was measured so far is in {output}") from None
    finally:
        result.write(output)


def _print(result: Benchmark) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    machine = result.machine
    console.print(
        f"{result.model} on {machine.get('gpu', machine['processor'])},"
        f" {machine['cores']} cores, torch {machine['torch']}"
    )
    for row in result.annotation:
        console.print(_times(row))
        for line in _remarks(row):
            console.print(line)
    for live_row in result.live:
        console.print(_live_line(live_row))


def _times(row: Row) -> Table:
    """Medians over the rounds."""
    from rich import box
    from rich.table import Table

    edges = f", {row.edges} edges" if row.edges else ""
    title = f"{row.atoms} atoms{edges}, threads: {row.threads}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("best (s)", "first (s)", "memory (MB)"):
        table.add_column(heading, justify="right")
    for kind, name in _ROWS.items():
        if kind in row.series:
            series = row.series[kind]
            table.add_row(
                name,
                f"{median(series.best):.4g}",
                f"{median(series.first):.4g}" if series.first else "",
                f"{median(series.memory):.0f}" if series.memory else "",
            )
    return table


def _remarks(row: Row) -> Iterator[str]:
    """Ratios with their range over the rounds, shares, arithmetic, and what was left out."""
    for name, words in _RATIOS.items():
        if name in row.ratios:
            middle, low, high = (f"{value:.3g}" for value in vars(row.ratios[name]).values())
            yield f"{words.format(middle)} ({low} to {high})"
    if row.shares:
        words = ", ".join(f"{name.replace('_', ' ')} {s:.1%}" for name, s in row.shares.items())
        yield f"pieces, timed one by one: {words}"
    if row.gigaflop is not None and row.gigaflop_per_second:
        rate = median(row.gigaflop_per_second)
        yield f"arithmetic: {row.gigaflop:.3g} GFLOP; matrix product: {rate:.3g} GFLOP/s"
    for kind, reason in row.skipped.items():
        yield f"left out, {_ROWS.get(kind, kind)}: {reason}"


def _live_line(row: LiveRow) -> str:
    run = f"{row.atoms} atoms, ranks: {row.ranks}, {row.steps} steps, annotated every {row.every}"
    if row.ratio is None:
        return f"{run}: not measured"
    added, low, high = (f"{value - 1:+.1%}" for value in vars(row.ratio).values())
    without, annotated = median(row.plain), median(row.annotated)
    return f"{run}: {without:.4g} s without, {annotated:.4g} s with: {added} ({low} to {high})"
