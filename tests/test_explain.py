"""Explanations find what a prediction comes from, exactly and reproducibly, or say why not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from scipy.stats import mannwhitneyu

from conftest import random_glass
from symgnn import Annotator
from symgnn.errors import ModelError, StructureError
from symgnn.explain import Explainer, Explanation, ExplanationSettings, explain
from symgnn.explain.fidelity import SHARES, RandomEdges, fidelity
from symgnn.explain.receptive_field import Surroundings, unite
from symgnn.export import export_model, random_model
from symgnn.models import SymGNNConfig
from symgnn.samples import sample_glass
from tiny_model import tiny_metadata, write_tiny_model
from tiny_regression import random_regression, tiny_config

if TYPE_CHECKING:
    from pathlib import Path

# Random glasses are none that a model was trained on.
pytestmark = pytest.mark.filterwarnings("ignore::symgnn.errors.NovelStructureWarning")
FAST = ExplanationSettings(steps=4, path_points=3, leave_out=2, draws=1)


class PlantedMotif(torch.nn.Module):
    """The barrier of an atom counts its zirconium neighbors within 3.6 Å, and nothing else.

    Messages of two layers run along every edge, as in any network, but only these have a weight.
    """

    def __init__(self, counts: bool = True) -> None:
        super().__init__()
        self.factor = 0.1 if counts else 0.0

    def _matters(
        self, species: torch.Tensor, edge_index: torch.Tensor, edge_vector: torch.Tensor
    ) -> torch.Tensor:
        near = edge_vector.square().sum(1) < 3.6**2
        return (near & (species.index_select(0, edge_index[1]) == 1)).to(edge_vector.dtype)

    def forward(
        self, species: torch.Tensor, edge_index: torch.Tensor, edge_vector: torch.Tensor
    ) -> torch.Tensor:
        constants = [self._matters(species, edge_index, edge_vector)]
        within = [species.size(0), species.size(0), species.size(0)]
        return self.weighted(torch.ones_like(constants[0]), constants, species, edge_index, within)

    @torch.jit.export
    def start(
        self, species: torch.Tensor, edge_vector: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return species[:, None].to(edge_vector.dtype), edge_vector

    @torch.jit.export
    def step(
        self, layer: int, node: torch.Tensor, edge: torch.Tensor, edge_index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if layer > 0:
            return node, edge
        matters = self._matters(node[:, 0].to(torch.int64), edge_index, edge)
        return self._barrier(matters, edge_index, node.size(0)), edge

    @torch.jit.export
    def finish(self, node: torch.Tensor) -> torch.Tensor:
        return node

    @torch.jit.export
    def weighted_start(
        self,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vector: torch.Tensor,
        within: list[int],  # noqa: ARG002
    ) -> list[torch.Tensor]:
        return [self._matters(species, edge_index, edge_vector)]

    @torch.jit.export
    def weighted(
        self,
        weight: torch.Tensor,
        constants: list[torch.Tensor],
        species: torch.Tensor,
        edge_index: torch.Tensor,
        within: list[int],
    ) -> torch.Tensor:
        return self._barrier(weight * constants[0], edge_index, species.size(0))[: within[0]]

    def _barrier(self, values: torch.Tensor, edge_index: torch.Tensor, atoms: int) -> torch.Tensor:
        count = torch.zeros([atoms], dtype=values.dtype).index_add(0, edge_index[0], values)
        return 1.0 + self.factor * count[:, None]


def write_planted(path: Path, *, counts: bool = True) -> Path:
    weights = {"reach": [4.5, 4.5], "limits": None}
    metadata = tiny_metadata() | {"cutoff": 4.5, "edge_weights": weights}
    scripted = torch.jit.script(PlantedMotif(counts).eval())
    torch.jit.save(scripted, str(path), _extra_files={"symgnn.json": json.dumps(metadata)})
    return path


def area_under_curve(scores: np.ndarray, matters: np.ndarray) -> float:
    """Probability that an edge that matters scores higher than one that does not."""
    statistic = mannwhitneyu(scores[matters], scores[~matters]).statistic
    return float(statistic) / (matters.sum() * (~matters).sum())


@pytest.fixture(scope="module")
def sample() -> Atoms:
    return sample_glass()


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small attention network with random weights."""
    torch.manual_seed(3)
    config = SymGNNConfig(width=6, heads=[2, 2, 1], cutoff=4.0, self_edges=True)
    path = tmp_path_factory.mktemp("model") / "attention.pt"
    export_model(random_model(config, ["Cu", "Zr"]), ["Cu", "Zr"], path, dtype="float64")
    return path


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small density regression with random weights."""
    path = tmp_path_factory.mktemp("model") / "regression.pt"
    export_model(random_regression(tiny_config()), ["Cu", "Zr"], path, dtype="float64")
    return path


# --- they find what is there --------------------------------------------------------------------


def test_a_planted_motif_is_recovered(tmp_path: Path) -> None:
    glass = random_glass(6, seed=2)
    found = explain(glass, range(12), write_planted(tmp_path / "planted.pt"))
    for item in found:
        zirconium = glass.numbers[item.atoms[item.edges[:, 1]]] == 40
        matters = (item.edges[:, 0] == 0) & (item.lengths < 3.6) & zirconium
        assert matters.any()
        assert area_under_curve(item.importance, matters) > 0.95
        assert area_under_curve(np.abs(item.integrated_gradients), matters) > 0.95
        np.testing.assert_allclose(item.integrated_gradients[matters], 0.1, atol=1e-12)
        tried = np.isfinite(item.leave_one_out)
        expected = np.zeros(len(item.atoms))
        expected[item.edges[matters, 1]] = -0.1
        np.testing.assert_allclose(item.leave_one_out[tried], expected[tried], atol=1e-12)
        assert not tried[0]
        assert tried.sum() == min(30, (item.edges[:, 0] == 0).sum())


def test_what_is_found_in_cuzr_fast_matters_more_than_random_edges(sample: Atoms) -> None:
    """Without the top tenth, the prediction changes three times as much as without random edges
    of the same lengths."""
    found = explain(sample, [3, 2400], "cuzr-fast")
    tenth = SHARES.index(0.1)
    top, random = (
        np.mean([getattr(item.fidelity, name)[tenth] for item in found])
        for name in ("drop", "drop_random")
    )
    assert top > 3.0 * random


def test_integrated_gradients_add_up(regression: Path) -> None:
    """A polynomial of the weights of low degree, but for averages: the sum is F(1) − F(0)."""
    glass = random_glass(4, seed=2)
    explainer = Explainer(glass, regression, FAST.model_copy(update={"path_points": 24}))
    (item,) = explainer.explain([5])
    _, barriers = explainer.model.of_fields([explainer.model.surroundings(glass).field(5)])
    edges = len(item.edges)
    with torch.no_grad():
        one, none = (barriers(torch.full((edges,), w, dtype=torch.float64)) for w in (1.0, 0.0))
    assert abs(float(one - none)) > 0.1
    assert item.integrated_gradients.sum() == pytest.approx(float(one - none), rel=1e-3)


# --- they belong to the whole structure ---------------------------------------------------------


@pytest.mark.parametrize("side", [2, 3, 5], ids=["box below the cutoff", "small box", "box"])
@pytest.mark.parametrize("model", ["attention", "regression"])
def test_the_receptive_field_gives_the_prediction_of_the_structure(
    model: str, side: int, request: pytest.FixtureRequest
) -> None:
    """In float64 the explainer itself refuses a difference above 1e-8 eV."""
    path = request.getfixturevalue(model)
    glass = random_glass(side, seed=side)
    expected = Annotator(path).predict([glass])[0][:, 0]
    atoms = [0, 3, len(glass) - 1]
    for item in explain(glass, atoms, path, settings=FAST):
        assert item.prediction == pytest.approx(expected[item.atom], abs=1e-8)
        assert item.atoms[0] == item.atom
        assert (np.diff(item.edges[:, 0]) >= 0).all()
        assert len(np.unique(item.edges, axis=0)) == len(item.edges)
        # Images lie where the structure has atoms.
        shift = item.positions + glass.positions[item.atom] - glass.positions[item.atoms]
        cells = shift @ np.linalg.inv(glass.cell.array)
        np.testing.assert_allclose(cells, cells.round(), atol=1e-9)
        assert ((item.importance >= 0) & (item.importance <= 1)).all()


def test_many_atoms_at_once_give_what_each_gives_alone(attention: Path) -> None:
    glass = random_glass(4, seed=2)
    together = explain(glass, [9, 2, 30], attention, settings=FAST, workers=1)
    assert [item.atom for item in together] == [9, 2, 30]
    for item in together:
        (alone,) = explain(glass, [item.atom], attention, settings=FAST)
        assert_same(item, alone)


def assert_same(item: Explanation, other: Explanation) -> None:
    for name in ("atoms", "edges", "positions"):
        np.testing.assert_array_equal(getattr(item, name), getattr(other, name))
    for name in ("importance", "integrated_gradients", "leave_one_out"):
        np.testing.assert_allclose(getattr(item, name), getattr(other, name), atol=1e-7)
    np.testing.assert_allclose(item.fidelity.drop_random, other.fidelity.drop_random, atol=1e-7)


def test_the_seed_decides_and_several_seeds_say_how_stable_it_is(attention: Path) -> None:
    glass = random_glass(4, seed=2)

    def run(**changes: Any) -> Explanation:
        (item,) = explain(glass, [9], attention, settings=FAST.model_copy(update=changes))
        return item

    first, again, other, both = run(), run(), run(seed=1), run(seeds=2)
    np.testing.assert_array_equal(first.importance, again.importance)
    assert np.abs(first.importance - other.importance).max() > 1e-3
    assert np.isnan(first.stability)
    assert -1.0 < both.stability < 1.0


# --- they refuse what they cannot explain -------------------------------------------------------


def test_a_model_that_ignores_edges_is_refused(tmp_path: Path) -> None:
    path = write_planted(tmp_path / "deaf.pt", counts=False)
    with pytest.raises(ModelError, match="'deaf' ignores edges: the barrier of atom 4"):
        explain(random_glass(3, seed=2), [4], path)


def test_a_model_without_support_is_refused(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "old.pt")
    with pytest.raises(ModelError, match="does not support explanations: export its checkpoint"):
        explain(random_glass(3, seed=2), [4], path)


def test_a_formula_is_refused() -> None:
    with pytest.raises(ModelError, match="'simple' is a formula, which is its own explanation"):
        explain(random_glass(3, seed=2), [4], "simple")


def test_a_model_whose_weights_of_one_are_not_its_prediction_is_refused(
    attention: Path, regression: Path, tmp_path: Path
) -> None:
    """Here because the metadata claim that edges matter less far than they do."""
    metadata = {"symgnn.json": ""}
    module = torch.jit.load(str(regression), _extra_files=metadata)
    values = json.loads(metadata["symgnn.json"])
    values["edge_weights"]["reach"] = [3.0, 3.0, 3.0]
    path = tmp_path / "wrong.pt"
    torch.jit.save(module, str(path), _extra_files={"symgnn.json": json.dumps(values)})
    with pytest.raises(ModelError, match="with weights of one on its edges"):
        explain(random_glass(3, seed=2), [4], path, settings=FAST)


@pytest.mark.parametrize("atom", [-1, 27])
def test_an_atom_outside_the_structure_is_refused(attention: Path, atom: int) -> None:
    with pytest.raises(StructureError, match=f"no atom {atom}: the 27 atoms have indices 0 to 26"):
        explain(random_glass(3, seed=2), [0, atom], attention)


def test_an_atom_without_neighbors_is_refused(attention: Path) -> None:
    glass = random_glass(3, seed=2)
    glass.pbc = False
    glass += Atoms("Cu", positions=[[50, 0, 0]])
    with pytest.raises(StructureError, match="atom 27 has no neighbors within 4 Å"):
        explain(glass, [27], attention)


def test_an_element_that_the_model_lacks_is_refused(attention: Path) -> None:
    glass = random_glass(3, seed=2)
    glass.symbols[0] = "Al"
    with pytest.raises(StructureError, match="Al"):
        explain(glass, [4], attention)


# --- parts --------------------------------------------------------------------------------------


def test_random_edges_of_the_same_steps_lie_as_far_away() -> None:
    """All edges are equally long, and only those of the explained atom itself count, 0.1 eV each.

    Random edges of the same steps do as much as the top, those of the same lengths seldom hit one.
    """
    lattice = bulk("Cu", "sc", a=2.65, cubic=True).repeat(5)
    field = Surroundings(lattice, ["Cu"], 3.0, [3.0, 3.0], self_edges=False).field(0)
    assert field.hops[field.edges[:, 0]].tolist() == [0] * 6 + [1] * 36
    batch = unite([field], 2, torch.float64)
    own = batch.edge_index[0] == 0
    importance = np.where(field.edges[:, 0] == 0, 1.0, 0.0)
    (found,) = fidelity(
        lambda weight: 1.0 + 0.1 * weight[own].sum()[None], batch, [field], [importance], 200, [[0]]
    )
    top = np.array([1, 1, 1, 4, 13])  # edges, by share
    np.testing.assert_allclose(found.drop, 0.1 * top.clip(max=6), atol=1e-12)
    np.testing.assert_allclose(found.drop_random_same_hop, found.drop, atol=1e-12)
    # Five standard errors of the mean over 200 draws.
    np.testing.assert_allclose(found.drop_random, 0.1 * top * 6 / 42, atol=0.038)


def test_random_edges_are_as_many_of_each_class() -> None:
    generator = np.random.default_rng(1)
    classes = generator.integers(5, size=400)
    selected = generator.random(400) < 0.2
    edges = RandomEdges(selected, classes)
    drawn = edges.draw(generator)
    np.testing.assert_array_equal(
        np.bincount(classes[drawn], minlength=5), np.bincount(classes[selected], minlength=5)
    )
    assert (drawn != selected).any()
    frequency = np.mean([edges.draw(generator) for _ in range(400)], axis=0)
    share = np.bincount(classes, selected) / np.bincount(classes)
    assert np.abs(frequency - share[classes]).max() < 0.12  # 5 standard errors
