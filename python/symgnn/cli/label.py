"""``symgnn label``: searches for saddles around atoms, their catalog, and labels from it."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from typer.core import TyperGroup

from symgnn.cli.options import ElementsOption, OneIndexOption, element_names, read_settings
from symgnn.cli.progress import count_to
from symgnn.errors import Interrupted, StructureError, SymGNNError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from ase import Atoms

    from symgnn.landscape.events import Catalog, Origin, Task
    from symgnn.landscape.potential import Potential
    from symgnn.landscape.saddle import SaddleSettings
    from symgnn.landscape.workers import Done

_RELAXED = 1e-3  # eV/Å, with --relax
_RELAXATION_CALLS = 20000
_GOOD = 0.9  # correlation that good labels allow


class _Engine(Protocol):
    """Does searches, and gives each when it is done."""

    def __call__(
        self, tasks: Sequence[Task], atoms: Atoms, potential: Potential, settings: SaddleSettings
    ) -> Generator[Done]: ...


class _SearchByDefault(TyperGroup):
    """``symgnn label glass.xyz`` means ``symgnn label search glass.xyz``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["search", *args]
        return super().parse_args(ctx, args)


label = typer.Typer(
    cls=_SearchByDefault,
    no_args_is_help=True,
    help="Find the saddles around atoms, and make labels of them.\n\n"
    "`symgnn label STRUCTURE -o catalog.db` searches (options: `symgnn label search --help`),"
    " `symgnn label export` makes labels.\n\n"
    "Example: symgnn label glass.xyz --atoms random:100 --workers 4 -o glass.db",
)

CatalogArgument = Annotated[Path, typer.Argument(help="What `symgnn label` wrote.")]


@label.command("search")
def search(
    structure: Annotated[Path, typer.Argument(help="A periodic structure at an energy minimum.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The catalog; one that exists is continued."),
    ],
    potential: Annotated[
        str | None,
        typer.Option("--potential", help="cuzr is the one that ships; or give --pair-style."),
    ] = None,
    pair_style: Annotated[
        str | None, typer.Option("--pair-style", help="As in LAMMPS (units metal): eam/fs")
    ] = None,
    pair_coeff: Annotated[
        list[str] | None,
        typer.Option("--pair-coeff", help="As in LAMMPS: '* * CuZr.eam.fs Cu Zr'; repeatable."),
    ] = None,
    elements: ElementsOption = None,
    index: OneIndexOption = None,
    atoms: Annotated[
        str,
        typer.Option(
            "--atoms",
            help="all, random:N, an element, indices from 0: 0,5,10-19, or column:NAME, the atoms"
            " whose value there is not zero. random:200 contains the atoms of random:100.",
        ),
    ] = "all",
    searches: Annotated[int, typer.Option("--searches", min=1, help="For each atom.")] = 20,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes of one core; 0: one for each core.")
    ] = 0,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            metavar="tcp://HOST:PORT",
            help="Search on the Dask cluster of this scheduler instead; docs/labels.md.",
        ),
    ] = None,
    relax: Annotated[
        bool, typer.Option("--relax", help="Relax the structure to its energy minimum first.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Keep saddles and final minima too, of searches from now on."),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting of searches; a wrong key lists all, with their defaults.",
        ),
    ] = None,
) -> None:
    """Search for saddles around atoms of a structure, and add them to a catalog.

    What is in the catalog already is not searched again: the same command goes on after Ctrl-C,
    kill -9 or a full disk, and more atoms or searches add to it.

    Example: symgnn label glass.xyz --atoms random:100 --searches 20 --workers 4 -o glass.db
    """
    from symgnn.graph import check_finite
    from symgnn.landscape.events import Origin
    from symgnn.landscape.saddle import SaddleSettings
    from symgnn.selection import chosen_atoms, structure_checksum
    from symgnn.structures import read_structure

    if workers and scheduler:
        raise SymGNNError("--workers and --scheduler exclude each other: give one of them")
    glass = read_structure(structure, elements=_file_elements(structure, elements), index=index)
    check_finite(glass.positions, glass.cell.array, str(structure))
    with tempfile.TemporaryDirectory(prefix="symgnn-") as folder:
        forces = _potential(potential, pair_style, pair_coeff, elements, Path(folder))
        forces.types_of(glass.get_chemical_symbols())
        origin = Origin(
            structure_checksum(glass),
            forces.checksum(),
            read_settings(settings or [], SaddleSettings),
            relax,
        )
        chosen = chosen_atoms(atoms, glass)
        # The engine first: without one, no catalog is begun.
        with (
            _engine(workers, scheduler) as start,
            _open(output, origin, glass, forces) as catalog,
        ):
            tasks = catalog.missing(chosen, searches)
            if not tasks:
                typer.echo(f"{output}: nothing is missing; next: {_export(output)}")
                return
            run = start(tasks, catalog.structure(), forces, origin.settings)
            _fill(catalog, run, len(tasks), keep=keep)


