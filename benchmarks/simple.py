"""How few named quantities explain the barriers, and the shipped model `simple`: one command.

Forward selection among averages of local quantities (`symgnn.models.formula`), once for the labels
and once for the predictions of `cuzr-fast`. All of it, the selection and the smoothing length
included, is done anew without each of the seven labeled glasses, and scored on the glass left out.
What `cuzr-fast` predicts for a glass, and what a formula learns from it, come from its fit without
that glass. The number of terms, at most eight, is the smallest whose mean correlation lies within
one standard error (over glasses) of the best.

    python benchmarks/simple.py [FOLDER] [--ship] [--copies build/cuzr/thermal]

Quantities of the glasses are kept in FOLDER and computed once (2 min; needs OVITO for Voronoi
cells). At the end the preset `simple` is fitted to all seven glasses; with --ship it replaces the
model in the package. With --copies (of `thermal_copies.py`) it is applied to averages over 1 ps at
300 K.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch

import symgnn.models.formula
import symgnn.operators  # cuzr-fast runs on them
from comparison.glasses import code_of
from published import NAMES, PUBLISHED, say_if_missing
from relatives import families_of
from symgnn.annotator import NOVEL, PRETRAINED, Annotator
from symgnn.export import export_checkpoint
from symgnn.files import written_whole
from symgnn.graph import build_graph
from symgnn.models.formula import Formula, FormulaConfig, Term
from symgnn.structures import read_structures
from symgnn.training.config import dump_config, preset
from symgnn.training.dataset import checksum
from symgnn.training.formula import fit_formula

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

ELEMENTS = ["Cu", "Zr"]
SMOOTHING = (2.0, 2.5, 3.0)
MOST, READABLE = 12, 8
DRAWS = 2000
NEW_SHARE = 0.02
"""Of a candidate's variance that terms before it must leave, or it only repeats them."""


def candidates() -> list[Term]:
    """Every quantity on a grid of its value, of all neighbors and of those of each element."""
    grids: dict[str, list[float | None]] = {
        "bonding": [5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 10.0],
        "density": [round(0.84 + 0.04 * k, 2) for k in range(20)],
        "count": [round(0.88 + 0.04 * k, 2) for k in range(19)],
        "stretch": [None],
        "compression": [None],
        "bond_order": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    }
    return [
        Term(quantity=quantity, value=value, neighbors=neighbors)
        for quantity, values in grids.items()
        for value in values
        for neighbors in (None, *ELEMENTS)
    ]


FOREIGN = ("Voronoi volume", "Voronoi <0,0,12,0>", "share of Zr", "potential energy")
"""What the exported formula cannot have: Voronoi cells, ratios of counts, the potential."""


@dataclass
class Glass:
    """Averages [smoothing][N, candidates + foreign], species, label and fits of cuzr-fast [N, M].

    ``family`` is that of the glass among the labeled ones (`relatives.py`): M is one fit to all and
    one without each family.
    """

    averages: list[np.ndarray]
    own: np.ndarray
    species: np.ndarray
    label: np.ndarray
    fast: np.ndarray
    family: int


def without(glasses: list[Glass], test: int) -> list[int]:
    """The glasses to train on where one and its relatives are left out."""
    return [n for n, glass in enumerate(glasses) if glass.family != glasses[test].family]


def read_glass(name: str, family: int, folder: Path, terms: list[Term]) -> Glass:
    """From FOLDER, or computed and kept there as long as glass, terms and model stay the same."""
    file, model = PUBLISHED / f"{name}.xyz", PRETRAINED / "cuzr-fast.pt"
    (atoms,) = read_structures(file)
    path = folder / f"{name}-{recipe(file, model, terms)}.npz"
    if not path.is_file():
        columns = columns_of(atoms, model, terms)
        with written_whole(path) as unfinished:
            np.savez(unfinished, **columns)
    with np.load(path) as content:
        return Glass(
            list(content["averages"].astype(np.float64)),
            content["own"].astype(np.float64),
            content["species"],
            atoms.arrays["energy_barrier"],
            content["fast"].astype(np.float64),
            family,
        )


