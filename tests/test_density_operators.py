"""The compiled operators for densities: the numbers of their definitions, however they run."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import random_glass
from symgnn import operators  # noqa: F401  torch knows them from here on
from symgnn.graph import build_graph
from symgnn.models.densities import LocalDensities
from symgnn.models.shells import plain_shell_sums, shell_sums

if TYPE_CHECKING:
    from symgnn.graph import Graph

CUTOFF = 6.2
SHELLS, RAMP = [3.0, 4.1, 5.5], 0.8
# Relative to the largest number. Hundreds of equal edges, squared, round worse than any glass does.
ROUNDING = {torch.float32: 5e-6, torch.float64: 1e-12}
dtypes = pytest.mark.parametrize("dtype", list(ROUNDING))


def make_densities(elements: int, dtype: torch.dtype, **changes: Any) -> LocalDensities:
    options: dict[str, Any] = {
        "cutoff": CUTOFF,
        "radial": 17,
        "coarse": 5,
        "radii": [2.5, 3.0, 3.5, 4.0, 4.5],
        "widths": [0.25, 0.5, 0.5, 0.5, 0.75],
        "degree": 5,
        "angular_cutoff": 5.0,
    }
    return LocalDensities(elements, **{**options, **changes}).to(dtype)


Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@st.composite
def graphs(draw: st.DrawFn, dtype: torch.dtype) -> tuple[int, Inputs]:
    """Elements, and species, edges and vectors of no structure: few atoms, any number of edges.

    Vectors reach beyond all cutoffs, and may be zero or lie along an axis.
    """
    elements = draw(st.integers(1, 3))
    atoms = draw(st.integers(1, 6))
    species = draw(st.lists(st.integers(0, elements - 1), min_size=atoms, max_size=atoms))
    # More than any block of edges, of one atom, once in a while.
    degree = st.one_of(st.integers(0, 40), st.integers(250, 600))
    degrees = draw(
        st.lists(degree, min_size=atoms, max_size=atoms).filter(lambda found: sum(found) > 0)
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    center = np.repeat(np.arange(atoms), degrees)
    neighbor = generator.integers(0, atoms, len(center))
    direction = generator.normal(size=(len(center), 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    vector = direction * generator.uniform(1.5, CUTOFF + 0.5, (len(center), 1))
    vector[generator.random(len(center)) < 0.05] = 0.0
    vector[generator.random(len(center)) < 0.05] = [0.0, 0.0, -2.6]
    edge_index = torch.from_numpy(np.stack([center, neighbor]))
    return elements, (torch.tensor(species), edge_index, torch.from_numpy(vector).to(dtype))


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    atol = ROUNDING[expected.dtype] * (1.0 + largest)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def glass_inputs(dtype: torch.dtype, side: int = 6) -> Inputs:
    graph: Graph = build_graph(random_glass(side, seed=5), CUTOFF, ["Cu", "Zr"], dtype=dtype)
    return graph.inputs


def sums_of(values: torch.Tensor, inputs: Inputs, *, by: bool = True) -> list[torch.Tensor]:
    return list(shell_sums(values, *inputs, 2, by, SHELLS, RAMP))


# --- the same numbers ---------------------------------------------------------------------------


def test_operators_take_floating_point_numbers_on_the_cpu() -> None:
    has_kernel = torch.ops.symgnn.has_kernel
    for dtype in (torch.float32, torch.float64):
        assert has_kernel("local_densities", torch.zeros(2, dtype=dtype))
    assert not has_kernel("local_densities", torch.zeros(2, dtype=torch.float16))
    assert not has_kernel("local_densities", torch.zeros(2, dtype=torch.int64))
    assert not has_kernel("local_densities", torch.zeros(2, device="meta"))


@dtypes
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_densities_are_those_of_the_definition(dtype: torch.dtype, data: st.DataObject) -> None:
    elements, inputs = data.draw(graphs(dtype))
    changes = data.draw(
        st.sampled_from(
            [
                {},
                {"radial": 1, "coarse": 1, "degree": 1, "radii": [2.6], "widths": [0.3]},
                {"radial": 40, "coarse": 16, "degree": 9},
                {"angular_cutoff": CUTOFF + 1.0},
            ]
        )
    )
    densities = make_densities(elements, dtype, **changes)
    assert_same(densities(*inputs), densities.plain(*inputs))


@dtypes
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_sums_are_those_of_the_definition(dtype: torch.dtype, data: st.DataObject) -> None:
    elements, inputs = data.draw(graphs(dtype))
    receivers = data.draw(st.sampled_from([1, elements]))
    shells = data.draw(st.sampled_from([1, len(SHELLS)]))
    columns = data.draw(st.sampled_from([1, 2, 3, 7, 8, 16, 31, 33, 71]))
    generator = torch.Generator().manual_seed(columns)
    # Columns of a wider tensor, as channels of atoms are.
    wide = torch.randn(
        [len(inputs[0]), receivers, shells, columns + 3], generator=generator, dtype=dtype
    )
    values = wide[..., 1 : columns + 1]
    by = data.draw(st.booleans())
    found = shell_sums(values, *inputs, elements, by, SHELLS, RAMP)
    expected = plain_shell_sums(values, *inputs, elements, by, SHELLS, RAMP)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@dtypes
def test_vectors_may_be_columns_of_a_wider_tensor(dtype: torch.dtype) -> None:
    species, edge_index, edge_vector = glass_inputs(dtype)
    wide = torch.cat([edge_vector, torch.full_like(edge_vector, math.nan)], dim=1)[:, :3]
    turned = edge_vector.T.contiguous().T
    densities = make_densities(2, dtype)
    values = torch.ones([len(species), 1, 1, 1], dtype=dtype)
    for other in (wide, turned):
        assert not other.is_contiguous()
        given_inputs = (species, edge_index, edge_vector)
        other_inputs = (species, edge_index, other)
        assert torch.equal(densities(*other_inputs), densities(*given_inputs))
        assert torch.equal(sums_of(values, other_inputs)[0], sums_of(values, given_inputs)[0])


@dtypes
def test_the_number_of_threads_does_not_change_a_bit(dtype: torch.dtype) -> None:
    inputs = glass_inputs(dtype, side=10)
    assert inputs[1].shape[1] > 10 * 4096, "too few edges to share"
    densities = make_densities(2, dtype)
    values = torch.linspace(-1.0, 1.0, len(inputs[0]), dtype=dtype)[:, None, None, None]
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append([densities(*inputs), *sums_of(values, inputs)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


SCRIPT = """
import sys, torch
from test_density_operators import glass_inputs, make_densities, sums_of
results = []
for dtype in (torch.float32, torch.float64):
    inputs = glass_inputs(dtype)
    values = torch.linspace(-1.0, 1.0, 21 * len(inputs[0]), dtype=dtype).view(-1, 1, 1, 21)
    results += [make_densities(2, dtype)(*inputs), *sums_of(values, inputs)]
