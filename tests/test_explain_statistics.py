"""Statistics of explanations: what is nothing but nearness does not survive its null model."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from conftest import random_glass
from symgnn.explain import Explanation, Fidelity
from symgnn.explain.plots import draw_histograms
from symgnn.explain.receptive_field import Surroundings
from symgnn.explain.statistics import (
    ANYWHERE,
    BINS,
    FIRST_SHELL,
    MEASURES,
    NULLS,
    SAME_STEPS,
    SAME_STEPS_AND_LENGTH,
    Comparison,
    _at,
    _resampled,
    angles,
    compare,
    edge_classes,
    histograms,
    interval,
    tables,
    top,
)

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 30
GLASS = random_glass(5, seed=1)
SYMBOLS = np.array(GLASS.get_chemical_symbols())


@pytest.fixture(scope="module")
def explanations() -> list[Explanation]:
    """Receptive fields of 40 atoms, with an importance that is decided in each test."""
    surroundings = Surroundings(GLASS, ["Cu", "Zr"], 4.5, [4.5, 4.5, 4.0], self_edges=True)
    found = []
    for atom in range(40):
        field = surroundings.field(atom)
        none = np.zeros(len(field.edges))
        curves = Fidelity(*np.zeros((5, 3)))
        found.append(
            Explanation(
                atom,
                1.0,
                field.atoms,
                field.positions,
                field.edges,
                none,
                none,
                np.zeros(len(field.atoms)),
                curves,
            )
        )
        np.testing.assert_array_equal(found[-1].hops, field.hops)
    return found


def comparisons(
    explanations: list[Explanation], importance: list[np.ndarray]
) -> dict[tuple[str, str], Comparison]:
    explained = [
        replace(item, importance=values)
        for item, values in zip(explanations, importance, strict=True)
    ]
    found = tables(explained, [SYMBOLS] * len(explained), lambda e: e.importance, COUNT, draws=5)
    groups = [f"glass {number % 4}" for number in range(len(explained))]
    return {(item.measure, item.null): item for item in compare(found, groups, resamples=400)}


def test_random_importance_gives_no_findings(explanations: list[Explanation]) -> None:
    generator = np.random.default_rng(5)
    found = comparisons(explanations, [generator.random(len(e.edges)) for e in explanations])
    assert set(found) == {(measure, null) for measure in MEASURES for null in NULLS}
    survivors = [key for key, item in found.items() if item.survives]
    # 27 comparisons that are not independent of each other; 5% of each survive by chance.
    assert len(survivors) <= 5


def test_nearness_survives_only_where_the_null_model_does_not_have_it(
    explanations: list[Explanation],
) -> None:
    """Edges of few steps, whatever their length: far from all edges, no news at equal steps."""
    generator = np.random.default_rng(5)
    importance = [generator.random(len(e.edges)) - e.hops[e.edges[:, 0]] for e in explanations]
    found = comparisons(explanations, importance)
    assert found["distance", ANYWHERE].high < -1.0
    assert not found["distance", SAME_STEPS].survives
    assert not found["distance", SAME_STEPS_AND_LENGTH].survives


def test_a_preference_for_unlike_elements_survives_every_null_model(
    explanations: list[Explanation],
) -> None:
    generator = np.random.default_rng(5)
    importance = []
    for item in explanations:
        symbols = SYMBOLS[item.atoms]
        unlike = symbols[item.edges[:, 0]] != symbols[item.edges[:, 1]]
        importance.append(generator.random(len(unlike)) + unlike)
    found = comparisons(explanations, importance)
    for null in NULLS:
        item = found["other element", null]
        assert item.selected == 1.0
        assert 0.3 < item.low <= item.difference <= item.high < 0.8
        assert item.difference == pytest.approx(item.selected - item.random)


def test_short_edges_are_no_finding_at_equal_length(explanations: list[Explanation]) -> None:
    found = comparisons(explanations, [-e.lengths for e in explanations])
    assert found["length", SAME_STEPS].high < -0.3
    assert abs(found["length", SAME_STEPS_AND_LENGTH].difference) < 0.05


def test_edges_of_an_atom_to_itself_are_never_selected(explanations: list[Explanation]) -> None:
    item = explanations[0]
    assert (item.lengths == 0).any()
    selected = top(item, -item.lengths, COUNT)
    assert selected.sum() == COUNT
    assert (item.lengths[selected] > 0).all()
    for null in NULLS:
        classes = edge_classes(item, null)
        assert not set(classes[item.lengths == 0]) & set(classes[item.lengths > 0])


def test_angles_are_those_of_all_pairs_of_bonds(explanations: list[Explanation]) -> None:
    item = explanations[3]
    selected = np.random.default_rng(2).random(len(item.edges)) < 0.3
    expected = []
    for center in range(len(item.atoms)):
        vectors = [
            item.positions[j] - item.positions[i]
            for (i, j), chosen in zip(item.edges, selected, strict=True)
            if chosen and i == center
        ]
        bonds = [v / np.linalg.norm(v) for v in vectors if 0 < np.linalg.norm(v) < FIRST_SHELL]
        expected += [np.degrees(np.arccos(a @ b)) for a, b in combinations(bonds, 2)]
    assert len(expected) > 50
    np.testing.assert_allclose(sorted(angles(item, selected)), sorted(expected), atol=1e-6)


def test_the_interval_covers_a_mean_of_groups_that_differ() -> None:
    """Atoms of one glass are no independent witnesses."""
    generator = np.random.default_rng(0)
    covered, narrow = 0, 0
    for trial in range(50):
        offset = np.repeat(generator.normal(size=8), 10)
        values = offset + 0.1 * generator.normal(size=80)
        groups = [f"{number // 10}" for number in range(80)]
        _, low, high = interval(values, groups, resamples=400, seed=trial)
        covered += low < 0.0 < high
        narrow += high - low < 0.5
    assert covered >= 43  # 47.5 expected, standard deviation 1.5
    assert narrow < 5


def test_resampling_discards_no_member_of_a_group() -> None:
    groups = np.array(list("aabbbbbbccc"))
    values = np.arange(11.0)
    for row in _at(values, _resampled(groups, 50, np.random.default_rng(0))).T:
        drawn = groups[row[np.isfinite(row)].astype(int)]
        times = [(drawn == name).sum() / (groups == name).sum() for name in "abc"]
        assert sum(times) == 3
        assert all(time == round(time) for time in times)


def test_histograms_are_drawn(explanations: list[Explanation], tmp_path: Path) -> None:
    found = histograms(explanations[:5], lambda e: -e.lengths, COUNT)
    assert found.keys() == BINS.keys()
    for named in found.values():
        assert named.keys() == {"selected", *NULLS}
        for shares in named.values():
            assert shares.sum() == pytest.approx(1.0)
    draw_histograms({"row": found}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
