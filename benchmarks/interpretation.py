"""What do models look at? Explanations of many atoms, against null models.

Explains atoms of the labeled glasses (of the sample glass where they are missing), compares the
edges and neighbors that matter most with random ones, and writes interpretation.txt, .json and
.png. Explanations are kept and used again.

    python benchmarks/interpretation.py [MODEL ...] [--atoms 30] [--output benchmarks/results]

The committed results: `cuzr-fast --atoms 30`, and a network of the paper's architecture that has
learned next to nothing, `--atoms 6`: the best epoch, the second, of 40 at a learning rate of 5e-3
(otherwise row symgnn_paper of `table1.py`, standard split, seed 0), stopped early and exported to
symgnn.pt.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from published import NAMES, PUBLISHED
from symgnn.errors import NovelStructureWarning
from symgnn.explain import (
    Explainer,
    Explanation,
    ExplanationSettings,
    read_explanations,
    read_provenance,
)
from symgnn.explain.journal import Journal
from symgnn.explain.plots import draw_histograms
from symgnn.explain.statistics import (
    MEASURES,
    NULLS,
    Comparison,
    compare,
    histograms,
    interval,
    overlap,
    tables,
)
from symgnn.samples import sample_glass
from symgnn.selection import chosen_atoms
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

ROOT = Path(__file__).resolve().parents[1]
TOP = 50  # edges, as in the paper's figures
STABLE = 8  # atoms whose masks are made twice
RINGS = (0.0, 2.6, 2.9, 3.2, 3.8, 4.4, 5.0, 6.0, 7.0)  # Å, of neighbors that were left out

SCORES: dict[str, Callable[[Explanation], np.ndarray]] = {
    "edge mask": lambda explanation: explanation.importance,
    "integrated gradients": lambda explanation: np.abs(explanation.integrated_gradients),
}


def structures() -> dict[str, Atoms]:
    """Glasses by name."""
    if not PUBLISHED.is_dir():
        return {"sample": sample_glass()}
    return {name: read_structures(PUBLISHED / f"{name}.xyz")[0] for name in NAMES}


def explanations(
    model: str, name: str, glass: Atoms, atoms: int, folder: Path
) -> list[Explanation]:
    """Explanations of random atoms of a glass, from their file if it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NovelStructureWarning)
        explainer = Explainer(glass, model)
    path = folder / f"{name}.json"
    provenance = explainer.provenance(f"{name}.xyz")
    chosen = chosen_atoms(f"random:{atoms}", glass)
    if path.is_file() and read_provenance(path) == provenance:
        found = {explanation.atom: explanation for explanation in read_explanations(path)}
        if set(chosen) <= set(found):
            return [found[atom] for atom in chosen]
    journal = Journal(path, provenance)
    for explanation in explainer.explain([atom for atom in chosen if atom not in journal.done]):
        journal.add(explanation)
        print(f"\r{model} {name}: {len(journal.done)} of {atoms}", end="", flush=True)
    print()
    found = list(journal.explanations(chosen))
    journal.finish(chosen)
    return found


def study(model: str, atoms: int, folder: Path) -> tuple[list[str], dict, dict]:
    """Text, numbers and histograms of one model."""
    found: list[Explanation] = []
    symbols: list[np.ndarray] = []
    groups: list[str] = []
    for name, glass in structures().items():
        new = explanations(model, name, glass, atoms, folder / Path(model).stem)
        found += new
        symbols += [np.array(glass.get_chemical_symbols())] * len(new)
        groups += [name] * len(new)
    title = Path(model).stem
    lines = [
        f"{title}: {len(found)} atoms of {len(set(groups))} glasses",
        "Mean [95% interval], by bootstrap over glasses, then atoms",
        "",
    ]
    values: dict = {"atoms": len(found), "glasses": sorted(set(groups))}
    values["fidelity"] = fidelity(found, groups, lines)
    values["stability"] = stability(model, lines)
    values["agreement"] = agreement(found, groups, lines)
    values["left_out"] = left_out(found, groups, lines)
    pictures = {}
    for kind, scores in SCORES.items():
        comparisons = compare(tables(found, symbols, scores, TOP), groups)
        values[kind] = [asdict(item) | {"survives": item.survives} for item in comparisons]
        same = overlap(found, scores, TOP)
        values[f"{kind}, overlap"] = same
        lines += table(kind, comparisons, same)
        pictures[f"{title}: the {TOP} edges of an atom with the most by {kind}"] = histograms(
            found, scores, TOP
        )
    return lines, values, pictures


def fidelity(found: list[Explanation], groups: list[str], lines: list[str]) -> list[dict]:
    """How much the barrier changes without the top edges, in multiples of random ones."""
    lines.append("Change of the barrier (eV) without the top edges, or with nothing else; without")
    lines.append("random edges of the same lengths, and as many steps away; ratio of means")
    lines.append(
        f"{'share':>7}{'without the top':>26}{'only the top':>26}{'random':>9}{'ratio':>7}"
        f"{'same steps':>12}{'ratio':>7}"
    )
    rows = []
    for number, share in enumerate(found[0].fidelity.share):
        drop, keep, random, near = (
            interval(np.array([getattr(item.fidelity, name)[number] for item in found]), groups)
            for name in ("drop", "keep", "drop_random", "drop_random_same_hop")
        )
        rows.append(
            {
                "share": share,
                "drop": drop,
                "keep": keep,
                "random": random,
                "random_same_steps": near,
            }
        )
        lines.append(
            f"{share:7.1%}{ranged(drop):>26}{ranged(keep):>26}{random[0]:9.3f}"
            f"{drop[0] / random[0]:7.1f}{near[0]:12.3f}{drop[0] / near[0]:7.1f}"
        )
    lines.append("")
    return rows


