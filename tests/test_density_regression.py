"""Density regression: the closed-form fit, its uncertainty and novelty, and the exported form."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import random_glass
from symgnn.errors import ConfigError, DatasetError, SymGNNError
from symgnn.graph import Graph, build_graph
from symgnn.models.density_regression import combine
from symgnn.models.shells import shell_weights
from symgnn.operators import plain_torch
from symgnn.scripted.density_regression import ExportedDensityRegression
from symgnn.training.checkpoint import load_checkpoint
from symgnn.training.config import parse_config
from symgnn.training.loop import Run
from tiny_regression import (
    DRAG,
    ELEMENTS,
    TINY,
    TINY_DRAG,
    coordination,
    fit_files,
    random_regression,
    tiny_config,
    write_labeled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from symgnn.models import DensityRegression

THREE_ELEMENTS = ["Cu", "Zr", "Al"]
SHELLS = {1: [3.7], 2: [3.7, 5.0], 3: [3.0, 4.0, 5.0]}
# Exported and eager model sum in different orders: rounding of float64 on numbers of order ten.
ROUNDING = 1e-10


def graph_of(
    atoms: Atoms, elements: Sequence[str] = ELEMENTS, dtype: torch.dtype = torch.float64
) -> Graph:
    return build_graph(atoms, TINY["cutoff"], elements, dtype=dtype)


def zirconium(atoms: Atoms) -> np.ndarray:
    """Species [N] of a copper-zirconium glass."""
    return (atoms.numbers == 40).astype(int)


# --- the exported form is the model -------------------------------------------------------------


def with_elements(atoms: Atoms, elements: int) -> Atoms:
    numbers = Atoms(THREE_ELEMENTS[:elements]).numbers
    changed = atoms.copy()
    changed.numbers = numbers[np.arange(len(atoms)) * 7 % 5 % elements]
    return changed


def lonely_everywhere() -> Atoms:
    """Atoms without neighbors before, between and after those that have some."""
    cluster = random_glass(2, seed=1)
    cluster.set_cell(None)
    cluster.pbc = False
    far = [[100.0 * k, 0.0, 50.0] for k in (1, 2, 3, 4)]
    lonely = Atoms("Cu4", positions=far)
    return lonely[:2] + cluster[:3] + lonely[2:3] + cluster[3:] + lonely[3:]


STRUCTURES = {
    "glass": random_glass(4, seed=1),
    "isolated atoms": lonely_everywhere(),
    "one atom": Atoms("Cu", positions=[[0, 0, 0]]),
    "no edges": Atoms("Cu3", positions=[[0, 0, 0], [50, 0, 0], [0, 50, 0]]),
    "two on one spot": Atoms("Cu3", positions=[[0, 0, 0], [0, 0, 0], [0, 0, 2.6]]),
}


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("members", [1, 4], ids=["no jackknife", "jackknife"])
@pytest.mark.parametrize("shells", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize("elements", [1, 2, 3])
def test_exported_equals_fitted(elements: int, shells: list[float], members: int) -> None:
    model = random_regression(tiny_config(shells=shells), elements, members, seed=elements)
    scripted = torch.jit.script(ExportedDensityRegression(model))
    with torch.inference_mode():
        for atoms in STRUCTURES.values():
            inputs = graph_of(with_elements(atoms, elements), THREE_ELEMENTS[:elements]).inputs
            expected = model(*inputs)
            assert expected.shape == (len(atoms), 3 if members > 1 else 2)
            assert_same(scripted(*inputs), expected)
        glass = model(
            *graph_of(with_elements(STRUCTURES["glass"], elements), THREE_ELEMENTS).inputs
        )
    assert (glass.std(dim=0) > 1e-3).all(), "an output is constant: equality would mean nothing"


@pytest.mark.parametrize("part", ["own densities", "densities around"])
def test_both_parts_of_the_novelty_are_exported(part: str) -> None:
    """The novelty is the larger of two distances: here one of them never is."""
    model = random_regression(tiny_config(), members=4)
    model.distance_scale[0 if part == "densities around" else 1] *= 1e6
    inputs = graph_of(STRUCTURES["isolated atoms"]).inputs
    expected = model(*inputs)
    assert expected[:, -1].std() > 1e-3
    assert_same(ExportedDensityRegression(model)(*inputs), expected)


def test_exported_predictions_end_at_the_lowest_and_the_highest_label() -> None:
    model = random_regression(tiny_config(), members=4)
    inputs = graph_of(STRUCTURES["glass"]).inputs
    free = model(*inputs)
    lowest, highest = (float(free[:, 0].quantile(q)) for q in (0.2, 0.7))
    model.label_range.copy_(torch.tensor([lowest, highest]))
    bounded = model(*inputs)
    torch.testing.assert_close(bounded[:, 0], free[:, 0].clamp(lowest, highest), rtol=0, atol=1e-6)
    assert_same(ExportedDensityRegression(model)(*inputs), bounded)


def in_parts(module: Any, graph: Graph, cuts: Sequence[int]) -> torch.Tensor:
    """What the C++ core and MPI ranks do: each part has the edges of some centers, knows all atoms,
    and gets the rows of the others after every step."""
    species, (center, _), vectors = graph.species, graph.edge_index, graph.edge_vector
    bounds = [0, *sorted(cuts), len(species)]
    parts = []
    for first, last in pairwise(bounds):
        mine = (center >= first) & (center < last)
        node, edge = module.start(species, vectors[mine])
        parts.append((first, last, graph.edge_index[:, mine].contiguous(), edge))
    for layer in range(module.layers):
        rows, edges = [], []
        for first, last, edge_index, edge in parts:
            new_node, new_edge = module.step(layer, node, edge, edge_index)
            rows.append(new_node[first:last])
            edges.append(new_edge)
        node = torch.cat(rows)
        parts = [(*part[:3], edge) for part, edge in zip(parts, edges, strict=True)]
    result: torch.Tensor = module.finish(node)
    return result


@pytest.fixture(scope="module")
def pair() -> tuple[DensityRegression, Any]:
    """A random model with a jackknife and its scripted form."""
    model = random_regression(tiny_config(), members=4)
    return model, torch.jit.script(ExportedDensityRegression(model))


@st.composite
def sparse_clusters(draw: st.DrawFn) -> Atoms:
    """One to fourteen atoms, few enough in their box that some have no neighbors."""
    count = draw(st.integers(1, 14))
    coordinate = st.floats(0.0, 16.0, width=32)
    positions = draw(
        st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=count, max_size=count)
    )
    symbols = draw(st.lists(st.sampled_from(ELEMENTS), min_size=count, max_size=count))
    return Atoms(symbols, positions=positions, cell=[16.0] * 3, pbc=draw(st.booleans()))


@settings(max_examples=60, deadline=None)
@given(atoms=sparse_clusters(), cuts=st.lists(st.integers(0, 14), max_size=3))
def test_a_graph_cut_in_parts_gives_the_same_numbers(
    pair: tuple[DensityRegression, Any], atoms: Atoms, cuts: list[int]
) -> None:
    model, scripted = pair
    graph = graph_of(atoms)
    with torch.inference_mode():
        expected = model(*graph.inputs)
        assert_same(scripted(*graph.inputs), expected)
        assert_same(in_parts(scripted, graph, [min(cut, len(atoms)) for cut in cuts]), expected)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_cut_behind_every_atom(pair: tuple[DensityRegression, Any], name: str) -> None:
    model, scripted = pair
    graph = graph_of(with_elements(STRUCTURES[name], 2))
    with torch.inference_mode():
        expected = model(*graph.inputs)
        for cut in range(len(graph.species) + 1):
            assert_same(in_parts(scripted, graph, [cut]), expected)
        assert_same(in_parts(scripted, graph, range(len(graph.species))), expected)


@pytest.mark.parametrize("block", [1, 100])
def test_the_size_of_blocks_does_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_regression(tiny_config(), members=4)
    graph = graph_of(random_glass(4, seed=2))
    assert graph.edge_index.shape[1] > 2048, "the usual block holds all edges"
    usual = model(*graph.inputs)
    for module in ("densities", "shells"):
        monkeypatch.setattr(f"symgnn.models.{module}.edge_block", lambda _: block)
    with plain_torch():
        assert_same(model(*graph.inputs), usual)
        assert_same(ExportedDensityRegression(model)(*graph.inputs), usual)


def test_more_components_than_densities_are_all_of_them() -> None:
    config = tiny_config(radial=1, degree=1, radii=[2.6], widths=[0.3], components=50)
    model = random_regression(config, elements=1)
    inputs = graph_of(with_elements(STRUCTURES["glass"], 1), ["Cu"]).inputs
    assert_same(ExportedDensityRegression(model)(*inputs), model(*inputs))


# --- the features -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [TINY, {**TINY_DRAG, "drag": {**DRAG, "variances": False}}, TINY_DRAG],
    ids=["densities", "dragging", "variances"],
)
def test_features_are_local_ones_and_their_averages(config: dict[str, Any]) -> None:
    """Written down atom by atom: own, averages by element, averages of averages, variances."""
    model = random_regression(tiny_config(**config))
    graph = build_graph(random_glass(4, seed=3), config["cutoff"], ELEMENTS, dtype=torch.float64)
    edges, vectors = model.near(graph.edge_index, graph.edge_vector)
    center, neighbor = edges.numpy()
    species, length = graph.species.numpy(), vectors.norm(dim=1)
    weights = shell_weights(length, model.config.shells, model.config.shell_ramp).numpy()
    densities, drag = model.local.densities, model.local.drag
    of_densities = densities(graph.species, edges, vectors).numpy()
    columns = np.split(of_densities, [densities.radial, -densities.coarse], axis=1)
    if drag is not None:
        columns.insert(1, drag(*graph.inputs).numpy())
    local = model.standardize(torch.from_numpy(np.concatenate(columns, axis=1))).numpy()
    radial, angular, coarse = np.split(local, [model.own - densities.angular, model.own], axis=1)

    def average(values: np.ndarray, atom: int, shell: int, element: int | None) -> np.ndarray:
        edges = center == atom
        if element is not None:
            edges &= species[neighbor] == element
        weight = weights[edges, shell]
        total = max(weight.sum(), 0.1)
        return np.asarray(weight @ values[neighbor[edges]] / total)

    dragged = radial[:, radial.shape[1] - model.varied :]

    def variance(atom: int, element: int) -> np.ndarray:
        mean = average(dragged, atom, 0, element)
        return average(dragged**2, atom, 0, element) - mean**2

    every = range(len(species))
    both = [(element, shell) for element in range(2) for shell in range(2)]
    once = np.array([np.concatenate([average(coarse, i, h, e) for e, h in both]) for i in every])
    expected = [
        np.concatenate(
            [
                local[i, : model.own],
                *[average(radial, i, h, e) for e, h in both],
                *[average(angular, i, h, None) for h in range(2)],
                *[average(once, i, h, e) for e, h in both],
                *[variance(i, e) for e in range(2)],
            ]
        )
        for i in every
    ]
    found = model.describe(*graph.inputs).numpy()
    assert found.shape[1] == sum(model.sizes)
    np.testing.assert_allclose(found, np.array(expected), rtol=0, atol=ROUNDING)


def test_shells_share_every_neighbor_inside_them() -> None:
    length = torch.linspace(0.5, 6.0, 500, dtype=torch.float64)
    weights = shell_weights(length, [3.7, 5.0], 0.8)
    assert (weights >= 0.0).all()
    torch.testing.assert_close(
        weights.sum(1)[length < 4.6], torch.ones_like(length[length < 4.6]), rtol=0, atol=1e-15
    )
    assert (weights[length > 5.4] == 0.0).all()


def test_outputs_have_no_jump_when_a_neighbor_comes_or_goes() -> None:
    """Half the step, half the largest change: the distance of a third atom passes every cutoff."""
    model = random_regression(tiny_config(), members=4)

    def sweep(count: int) -> torch.Tensor:
        distance = np.linspace(1.5, 6.0, count)
        positions = np.zeros((count, 3, 3))
        positions[:, :, 1] = 50.0 * np.arange(count)[:, None]
        positions[:, 1, 0] = 2.6
        positions[:, 2, 2] = distance
        graph = graph_of(Atoms("CuZrCu" * count, positions=positions.reshape(-1, 3)))
        result: torch.Tensor = model(*graph.inputs).view(count, 3, 3)
        return result

    coarse, fine = (sweep(count).diff(dim=0).abs().amax(0) for count in (1001, 2001))
    assert (coarse > 1e-4).any()
    assert (fine <= 0.6 * coarse + ROUNDING).all()


# --- the fit ------------------------------------------------------------------------------------

GLASSES = [random_glass(6, seed) for seed in range(4)]
UNSEEN = random_glass(6, seed=10)
# A hundred features for 216 atoms of each structure: enough atoms to tell them all apart.
FEW: dict[str, Any] = {"shells": [3.7]}
WEAK = 1e-4


class Truth:
    """Barriers that are exactly linear in the features of a fit, by element."""

    def __init__(self, folder: Path) -> None:
        # Features depend on means and scales over the structures, but not on labels.
        write_labeled(folder / "train.xyz", GLASSES, [coordination(atoms) for atoms in GLASSES])
        self.model = fit_files(folder, **FEW)[1]
        size = sum(self.model.sizes)
        self.slope = np.random.default_rng(0).normal(0.0, 0.2 / size**0.5, (2, size))

    def __call__(self, atoms: Atoms) -> np.ndarray:
        """Barriers [N], eV."""
        with torch.inference_mode():
            features = self.model.describe(*graph_of(atoms, dtype=torch.float32).inputs).numpy()
        species = zirconium(atoms)
        slope = (features.astype(np.float64) * self.slope[species]).sum(1)
        return np.asarray(slope + np.array([1.4, 1.2])[species])


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return Truth(tmp_path_factory.mktemp("truth"))


def predict(model: DensityRegression, atoms: Atoms) -> np.ndarray:
    """Outputs [N, 3] or [N, 2]."""
    with torch.inference_mode():
        result: np.ndarray = model(*graph_of(atoms, dtype=torch.float32).inputs).numpy()
    return result.astype(np.float64)


def test_linear_labels_are_recovered_up_to_offsets(tmp_path: Path, truth: Truth) -> None:
    """An offset of each structure and element changes no slope; the fit predicts their mean."""
    offsets = np.random.default_rng(1).normal(0.0, 0.05, (len(GLASSES), 2))
    labels = [
        truth(atoms) + offset[zirconium(atoms)]
        for atoms, offset in zip(GLASSES, offsets, strict=True)
    ]
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    unseen = truth(UNSEEN) + offsets.mean(axis=0)[zirconium(UNSEEN)]
    write_labeled(tmp_path / "validation.xyz", [UNSEEN], [unseen])
    result, model = fit_files(
        tmp_path, data={"validation": ["validation.xyz"]}, strength=WEAK, **FEW
    )
    lowest, highest = np.min(labels), np.max(labels)
    for atoms in [*GLASSES, UNSEEN]:
        expected = truth(atoms) + offsets.mean(axis=0)[zirconium(atoms)]
        found = predict(model, atoms)[:, 0]
        # Slopes are drawn towards zero a little, and Gram matrices are summed in float32.
        np.testing.assert_allclose(found, expected.clip(lowest, highest), rtol=0, atol=1e-5)
    assert result.validation is not None
    assert result.validation.pearson > 0.999


def test_atoms_without_labels_are_left_out(tmp_path: Path, truth: Truth) -> None:
    generator = np.random.default_rng(2)
    labels = [truth(atoms) for atoms in GLASSES]
    for label in labels:
        label[generator.random(len(label)) < 0.25] = np.nan
    labels[0][zirconium(GLASSES[0]) == 1] = np.nan  # of one element here, none at all
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    result, model = fit_files(tmp_path, strength=WEAK, **FEW)
    found, expected = predict(model, UNSEEN)[:, 0], truth(UNSEEN)
    bounds = np.nanmin(np.concatenate(labels)), np.nanmax(np.concatenate(labels))
    np.testing.assert_allclose(found, expected.clip(*bounds), rtol=0, atol=1e-5)
    assert result.held_out is not None
    assert result.held_out.atoms == sum(np.isfinite(label).sum() for label in labels)


def test_a_stronger_penalty_gives_smaller_slopes(tmp_path: Path) -> None:
    write_labeled(tmp_path / "train.xyz", GLASSES[:3], [coordination(a) for a in GLASSES[:3]])
    norms = [
        float(fit_files(tmp_path, strength=strength)[1].weight[0].norm())
        for strength in (1.0, 30.0, 1000.0)
    ]
    assert norms[0] > 1.5 * norms[1] > 2.0 * norms[2] > 0.0


def test_predictions_stay_in_the_range_of_labels(tmp_path: Path) -> None:
    labels = [coordination(atoms) for atoms in GLASSES[:3]]
    write_labeled(tmp_path / "train.xyz", GLASSES[:3], labels)
    _, model = fit_files(tmp_path, strength=WEAK)
    squeezed, torn = UNSEEN.copy(), UNSEEN.copy()
    squeezed.set_cell(0.7 * squeezed.cell, scale_atoms=True)
    torn.set_cell(1.4 * torn.cell, scale_atoms=True)
    found = np.concatenate([predict(model, atoms)[:, 0] for atoms in (squeezed, torn)])
    lowest, highest = (pytest.approx(f(labels), abs=1e-6) for f in (np.min, np.max))
    assert found.min() == lowest
    assert found.max() == highest


def test_two_fits_give_the_same_bytes(tmp_path: Path) -> None:
    write_labeled(tmp_path / "train.xyz", GLASSES[:3], [coordination(a) for a in GLASSES[:3]])
    states = [fit_files(tmp_path)[1].state_dict() for _ in range(2)]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert tensor.numpy().tobytes() == states[1][name].numpy().tobytes(), name


# --- what was held out --------------------------------------------------------------------------


def test_a_held_out_score_knows_nothing_of_its_structure(tmp_path: Path) -> None:
    """Labels dealt at random to the atoms of one structure: learned by heart, never predicted."""
    labels = [coordination(atoms) for atoms in GLASSES]
    labels[1] = np.random.default_rng(3).permutation(labels[1])
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    # More features than atoms, so that anything can be learned by heart. A weaker penalty would
    # drown in the rounding of float32.
    result, model = fit_files(tmp_path, strength=1e-2, radial=15, coarse=5, degree=5)
    inside = np.corrcoef(predict(model, GLASSES[1])[:, 0], labels[1])[0, 1]
    assert inside > 0.7
    # Chance: a standard deviation of 0.07 for 216 atoms.
    assert abs(result.structures["train.xyz:1"].pearson) < 0.2


def test_relatives_are_left_out_together(tmp_path: Path) -> None:
    """A strained copy, whose labels were learned by heart, gives no better held-out score."""
    labels = [coordination(atoms) for atoms in GLASSES]
    labels[1] = np.random.default_rng(3).permutation(labels[1])
    copy = GLASSES[1].copy()
    copy.set_cell(copy.cell.array * [1.02, 1.0, 1.0], scale_atoms=True)
    write_labeled(tmp_path / "train.xyz", [*GLASSES, copy], [*labels, labels[1]])
    result, model = fit_files(tmp_path, strength=1e-2, radial=15, coarse=5, degree=5)
    assert result.relatives == [["train.xyz:1", f"train.xyz:{len(GLASSES)}"]]
    assert load_checkpoint(result.best)["jackknife"] == [*range(len(GLASSES)), 1]
    assert model.members == 1 + len(GLASSES)
    assert abs(result.structures["train.xyz:1"].pearson) < 0.2  # .9 with the copy in the fit


def test_a_member_of_the_jackknife_never_saw_its_group(tmp_path: Path) -> None:
    """Other labels of a structure, and other copies of it, change no bit of the map without it."""
    states = []
    for scale, seed in ((1.0, 4), (2.0, 5)):
        labels = [coordination(atoms) for atoms in GLASSES]
        labels[2] *= scale
        write_labeled(tmp_path / "train.xyz", GLASSES, labels)
        copies = [atoms.copy() for atoms in GLASSES]
        copies[2].rattle(0.1, seed=seed)
        write_labeled(tmp_path / "thermal.xyz", copies, labels)
        states.append(fit_files(tmp_path, data={"thermal": ["thermal.xyz"]})[1])
    for name in ("weight", "intercept"):
        first, second = (getattr(model, name) for model in states)
        assert torch.equal(first[3], second[3])  # member 0 is fitted to all, 3 without the third
        for member in (0, 1, 2, 4):
            assert not torch.equal(first[member], second[member])


def test_more_structures_than_groups(tmp_path: Path) -> None:
    """Five structures in two groups: the first, third and fifth are left out together."""
    glasses = [random_glass(4, seed) for seed in range(5)]
    states = []
    for scale in (1.0, 2.0):
        labels = [
            coordination(atoms) * (scale if k % 2 == 0 else 1.0) for k, atoms in enumerate(glasses)
        ]
        write_labeled(tmp_path / "train.xyz", glasses, labels)
        states.append(fit_files(tmp_path, jackknife_groups=2)[1])
    assert states[0].members == 3
    assert torch.equal(states[0].weight[1], states[1].weight[1])
    assert not torch.equal(states[0].weight[2], states[1].weight[2])


@pytest.mark.parametrize("structures", [1, 2])
def test_too_few_structures_give_no_uncertainty(tmp_path: Path, structures: int) -> None:
    chosen = GLASSES[:structures]
    write_labeled(tmp_path / "train.xyz", chosen, [coordination(atoms) for atoms in chosen])
    result, model = fit_files(tmp_path)
    assert result.held_out is None
    assert result.structures == {}
    assert model.members == 1
    assert predict(model, UNSEEN).shape == (len(UNSEEN), 2)


def test_a_structure_with_one_labeled_atom_counts_and_has_no_score(tmp_path: Path) -> None:
    labels = [coordination(atoms) for atoms in GLASSES]
    labels[3][1:] = np.nan
    labels[2][10:] = np.where(zirconium(GLASSES[2])[10:] == 1, 1.25, np.nan)
    labels[2][:10] = np.nan  # all labels equal
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    result, _ = fit_files(tmp_path)
    assert list(result.structures) == ["train.xyz:0", "train.xyz:1"]
    assert result.held_out is not None
    assert result.held_out.atoms == sum(np.isfinite(label).sum() for label in labels)


# --- uncertainty --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["constant", "growing"])
def test_the_uncertainty_covers_noise_of_known_size(
    tmp_path: Path, truth: Truth, kind: str
) -> None:
    """Gaussian noise in labels, alike everywhere or with a variance linear in the barrier."""
    generator = np.random.default_rng(6)
    glasses = [*GLASSES, random_glass(6, 20), random_glass(6, 21)]
    unseen = [random_glass(6, seed) for seed in (30, 31, 32)]

    def size(barrier: np.ndarray) -> np.ndarray:
        if kind == "constant":
            return np.full(len(barrier), 0.1)
        return np.asarray(np.sqrt((0.06 * (barrier - 0.9)).clip(min=1e-3)))

    def noisy(atoms: Atoms) -> np.ndarray:
        barrier = truth(atoms)
        return barrier + size(barrier) * generator.normal(size=len(barrier))

    write_labeled(tmp_path / "train.xyz", glasses, [noisy(atoms) for atoms in glasses])
    _, model = fit_files(tmp_path, strength=30.0, **FEW)
    barrier, std, _ = np.concatenate([predict(model, atoms) for atoms in unseen]).T
    errors = np.abs(barrier - np.concatenate([noisy(atoms) for atoms in unseen]))
    # 648 atoms: a standard deviation of 0.018 around 0.68.
    assert 0.60 <= (errors <= std).mean() <= 0.76
    # Above the noise lies what the fit itself does not know.
    expected = size(np.concatenate([truth(atoms) for atoms in unseen]))
    assert 1.0 <= np.median(std / expected) <= 1.25
    # Of zirconium, whose noise grows by a third from the lower half of its barriers to the upper;
    # the fit sees it through predictions that themselves have errors.
    of_zirconium = np.concatenate([zirconium(atoms) for atoms in unseen]) == 1
    barrier, std = barrier[of_zirconium], std[of_zirconium]
    upper = barrier > np.median(barrier)
    growth = std[upper].mean() / std[~upper].mean()
    if kind == "constant":
        assert growth == pytest.approx(1.0, abs=0.08)
    else:
        assert growth > 1.1


def test_variances_of_noise_and_jackknife_add_up() -> None:
    """Efron and Stein: (M − 1)/M times the sum of squares about the mean of the members; and the
    square of what the range of labels cuts off."""
    generator = np.random.default_rng(7)
    barrier, noise = generator.normal(1.5, 0.3, (40, 6)), generator.uniform(0.0, 0.1, (40, 2))
    outputs = combine(
        *(torch.from_numpy(x) for x in (barrier, np.array([1.2, 1.8]), noise, np.zeros(40)))
    ).numpy()
    predicted = barrier[:, 0].clip(1.2, 1.8)
    jackknife = 4 * barrier[:, 1:].var(axis=1)
    np.testing.assert_allclose(outputs[:, 0], predicted, rtol=1e-14)
    cut_off = (barrier[:, 0] - predicted) ** 2
    of_labels = np.maximum(noise[:, 0] + noise[:, 1] * predicted, 1e-4)
    np.testing.assert_allclose(outputs[:, 1], np.sqrt(of_labels + jackknife + cut_off), rtol=1e-12)


def test_a_barrier_cut_off_by_as_much_as_the_noise_is_novel() -> None:
    barrier = torch.tensor([[1.5], [2.0], [2.2], [2.5]], dtype=torch.float64)
    noise = torch.tensor([[0.04, 0.0]], dtype=torch.float64).expand(4, 2)
    outputs = combine(barrier, torch.tensor([1.0, 2.0]), noise, torch.zeros(4))
    np.testing.assert_allclose(outputs[:, 0], [1.5, 2.0, 2.0, 2.0])
    np.testing.assert_allclose(outputs[:3, 1], [0.0, 0.0, 0.5], atol=1e-6)
    assert outputs[3, 1] > 0.9


def test_a_variance_that_a_line_makes_negative_still_gives_a_number() -> None:
    noise = torch.tensor([[-1.0, 0.0]], dtype=torch.float64)
    barrier = torch.full((1, 4), 1.5, dtype=torch.float64)
    outputs = combine(barrier, torch.tensor([0.0, 3.0]), noise, torch.zeros(1))
    assert float(outputs[0, 1]) == pytest.approx(0.01)


# --- novelty ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> DensityRegression:
    """Fitted to four glasses and labels that follow coordination numbers."""
    folder = tmp_path_factory.mktemp("fitted")
    write_labeled(folder / "train.xyz", GLASSES, [coordination(atoms) for atoms in GLASSES])
    return fit_files(folder)[1]


def test_novelty_is_one_half_where_the_outermost_percent_begins() -> None:
    distance = torch.tensor([0.0, 0.5, 1.0, 2.0, 1e6], dtype=torch.float64)
    barrier = torch.ones(5, 1, dtype=torch.float64)
    novelty = combine(barrier, torch.tensor([0.0, 3.0]), torch.zeros(5, 2), distance)[:, -1]
    assert novelty[0] == 0.0
    assert novelty[2] == 0.5
    assert (novelty.diff() > 0.0).all()
    assert 0.999 < novelty[4] <= 1.0


def test_one_percent_of_the_training_atoms_lie_beyond_each_border(
    fitted: DensityRegression,
) -> None:
    beyond, novelty = [], []
    for atoms in GLASSES:
        species, edge_index, edge_vector = graph_of(atoms, dtype=torch.float32).inputs
        local = fitted.standardized(species, edge_index, edge_vector)[:, : fitted.own]
        distances = torch.stack(fitted.distances(local, species, edge_index, edge_vector)[:2])
        beyond.append((distances > fitted.distance_scale[:, species]).numpy())
        novelty.append(predict(fitted, atoms)[:, -1])
    of_all = np.concatenate(beyond, axis=1)
    species = np.concatenate([zirconium(atoms) for atoms in GLASSES])
    for element in (0, 1):
        share = of_all[:, species == element].mean(axis=1)
        # A quantile lies between two atoms: one of 311 zirconium atoms is 0.3%.
        np.testing.assert_allclose(share, 0.01, atol=0.004)
    np.testing.assert_array_equal(np.concatenate(novelty) > 0.5, of_all.any(axis=0))


def test_other_glasses_of_the_same_kind_are_hardly_novel(fitted: DensityRegression) -> None:
    """More than the training atoms' 1%: 864 of them leave gaps in 34 dimensions."""
    assert (predict(fitted, UNSEEN)[:, -1] > 0.5).mean() < 0.25


