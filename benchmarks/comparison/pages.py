"""The report as a Markdown table and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from symgnn.files import written_whole

if TYPE_CHECKING:
    from pathlib import Path

TITLES = {
    "element_mean": "element mean",
    "local_sampling": "local sampling (300 K)",
    "ridge_coarse": "ridge, coarse radial densities",
    "ridge_radial": "ridge, radial densities",
    "ridge_angular": "ridge, radial and angular densities",
    "ridge_drag": "ridge, densities and dragging",
    "boosted_trees": "boosted trees, radial and angular densities",
    "density_regression": "density regression",
    "mlp": "MLP",
    "gcn": "GCN",
    "gcn_edge": "GCN with edge features",
    "egnn": "EGNN",
    "egat_length": "EGAT on edge length",
    "schnet": "SchNet",
    "mgcn": "MGCN",
    "mpnn": "MPNN",
    "faenet": "FAENet",
    "equivariant": "SE(3)-equivariant network",
    "symgnn_no_symmetrization": "SymGNN without symmetrization",
    "symgnn_augmentation": "SymGNN, random rotations as augmentation",
    "symgnn_paper": "SymGNN, paper preset",
    "symgnn_best": "SymGNN, best preset",
}
"""How rows are called, by name of their files; others by that name."""

_SCORES = {
    "Pearson, pooled": "pooled_pearson",
    "Pearson, per glass": "mean_pearson",
    "worst glass": "worst_pearson",
    "Spearman, per glass": "mean_spearman",
    "MAE (eV)": "mae",
    "AUC low 5%": "mean_auc_lowest",
    "AUC high 5%": "mean_auc_highest",
}
_MORE = [
    "validation, best epoch",
    "validation, last",
    "training (s)",
    "finished jobs",
    "paper, other glasses",
]
_MISSING = "–"


def title(name: str) -> str:
    """What a row is called."""
    return TITLES.get(name, name.replace("_", " "))


def markdown(report: dict[str, Any]) -> str:
    """The table, and below it what the numbers are."""
    glasses, seeds = report["glasses"], report["seeds"]
    repeated = report["repeated"]
    headings = ["row", *_SCORES, f"`{repeated}`, up to {seeds} seeds", *_MORE]
    lines = [" | ".join(headings), " | ".join(["---", *["---:"] * (len(headings) - 1)])]
    lines += [" | ".join(_cells(name, row, repeated)) for name, row in report["rows"].items()]
    table = "\n".join(f"| {line} |" for line in lines)
    machines = ", ".join(report["machines"]) or "no machine yet"
    relatives = _relatives(report["families"])
    return f"""# Comparison on leave-one-glass-out

{table}

Each of the {len(glasses)} labeled glasses ({", ".join(glasses)}) is predicted by a model that was
trained on the others{relatives} and stopped after its last epoch. One seed
predicts all of them, {seeds} predict `{repeated}`, whose Pearson correlations have mean ± standard
deviation where there are several by now; rows with a spread everywhere have had all seeds on all.
Networks that lie closer together than that spread have no order. Pooled: over all atoms of all
held-out glasses (negative for the element mean, since leaving a glass out moves the mean away from
it). Per glass: mean over glasses; so are Spearman and AUC, the probability that an
atom among the 5% lowest (highest) labels is predicted below (above) another atom of its glass.
Validation: Pearson of models trained on the glasses train*, on the glass `validation`; the best
epoch was chosen on that glass, the last was not. Training: seconds on one thread ({machines}).
**Incomplete** rows lack jobs, and numbers in parentheses leave out glasses: they compare with
nothing. The last column is the paper's pooled test Pearson (Li et al., ICML 2024), on two other
glasses and with the epoch chosen on them.

