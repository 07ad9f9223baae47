"""How fast annotation is, what memory it takes, and what it costs in a running simulation.

Annotation is compared with the same network in plain torch, with one EAM step of the same glass,
with its own neighbor list alone, and with the least time that this machine could take: the
network's arithmetic at the speed of a large matrix product.

Every measurement is a process of its own. The kinds take turns, round after round, and a ratio is
one of two measurements of the same round, so that what else the machine does strikes both alike.
The first call in a process is kept apart; of the later ones the best counts.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from symgnn.annotator import Annotator, find_model
from symgnn.benchmark_simulation import SAMPLING, eam_steps, run, write_glass
from symgnn.errors import ConfigError, SymGNNError
from symgnn.export import export_random
from symgnn.files import written_whole
from symgnn.models import SymGNNConfig
from symgnn.models.symmetrization import Symmetrization

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAPER: Final = "paper"
"""The model that is the paper's network with random weights, unless there is such a file."""

KINDS: Final = ("annotation", "eager", "eam_step", "neighbor_list", "pieces", "matrix_product")
"""What is measured at each size, in this order, in each round."""

PIECES: Final = ("neighbor_list", "edge_embedding", "attention_layers", "rest")

RATIOS: Final = {
    "eager / annotation": ("eager", "annotation"),
    "annotation / limit": ("annotation", "limit"),
    "annotation / EAM step": ("annotation", "eam_step"),
    "neighbor list / annotation": ("neighbor_list", "annotation"),
    "pieces / annotation": ("pieces", "annotation"),
}


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of some rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of one number per round."""
        return Spread(median(values), min(values), max(values))


@dataclass
class Series:
    """One kind of measurement, one entry per round."""

    first: list[float] = field(default_factory=list)
    """Seconds of the first call, in which threads, caches and libraries warm up."""
    best: list[float] = field(default_factory=list)
    """Seconds of the best later call."""
    memory: list[float] = field(default_factory=list)
    """MB: peak above imports, model and structure; of an EAM step, what LAMMPS counts."""


@dataclass
class Row:
    """Everything measured at one size, with one number of threads."""

    atoms: int
    threads: int
    edges: int | None = None
    gigaflop: float | None = None
    """Arithmetic of the network by its configuration; None for what is no network."""
    series: dict[str, Series] = field(default_factory=dict)
    """By kind; for the matrix product the ``limit`` that follows from it, ``best`` alone."""
    gigaflop_per_second: list[float] = field(default_factory=list)
    """Of the matrix product, one per round."""
    pieces: list[dict[str, float]] = field(default_factory=list)
    """Seconds by the names of PIECES, timed one by one, one set per round."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Kinds that were left out, and why."""

    @property
    def shares(self) -> dict[str, float]:
        """Share of each piece in their sum, by medians over the rounds; empty without pieces."""
        if not self.pieces:
            return {}
        seconds = {name: median(each[name] for each in self.pieces) for name in PIECES}
        return {name: spent / sum(seconds.values()) for name, spent in seconds.items()}

    @property
    def ratios(self) -> dict[str, Spread]:
        """Ratios of times, taken round by round."""
        found = {}
        for name, (over, under) in RATIOS.items():
            pairs = zip(self._best(over), self._best(under), strict=False)
            values = [above / below for above, below in pairs]
            if values:
                found[name] = Spread.of(values)
        return found

    def _best(self, kind: str) -> list[float]:
        return self.series[kind].best if kind in self.series else []

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **vars(self),
            "series": {kind: vars(each) for kind, each in self.series.items()},
            "shares": self.shares,
            "ratios": {name: vars(spread) for name, spread in self.ratios.items()},
        }


@dataclass
class LiveRow:
    """Runs of one size with annotation and without, one of each per round."""

    atoms: int
    ranks: int
    steps: int
    every: int
    plain: list[float] = field(default_factory=list)
    """Seconds of the run's steps."""
    annotated: list[float] = field(default_factory=list)
    sections: dict[str, list[dict[str, float]]] = field(
        default_factory=lambda: {"plain": [], "annotated": []}
    )
    """Where LAMMPS says that they went."""
    processor_use: dict[str, list[float]] = field(
        default_factory=lambda: {"plain": [], "annotated": []}
    )
    """Share of them in which a processor worked on the run; less than 1 where others took it."""

    @property
    def ratio(self) -> Spread | None:
        """Annotated over plain, taken round by round."""
        values = [a / p for a, p in zip(self.annotated, self.plain, strict=False)]
        return Spread.of(values) if values else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ratio = self.ratio
        return {**vars(self), "ratio": None if ratio is None else vars(ratio)}


