"""`symgnn plot`: numbers that theory knows, and pictures of whatever annotate writes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.figure import Figure
from PIL import Image

from symgnn.annotator import Annotator
from symgnn.cli import run
from symgnn.errors import StructureError
from symgnn.evaluation import evaluate_files
from symgnn.landscape.structure_report import radial_distribution
from symgnn.plots import histogram, training
from symgnn.plots.autocorrelation import autocorrelation
from symgnn.plots.histogram import draw_distributions
from symgnn.plots.pairs import Sample, pairs_within
from symgnn.plots.parity import compare_columns, group_by_prediction
from symgnn.plots.parity import draw as draw_parity
from symgnn.plots.radial_distribution import HIGHEST, LOWEST, TOTAL, radial_distributions
from symgnn.plots.radial_distribution import draw as draw_gr
from symgnn.plots.slice import cut, draw
from symgnn.plots.style import BARRIER_COLORS, barrier_range, element_color
from symgnn.samples import sample_glass, sample_slab
from symgnn.structures import write_structures
from test_cli import complaint
from test_training import labeled_glass
from tiny_model import write_tiny_model
from tiny_regression import TINY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from symgnn.plots.radial_distribution import RadialDistributions

FORMULA = {
    "architecture": "formula",
    "cutoff": 6.0,
    "terms": [{"quantity": "bonding", "value": 6.0}],
}
TILTED = np.array([[28.0, 0.0, 0.0], [9.0, 26.0, 0.0], [-7.0, 6.0, 24.0]])


def with_barriers(atoms: Atoms, barriers: NDArray[np.float64] | None = None) -> Atoms:
    """The structure with barriers, random ones if none are given."""
    if barriers is None:
        barriers = np.random.default_rng(1).normal(1.5, 0.3, len(atoms))
    atoms.arrays["energy_barrier"] = barriers
    return atoms


def ideal_gas(count: int, cell: NDArray[np.float64], pbc: object, seed: int = 0) -> Atoms:
    """Copper and zirconium at random places in a cell, with random barriers."""
    generator = np.random.default_rng(seed)
    positions = generator.uniform(size=(count, 3)) @ cell
    symbols = np.where(np.arange(count) % 3 == 0, "Zr", "Cu").tolist()
    return with_barriers(Atoms(symbols, positions=positions, cell=cell, pbc=pbc))


@pytest.fixture(scope="module")
def glass() -> Atoms:
    return Annotator("cuzr-fast").annotate(sample_glass())


# --- g(r) -------------------------------------------------------------------------------------


def tail(found: RadialDistributions, name: str) -> NDArray[np.float64]:
    """g(r) beyond 3 Å in bins of 1 Å."""
    values = (found.by_barrier | found.by_elements)[name]
    return values[60:].reshape(-1, 20).mean(axis=1)


@pytest.mark.parametrize(
    "pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (0, 0, 0)], ids=lambda pbc: f"{pbc}"
)
@pytest.mark.parametrize("cell", [np.diag([28.0, 26.0, 24.0]), TILTED], ids=["box", "tilted"])
def test_an_ideal_gas_has_a_pair_correlation_of_one(
    cell: NDArray[np.float64], pbc: tuple[int, int, int]
) -> None:
    """Without the correction for surfaces, g(10 Å) of the slab would be .79, of the cluster .5."""
    found = radial_distributions([ideal_gas(1500, cell, pbc, seed) for seed in (0, 1)], 10.0)
    # The convex hull of 1,500 atoms lacks 1% of a rectangle across a wire, and 4% of a box.
    tolerance = {0: 0.05, 1: 0.03}.get(sum(pbc), 0.02)
    np.testing.assert_allclose(tail(found, TOTAL), 1.0, atol=tolerance)
    np.testing.assert_allclose(tail(found, "Cu-Zr"), 1.0, atol=2 * tolerance)
    np.testing.assert_allclose(tail(found, "Zr-Zr"), 1.0, atol=3 * tolerance)
    for name in (LOWEST, HIGHEST):
        np.testing.assert_allclose(tail(found, name), 1.0, atol=3 * tolerance)


def test_a_class_that_lives_at_the_surface_has_a_pair_correlation_of_one() -> None:
    gas = ideal_gas(3000, np.diag([28.0, 26.0, 24.0]), (True, True, False))
    with_barriers(gas, np.abs(gas.positions[:, 2] - 12.0))
    found = radial_distributions([gas], 9.0)
    for name in (LOWEST, HIGHEST):  # the middle and the surfaces
        np.testing.assert_allclose(tail(found, name), 1.0, atol=0.06)


def test_atoms_in_a_box_smaller_than_the_range_still_have_one() -> None:
    gases = [ideal_gas(60, np.diag([9.0, 9.0, 9.0]), True, seed) for seed in range(30)]
    np.testing.assert_allclose(tail(radial_distributions(gases, 10.0), TOTAL), 1.0, atol=0.03)


def test_shells_in_a_slab_are_cut_as_geometry_says() -> None:
    """Of a sphere of radius r around a random point of a slab of height h, 1 − r/2h lies inside."""
    height = 20.0
    gas = ideal_gas(20_000, np.diag([9.0, 9.0, height]), (True, True, False))
    edges = np.linspace(0.0, 18.0, 37)
    middle = (edges[1:] + edges[:-1]) / 2
    whole = 4 / 3 * math.pi * np.diff(edges**3)
    found = Sample(gas).shells(np.ones(len(gas), dtype=bool), edges) / whole
    np.testing.assert_allclose(found, 1 - middle / (2 * height), atol=0.005)


def test_it_agrees_with_the_report_of_quench(glass: Atoms) -> None:
    """That one divides by N² where this one has N(N − 1): together they fix both."""
    ours, theirs = radial_distributions([glass], 8.0), radial_distribution(glass)
    np.testing.assert_allclose(ours.distance, theirs.distance)
    np.testing.assert_allclose(ours.by_barrier[TOTAL], theirs.total * 3000 / 2999)
    np.testing.assert_allclose(ours.by_elements["Cu-Zr"], theirs.partial["Cu-Zr"])
    assert list(ours.by_elements) == ["Cu-Cu", "Cu-Zr", "Zr-Zr"]


def test_a_slab_of_glass_has_the_pair_correlation_of_the_glass(glass: Atoms) -> None:
    slab = with_barriers(sample_slab(2400))
    bulk = radial_distributions([glass], 10.0).by_barrier[TOTAL]
    cut_off = radial_distributions([slab], 10.0).by_barrier[TOTAL]
    np.testing.assert_allclose(cut_off[160:].mean(), bulk[160:].mean(), atol=0.03)
    assert np.abs(cut_off - bulk).max() < 0.25


def test_a_single_atom_of_an_element_draws_no_spikes(glass: Atoms) -> None:
    alloy = glass.copy()
    alloy.symbols[0] = "Al"
    found = radial_distributions([alloy], 8.0)
    assert found.rare == {"Al-Al", "Al-Cu", "Al-Zr"}
    axes = draw_gr(found).axes[1]
    labels = [str(line.get_label()) for line in axes.lines[1:]]
    assert labels[:3] == ["Cu-Cu", "Cu-Zr", "Zr-Zr"]
    assert " ".join(labels[3].split()) == "too few pairs: Al-Al, Al-Cu, Al-Zr"
    highest = max(found.by_elements[name].max() for name in labels[:3])
    assert axes.get_ylim()[1] < 1.1 * highest
    assert radial_distributions([glass], 8.0).rare == set()
    assert radial_distributions([alloy] * 10, 8.0).rare == {"Al-Al"}


def test_structures_without_a_pair_correlation() -> None:
    flat = with_barriers(Atoms("Cu20", positions=np.random.default_rng(0).random((20, 3))))
    flat.positions[:, 2] = 3.0
    with pytest.raises(StructureError, match="fill no volume"):
        radial_distributions([flat], 5.0)
    with pytest.raises(StructureError, match="--range"):
        radial_distributions([ideal_gas(8000, np.eye(3), True)], 30.0)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 0, 0)], ids=str)
def test_pairs_are_counted_before_they_are_found(
    pbc: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Periodic images make them more than the square of the atoms, surfaces fewer."""
    gas = ideal_gas(80, np.diag([10.0, 10.0, 10.0]), pbc)
    found = len(pairs_within(gas, 20.0)[2])
    assert (found > 80**2) == any(pbc)
    monkeypatch.setattr("symgnn.plots.pairs._MOST_PAIRS", 1.2 * found)
    pairs_within(gas, 20.0)
    monkeypatch.setattr("symgnn.plots.pairs._MOST_PAIRS", 0.8 * found)
    with pytest.raises(StructureError, match="--range"):
        pairs_within(gas, 20.0)


