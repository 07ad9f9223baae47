"""The LAMMPS inputs of a quench: one short script for each stage, which also runs by hand.

A stage begins with the restart file that the stage before it wrote, or, to go on after an
interruption, with one of its own: ``lmp -in in.cool -var start cool.1.restart``. Timesteps count
from the start of the melt; in the shear they count steps of strain. The restart file that ends a
stage is what it writes last.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from ase.data import atomic_numbers, covalent_radii

if TYPE_CHECKING:
    from collections.abc import Mapping

    from symgnn.landscape.potential import Potential
    from symgnn.landscape.quench import QuenchSettings

TIMESTEP: Final = 0.001
"""ps."""

COLDEST: Final = 1.0
"""K, the end of the cooling."""

SKIN: Final = 1.0
"""Å, of the neighbor list."""

STRAIN_STEP: Final = 1e-4
"""Shear strain between two minimizations."""

INTERACTIONS: Final = "in.interactions"

_THERMOSTAT, _BAROSTAT = 0.1, 1.0  # ps, damping
_LOOSENESS = 1.5  # volume of the random packing over that of the atoms as spheres
_CONTACT = 0.9  # range of the soft push over the sum of the radii
_PUSH = 10.0  # eV
_WORK_BETWEEN_RESTARTS = 1_000_000  # atoms × steps, about two seconds of one core with EAM

_BEGIN = """\
# {title}
#
#   lmp -in in.{stage}

log          {stage}.log append
variable     start index {start}
read_restart ${{start}}
include      {interactions}
"""

_PACKING = """\
# A random packing of {atoms} atoms, {composition}; soft spheres push it apart, then the potential.
#
#   lmp -in in.packing

log          packing.log
units        metal
boundary     p p p
atom_style   atomic
atom_modify  map array

region       box block 0 {length:.4f} 0 {length:.4f} 0 {length:.4f}
create_box   {types} box
create_atoms {first} random {atoms} {seed} NULL
{chemistry}
mass         * 1.0
pair_style   soft 1.0
{contacts}
minimize     0.0 1e-2 1000 10000

include      {interactions}
minimize     1e-4 1e-4 200 1000
reset_timestep 0
velocity     all create {temperature:g} {seed} mom yes rot yes dist gaussian
write_restart packing.restart
"""

_MELT = """\
timestep     {timestep}

compute      displacement all msd com yes
fix          barostat all npt temp {temperature:g} {temperature:g} {thermostat} iso 0 0 {barostat}
thermo       {every}
thermo_style custom step temp pe press density c_displacement[4]
thermo_modify flush yes
restart      {between} melt.1.restart melt.2.restart
run          {melt_steps} upto start 0 stop {melt_steps}
write_restart melt.restart
"""

_COOL = """\
timestep     {timestep}

fix          barostat all npt temp {temperature:g} {coldest:g} {thermostat} iso 0 0 {barostat}
thermo       {every}
thermo_style custom step temp pe press density
thermo_modify flush yes
restart      {between} cool.1.restart cool.2.restart
run          {steps} upto start {melt_steps} stop {steps}
write_restart cool.restart
"""

_MINIMIZE = """\
thermo       1000
thermo_style custom step pe press fmax density
min_style    cg

# Atoms alone, then atoms and box, in turn to zero force and zero pressure.
variable     round loop 6
label        relaxation
minimize     0.0 1e-4 10000 100000
fix          relax all box/relax iso 0.0 vmax 0.0001
minimize     0.0 1e-4 1000 10000
unfix        relax
next         round
jump         SELF relaxation
minimize     0.0 1e-6 10000 100000

set          group all image 0 0 0
reset_timestep 0
run          0
print        '{state}' file minimized.json
write_data   minimized.data nocoeff
write_restart minimized.restart
"""

_SHEAR = """\
box          tilt large
change_box   all triclinic
thermo       1000
thermo_style custom step pe press pxy fmax density
min_style    cg

# Athermal quasi-static: simple shear of x along y in steps of {strain_step:g}, each minimized.
if           "$(step) == {strain_steps}" then "jump SELF strained"
variable     strain loop $(step+1) {strain_steps}
label        strain
change_box   all xy final $({sign}v_strain*{strain_step:g}*ly) remap units box
minimize     0.0 1e-4 10000 100000
variable     now equal {sign}v_strain*{strain_step:g}
print        "$(v_now:%.6g) $(-pxy/10000:%.8g) $(pe/atoms:%.10g)" append shear.txt
reset_timestep ${{strain}}
if           "$(v_strain%10) == 0" then "write_restart shear.$(1+(v_strain/10)%2:%.0f).restart"
next         strain
jump         SELF strain

