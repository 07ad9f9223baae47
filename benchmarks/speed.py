"""Is annotation as fast, and live annotation as cheap, as promised on this machine?

The paper's network on 8,000 atoms and two threads, and `cuzr-fast` in a LAMMPS run of 8,000
atoms on one rank: what `symgnn benchmark` measures, held to bounds. Exit code 1 where one is
broken.

    python benchmarks/speed.py [--rounds 3] [--steps 10000] [-o FOLDER]
"""

from __future__ import annotations

import argparse
import operator
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from symgnn import benchmark

if TYPE_CHECKING:
    from collections.abc import Iterator

ATOMS, THREADS, EVERY = 8000, 2, 1000
RESULTS = Path(__file__).parent / "results"

LEAST, MOST = (">=", operator.ge), ("<=", operator.le)
PROMISES = {
    "eager / annotation": (LEAST, 8.0),
    "annotation / limit": (MOST, 2.5),
    "neighbor list / annotation": (MOST, 0.15),
    "memory of annotation (MB)": (MOST, 150.0),
    "live / plain run": (MOST, 1.03),
}


def main() -> None:
    """Measure, write JSON, print the promises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10_000, help="of the LAMMPS runs")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="a folder")
    arguments = parser.parse_args()
    with benchmark.model_file(benchmark.PAPER) as model:
        speed = benchmark.start(model, "cpu")
        work = benchmark.measure_annotation(
            speed, model, sizes=[ATOMS], threads=[THREADS], rounds=arguments.rounds
        )
        go_through(work, speed, arguments.output / "speed.json")
    with benchmark.model_file("cuzr-fast") as model:
        live = benchmark.start(model, "cpu")
        work = benchmark.measure_live(
            live,
            model,
            sizes=[ATOMS],
            steps=arguments.steps,
            every=EVERY,
            rounds=arguments.rounds,
        )
        go_through(work, live, arguments.output / "live.json")
    print(f"machine: {speed.machine['processor']}, {speed.machine['cores']} cores")
    print(f"paper, {ATOMS} atoms, {THREADS} threads; cuzr-fast live, one rank, every {EVERY} steps")
    verdicts = [kept(name, found) for name, found in measured(speed, live)]
    if not all(verdicts):
        sys.exit("a promise is broken")


def go_through(work: Iterator[benchmark.Step], result: benchmark.Benchmark, path: Path) -> None:
    """Measure, and write the JSON after every measurement."""
    for step in work:
        print(f"{step.done + 1}/{step.total} {step.text}", file=sys.stderr, flush=True)
        result.write(path)
    result.write(path)


def measured(
    speed: benchmark.Benchmark, live: benchmark.Benchmark
) -> Iterator[tuple[str, benchmark.Spread]]:
    """What each promise is about."""
    row = speed.annotation[0]
    for name in PROMISES:
        if name in row.ratios:
            yield name, row.ratios[name]
    yield "memory of annotation (MB)", benchmark.Spread.of(row.series["annotation"].memory)
    ratio = live.live[0].ratio
    assert ratio is not None
    yield "live / plain run", ratio


def kept(name: str, found: benchmark.Spread) -> bool:
    """Print one promise; is it kept by the median?"""
    (sign, compare), bound = PROMISES[name]
    good = bool(compare(found.median, bound))
    print(
        f"{name:27s} {found.median:8.3f} ({found.low:.3f} to {found.high:.3f}), "
        f"promised {sign} {bound:g}: {'kept' if good else 'BROKEN'}"
    )
    return good


if __name__ == "__main__":
    main()