def _file_elements(path: Path, elements: str | None) -> list[str] | None:
    """``--elements`` also names the types of a LAMMPS file; other files name theirs themselves."""
    from symgnn.structures import is_lammps_file

    if elements is None or not path.is_file():
        return None
    return element_names(elements) if is_lammps_file(path) else None


def _open(path: Path, origin: Origin, atoms: Atoms, potential: Potential) -> Catalog:
    """Continue a catalog, or begin it with a structure whose forces vanish."""
    from symgnn.landscape.events import Catalog

    if path.is_file() and path.stat().st_size:
        return Catalog.append(path, origin)
    return Catalog.append(path, origin, _minimum(atoms, potential, origin))


def _minimum(atoms: Atoms, potential: Potential, origin: Origin) -> Atoms:
    import numpy as np

    from symgnn.landscape.forces import Forces
    from symgnn.landscape.minimize import minimize

    with Forces(atoms, potential) as forces:
        largest = float(np.abs(forces(atoms.positions)[1]).max())
        if origin.relax:
            atoms.positions, _, relaxed = minimize(
                forces,
                atoms.positions,
                tolerance=_RELAXED,
                longest=origin.settings.push_step,
                calls=_RELAXATION_CALLS,
            )
            if not relaxed:
                raise StructureError("the structure does not relax to an energy minimum")
        elif largest > origin.settings.relaxation_tolerance:
            raise StructureError(
                f"the structure is not at an energy minimum of this potential: a force is"
                f" {largest:.2g} eV/Å; give --relax, or the potential that it was made with"
            )
    return atoms


@contextmanager
def _engine(workers: int, scheduler: str | None) -> Iterator[_Engine]:
    """What does searches: processes of this machine, or a Dask cluster."""
    if scheduler is None:
        from symgnn.landscape.workers import run_searches

        processes = workers or len(os.sched_getaffinity(0))
        yield partial(run_searches, workers=processes)
        return
    try:
        from symgnn.landscape.cluster import connected, run_on_cluster
    except ImportError:
        raise SymGNNError("--scheduler needs Dask: pip install 'symgnn[cluster]'") from None
    with connected(scheduler) as client:
        if not client.nthreads():
            typer.echo(f"{scheduler} has no workers yet: waiting for some", err=True)
        yield partial(run_on_cluster, client=client)


def _fill(catalog: Catalog, run: Generator[Done], total: int, *, keep: bool) -> None:
    """Store what a run of searches finds, with a progress bar."""
    from symgnn.files import heeding_interrupts, uninterrupted
    from symgnn.landscape.labels import Progress
    from symgnn.landscape.workers import interrupt

    progress = Progress(total)
    died: list[Task] = []

    def store(done: Done) -> None:
        task, result, seconds = done
        if result is None:
            died.append(task)
            return
        with uninterrupted():
            catalog.add(task, result, seconds, configurations=keep)
            progress.add(result)

    try:
        with heeding_interrupts() as check, count_to(total, lines=100) as show:
            for done in run:
                store(done)
                show(progress.done, progress.text())
                check()
    except KeyboardInterrupt:
        for done in interrupt(run):
            store(done)
        raise Interrupted(
            f"interrupted; {progress.done} searches of this run are in {catalog.path}: the same"
            " command goes on"
        ) from None
    finally:
        run.close()
    if died:
        raise SymGNNError(
            f"searches brought their processes down again and again ({len(died)}, such as search"
            f" {died[0].search} of atom {died[0].atom}), perhaps for lack of memory;"
            f" {progress.done} of this run are in {catalog.path}: the same command tries the others"
            " again"
        )
    typer.echo(f"{catalog.path}: {progress.text()}; next: {_export(catalog.path)}")


