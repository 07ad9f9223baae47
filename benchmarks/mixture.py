"""Does a network know something of barriers that ridge does not?

    python benchmarks/mixture.py [--network symgnn_best] [--ridge ridge_drag]

Pearson correlation on the glasses left out, for ridge, for a network, and for their weighted means
(both with mean 0 and variance 1 first), on every split that `table1.py` has finished for both, with
seed 0. On `standard` the glass is nearly one of those trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from comparison import glasses, rows
from published import PUBLISHED

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent
RIDGE = "ridge_angular"
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5)


def main() -> None:
    """Write results/mixture_NETWORK.txt, or mixture_NETWORK_with_RIDGE.txt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="symgnn_best")
    parser.add_argument("--ridge", default=RIDGE, help="a row that is no network")
    options = parser.parse_args()

    data = glasses.Data(PUBLISHED)
    lines = [
        f"Pearson correlation: {options.ridge}, {options.network}, means by weight of the latter",
        f"{'split':20}{'glass':12}{'ridge':>8}{'network':>8}"
        + "".join(f"{weight:8.1f}" for weight in WEIGHTS),
    ]
    ridge, network = rows.load_rows(FOLDER / "table1", [options.ridge, options.network])
    for split in data.splits:
        _, held_out = data.parts(split)
        jobs = [
            job
            for row in (ridge, network)
            for job in rows.jobs_of(row, data, FOLDER / "table1" / "runs", splits=[split], seeds=1)
        ]
        if not all(job.result.exists() for job in jobs):
            continue
        for glass in held_out:
            known, learned = (_standardized(job, glass) for job in jobs)
            mixed = [known, learned, *((1.0 - w) * known + w * learned for w in WEIGHTS)]
            label = data.label(glass)
            scores = "".join(f"{np.corrcoef(m, label)[0, 1]:8.4f}" for m in mixed)
            lines.append(f"{split:20}{glass:12}{scores}")
    text = "\n".join(lines) + "\n"
    name = options.network + ("" if options.ridge == RIDGE else f"_with_{options.ridge}")
    (FOLDER / "results" / f"mixture_{name}.txt").write_text(text, encoding="utf-8")
    print(text, end="")


def _standardized(job: rows.Job, glass: str) -> NDArray[np.float64]:
    """What a finished job predicts of a glass [N], with mean 0 and variance 1."""
    with np.load(job.result) as arrays:
        prediction = np.asarray(arrays[f"last/{glass}"])
    return (prediction - prediction.mean()) / prediction.std()


if __name__ == "__main__":
    main()
