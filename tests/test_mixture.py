"""Mixtures: the exported form, held-out scores of networks and regression together, resuming."""

from __future__ import annotations

import shutil
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ase import Atoms

from conftest import random_glass
from symgnn.annotator import Annotator
from symgnn.errors import ConfigError
from symgnn.export import export_checkpoint, export_model
from symgnn.graph import build_graph
from symgnn.models import DensityRegressionConfig, MixtureConfig, SymGNNConfig
from symgnn.models.mixture import edges_shorter_than
from symgnn.operators import plain_torch
from symgnn.scripted.mixture import ExportedMixture
from symgnn.training.checkpoint import load_checkpoint, restore_model
from symgnn.training.config import parse_config
from symgnn.training.formula import fit_formula
from symgnn.training.loop import train
from symgnn.training.mixture import train_mixture
from symgnn.training.output import BEST, LAST
from symgnn.training.regression import fit
from tiny_mixture import random_mixture, tiny_mixture_config
from tiny_regression import ELEMENTS, TINY, coordination, write_labeled

if TYPE_CHECKING:
    from pathlib import Path

ROUNDING = 1e-10
HEADS = {"as many layers": [2, 2, 1], "fewer layers": [2, 1], "more layers": [2, 1, 2, 1]}


def cluster() -> Atoms:
    """Atoms with neighbors, with one that only the regression sees, and without any."""
    atoms = random_glass(3, seed=4)
    atoms.pbc = False
    return atoms + Atoms("CuZrCu", positions=[[40, 0, 0], [45, 0, 0], [80, 0, 0]])


STRUCTURES = {
    "glass": random_glass(4, seed=1),
    "cluster": cluster(),
    "one atom": Atoms("Cu", positions=[[0, 0, 0]]),
}