def recipe(file: Path, model: Path, terms: list[Term]) -> str:
    """Text that changes when what is kept of a glass does, for the name of its file."""
    told = [term.model_dump() for term in terms], SMOOTHING, FOREIGN
    text = json.dumps(told) + code_of(symgnn.models.formula)
    for path in (file, model):
        text += checksum(path)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def columns_of(atoms: Atoms, model: Path, terms: list[Term]) -> dict[str, np.ndarray]:
    """``averages``, ``own``, ``species`` and ``fast`` of a glass."""
    formula = Formula(FormulaConfig(terms=terms)).float()
    graph = build_graph(atoms, formula.cutoff, ELEMENTS)
    with torch.inference_mode():
        node, edge = formula.start(graph.species, graph.edge_vector)
        node, _ = formula.step(0, node, edge, graph.edge_index)
        own = torch.cat([node[:, :-1], torch.as_tensor(foreign(atoms)).to(node)], dim=1)
        formula.terms = own.shape[1]
        averages = []
        for formula.smoothing in SMOOTHING:
            averages.append(formula.step(1, own, edge, graph.edge_index)[0].numpy())
        fast = torch.jit.load(model)
        node, edge = fast.start(graph.species, graph.edge_vector)
        for layer in range(Annotator(str(model)).metadata["layers"]):
            node, edge = fast.step(layer, node, edge, graph.edge_index)
    return {
        "averages": np.array(averages),
        "own": own.numpy(),
        "species": graph.species.numpy(),
        "fast": node[:, : fast.members].numpy(),
    }


def foreign(atoms: Atoms) -> np.ndarray:
    """Quantities [N, 4] of FOREIGN."""
    from ovito.io.ase import ase_to_ovito
    from ovito.modifiers import VoronoiAnalysisModifier

    data = ase_to_ovito(atoms)
    data.apply(VoronoiAnalysisModifier(compute_indices=True))
    volume = np.array(data.particles["Atomic Volume"])
    index = np.array(data.particles["Voronoi Index"])[:, 2:6]
    icosahedral = (index == [0, 0, 12, 0]).all(axis=1).astype(float)
    zirconium = (atoms.numbers == 40).astype(float)
    return np.stack([volume, icosahedral, zirconium, atoms.arrays["potential_energy"]], axis=1)


def less_element_means(glasses: list[Glass], names: list[str]) -> None:
    """Measure volume and energy from the element's mean over all glasses, as is fair to them.

    Otherwise their averages say how many Zr atoms are around more than anything else.
    """
    species = np.concatenate([glass.species for glass in glasses])
    share = names.index("share of Zr")
    for name in ("Voronoi volume", "potential energy"):
        column = names.index(name)
        own = np.concatenate([glass.own[:, column] for glass in glasses])
        copper, zirconium = (own[species == element].mean() for element in (0, 1))
        for glass in glasses:
            for values in (glass.own, *glass.averages):
                values[:, column] -= copper + (zirconium - copper) * values[:, share]


