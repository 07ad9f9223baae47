"""Formulas: what is printed is what is computed, everywhere; the fit; the shipped ``simple``."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from conftest import random_glass
from lammps_runner import TOLERANCE, Simulation, dump, largest_difference
from printed_formula import PrintedFormula
from symgnn import Annotator
from symgnn.cli import app
from symgnn.errors import ConfigError, DatasetError, SymGNNError
from symgnn.export import export_model
from symgnn.graph import Graph, build_graph
from symgnn.models.formula import QUANTITIES, Formula, FormulaConfig, Term, formula_text
from symgnn.samples import sample_glass
from symgnn.training.checkpoint import load_checkpoint, restore_model, save_checkpoint
from symgnn.training.config import parse_config, preset
from symgnn.training.formula import fit_formula
from tiny_regression import ELEMENTS, write_labeled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from symgnn.training.regression import Fit

# The printed formula of the shipped model in float64, the model in float32: terms of order 10 eV.
SINGLE = 5e-5
DOUBLE = 1e-10
VALUES = {"bonding": 6.0, "density": 1.24, "count": 1.3, "bond_order": 3.0}
TERMS = [
    {"quantity": quantity, "value": VALUES.get(quantity), "neighbors": neighbors}
    for quantity in QUANTITIES
    for neighbors in (None, "Zr")
] + [{"quantity": "bond_order", "value": 1.0}]


def every_quantity() -> Formula:
    """All quantities, of all neighbors and of Zr, with coefficients that matter."""
    config = FormulaConfig.model_validate(
        {"terms": TERMS, "cutoff": 6.0, "smoothing": 2.2, "bond_lengths": [[2.5, 2.7], [2.7, 3.1]]}
    )
    model = Formula(config)
    generator = np.random.default_rng(0)
    for name in ("coefficient", "intercept", "std", "center", "whitening", "distance_scale"):
        buffer = getattr(model, name)
        digits = np.round(generator.uniform(0.2, 2.0, tuple(buffer.shape)), 3)
        buffer.copy_(torch.as_tensor(digits))
    return model.eval()


def graph_of(atoms: Atoms) -> Graph:
    return build_graph(atoms, 6.0, ELEMENTS, dtype=torch.float64)


def lonely(*positions: Sequence[float]) -> Atoms:
    return Atoms("Cu" * len(positions), positions=positions)


STRUCTURES = {
    "glass": random_glass(4, seed=1),
    "cluster": Atoms("CuZrCu", positions=[[0, 0, 0], [2.6, 0, 0], [0, 2.9, 0.4]]),
    "one atom": lonely([0, 0, 0]),
    "no edges": lonely([0, 0, 0], [50, 0, 0]),
    "some without neighbors": random_glass(3, seed=2)[:9] + lonely([90, 0, 0], [0, 90, 0]),
}
STRUCTURES["some without neighbors"].pbc = False


# --- the printed formula is the formula ---------------------------------------------------------


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_quantity_is_what_its_text_says(name: str) -> None:
    model, atoms = every_quantity(), STRUCTURES[name]
    found = model(*graph_of(atoms).inputs)[:, 0].numpy()
    printed = PrintedFormula(formula_text(model))
    assert len(printed.terms()) == len(TERMS)
    np.testing.assert_allclose(found, printed(atoms), rtol=DOUBLE, atol=DOUBLE)


def shown(model: str | Path) -> str:
    """What `symgnn info` prints below its table."""
    result = CliRunner().invoke(app, ["info", str(model)])
    assert result.exit_code == 0
    return result.output.partition("energy_barrier(i) =")[2].rstrip()


@pytest.mark.parametrize(
    "atoms", [random_glass(5, seed=3), STRUCTURES["cluster"], STRUCTURES["one atom"]]
)
@pytest.mark.filterwarnings("ignore::symgnn.errors.NovelStructureWarning")
def test_simple_computes_what_info_prints(atoms: Atoms) -> None:
    expected = PrintedFormula(shown("simple"))(atoms)
    found = Annotator("simple").annotate(atoms.copy()).arrays["energy_barrier"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=SINGLE)


def test_the_card_of_simple_prints_the_same_formula() -> None:
    annotator = Annotator("simple")
    card = annotator.path.with_suffix(".md").read_text(encoding="utf-8")
    assert annotator.metadata["formula"] in card


def test_other_models_show_no_formula() -> None:
    assert shown("cuzr-fast") == ""


# --- the same numbers everywhere ----------------------------------------------------------------


def in_parts(module: Any, graph: Graph, cuts: Sequence[int]) -> torch.Tensor:
    """What ranks do: edges of some centers, rows of the others fetched after every step."""
    species, center, vectors = graph.species, graph.edge_index[0], graph.edge_vector
    node = module.start(species, vectors[:0])[0]
    for layer in range(2):
        rows = []
        for first, last in pairwise([0, *sorted(cuts), len(species)]):
            mine = (center >= first) & (center < last)
            index, edge = graph.edge_index[:, mine].contiguous(), vectors[mine]
            rows.append(module.step(layer, node, edge, index)[0][first:last])
        node = torch.cat(rows)
    result: torch.Tensor = module.finish(node)
    return result


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Formula, Any]:
    path = tmp_path_factory.mktemp("formula") / "formula.pt"
    model = every_quantity()
    export_model(model, ELEMENTS, path, dtype="float64")
    return model, torch.jit.load(path)


@st.composite
def sparse_clusters(draw: st.DrawFn) -> Atoms:
    """One to fourteen atoms, few enough in their box that some have no neighbors."""
    count = draw(st.integers(1, 14))
    coordinate = st.floats(0.0, 14.0, width=32)
    positions = draw(
        st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=count, max_size=count)
    )
    symbols = draw(st.lists(st.sampled_from(ELEMENTS), min_size=count, max_size=count))
    return Atoms(symbols, positions=positions, cell=[14.0] * 3, pbc=draw(st.booleans()))


@settings(max_examples=40, deadline=None)
@given(atoms=sparse_clusters(), cuts=st.lists(st.integers(0, 14), max_size=3))
def test_exported_in_parts_equals_eager(
    exported: tuple[Formula, Any], atoms: Atoms, cuts: list[int]
) -> None:
    model, scripted = exported
    graph = graph_of(atoms)
    with torch.inference_mode():
        expected = model(*graph.inputs)
        assert expected.isfinite().all()
        for found in (
            scripted(*graph.inputs),
            in_parts(scripted, graph, [min(cut, len(atoms)) for cut in cuts]),
        ):
            torch.testing.assert_close(found, expected, rtol=DOUBLE, atol=DOUBLE)


@pytest.mark.parametrize("ranks", [1, 2])
def test_simple_in_lammps(tmp_path: Path, ranks: int) -> None:
    script = (
        "compute b all symgnn simple Cu Zr\n"
        "compute s all symgnn simple Cu Zr std yes\n" + dump("c_b c_s[1] c_s[2]") + "run 0"
    )
    glass = sample_glass()
    (frame,) = Simulation(tmp_path, glass).succeed(script, ranks=ranks).frames()
    assert largest_difference(frame, "simple") <= TOLERANCE["float32"]
    columns = [frame.arrays[name] for name in ("c_b", "c_s[1]", "c_s[2]")]
    np.testing.assert_allclose(columns[1], columns[0], rtol=0, atol=1e-6)
    assert set(np.round(columns[2], 4)) == set(
        np.round(Annotator("simple").predict([glass])[0][:, 1], 4)
    )


def test_rotation_reflection_and_order_change_nothing() -> None:
    simple, atoms = Annotator("simple"), sample_glass()
    reference = simple.predict([atoms])[0]
    assert reference[:, 0].std() > 0.05
    turned = atoms.copy()
    turned.rotate(37.0, (1.0, 2.0, 3.0), rotate_cell=True)
    turned.positions *= -1.0
    turned.set_cell(-turned.cell.array)
    order = np.random.default_rng(0).permutation(len(atoms))
    found, shuffled = simple.predict([turned, atoms[order]])
    np.testing.assert_allclose(found, reference, rtol=0, atol=SINGLE)
    np.testing.assert_allclose(shuffled, reference[order], rtol=0, atol=SINGLE)


def test_an_atom_alone_has_the_intercept_and_is_novel() -> None:
    simple = Annotator("simple")
    intercepts = dict(PrintedFormula(shown("simple")).intercepts())
    for symbol in ELEMENTS:
        ((barrier, _, novelty),) = simple.predict([Atoms(symbol, positions=[[0, 0, 0]])])[0]
        assert barrier == pytest.approx(intercepts[symbol], abs=1e-4)
        assert novelty > 0.99


def test_no_jump_when_a_neighbor_comes_or_goes() -> None:
    """Half the step, half the largest change, of every quantity."""
    model = every_quantity()

    def sweep(count: int) -> torch.Tensor:
        positions = np.zeros((count, 3, 3))
        positions[:, :, 1] = 50.0 * np.arange(count)[:, None]
        positions[:, 1, 0] = 2.6
        positions[:, 2, 2] = np.linspace(1.5, 6.0, count)
        graph = graph_of(Atoms("CuZrCu" * count, positions=positions.reshape(-1, 3)))
        return model.averages(*graph.inputs)[:, :-1].view(count, 3, -1)

    coarse, fine = (sweep(count).diff(dim=0).abs().amax((0, 1)) for count in (1001, 2001))
    assert (coarse > 1e-7).all()
    assert (fine <= 0.6 * coarse + DOUBLE).all()


# --- the fit ------------------------------------------------------------------------------------

GLASSES = [random_glass(6, seed) for seed in range(4)]
FEW = {
    "architecture": "formula",
    "cutoff": 6.0,
    "terms": [
        {"quantity": "bonding", "value": 6.0},
        {"quantity": "count", "value": 1.2, "neighbors": "Zr"},
    ],
}
COEFFICIENT = np.array([0.0625, -0.125])
INTERCEPT = np.array([1.5, 1.25])


def truth(atoms: Atoms) -> np.ndarray:
    """Labels that a formula with these numbers gives."""
    model = Formula(FormulaConfig.model_validate(FEW))
    averages = model.averages(*graph_of(atoms).inputs)[:, :-1].numpy()
    species = (atoms.numbers == 40).astype(int)
    return np.asarray(averages @ COEFFICIENT + INTERCEPT[species])


def fit_files(folder: Path, data: dict[str, Any] | None = None) -> tuple[Fit, Formula]:
    """Fit ``train.xyz`` of a folder, through the checkpoint."""
    values = {"data": {"train": ["train.xyz"], **(data or {})}, "model": FEW, "device": "cpu"}
    result = fit_formula(parse_config(values, "test"), base=folder)
    model = restore_model(load_checkpoint(result.best), str(result.best))
    assert isinstance(model, Formula)
    return result, model


def test_a_true_formula_is_found(tmp_path: Path) -> None:
    labels = [truth(atoms) for atoms in GLASSES]
    for label in labels:
        label[::7] = np.nan
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    result, model = fit_files(tmp_path, {"validation": []})
    # Float32 quantities, and five printed digits.
    np.testing.assert_allclose(model.coefficient.numpy(), COEFFICIENT, rtol=1e-4)
    np.testing.assert_allclose(model.intercept.numpy(), INTERCEPT, rtol=1e-3)
    assert result.held_out is not None
    assert result.held_out.pearson > 0.9999
    assert (model.coefficient_spread < 1e-4).all()
    assert (model.std < 1e-3).all()


def test_uncertainty_and_spread_are_those_of_glasses_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    noise = np.array([0.05, 0.20])
    labels = [
        truth(atoms) + noise[(atoms.numbers == 40).astype(int)] * generator.normal(size=len(atoms))
        for atoms in GLASSES
    ]
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    result, model = fit_files(tmp_path)
    np.testing.assert_allclose(model.std.numpy(), noise, rtol=0.15)
    assert (model.coefficient_spread > 1e-3).all()
    assert len(result.structures) == len(GLASSES)
    outputs = model(*graph_of(random_glass(6, seed=9)).inputs)
    assert (outputs[:, 2] > 0.5).float().mean() < 0.2
    hot = random_glass(6, seed=9)
    hot.positions *= 0.85
    assert (model(*graph_of(hot).inputs)[:, 2] > 0.5).float().mean() > 0.9


def test_the_spread_is_that_of_three_known_fits(tmp_path: Path) -> None:
    """One glass in three orders: what two of them are fitted by is the mean of their formulas."""
    generator, factors, shifts = np.random.default_rng(0), np.array([1.0, 1.2, 1.8]), [0, 0.3, 0.9]
    glasses = [GLASSES[0][generator.permutation(len(GLASSES[0]))] for _ in factors]
    labels = []
    for atoms, factor, shift in zip(glasses, factors, shifts, strict=True):
        intercept = INTERCEPT[(atoms.numbers == 40).astype(int)]
        labels.append(factor * (truth(atoms) - intercept) + intercept + shift)
    write_labeled(tmp_path / "train.xyz", glasses, labels)
    result, model = fit_files(tmp_path)
    assert result.relatives == []
    left_out = np.array([1.5, 1.4, 1.1]), np.array([0.6, 0.45, 0.15])
    factor_spread, shift_spread = (
        np.sqrt(((values - values.mean()) ** 2).sum() / 2) for values in left_out
    )
    # Float32 quantities, and five printed digits.
    np.testing.assert_allclose(
        model.coefficient_spread.numpy(), factor_spread * np.abs(COEFFICIENT), rtol=1e-3
    )
    np.testing.assert_allclose(model.intercept_spread.numpy(), shift_spread, rtol=1e-2)


def test_atoms_with_equal_surroundings_have_a_novelty(tmp_path: Path) -> None:
    glasses, generator = [], np.random.default_rng(0)
    for atoms in GLASSES:  # shuffled, since they all come from one lattice
        copper = Atoms("Cu" * len(atoms), positions=generator.permutation(atoms.positions))
        glasses.append(copper + Atoms("Zr", positions=[[60.0, 60.0, 60.0]]))
    write_labeled(tmp_path / "train.xyz", glasses, [truth(atoms) for atoms in glasses])
    _, model = fit_files(tmp_path)
    assert model(*graph_of(glasses[0]).inputs)[-1, 2] == 0.0
    assert (model(*graph_of(random_glass(6, seed=9)).inputs)[:, 2] > 0.5).any()


def test_relatives_are_left_out_together(tmp_path: Path) -> None:
    labels = [truth(atoms) for atoms in GLASSES]
    write_labeled(tmp_path / "train.xyz", [*GLASSES, GLASSES[0]], [*labels, -labels[0]])
    result, _ = fit_files(tmp_path)
    assert result.relatives == [["train.xyz:0", f"train.xyz:{len(GLASSES)}"]]
    # The map of the other glasses, which neither the labels nor their opposite moved.
    assert result.structures["train.xyz:0"].pearson > 0.999
    assert result.structures[f"train.xyz:{len(GLASSES)}"].pearson < -0.999


@pytest.mark.parametrize(
    ("data", "count", "words"),
    [
        ({}, 2, "needs 3 labeled structures"),
        ({"train": []}, 4, r"data\.train needs at least one file"),
        ({"thermal": ["train.xyz"]}, 4, r"data\.thermal: a formula has no use for copies"),
        ({"elements": ["Zr", "Cu"]}, 4, r"data\.elements: leave it out"),
    ],
)
def test_what_cannot_be_fitted(
    tmp_path: Path, data: dict[str, Any], count: int, words: str
) -> None:
    write_labeled(tmp_path / "train.xyz", GLASSES[:count], [truth(a) for a in GLASSES[:count]])
    with pytest.raises(SymGNNError, match=words) as error:
        fit_files(tmp_path, data)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_formula_replaces_a_formula_only(tmp_path: Path) -> None:
    write_labeled(tmp_path / "train.xyz", GLASSES, [truth(atoms) for atoms in GLASSES])
    for _ in range(2):
        fit_files(tmp_path)
    best = tmp_path / "run" / "best.ckpt"
    content = load_checkpoint(best)
    assert len(content["example"]["numbers"]) == min(map(len, GLASSES))
    content["config"]["model"]["architecture"] = "mixture"
    save_checkpoint(best, content)
    before = best.read_bytes()
    with pytest.raises(ConfigError, match=r"run holds a run of architecture mixture, not formula"):
        fit_files(tmp_path)
    assert best.read_bytes() == before


def test_an_element_without_labels_is_refused(tmp_path: Path) -> None:
    labels = [np.where(atoms.numbers == 40, np.nan, truth(atoms)) for atoms in GLASSES]
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    with pytest.raises(DatasetError, match="no atom of Zr has a label"):
        fit_files(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"self_edges": True}, "self_edges"),
        ({"bond_lengths": [[2.5, 2.8]]}, "one row and one column per element"),
        ({"bond_lengths": [[2.5, 2.8], [2.7, 3.1]]}, "the same for AB and BA"),
        ({"terms": []}, "terms"),
        ({"cutoff": 4.0}, "cutoff: no term may reach farther"),
        ({"terms": [{"quantity": "bonding", "value": 6.0}] * 2}, "twice"),
        ({"terms": [{"quantity": "bonding", "value": 6.0, "neighbors": "Ni"}]}, "Ni is none of"),
        ({"terms": [{"quantity": "bonding"}]}, "bonding needs a positive value"),
        ({"terms": [{"quantity": "stretch", "value": 1.0}]}, "stretch has no value"),
        ({"terms": [{"quantity": "bond_order", "value": 1.5}]}, "degree from 1 to 12"),
        ({"terms": [{"quantity": "volume"}]}, r"model\.terms\.0\.quantity"),
        ({"depth": 3}, r"model\.depth: unknown key"),
    ],
)
def test_formulas_that_make_no_sense(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config({"model": {**FEW, **changes}}, "test")


def test_the_shipped_formula_is_the_preset() -> None:
    wanted = preset("simple").model.model_dump()
    assert Annotator("simple").metadata["architecture"] == wanted
    assert [Term.model_validate(term).name for term in wanted["terms"]] == [
        "bonding 6",
        "bond_order 1",
        "bond_order 7",
    ]