def compressed(atoms: Atoms) -> Atoms:
    atoms.set_cell(0.93 * atoms.cell, scale_atoms=True)
    return atoms


def zirconium_rich(atoms: Atoms) -> Atoms:
    atoms.numbers = np.where(atoms.numbers == 29, 40, 29)
    return atoms


def hot(atoms: Atoms) -> Atoms:
    atoms.rattle(0.4, seed=1)
    return atoms


def surface(atoms: Atoms) -> Atoms:
    atoms.pbc[2] = False
    return atoms


@pytest.mark.parametrize("change", [compressed, zirconium_rich, hot, surface])
def test_what_is_unlike_the_training_set_is_novel(fitted: DensityRegression, change: Any) -> None:
    usual, unlike = (predict(fitted, a)[:, -1] for a in (UNSEEN, change(UNSEEN.copy())))
    assert (unlike > 0.5).mean() > 3 * max(0.02, (usual > 0.5).mean())


# --- copies at temperature ----------------------------------------------------------------------


def displaced(atoms: Atoms, seed: int) -> Atoms:
    copy = atoms.copy()
    copy.rattle(0.2, seed=seed)
    return copy


def test_copies_find_their_structures_by_elements_and_labels(tmp_path: Path) -> None:
    """Copies at the same positions, in any order, change nothing: they share a whole weight."""
    labels = [coordination(atoms) for atoms in GLASSES]
    labels[0][:20] = np.nan
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    without = fit_files(tmp_path)[1]
    order = [2, 0, 3, 0, 1]  # two copies of one structure share what one copy has
    write_labeled(tmp_path / "copies.xyz", [GLASSES[k] for k in order], [labels[k] for k in order])
    for weight in (0.2, 0.9):
        data = {"thermal": ["copies.xyz"], "thermal_weight": weight}
        same = fit_files(tmp_path, data=data)[1]
        found, expected = (predict(model, UNSEEN)[:, :2] for model in (same, without))
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_copies_teach_which_displacements_do_not_matter(tmp_path: Path) -> None:
    labels = [coordination(atoms) for atoms in GLASSES]
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    copies = [displaced(atoms, seed) for seed, atoms in enumerate(GLASSES)]
    write_labeled(tmp_path / "copies.xyz", copies, labels)
    errors = []
    for data in ({}, {"thermal": ["copies.xyz"], "thermal_weight": 0.5}):
        model = fit_files(tmp_path, data=data, strength=WEAK)[1]
        found = predict(model, displaced(UNSEEN, 10))[:, 0]
        errors.append(np.sqrt(np.mean((found - coordination(UNSEEN)) ** 2)))
    assert errors[1] < 0.9 * errors[0]


