"""Architectures of the comparison: symmetries, published layers, and that each can learn."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from ase import Atoms

from conftest import random_glass
from symgnn.errors import ConfigError, ModelError
from symgnn.export import export_checkpoint
from symgnn.graph import build_graph
from symgnn.models import SymGNNConfig, build_model, equivariant
from symgnn.models.equivariant import EquivariantConvolution, coupling_paths
from symgnn.models.gcn import GraphConvolution, inverse_root_degrees
from symgnn.models.mpnn import EdgeNetworkConvolution
from symgnn.models.normalization import Standardization, settle_normalization
from symgnn.models.operations import NeighborTable, cosine_cutoff
from symgnn.models.schnet import Interaction
from symgnn.models.symgnn import expand_length
from symgnn.structures import write_structures
from symgnn.training.checkpoint import load_checkpoint, restore_model, save_checkpoint
from symgnn.training.config import dump_config, load_config, parse_config, preset
from symgnn.training.loop import Run, train

if TYPE_CHECKING:
    from symgnn.graph import Graph

ELEMENTS = ["Cu", "Zr"]
MODELS = {
    "mlp": {"architecture": "mlp"},
    "gcn": {"architecture": "gcn"},
    "gcn with distances": {"architecture": "gcn", "edge_features": True},
    "egnn": {"architecture": "egnn"},
    "egnn as published": {"architecture": "egnn", "radial_basis": 0},
    "attention on lengths": {
        "edge_input": "length",
        "width": 16,
        "heads": [2, 1],
        "dropout": 0.0,
        "symmetrization": {"distribution": "none"},
    },
    "schnet": {"architecture": "schnet"},
    "mgcn": {"architecture": "mgcn"},
    "mpnn": {"architecture": "mpnn"},
    "faenet": {"architecture": "faenet"},
    "equivariant": {"architecture": "equivariant"},
}
SEE_ANGLES = ("egnn", "egnn as published", "faenet", "equivariant")
every_model = pytest.mark.parametrize("name", MODELS)


def network(name: str, **changes):
    torch.manual_seed(0)
    return build_model(parse_config({"model": {**MODELS[name], **changes}}, "test").model, 2)


def strong_network(name: str):
    """In float64 and evaluation mode, with weights so large that every part of it counts."""
    model = network(name).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    settle_normalization(model, [graph_of(random_glass(5, seed=2), model).inputs])
    return model


def graph_of(atoms: Atoms, model, dtype: torch.dtype = torch.float64) -> Graph:
    config = model.config
    return build_graph(atoms, config.cutoff, ELEMENTS, self_edges=config.self_edges, dtype=dtype)


def barriers(model, atoms: Atoms) -> torch.Tensor:
    with torch.inference_mode():
        return model(*graph_of(atoms, model).inputs)[:, 0]


def label_of(graph: Graph, name: str) -> torch.Tensor:
    """A label that the architecture can see: gcn only knows who is a neighbor of whom."""
    (center, neighbor), species = graph.edge_index, graph.species
    length = graph.edge_vector.norm(dim=1)
    if name == "gcn":
        near = (center != neighbor).float()
    else:
        near = torch.exp(-((length - 2.8) ** 2) / 0.3) * (1.0 + 0.5 * torch.sin(4.0 * length))
    weight = near * (1.0 + species[neighbor])
    density = torch.zeros(len(species)).index_add(0, center, weight)
    return density / density.std() + 0.5 * species


@every_model
def test_one_finite_barrier_per_atom_and_a_gradient_for_every_parameter(name, glass):
    model = network(name)
    inputs = graph_of(glass, model, torch.float32).inputs
    model.label_mean.fill_(1.7)
    output = model(*inputs)
    assert output.shape == (len(glass), 1)
    assert bool(output.isfinite().all())
    output.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert bool(parameter.grad.isfinite().all()), key


@every_model
def test_self_edges_are_allowed(name, glass):
    model = network(name, self_edges=True)
    inputs = graph_of(glass, model, torch.float32).inputs
    assert (inputs[1][0] == inputs[1][1]).sum() == len(glass)
    model(*inputs).sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all())


@every_model
def test_atoms_without_neighbors_get_a_barrier(name):
    alone = Atoms("CuZr", positions=[[0.0, 0.0, 0.0], [20.0, 0.0, 0.0]])
    assert bool(barriers(strong_network(name), alone).isfinite().all())


@every_model
def test_labels_are_scaled(name, glass):
    model = strong_network(name)
    standardized = barriers(model, glass)
    model.label_mean.fill_(1.7)
    model.label_std.fill_(0.3)
    torch.testing.assert_close(barriers(model, glass), 1.7 + 0.3 * standardized)


@every_model
def test_order_of_atoms_and_edges_does_not_matter(name, glass):
    model = strong_network(name)
    order = np.random.default_rng(0).permutation(len(glass))
    torch.testing.assert_close(barriers(model, glass[order]), barriers(model, glass)[order])
    species, edge_index, edge_vector = graph_of(glass, model).inputs
    # Edges are sorted by center, and among those of a center in any order.
    shuffled = torch.randperm(len(edge_vector))
    shuffled = shuffled[torch.argsort(edge_index[0, shuffled], stable=True)]
    with torch.inference_mode():
        output = model(species, edge_index[:, shuffled], edge_vector[shuffled])[:, 0]
    torch.testing.assert_close(output, barriers(model, glass))


@every_model
def test_rotations_and_reflections_do_not_matter(name, glass):
    model = strong_network(name)
    reference = barriers(model, glass)
    assert reference.std() > 1e-2
    orthogonal, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    assert not np.allclose(np.abs(orthogonal), np.eye(3), atol=0.1)
    for matrix in (orthogonal, -orthogonal):
        turned = glass.copy()
        turned.set_cell(glass.cell.array @ matrix.T)
        turned.positions = glass.positions @ matrix.T
        torch.testing.assert_close(barriers(model, turned), reference, rtol=0.0, atol=1e-9)


@every_model
def test_origin_and_choice_of_the_periodic_cell_do_not_matter(name, glass):
    model = strong_network(name)
    reference = barriers(model, glass)
    moved = glass.copy()
    moved.translate([3.0, -20.0, 0.7])
    moved.wrap()
    torch.testing.assert_close(barriers(model, moved), reference, rtol=0.0, atol=1e-9)
    twice = barriers(model, glass.repeat((2, 1, 1)))
    torch.testing.assert_close(twice, reference.repeat(2), rtol=0.0, atol=1e-9)


@every_model
def test_who_sees_angles(name):
    """Two neighbors that do not see each other: only their angle at the center changes."""

    def center(angle: float) -> torch.Tensor:
        directions = np.array([[0.0, 0.0], [1.0, 0.0], [np.cos(angle), np.sin(angle)]])
        atoms = Atoms("CuCuZr", positions=3.6 * np.pad(directions, ((0, 0), (0, 1))))
        return barriers(model, atoms)[0]

    model = strong_network(name)
    difference = abs(float(center(np.pi / 2) - center(2 * np.pi / 3)))
    if name in SEE_ANGLES:
        assert difference > 1e-4
    else:
        assert difference < 1e-9


def test_frames_are_drawn_in_training_and_averaged_in_evaluation(glass):
    model = strong_network("faenet")
    inputs = graph_of(glass, model).inputs
    assert torch.equal(model(*inputs), model(*inputs))
    model.train()
    assert len({float(model(*inputs).detach().sum()) for _ in range(20)}) > 1


@every_model
def test_it_learns_one_glass_by_heart(name):
    model = network(name).train()
    graph = graph_of(random_glass(4, seed=1), model, torch.float32)
    label = label_of(graph, name)
    model.label_mean.copy_(label.mean())
    model.label_std.copy_(label.std())
    steps = 150
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = ((model(*graph.inputs)[:, 0] - label) / model.label_std).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    settle_normalization(model, [graph.inputs])
    with torch.inference_mode():
        error = model(*graph.inputs)[:, 0] - label
    assert 1.0 - float(error.square().mean() / label.var(correction=0)) > 0.9


def test_graph_convolution_is_the_published_one(glass):
    from torch_geometric.nn import GCNConv

    graph = build_graph(glass, 3.5, ELEMENTS, self_edges=True)
    ours, reference = GraphConvolution(8), GCNConv(8, 8)
    torch.nn.init.normal_(ours.bias)
    reference.lin.weight.data, reference.bias.data = ours.linear.weight.data, ours.bias.data
    node = torch.randn(len(glass), 8)
    weight = inverse_root_degrees(graph.edge_index, len(glass))
    plain = build_graph(glass, 3.5, ELEMENTS).edge_index.flip(0)  # it adds self-edges by itself
    torch.testing.assert_close(
        ours(node, weight, graph.edge_index), reference(node, plain), rtol=0.0, atol=1e-5
    )


def test_continuous_filter_convolution_is_the_published_one(glass):
    from torch_geometric.nn.models.schnet import InteractionBlock

    graph = build_graph(glass, 5.0, ELEMENTS)
    ours, reference = Interaction(8, 16, "none"), InteractionBlock(8, 16, 8, 5.0)
    for mine, other in (
        (ours.filter[0], reference.mlp[0]),
        (ours.filter[2], reference.mlp[2]),
        (ours.project, reference.conv.lin1),
        (ours.update[0], reference.conv.lin2),
        (ours.update[2], reference.lin),
    ):
        other.load_state_dict(mine.state_dict())
    node = torch.randn(len(glass), 8)
    length = graph.edge_vector.norm(dim=1, keepdim=True)
    basis = expand_length(length, 5.0, 16)
    torch.testing.assert_close(
        ours(node, graph.edge_index, basis, cosine_cutoff(length, 5.0)),
        reference(node, graph.edge_index.flip(0), length[:, 0], basis),
        rtol=0.0,
        atol=1e-5,
    )


def test_messages_through_a_matrix_per_edge_are_the_published_ones(glass):
    from torch_geometric.nn import NNConv

    graph = build_graph(glass, 5.0, ELEMENTS)
    ours = EdgeNetworkConvolution(6, 10, 16)
    reference = NNConv(
        6, 6, torch.nn.Sequential(*ours.hidden, ours.matrix), root_weight=False, bias=False
    )
    node = torch.randn(len(glass), 6)
    basis = expand_length(graph.edge_vector.norm(dim=1, keepdim=True), 5.0, 16)
    table = NeighborTable(graph.edge_index, len(glass))
    torch.testing.assert_close(
        ours(node, table, table.spread(ours.features(basis))),
        reference(node, graph.edge_index.flip(0), basis),
        rtol=0.0,
        atol=1e-5,
    )


def test_equivariant_convolution_is_a_tensor_product_per_edge(glass):
    """Summing over neighbors before or after the coupling of angular momenta is the same."""
    from e3nn import o3

    graph = build_graph(glass, 4.0, ELEMENTS, dtype=torch.float64)
    center, neighbor = graph.edge_index
    atoms, channels, functions = len(glass), 3, 4
    paths = coupling_paths(2, 1, 2)
    ours = EquivariantConvolution(
        [channels] * 2, [channels] * 3, degree=2, radial_functions=functions
    ).double()
    node = [torch.randn(atoms, channels, 2 * degree + 1).double() for degree in range(2)]
    radial = torch.randn(len(center), functions).double()
    harmonics = o3.spherical_harmonics(
        [0, 1, 2], graph.edge_vector, normalize=True, normalization="component"
    )
    table = NeighborTable(graph.edge_index, atoms)
    spread = [
        table.spread((radial[..., None] * part[:, None]).flatten(1))
        for part in harmonics.split([1, 3, 5], dim=1)
    ]
    result = ours(node, table, spread)

    irreps = o3.Irreps.spherical_harmonics(2)
    product = o3.TensorProduct(
        o3.Irreps([(channels, (degree, (-1) ** degree)) for degree in range(2)]),
        irreps,
        o3.Irreps([(channels, ir) for _, ir in irreps]),
        [(second, first, third, "uvw", True) for first, second, third in paths],
        shared_weights=False,
        internal_weights=False,
        irrep_normalization="component",
        path_normalization="none",
    ).double()
    weights = [torch.einsum("ek,kuw->euw", radial, weight).flatten(1) for weight in ours.weights]
    sent = torch.cat([feature.flatten(1) for feature in node], dim=1)[neighbor]
    message = product(sent, harmonics, torch.cat(weights, dim=1))
    expected = torch.zeros(atoms, message.shape[1]).double().index_add(0, center, message)
    own = [feature.transpose(1, 2) @ weight for feature, weight in zip(node, ours.own, strict=True)]
    for degree, part in enumerate(expected.split([channels, 3 * channels, 5 * channels], dim=1)):
        part = part.view(atoms, channels, 2 * degree + 1)
        if degree < len(own):
            part = part + own[degree].transpose(1, 2)
        torch.testing.assert_close(result[degree], part, rtol=0.0, atol=1e-5)


def test_standardization_keeps_the_difference_between_structures():
    standardization = Standardization(1).train()
    low, high = torch.randn(1000, 1), 5.0 + torch.randn(1000, 1)
    for _ in range(10):
        for rows in (low, high):
            standardization(rows)
    standardization.eval()
    means = [float(standardization(rows).mean()) for rows in (low, high)]
    settle_normalization(standardization, [(low,), (high,)])
    settled = [float(standardization(rows).mean()) for rows in (low, high)]
    assert means == pytest.approx(settled, abs=0.05)
    assert settled[1] - settled[0] == pytest.approx(5.0, rel=0.05)


@pytest.fixture
def settings(tmp_path):
    """A configuration whose files lie in tmp_path; the model is symgnn's by default."""
    for file, seeds in {"train.xyz": (1, 2), "validation.xyz": (3,)}.items():
        structures = [random_glass(4, seed) for seed in seeds]
        for atoms in structures:
            label = label_of(build_graph(atoms, 5.0, ELEMENTS), "mlp")
            atoms.arrays["energy_barrier"] = label.numpy().astype(float)
        write_structures(tmp_path / file, structures)
    return {
        "data": {"train": ["train.xyz"], "validation": ["validation.xyz"]},
        "model": {"width": 8, "heads": [1]},
        "epochs": 1,
        "threads": 1,
    }


