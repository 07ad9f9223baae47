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
        random = [RandomEdges(*pair) for pair in zip(top, classes, strict=True)]

        def drawn() -> NDArray[np.float64]:
            pairs = zip(random, generators, strict=True)
            return change([edges.draw(generator) for edges, generator in pairs])

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


class RandomEdges:
    """Draws as many random members of each class as are selected.

    Args:
        selected: [E].
        classes: [E]; edges of one class may stand for each other.
    """

    def __init__(self, selected: NDArray[np.bool_], classes: NDArray[np.generic]) -> None:
        _, number, size = np.unique(classes, return_inverse=True, return_counts=True)
        number = number.reshape(-1)
        members = np.split(np.argsort(number, kind="stable"), np.cumsum(size)[:-1])
        wanted = np.bincount(number[selected], minlength=len(size))
        self._edges = len(selected)
        self._pools = [(members[k], wanted[k]) for k in np.flatnonzero(wanted)]

    def draw(self, generator: np.random.Generator) -> NDArray[np.bool_]:
        """[E]: a random set."""
        result = np.zeros(self._edges, dtype=np.bool_)
        for members, wanted in self._pools:
            result[generator.choice(members, wanted, replace=False, shuffle=False)] = True
        return result


def _top(order: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    selected = np.zeros(len(order), dtype=np.bool_)
    selected[order[: max(1, round(share * len(order)))]] = True
    return selected
