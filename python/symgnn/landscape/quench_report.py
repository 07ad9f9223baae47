"""One page about the glasses of a quench: numbers as JSON, a table, and a picture."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from symgnn.files import written_whole
from symgnn.landscape.quench import (
    GLASS,
    LARGEST_FORCE,
    SHEARED,
    finished_samples,
    reach,
    sample_folder,
    thermo_rows,
)
from symgnn.landscape.structure_report import density, icosahedra, radial_distribution
from symgnn.structures import read_structures

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from symgnn.landscape.quench import QuenchSettings

_LARGEST_PRESSURE = 0.05  # GPa
_TABLE = {
    "sample": "sample",
    "density (g/cm³)": "density_g_per_cm3",
    "energy (eV/atom)": "energy_eV_per_atom",
    "pressure (GPa)": "pressure_GPa",
    "largest force (eV/Å)": "largest_force_eV_per_A",
    "coordination": "coordination",
    "icosahedra": "icosahedra",
    "√MSD in the melt (Å)": "melt_displacement_A",
}


def describe(folder: Path, number: int) -> dict[str, Any]:
    """All numbers about one finished sample, with units in their names.

    Args:
        folder: of all samples.
        number: of the sample.
    """
    sample = sample_folder(folder, number)
    record: dict[str, Any] = json.loads((sample / f"{GLASS}.json").read_text(encoding="utf-8"))
    (atoms,) = read_structures(sample / f"{GLASS}.xyz")
    pairs = radial_distribution(atoms)
    clusters = icosahedra(atoms)
    record |= {
        "atoms": len(atoms),
        "density_g_per_cm3": density(atoms),
        "volume_A3": float(atoms.get_volume()),
        "box_A": atoms.cell.lengths().tolist(),
        "cutoff_A": reach(sample),
        "neighbor_distance_A": pairs.peak,
        "first_minimum_A": pairs.first_minimum,
        "coordination": pairs.coordination,
        "icosahedra": clusters.pop("all"),
        "icosahedra_of_element": clusters,
        "melt_displacement_A": math.sqrt(thermo_rows(sample / "melt.log")[-1][5]),
        "radial_distribution": {
            "distance_A": pairs.distance.round(4).tolist(),
            "total": pairs.total.round(5).tolist(),
            **{pair: values.round(5).tolist() for pair, values in pairs.partial.items()},
        },
    }
    if SHEARED in record:
        curve = stress_strain(sample)
        record[SHEARED]["largest_stress_GPa"] = float(np.abs(curve[:, 1]).max())
    record["warnings"] = _warnings(record)
    return record


def stress_strain(sample: Path) -> NDArray[np.float64]:
    """Strain, shear stress (GPa) and energy (eV per atom) at each minimum of a shear, [S, 3]."""
    rows = np.loadtxt(sample / "shear.txt", ndmin=2)
    _, last = np.unique(np.abs(rows[::-1, 0]), return_index=True)  # after a resumption, the later
    return np.asarray(rows[::-1][last], dtype=np.float64)


def _warnings(record: dict[str, Any]) -> list[str]:
    found = []
    if record["melt_displacement_A"] < record["neighbor_distance_A"]:
        found.append(
            "the atoms moved less than to a neighbor's place in the melt, so that the glass may"
            " remember its random packing: take a longer --hold or a higher --temperature"
        )
    if record["largest_force_eV_per_A"] > LARGEST_FORCE:
        found.append("the minimization stopped early: this is no energy minimum")
    if abs(record["pressure_GPa"]) > _LARGEST_PRESSURE:
        found.append("the box did not relax to zero pressure")
    if min(record["box_A"]) < 2 * record["cutoff_A"]:
        found.append(
            f"the box is narrower than twice the range of the potential, {record['cutoff_A']:.1f}"
            " Å, so that an atom meets images of the same neighbor: take more atoms"
        )
    return found


def write_report(folder: Path, settings: QuenchSettings) -> list[dict[str, Any]]:
    """Write ``report.json``, ``report.md`` and ``report.png`` about all finished samples.

    Returns:
        What :func:`describe` gives for each.

    Raises:
        SymGNNError: a file cannot be written.
    """
    samples = [describe(folder, number) for number in finished_samples(folder)]
    begun = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    with written_whole(folder / "report.json") as unfinished:
        content = {"settings": begun, "samples": samples}
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with written_whole(folder / "report.png") as unfinished:
        _draw(folder, samples).savefig(unfinished, dpi=130, format="png")
    with written_whole(folder / "report.md") as unfinished:
        unfinished.write_text(_page(settings, begun, samples), encoding="utf-8")
    return samples


# --- the page ---------------------------------------------------------------------------------


def _page(settings: QuenchSettings, begun: dict[str, Any], samples: list[dict[str, Any]]) -> str:
    rows = [[_cell(sample[key]) for key in _TABLE.values()] for sample in samples]
    if len(samples) > 1:
        means = [np.mean([sample[key] for sample in samples]) for key in list(_TABLE.values())[1:]]
        rows.append(["mean", *(_cell(float(mean)) for mean in means)])
    table = "\n".join(
        f"| {' | '.join(row)} |" for row in [list(_TABLE), ["---"] * len(_TABLE), *rows]
    )
    shear = [
        f"Sample {sample['sample']}, sheared to a strain of {settings.shear:g}: largest shear"
        f" stress {sample[SHEARED]['largest_stress_GPa']:.3f} GPa,"
        f" {sample[SHEARED]['energy_eV_per_atom']:.4f} eV per atom.\n"
        for sample in samples
        if SHEARED in sample
    ]
    warnings = [
        f"**Warning**, sample {sample['sample']}: {text}.\n"
        for sample in samples
        for text in sample["warnings"]
    ]
    return f"""\
