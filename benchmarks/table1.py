"""The whole comparison: every row on every split with every seed, and the table and picture of it.

A row is a file in benchmarks/table1: a training configuration without data, or `simple: NAME`.
Splits: `standard` trains on the glasses train* and predicts `validation`; `leave-out-NAME` trains
on all labeled glasses but NAME and its relatives (`relatives.py`) and predicts these. Every job
predicts the test glasses as well. All seeds leave out one glass, the first seed all of them.
Finished jobs are kept in benchmarks/table1/runs and never repeated; interrupted ones continue.
The folder of a row's jobs is named by its content and the data's, so a changed row starts anew.
Jobs that table1.json knows are not repeated either, and stay in the table: begun on one machine, it
goes on, job by job, on another. `--results FOLDER` with an empty folder forgets that table; what is
in `runs` still counts. `--test-predictions` repeats jobs that only the table knows.

    python benchmarks/table1.py                                    # everything: days on two cores
    python benchmarks/table1.py --rows ridge_angular schnet --seeds 1 --jobs 2
    python benchmarks/table1.py --report                           # from what is finished
    python benchmarks/table1.py --report --test-predictions predictions/
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from comparison.glasses import Data
from comparison.pages import draw, markdown
from comparison.report import collect, is_known, write_test_predictions
from comparison.rows import jobs_of, load_rows
from comparison.schedule import ERROR, run_all
from published import PUBLISHED, say_if_missing
from symgnn.errors import SymGNNError
from symgnn.files import make_folder, written_whole

HERE = Path(__file__).resolve().parent


def arguments() -> argparse.ArgumentParser:
    """The options, all of which have a default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--splits", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument(
        "--seeds", type=int, default=4, help="seeds 0 to N − 1, on one glass (default: 4)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--report", action="store_true", help="train nothing, only report")
    parser.add_argument("--test-predictions", type=Path, metavar="FOLDER", help="write them here")
    parser.add_argument("--configurations", type=Path, default=HERE / "table1")
    parser.add_argument("--data", type=Path, default=PUBLISHED, help="folder of the glasses")
    parser.add_argument("--runs", type=Path, default=HERE / "table1" / "runs")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Train what is missing, then report; the exit code is 1 if a job failed."""
    parser = arguments()
    options = parser.parse_args(argv)
    if options.seeds < 1 or options.jobs < 1:
        parser.error("--seeds and --jobs need at least 1")
    if say_if_missing(options.data):
        return 0
    data = Data(options.data)
    splits = options.splits or data.splits
    unknown = [split for split in splits if split not in data.splits]
    if unknown:
        parser.error(f"no split {', '.join(unknown)}; there are {', '.join(data.splits)}")
    failed = []
    try:
        if not options.report:
            rows = load_rows(options.configurations, options.rows)
            before = earlier(options.results)
            jobs = [
                job
                for row in rows
                for job in jobs_of(row, data, options.runs, splits=splits, seeds=options.seeds)
                if options.test_predictions is not None or not is_known(job, data, before)
            ]
            # The first seed of everything comes first, so that the table fills early.
            jobs.sort(key=lambda job: job.seed)
            failed = run_all(jobs, data, options.runs, workers=options.jobs)
        report(options, data)
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept: run again to go on", file=sys.stderr)
        return 1
    except SymGNNError as error:
        print(error, file=sys.stderr)
        return 1
    for job in failed:
        print(f"failed: {job.name}, see {job.folder / ERROR}", file=sys.stderr)
    return 1 if failed else 0


def earlier(results: Path) -> dict[str, Any] | None:
    """What a folder's table1.json has, if there is one."""
    table = results / "table1.json"
    return json.loads(table.read_text(encoding="utf-8")) if table.exists() else None


def report(options: argparse.Namespace, data: Data) -> None:
    """Write table1.json, table1.md and table1.png over all rows, and print the table."""
    rows = load_rows(options.configurations)
    results = make_folder(options.results)
    table = results / "table1.json"
    before = earlier(results)  # others may have finished jobs meanwhile
    content = collect(rows, data, options.runs, seeds=options.seeds, before=before)
    text = markdown(content)
    with written_whole(table) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with written_whole(results / "table1.md") as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    draw(content, results / "table1.png")
    print(text)
    if options.test_predictions is not None:
        written = write_test_predictions(
            rows, data, options.runs, options.test_predictions, seeds=options.seeds
        )
        print(f"{len(written)} files of test predictions in {options.test_predictions}")


if __name__ == "__main__":
    sys.exit(main())
