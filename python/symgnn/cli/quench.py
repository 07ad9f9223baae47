"""``symgnn quench``: glasses from the melt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symgnn.cli.options import element_names
from symgnn.errors import Interrupted, SymGNNError

if TYPE_CHECKING:
    from types import TracebackType

    from symgnn.landscape.potential import Potential
    from symgnn.landscape.quench import Moment, QuenchSettings

_STAGES = {
    "packing": "random packing",
    "melt": "melt",
    "cool": "cooling",
    "minimize": "minimizing",
    "shear": "shearing",
}


def quench(
    composition: Annotated[str, typer.Argument(help="Elements and proportions, such as Cu64Zr36.")],
    atoms: Annotated[int, typer.Option("--atoms", "-n", min=1, help="Atoms of each glass.")] = 1000,
    rate: Annotated[
        float, typer.Option("--rate", help="Cooling rate, 1e10 to 1e14 K/s.", show_default="1e13")
    ] = 1e13,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder; without it, one like Cu64Zr36-1000-1e13 is made."
        ),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Glasses to make.")] = 1,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, help="Each sample's own seed follows from it and the sample's number."
        ),
    ] = 1,
    hold: Annotated[float, typer.Option("--hold", help="Time in the melt, ps.")] = 100.0,
    temperature: Annotated[float, typer.Option("--temperature", help="Of the melt, K.")] = 2000.0,
    shear: Annotated[
        float,
        typer.Option("--shear", help="Shear the glass to this strain, athermally, such as 0.1."),
    ] = 0.0,
    pair_style: Annotated[
        str | None,
        typer.Option("--pair-style", help="As in LAMMPS; without it, Cu-Zr of 2009 (eam/fs)."),
    ] = None,
    pair_coeff: Annotated[
        list[str] | None,
        typer.Option("--pair-coeff", help="As in LAMMPS, in quotes; may be given several times."),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(
            "--elements",
            metavar="Cu Zr",
            help="Element of each atom type of --pair-coeff, in order.",
        ),
    ] = None,
    ranks: Annotated[int, typer.Option("--ranks", min=1, help="MPI ranks of LAMMPS.")] = 1,
) -> None:
    """Make glasses in LAMMPS: random packing, melt, cooling to 1 K, energy minimum.

    The output folder receives report.md, report.png and report.json, and a folder for each sample
    with glass.xyz, glass.data and the LAMMPS inputs. The same command goes on with what was
    interrupted, and a larger --samples adds to what is there.

    Examples:

      symgnn quench Cu64Zr36 --atoms 1000 --rate 1e13 --samples 3

      symgnn quench Al --pair-style eam/fs --pair-coeff "* * Al_mm.eam.fs Al" --elements Al

    The second example reads Al_mm.eam.fs, which comes with LAMMPS, from the present folder;
    docs/quench.md says how to copy it there.
    """
    from symgnn.landscape.quench import (
        QuenchSettings,
        is_finished,
        make_sample,
        prepare,
        sample_folder,
    )
    from symgnn.landscape.quench_report import write_report

    settings = QuenchSettings(composition, atoms, rate, hold, temperature, seed, shear)
    rate_name = f"{rate:.3g}".replace("e+", "e")
    folder = output or Path(f"{composition}-{atoms}-{rate_name}")
    symbols = list(settings.counts())
    potential = _potential(folder, symbols, pair_style, pair_coeff, element_names(elements))
    prepare(folder, settings, potential)
    for number in range(1, samples + 1):
        target = sample_folder(folder, number)
        if is_finished(target):
            print(f"{target} is finished: kept", file=sys.stderr)
            continue
        progress = _Progress(target, f"sample {number} of {samples}", settings)
        try:
            with progress:
                make_sample(
                    folder, number, settings, potential, ranks=ranks, report=progress.report
                )
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted in {target}, which keeps its restart files: the same command goes on"
            ) from None
    for sample in write_report(folder, settings):
        for text in sample["warnings"]:
            print(f"warning: sample {sample['sample']}: {text}", file=sys.stderr)
        typer.echo(
            f"{sample_folder(folder, sample['sample'])}/glass.xyz:"
            f" {sample['density_g_per_cm3']:.3f} g/cm³, {sample['energy_eV_per_atom']:.4f} eV/atom,"
            f" {sample['pressure_GPa']:.4f} GPa, largest force"
            f" {sample['largest_force_eV_per_A']:.0e} eV/Å, coordination"
            f" {sample['coordination']:.1f}, icosahedra {100 * sample['icosahedra']:.1f}%"
        )
    typer.echo(f"next: read {folder / 'report.md'}")


def _potential(
    folder: Path,
    symbols: list[str],
    pair_style: str | None,
    pair_coeff: list[str] | None,
    elements: list[str] | None,
) -> Potential:
    from symgnn.landscape.potential import Potential

    if pair_style is None and pair_coeff is None and elements is None:
        return Potential.shipped(folder, symbols)
    if pair_style is None or pair_coeff is None or elements is None:
        raise SymGNNError(
            "a potential of your own needs --pair-style, --pair-coeff and --elements together"
        )
    return Potential.read(pair_style, pair_coeff, elements, Path.cwd())


class _Progress:
    """A bar over the steps of melt and cooling on a terminal; a line for each stage elsewhere."""

    def __init__(self, folder: Path, name: str, settings: QuenchSettings) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.folder, self.name, self.total = folder, name, settings.steps
        self.stage = ""
        self.resumed: str | None = None
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self.task = self.bar.add_task(name, total=settings.steps)

    def __enter__(self) -> None:
        self.bar.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def report(self, moment: Moment) -> None:
        """Show where the sample is."""
        if moment.resumed_from is not None and moment.resumed_from != self.resumed:
            self.resumed = moment.resumed_from
            self._say(f"goes on from {self.folder / moment.resumed_from}")
        if moment.stage != self.stage:
            self.stage = moment.stage
            if self.bar.disable:
                self._say(_STAGES[moment.stage])
        kelvin = "" if moment.temperature is None else f", {moment.temperature:.0f} K"
        text = f"{self.name}, {_STAGES[moment.stage]}{kelvin}"
        if moment.temperature is not None:
            self.bar.update(self.task, completed=moment.step, description=text)
        elif moment.stage in ("minimize", "shear"):
            self.bar.update(self.task, completed=self.total, description=text)
        else:
            self.bar.update(self.task, description=text)

    def _say(self, text: str) -> None:
        self.bar.console.print(f"{self.name}: {text}", highlight=False, soft_wrap=True)