def stability(model: str, lines: list[str]) -> dict[str, float]:
    """Rank correlation of masks from two seeds, on a few atoms of the first glass."""
    name, glass = next(iter(structures().items()))
    settings = ExplanationSettings(seeds=2, leave_out=0, draws=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NovelStructureWarning)
        explainer = Explainer(glass, model, settings)
    atoms = chosen_atoms(f"random:{STABLE}", glass)
    found = np.array([item.stability for item in explainer.explain(atoms)])
    lines.append(
        f"Rank correlation of the masks from two seeds, {STABLE} atoms of {name}: mean"
        f" {found.mean():.3f}, lowest {found.min():.3f}"
    )
    lines.append("")
    return {"mean": float(found.mean()), "lowest": float(found.min())}


def agreement(found: list[Explanation], groups: list[str], lines: list[str]) -> dict:
    """Rank correlations between the methods, within each receptive field."""
    rows: dict[str, list[float]] = {
        "mask and |integrated gradients|, all edges": [],
        "mask and |integrated gradients|, edges of the atom itself": [],
        "|leave one out| and largest mask of a neighbor's edges": [],
        "|leave one out| and |integrated gradients| summed over a neighbor's edges": [],
    }
    for item in found:
        gradients = np.abs(item.integrated_gradients)
        own = item.edges[:, 0] == 0
        tried = np.isfinite(item.leave_one_out)
        change = np.abs(item.leave_one_out[tried])
        sent = np.bincount(item.edges[:, 1], item.integrated_gradients, len(item.atoms))
        pairs = (
            (item.importance, gradients),
            (item.importance[own], gradients[own]),
            (change, item.atom_importance[tried]),
            (change, np.abs(sent)[tried]),
        )
        for row, (first, second) in zip(rows.values(), pairs, strict=True):
            constant = np.ptp(first) == 0.0 or np.ptp(second) == 0.0
            row.append(np.nan if constant else float(spearmanr(first, second).statistic))
    result = {name: interval(np.array(row), groups) for name, row in rows.items()}
    lines.append("Rank correlation within a receptive field")
    lines += [f"  {name}: {ranged(value)}" for name, value in result.items()]
    lines.append("")
    return result


def left_out(found: list[Explanation], groups: list[str], lines: list[str]) -> list[dict]:
    """What it does to the barrier to remove one neighbor, by its distance."""
    lines.append("Change of the barrier (eV) when one neighbor is removed, by its distance")
    rows = []
    for low, high in pairwise(RINGS):
        sizes, signed = [], []
        for item in found:
            ring = (item.distances >= low) & (item.distances < high)
            change = item.leave_one_out[ring & np.isfinite(item.leave_one_out)]
            sizes.append(np.abs(change).mean() if len(change) else np.nan)
            signed.append(change.mean() if len(change) else np.nan)
        if np.isfinite(sizes).sum() < len(found) / 10:
            continue
        size, sign = interval(np.array(sizes), groups), interval(np.array(signed), groups)
        rows.append({"from": low, "to": high, "absolute": size, "signed": sign})
        lines.append(
            f"  {low:3.1f} to {high:3.1f} Å: absolute {ranged(size)}, signed {ranged(sign)}"
        )
    lines.append("")
    return rows


def table(kind: str, comparisons: list[Comparison], same: dict[str, float]) -> list[str]:
    """Lines of one table."""
    lines = [
        f"The {TOP} edges with the most by {kind}, against as many random edges",
        "(of which are the same: "
        + ", ".join(f"{null} {share:.0%}" for null, share in same.items())
        + ")",
        "",
    ]
    for measure, meaning in MEASURES.items():
        rows = {item.null: item for item in comparisons if item.measure == measure}
        lines.append(f"  {meaning}: {rows[NULLS[0]].selected:.3f}")
        for null, item in rows.items():
            nothing = not item.survives or abs(item.difference) < 5e-4
            lines.append(
                f"    random, {null}: {item.random:.3f}, difference {item.difference:+.3f}"
                f" [{item.low:+.3f}, {item.high:+.3f}]{'  (no difference)' if nothing else ''}"
            )
    return [*lines, ""]


def ranged(values: tuple[float, float, float]) -> str:
    """A mean with its interval."""
    mean, low, high = values
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Explain what is missing, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["cuzr-fast"])
    parser.add_argument(
        "--atoms", type=int, nargs="+", default=[30], help="of each glass; one number per model"
    )
    parser.add_argument("--explanations", type=Path, default=ROOT / "build" / "interpretation")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    text: list[str] = []
    numbers: dict = {}
    pictures: dict = {}
    counts = arguments.atoms + arguments.atoms[-1:] * len(arguments.models)
    for model, atoms in zip(arguments.models, counts, strict=False):
        lines, values, drawn = study(model, atoms, arguments.explanations)
        text += lines
        numbers[Path(model).stem] = values
        pictures |= drawn
    (arguments.output / "interpretation.txt").write_text("\n".join(text).rstrip() + "\n")
    rounded = json.loads(json.dumps(numbers), parse_float=lambda value: round(float(value), 5))
    (arguments.output / "interpretation.json").write_text(json.dumps(rounded, indent=1) + "\n")
    draw_histograms(pictures, arguments.output / "interpretation.png")
    print("\n".join(text))


if __name__ == "__main__":
    main()
