"""The regression GNNExplainer: which edges suffice for a prediction.

Ying et al., NeurIPS 2019 (arXiv 1903.03894), with the loss that Li et al. (ICML 2024, arXiv
2401.08627) use for a regression: the squared change of the prediction. For the mask w of the E
edges in the receptive field of one atom,

    loss = (F(w) − F(1))² / s² + size Σ_e w_e / E + entropy Σ_e H(w_e) / E

with H(w) = −w ln w − (1 − w) ln(1 − w), and s how much F changes on the way to no edges at all.
The division by E lets one setting serve receptive fields of any size, and that by s² models that
answer strongly or weakly to missing edges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from symgnn.explain.receptive_field import Batch
    from symgnn.explain.settings import ExplanationSettings
    from symgnn.explain.weighted_model import WeightsToBarriers

_SPREAD = 0.1  # of the logits at the start


def edge_masks(
    barriers: WeightsToBarriers,
    batch: Batch,
    scale: NDArray[np.float64],
    settings: ExplanationSettings,
    seeds: Sequence[Sequence[int]],
) -> list[NDArray[np.float64]]:
    """One mask, 0 to 1, per receptive field of a batch.

    Args:
        barriers: the model on the batch.
        batch: B receptive fields.
        scale: [B], s, eV.
        settings: of the optimization.
        seeds: [B]; what decides the start of each mask, whatever else is in the batch.
    """
    count = torch.tensor([len(edges) for edges in batch.edges], dtype=batch.edge_vector.dtype)
    logit = batch.join(
        [
            settings.start + _SPREAD * np.random.default_rng(seed).standard_normal(len(edges))
            for seed, edges in zip(seeds, batch.edges, strict=True)
        ]
    ).requires_grad_()
    unit = torch.from_numpy(scale).to(logit.dtype)
    share = count.reciprocal()[batch.field]
    with torch.no_grad():
        prediction = barriers(torch.ones_like(logit))
    optimizer = torch.optim.Adam([logit], lr=settings.learning_rate)
    for _ in range(settings.steps):
        mask = torch.sigmoid(logit)
        change = (barriers(mask) - prediction) / unit
        # H(w) of w = sigmoid(x) is softplus(x) − x w.
        entropy = torch.nn.functional.softplus(logit) - logit * mask
        penalty = (share * (settings.size * mask + settings.entropy * entropy)).sum()
        optimizer.zero_grad()
        (change.square().sum() + penalty).backward()
        optimizer.step()
    return batch.split(torch.sigmoid(logit).detach())