# {settings.composition}, {settings.atoms} atoms, {settings.rate:.3g} K/s

Random packing, {settings.hold:g} ps at {settings.temperature:g} K and zero pressure, cooled to 1 K,
minimized. Potential: `{begun["pair_style"]}`, checksum `{begun["potential_checksum"][:16]}`.
LAMMPS {", ".join(sorted({sample["lammps_version"] for sample in samples}))}.

{table}

Coordination counts neighbors up to the first minimum of g(r). Icosahedra are the fraction of atoms
whose Voronoi polyhedron is ⟨0,0,12,0⟩. √MSD is the root-mean-square displacement during the melt,
to be compared with the distance of neighbors, {_distances(samples)} Å.

{chr(10).join(shear + warnings)}
![g(r), cooling{", stress over strain" if settings.shear else ""}](report.png)
"""


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.1e}" if value and abs(value) < 1e-2 else f"{value:.4f}"


def _distances(samples: list[dict[str, Any]]) -> str:
    return ", ".join(sorted({f"{sample['neighbor_distance_A']:.2f}" for sample in samples}))


# --- the picture ------------------------------------------------------------------------------


def _draw(folder: Path, samples: list[dict[str, Any]]) -> Figure:
    sheared = any(SHEARED in sample for sample in samples)
    figure = Figure(figsize=(13.5 if sheared else 9.0, 4.0), layout="constrained")
    panels = figure.subplots(1, 3 if sheared else 2)
    _draw_pairs(panels[0], samples)
    for sample in samples:
        path, label = sample_folder(folder, sample["sample"]), f"sample {sample['sample']}"
        cooling = np.array([row[:5] for row in thermo_rows(path / "cool.log")])
        panels[1].plot(cooling[:, 1], cooling[:, 2] / sample["atoms"], lw=0.8, label=label)
        if SHEARED in sample:
            curve = stress_strain(path)
            panels[2].plot(curve[:, 0], curve[:, 1], lw=0.8, label=label)
    panels[1].set(
        xlabel="temperature (K)", ylabel="potential energy (eV per atom)", title="Cooling"
    )
    if sheared:
        panels[2].set(xlabel="shear strain", ylabel="shear stress (GPa)", title="Athermal shear")
    panels[1].legend(frameon=False, fontsize=8)
    return figure


def _draw_pairs(axes: Axes, samples: list[dict[str, Any]]) -> None:
    """g(r), mean of the samples, in total and by pair."""
    distance = samples[0]["radial_distribution"]["distance_A"]
    for name in [key for key in samples[0]["radial_distribution"] if key != "distance_A"]:
        mean = np.mean([sample["radial_distribution"][name] for sample in samples], axis=0)
        total = name == "total"
        axes.plot(distance, mean, "k" if total else "", lw=1.6 if total else 0.9, label=name)
    axes.axvline(np.mean([s["first_minimum_A"] for s in samples]), color="0.7", lw=0.8, ls=":")
    axes.set(xlabel="distance (Å)", ylabel="g(r)", title="Pair correlation", xlim=(1.5, 8.0))
    axes.legend(frameon=False, fontsize=8)