@every_model
def test_the_training_loop_trains_it_and_its_checkpoint_can_be_read(name, settings, tmp_path):
    run = Run(parse_config({**settings, "model": MODELS[name]}, "test"), base=tmp_path)
    before = copy.deepcopy(run.model.state_dict())
    result = run.train()
    assert result.epochs == 1
    changed = [not torch.equal(before[key], value) for key, value in run.model.state_dict().items()]
    assert any(changed)
    model = restore_model(load_checkpoint(result.best), "best.ckpt")
    item = run.validation_graphs[0].graph
    run.validated_model.eval()
    assert torch.equal(model(*item.inputs), run.validated_model(*item.inputs))
    if name != "attention on lengths":
        with pytest.raises(ModelError, match="no exported form") as error:
            export_checkpoint(result.best, tmp_path / "model.pt")
        assert "\n" not in str(error.value)


def test_configurations_and_checkpoints_without_architecture_are_symgnns(settings, tmp_path):
    """As they were when there was no other architecture, nor random rotations."""
    config = parse_config(settings, "test")
    assert isinstance(config.model, SymGNNConfig)
    result = train(config, base=tmp_path)
    for path in (result.best, result.best.with_name("last.ckpt")):
        content = load_checkpoint(path)
        del content["config"]["model"]["architecture"], content["config"]["random_rotations"]
        save_checkpoint(path, {key: content[key] for key in content if key != "kind"})
    assert isinstance(restore_model(load_checkpoint(result.best), "best.ckpt").config, SymGNNConfig)
    longer = config.model_copy(update={"epochs": 2})
    assert train(longer, base=tmp_path, resume=True).epochs == 2


