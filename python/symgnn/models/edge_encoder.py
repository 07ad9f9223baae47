"""The edge encoder on transformed edges: two layers, averaged over orthogonal transformations.

For an edge r and transformations R_t, with batch normalization Norm_t over all edges, or none:

    h_t = ReLU(Norm_t(A R_t r + a))        e = mean over t of ReLU(Norm_t(B h_t + b))

On a CPU nothing of edges × transformations × width is stored. What is normalized is linear in
what enters the layer, so that its mean and variance over all edges follow from the mean and the
covariance of r [I, I], and of h_t [D, D]; normalization is then part of the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from symgnn.models.normalization import batch_affine


def embed_transformed(encoder: nn.Sequential, value: Tensor, transformations: Tensor) -> Tensor:
    """Mean over the transformations of what ``encoder`` gives for transformed rows.

    Args:
        encoder: linear, normalization, ReLU, and the same again.
        value: [E, I].
        transformations: [T, I, I], orthogonal; a row becomes R_t r.

    Returns:
        [E, D].
    """
    if not torch.ops.symgnn.has_kernel("edge_embedding_backward", value):
        return torch.stack([encoder(value @ matrix.T) for matrix in transformations]).mean(0)
    first, first_normalization, _, second, second_normalization, _ = encoder
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    rows, width = len(value), second.out_features
    mean = value.sum(0) / max(rows, 1)
    centered = value - mean
    covariance = centered.T @ centered / max(rows, 1)
    weight, bias = _normalized(
        first.weight @ transformations, first.bias, mean, covariance, first_normalization, rows
    )
    of_first = weight.flatten(0, 1).T.contiguous(), bias.flatten()

    hidden_mean = hidden_covariance = None
    if isinstance(second_normalization, nn.BatchNorm1d) and second_normalization.training:
        sums, products = torch.ops.symgnn.hidden_moments(value, *of_first, width)
        hidden_mean = sums / max(rows, 1)
        square = hidden_mean[:, :, None] * hidden_mean[:, None, :]
        hidden_covariance = products / max(rows, 1) - square
    weight, bias = _normalized(
        second.weight.expand(len(transformations), -1, -1),
        second.bias,
        hidden_mean,
        hidden_covariance,
        second_normalization,
        rows,
    )
    result: Tensor = torch.ops.symgnn.edge_embedding(
        value, *of_first, weight.transpose(1, 2).contiguous(), bias.contiguous(), True
    )
    return result


def _normalized(
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    covariance: Tensor | None,
    normalization: nn.Module,
    rows: int,
) -> tuple[Tensor, Tensor]:
    """Weight [T, D, I] and bias [T, D] of T linear layers with the normalization after them.

    Args:
        weight: [T, D, I].
        bias: [D].
        mean: [I] or [T, I], of what enters; used where ``normalization`` trains.
        covariance: [I, I] or [T, I, I], likewise.
        normalization: batch normalization or none.
        rows: number of rows that the statistics are of.
    """
    bias = bias.expand(weight.shape[:2])
    if not isinstance(normalization, nn.BatchNorm1d):
        return weight, bias
    statistics = None
    if normalization.training:
        assert mean is not None
        assert covariance is not None
        variance = (weight @ covariance * weight).sum(-1).clamp(min=0.0)
        statistics = (weight @ mean[..., None]).squeeze(-1) + bias, variance
    scale, shift = batch_affine(normalization, statistics, rows)
    return scale[..., None] * weight, scale * bias + shift