@dataclass
class Benchmark:
    """What was measured so far, of one model on one machine."""

    model: str
    device: str
    machine: dict[str, Any]
    annotation: list[Row] = field(default_factory=list)
    live: list[LiveRow] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **vars(self),
            "annotation": [row.as_dict() for row in self.annotation],
            "live": [row.as_dict() for row in self.live],
        }

    def write(self, path: str | Path) -> None:
        """Write JSON.

        Raises:
            SymGNNError: the file cannot be written.
        """
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Step:
    """What is measured next, and how much is done."""

    done: int
    total: int
    text: str


@contextmanager
def model_file(name: str) -> Iterator[Path]:
    """The file of a model: ``paper``, a shipped one, or itself.

    Raises:
        ModelError: there is no such model.
    """
    if name != PAPER or Path(name).is_file():
        yield find_model(name).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{PAPER}.pt"
        export_random(PAPER, ["Cu", "Zr"], path)
        yield path


def start(model: Path, device: str) -> Benchmark:
    """A benchmark with nothing measured.

    Raises:
        ModelError: the model cannot be used, or the device is absent.
    """
    annotator = Annotator(model, device=device)
    return Benchmark(annotator.name, annotator.device, describe_machine(annotator.device))


def measure_annotation(
    benchmark: Benchmark,
    model: Path,
    *,
    sizes: Sequence[int],
    threads: Sequence[int] = (1,),
    rounds: int = 3,
) -> Iterator[Step]:
    """Measure, one kind at a time, into ``benchmark.annotation``.

    Args:
        benchmark: from :func:`start`.
        model: the same file.
        sizes: numbers of atoms.
        threads: numbers of threads; LAMMPS gets as many MPI ranks.
        rounds: measurements of each kind.

    Yields:
        What comes next, before each measurement.

    Raises:
        SymGNNError: annotation itself or LAMMPS failed.
    """
    rows = [Row(atoms, count) for atoms in sizes for count in threads]
    total, done = len(rows) * rounds * len(KINDS), 0
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            benchmark.annotation.append(row)
            for number, kind in itertools.product(range(1, rounds + 1), KINDS):
                words = kind.replace("_", " ")
                text = f"{row.atoms} atoms, {row.threads} threads, round {number}: {words}"
                yield Step(done, total, text)
                done += 1
                if kind in row.skipped:
                    continue
                if kind == "eam_step":
                    measured = eam_steps(_glass(folder, row.atoms), row.atoms, row.threads)
                else:
                    measured = _in_process(
                        kind=kind,
                        model=str(model),
                        atoms=row.atoms,
                        threads=row.threads,
                        device=benchmark.device,
                    )
                _take(row, kind, measured, model)


def measure_live(
    benchmark: Benchmark,
    model: Path,
    *,
    sizes: Sequence[int],
    ranks: Sequence[int] = (1,),
    steps: int = 10_000,
    every: int = 1_000,
    rounds: int = 3,
) -> Iterator[Step]:
    """Measure EAM runs with annotation and without, in turn, into ``benchmark.live``.

    Both go through the same steps at 300 K and print energies as often. The annotated one reads
    ``compute symgnn`` on averaged positions, and dumps every barrier.

    Args:
        benchmark: from :func:`start`.
        model: the same file.
        sizes: numbers of atoms.
        ranks: numbers of MPI ranks, one thread each.
        steps: of each run; a multiple of ``every``.
        every: steps from one annotation to the next; a multiple of 10.
        rounds: runs of each kind.

    Yields:
        What comes next, before each run.

    Raises:
        ConfigError: steps that do not fit.
        SymGNNError: LAMMPS failed.
    """
    check_steps(steps, every)
    elements = Annotator(model, device="cpu").elements
    known = {"Cu", "Zr"} <= set(elements)
    annotation = {
        "model": model,
        "elements": ["Cu", "Zr"] if known else [elements[0], elements[-1]],
        "device": benchmark.device,
    }
    rows = [LiveRow(atoms, count, steps, every) for atoms in sizes for count in ranks]
    total, done = len(rows) * rounds * 2, 0
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            benchmark.live.append(row)
            for number, kind in itertools.product(range(1, rounds + 1), ("plain", "annotated")):
                text = f"{row.atoms} atoms, {row.ranks} ranks, round {number}: {kind} run"
                yield Step(done, total, text)
                done += 1
                result = run(
                    _glass(folder, row.atoms),
                    steps=steps,
                    every=every,
                    ranks=row.ranks,
                    annotation=annotation if kind == "annotated" else None,
                )
                getattr(row, kind).append(result["seconds"])
                row.sections[kind].append(result["sections"])
                row.processor_use[kind].append(result["processor_use"])