@every_model
def test_configurations_survive_a_file(name, tmp_path):
    config = parse_config({"model": MODELS[name]}, "test")
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"architecture": "transformer"}, "model: unknown architecture 'transformer'; there are"),
        ({"architecture": None}, "model: unknown architecture 'None'; there are 'symgnn', 'mlp', "),
        ({"architecture": "gcn", "heads": [1]}, "model.heads: unknown key"),
        ({"architecture": "gcn", "width": 0}, "model.width: "),
        ({"depth": 3}, "model.depth: unknown key"),
        ({"symmetrization": {"level": "atom"}}, "model.symmetrization.level: "),
        ("gcn", "model: "),
    ],
)
def test_a_wrong_model_is_one_line(model, message):
    with pytest.raises(ConfigError) as error:
        parse_config({"model": model}, "config.yaml")
    assert str(error.value).startswith(f"config.yaml: {message}")
    assert "\n" not in str(error.value)


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setattr(equivariant, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"model: .*pip install 'symgnn\[baselines\]'") as error:
        parse_config({"model": {"architecture": "equivariant"}}, "config.yaml")
    assert "\n" not in str(error.value)


def test_random_rotations_turn_every_structure_by_itself(settings, tmp_path):
    config = parse_config({**settings, "random_rotations": True, "batch_size": None}, "test")
    run = Run(config, base=tmp_path)
    matrices = []
    for item in [*run.train_graphs, *run.train_graphs * 5]:
        before, after = item.graph.edge_vector, run._turned(item).graph.edge_vector
        matrix = torch.linalg.lstsq(before, after).solution
        torch.testing.assert_close(before @ matrix, after, rtol=0.0, atol=1e-5)
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(3), rtol=0.0, atol=1e-5)
        matrices.append(matrix)
    assert len({round(float(matrix[0, 0]), 4) for matrix in matrices}) == len(matrices)
    assert {round(float(torch.linalg.det(matrix))) for matrix in matrices} == {-1, 1}
    run.train()