# --- autocorrelation --------------------------------------------------------------------------


def test_a_plane_wave_of_barriers_has_the_autocorrelation_of_theory() -> None:
    """cos(k·x) on atoms at random: sin(kr)/(kr)."""
    gas = ideal_gas(2500, np.diag([30.0, 30.0, 30.0]), True)
    k = 2 * math.pi / 30.0 * 2
    with_barriers(gas, 1.5 + 0.3 * np.cos(k * gas.positions[:, 0]))
    found = autocorrelation([gas], 12.0)
    distant = found.distance > 2.0
    expected = np.sinc(k * found.distance / math.pi)
    np.testing.assert_allclose(found.value[distant], expected[distant], atol=0.06)


def test_the_null_band_holds_95_percent_of_random_barriers() -> None:
    inside = []
    for seed in range(8):
        gas = ideal_gas(600, np.diag([16.0, 16.0, 16.0]), True, seed)
        with_barriers(gas, np.random.default_rng(seed).normal(size=600))
        found = autocorrelation([gas], 8.0, seed=seed)
        there = ~np.isnan(found.value)
        inside.append(
            ((found.value >= found.null[:, 0]) & (found.value <= found.null[:, 1]))[there]
        )
    share = np.concatenate(inside).mean()
    assert 0.9 < share < 0.99  # of 256, neighbors of which are hardly correlated