def test_copies_belong_to_what_is_not_novel(tmp_path: Path) -> None:
    labels = [coordination(atoms) for atoms in GLASSES]
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    copies = [displaced(atoms, seed) for seed, atoms in enumerate(GLASSES)]
    write_labeled(tmp_path / "copies.xyz", copies, labels)
    shares = [
        (predict(fit_files(tmp_path, data=data)[1], displaced(UNSEEN, 10))[:, -1] > 0.5).mean()
        for data in ({}, {"thermal": ["copies.xyz"]})
    ]
    assert shares[1] < 0.5 * shares[0]


@pytest.mark.parametrize("change", ["labels", "elements", "order"])
def test_a_copy_of_nothing_is_refused(tmp_path: Path, change: str) -> None:
    labels = [coordination(atoms) for atoms in GLASSES]
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    copy, label = GLASSES[1].copy(), labels[1].copy()
    if change == "labels":
        label[5] += 0.01
    elif change == "elements":
        copy.numbers[[0, np.flatnonzero(copy.numbers != copy.numbers[0])[0]]] = [40, 40]
    else:
        copy, label = copy[::-1], label[::-1]
    write_labeled(tmp_path / "copies.xyz", [GLASSES[0], copy], [labels[0], label])
    with pytest.raises(ConfigError, match=r"data\.thermal: .*copies\.xyz:1 has the elements") as e:
        fit_files(tmp_path, data={"thermal": ["copies.xyz"]})
    assert "\n" not in str(e.value)
    assert not (tmp_path / "run").exists()


