"""Own labels against published ones: bias, correlation, and how it grows with the searches.

    python benchmarks/published_labels.py FOLDER [--picture docs/images/labels.png]

FOLDER holds the published glasses, labeled, as extended XYZ. The searches are those of

    python benchmarks/labels.py --glass FOLDER/train0.xyz --atoms 60 --searches 20

and the same for `train5` (three to four core-hours each). Those that were connected when saddles
were pushed 0.15 Å over were not repeated since these are pushed 0.3 Å over. All of them are kept
in `results/published_labels.csv`, which this script writes from their catalogs, and reads where
these are missing or hold fewer.
"""

from __future__ import annotations

import argparse
import csv
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from symgnn import read_structures
from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD
from symgnn.landscape.events import Tally
from symgnn.landscape.labels import label_columns
from symgnn.landscape.reliability import Reliability, ceiling_interval, halves, reliability
from symgnn.landscape.saddle import PHASES
from symgnn.plots.style import SERIES, remove_frame, save

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
SEARCHES_FILE = RESULTS / "published_labels.csv"
GLASSES = ("train0", "train5")
KINDS = ("connected saddles", "all saddles")
PUBLISHED_ERROR = 0.14  # eV, standard error of a published label, measured by relatives.py
BOOTSTRAPS = 5000
UNSURE = 0.05  # of the connected searches are not when repeated, by repeat_searches.py

COLUMNS = ("glass", "atom", "search", "status", "reason", "barrier", "force_calls", "seconds")
QUERY = (
    "SELECT atom, search, status, reason, round(barrier, 5), "
    + " + ".join(f"{phase}_calls" for phase in PHASES)
    + ", round(seconds, 2) FROM searches ORDER BY atom, search"
)


def write_searches() -> None:
    """The searches of the catalogs as a table, unless it has more of them already."""
    paths = {glass: FOLDER / "labels" / f"labels_{glass}.db" for glass in GLASSES}
    rows: list[tuple[Any, ...]] = []
    for glass, path in paths.items():
        if path.is_file():
            connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
            rows += [(glass, *row) for row in connection.execute(QUERY)]
            connection.close()
    with SEARCHES_FILE.open(newline="", encoding="utf-8") as file:
        known = sum(1 for _ in csv.DictReader(file))
    if len(rows) < known:
        print(f"the catalogs hold {len(rows)} searches: the {known} of {SEARCHES_FILE} stay")
        return
    with SEARCHES_FILE.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(rows)


class Searches:
    """All searches; atoms of the second glass are numbered after those of the first."""

    def __init__(self, published: list[np.ndarray]) -> None:
        with SEARCHES_FILE.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        first = dict(zip(GLASSES, np.cumsum([0, *map(len, published)]), strict=False))
        self.published = np.concatenate(published)
        self.glass = np.repeat(np.arange(len(GLASSES)), [len(labels) for labels in published])
        self.atom = np.array([first[row["glass"]] + int(row["atom"]) for row in rows])
        self.search = np.array([int(row["search"]) for row in rows])
        self.found = np.array([row["status"] != "failed" for row in rows])
        self.connected = np.array([row["status"] == "connected" for row in rows])
        self.barrier = np.array([float(row["barrier"] or np.nan) for row in rows])

    def tally(self, kind: str, searches: int, glass: int | None = None) -> Tally:
        """The first so many searches of each atom, of one glass or of both.

        Saddles that count are marked as connected: only those that are, or all.
        """
        chosen = self.search < searches
        if glass is not None:
            chosen &= self.glass[self.atom] == glass
        done = np.bincount(self.atom[chosen], minlength=len(self.published))
        found = chosen & self.found
        counts = self.connected[found] | (kind == "all saddles")
        return Tally(done, self.atom[found], self.barrier[found], counts)