class Sums:
    """Gram matrices [F, F] of one smoothing length, by glass, about glass and element means."""

    def __init__(self, glasses: list[Glass], smoothing: int, columns: np.ndarray) -> None:
        self.columns = columns
        self.gram, self.product, self.mean, self.target = [], [], [], []
        for glass in glasses:
            gram, product = 0.0, 0.0
            means, targets = [], []
            values = glass.averages[smoothing][:, columns]
            wanted = np.column_stack([glass.label, glass.fast])
            for element in range(len(ELEMENTS)):
                rows = glass.species == element
                x, y = values[rows], wanted[rows]
                means.append(x.mean(0))
                targets.append(y.mean(0))
                x = x - means[-1]
                gram = gram + x.T @ x
                product = product + x.T @ (y - targets[-1])
            self.gram.append(gram)
            self.product.append(product)
            self.mean.append(means)
            self.target.append(targets)

    def select(self, train: list[int], target: int, most: int) -> tuple[list[int], list[float]]:
        """Columns in the order of forward selection, and the sum of squares explained by then."""
        gram = sum(self.gram[glass] for glass in train)
        left = sum(self.product[glass][:, target] for glass in train)
        power = np.diag(gram).copy()
        new = power * NEW_SHARE + 1e-12
        found: list[int] = []
        explained: list[float] = []
        vectors: list[np.ndarray] = []
        for _ in range(most):
            gain = np.where(power > new, left**2 / np.maximum(power, 1e-12), -1.0)
            gain[found] = -1.0
            best = int(gain.argmax())
            vector = gram[:, best] - sum((v[best] * v for v in vectors), np.zeros(len(gram)))
            vector /= np.sqrt(vector[best])
            projection = left[best] / np.sqrt(power[best])
            left = left - projection * vector
            power = power - vector**2
            vectors.append(vector)
            found.append(best)
            explained.append(gain[best] + (explained[-1] if explained else 0.0))
        return found, explained

    def solve(self, train: list[int], target: int, chosen: list[int]) -> tuple[np.ndarray, list]:
        """Coefficients, and an intercept per element: means over structures, as in the fit."""
        grid = np.ix_(chosen, chosen)
        gram = sum(self.gram[glass][grid] for glass in train)
        product = sum(self.product[glass][chosen, target] for glass in train)
        weight = np.linalg.solve(gram, product)
        intercept = [
            np.mean(
                [
                    self.target[glass][element][target] - self.mean[glass][element][chosen] @ weight
                    for glass in train
                ]
            )
            for element in range(len(ELEMENTS))
        ]
        return weight, intercept


@dataclass
class Selection:
    """Predictions [terms][glass][N] for glasses left out, and what was selected without each."""

    predictions: list[list[np.ndarray]]
    selected: list[list[tuple[float, list[int]]]]


def left_out(glasses: list[Glass], banks: list[Sums], target: str, most: int) -> Selection:
    """Selection, smoothing length and fit without each glass, applied to it."""
    result = Selection([[] for _ in range(most)], [[] for _ in range(most)])
    for test, glass in enumerate(glasses):
        train = without(glasses, test)
        column = 0 if target == "labels" else 2 + glass.family
        runs = [bank.select(train, column, most) for bank in banks]
        for count in range(1, most + 1):
            which = int(np.argmax([explained[count - 1] for _, explained in runs]))
            chosen = runs[which][0][:count]
            weight, intercept = banks[which].solve(train, column, chosen)
            columns = banks[which].columns[chosen]
            prediction = glass.averages[which][:, columns] @ weight
            result.predictions[count - 1].append(prediction + np.take(intercept, glass.species))
            result.selected[count - 1].append((SMOOTHING[which], list(columns)))
    return result


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson."""
    return float(np.corrcoef(x, y)[0, 1])


def moments(x: list[np.ndarray], y: list[np.ndarray]) -> np.ndarray:
    """Sums [glasses, 6] from which pooled correlations follow."""
    return np.array(
        [
            [len(a), a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum()]
            for a, b in zip(x, y, strict=True)
        ]
    )


def pooled(sums: np.ndarray) -> float:
    """Pearson from summed moments."""
    n, a, b, aa, bb, ab = sums
    return float((ab - a * b / n) / np.sqrt((aa - a * a / n) * (bb - b * b / n)))


class Scores:
    """Per glass and pooled correlation with bootstrap intervals over glasses."""

    def __init__(self, predictions: list[np.ndarray], truth: list[np.ndarray]) -> None:
        self.glasses = np.array(
            [correlation(p, y) for p, y in zip(predictions, truth, strict=True)]
        )
        self.sums = moments(predictions, truth)
        self.pooled = pooled(self.sums.sum(0))
        draws = np.random.default_rng(0).integers(0, len(truth), (DRAWS, len(truth)))
        self.mean_draws = self.glasses[draws].mean(1)
        self.pooled_draws = np.array([pooled(self.sums[draw].sum(0)) for draw in draws])

    @property
    def mean(self) -> float:
        """Over glasses."""
        return float(self.glasses.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean over glasses."""
        return float(self.glasses.std(ddof=1) / np.sqrt(len(self.glasses)))

    def as_dict(self) -> dict:
        """For the record."""
        return {
            "glasses": [round(float(v), 4) for v in self.glasses],
            "mean": round(self.mean, 4),
            "mean_interval": interval(self.mean_draws),
            "standard_error": round(self.standard_error, 4),
            "pooled": round(self.pooled, 4),
            "pooled_interval": interval(self.pooled_draws),
        }

    def line(self) -> str:
        """Mean, pooled and each glass."""
        low, high = interval(self.mean_draws)
        pooled_low, pooled_high = interval(self.pooled_draws)
        glasses = " ".join(f"{v:.3f}" for v in self.glasses)
        return (
            f"{self.mean:.3f} ({low:.3f} to {high:.3f})  "
            f"{self.pooled:.3f} ({pooled_low:.3f} to {pooled_high:.3f})  {glasses}"
        )


