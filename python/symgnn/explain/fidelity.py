"""How much a prediction changes with and without the edges that are called important."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from symgnn.explain.explanation import Fidelity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from symgnn.explain.receptive_field import Batch, ReceptiveField
    from symgnn.explain.weighted_model import WeightsToBarriers

SHARES = (0.002, 0.01, 0.03, 0.1, 0.3)
LENGTH_BIN = 0.1
"""Å: edges of one bin count as of the same length."""


@torch.no_grad()
def fidelity(
    barriers: WeightsToBarriers,
    batch: Batch,
    fields: Sequence[ReceptiveField],
    importance: Sequence[NDArray[np.float64]],
    draws: int,
    seeds: Sequence[Sequence[int]],
) -> list[Fidelity]:
    """The curves of each field.

    Args:
        barriers: the model on the batch.
        batch: of the fields.
        fields: B receptive fields.
        importance: [E] of each field.
        draws: random sets of edges to average over.
        seeds: [B], of these.
    """
    generators = [np.random.default_rng(seed) for seed in seeds]
    lengths = [np.linalg.norm(field.vectors, axis=1) // LENGTH_BIN for field in fields]
    with_hops = [
        length + 1e6 * field.hops[field.edges[:, 0]]
        for length, field in zip(lengths, fields, strict=True)
    ]
    orders = [np.argsort(-values, kind="stable") for values in importance]
    prediction = barriers(torch.ones_like(batch.edge_vector[:, 0]))

    def change(removed: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
        weights = batch.join([np.where(edges, 0.0, 1.0) for edges in removed])
        return np.asarray((barriers(weights) - prediction).abs(), dtype=np.float64)

    def mean_change(classes: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        def drawn() -> NDArray[np.float64]:
            return change(
                [
                    random_of_same_class(selected, kind, generator)
                    for selected, kind, generator in zip(top, classes, generators, strict=True)
                ]
            )

        return np.asarray(np.mean([drawn() for _ in range(draws)], axis=0))

    rows = []
    for share in SHARES:
        top = [_top(order, share) for order in orders]
        rows.append(
            (
                change(top),
                change([~selected for selected in top]),
                mean_change(lengths),
                mean_change(with_hops),
            )
        )
    curves = np.array(rows)  # [K, 4, B]
    return [Fidelity(np.array(SHARES), *curves[:, :, number].T) for number in range(len(fields))]


def random_of_same_class(
    selected: NDArray[np.bool_],
    classes: NDArray[np.generic],
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """As many random members of each class as are selected; all arguments and the result [E]."""
    # Shuffle, sort by class, and take from the beginning of each class.
    shuffled = generator.permutation(len(classes))
    _, number = np.unique(classes, return_inverse=True)
    number = number.reshape(-1)
    order = shuffled[np.argsort(number[shuffled], kind="stable")]
    starts = np.searchsorted(number[order], number[order])
    rank = np.arange(len(order)) - starts
    wanted = np.bincount(number, selected)
    result = np.zeros(len(classes), dtype=np.bool_)
    result[order] = rank < wanted[number[order]]
    return result


def _top(order: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    selected = np.zeros(len(order), dtype=np.bool_)
    selected[order[: max(1, round(share * len(order)))]] = True
    return selected