@pytest.mark.parametrize("members", [1, 4], ids=["no jackknife", "jackknife"])
@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_exported_equals_defined(heads: list[int], members: int) -> None:
    model = random_mixture(tiny_mixture_config(heads), members)
    scripted = torch.jit.script(ExportedMixture(model))
    with torch.inference_mode():
        for atoms in STRUCTURES.values():
            graph = build_graph(atoms, model.config.cutoff, ELEMENTS, dtype=torch.float64)
            expected = model(*graph.inputs)
            assert expected.shape == (len(atoms), 3 if members > 1 else 2)
            found = scripted(*graph.inputs)
            torch.testing.assert_close(found, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("edges", [0, 1, 1000])
def test_short_edges_are_found_in_order(edges: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(edges)
    wide = 3.0 * torch.randn(edges, 5, generator=generator, dtype=dtype)
    for vector in (wide[:, :3].contiguous(), wide[:, 1:4]):
        found = edges_shorter_than(vector, 4.5)
        with plain_torch():
            assert torch.equal(found, edges_shorter_than(vector, 4.5))
        assert found.dtype == torch.int64
        assert edges < 1000 or 100 < len(found) < 900
    with pytest.raises(RuntimeError, match=r"edge_vector is \[E, 3\]"):
        edges_shorter_than(wide, 4.5)


def test_the_barrier_is_the_weighted_mean_of_both_parts() -> None:
    config = tiny_mixture_config([2, 1])
    model = random_mixture(config)
    atoms = STRUCTURES["glass"]
    wide = build_graph(atoms, config.cutoff, ELEMENTS, dtype=torch.float64)
    narrow = build_graph(atoms, config.network.cutoff, ELEMENTS, dtype=torch.float64)
    with torch.inference_mode():
        known, learned = model.regression(*wide.inputs), model.network(*narrow.inputs)
        found = model(*wide.inputs)
    assert learned.std() > 0.01
    expected = 0.6 * known[:, :1] + 0.4 * learned
    torch.testing.assert_close(found[:, :1], expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("chunk", [0, 7])
def test_the_core_gives_the_same_numbers(tmp_path: Path, chunk: int) -> None:
    """Chunks exchange the channels of both parts."""
    model = random_mixture(tiny_mixture_config(HEADS["more layers"]))
    export_model(model, ELEMENTS, tmp_path / "model.pt", dtype="float64")
    annotator = Annotator(tmp_path / "model.pt", device="cpu", chunk=chunk)
    for atoms in STRUCTURES.values():
        graph = build_graph(atoms, model.config.cutoff, ELEMENTS, dtype=torch.float64)
        with torch.inference_mode():
            expected = model(*graph.inputs).numpy()
        (found,) = annotator.predict([atoms])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cutoff": 6.0}, r"cutoff: leave it out; densities\.cutoff decides"),
        ({"network": {"cutoff": 7.5}}, r"network\.cutoff: the network may not reach farther"),
        ({"network": {"self_edges": True}}, "self_edges: an atom is no neighbor of itself"),
        ({"share": 1.0}, r"model\.share: Input should be less than 1"),
        ({"network": {"depth": 3}}, r"model\.network\.depth: unknown key"),
    ],
)
def test_parts_that_do_not_fit(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        parse_config({"model": {"architecture": "mixture", **values}}, "test")
    assert "\n" not in str(error.value)


# --- training -----------------------------------------------------------------------------------

GLASSES = [random_glass(4, seed=seed) for seed in range(4)]


def settings(folder: Path, **changes: Any) -> Any:
    labels = [coordination(atoms) for atoms in GLASSES]
    write_labeled(folder / "train.xyz", GLASSES, labels)
    values = {
        "data": {"train": ["train.xyz"]},
        "model": {
            "architecture": "mixture",
            "densities": TINY,
            "network": {"width": 6, "heads": [2, 1], "cutoff": 4.5},
        },
        "epochs": 3,
        "threads": 1,
        "seed": 1,
        **changes,
    }
    return parse_config(values, "test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("mixture")
    return folder, train_mixture(settings(folder), base=folder)


def test_it_is_the_regression_and_the_network_of_its_folders(trained: tuple[Path, Any]) -> None:
    folder, result = trained
    content = load_checkpoint(result.best)
    for part, name in (("regression", BEST), ("network", LAST)):
        state = load_checkpoint(folder / "run" / part / name)["network"]
        for key, tensor in state.items():
            if (part, key) != ("regression", "noise"):  # which is that of the mixture
                assert torch.equal(content["network"][f"{part}.{key}"], tensor), key


def test_held_out_scores_are_those_of_parts_that_never_saw_the_structure(
    tmp_path: Path, trained: tuple[Path, Any]
) -> None:
    """Other labels in one structure change its own held-out prediction by nothing."""
    _, result = trained
    before = load_checkpoint(result.best)
    labels = [coordination(atoms) for atoms in GLASSES]
    labels[2] = labels[2][::-1]
    changed = settings(tmp_path)
    write_labeled(tmp_path / "train.xyz", GLASSES, labels)
    after = load_checkpoint(train_mixture(changed, base=tmp_path).best)
    for number in range(4):
        name = f"train.xyz:{number}"
        one, other = (content["held_out_predictions"][name] for content in (before, after))
        if number == 2:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
        else:
            assert (one - other).abs().max() > 1e-3
    assert result.held_out is not None
    assert len(result.structures) == 4


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    tmp_path: Path, trained: tuple[Path, Any]
) -> None:
    expected = load_checkpoint(trained[1].best)["network"]
    config = settings(tmp_path)

    def stop(what: str, done: int, _total: int) -> None:
        if what == "network 2 of 5" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_mixture(config, base=tmp_path, report=stop)
    with pytest.raises(ConfigError, match="holds a run already: add --resume"):
        train_mixture(config, base=tmp_path)
    seen = []
    result = train_mixture(
        config, base=tmp_path, resume=True, report=lambda *event: seen.append(event)
    )
    assert ("network 1 of 5", 3, 3) in seen
    assert ("network 2 of 5", 2, 3) in seen
    assert ("network 2 of 5", 1, 3) not in seen
    found = load_checkpoint(result.best)["network"]
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


def test_a_run_goes_on_with_the_same_groups_only(tmp_path: Path, trained: tuple[Path, Any]) -> None:
    """A network would otherwise be scored on structures that it was trained on."""
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    config = settings(tmp_path, epochs=4)
    config.model.densities.jackknife_groups = 2
    with pytest.raises(ConfigError, match=r"jackknife_groups to continue it, delete") as error:
        train_mixture(config, base=tmp_path, resume=True)
    assert "\n" not in str(error.value)


# --- what is in the output folder already -------------------------------------------------------

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mixture": (train_mixture, {}),
    "symgnn": (train, {"model": {"width": 4, "heads": [1]}}),
    "density_regression": (fit, {"model": TINY}),
    "formula": (fit_formula, {"model": {"architecture": "formula"}}),
}


def run_of(kind: str, folder: Path, output: str, **options: Any) -> Any:
    """Train or fit a kind of model on the glasses of a folder."""
    run, changes = KINDS[kind]
    values = settings(folder, output=output, epochs=1).model_dump() | changes
    if kind in ("density_regression", "formula"):
        values = {key: values[key] for key in ("data", "model", "threads", "output")}
    return run(parse_config(values, "test"), base=folder, **options)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    for kind in KINDS:
        run_of(kind, folder, kind)
    return folder


@pytest.mark.parametrize(("kind", "other"), list(permutations(KINDS, 2)))
def test_a_finished_model_is_not_overwritten_by_another(
    finished: Path, kind: str, other: str
) -> None:
    before = files_in(finished / kind)
    for options in [{}, {"resume": True}] if other in ("mixture", "symgnn") else [{}]:
        words = f"{kind} holds a run of architecture {kind}, not {other}: .*output=FOLDER"
        with pytest.raises(ConfigError, match=words) as error:
            run_of(other, finished, kind, **options)
        assert "\n" not in str(error.value)
    assert files_in(finished / kind) == before


@pytest.mark.parametrize("kind", ["density_regression", "formula"])
def test_a_fit_replaces_one_of_its_kind(tmp_path: Path, finished: Path, kind: str) -> None:
    shutil.copytree(finished / kind, tmp_path / kind)
    (tmp_path / kind / BEST).with_suffix(".old").write_bytes(b"of somebody else")
    assert run_of(kind, tmp_path, kind).best == tmp_path / kind / BEST


def test_a_mixture_begins_anew_nowhere(tmp_path: Path, finished: Path) -> None:
    """Neither over a finished one whose networks were deleted, nor over one that is at work."""
    shutil.copytree(finished / "mixture", tmp_path / "run")
    (tmp_path / "run" / BEST).rename(tmp_path / "best")
    (tmp_path / "run" / "config.yaml").unlink()
    with pytest.raises(ConfigError, match="run holds a run of architecture mixture, not symgnn"):
        run_of("symgnn", tmp_path, "run")
    with pytest.raises(ConfigError, match="holds a run already: add --resume"):
        run_of("mixture", tmp_path, "run")
    shutil.rmtree(tmp_path / "run" / "network")
    (tmp_path / "best").rename(tmp_path / "run" / BEST)
    before = files_in(tmp_path / "run")
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"run holds a model, and no network/last\.ckpt"):
            run_of("mixture", tmp_path, "run", resume=resume)
    assert files_in(tmp_path / "run") == before