@label.command("export")
def export(
    catalog: CatalogArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="An extended XYZ file.")],
) -> None:
    """Write the structure with its labels, as `symgnn train` reads it.

    Columns: energy_barrier (mean of connected saddles, eV), energy_barrier_std (its standard
    error), energy_barrier_all (mean of all saddles), searches, searches_converged and
    searches_connected. Atoms without a label carry NaN.

    Example: symgnn label export glass.db -o labels.xyz
    """
    import numpy as np

    from symgnn.errors import DatasetError
    from symgnn.files import check_output
    from symgnn.keys import ENERGY_BARRIER, ENERGY_BARRIER_STD
    from symgnn.landscape.events import Catalog
    from symgnn.landscape.labels import labeled
    from symgnn.structures import write_structures

    check_output(output, catalog)
    with Catalog.read(catalog) as events:
        atoms = labeled(events)
    barrier = atoms.arrays[ENERGY_BARRIER]
    known = np.isfinite(barrier)
    if not known.any():
        raise DatasetError(f"{catalog} holds no connected saddle yet: search on")
    write_structures(output, [atoms], format="extxyz")
    error = np.median(atoms.arrays[ENERGY_BARRIER_STD][known])
    typer.echo(
        f"{output}: {known.sum()} of {len(atoms)} atoms labeled, energy barrier"
        f" {barrier[known].mean():.3f} ± {barrier[known].std():.3f} eV, "
        + (
            f"median standard error {error:.3f} eV"
            if np.isfinite(error)
            else "no standard errors: no atom has two connected saddles; give more --searches"
        )
    )


@label.command("status")
def status(catalog: CatalogArgument) -> None:
    """Say what is in a catalog, also while it is being filled.

    Example: symgnn label status glass.db
    """
    import numpy as np

    from symgnn.landscape.events import Catalog
    from symgnn.landscape.labels import pooled_spread
    from symgnn.landscape.reliability import ceiling_interval, reliability

    with Catalog.read(catalog) as events:
        tally, reasons = events.tally(), events.reasons()
        calls, seconds = events.cost()
    done, connected = int(tally.searches.sum()), int(tally.connected.sum())
    typer.echo(f"{done} searches from {(tally.searches > 0).sum()} of {len(tally.searches)} atoms")
    typer.echo(
        f"{len(tally.barrier)} found a saddle, {connected} one that leads from the start to another"
        f" minimum ({connected / max(done, 1):.0%} of the searches)"
    )
    for reason, count in reasons.items():
        typer.echo(f"  {count} × {reason}")
    if connected:
        barrier = tally.barrier[tally.connected]
        typer.echo(
            f"mean barrier {barrier.mean():.3f} eV, all saddles {tally.barrier.mean():.3f} eV"
        )
        spread = pooled_spread(tally)
        if np.isfinite(spread):
            typer.echo(f"spread within atoms {spread:.3f} eV")
        typer.echo(f"median {calls:.0f} force calls for a saddle")
        typer.echo(f"{seconds / connected:.1f} core-seconds for a connected saddle")
    components = reliability(tally)
    if components is not None and components.telling:
        saddles = connected / components.atoms
        low, high = ceiling_interval(tally, saddles)
        typer.echo(
            f"reliability of a mean of {saddles:.1f} saddles {components.of_mean(saddles):.2f}:"
            f" no model can correlate with such labels above {components.ceiling(saddles):.2f}"
            f" (95% interval {low:.2f} to {high:.2f})"
        )
        needed = components.saddles_for(_GOOD) * done / connected
        if not low > 0.0:
            typer.echo("these are too few searches to tell how many good labels take")
        elif needed > done / (tally.searches > 0).sum():
            typer.echo(f"labels that allow {_GOOD:.2f}: some {needed:.2g} searches of each atom")


def _export(path: Path) -> str:
    return f"symgnn label export {path} -o labels.xyz"


def _potential(
    name: str | None,
    pair_style: str | None,
    pair_coeff: list[str] | None,
    elements: str | None,
    folder: Path,
) -> Potential:
    from symgnn.landscape.potential import SHIPPED, Potential

    if name is not None and name != SHIPPED:
        raise SymGNNError(
            f"there is no shipped potential {name!r}: give --potential {SHIPPED}, or --pair-style"
            " and --pair-coeff"
        )
    if pair_style is None and pair_coeff is None:
        return Potential.shipped(folder)
    if name is not None:
        raise SymGNNError("--potential and --pair-style exclude each other: give one of them")
    symbols = element_names(elements)
    if symbols is None:
        raise SymGNNError("--pair-style needs --elements: the element of each type of --pair-coeff")
    return Potential.read(pair_style or "", pair_coeff or [], symbols, Path.cwd())