Written by `python benchmarks/table1.py`; `table1.json` has more: intervals over glasses, every
glass, calibration.
"""


def _relatives(families: dict[str, int]) -> str:
    """What was not among the others either."""
    groups = [
        " and ".join(name for name, of in families.items() if of == family)
        for family in sorted(set(families.values()))
    ]
    together = [group for group in groups if " and " in group]
    if not together:
        return ""
    return f" (but not on what is nearly the same glass: {'; '.join(together)}; `relatives.py`)"


def _cells(name: str, row: dict[str, Any], repeated: str) -> list[str]:
    validation = row["validation"] or {}
    finished = f"{row['jobs']['finished']} of {row['jobs']['all']}"
    if row["jobs"]["finished"] < row["jobs"]["all"]:
        finished = f"**incomplete:** {finished}"
    return [
        title(name),
        *(_score(row, key) for key in _SCORES.values()),
        _spread(row["pearson_by_glass"][repeated]),
        _spread(validation.get("best")),
        _spread(validation.get("last")),
        _MISSING if row["seconds"] is None else f"{row['seconds']:.0f}",
        finished,
        _spread(row["paper"]),
    ]


def _score(row: dict[str, Any], key: str) -> str:
    if row["scores"] is not None:
        return _spread(row["scores"][key])
    if row["incomplete"] is not None:
        return f"({_number(row['incomplete'][key])})"
    return _MISSING


def _number(value: float) -> str:
    """Three decimals, and no zero before the point."""
    text = f"{abs(value):.3f}".removeprefix("0")
    return f"−{text}" if value < 0 else text


def _spread(value: dict[str, float | None] | None) -> str:
    if value is None or value["mean"] is None:
        return _MISSING
    deviation = value["sd"]
    return _number(value["mean"]) + ("" if deviation is None else f" ± {_number(deviation)}")


def draw(report: dict[str, Any], path: Path) -> None:
    """A dot per row for pooled and per-glass Pearson, and for the paper's number."""
    rows = [
        (name, row)
        for name, row in report["rows"].items()
        if row["scores"] is not None or row["paper"] is not None
    ]
    figure = Figure(figsize=(8.0, 1.6 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    shift = 0.18
    kinds = (
        ("pooled over held-out glasses", "pooled_pearson", "o", "tab:blue", -shift, 0.005),
        ("mean over held-out glasses", "mean_pearson", "D", "tab:orange", 0.0, 0.12),
    )
    for label, key, marker, color, offset, edge in kinds:
        points = [
            (y + offset, row["scores"][key]) for y, (_, row) in enumerate(rows) if row["scores"]
        ]
        _dots(axes, points, edge, marker=marker, color=color, label=label, markersize=5)
    points = [(y + shift, row["paper"]) for y, (_, row) in enumerate(rows) if row["paper"]]
    _dots(
        axes,
        points,
        0.24,
        marker="s",
        color="tab:gray",
        markerfacecolor="white",
        label="paper: its two test glasses, epoch chosen on them",
        markersize=5,
    )
    axes.set_yticks(range(len(rows)), [_tick(name, row) for name, row in rows])
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    for y in range(len(rows) - 1):
        axes.axhline(y + 0.5, color="0.92", linewidth=0.8, zorder=0)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("Pearson correlation (mean ± sd over seeds)")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


def _dots(axes: Any, points: list[tuple[float, dict[str, Any]]], edge: float, **style: Any) -> None:
    """Means with their standard deviations; those below zero as numbers at ``edge``."""
    for y, value in points:
        if value["mean"] < 0.0:
            text = f"← {_number(value['mean'])}"
            axes.text(edge, y, text, color=style["color"], fontsize=7, va="bottom")
    axes.errorbar(
        [value["mean"] for _, value in points],
        [y for y, _ in points],
        xerr=[value["sd"] or 0.0 for _, value in points],
        linestyle="none",
        elinewidth=1.2,
        capsize=2,
        **style,
    )


def _tick(name: str, row: dict[str, Any]) -> str:
    missing = row["jobs"]["finished"] < row["jobs"]["all"]
    return title(name) + (" (incomplete)" if missing else "")