def test_a_mixture_and_a_network_beside_its_configuration(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished / "symgnn", tmp_path / "network")
    assert run_of("mixture", tmp_path, "run", resume=True).best.is_file()


def test_the_output_of_a_mixture_is_not_its_configuration(finished: Path) -> None:
    with pytest.raises(ConfigError, match="mixture is itself the output of a run"):
        train_mixture(settings(finished), base=finished / "mixture", resume=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_that_cannot_be_read_is_kept(tmp_path: Path, kind: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / BEST).write_bytes(b"of another program")
    with pytest.raises(ConfigError, match=r"best\.ckpt is not a SymGNN .*output=FOLDER") as error:
        run_of(kind, tmp_path, "run")
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [BEST]


def test_export_of_a_trained_mixture(tmp_path: Path, trained: tuple[Path, Any]) -> None:
    _, result = trained
    exported = export_checkpoint(result.best, tmp_path / "model.pt")
    annotator = Annotator(exported.path, device="cpu")
    assert annotator.outputs == ["energy_barrier", "energy_barrier_std", "energy_barrier_ood"]
    model = restore_model(load_checkpoint(result.best), "test")
    atoms = STRUCTURES["glass"]
    graph = build_graph(atoms, annotator.cutoff, ELEMENTS)
    with torch.inference_mode():
        expected = model(*graph.inputs).numpy()
    (found,) = annotator.predict([atoms])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_too_few_structures_give_one_network_and_no_uncertainty(tmp_path: Path) -> None:
    config = settings(tmp_path)
    write_labeled(tmp_path / "train.xyz", GLASSES[:2], [coordination(a) for a in GLASSES[:2]])
    result = train_mixture(config, base=tmp_path)
    assert result.held_out is None
    assert sorted(path.name for path in (tmp_path / "run").glob("network*")) == ["network"]
    model = restore_model(load_checkpoint(result.best), "test")
    graph = build_graph(STRUCTURES["glass"], model.config.cutoff, ELEMENTS)
    assert model(*graph.inputs).shape[1] == 2


def test_relatives_are_left_out_together(tmp_path: Path) -> None:
    config = settings(tmp_path)
    near = GLASSES[0].copy()
    near.rattle(0.01, seed=1)
    glasses = [*GLASSES, near]
    write_labeled(tmp_path / "train.xyz", glasses, [coordination(atoms) for atoms in glasses])
    result = train_mixture(config, base=tmp_path)
    assert result.relatives == [["train.xyz:0", "train.xyz:4"]]
    assert len(list((tmp_path / "run").glob("network-*"))) == 4


def test_the_cutoff_is_that_of_the_densities() -> None:
    densities = {"cutoff": 7.5}
    for given in (densities, DensityRegressionConfig.model_validate(densities)):
        assert MixtureConfig.model_validate({"densities": given}).cutoff == 7.5


def test_the_default_network_is_a_symgnn_on_lengths() -> None:
    config = parse_config({"model": {"architecture": "mixture"}}, "test").model
    assert isinstance(config, MixtureConfig)
    assert isinstance(config.network, SymGNNConfig)
    assert config.network.edge_input == "length"
