"""``symgnn check``: the same barriers in Python and in LAMMPS, on one rank and on two?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from symgnn.cli.options import DeviceOption, ElementsOption, element_names
from symgnn.cli.warned import warnings_at_once
from symgnn.errors import StructureError, SymGNNError

if TYPE_CHECKING:
    from symgnn.check import Comparison


def check(
    model: Annotated[str, typer.Argument(help="A model file, or the name of a shipped model.")],
    structure: Annotated[
        str | None,
        typer.Option(
            "--structure",
            help="A file that ASE or LAMMPS writes; its first structure is taken. Default: the"
            " sample glass, its species renamed to the elements of the model; models of other"
            " alloys need a glass of theirs.",
        ),
    ] = None,
    elements: ElementsOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Run a model in Python and in LAMMPS, on 1 and 2 MPI ranks, and compare the barriers.

    Exit code 0: all agree to rounding. 1: they differ, or could not be compared.

    Example: symgnn check cuzr --structure glass.data --elements Cu Zr
    """
    from symgnn.check import compare_with_lammps

    if structure is None:
        from symgnn.check import default_glass

        atoms = default_glass(model, device)
    else:
        from symgnn.structures import read_structures

        found = read_structures(structure, elements=element_names(elements), index=0)
        if not found:
            raise StructureError(f"{structure} holds no structure")
        atoms = found[0]
    with warnings_at_once():
        comparisons = list(compare_with_lammps(model, atoms, device=device))
    _print_table(model, comparisons)
    failed = [comparison for comparison in comparisons if not comparison.passed]
    if failed:
        largest = max(comparison.largest_difference for comparison in failed)
        raise SymGNNError(
            f"{model} gives other barriers in LAMMPS than in Python, by up to {largest:.1e} eV:"
            " export it again, and report it if that does not help"
        )


def _print_table(model: str, comparisons: list[Comparison]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{model}: LAMMPS against Python", title_justify="left")
    for heading in (
        "MPI ranks",
        "atoms",
        "mean barrier (eV)",
        "largest difference (eV)",
        "allowed",
    ):
        table.add_column(heading, justify="right")
    table.add_column("")
    for comparison in comparisons:
        table.add_row(
            str(comparison.ranks),
            str(comparison.atoms),
            f"{comparison.mean_barrier:.4f}",
            f"{comparison.largest_difference:.1e}",
            f"{comparison.allowed:.0e}",
            "ok" if comparison.passed else "FAILED",
        )
    Console().print(table)
