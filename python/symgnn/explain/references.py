"""Cheaper answers to the same question, to hold the mask against.

Integrated gradients (Sundararajan, Taly, Yan, ICML 2017) share the difference between the
prediction and that of an atom without edges among the edges. Leaving neighbors out one at a time
shows what each of them does while all others stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from symgnn.explain.receptive_field import Batch, ReceptiveField
    from symgnn.explain.weighted_model import WeightsToBarriers


def integrated_gradients(
    barriers: WeightsToBarriers, batch: Batch, points: int
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Contribution of each edge, eV: ∫₀¹ ∂F/∂w_e at w = t dt, for each field [E].

    They sum to F(1) − F(0), up to the error of the quadrature. With them comes how much the
    barrier changes on the way, [B], eV: the root of ∫₀¹ (F(t) − F(1))² dt.

    Args:
        barriers: the model on the batch.
        batch: B receptive fields.
        points: of Gauss-Legendre quadrature; a polynomial of degree 2 · points − 1 is exact.
    """
    places, shares = np.polynomial.legendre.leggauss(points)
    total = torch.zeros(len(batch.field), dtype=batch.edge_vector.dtype)
    with torch.no_grad():
        prediction = barriers(torch.ones_like(total))
    square = torch.zeros_like(prediction)
    for place, share in zip((places + 1.0) / 2.0, shares / 2.0, strict=True):
        weight = torch.full_like(total, float(place)).requires_grad_()
        barrier = barriers(weight)
        (gradient,) = torch.autograd.grad(barrier.sum(), weight)
        total += float(share) * gradient
        square += float(share) * (barrier.detach() - prediction).square()
    return batch.split(total), square.sqrt().double().numpy()


def nearest_neighbors(field: ReceptiveField, count: int) -> NDArray[np.int64]:
    """The nearest of the images that send to the explained atom, nearest first."""
    senders = np.unique(field.edges[field.edges[:, 0] == 0, 1])
    senders = senders[senders != 0]
    distance = np.linalg.norm(field.positions[senders], axis=1)
    chosen: NDArray[np.int64] = senders[np.argsort(distance, kind="stable")][:count]
    return chosen


@torch.no_grad()
def leave_one_out(
    barriers: WeightsToBarriers, batch: Batch, fields: Sequence[ReceptiveField], count: int
) -> list[NDArray[np.float64]]:
    """Change of the barrier, eV, without one image as a neighbor of others, for each field [A].

    Args:
        barriers: the model on the batch.
        batch: of the fields.
        fields: B receptive fields.
        count: how many of the nearest neighbors are tried; NaN for the other images.
    """
    changes = [np.full(len(field.atoms), np.nan) for field in fields]
    tried = [nearest_neighbors(field, count) for field in fields]
    prediction = barriers(torch.ones_like(batch.edge_vector[:, 0])).double().numpy()
    for number in range(max(map(len, tried), default=0)):
        weights = [
            np.where(field.edges[:, 1] == images[number], 0.0, 1.0)
            if number < len(images)
            else np.ones(len(field.edges))
            for field, images in zip(fields, tried, strict=True)
        ]
        without = barriers(batch.join(weights)).double().numpy()
        for change, images, difference in zip(changes, tried, without - prediction, strict=True):
            if number < len(images):
                change[images[number]] = difference
    return changes