def interval(draws: np.ndarray) -> list[float]:
    """95% percentile interval."""
    return [round(float(v), 4) for v in np.quantile(draws, [0.025, 0.975])]


def fewest(curve: list[Scores]) -> int:
    """The one-standard-error rule: number of terms."""
    readable = curve[:READABLE]
    best = max(readable, key=lambda scores: scores.mean)
    enough = best.mean - best.standard_error
    return 1 + next(k for k, scores in enumerate(readable) if scores.mean >= enough)


def bond_lengths() -> list[float]:
    """Maxima, Å, of the partial pair correlation functions Cu-Cu, Cu-Zr, Zr-Zr of all glasses."""
    edges = np.arange(2.0, 4.0, 0.02)
    middle = 0.5 * (edges[1:] + edges[:-1])
    counts = np.zeros((3, len(middle)))
    for name in NAMES:
        graph = build_graph(read_structures(PUBLISHED / f"{name}.xyz")[0], 4.0, ELEMENTS)
        pair = graph.species[graph.edge_index].sum(0).numpy()
        length = graph.edge_vector.norm(dim=1).numpy()
        for kind in range(3):
            counts[kind] += np.histogram(length[pair == kind], edges)[0] / middle**2
    smooth = [np.convolve(row, np.ones(3) / 3.0, "same") for row in counts]
    return [round(float(middle[row.argmax()]), 2) for row in smooth]


def one_by_one(glasses: list[Glass], names: list[str], shown: list[str]) -> dict[str, dict]:
    """Each quantity alone, of the atom itself and averaged, on the glasses left out."""
    truth = [glass.label for glass in glasses]
    found = {}
    for name in shown:
        column = np.array([names.index(name)])
        kinds = {"atom itself": lambda glass: glass.own, "average": lambda glass: glass.averages[1]}
        for kind, values in kinds.items():
            if name == "share of Zr" and kind == "atom itself":
                continue  # the same for all atoms of an element
            alone = [replace(glass, averages=[values(glass)]) for glass in glasses]
            bank = Sums(alone, 0, column)
            predictions = left_out(alone, [bank], "labels", 1).predictions[0]
            found[f"{name}, {kind}"] = Scores(predictions, truth).as_dict()
    return found


def coverage(glasses: list[Glass], errors: list[np.ndarray]) -> tuple:
    """Shares of labels inside one and two standard deviations: all, and by glass."""
    scaled = []
    for test, glass in enumerate(glasses):
        std = [
            np.sqrt(
                np.mean(
                    np.concatenate(
                        [
                            errors[other][glasses[other].species == element] ** 2
                            for other in without(glasses, test)
                        ]
                    )
                )
            )
            for element in range(len(ELEMENTS))
        ]
        scaled.append(np.abs(errors[test]) / np.take(std, glass.species))
    shares = [[float((found < width).mean()) for found in scaled] for width in (1.0, 2.0)]
    return np.mean(shares[0]), np.mean(shares[1]), shares[0], shares[1]


def element_mean(glasses: list[Glass]) -> list[np.ndarray]:
    """Mean label of the element over the other glasses, a mean of means as in every fit."""
    means = np.array([[g.label[g.species == e].mean() for e in (0, 1)] for g in glasses])
    return [
        means[without(glasses, number)].mean(0)[glass.species]
        for number, glass in enumerate(glasses)
    ]