label        strained
minimize     0.0 1e-6 10000 100000
set          group all image 0 0 0
run          0
print        '{state}' file sheared.json
write_data   sheared.data nocoeff
write_restart shear.restart
"""

_STATE = (
    '{"energy": $(pe/atoms), "pressure": $(press), "shear_stress": $(-pxy), "largest_force":'
    ' $(fmax), "lammps": $(version)}'
)


def inputs(
    settings: QuenchSettings, counts: Mapping[str, int], seed: int, potential: Potential
) -> dict[str, str]:
    """The scripts of all stages, by file name.

    Args:
        settings: what is quenched, and how.
        counts: atoms of each element.
        seed: of positions, chemistry and velocities; up to 9e8.
        potential: its files with whole paths.
    """
    values = {
        "timestep": TIMESTEP,
        "temperature": settings.temperature,
        "coldest": COLDEST,
        "thermostat": _THERMOSTAT,
        "barostat": _BAROSTAT,
        "melt_steps": settings.melt_steps,
        "steps": settings.steps,
        "between": _between_restarts(settings.atoms),
        "every": _between_lines(settings),
        "state": _STATE,
        "strain_step": STRAIN_STEP,
        "strain_steps": settings.strain_steps,
        "sign": "-" if settings.shear < 0 else "",
    }
    stages = {
        "melt": (f"Melt at {settings.temperature:g} K, zero pressure.", "packing", _MELT),
        "cool": (f"Cool at {settings.rate:g} K/s, zero pressure.", "melt", _COOL),
        "minimize": ("The inherent structure: an energy minimum.", "cool", _MINIMIZE),
    }
    if settings.shear:
        stages["shear"] = (f"Shear to a strain of {settings.shear:g}.", "minimized", _SHEAR)
    scripts = {
        INTERACTIONS: _interactions(potential),
        "in.packing": _packing(settings, counts, seed, potential),
    }
    for stage, (title, before, body) in stages.items():
        beginning = _BEGIN.format(
            title=title, stage=stage, start=f"{before}.restart", interactions=INTERACTIONS
        )
        scripts[f"in.{stage}"] = beginning + body.format(**values)
    return scripts


def sphere_volume(counts: Mapping[str, int]) -> float:
    """Volume of the atoms as spheres of covalent radius, Å³; a dense metal is 1.1 times as large.

    Radii: Cordero and others, Dalton Transactions, 2832 (2008), as in ASE.
    """
    return sum(4.18879 * _radius(element) ** 3 * count for element, count in counts.items())


def _radius(element: str) -> float:
    return float(covalent_radii[atomic_numbers[element]])


def _packing(
    settings: QuenchSettings, counts: Mapping[str, int], seed: int, potential: Potential
) -> str:
    types = potential.types_of(list(counts))
    chemistry = "\n".join(
        f"set          type {types[0]} type/subset {kind} {count} {seed}"
        for kind, count in list(zip(types, counts.values(), strict=True))[1:]
    )
    reach = {
        (one, other): _CONTACT * (_radius(a) + _radius(b))
        for (one, a), (other, b) in itertools.combinations_with_replacement(
            enumerate(potential.elements, start=1), 2
        )
    }
    return _PACKING.format(
        atoms=settings.atoms,
        composition=" ".join(f"{element}{count}" for element, count in counts.items()),
        length=(_LOOSENESS * sphere_volume(counts)) ** (1 / 3),
        types=len(potential.elements),
        first=types[0],
        seed=seed,
        chemistry=chemistry,
        contacts="\n".join(
            f"pair_coeff   {one} {other} {_PUSH:g} {distance:.3f}"
            for (one, other), distance in reach.items()
        ),
        interactions=INTERACTIONS,
        temperature=settings.temperature,
    )


def _interactions(potential: Potential) -> str:
    lines = [
        "# The potential, for all stages.",
        *potential.commands(),
        f"neighbor {SKIN} bin",
        "neigh_modify delay 0 every 1 check yes",
    ]
    return "\n".join(lines) + "\n"


def _between_restarts(atoms: int) -> int:
    """Steps; whole thousands, at which LAMMPS sorts its atoms anyway."""
    return max(1000, _WORK_BETWEEN_RESTARTS // atoms // 1000 * 1000)


def _between_lines(settings: QuenchSettings) -> int:
    """Steps between two lines of output: a thousand lines, or one every two seconds or so."""
    seldom = max(100, _WORK_BETWEEN_RESTARTS // settings.atoms // 100 * 100)
    return min(seldom, max(100, settings.steps // 1000 // 100 * 100))