def test_without_random_rotations_nothing_is_turned(settings, tmp_path):
    run = Run(parse_config(settings, "test"), base=tmp_path)
    assert run._turned(run.train_graphs[0]) is run.train_graphs[0]


def test_rows_that_are_compared_have_equal_budgets(repository):
    """Networks among themselves, and the variants of SymGNN, which differ in nothing else."""

    def configurations(*names):
        folder = repository / "benchmarks" / "table1"
        return [load_config(folder / f"{name}.yaml") for name in names]

    networks = configurations(
        *("mlp", "gcn", "gcn_edge", "egnn", "egat_length"),
        *("schnet", "mgcn", "mpnn", "faenet", "equivariant"),
    )
    variants = configurations("symgnn_paper", "symgnn_no_symmetrization", "symgnn_augmentation")
    own = {"model": SymGNNConfig(), "random_rotations": False}
    for rows in networks, variants:
        assert len({dump_config(config.model_copy(update=own)) for config in rows}) == 1
    paper, plain, augmented = variants
    assert paper.model == preset("paper").model
    assert plain.model.symmetrization.distribution == "none"
    symmetrized = plain.model.model_copy(update={"symmetrization": paper.model.symmetrization})
    assert symmetrized == paper.model
    assert augmented == plain.model_copy(update={"random_rotations": True})


def test_the_preset_is_the_best_symgnn_of_the_comparison(repository):
    row = load_config(repository / "benchmarks" / "table1" / "symgnn_best.yaml")
    found = preset("lengths")
    assert row.model_copy(update={"patience": found.patience}) == found
