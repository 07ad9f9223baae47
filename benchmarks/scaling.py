"""Work, communication and time of `compute symgnn` on 1, 2 and 4 ranks; what follows for 1,000.

Strong scaling: the same glass on more ranks. Weak scaling: as many atoms per rank. LAMMPS runs
inside Python on every rank. Counted on every rank, right after a run: the atoms that it owns, the
ghosts that it has, its ghosts that are neighbors of its own atoms, and the edges that it works on.
A forward communication after each layer but the last sends the node features of all ghosts, in
double precision.

Where ranks share processors, times say little: four ranks on two cores take turns. What counts on
a larger machine is the work of a rank, and that is counted.

    python benchmarks/scaling.py [--model paper] [--ranks 1 2 4] [-o FOLDER]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from symgnn import Annotator, benchmark
from symgnn._native import load_core
from symgnn.lammps import open_lammps
from symgnn.models import SymGNNConfig
from symgnn.samples import GLASS, sample_glass, write_sample

RESULTS = Path(__file__).parent / "results"
STEPS = 3
STRONG = "1 2 2"  # copies of the sample glass
WEAK = {1: "1 1 1", 2: "1 1 2", 4: "1 2 2"}
DOUBLE = 8  # bytes

# Assumed of a cluster, for the calculation on 1,000 ranks.
RANKS = 1000
BANDWIDTH = 5e9  # bytes per second and rank
LATENCY = 2e-6  # seconds per message
POTENTIAL_CUTOFF, SKIN = 7.6, 2.0  # Å, of the 2009 potential and of units metal
MESSAGES = 6  # of a forward communication: both neighbors along x, y and z

SETUP = f"""\
units metal
atom_modify map array
read_data {GLASS}
replicate {{copies}}
pair_style eam/fs
pair_coeff * * CuZr_2009.eam.fs Cu Zr
timestep 0.001
velocity all create 600 4928459
fix motion all nve
"""
ANNOTATION = """\
compute barrier all symgnn "{model}" Cu Zr device cpu threads 1
compute mean all reduce ave c_barrier
thermo 1
thermo_style custom step c_mean
"""


def main() -> None:
    """Measure both kinds of scaling, print tables and the calculation, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=benchmark.PAPER)
    parser.add_argument("--ranks", type=int, nargs="+", default=list(WEAK), choices=WEAK)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="a folder")
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank_of is not None:
        work_as_rank(json.loads(arguments.rank_of))
        return
    with benchmark.model_file(arguments.model) as model, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sample(folder)
        machine = benchmark.describe_machine()
        print(f"{arguments.model}, {machine['processor']}, {machine['cores']} cores")
        result: dict[str, Any] = {"model": arguments.model, "machine": machine}
        for kind in ("strong", "weak"):
            print(f"\n{kind} scaling; atoms, ghosts and edges of a rank: mean (largest)")
            print(HEADING)
            result[kind] = []
            for ranks in arguments.ranks:
                row = measure(folder, model, STRONG if kind == "strong" else WEAK[ranks], ranks)
                result[kind].append(row)
                print(line(row), flush=True)
        result["calculation"] = [
            calculate(model, result["weak"][0], atoms) for atoms in (1000, 8000, 64000)
        ]
    print_calculation(result["calculation"])
    (arguments.output / "scaling.json").write_text(json.dumps(result, indent=1) + "\n")


def measure(folder: Path, model: Path, copies: str, ranks: int) -> dict[str, Any]:
    """Run on so many ranks and put together what each of them counted."""
    request = {"model": str(model), "copies": copies, "folder": str(folder)}
    command = [
        str(Path(sysconfig.get_path("scripts")) / "mpiexec"),
        *("-n", str(ranks)),
        *(sys.executable, "-W", "ignore", __file__, "--rank-of", json.dumps(request)),
    ]
    for old in folder.glob("rank.*"):
        old.unlink()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        sys.exit(finished.stdout + finished.stderr)
    each = [json.loads(path.read_text()) for path in sorted(folder.glob("rank.*"))]
    metadata = Annotator(model, device="cpu").metadata
    sizes = {name: [rank[name] for rank in each] for name in ("owned", "ghosts", "used", "edges")}
    # On one rank the whole box with its periodic images goes to the network: no communication.
    bytes_per_layer = 0 if ranks == 1 else max(sizes["ghosts"]) * metadata["width"] * DOUBLE
    return {
        "ranks": ranks,
        "atoms": sum(sizes["owned"]),
        **sizes,
        "layers_communicated": metadata["layers"] - 1,
        "megabytes_per_layer": bytes_per_layer / 1e6,
        "seconds": max(rank["seconds"] for rank in each),
    }


