"""``symgnn explain``: which edges and atoms the barrier of an atom comes from."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symgnn.cli.options import (
    ElementsOption,
    ModelOption,
    OneIndexOption,
    element_names,
    read_settings,
)
from symgnn.cli.progress import count_to
from symgnn.errors import Interrupted, SymGNNError

if TYPE_CHECKING:
    from symgnn.explain import Explainer
    from symgnn.explain.journal import Journal


_CHANGES = ("drop", "drop_random_same_hop", "drop_random")
"""Of the barrier: without the top edges, and without random ones by which to judge them."""


def explain(
    structure: Annotated[str, typer.Argument(help="A structure at an energy minimum.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A JSON file; a name in .gz is compressed."),
    ],
    atom: Annotated[
        list[int] | None, typer.Option("--atom", help="Index of an atom, from 0; repeatable.")
    ] = None,
    atoms: Annotated[
        str | None,
        typer.Option(
            "--atoms", help="all, random:N, an element, indices: 0,5,10-19, or column:NAME."
        ),
    ] = None,
    model: ModelOption = "cuzr-fast",
    elements: ElementsOption = None,
    index: OneIndexOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of masks and random edges.")] = 0,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Masks to average; two show how stable they are.")
    ] = 1,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Threads; 0: one for each core.")
    ] = 0,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Picture of the first explained atoms."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting, docs/interpretation.md; a wrong key lists all.",
        ),
    ] = None,
) -> None:
    """Explain barriers: which edges and which neighbors a prediction comes from.

    For every atom: the edge mask of GNNExplainer, integrated gradients, what happens without
    each near neighbor, and how much the prediction changes without the edges called important.
    The same command goes on where it was stopped; more atoms add to the file.

    Example: symgnn explain glass.xyz --atom 12 --atom 40 -o explanation.json --plot picture.png
    """
    from symgnn.errors import NovelStructureWarning
    from symgnn.explain import Explainer, ExplanationSettings
    from symgnn.explain.journal import Journal, output_alone
    from symgnn.files import check_output
    from symgnn.selection import chosen_atoms
    from symgnn.structures import read_structure

    if plot is not None:
        from symgnn.explain.plots import MOST_ATOMS, draw
        from symgnn.plots.style import check_format

        check_format(plot)
    check_output(output, structure)
    chosen = dict.fromkeys(atom or [])
    glass = read_structure(structure, elements=element_names(elements), index=index)
    if atoms is not None:
        chosen |= dict.fromkeys(chosen_atoms(atoms, glass))
    if not chosen:
        raise SymGNNError("no atom is chosen: give --atom INDEX, or --atoms random:10")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NovelStructureWarning)
        options = read_settings(settings or [], ExplanationSettings, seed=seed, seeds=seeds)
        explainer = Explainer(glass, model, options)
    for item in caught:
        print(f"warning: {structure}: {item.message}", file=sys.stderr)
    explainer.check(chosen)
    with output_alone(output):
        journal = Journal(output, explainer.provenance(Path(structure).name))
        _fill(journal, explainer, list(chosen), workers)
        summary = _summary(journal, list(chosen))
        shown = list(journal.explanations(list(chosen)[:MOST_ATOMS])) if plot is not None else []
        journal.finish(list(chosen))
    total = len(journal.done)
    more = f" ({total} in the file)" if total > len(chosen) else ""
    print(f"{structure} → {output}{more}: {summary}", file=sys.stderr)
    if plot is not None:
        draw(shown, glass.get_chemical_symbols(), plot)
        if len(chosen) > MOST_ATOMS:
            print(f"{plot} shows the first {MOST_ATOMS} atoms", file=sys.stderr)


def _fill(journal: Journal, explainer: Explainer, atoms: list[int], workers: int) -> None:
    """Explain what is missing, with a progress bar."""
    from symgnn.files import uninterrupted

    missing = [atom for atom in atoms if atom not in journal.done]
    run = explainer.explain(missing, workers=workers)
    try:
        with count_to(len(atoms), done=len(atoms) - len(missing)) as show:
            for explanation in run:
                with uninterrupted():
                    journal.add(explanation)
                show(len(journal.done & set(atoms)), "explained")
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; {len(journal.done & set(atoms))} of {len(atoms)} explanations are in"
            f" {journal.path}: the same command goes on"
        ) from None
    finally:
        run.close()


def _summary(journal: Journal, atoms: list[int]) -> str:
    import numpy as np

    tenth, kept = [], []
    for explanation in journal.explanations(atoms):
        fidelity = explanation.fidelity
        place = int(np.argmin(np.abs(fidelity.share - 0.1)))
        tenth.append([getattr(fidelity, name)[place] for name in _CHANGES])
        kept.append(explanation.stability)
    top, same_steps, same_lengths = np.mean(tenth, axis=0)
    count = "1 atom" if len(atoms) == 1 else f"{len(atoms)} atoms"
    stable = "" if np.isnan(kept).any() else f"; rank correlation of masks {np.mean(kept):.2f}"
    return (
        f"{count}; without the top 10% of edges the barrier changes by {top:.2g} eV, without"
        f" random ones of the same lengths and steps away by {same_steps:.2g} eV (same lengths"
        f" only: {same_lengths:.2g} eV){stable}"
    )