def compare(found: np.ndarray, published: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Bias and correlation over the atoms that have both labels, by bootstrap over atoms."""
    known = np.isfinite(found) & np.isfinite(published)
    found, published = found[known], published[known]
    drawn = rng.integers(len(found), size=(BOOTSTRAPS, len(found)))
    correlations = [np.corrcoef(found[own], published[own])[0, 1] for own in drawn]
    difference = found - published
    return {
        "atoms": int(known.sum()),
        "bias": float(difference.mean()),
        "bias_standard_error": float(difference.std(ddof=1) / len(found) ** 0.5),
        "pearson": float(np.corrcoef(found, published)[0, 1]),
        "pearson_interval": np.quantile(correlations, [0.025, 0.975]).tolist(),
    }


def predicted_pearson(tally: Tally, components: Reliability) -> float:
    """Of means and published labels, if both scatter about the same true means."""
    saddles = np.bincount(tally.atom[tally.connected])
    noise = components.within**2 * np.mean(1.0 / saddles[saddles > 0])
    real = components.between**2
    return float(real / np.sqrt((real + noise) * (real + PUBLISHED_ERROR**2)))


def measure(data: Searches) -> dict[str, Any]:
    """Everything that docs/labels.md says about these atoms."""
    rng = np.random.default_rng(0)
    most = int(data.search.max()) + 1
    report: dict[str, Any] = {"searches_of_an_atom": most, "searches": len(data.search)}
    for place, name in ((None, "both"), *enumerate(GLASSES)):
        report[name] = {}
        for kind in KINDS:
            tally = data.tally(kind, most, place)
            components = reliability(tally)
            measured, predicted, atoms = halves(tally)
            report[name][kind] = {
                "saddles": int(tally.connected.sum()),
                "saddles_of_an_atom": float(tally.connected.sum() / (tally.searches > 0).sum()),
                "against_published": compare(mean_of(tally), data.published, rng),
                "pearson_predicted": predicted_pearson(tally, components),
                "spread_within_atoms": components.within,
                "spread_between_atoms": components.between,
                "ceiling_of_20_saddles": components.ceiling(20),
                "ceiling_of_20_saddles_interval": ceiling_interval(tally, 20),
                "ceiling_of_published_labels": published_ceiling(components.between),
                "halves": {"atoms": atoms, "pearson": measured, "predicted": predicted},
            }
    report["correlation_with_unsure_searches_left_out"] = thinned(data, most, rng)
    report["errors"] = {saddles: errors(data, saddles) for saddles in (2, 3, 5, 8)}
    report["growth"] = [
        {"searches": searches, **{kind: growth(data, kind, searches, most) for kind in KINDS}}
        for searches in range(1, most + 1)
    ]
    return report


def thinned(data: Searches, most: int, rng: np.random.Generator) -> dict[str, float]:
    """Correlation of connected means if a random share of the connected searches is not."""
    correlations = []
    for _ in range(200):
        tally = data.tally("connected saddles", most)
        kept = rng.random(len(tally.atom)) >= UNSURE
        found = mean_of(replace(tally, connected=tally.connected & kept))
        known = np.isfinite(found)
        correlations.append(np.corrcoef(found[known], data.published[known])[0, 1])
    return {"mean": float(np.mean(correlations)), "deviation": float(np.std(correlations, ddof=1))}


def errors(data: Searches, saddles: int) -> dict[str, float]:
    """Do means of a few connected saddles differ from those of the others as their errors say?

    Root mean square of the differences over their standard errors, for all draws of that many of
    an atom's saddles, and for the third of them with the smallest errors.
    """
    rng = np.random.default_rng(0)
    ratios, stated = [], []
    for _ in range(20):
        order = rng.permutation(len(data.atom))
        connected = order[data.connected[order]]
        connected = connected[np.argsort(data.atom[connected], kind="stable")]
        atom = data.atom[connected]
        rank = np.arange(len(atom)) - np.searchsorted(atom, atom)
        few, others = (
            label_columns(
                Tally(np.bincount(atom), atom[part], data.barrier[connected][part], part[part])
            )
            for part in (rank < saddles, rank >= saddles)
        )
        known = others["searches_connected"] >= saddles
        error = few[ENERGY_BARRIER_STD][known]
        difference = (few[ENERGY_BARRIER] - others[ENERGY_BARRIER])[known]
        ratios.append(difference / np.hypot(error, others[ENERGY_BARRIER_STD][known]))
        stated.append(error)
    ratio, error = np.concatenate(ratios), np.concatenate(stated)
    surest = error <= np.quantile(error, 1 / 3)
    return {
        "draws": len(ratio),
        "difference_over_error": float(np.sqrt(np.mean(ratio**2))),
        "the_same_of_the_surest_third": float(np.sqrt(np.mean(ratio[surest] ** 2))),
    }


def mean_of(tally: Tally) -> np.ndarray:
    """Labels [N], eV."""
    return label_columns(tally)[ENERGY_BARRIER]


def growth(data: Searches, kind: str, searches: int, most: int) -> dict[str, float]:
    """Correlation of labels from fewer searches, and what the spreads of all of them predict."""
    tally, components = data.tally(kind, searches), reliability(data.tally(kind, most))
    found = mean_of(tally)
    known = np.isfinite(found)
    return {
        "pearson": float(np.corrcoef(found[known], data.published[known])[0, 1]),
        "predicted": predicted_pearson(tally, components),
    }


def published_ceiling(between: float) -> float:
    """Of any model with labels whose standard error is the published ones'."""
    return float(between / np.hypot(between, PUBLISHED_ERROR))


def picture(data: Searches, report: dict[str, Any], path: Path) -> None:
    """Labels over published ones, and the correlation over the number of searches."""
    figure = Figure(figsize=(11.4, 4.0), layout="constrained")
    *parity, growing = figure.subplots(1, 3)
    low, high = 0.0, 3.4
    for axes, kind in zip(parity, KINDS, strict=True):
        columns = label_columns(data.tally(kind, report["searches_of_an_atom"]))
        for place, name in enumerate(GLASSES):
            own = (data.glass == place) & np.isfinite(columns[ENERGY_BARRIER])
            axes.errorbar(
                data.published[own],
                columns[ENERGY_BARRIER][own],
                yerr=columns[ENERGY_BARRIER_STD][own],
                fmt="o",
                markersize=3.5,
                elinewidth=0.6,
                color=SERIES[1 + place],
                label=name,
            )
        axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle="--")
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set(xlabel="published label (eV)", ylabel=f"mean of {kind} (eV)")
        pearson = report["both"][kind]["against_published"]["pearson"]
        axes.set_title(f"{kind}: Pearson {pearson:.2f}", fontsize=10)
        remove_frame(axes)
    parity[0].legend(frameon=False, loc="upper left", fontsize=9)
    searches = [row["searches"] for row in report["growth"]]
    for color, kind in zip((SERIES[5], SERIES[3]), KINDS, strict=True):
        for name, line in (("pearson", "-"), ("predicted", ":")):
            values = [row[kind][name] for row in report["growth"]]
            label = kind if name == "pearson" else "predicted by spreads"
            growing.plot(searches, values, line, color=color, label=label)
    growing.set(xlabel="searches of an atom", ylabel="Pearson with published labels")
    growing.set(ylim=(0.0, 1.0), xlim=(0, max(searches)))
    growing.legend(frameon=False, loc="lower right", fontsize=9)
    remove_frame(growing)
    save(figure, path)


def main() -> None:
    """Report, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("glasses", type=Path, metavar="FOLDER")
    parser.add_argument("--picture", type=Path, default=FOLDER.parent / "docs/images/labels.png")
    options = parser.parse_args()

    write_searches()
    glasses = [read_structures(options.glasses / f"{name}.xyz")[0] for name in GLASSES]
    data = Searches([atoms.arrays[ENERGY_BARRIER] for atoms in glasses])
    report = measure(data)
    text = json.dumps(report, indent=1) + "\n"
    (RESULTS / "published_labels.json").write_text(text, encoding="utf-8")
    picture(data, report, options.picture)
    print(text, end="")


if __name__ == "__main__":
    main()