def work_as_rank(request: dict[str, Any]) -> None:
    """One rank: run with annotation at every step and without, count, and write a file."""
    os.chdir(request["folder"])
    lammps = open_lammps()
    lammps.commands_string(SETUP.format(copies=request["copies"]))
    plain = seconds_per_step(lammps)
    lammps.commands_string(ANNOTATION.format(model=request["model"]))
    annotated = seconds_per_step(lammps)

    metadata = Annotator(request["model"], device="cpu").metadata
    owned = lammps.extract_setting("nlocal")
    alone = lammps.extract_setting("world_size") == 1
    # On one rank the periodic box takes the place of ghosts.
    ghosts = 0 if alone else lammps.extract_setting("nghost")
    low, high = lammps.extract_box()[:2]
    index, _ = load_core().find_edges(
        lammps.numpy.extract_atom("x", nelem=owned + ghosts, dim=3),
        np.diag(np.subtract(high, low)),
        [alone] * 3,
        metadata["cutoff"],
        centers=owned,
        self_edges=metadata["self_edges"],
    )
    counted = {
        "owned": owned,
        "ghosts": ghosts,
        "used": len(np.unique(index[1][index[1] >= owned])),
        "edges": index.shape[1],
        "seconds": annotated - plain,
    }
    me = lammps.extract_setting("world_rank")
    Path(f"rank.{me}").write_text(json.dumps(counted))
    lammps.close()
    lammps.finalize()  # mpiexec kills the other ranks when one leaves without a word


def seconds_per_step(lammps: Any) -> float:
    """Wall time, after a first run that sets up and warms up."""
    lammps.command("run 1")
    began = time.perf_counter()
    lammps.command(f"run {STEPS} pre no")
    return (time.perf_counter() - began) / STEPS


HEADING = f"{'ranks':>5} {'atoms':>6} {'owned':>15} {'ghosts':>15} {'of these used':>15} "
HEADING += f"{'edges':>17} {'MB a layer':>10} {'seconds':>8}"


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [
        f"{f'{mean(row[name]):.0f} ({max(row[name])})':>{width}}"
        for name, width in (("owned", 15), ("ghosts", 15), ("used", 15), ("edges", 17))
    ]
    return (
        f"{row['ranks']:5d} {row['atoms']:6d} {' '.join(cells)} "
        f"{row['megabytes_per_layer']:10.2f} {row['seconds']:8.3f}"
    )


def calculate(model: Path, alone: dict[str, Any], atoms: int) -> dict[str, float]:
    """One annotation on RANKS ranks that own so many atoms each, in cubes.

    Args:
        model: a file.
        alone: what was measured on one rank.
        atoms: owned by a rank.

    Returns:
        Ghosts of a rank; seconds of its own atoms, of its ghosts, and of communication; their sum;
        rank-seconds per atom; and the share of them that one rank alone would need too.
    """
    metadata = Annotator(model, device="cpu").metadata
    sample = sample_glass()
    density = len(sample) / sample.get_volume()
    side = (atoms / density) ** (1 / 3)

    def shell(reach: float) -> float:
        return density * ((side + 2 * reach) ** 3 - side**3)

    own = atoms * alone["seconds"] / alone["atoms"]
    ghosts = shell(max(metadata["cutoff"], POTENTIAL_CUTOFF) + SKIN)
    extra = own / atoms * shell(metadata["cutoff"]) * row_share(metadata, alone)
    layers = metadata["layers"]
    forward = ghosts * metadata["width"] * DOUBLE / BANDWIDTH + MESSAGES * LATENCY
    agreement = 2 * math.log2(RANKS) * LATENCY  # all ranks hear of an error on one of them
    communication = (layers - 1) * forward + (layers + 3) * agreement
    total = own + extra + communication
    return {
        "atoms_per_rank": atoms,
        "ghosts": ghosts,
        "own_seconds": own,
        "ghost_seconds": extra,
        "communication_seconds": communication,
        "seconds": total,
        "rank_seconds_per_atom": total / atoms,
        "efficiency": own / total,
    }


def row_share(metadata: dict[str, Any], alone: dict[str, Any]) -> float:
    """Share of an atom's arithmetic that is its own and not its edges': ghosts cause it again."""
    config = metadata.get("architecture", {})
    if config.get("architecture") != "symgnn":
        return 0.0
    network = SymGNNConfig.model_validate(config)
    atoms, edges = alone["atoms"], sum(alone["edges"])
    operations = benchmark.network_operations
    return operations(network, atoms, 0) / operations(network, atoms, edges)


def print_calculation(rows: list[dict[str, float]]) -> None:
    """The table and what it assumes."""
    print(f"\ncalculated: one annotation on {RANKS} ranks, one processor each")
    print(
        "assumed: cubes; every atom takes what it took on one rank; a ghost takes the share of an\n"
        "atom's arithmetic that does not belong to edges (of a density regression: nothing);\n"
        f"{BANDWIDTH / 1e9:g} GB/s per rank, {LATENCY * 1e6:g} µs per message, {MESSAGES} messages"
        f" per layer; ghosts up to the longer cutoff, of potential or model,\n"
        f"+ {SKIN:g} Å; layers + 3 reductions over all ranks, in 2 log2(ranks) messages; perfect "
        "balance, no overlap"
    )
    print(
        f"{'atoms a rank':>12} {'ghosts':>8} {'own (s)':>9} {'ghosts (s)':>10} "
        f"{'communication (s)':>17} {'rank-µs per atom':>16} {'efficiency':>10}"
    )
    for row in rows:
        print(
            f"{row['atoms_per_rank']:12.0f} {row['ghosts']:8.0f} {row['own_seconds']:9.3g} "
            f"{row['ghost_seconds']:10.3g} {row['communication_seconds']:17.3g} "
            f"{1e6 * row['rank_seconds_per_atom']:16.3g} {row['efficiency']:10.1%}"
        )


if __name__ == "__main__":
    main()