def check_steps(steps: int, every: int) -> None:
    """Raise ConfigError unless a run of so many steps can be annotated every so many."""
    if every < SAMPLING or every % SAMPLING:
        raise ConfigError(f"annotation every {every} steps: give a multiple of {SAMPLING}")
    if steps < every or steps % every:
        raise ConfigError(f"{steps} steps with annotation every {every}: give a multiple of that")


def _glass(folder: str, atoms: int) -> Path:
    """A folder inside this one with what LAMMPS reads for this size, made when first asked for."""
    inside = Path(folder) / str(atoms)
    if not inside.is_dir():
        inside.mkdir()
        write_glass(inside, atoms)
    return inside


def _in_process(**request: Any) -> dict[str, Any]:
    """The last line that ``symgnn.benchmark_process`` prints."""
    command = [sys.executable, "-W", "ignore", "-m", f"{__package__}.benchmark_process"]
    process = subprocess.run(
        [*command, json.dumps(request)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    code = process.returncode
    if code < 0:
        return {"skipped": f"the process was killed (signal {-code}): too little memory?"}
    last = (process.stdout.splitlines() or [""])[-1]
    if code > 0:
        return {"skipped": last}
    result: dict[str, Any] = json.loads(last)
    return result


def _take(row: Row, kind: str, measured: dict[str, Any], model: Path) -> None:
    """Enter a measurement into its row."""
    if "skipped" in measured:
        if kind == "annotation":
            raise SymGNNError(f"annotation of {row.atoms} atoms failed: {measured['skipped']}")
        row.skipped[kind] = measured["skipped"]
        return
    first, *later = measured["seconds"]
    if kind == "matrix_product":
        rate = measured["operations"] / min(later) / 1e9
        row.gigaflop_per_second.append(rate)
        if row.gigaflop is None:
            row.skipped["limit"] = "the model is no network of matrix products"
        else:
            row.series.setdefault("limit", Series()).best.append(row.gigaflop / rate)
        return
    if kind == "neighbor_list" and row.edges is None:
        row.edges = measured["edges"]
        config = Annotator(model, device="cpu").metadata.get("architecture", {})
        if config.get("architecture") == "symgnn":
            network = SymGNNConfig.model_validate(config)
            row.gigaflop = network_operations(network, row.atoms, row.edges) / 1e9
    if kind == "pieces":
        row.pieces.append(measured["pieces"])
    series = row.series.setdefault(kind, Series())
    series.first.append(first)
    series.best.append(min(later))
    series.memory.append(measured["memory"])


def network_operations(config: SymGNNConfig, atoms: int, edges: int) -> int:
    """Floating-point operations of a SymGNN: products with weights, scores and weighted sums.

    A multiplication and an addition count as two. Left out is what has one result per element, as
    the first node features, or takes one operation per number, as activations.

    Args:
        config: the architecture.
        atoms: N.
        edges: E, self-edges included.
    """
    width = config.width
    symmetrization = config.symmetrization
    matrices = Symmetrization(
        symmetrization.distribution, symmetrization.samples, symmetrization.evaluation_samples
    )
    transformations = len(matrices.eval()())
    inputs = 3 if config.edge_input == "vector" else max(1, config.radial_basis)
    embedding = 2 * edges * transformations * (inputs * width + width * width)

    layers = 0
    for number, heads in enumerate(config.heads):
        channels = heads * width
        # Node features as center, neighbor and value; what was gathered, back to the width.
        layers += 2 * atoms * 4 * width * channels
        # Edge features in; scores; the weighted sum of values; edge features out, but for the last.
        layers += 2 * edges * (width * channels + 2 * channels)
        if number + 1 < len(config.heads):
            layers += 2 * edges * channels * width
    decoder = 2 * atoms * (config.decoder_layers * width * width + width)
    copies = transformations if symmetrization.level == "output" else 1
    return embedding + copies * (layers + decoder)


def describe_machine(device: str = "cpu") -> dict[str, Any]:
    """What the numbers depend on: processor, memory, versions, and how threads wait."""
    import torch

    description = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lammps": version("lammps"),
        "symgnn": version("symgnn"),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "date": datetime.now(UTC).date().isoformat(),
    }
    if device != "cpu":
        description["gpu"] = torch.cuda.get_device_name(device)
    return description


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