def test_chemical_order_alone_stays_inside_the_null_band() -> None:
    """A rock salt lattice whose barriers depend on the element alone: correlated, but not more."""
    grid = np.indices((10, 10, 10)).reshape(3, -1).T
    zirconium = grid.sum(axis=1) % 2 == 1
    symbols = np.where(zirconium, "Zr", "Cu").tolist()
    noise = np.random.default_rng(3).normal(0, 0.05, 1000)
    salt = Atoms(symbols, positions=2.8 * grid, cell=[28.0] * 3, pbc=True)
    with_barriers(salt, np.where(zirconium, 1.0, 2.0) + noise)
    found = autocorrelation([salt], 4.5)
    first = np.flatnonzero(~np.isnan(found.value))[0]
    assert found.value[first] < -0.9
    assert found.null[first, 0] <= found.value[first] <= found.null[first, 1]


def test_atoms_without_a_barrier_do_not_count(glass: Atoms) -> None:
    some = glass.copy()
    some.arrays["energy_barrier"][::3] = np.nan
    found = autocorrelation([some], 6.0).value
    kept = glass[np.arange(len(glass)) % 3 != 0]
    np.testing.assert_allclose(found, autocorrelation([kept], 6.0).value)


def test_distances_with_a_handful_of_pairs_stay_open(glass: Atoms) -> None:
    few = glass[np.argsort(glass.positions[:, 0])[:200]]
    few.pbc = False
    found = autocorrelation([few], 4.0)
    reference = autocorrelation([few.copy() for _ in range(100)], 4.0)  # the same pairs, 100 times
    open_ones = np.isnan(found.value) & ~np.isnan(reference.value)
    assert open_ones.any()
    assert np.isnan(found.null[open_ones]).all()
    both = ~np.isnan(found.value)
    np.testing.assert_allclose(found.value[both], reference.value[both])


def test_barriers_of_a_glass_are_alike_nearby_and_not_far_away(glass: Atoms) -> None:
    found = autocorrelation([glass], 10.0)
    near = (found.distance > 2.3) & (found.distance < 5.0)
    assert (found.value[near] > 0.3).all()
    assert (found.null[near, 1] < 0.1).all()
    assert abs(found.value[-1]) < 0.15


