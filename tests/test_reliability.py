"""Reliability of labels: known variance components come back, and halves agree as they predict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symgnn.landscape.events import Tally
from symgnn.landscape.reliability import ceiling_interval, halves, reliability


def drawn(
    between: float, within: float, *, atoms: int = 600, searches: int = 20, seed: int = 0
) -> Tally:
    """A catalog whose atoms have known true means, with two thirds of the searches connected."""
    generator = np.random.default_rng(seed)
    atom = np.repeat(np.arange(atoms), searches)
    truth = generator.normal(1.5, between, atoms)
    barrier = truth[atom] + generator.normal(0.0, within, len(atom))
    connected = generator.random(len(atom)) < 2 / 3
    return Tally(np.full(atoms, searches), atom, barrier, connected)


def test_known_components_come_back():
    found = reliability(drawn(0.28, 0.65))
    assert found is not None
    assert found.atoms == 600
    assert found.saddles == pytest.approx(20 * 2 / 3, rel=0.02)
    assert found.between == pytest.approx(0.28, abs=0.03)
    assert found.within == pytest.approx(0.65, abs=0.02)
    assert found.of_mean(20) == pytest.approx(0.28**2 / (0.28**2 + 0.65**2 / 20), abs=0.03)
    assert found.ceiling(20) == pytest.approx(found.of_mean(20) ** 0.5)
    assert found.saddles_for(found.ceiling(20)) == pytest.approx(20)


def test_the_ceiling_is_what_a_perfect_model_reaches():
    generator = np.random.default_rng(1)
    truth = generator.normal(1.5, 0.28, 100_000)
    labels = truth + generator.normal(0.0, 0.65 / 20**0.5, truth.shape)
    perfect = np.corrcoef(truth, labels)[0, 1]
    found = reliability(drawn(0.28, 0.65, atoms=3000))
    assert found is not None
    assert found.ceiling(20) == pytest.approx(perfect, abs=0.01)


def test_halves_agree_as_predicted():
    measured, predicted, atoms = halves(drawn(0.3, 0.6, atoms=3000))
    assert atoms > 2900
    assert measured == pytest.approx(predicted, abs=0.04)


def test_the_interval_holds_the_truth():
    truth = (0.3**2 / (0.3**2 + 0.6**2 / 20)) ** 0.5
    held = 0
    for seed in range(10):
        low, high = ceiling_interval(drawn(0.3, 0.6, atoms=60, seed=seed), 20)
        assert low < high
        held += low <= truth <= high
    assert held >= 8


def test_pure_noise_has_no_ceiling_to_speak_of():
    found = reliability(drawn(0.0, 0.6, atoms=2000))
    assert found is not None
    assert found.ceiling(20) < 0.35


@settings(max_examples=50, deadline=None)
@given(shift=st.floats(-5, 5), scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_shift_and_scale(shift: float, scale: float, seed: int):
    """Reliability has no unit and no zero."""
    tally = drawn(0.4, 0.6, atoms=30, seed=seed)
    other = Tally(tally.searches, tally.atom, shift + scale * tally.barrier, tally.connected)
    one, two = reliability(tally), reliability(other)
    assert one is not None
    assert two is not None
    assert two.of_mean(20) == pytest.approx(one.of_mean(20), abs=1e-6)
    assert two.within == pytest.approx(scale * one.within, rel=1e-6)


def test_equal_barriers_have_no_reliability():
    equal = Tally(np.full(3, 4), np.repeat(np.arange(3), 4), np.full(12, 1.5), np.full(12, True))
    found = reliability(equal)
    assert found is not None
    assert found.between == found.within == 0.0
    assert np.isnan(found.of_mean(4))
    assert np.isnan(found.ceiling(4))
    assert np.isnan(ceiling_interval(equal, 4)).all()
    assert np.isnan(halves(equal)[1])


def test_too_little_to_tell():
    one_each = Tally(
        np.ones(3, dtype=int), np.arange(3), np.array([1.0, 2.0, 3.0]), np.full(3, True)
    )
    assert reliability(one_each) is None
    assert np.isnan(halves(one_each)[0])
    nothing = Tally(np.zeros(3, dtype=int), np.arange(0), np.zeros(0), np.zeros(0, dtype=bool))
    assert reliability(nothing) is None
