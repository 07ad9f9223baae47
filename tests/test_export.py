"""The exported network is the trained one: folded, deterministic, and refused if it is not."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
import torch

from conftest import random_glass
from symgnn.cli import run
from symgnn.errors import ConfigError, ModelError
from symgnn.export import (
    DTYPES,
    TOLERANCE,
    export_checkpoint,
    export_model,
    export_random,
    random_model,
)
from symgnn.graph import Graph, build_graph
from symgnn.models import SymGNNConfig, SymmetrizationConfig
from symgnn.structures import write_structures
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import parse_config, preset
from symgnn.training.loop import train

ELEMENTS = ["Cu", "Zr"]
CONFIGS = {
    "paper": preset("paper").model,
    "lengths": preset("lengths").model,
    "odd widths": SymGNNConfig(width=7, heads=[3, 2, 1]),
    "plain": SymGNNConfig(width=6, heads=[3], normalization="none", skip=False, decoder_layers=0),
    "output level": SymGNNConfig(
        width=8,
        heads=[2, 1],
        symmetrization=SymmetrizationConfig(
            level="output", distribution="haar", evaluation_samples=3
        ),
    ),
    "octahedral": SymGNNConfig(
        width=4, heads=[1, 2], symmetrization=SymmetrizationConfig(distribution="octahedral")
    ),
    "bare length": SymGNNConfig(
        width=8,
        heads=[2, 1],
        edge_input="length",
        symmetrization=SymmetrizationConfig(distribution="none"),
    ),
}


def load(path):
    extra = {"symgnn.json": ""}
    module = torch.jit.load(str(path), _extra_files=extra)
    return module, json.loads(extra["symgnn.json"])


def graph_of(config, dtype, side=5) -> Graph:
    return build_graph(
        random_glass(side, seed=3),
        config.cutoff,
        ELEMENTS,
        self_edges=config.self_edges,
        dtype=DTYPES[dtype],
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every configuration in both dtypes: the network, the file."""
    folder = tmp_path_factory.mktemp("models")
    files = {}
    for name, config in CONFIGS.items():
        for dtype in DTYPES:
            torch.manual_seed(1)
            model = random_model(config, ELEMENTS)
            path = folder / f"{name}-{dtype}.pt"
            export_model(model, ELEMENTS, path, dtype=dtype)
            files[name, dtype] = model.to(DTYPES[dtype]), path
    return files


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_exported_equals_trained(exported, name, dtype):
    model, path = exported[name, dtype]
    module, metadata = load(path)
    graph = graph_of(model.config, dtype)
    with torch.inference_mode():
        eager = model(graph.species, graph.edge_index, graph.edge_vector)
        scripted = module(graph.species, graph.edge_index, graph.edge_vector)
    assert scripted.dtype == DTYPES[dtype]
    assert scripted.shape == (len(graph.species), 1)
    assert float((scripted - eager).abs().max()) <= TOLERANCE[dtype]
    assert float(eager.std()) > 10 * TOLERANCE[dtype]  # or equality would mean nothing
    assert metadata["dtype"] == dtype


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_give_the_same_bits_as_forward(exported, name):
    _, path = exported[name, "float32"]
    module, metadata = load(path)
    graph = graph_of(CONFIGS[name], "float32")
    with torch.inference_mode():
        node, edge = module.start(graph.species, graph.edge_vector)
        for layer in range(metadata["layers"]):
            channels = node.shape[1]
            node, edge = module.step(layer, node, edge, graph.edge_index)
            assert node.shape[1] == channels
        whole = module(graph.species, graph.edge_index, graph.edge_vector)
        assert torch.equal(module.finish(node), whole)


def test_blocks_of_edges_do_not_change_the_result(exported):
    """More edges than one block holds, against the eager network, which has no blocks."""
    model, path = exported["paper", "float64"]
    module, _ = load(path)
    graph = graph_of(model.config, "float64", side=9)
    assert graph.edge_index.shape[1] > 2 * 2048
    with torch.inference_mode():
        inputs = (graph.species, graph.edge_index, graph.edge_vector)
        assert float((module(*inputs) - model(*inputs)).abs().max()) < 1e-12