# --- slice ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    axis=st.integers(0, 2),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    shift=st.tuples(*[st.integers(-3, 3)] * 3),
    tilt=st.booleans(),
)
def test_a_slice_shows_every_image_in_the_window_and_nothing_else(
    axis: int, pbc: tuple[bool, bool, bool], shift: tuple[int, int, int], tilt: bool
) -> None:
    cell = TILTED / 2 if tilt else np.diag([14.0, 13.0, 12.0])
    gas = ideal_gas(200, cell, pbc)
    piece = cut(gas, axis, thickness=5.0)
    front = [other for other in range(3) if other != axis]
    reach = [range(-4, 5) if periodic else range(1) for periodic in pbc]
    every = np.stack(np.meshgrid(*reach, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    points = (gas.positions[None] + every[:, None]).reshape(-1, 3)
    inside = np.abs(points[:, axis] - piece.middle) <= 2.5
    inside &= ((points[:, front] >= piece.window[0]) & (points[:, front] <= piece.window[1])).all(1)
    shown = ((piece.points >= piece.window[0]) & (piece.points <= piece.window[1])).all(axis=1)
    np.testing.assert_allclose(
        np.unique(piece.points[shown].round(6), axis=0),
        np.unique(points[inside][:, front].round(6), axis=0),
        atol=2e-6,
    )
    moved = gas.copy()  # unwrapped: the same picture
    moved.positions += (np.array(shift) * np.array(pbc)) @ cell
    again = cut(moved, axis, thickness=5.0)
    assert sorted(again.atom) == sorted(piece.atom)


def test_colors_are_those_of_the_barriers(glass: Atoms) -> None:
    piece = cut(glass)
    assert (np.diff(glass.positions[piece.atom, 2] % glass.cell[2, 2]) >= -1e-9).all()
    figure = draw(glass, piece)
    figure.canvas.draw_idle()
    (circles,) = figure.axes[0].collections
    circles.update_scalarmappable()
    low, high = barrier_range(glass.arrays["energy_barrier"])
    expected = BARRIER_COLORS((glass.arrays["energy_barrier"][piece.atom] - low) / (high - low))
    np.testing.assert_allclose(circles.get_facecolor(), expected, atol=0.01)
    assert figure.axes[1].get_ylabel() == "energy barrier (eV)"
    some = glass.copy()
    some.arrays["energy_barrier"][piece.atom[0]] = np.nan
    (circles,) = draw(some, piece).axes[0].collections
    circles.update_scalarmappable()
    assert tuple(circles.get_facecolor()[0]) == to_rgba("#d0d0d0")


# --- histogram, parity, training --------------------------------------------------------------


def test_means_and_bands_over_frames() -> None:
    frames = [labeled_glass(seed) for seed in (1, 2, 3)]
    frames[1].arrays["energy_barrier"][:5] = np.nan
    found = histogram.collect(frames)
    for number, atoms in enumerate(frames):
        own = atoms.arrays["energy_barrier"]
        assert found.mean[number] == pytest.approx(np.nanmean(own))
        np.testing.assert_allclose(found.band[number], np.nanpercentile(own, [10, 90]))
    assert found.step is None
    assert len(found.values) == 3 * 64 - 5
    parts = found.by_element()
    assert list(parts) == ["all atoms", "Cu", "Zr"]
    assert len(parts["Cu"]) + len(parts["Zr"]) == len(parts["all atoms"])
    for number, atoms in enumerate(frames):
        atoms.info["timestep"] = 1000 * number
    assert histogram.collect(frames).step.tolist() == [0, 1000, 2000]  # type: ignore[union-attr]
    for useless in (0.001, "one"):  # the same for all, or no number
        for atoms in frames:
            atoms.info["timestep"] = useless
        assert histogram.collect(frames).step is None


def test_histograms_have_area_one_over_the_same_bins() -> None:
    files = {str(n): histogram.collect([labeled_glass(n)]) for n in (1, 2)}
    axes = histogram.draw(files).axes
    assert len(axes) == 1
    for patch in axes[0].patches:
        x, y = patch.get_xy().T
        area = abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
        assert area == pytest.approx(1.0, abs=0.05)  # atoms beyond the last bins


@pytest.mark.parametrize("few", [[9.0], [9.0, 9.5], [-3.0, 1.5, 9.0]])
def test_a_histogram_shows_a_series_of_few_atoms_too(few: list[float]) -> None:
    many = np.random.default_rng(0).normal(1.5, 0.1, 5000)
    figure = Figure()
    for series in ({"few": few, "many": many}, {"many": many, "few": few}, {"few": few}):
        axes = figure.subplots()
        shares = draw_distributions(
            axes, {name: np.array(each) for name, each in series.items()}, {}
        )
        assert all(np.isfinite(share) and share > 0 for share in shares)


def test_an_element_has_one_color_in_all_pictures(glass: Atoms) -> None:
    bars = histogram.draw({"glass": histogram.collect([glass])}).axes[0].patches
    curves = draw_gr(radial_distributions([glass], 5.0)).axes[1].lines[1:]
    colors = {str(line.get_label()): to_rgba(line.get_color()) for line in curves}
    for bar, element in zip(bars[1:], ("Cu", "Zr"), strict=True):
        color = to_rgba(element_color(element))
        assert bar.get_edgecolor() == color == colors[f"{element}-{element}"]
    assert len(set(colors.values())) == 3
    assert element_color("Pd") not in {element_color(name) for name in ("Cu", "Zr")}


def test_uncertainty_bars_are_those_of_tenths_of_the_atoms() -> None:
    prediction = np.random.default_rng(0).permutation(np.arange(100.0))
    label, std = prediction + 0.5, np.where(prediction < 50, 1.0, 2.0)
    rows = group_by_prediction(prediction, std, label)
    np.testing.assert_allclose(rows[:, 0], np.arange(4.5, 100, 10))
    np.testing.assert_allclose(rows[:, 1], rows[:, 0] + 0.5)
    np.testing.assert_allclose(rows[:, 2], [1.0] * 5 + [2.0] * 5)


def test_a_single_atom_is_seen_on_white() -> None:
    glass = labeled_glass(1)
    glass.arrays["energy_barrier_label"] = glass.arrays["energy_barrier"].copy()
    glass.arrays["energy_barrier_label"][0] += 5.0
    figure = draw_parity(compare_columns([glass], "glass.xyz"))
    figure.draw_without_rendering()
    hexagons = figure.axes[0].collections[0]
    assert hexagons.get_array().min() == 1  # type: ignore[union-attr]
    assert to_rgba_array(hexagons.get_facecolor())[:, :3].max() < 0.9


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parity_of_columns_is_the_evaluation_that_wrote_them(folder: Path) -> None:
    write_tiny_model(Path("model.pt"), std=True)
    write_structures("pair.xyz", [labeled_glass(1), labeled_glass(2)])
    there = evaluate_files("model.pt", [Path("pair.xyz")], predictions=Path("out"))
    from symgnn.plots.frames import iterate_annotated

    again = compare_columns(iterate_annotated("out/pair.xyz"), "out/pair.xyz")
    assert again.pooled is not None
    assert there.pooled is not None
    assert again.pooled.pearson == pytest.approx(there.pooled.pearson, abs=1e-6)
    assert again.pooled_reliability is not None
    assert again.pooled_reliability.observed == pytest.approx(
        there.pooled_reliability.observed,  # type: ignore[union-attr]
        abs=0.01,
    )
    assert run(["plot", "parity", "out/pair.xyz", "-o", "parity.png"]) == 0
    assert run(["evaluate", "model.pt", "pair.xyz", "--plot", "other.png"]) == 0
    with Image.open("parity.png") as one, Image.open("other.png") as other:
        assert one.size == other.size


@pytest.mark.parametrize("content", [b"\xff\xfe", b'"' + 200_000 * b"a", b"epoch\n1\n"])
def test_a_damaged_table_of_epochs_is_one_line(
    folder: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run").mkdir()
    Path("run/metrics.csv").write_bytes(content)
    assert run(["plot", "training", "run", "-o", "t.png"]) == 1
    assert "metrics.csv is damaged" in complaint(capsys)


def test_parity_of_other_predictions_with_the_labels_of_a_file(folder: Path) -> None:
    """The file's own ``energy_barrier`` is the label, and its standard error no prediction's."""
    glass = labeled_glass(1)
    label = glass.arrays["energy_barrier"]
    glass.arrays["energy_barrier_std"] = np.full(len(glass), 0.1)
    glass.arrays["other"] = label + np.random.default_rng(0).normal(0.0, 0.5, len(glass))
    found = compare_columns([glass], "glass.xyz", "energy_barrier", "other")
    assert found.pooled is not None
    expected = np.corrcoef(glass.arrays["other"], label)[0, 1]
    assert found.pooled.pearson == pytest.approx(expected) != 1.0
    assert found.structures[0].std is None
    write_structures("glass.xyz", [glass])
    words = ["glass.xyz", "--column", "other", "--label", "energy_barrier", "-o", "p.png"]
    assert run(["plot", "parity", *words]) == 0


def test_parity_where_only_some_predictions_have_uncertainties(folder: Path) -> None:
    glasses = [labeled_glass(seed) for seed in (1, 2)]
    for glass in glasses:
        glass.arrays["energy_barrier_label"] = (
            glass.arrays["energy_barrier"] + glass.positions[:, 0]
        )
    glasses[0].arrays["energy_barrier_std"] = np.full(len(glasses[0]), 0.1)
    found = compare_columns(glasses, "glass.xyz")
    assert found.structures[0].reliability is not None
    assert found.pooled_reliability is None
    write_structures("glass.xyz", glasses)
    assert run(["plot", "parity", "glass.xyz", "-o", "p.png"]) == 0


def test_training_curves_of_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_structures("train.xyz", [labeled_glass(1), labeled_glass(2)])
    write_structures("validation.xyz", [labeled_glass(3)])
    Path("config.yaml").write_text(
        "data: {train: [train.xyz], validation: [validation.xyz]}\n"
        "model: {width: 4, heads: [1]}\nepochs: 3\nthreads: 1\n"
    )
    assert run(["train", "config.yaml"]) == 0
    curves = training.read_curves(Path("run"))
    assert curves.columns["epoch"].tolist() == [1, 2, 3]
    pearson = curves.columns["validation_pearson"]
    assert pearson[curves.best] == pearson.max()
    capsys.readouterr()
    assert run(["plot", "training", "run", "-o", "t.png"]) == 0
    assert "wrote t.png" in capsys.readouterr().err
    labels = [axes.get_ylabel() for axes in training.draw({"run": curves}).axes]
    assert labels == ["training loss", "validation correlation", "validation error (eV)"]


@pytest.mark.parametrize("model", [TINY, FORMULA], ids=lambda model: model["architecture"])
def test_a_fit_in_closed_form_has_no_curve(
    model: dict[str, object], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    write_structures("train.xyz", [labeled_glass(n) for n in (1, 2, 3)])
    content = {"data": {"train": ["train.xyz"]}, "model": model}
    Path("config.yaml").write_text(yaml.safe_dump(content))
    assert run(["train", "config.yaml"]) == 0
    capsys.readouterr()
    assert run(["plot", "training", "run", "-o", "t.png"]) == 1
    said = complaint(capsys)
    assert "no epochs and no curve" in said
    assert "`symgnn report run -o report.html`" in said


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "output folder of `symgnn train`"),
        ("epoch,loss\n1,2\n", "damaged"),
        (",".join(training.COLUMNS) + "\n", "no epoch yet"),
        (",".join(training.COLUMNS) + "\n1,many,1,1,1,1,1,1\n", "damaged"),
    ],
)
def test_runs_that_cannot_be_drawn(
    folder: Path, content: str | None, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run").mkdir()
    if content is not None:
        Path("run/metrics.csv").write_text(content)
    assert run(["plot", "training", "run", "-o", "t.png"]) == 1
    assert word in complaint(capsys)
    assert not Path("t.png").exists()


# --- the command ------------------------------------------------------------------------------

PICTURES = ("histogram", "slice", "gr", "correlation")


@pytest.mark.parametrize("picture", [*PICTURES, "parity", "training"])
def test_every_picture_has_help_with_an_example(
    picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plot", picture, "--help"]) == 0
    assert "symgnn plot" in capsys.readouterr().out.split("Example", 1)[1]


@pytest.mark.parametrize("picture", PICTURES)
def test_pictures_of_trajectories_in_every_format(
    picture: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [labeled_glass(seed) for seed in (1, 2)]
    write_structures("run.xyz", frames)
    write_structures("run.dump.gz", frames)
    for source, output in (("run.xyz", "picture.png"), ("run.dump.gz", "picture.pdf")):
        extra = ["--range", "5"] if picture in ("gr", "correlation") else []
        assert run(["plot", picture, source, "-o", output, *extra]) == 0
        assert Path(output).stat().st_size > 5000
    assert "wrote" in capsys.readouterr().err


def test_the_column_of_a_lammps_dump(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_structures("live.dump", [labeled_glass(1)])
    text = Path("live.dump").read_text().replace("energy_barrier", "c_barrier")
    text = text.replace(" element ", " ").replace(" Cu ", " ").replace(" Zr ", " ")
    Path("live.dump").write_text(text)
    arguments = ["plot", "histogram", "live.dump", "-o", "h.png"]
    assert run(arguments) == 1
    assert "--elements" in complaint(capsys)
    arguments += ["--elements", "Cu", "Zr"]
    assert run(arguments) == 1
    message = complaint(capsys)
    assert "c_barrier" in message
    assert "--column" in message
    assert run([*arguments, "--column", "c_barrier"]) == 0


@pytest.mark.parametrize("picture", PICTURES)
def test_a_frame_before_the_first_average_is_left_out(
    picture: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [labeled_glass(seed) for seed in (1, 2, 3)]
    frames[0].arrays["energy_barrier"][:] = 0.0
    frames[1].arrays["energy_barrier"][5] = 0.0  # outside of the group of the compute
    write_structures("live.dump", frames)
    words = ["plot", picture, "live.dump", "-o", "picture.png", "--index"]
    assert run([*words, "1" if picture == "slice" else ":"]) == 0
    said = capsys.readouterr().err
    note = "live.dump, frame 0: all values of energy_barrier are 0 (before the first average?)"
    assert said.count(note) == (picture != "slice")
    if picture == "histogram":
        assert "2 structures, 128 barriers" in said
    assert run([*words, "0"]) == 1
    assert "choose later frames with --index" in complaint(capsys)


def test_several_files_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_structures("a.xyz", [labeled_glass(1)])
    write_structures("b.xyz", [labeled_glass(2), labeled_glass(3)])
    assert run(["plot", "histogram", "a.xyz", "b.xyz", "-o", "h.png"]) == 0
    said = capsys.readouterr().err
    assert "a.xyz: 64 barriers" in said
    assert "b.xyz: 2 structures, 128 barriers" in said
    with Image.open("h.png") as image:
        assert image.width > 1.5 * image.height  # the time series beside the histogram


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["histogram", "bare.xyz", "-o", "h.png"], "symgnn annotate bare.xyz -o annotated.xyz"),
        (["histogram", "nothing.xyz", "-o", "h.png"], "no atom has a value"),
        (["histogram", "run.xyz", "-o", "h.doc"], ".png"),
        (["histogram", "run.xyz", "-o", "missing/h.png"], "cannot write"),
        (["histogram", "run.xyz", "-o", "h.png", "--index", "7:"], "selects no structures"),
        (["histogram", "absent.xyz", "-o", "h.png"], "does not exist"),
        (["slice", "run.xyz", "-o", "h.png", "--axis", "w"], "choose x, y or z"),
        (["slice", "run.xyz", "-o", "h.png", "--index", ":"], "give a number"),
        (["slice", "cluster.xyz", "-o", "h.png", "--position", "90"], "another --position"),
        (["correlation", "equal.xyz", "-o", "h.png"], "all barriers are equal"),
        (["parity", "run.xyz", "-o", "h.png"], "--label"),
        (["parity", "run.xyz", "-o", "h.png", "--index", "7:"], "selects no structures"),
        (["parity", "run.xyz", "-o", "h.png", "--label", "words"], "not one number per atom"),
        *(
            ([picture, "blown.xyz", "-o", "h.png"], "blown.xyz, structure 0: 1 atoms have")
            for picture in ("histogram", "slice", "gr", "correlation")
        ),
        (["training", "absent", "-o", "h.png"], "output folder of `symgnn train`"),
    ],
)
def test_requests_that_cannot_be_met(
    folder: Path, arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labeled = labeled_glass(1)
    labeled.arrays["words"] = np.array(["high"] * len(labeled))
    write_structures("run.xyz", [labeled, labeled])
    bare, nothing, cluster, equal, blown = (labeled.copy() for _ in range(5))
    del bare.arrays["energy_barrier"]
    nothing.arrays["energy_barrier"][:] = np.nan
    cluster.pbc = False
    equal.arrays["energy_barrier"][:] = 1.0
    blown.positions[3, 1] = np.nan
    write("blown.xyz", blown, format="extxyz")
    for name in ("bare", "nothing", "cluster", "equal"):
        write_structures(f"{name}.xyz", [locals()[name]])
    assert run(["plot", *arguments]) == 1
    assert word in complaint(capsys)
    assert not Path("h.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["histogram"],
        ["slice", "a.xyz"],
        ["unknown"],
        ["gr", "a", "--range", "x"],
        *(
            [*words, number, "-o", "b.png"]
            for words in (
                ["gr", "a", "--range"],
                ["correlation", "a", "--range"],
                ["slice", "a", "--position"],
                ["slice", "a", "--thickness"],
            )
            for number in ("nan", "inf", "1e300")
        ),
        ["correlation", "a", "-o", "b.png", "--seed", "-1"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plot", *arguments]) == 2
    assert "--help" in complaint(capsys)
