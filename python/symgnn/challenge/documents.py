"""README and datasheet of a challenge, from what ``challenge.json`` says."""

from __future__ import annotations

from typing import Any

from symgnn.challenge.folder import CHECKSUMS, EXAMPLES, HELD_OUT, SPLITS, TRAIN

_README = """\
# {title}

Predict the energy barrier of every atom of a glass from its structure: the mean energy, in eV, that
saddle points around the atom lie above the minimum.

- Challenge: `{challenge}`, made with symgnn {symgnn}
- Source: {source}
- License: {license}

## Data

Extended XYZ: elements, positions and cell in Å; structures in `train/` carry the label
`energy_barrier` in eV, those in `held_out/`, if there are any, none. `DATASHEET.md` describes every
structure; `symgnn challenge verify .` (or `sha256sum --check {checksums}`) finds files that were
changed.

## Tracks

`{splits}` lists them.

{tracks}

## Submission

One CSV file. The first line names the challenge; every atom of every structure of the track has one
row; atoms are numbered from 0 in the order of the file. `energy_barrier_std`, your standard
uncertainty in eV, may be left out as a whole column. Rows may have any order.

```
# challenge: {challenge}
structure,atom,energy_barrier,energy_barrier_std
{example},0,1.523000,0.210000
```

Or the extended XYZ files of the challenge with these columns, comment lines kept: what `symgnn
evaluate MODEL FILES --predictions FOLDER` writes.

## Scores

- Pearson and Spearman correlation, mean absolute error, root mean square error: for each structure,
  their mean over structures, and over all atoms together (pooled);
- 95% bootstrap intervals of both Pearson correlations, over structures (with two or more of them);
- AUC: how well the atoms with the 5% lowest, and highest, labels of a structure are found; .5 is
  chance;
- slope, offset and bias of labels against predictions;
- with `energy_barrier_std`: share of labels inside the central intervals.

Atoms whose label is NaN do not count.

## Baseline

`{baseline}`:

{scores}
"""

_CROSS_VALIDATION = (
    "- **Cross-validation.** Predict each structure of `train/` with a model that was fitted to\n"
    "  those that `{splits}` lists for it, and chosen by these alone: neither the structure nor\n"
    "  what is nearly the same. You have these labels: this track rests on your word.\n"
    "  `symgnn challenge score SUBMISSION.csv --labels .` scores it. Example: `{file}`."
)
_HELD_OUT = (
    "- **Held out.** Predict the structures of `held_out/` with whatever you learn from `train/`.\n"
    "  The organizer has the labels and scores your file. Example: `{file}`."
)

_DATASHEET = """\
# Datasheet: {title}

Challenge `{challenge}`.

| | |
|---|---|
| source | {source} |
| license | {license} |
| label | `energy_barrier`, eV, one number per atom |
| structures | {count}, {atoms} atoms |
| made with | symgnn {symgnn} |

Mean and standard deviation are of the labels, in eV; those of held-out structures are not told.
The standard error of labels is the root mean square over atoms, where it is known. The checksum is
that of the organizer's file, from which elements, cell, positions and labels were taken.

{heading}
{rows}
"""

_HEADING = (
    "| structure | part | atoms | composition | volume (Å³) | labeled | mean | s.d. | label s.e. |"
    " sha256 of the source |\n|---|---|---|---|---|---|---|---|---|---|"
)


def readme(about: dict[str, Any]) -> str:
    """What a participant reads first."""
    scores = about["baseline"]["scores"]
    texts = {TRAIN: _CROSS_VALIDATION, HELD_OUT: _HELD_OUT}
    track = HELD_OUT if HELD_OUT in scores else TRAIN
    example = min(name for name, of in about["structures"].items() if of["part"] == track)
    return _README.format(
        **_plain(about),
        checksums=CHECKSUMS,
        splits=SPLITS,
        tracks="\n".join(
            text.format(file=EXAMPLES[track], splits=SPLITS)
            for track, text in texts.items()
            if track in scores
        ),
        example=example,
        baseline=about["baseline"]["name"],
        scores=_scores(scores),
    )


def datasheet(about: dict[str, Any]) -> str:
    """Where the data come from, and what is in them."""
    structures = about["structures"]
    return _DATASHEET.format(
        **_plain(about),
        heading=_HEADING,
        count=len(structures),
        atoms=sum(structure["atoms"] for structure in structures.values()),
        rows="\n".join(_row(name, structure) for name, structure in structures.items()),
    )


def _plain(about: dict[str, Any]) -> dict[str, str]:
    return {name: about[name] for name in ("title", "challenge", "source", "license", "symgnn")}


def _row(name: str, structure: dict[str, Any]) -> str:
    composition = " ".join(f"{element}{n}" for element, n in structure["composition"].items())
    numbers = (structure.get(k) for k in ("mean", "standard_deviation", "label_standard_error"))
    cells = [
        name,
        structure["part"].replace("_", " "),
        structure["atoms"],
        composition,
        f"{structure['volume']:.1f}",
        structure["labeled"],
        *("" if number is None else f"{number:.3f}" for number in numbers),
        f"`{structure['source_sha256']}`",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _scores(tracks: dict[str, dict[str, float]]) -> str:
    lines = [
        "| track | Pearson, pooled | Pearson, mean | Spearman, mean | MAE (eV), mean |",
        "|---|---|---|---|---|",
    ]
    for track, scores in tracks.items():
        name = {TRAIN: "cross-validation", HELD_OUT: "held out"}[track]
        lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in scores.values())} |")
    return "\n".join(lines)
