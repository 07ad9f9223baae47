"""``symgnn topology``: rings and voids around an atom, and the edges that matter to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symgnn.cli.options import ElementsOption, OneIndexOption, element_names
from symgnn.errors import SymGNNError

if TYPE_CHECKING:
    from ase import Atoms

    from symgnn.explain import Explanation
    from symgnn.explain.topology import ImportantEdges, Topology

_DIMENSIONS = ("components", "rings", "voids")


def topology(
    structure: Annotated[
        str, typer.Argument(help="A file that ASE reads, a LAMMPS data file or text dump.")
    ],
    atom: Annotated[int, typer.Option("--atom", help="Index of the atom, from 0.")],
    explanation: Annotated[
        Path | None,
        typer.Option(
            "--explanation",
            help="What `symgnn explain` wrote: do rings pass through the edges that matter to the"
            " model more often than through others of the same length?",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .json file; without it, a summary.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="A picture: .png, .pdf or .svg.")
    ] = None,
    radius: Annotated[
        float, typer.Option("--radius", min=0.1, help="Of the surroundings of interest, Å.")
    ] = 6.0,
    radii: Annotated[
        str | None,
        typer.Option(
            "--radii",
            metavar="Cu=1.28,Zr=1.59",
            help="Of elements, Å, or `equal`; without it, half the distance of neighbors in the"
            " crystal of the element.",
        ),
    ] = None,
    share: Annotated[
        float,
        typer.Option("--share", min=0.001, max=0.5, help="Of the edges, how many are important."),
    ] = 0.1,
    elements: ElementsOption = None,
    index: OneIndexOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random edges.")] = 0,
) -> None:
    """Find rings and voids around an atom, at all scales, by persistent homology.

    Balls grow around the atoms; a ring or void is born when they close around it, and dies when
    they fill it. Scales are radii of the balls of the smallest element, in Å.

    Example: symgnn topology glass.xyz --atom 12 -o topology.json --plot diagram.png
    """
    from importlib.metadata import version

    import numpy as np

    from symgnn.explain.homology import atom_weights
    from symgnn.explain.topology import important_edges, write_topology
    from symgnn.explain.topology import topology as find
    from symgnn.files import check_output
    from symgnn.structures import read_structure

    if output is not None:
        if output.suffix != ".json":
            raise SymGNNError(f"-o {output}: topology is written as JSON, give a name in .json")
        check_output(output, structure, *([] if explanation is None else [explanation]))
    if plot is not None:
        from symgnn.plots.style import check_format

        check_format(plot)
    atoms = read_structure(structure, elements=element_names(elements), index=index)
    used = _radii(radii, atoms)
    explained = None if explanation is None else _explanation(explanation, atom)
    found = find(atoms, atom, radius=radius, weights=atom_weights(atoms, used))
    edges = None
    if explained is not None:
        edges = important_edges(found, explained, np.random.default_rng(seed), share=share)
    if output is not None:
        provenance: dict[str, object] = {
            "symgnn": version("symgnn"),
            "structure": {"file": Path(structure).name, "index": index or 0, "atoms": len(atoms)},
            "atom": atom,
            "element": atoms.symbols[atom],
            "radii": used,
            "settings": {"share": share, "seed": seed},
        }
        write_topology(output, found, edges, provenance)
    for line in _summary(found, edges):
        typer.echo(line)
    if plot is not None:
        from symgnn.explain.topology_plot import draw

        draw(found, atoms.get_chemical_symbols(), edges, plot)


def _radii(text: str | None, atoms: Atoms) -> dict[str, float]:
    """Radius of every element of the structure, Å."""
    from symgnn.explain.homology import element_radius

    radii = {symbol: element_radius(symbol) for symbol in sorted(set(atoms.symbols))}
    if text == "equal":
        return dict.fromkeys(radii, min(radii.values()))
    for part in (text or "").split(",") if text else ():
        symbol, _, value = part.partition("=")
        try:
            radii[symbol.strip()] = float(value)
        except ValueError:
            raise SymGNNError(
                f"--radii {text}: write the radii of elements as Cu=1.28,Zr=1.59, or equal"
            ) from None
    return radii


def _explanation(path: Path, atom: int) -> Explanation:
    """The explanation of the atom."""
    from symgnn.explain import read_explanations

    explanations = {each.atom: each for each in read_explanations(path)}
    if atom not in explanations:
        several = ", ".join(str(number) for number in list(explanations)[:10])
        more = ", …" if len(explanations) > 10 else ""
        raise SymGNNError(
            f"{path} does not explain atom {atom} but atoms {several}{more}: run"
            f" `symgnn explain` for it, or choose one of these"
        )
    return explanations[atom]


def _summary(found: Topology, edges: ImportantEdges | None) -> list[str]:
    """What is there, in lines."""
    around = found.environment
    lines = [f"atom {around.atoms[0]}, {around.radius:g} Å around it; births and deaths in Å"]
    for dimension, name in enumerate(_DIMENSIONS):
        features = found.of_dimension(dimension)
        if not features:
            lines.append(f"{name:10s}    0")
            continue
        longest = max(features, key=lambda feature: feature.persistence)
        lines.append(
            f"{name:10s} {len(features):4d}, the longest-lived from {longest.birth:.3f} to"
            f" {longest.death:.3f}"
        )
    if found.inexact:
        lines.append(
            f"{found.inexact} of them die beyond {around.exact_below:.2f} Å, where the cluster cut"
            " out of the structure may differ from it"
        )
    if edges is not None:
        result = edges.comparison
        low, high = result.ratio_interval
        lines.append(
            f"{result.matched} of {len(edges.edges)} edges are important: {result.observed:.2f}"
            f" rings pass through each, {result.expected:.2f} through random ones of the same"
            f" length; ratio {result.ratio:.2f} ({low:.2f} to {high:.2f}), p = {result.p_value:.3f}"
        )
        if result.unmatched:
            lines.append(
                f"{result.unmatched} important edges have no other of their length: left out"
            )
    return lines