torch.save(results, sys.argv[1])
"""


def run_with(capability: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        env={**os.environ, "SYMGNN_CAPABILITY": capability},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_instruction_sets_agree(tmp_path: Path) -> None:
    results = {}
    for capability in ("baseline", "avx2", "avx512"):
        path = tmp_path / f"{capability}.pt"
        done = run_with(capability, path)
        if done.returncode == 0:
            results[capability] = torch.load(path)
        else:
            assert capability != "baseline", done.stderr
            assert "as far as this processor has them" in done.stderr
    for other in results.values():
        for found, expected in zip(other, results["baseline"], strict=True):
            assert_same(found, expected)


def test_an_unknown_instruction_set_is_an_error(tmp_path: Path) -> None:
    done = run_with("sse9", tmp_path / "never.pt")
    assert done.returncode != 0
    assert "SYMGNN_CAPABILITY is 'sse9'" in done.stderr


# --- wrong inputs -------------------------------------------------------------------------------

SPECIES = torch.tensor([0, 1, 0])
EDGES = torch.tensor([[0, 0, 2], [1, 2, 0]])
VECTORS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
WRONG_GRAPHS: dict[str, tuple[Inputs, str]] = {
    "no edges": ((SPECIES, EDGES[:, :0], VECTORS[:0]), "at least one edge"),
    "unsorted": ((SPECIES, EDGES[:, [2, 0, 1]], VECTORS), "sorted by center"),
    "neighbor too high": ((SPECIES, EDGES + torch.tensor([[0], [1]]), VECTORS), "existing atoms"),
    "center too high": ((SPECIES, EDGES + torch.tensor([[1], [0]]), VECTORS), "existing atoms"),
    "negative neighbor": ((SPECIES, EDGES - torch.tensor([[0], [2]]), VECTORS), "existing atoms"),
    "negative center": ((SPECIES, EDGES - torch.tensor([[3], [0]]), VECTORS), "existing atoms"),
    "three rows": ((SPECIES, EDGES[[0, 1, 1]], VECTORS), r"int64 \[2, E\]"),
    "edges of int32": ((SPECIES, EDGES.int(), VECTORS), r"int64 \[2, E\]"),
    "flat edges": ((SPECIES, EDGES[0], VECTORS), r"edge_index is int64"),
    "too few vectors": ((SPECIES, EDGES, VECTORS[:2]), r"edge_vector is \[E, 3\]"),
    "flat vectors": ((SPECIES, EDGES, VECTORS[:, :2]), r"edge_vector is \[E, 3\]"),
    "vectors of float16": ((SPECIES, EDGES, VECTORS.half()), "float32 or float64"),
    "unknown element": ((SPECIES + 1, EDGES, VECTORS), "number of elements"),
    "negative element": ((SPECIES - 1, EDGES, VECTORS), "number of elements"),
    "species of int32": ((SPECIES.int(), EDGES, VECTORS), r"species is int64 \[N\]"),
    "species of every edge": ((SPECIES[EDGES], EDGES, VECTORS), r"species is int64 \[N\]"),
}


def densities_operator(inputs: Inputs, **changes: Any) -> torch.Tensor:
    """The operator alone, without the branch before it."""
    arguments: dict[str, Any] = {
        "elements": 2,
        "radial_centers": torch.tensor([2.0, 3.0]),
        "radial_width": 0.2,
        "radial_end": 6.0,
        "radial_ramp": 1.0,
        "coarse_centers": torch.tensor([2.0]),
        "coarse_width": 0.4,
        "coarse_end": 5.0,
        "coarse_ramp": 0.6,
        "radii": torch.tensor([2.6]),
        "widths": torch.tensor([0.3]),
        "degree": 2,
        "angular_cutoff": 5.0,
        "smallest_length": 1e-6,
    }
    found: torch.Tensor = torch.ops.symgnn.local_densities(*inputs, **{**arguments, **changes})
    return found


def sums_operator(
    inputs: Inputs, values: torch.Tensor, elements: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    found: tuple[torch.Tensor, torch.Tensor] = torch.ops.symgnn.shell_sums(
        values, *inputs, elements, True, SHELLS, RAMP
    )
    return found


@pytest.mark.parametrize("name", WRONG_GRAPHS)
def test_a_wrong_graph_is_one_clear_error(name: str) -> None:
    inputs, message = WRONG_GRAPHS[name]
    with pytest.raises(RuntimeError, match=message):
        densities_operator(inputs)
    with pytest.raises(RuntimeError, match=message):
        sums_operator(inputs, torch.ones(3, 1, 1, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": torch.tensor([0.3, 0.4])}, "radii and widths"),
        ({"radii": torch.tensor(2.6)}, "radii and widths"),
        ({"radial_centers": torch.ones(2, 2)}, "centers of Gaussians"),
        ({"coarse_centers": torch.tensor([3.0, 2.0])}, "centers of Gaussians ascend"),
        ({"degree": -1}, "degree is not negative"),
    ],
)
def test_wrong_densities_are_one_clear_error(changes: dict[str, Any], message: str) -> None:
    assert densities_operator((SPECIES, EDGES, VECTORS)).shape == (3, 4 + 2 * 3 + 2)
    with pytest.raises(RuntimeError, match=message):
        densities_operator((SPECIES, EDGES, VECTORS), **changes)


@pytest.mark.parametrize(
    "values",
    [
        torch.ones(2, 1, 1, 4),
        torch.ones(3, 3, 1, 4),
        torch.ones(3, 1, 2, 4),
        torch.ones(3, 4),
        torch.ones(3, 1, 1, 4, dtype=torch.float64),
    ],
)
def test_wrong_values_are_one_clear_error(values: torch.Tensor) -> None:
    with pytest.raises(RuntimeError, match=r"values is \[N|one dtype"):
        sums_operator((SPECIES, EDGES, VECTORS), values)


def test_what_has_no_gradient_says_so() -> None:
    species, edge_index, edge_vector = glass_inputs(torch.float64)
    inputs = (species, edge_index, edge_vector.requires_grad_())
    values = torch.ones([len(species), 1, 1, 1], dtype=torch.float64)
    for found in (make_densities(2, torch.float64)(*inputs), sums_of(values, inputs)[0]):
        with pytest.raises(RuntimeError, match="not implemented"):
            found.sum().backward()
