"""Scores against hand-made numbers, ties and degenerate input included."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from symgnn.errors import DatasetError
from symgnn.training.metrics import (
    bootstrap_over_glasses,
    compute_metrics,
    compute_reliability,
    lowest,
)


def glasses(count: int, atoms: int = 50) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Predictions that follow the labels, the better the later the glass."""
    generator = np.random.default_rng(5)
    labels = [1.5 + 0.1 * k + 0.3 * generator.normal(size=atoms) for k in range(count)]
    predictions = [y + generator.normal(size=atoms) / (1 + k) for k, y in enumerate(labels)]
    return predictions, labels


def test_calibration_is_the_straight_line_from_prediction_to_label() -> None:
    prediction = np.array([1.0, 2.0, 3.0, 4.0])
    metrics = compute_metrics(prediction, 0.5 * prediction + 2.0)
    assert metrics.slope == pytest.approx(0.5)
    assert metrics.intercept == pytest.approx(2.0)
    assert metrics.bias == pytest.approx(2.5 - 3.25)
    label = np.array([1.0, 0.0, 5.0, 2.0])
    line = stats.linregress(prediction, label)
    metrics = compute_metrics(prediction, label)
    assert (metrics.slope, metrics.intercept) == pytest.approx((line.slope, line.intercept))


def test_auc_counts_pairs_in_the_right_order() -> None:
    label = np.arange(40.0)
    prediction = label.copy()
    prediction[[0, 1]] = 5.5, 100.0  # the two lowest labels: five, and all, others lie below
    metrics = compute_metrics(prediction, label)
    assert metrics.auc_lowest == pytest.approx(1.0 - (4 + 38) / (2 * 38))
    # The two highest labels, 38 and 39, have one other atom above them.
    assert metrics.auc_highest == pytest.approx(1.0 - 2 / (2 * 38))


def test_tied_predictions_count_half() -> None:
    metrics = compute_metrics(np.array([1.0, 1.0, 2.0, 2.0]), np.arange(4.0))
    assert metrics.auc_lowest == pytest.approx((0.5 + 1 + 1) / 3)
    assert metrics.auc_highest == pytest.approx((1 + 1 + 0.5) / 3)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (np.arange(100.0), 5),
        (np.arange(3.0), 1),
        (np.repeat([0.0, 1.0], 50), 50),  # all tie across the border
        (np.array([0.0] + 99 * [1.0]), 1),
        (np.array(99 * [0.0] + [1.0]), 99),
        (np.array([0.0, 0.0, 0.0] + 3 * [1.0] + 94 * [2.0]), 3),
    ],
)
def test_lowest_is_never_none_and_never_all(label: np.ndarray, expected: int) -> None:
    assert lowest(label).sum() == expected


def test_equal_predictions_are_chance() -> None:
    metrics = compute_metrics(np.full(10, 1.2), np.arange(10.0))
    assert (metrics.auc_lowest, metrics.auc_highest) == (0.5, 0.5)
    assert (metrics.pearson, metrics.slope, metrics.intercept) == (0.0, 0.0, 4.5)


def test_labels_that_are_missing_do_not_count() -> None:
    prediction, label = np.arange(5.0), np.array([1.0, np.nan, 2.0, 7.0, np.nan])
    there = ~np.isnan(label)
    assert compute_metrics(prediction, label) == compute_metrics(prediction[there], label[there])
    reliability = compute_reliability(prediction, np.ones(5), label)
    assert reliability == compute_reliability(prediction[there], np.ones(3), label[there])


def test_reliability_of_known_errors() -> None:
    error = np.array([0.0, 0.5, 1.5, 2.5])
    reliability = compute_reliability(error, np.ones(4), np.zeros(4), nominal=(0.68, 0.95))
    assert reliability.observed == (0.5, 0.75)  # within 0.99 and 1.96 standard deviations
    assert reliability.at(0.95) == 0.75


def test_right_uncertainties_are_reliable() -> None:
    generator = np.random.default_rng(0)
    std = generator.uniform(0.1, 0.5, 20_000)
    label = std * generator.normal(size=20_000)
    reliability = compute_reliability(np.zeros(20_000), std, label)
    # Five standard errors of a share of 20,000.
    np.testing.assert_allclose(reliability.observed, reliability.nominal, atol=5 * 0.5 / 141)
    halved = compute_reliability(np.zeros(20_000), std / 2, label)
    assert halved.at(0.68) < 0.45


def test_reliability_needs_labels() -> None:
    with pytest.raises(DatasetError, match="no labeled atoms"):
        compute_reliability(np.zeros(3), np.ones(3), np.full(3, np.nan))


def test_bootstrap_is_what_resampling_gives_and_always_the_same() -> None:
    predictions, labels = glasses(4)
    intervals = bootstrap_over_glasses(predictions, labels, samples=300, seed=3)
    assert intervals == bootstrap_over_glasses(predictions, labels, samples=300, seed=3)
    assert intervals != bootstrap_over_glasses(predictions, labels, samples=300, seed=4)
    chosen = np.random.default_rng(3).integers(4, size=(300, 4))
    each = [compute_metrics(p, y).pearson for p, y in zip(predictions, labels, strict=True)]
    pooled = [
        np.corrcoef(*(np.concatenate([x[k] for k in row]) for x in (predictions, labels)))[0, 1]
        for row in chosen
    ]
    assert intervals.mean_pearson == pytest.approx(
        np.percentile(np.array(each)[chosen].mean(1), [2.5, 97.5])
    )
    assert intervals.pooled_pearson == pytest.approx(np.percentile(pooled, [2.5, 97.5]))
    assert intervals.glasses == 4


def test_bootstrap_with_missing_labels_and_equal_predictions() -> None:
    predictions, labels = glasses(3)
    labels[0][::2] = np.nan
    kept = [predictions[0][1::2], *predictions[1:]], [labels[0][1::2], *labels[1:]]
    assert bootstrap_over_glasses(predictions, labels) == bootstrap_over_glasses(*kept)
    constant = bootstrap_over_glasses([np.full(50, 1.7)] * 3, labels)
    assert constant.pooled_pearson == constant.mean_pearson == (0.0, 0.0)


def test_bootstrap_needs_two_glasses() -> None:
    predictions, labels = glasses(1)
    with pytest.raises(DatasetError, match="at least two"):
        bootstrap_over_glasses(predictions, labels)
