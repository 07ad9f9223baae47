"""Topology of glasses: is it exact, how fast, and does it say anything about barriers?

- exactness and time of `symgnn.explain.topology` around atoms of the published glasses;
- rings and voids against barriers: correlation that is left when coordination, radial densities or
  the features of density regression are accounted for, and what they add to a prediction, always on
  a glass that is left out, with its relatives (`relatives.py`);
- `--parts explanations`: representative cycles through important edges against random ones of the
  same length, and of the same length, elements and distance from the atom.

    python benchmarks/topology.py [--parts exactness barriers explanations] [--explanations FOLDER]

Explanations of 30 atoms of each glass by `cuzr-fast` are made where their folder lacks them.
Parts that are not asked for stay as they are in the results.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial import cKDTree

from comparison.densities import (
    FINE_CUTOFF,
    FINE_MIDDLES,
    FINE_WIDTH,
    Neighborhood,
    average,
    radial_features,
)
from learning_curve import ELEMENTS, Data
from periodic_alpha import periodic_persistence
from published import NAMES, PUBLISHED, say_if_missing
from symgnn.explain import read_explanations, write_explanations
from symgnn.explain.explainer import Explainer
from symgnn.explain.homology import atom_weights
from symgnn.explain.matched_length import compare_matched_length
from symgnn.explain.settings import ExplanationSettings
from symgnn.explain.topology import important_edges, topology
from symgnn.structures import read_structures

TIMED = 210  # atoms, 30 of each glass
EXPLAINED = 30  # atoms of each glass
BOOTSTRAPS = 10_000
NEAR, FAR = 4.0, 6.5  # Å from an atom to the middle of what fills a ring or void
BIRTHS, PERSISTENCES = np.linspace(1.15, 1.85, 8), np.linspace(0.0, 0.4, 5)  # Å
FIRST_SHELL = 3.7  # Å
SHARES = (0.05, 0.1, 0.2)
DESCRIPTORS = (
    "rings",
    "rings, sum of persistence",
    "rings, mean persistence",
    "rings, mean death",
    "voids",
    "voids, sum of persistence",
    "voids, mean persistence",
    "voids, largest death",
)


# --- exactness and time -----------------------------------------------------------------------


def exactness_and_time(structures: list, rng) -> dict:
    """Features around atoms that the periodic complex has too, and core-seconds per atom."""
    total, same, seconds, errors = np.zeros(3, int), np.zeros(3, int), [], [0.0]
    for atoms in structures:
        weights = atom_weights(atoms)
        periodic = periodic_persistence(atoms, weights)
        endings = {death for birth, death in periodic if len(birth) == 1}
        for atom in rng.choice(len(atoms), TIMED // len(structures), replace=False):
            start = time.process_time()
            found = topology(atoms, int(atom), weights=weights)
            seconds.append(time.process_time() - start)
            index = found.environment.atoms
            for feature in found.features:
                birth, death = (
                    tuple(sorted(index[list(simplex)].tolist()))
                    for simplex in (feature.birth_simplex, feature.death_simplex)
                )
                total[feature.dimension] += 1
                if feature.dimension == 0:
                    same[0] += death in endings
                elif (birth, death) in periodic:
                    same[feature.dimension] += 1
                    values = np.square([feature.birth, feature.death])
                    errors.append(float(np.abs(values - periodic[birth, death]).max()))
    return {
        "atoms": len(seconds),
        "seconds_median": float(np.median(seconds)),
        "seconds_largest": float(np.max(seconds)),
        "features": total.tolist(),
        "as_in_periodic_complex": same.tolist(),
        "largest_difference_of_alpha_squared": max(errors),
    }


# --- barriers ---------------------------------------------------------------------------------


def descriptors(atoms) -> tuple[np.ndarray, np.ndarray]:
    """Of every atom: [N, 8] as in DESCRIPTORS, within NEAR; and [N, F] persistence images."""
    lengths = atoms.cell.lengths()
    positions = atoms.get_positions(wrap=True)
    dimension, birth, death, middle = [], [], [], []
    for (first, last), values in periodic_persistence(atoms, atom_weights(atoms)).items():
        if len(first) > 1 and last:
            offset = positions[list(last)] - positions[last[0]]
            offset -= lengths * np.round(offset / lengths)
            dimension.append(len(first) - 1)
            birth.append(np.sqrt(values[0]))
            death.append(np.sqrt(values[1]))
            middle.append(positions[last[0]] + offset.mean(0))
    dimension, birth, death = np.array(dimension), np.array(birth), np.array(death)
    persistence = death - birth
    image = (
        np.exp(-0.5 * ((birth[:, None] - BIRTHS) / 0.1) ** 2)[:, :, None]
        * np.exp(-0.5 * ((persistence[:, None] - PERSISTENCES) / 0.1) ** 2)[:, None, :]
    ).reshape(len(birth), -1)
    trees = [
        cKDTree(np.mod(np.array(middle)[dimension == d], lengths), boxsize=lengths) for d in (1, 2)
    ]
    numbers = np.zeros((len(atoms), len(DESCRIPTORS)))
    images = np.zeros((len(atoms), 2, 2, image.shape[1]))
    for place, tree in enumerate(trees):
        own = np.flatnonzero(dimension == place + 1)
        near = tree.query_ball_point(np.mod(positions, lengths), NEAR)
        far = tree.query_ball_point(np.mod(positions, lengths), FAR)
        for atom, (close, all_) in enumerate(zip(near, far, strict=True)):
            inner = own[close]
            total = persistence[inner].sum()
            last = death[inner].mean() if place == 0 else death[inner].max()
            numbers[atom, 4 * place : 4 * place + 4] = (
                len(inner),
                total,
                total / max(len(inner), 1),
                last,
            )
            images[atom, place, 0] = image[inner].sum(0)
            images[atom, place, 1] = image[own[all_]].sum(0) - images[atom, place, 0]
    return numbers, images.reshape(len(atoms), -1)


def coordination(near: Neighborhood) -> np.ndarray:
    """[N, 2]: neighbors of each element in the first shell."""
    return np.hstack(
        [
            near.sum(pairs, np.ones((pairs.sum(), 1), np.float32))
            for pairs in ((near.length < FIRST_SHELL) & (near.element == e) for e in (29, 40))
        ]
    )


class LeftOut:
    """Ridge regression per element from features to several targets, for each glass left out.

    Relatives of a glass (`relatives.py`) are left out with it.
    """

    def __init__(self, features: list, data: Data, strength: float = 30.0) -> None:
        scale = np.vstack(features).std(0) + 1e-9
        self.features = [np.asarray(x / scale, dtype=np.float64) for x in features]
        self.data, self.species, self.strength = data, data.species, strength
        self.grams = [
            [
                centered(x[kind == element]).T @ centered(x[kind == element])
                for element in range(len(ELEMENTS))
            ]
            for x, kind in zip(self.features, self.species, strict=True)
        ]

    def residuals(self, targets: list) -> list:
        """What the others leave unexplained: targets [N, K] of each glass, centered by element."""
        products = [
            [
                centered(x[kind == element]).T @ centered(y[kind == element])
                for element in range(len(ELEMENTS))
            ]
            for x, y, kind in zip(self.features, targets, self.species, strict=True)
        ]
        results = []
        for test, (x, y, kind) in enumerate(zip(self.features, targets, self.species, strict=True)):
            others = self.data.others(test)
            result = np.empty_like(y)
            for element in range(len(ELEMENTS)):
                gram = sum(self.grams[glass][element] for glass in others)
                product = sum(products[glass][element] for glass in others)
                weight = np.linalg.solve(gram + self.strength * np.eye(len(gram)), product)
                rows = kind == element
                result[rows] = centered(y[rows]) - centered(x[rows]) @ weight
            results.append(result)
        return results


def centered(values: np.ndarray) -> np.ndarray:
    """Without the mean over rows."""
    return values - values.mean(0)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two vectors."""
    return float(np.corrcoef(a, b)[0, 1])