def test_epochs_refuse_regressions_and_mixtures(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="closed form"):
        Run(parse_config({"model": TINY}, "test"), base=tmp_path)
    with pytest.raises(ConfigError, match="more than one network"):
        Run(parse_config({"model": {"architecture": "mixture"}}, "test"), base=tmp_path)


# --- one clear line for what cannot be fitted ---------------------------------------------------


def test_an_element_without_labels_is_refused(tmp_path: Path) -> None:
    labels = [np.where(zirconium(atoms) == 1, np.nan, coordination(atoms)) for atoms in GLASSES]
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    with pytest.raises(DatasetError, match="no atom of Zr has a label"):
        fit_files(tmp_path)
    assert not (tmp_path / "run").exists()


def test_an_element_with_labels_in_one_structure_only_is_refused(tmp_path: Path) -> None:
    labels = [coordination(atoms) for atoms in GLASSES]
    for atoms, label in zip(GLASSES[1:], labels[1:], strict=True):
        label[zirconium(atoms) == 1] = np.nan
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    with pytest.raises(DatasetError, match="labels of Zr are all in one group"):
        fit_files(tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"train": []}, r"data\.train needs at least one file"),
        ({"train": ["none.xyz"]}, r"none\.xyz"),
        ({"thermal": ["none.xyz"]}, r"none\.xyz"),
        ({"label": "barrier"}, "no per-atom column 'barrier'"),
        ({"elements": ["Cu", "Ni"]}, "not Zr"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, data: dict[str, Any], words: str) -> None:
    write_labeled(tmp_path / "train.xyz", GLASSES[:1], [coordination(GLASSES[0])])
    with pytest.raises(SymGNNError, match=words):
        fit_files(tmp_path, data=data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"self_edges": True}, "self_edges"),
        ({"widths": [0.3]}, "one positive width per radius"),
        ({"widths": [0.3, 0.0]}, "positive width"),
        ({"shells": [5.0, 3.7]}, "ascending"),
        ({"shells": [0.0, 3.7]}, "positive"),
        ({"shells": [3.7, 5.2]}, "cutoff"),
        ({"angular_cutoff": 5.6}, "cutoff"),
        ({"jackknife_groups": 1}, "jackknife_groups"),
        ({"depth": 3}, "unknown key"),
    ],
)
def test_features_that_make_no_sense(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config({"model": {**TINY, **changes}}, "test")
