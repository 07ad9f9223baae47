"""``symgnn challenge``: a task for other groups, and scores of what they submit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from symgnn.challenge.score import Scores
    from symgnn.evaluation import Evaluation

_UNKNOWN = "not stated; ask the organizer before you use or pass on the data."

challenge = typer.Typer(
    no_args_is_help=True,
    help="Pack labeled structures as a challenge for other groups, and score their predictions.\n\n"
    "Example: symgnn challenge pack a.xyz b.xyz c.xyz --hidden d.xyz -o challenge",
)


@challenge.command("pack")
def pack(
    structures: Annotated[
        list[Path], typer.Argument(help="Labeled structures that everybody may see, one a file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder; must not exist.")],
    hidden: Annotated[
        list[Path] | None,
        typer.Option("--hidden", metavar="FILE", help="A structure whose labels you keep."),
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", help="element_mean or density_regression.")
    ] = "element_mean",
    label_std: Annotated[
        float | None,
        typer.Option(
            "--label-std",
            min=0.0,
            help="Standard error of labels, eV, for files without energy_barrier_std.",
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Of the README.")] = (
        "Energy barriers of metallic glasses"
    ),
    source: Annotated[
        str, typer.Option("--source", help="Where structures and labels come from.")
    ] = "not stated.",
    license: Annotated[  # noqa: A002  the option's name
        str, typer.Option("--license", help="Of the data.")
    ] = _UNKNOWN,
) -> None:
    """Build a folder: structures, splits, README, datasheet, checksums and a baseline.

    The labels of hidden structures go to a file beside the folder, which you keep. The same inputs
    give the same bytes.

    Example: symgnn challenge pack a.xyz b.xyz --hidden c.xyz -o challenge --license CC-BY-4.0
    """
    from symgnn.challenge.pack import Provenance
    from symgnn.challenge.pack import pack as build
    from symgnn.cli.progress import count_structures

    with count_structures() as report:
        packed = build(
            structures,
            hidden or [],
            output,
            Provenance(title, source, license),
            baseline=baseline,
            label_std=label_std,
            report=report,
        )
    for names in packed.relatives:
        typer.echo(
            f"{', '.join(names)}: nearly the same structure, and left out together", err=True
        )
    typer.echo(f"{output}: {packed.challenge}")
    if packed.labels is not None:
        typer.echo(f"{packed.labels}: labels of the hidden structures; keep them to yourself")
    for track, evaluation in packed.baseline.items():
        typer.echo(f"baseline {baseline}, {_track(track)}: {_line(evaluation)}")


@challenge.command("score")
def score(
    submission: Annotated[
        list[Path], typer.Argument(help="Predictions: CSV or extended XYZ files.")
    ],
    labels: Annotated[
        Path,
        typer.Option(
            "--labels", help="The challenge folder (cross-validation), or the hidden labels."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write all scores here, as JSON.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a submission strictly, and score it beside the baseline.

    Example: symgnn challenge score submission.csv --labels challenge-labels.xyz -o scores.json
    """
    import json

    from symgnn.challenge.score import score as compare
    from symgnn.files import check_output, written_whole

    if output is not None:
        check_output(output, labels, *submission)
    scores = compare(submission, labels)
    text = json.dumps(scores.as_dict(), indent=2, sort_keys=True)
    if output is not None:
        with written_whole(output) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")
    if as_json:
        typer.echo(text)
    else:
        _print(scores)


def _print(scores: Scores) -> None:
    from symgnn.cli.evaluate import print_evaluation

    typer.echo(f"{scores.challenge}, {_track(scores.track)}")
    print_evaluation(scores.submission)
    typer.echo(f"submission: {_line(scores.submission)}")
    if scores.baseline is not None:
        typer.echo(f"baseline:   {_line(scores.baseline)}")
    if scores.ceiling is not None:
        typer.echo(
            f"ceiling by the noise of labels: Pearson {scores.ceiling.pooled:.4f} pooled,"
            f" {scores.ceiling.mean:.4f} mean"
        )


def _line(evaluation: Evaluation) -> str:
    assert evaluation.pooled is not None
    assert evaluation.mean is not None
    return (
        f"Pearson {evaluation.pooled.pearson:.4f} pooled, {evaluation.mean['pearson']:.4f} mean;"
        f" MAE {evaluation.mean['mae']:.4f} eV"
    )


def _track(name: str) -> str:
    return {"train": "cross-validation", "held_out": "held out"}[name]


@challenge.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(help="What `symgnn challenge pack` wrote.")],
) -> None:
    """Compare every file of a challenge with its checksum.

    Example: symgnn challenge verify challenge
    """
    from symgnn.challenge.folder import verify as check

    name, files = check(folder)
    typer.echo(f"{folder}: {name}, {files} files as packed")