def draw(curves: dict[str, list[Scores]], full: Scores, chosen: int, path: Path) -> None:
    """Correlation on glasses left out over the number of terms."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True, constrained_layout=True)
    terms = np.arange(1, MOST + 1)
    for axis, kind, title in zip(
        axes,
        ("mean", "pooled"),
        ("mean over glasses left out", "pooled over all atoms"),
        strict=True,
    ):
        value = getattr(full, kind)
        low, high = interval(getattr(full, f"{kind}_draws"))
        axis.axhspan(low, high, color="0.5", alpha=0.15, linewidth=0)
        axis.axhline(value, color="0.3", linestyle="--", label="cuzr-fast, 1,228 features")
        for (name, curve), color, marker in zip(curves.items(), ("C0", "C1"), "os", strict=True):
            values = [getattr(scores, kind) for scores in curve]
            axis.plot(terms, values, marker + "-", color=color, markersize=4, label=name)
            if name.endswith("labels"):
                bounds = [interval(getattr(scores, f"{kind}_draws")) for scores in curve]
                axis.fill_between(
                    terms, *np.transpose(bounds), color=color, alpha=0.15, linewidth=0
                )
        axis.axvline(chosen, color="C2", linestyle=":", label=f"one standard error: {chosen} terms")
        axis.set(xlabel="number of terms", title=title, xticks=terms)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("Pearson correlation with labels")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def with_one_more(
    glasses: list[Glass],
    names: list[str],
    selection: Selection,
    chosen: int,
    say: Callable[[str], None],
) -> dict[str, dict]:
    """Would quantities help that no formula can have? Table of both ways to add each."""
    truth = [glass.label for glass in glasses]
    native = len(names) - len(FOREIGN)
    say("")
    say(f"with one more candidate, of those no formula can have ({chosen} and {READABLE} terms)")
    extended = {}
    for column, name in enumerate(FOREIGN, native):
        columns = np.append(np.arange(native), column)
        more = [Sums(glasses, k, columns) for k in range(len(SMOOTHING))]
        found = left_out(glasses, more, "labels", READABLE)
        scores = [Scores(found.predictions[k - 1], truth) for k in (chosen, READABLE)]
        times = sum(column in taken[1] for taken in found.selected[READABLE - 1])
        forced = added_to_formula(glasses, selection, chosen, column)
        extended[name] = {
            "selected": times,
            "scores": [found.as_dict() for found in scores],
            "forced": forced.as_dict(),
        }
        say(
            f"{name:20s} among {READABLE} terms for {times} of {len(NAMES)} glasses left out; mean "
            f"{scores[0].mean:.3f} and {scores[1].mean:.3f}"
        )
        say(f"{'':20s} added to the {chosen} terms: {forced.line()}")
    return extended


def study(folder: Path, output: Path, say: Callable[[str], None]) -> None:
    """All tables of the study, and the picture."""
    terms = candidates()
    names = [*(term.name for term in terms), *FOREIGN]
    folder.mkdir(parents=True, exist_ok=True)
    structures = [read_structures(PUBLISHED / f"{name}.xyz")[0] for name in NAMES]
    glasses = [
        read_glass(name, family, folder, terms)
        for name, family in zip(NAMES, families_of(structures), strict=True)
    ]
    less_element_means(glasses, names)
    truth = [glass.label for glass in glasses]
    held_out = [glass.fast[:, 1 + glass.family] for glass in glasses]
    lengths = bond_lengths()
    say(f"bond lengths (Å): Cu-Cu {lengths[0]}, Cu-Zr {lengths[1]}, Zr-Zr {lengths[2]}")
    say(f"{len(terms)} candidates, smoothing lengths {SMOOTHING} Å; glasses: {' '.join(NAMES)}")
    say("")
    say("Pearson correlation on glasses left out: mean (95% interval over glasses), pooled, each")
    full = Scores(held_out, truth)
    say(f"cuzr-fast                {full.line()}")
    means = Scores(element_mean(glasses), truth)
    say(f"element mean             {means.line()}")

    banks = [Sums(glasses, number, np.arange(len(terms))) for number in range(len(SMOOTHING))]
    curves, of_model, selections = {}, {}, {}
    for target in ("labels", "cuzr-fast"):
        selection = left_out(glasses, banks, target, MOST)
        selections[target] = selection
        curves[target] = [Scores(found, truth) for found in selection.predictions]
        of_model[target] = [Scores(found, held_out) for found in selection.predictions]
        say("")
        say(f"fitted to {target}, scored on labels")
        for count, scores in enumerate(curves[target], 1):
            say(f"{count:2d} terms                {scores.line()}")
        say(f"fitted to {target}, scored on what cuzr-fast predicts for the glass it did not see")
        for count, scores in enumerate(of_model[target], 1):
            say(f"{count:2d} terms                {scores.line()}")

    chosen = fewest(curves["labels"])
    say("")
    say(f"one standard error: {chosen} terms; what is selected without each glass")
    for target, selection in selections.items():
        for number, name in enumerate(NAMES):
            smoothing, columns = selection.selected[READABLE - 1][number]
            text = ", ".join(names[column] for column in columns)
            say(f"  {target:6s} without {name:10s} {smoothing:g} Å: {text}")
    best = curves["labels"][chosen - 1]
    differences = {
        kind: interval(getattr(full, f"{kind}_draws") - getattr(best, f"{kind}_draws"))
        for kind in ("mean", "pooled")
    }
    say(
        f"cuzr-fast minus {chosen} terms: mean {full.mean - best.mean:.3f} "
        f"({differences['mean'][0]:.3f} to {differences['mean'][1]:.3f}), pooled "
        f"{full.pooled - best.pooled:.3f} ({differences['pooled'][0]:.3f} to "
        f"{differences['pooled'][1]:.3f})"
    )

    errors = [
        found - y
        for found, y in zip(selections["labels"].predictions[chosen - 1], truth, strict=True)
    ]
    inside = coverage(glasses, errors)
    say("labels within one and two standard deviations, of the element on the other glasses")
    for number in (0, 1):
        low, high = min(inside[2 + number]), max(inside[2 + number])
        say(f"{number + 1}: {inside[number]:.2f} ({low:.2f} to {high:.2f} by glass)")

    say("")
    say("one quantity alone (averages: 2.5 Å), scored on labels: mean, interval, pooled; Voronoi")
    say("volume and potential energy are less the mean of the element")
    shown = [
        "bonding 6", "compression", "stretch", "count 1.36", "bond_order 1", "bond_order 6",
        "bond_order 7", *FOREIGN,
    ]  # fmt: skip
    alone = one_by_one(glasses, names, shown)
    for name, found in alone.items():
        low, high = found["mean_interval"]
        say(f"{name:34s} {found['mean']:6.3f} ({low:.3f} to {high:.3f})  {found['pooled']:6.3f}")

    say("")
    say("what the terms are worth: mean and standard deviation within a glass of the average")
    for name in ("bonding 6", "bond_order 1", "bond_order 7"):
        column = names.index(name)
        values = [glass.averages[SMOOTHING.index(2.5)][:, column] for glass in glasses]
        within = np.mean([found.std() for found in values])
        say(f"{name:20s} {np.mean(values):8.4f} +- {within:.4f}")

    extended = with_one_more(glasses, names, selections["labels"], chosen, say)
    result = {
        "bond_lengths": lengths,
        "cuzr-fast": full.as_dict(),
        "element_mean": means.as_dict(),
        "chosen": chosen,
        "curves": {name: [found.as_dict() for found in curve] for name, curve in curves.items()},
        "of_cuzr_fast": {
            name: [found.as_dict() for found in curve] for name, curve in of_model.items()
        },
        "selected": {
            target: [
                {"without": name, "smoothing": found[0], "terms": [names[k] for k in found[1]]}
                for name, found in zip(NAMES, selection.selected[MOST - 1], strict=True)
            ]
            for target, selection in selections.items()
        },
        "difference_to_cuzr_fast": differences,
        "alone": alone,
        "extended": extended,
    }
    (output / "simple.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    named = {"fitted to labels": curves["labels"], "distilled from cuzr-fast": curves["cuzr-fast"]}
    draw(named, full, chosen, output / "simple.png")


def added_to_formula(glasses: list[Glass], selection: Selection, count: int, column: int) -> Scores:
    """The selected terms of each fold and one more column, fitted again."""
    predictions = []
    for test, glass in enumerate(glasses):
        train = without(glasses, test)
        smoothing, columns = selection.selected[count - 1][test]
        which = SMOOTHING.index(smoothing)
        wanted = np.array([*columns, column])
        bank = Sums(glasses, which, wanted)
        weight, intercept = bank.solve(train, 0, list(range(len(wanted))))
        predictions.append(
            glass.averages[which][:, wanted] @ weight + np.take(intercept, glass.species)
        )
    return Scores(predictions, [glass.label for glass in glasses])


def fit_and_export(folder: Path, model: Path, say: Callable[[str], None]) -> None:
    """The shipped model."""
    if not (folder / "data").exists():
        (folder / "data").symlink_to(PUBLISHED)
    config = preset("simple")
    # Relative names, so that the model file does not carry the folders of this computer.
    config.data.train = [f"data/{name}.xyz" for name in NAMES]
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    result = fit_formula(config, base=folder)
    exported = export_checkpoint(result.best, model)
    say("")
    say("the shipped formula, three terms: fits without each glass, applied to it")
    say("glass left out          Pearson  Spearman  MAE     RMSE    bias   AUC lowest, highest 5%")
    for name, metrics in [*result.structures.items(), ("pooled", result.held_out)]:
        say(
            f"{name:22s}  {metrics.pearson:.4f}   {metrics.spearman:.4f}    {metrics.mae:.4f}  "
            f"{metrics.rmse:.4f}  {metrics.bias:+.3f}  {metrics.auc_lowest:.3f}  "
            f"{metrics.auc_highest:.3f}"
        )
    say(f"change under rotations {exported.invariance_rms:.1e} eV (rms)")
    say("")
    say(Annotator(model, device="cpu").metadata["formula"])


def at_temperature(copies: Path, model: Path, say: Callable[[str], None]) -> None:
    """The fitted formula on averages of a run against itself on the minimum, and against labels."""
    say("")
    say("averages over 1 ps at 300 K, 4th and 5th ps: shift of the mean (eV), correlation with the")
    say("formula on the minimum, with labels; there the minimum has; share of novel atoms, minimum")
    annotator = Annotator(model, device="cpu")
    for name in NAMES:
        minimum = read_structures(PUBLISHED / f"{name}.xyz")[0]
        label = minimum.arrays["energy_barrier"]
        reference = annotator.predict([minimum])[0]
        for found in annotator.predict(read_structures(copies / f"{name}.xyz")):
            say(
                f"{name:10s} {found[:, 0].mean() - reference[:, 0].mean():+.3f}  "
                f"{correlation(found[:, 0], reference[:, 0]):.3f}  "
                f"{correlation(found[:, 0], label):.3f} {correlation(reference[:, 0], label):.3f}  "
                f"{(found[:, 2] > NOVEL).mean():.3f} {(reference[:, 2] > NOVEL).mean():.3f}"
            )


def main() -> None:
    """Study, and with --fit the shipped model."""
    parser = argparse.ArgumentParser(description=__doc__)
    build = Path(__file__).resolve().parents[1] / "build" / "simple"
    parser.add_argument("folder", type=Path, nargs="?", default=build)
    parser.add_argument("--ship", action="store_true", help="replace the model in the package")
    parser.add_argument("--copies", type=Path, help="thermal copies of the glasses")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if say_if_missing():
        return
    lines: list[str] = []

    def say(text: str = "") -> None:
        print(text, flush=True)
        lines.append(text)

    study(options.folder, options.output, say)
    model = (PRETRAINED if options.ship else options.folder) / "simple.pt"
    fit_and_export(options.folder, model, say)
    if options.copies is not None:
        at_temperature(options.copies, model, say)
    (options.output / "simple.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