@pytest.mark.parametrize("name", ["paper", "output level", "bare length"])
def test_atoms_without_neighbors_and_graphs_without_edges(exported, name):
    model, path = exported[name, "float64"]
    module, _ = load(path)
    lonely = (
        torch.tensor([0, 1, 1]),
        torch.zeros(2, 0, dtype=torch.int64),
        torch.zeros(0, 3, dtype=torch.float64),
    )
    with torch.inference_mode():
        torch.testing.assert_close(module(*lonely), model(*lonely), rtol=0, atol=1e-12)
        assert module(*lonely).isfinite().all()


def test_the_same_structure_always_gives_the_same_bits(exported):
    _, path = exported["paper", "float32"]
    graph = graph_of(CONFIGS["paper"], "float32")
    inputs = (graph.species, graph.edge_index, graph.edge_vector)
    with torch.inference_mode():
        first, again = load(path)[0](*inputs), load(path)[0](*inputs)
    assert torch.equal(first, again)


def test_the_file_does_not_tell_where_it_was_made(exported, repository):
    content = exported["paper", "float32"][1].read_bytes()
    assert str(repository).encode() not in content
    assert b"site-packages" not in content


def test_metadata_are_complete(exported):
    _, metadata = load(exported["paper", "float32"][1])
    assert metadata.keys() >= {
        "format",
        "elements",
        "cutoff",
        "layers",
        "width",
        "dtype",
        "self_edges",
        "outputs",
        "units",
        "invariance",
        "training",
        "symgnn_version",
        "torch_version",
    }
    assert metadata["elements"] == ELEMENTS
    assert metadata["self_edges"] is True
    assert metadata["outputs"] == ["energy_barrier"]
    assert metadata["invariance"]["max"] >= metadata["invariance"]["rms"] > 0


def test_measured_invariance_tells_distances_from_vectors(exported):
    paper = load(exported["paper", "float64"][1])[1]["invariance"]
    length = load(exported["lengths", "float64"][1])[1]["invariance"]
    assert length["max"] < 1e-10 < paper["rms"]


def test_random_export_follows_its_seed_and_knows_any_elements(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        export_random("lengths", ["Al", "Ni", "Zr"], tmp_path / name, seed=seed)
    graph = build_graph(random_glass(3, 1), 5.0, ["Al", "Cu", "Zr"])
    with torch.inference_mode():
        a, b, c = (
            load(tmp_path / name)[0](graph.species, graph.edge_index, graph.edge_vector)
            for name in "abc"
        )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_checkpoint_to_model(tmp_path):
    for name, seed in (("glass.xyz", 1), ("other.xyz", 2)):
        atoms = random_glass(3, seed)
        atoms.arrays["energy_barrier"] = 1.0 + 0.1 * (atoms.numbers == 40)
        write_structures(tmp_path / name, [atoms])
    settings = parse_config(
        {
            "data": {"train": ["glass.xyz"], "validation": ["other.xyz"]},
            "model": {"width": 4, "heads": [1]},
            "epochs": 2,
        },
        "test",
    )
    best = train(settings, base=tmp_path).best
    content = load_checkpoint(best)
    assert torch.equal(content["example"]["numbers"], torch.from_numpy(random_glass(3, 1).numbers))
    content["network"] = {k: torch.stack([x, x]) for k, x in content["network"].items()}
    with pytest.raises(ConfigError, match=r"best\.ckpt: made by another version of SymGNN"):
        restore_model(content, "best.ckpt")
    export_checkpoint(best, tmp_path / "model.pt")
    metadata = load(tmp_path / "model.pt")[1]
    assert metadata["training"]["seed"] == 0
    assert set(metadata["training"]["data"]["train"]) == {"glass.xyz"}
    assert metadata["training"]["config"] == settings.model_dump()


def test_export_never_replaces_its_checkpoint(tmp_path, capsys):
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_bytes(b"weights")
    (tmp_path / "model.pt").symlink_to(checkpoint)
    for name in ("best.ckpt", "model.pt"):
        assert run(["export", str(checkpoint), "-o", str(tmp_path / name)]) == 1
        assert "would replace" in capsys.readouterr().err
    assert checkpoint.read_bytes() == b"weights"


def test_a_network_that_export_changes_is_not_written(tmp_path, monkeypatch):
    model = random_model(CONFIGS["bare length"], ELEMENTS)

    def wrong(linear):
        copy = deepcopy(linear)
        torch.nn.init.constant_(copy.bias, 0.1)
        return copy

    monkeypatch.setattr("symgnn.scripted.symgnn._copy_linear", wrong)
    with pytest.raises(ModelError, match="differs from the trained one"):
        export_model(model, ELEMENTS, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()