def interval(values, rng) -> dict:
    """Mean over glasses, its bootstrap interval over glasses, and the values."""
    values = np.asarray(values)
    means = values[rng.integers(0, len(values), (BOOTSTRAPS, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": values.mean(), "low": low, "high": high, "glasses": values.tolist()}


def text(result: dict) -> str:
    """Of an interval."""
    return f"{result['mean']:+.3f} ({result['low']:+.3f} to {result['high']:+.3f})"


def barriers(data: Data, rng) -> dict:
    """Partial correlations, and scores with and without topology."""
    numbers, images = zip(*(descriptors(atoms) for atoms in data.structures), strict=True)
    # Barriers and descriptors, centered by element and glass: elements differ in everything.
    targets = [np.c_[label, number] for label, number in zip(data.labels, numbers, strict=True)]
    surroundings = [Neighborhood(atoms) for atoms in data.structures]
    controls = {
        "element": [np.zeros((len(label), 1)) for label in data.labels],
        "coordination": [coordination(near) for near in surroundings],
        "radial densities": [
            near.radial(FINE_MIDDLES, FINE_WIDTH, FINE_CUTOFF) for near in surroundings
        ],
        "radial, averaged too": [radial_features(atoms) for atoms in data.structures],
        "density regression": data.features,
    }
    partial: dict[str, dict] = {name: {} for name in DESCRIPTORS}
    for control, features in controls.items():
        residuals = LeftOut(features, data).residuals(targets)
        for column, name in enumerate(DESCRIPTORS):
            each = [pearson(rest[:, 0], rest[:, column + 1]) for rest in residuals]
            partial[name][control] = interval(each, rng)
    own = [np.c_[n, i] for n, i in zip(numbers, images, strict=True)]
    averaged = [
        np.c_[t, average(t, near.averages(by_element=True))]
        for t, near in zip(own, surroundings, strict=True)
    ]
    labels = [label[:, None] for label in data.labels]
    scores: dict[str, dict] = {"alone": {}}
    for name, features in (("topology", own), ("topology, averaged too", averaged)):
        scores["alone"][name] = {
            "features": features[0].shape[1],
            **interval(within(features, data, labels), rng),
        }
    for control, features in controls.items():
        if control == "element":
            continue
        without = within(features, data, labels)
        scores[control] = {"without": interval(without, rng)}
        for name, more in (("gain", own), ("gain_averaged", averaged)):
            both = [np.c_[x, t] for x, t in zip(features, more, strict=True)]
            scores[control][name] = interval(within(both, data, labels) - without, rng)
    return {"partial": partial, "scores": scores}


def within(features: list, data: Data, labels: list) -> np.ndarray:
    """Correlation of predictions and labels in each glass, both centered by element."""
    residuals = LeftOut(features, data).residuals(labels)
    result = []
    for label, rest, kind in zip(labels, residuals, data.species, strict=True):
        own = label.copy()
        for element in range(len(ELEMENTS)):
            own[kind == element] = centered(own[kind == element])
        result.append(pearson((own - rest)[:, 0], own[:, 0]))
    return np.array(result)


def draw(partial: dict, path: Path) -> None:
    """Partial correlations with their intervals."""
    figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    places = np.arange(len(DESCRIPTORS))[::-1]
    controls = list(partial[DESCRIPTORS[0]])
    for number, control in enumerate(controls):
        rows = [partial[name][control] for name in DESCRIPTORS]
        mean = np.array([row["mean"] for row in rows])
        error = [mean - [row["low"] for row in rows], [row["high"] for row in rows] - mean]
        axes.errorbar(
            mean,
            places + 0.27 - 0.18 * number,
            xerr=error,
            fmt="o",
            markersize=4,
            capsize=2,
            label=control,
        )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(
        yticks=places,
        yticklabels=DESCRIPTORS,
        xlabel="partial correlation with the barrier, mean over glasses left out (95%)",
    )
    axes.legend(title="besides", fontsize=8, title_fontsize=8)
    figure.savefig(path, dpi=150)


# --- important edges --------------------------------------------------------------------------


def explain_atoms(structures: dict, folder: Path) -> None:
    """Explanations of random atoms by `cuzr-fast`, into NAME.json where that is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = ExplanationSettings(leave_out=0, draws=1)
    for name, atoms in structures.items():
        path = folder / f"{name}.json"
        if not path.exists():
            chosen = np.random.default_rng(0).choice(len(atoms), EXPLAINED, replace=False)
            explainer = Explainer(atoms, "cuzr-fast", settings)
            explanations = explainer.explain(sorted(chosen.tolist()))
            write_explanations(path, explanations, explainer.provenance(f"{name}.xyz"))


def explained(folder: Path, structures: dict, rng) -> dict:
    """Ratios of cycles through important edges to those through others, over atoms."""
    rows: dict[str, list] = {}
    count = 0
    for name, atoms in structures.items():
        count += compare(atoms, read_explanations(folder / f"{name}.json"), rows, rng)
    return {"atoms": count, "glasses": list(structures), "ratios": ratios(rows, rng)}


def compare(atoms, explanations: list, rows: dict[str, list], rng) -> int:
    """Append the mean counts of cycles on important and on other edges; how many atoms."""
    weights = atom_weights(atoms)
    for explanation in explanations:
        found = topology(atoms, explanation.atom, weights=weights)
        for share in SHARES:
            edges = important_edges(found, explanation, rng, share=share)
            means = [
                float(edges.cycles[which].mean()) for which in (edges.important, ~edges.important)
            ]
            rows.setdefault(f"top {share:.0%}, any length", []).append(means)
            comparisons = {"same length": edges.comparison}
            for what, labels in kinds(atoms, found, edges).items():
                comparisons[f"same length, {what}"] = compare_matched_length(
                    edges.cycles, edges.lengths, edges.important, rng, draws=300, groups=labels
                )
            for what, comparison in comparisons.items():
                if comparison.matched:
                    rows.setdefault(f"top {share:.0%}, {what}", []).append(
                        [comparison.observed, comparison.expected]
                    )
    return len(explanations)


def ratios(rows: dict[str, list], rng) -> dict:
    """Sums over atoms, and intervals by drawing atoms."""
    results = {}
    for label, values in rows.items():
        observed, expected = np.array(values).T
        draws = rng.integers(0, len(values), (2000, len(values)))
        drawn = observed[draws].sum(1) / expected[draws].sum(1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        results[label] = {
            "ratio": observed.sum() / expected.sum(),
            "low": low,
            "high": high,
            "observed": observed.mean(),
            "expected": expected.mean(),
            "share_of_atoms_above": float((observed > expected).mean()),
        }
    return results


def kinds(atoms, found, edges) -> dict[str, np.ndarray]:
    """What else random edges may have in common with important ones."""
    around = found.environment
    zirconium = (atoms.symbols[around.atoms[edges.edges]] == "Zr").sum(1)
    middle = np.linalg.norm(around.positions[edges.edges].mean(1), axis=1)
    return {
        "elements": zirconium,
        "elements, distance": zirconium + 3 * np.floor(middle / 1.5).astype(int),
    }


# --- report -----------------------------------------------------------------------------------


def report_exactness(result: dict) -> None:
    """Print one line per dimension."""
    print(
        f"{result['atoms']} atoms, 6 Å around each: median {result['seconds_median']:.3f}"
        f" core-seconds, largest {result['seconds_largest']:.3f}"
    )
    counts = zip(result["features"], result["as_in_periodic_complex"], strict=True)
    for name, (count, equal) in zip(("components", "rings", "voids"), counts, strict=True):
        print(f"  {name:10s} {count:6d}, in the periodic complex too {equal / count:.3%}")
    print(f"  largest difference of α² {result['largest_difference_of_alpha_squared']:.1e} Å²")


def report_barriers(result: dict) -> None:
    """Print both tables."""
    partial, scores = result["partial"], result["scores"]
    controls = list(partial[DESCRIPTORS[0]])
    print("correlation with the barrier that is left besides (mean over glasses left out, 95%)")
    print(f"  {'':27s}" + "".join(f"{name:28s}" for name in controls))
    for name in DESCRIPTORS:
        row = "".join(f"{text(partial[name][control]):28s}" for control in controls)
        print(f"  {name:27s}{row}")
    print("Pearson correlation on the glass left out, elements apart, by ridge regression")
    for name, score in scores["alone"].items():
        print(f"  {name:24s} alone ({score['features']} features) {text(score)}")
    for control, score in scores.items():
        if control != "alone":
            print(
                f"  {control:24s} {text(score['without'])}   with topology {text(score['gain'])}"
                f"   averaged too {text(score['gain_averaged'])}"
            )


def report_explanations(result: dict) -> None:
    """Print one line per null."""
    print(
        f"cycles through important edges over those through others, {result['atoms']} atoms of"
        f" {len(result['glasses'])} glasses (95% over atoms)"
    )
    for label, row in result["ratios"].items():
        print(
            f"  {label:46s} {row['observed']:.2f} / {row['expected']:.2f} = {row['ratio']:.3f}"
            f" ({row['low']:.3f} to {row['high']:.3f}); above 1 for"
            f" {row['share_of_atoms_above']:.0%} of atoms"
        )


PARTS = {
    "exactness": report_exactness,
    "barriers": report_barriers,
    "explanations": report_explanations,
}


def main() -> None:
    """Compute the parts that were asked for, keep the others, print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=PUBLISHED)
    parser.add_argument("--parts", nargs="*", choices=[*PARTS], default=["exactness", "barriers"])
    parser.add_argument("--explanations", type=Path, default=Path("build/explanations"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if say_if_missing(options.folder):
        return
    kept = options.output / "topology.json"
    result = json.loads(kept.read_text()) if kept.exists() else {}
    rng = np.random.default_rng(0)
    if "exactness" in options.parts:
        result["exactness"] = exactness_and_time(structures_of(options.folder, NAMES), rng)
    if "barriers" in options.parts:
        result["barriers"] = barriers(Data(options.folder), rng)
        draw(result["barriers"]["partial"], options.output / "topology.png")
    if "explanations" in options.parts:
        structures = dict(zip(NAMES, structures_of(options.folder, NAMES), strict=True))
        explain_atoms(structures, options.explanations)
        result["explanations"] = explained(options.explanations, structures, rng)
    kept.write_text(json.dumps(result, indent=1) + "\n")
    for part, report in PARTS.items():
        if part in result:
            report(result[part])


def structures_of(folder: Path, names: list[str]) -> list:
    """The glasses of these names."""
    return [read_structures(folder / f"{name}.xyz")[0] for name in names]


if __name__ == "__main__":
    main()
