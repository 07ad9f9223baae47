"""Edge-featured graph attention (EGAT), in plain torch.

Source: Kamiński et al., "Rossmann-toolbox" (Brief. Bioinform. 2022), the layer that Li et al.
(ICML 2024) build SymGNN from. For an edge from neighbor j to center i:

    f_ij = LeakyReLU(A h_i + B h_j + C e_ij + b)       [H, D]
    α_ij = softmax over j of a · f_ij                  [H]
    h_i' = h_i + P Norm(Σ_j α_ij V h_j)                e_ij' = e_ij + Q Norm(f_ij)
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from symgnn.models.normalization import batch_affine, make_normalization


def edge_attention(
    projected: Tensor,
    edge: Tensor,
    edge_weight: Tensor,
    attention: Tensor,
    output_weight: Tensor | None,
    output_bias: Tensor | None,
    edge_index: Tensor,
    negative_slope: float,
    skip: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``torch.ops.symgnn.edge_attention`` is defined as: f, α and the sums over them.

    The operator gives the same numbers without storing anything of edges × C. Written for
    TorchScript.

    Args:
        projected: [N, 3C], A h + b, B h and V h side by side; C = heads × width.
        edge: [E, D].
        edge_weight: [D, C].
        attention: [H, W], a.
        output_weight: [C, D], to new edges; None where nobody reads them.
        output_bias: [D], likewise.
        edge_index: [2, E], sorted by center.
        negative_slope: of the LeakyReLU.
        skip: add ``edge`` to the new edges.

    Returns:
        Σ_j α_ij V h_j [N, C]; new edges [E, D], empty without output; sums of f and f² over all
        edges [2, C].
    """
    gathered, hidden = attend(projected, edge, edge_weight, attention, edge_index, negative_slope)
    new_edge = edge[:0]
    if output_weight is not None and output_bias is not None:
        new_edge = torch.addmm(output_bias, hidden, output_weight)
        if skip:
            new_edge = new_edge + edge
    return gathered, new_edge, torch.stack([hidden.sum(0), hidden.square().sum(0)])


def attend(
    projected: Tensor,
    edge: Tensor,
    edge_weight: Tensor,
    attention: Tensor,
    edge_index: Tensor,
    negative_slope: float,
) -> tuple[Tensor, Tensor]:
    """Σ_j α_ij V h_j [N, C] and f [E, C], from arguments as above. Written for TorchScript."""
    atoms, channels = projected.size(0), attention.numel()
    heads, width = attention.size(0), attention.size(1)
    center, neighbor = edge_index[0], edge_index[1]
    hidden = torch.mm(edge, edge_weight)
    hidden = hidden + projected[:, :channels].index_select(0, center)
    hidden = hidden + projected[:, channels : 2 * channels].index_select(0, neighbor)
    hidden = nn.functional.leaky_relu(hidden, negative_slope)

    score = (hidden.view(-1, heads, width) * attention).sum(-1)
    weight = neighbor_softmax(score, center, atoms)
    value = projected[:, 2 * channels :].index_select(0, neighbor).view(-1, heads, width)
    message = (weight[:, :, None] * value).flatten(1)
    gathered = torch.zeros([atoms, channels], dtype=edge.dtype, device=edge.device)
    return gathered.index_add(0, center, message), hidden


def neighbor_softmax(score: Tensor, center: Tensor, atoms: int) -> Tensor:
    """Softmax of score [E, H] over the edges of each center [E]; gives [E, H]."""
    weight = unnormalized_softmax(score, center, atoms)
    total = torch.zeros([atoms, score.size(1)], dtype=score.dtype, device=score.device)
    total = total.index_add(0, center, weight)
    return weight / total.index_select(0, center)


def unnormalized_softmax(score: Tensor, center: Tensor, atoms: int) -> Tensor:
    """Exponentials of score [E, H], at most one, whose normalization per center [E] is missing."""
    index = center[:, None].expand_as(score)
    highest = torch.full([atoms, score.size(1)], -1e30, dtype=score.dtype, device=score.device)
    highest = highest.scatter_reduce(0, index, score.detach(), "amax")
    return torch.exp(score - highest.index_select(0, center))


class EdgeAttention(nn.Module):
    """One EGAT layer with its normalization, projection back to ``width`` and skip connection.

    Args:
        width: D, of node and edge features and of each head.
        heads: H.
        normalization: of the concatenated heads, before the projection.
        skip: add the layer's input to its output.
        updates_edges: False for the last layer, whose edges nobody reads.
    """

    negative_slope = 0.01

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        normalization: Literal["batch", "none"] = "batch",
        skip: bool = True,
        updates_edges: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.width, self.skip, self.updates_edges = heads, width, skip, updates_edges
        channels = heads * width
        self.center = nn.Linear(width, channels, bias=False)
        self.neighbor = nn.Linear(width, channels, bias=False)
        self.edge = nn.Linear(width, channels)
        self.value = nn.Linear(width, channels)
        self.attention = nn.Parameter(torch.empty(heads, width))
        nn.init.xavier_normal_(self.attention)
        self.node_normalization = make_normalization(normalization, channels)
        self.node_projection = nn.Linear(channels, width)
        if updates_edges:
            self.edge_normalization = make_normalization(normalization, channels)
            self.edge_projection = nn.Linear(channels, width)

    def forward(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Features node [N, D] and edge [E, D], updated along edge_index [2, E]."""
        projected = nn.functional.linear(node, *self.node_input())
        if torch.ops.symgnn.has_kernel("edge_attention", edge):
            gathered, new_edge = self._fused(projected, edge, edge_index)
        else:
            gathered, new_edge = self._plain(projected, edge, edge_index)
        new_node = self.node_projection(self.node_normalization(gathered))
        return (node + new_node if self.skip else new_node), new_edge

    def _plain(self, projected: Tensor, edge: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        inputs = projected, edge, self.edge.weight.T, self.attention, edge_index
        gathered, hidden = attend(*inputs, self.negative_slope)
        if not self.updates_edges:
            return gathered, edge
        new_edge = self.edge_projection(self.edge_normalization(hidden))
        return gathered, edge + new_edge if self.skip else new_edge

    def _fused(self, projected: Tensor, edge: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        inputs = projected, edge, self.edge.weight.T, self.attention
        if self.updates_edges and self._has_batch_statistics():
            results: tuple[Tensor, Tensor] = _NormalizedAttention.apply(
                self, edge_index, *inputs, *_output_parameters(self)
            )
            return results
        output = self.edge_output(None, len(edge)) if self.updates_edges else (None, None)
        gathered, new_edge, _ = torch.ops.symgnn.edge_attention(
            *inputs, *output, edge_index, self.negative_slope, self.skip, True, False
        )
        return gathered, new_edge if self.updates_edges else edge

    def _has_batch_statistics(self) -> bool:
        normalization = self.edge_normalization
        return isinstance(normalization, nn.BatchNorm1d) and normalization.training

    def node_input(self) -> tuple[Tensor, Tensor]:
        """Weight [3C, D] and bias [3C] from nodes to what they are as center, neighbor, value."""
        parts = (self.center.weight, self.neighbor.weight, self.value.weight)
        biases = (self.edge.bias, torch.zeros_like(self.edge.bias), self.value.bias)
        return torch.cat(parts), torch.cat(biases)

    def edge_output(self, sums: Tensor | None, edges: int) -> tuple[Tensor, Tensor]:
        """Weight [C, D] and bias [D] from f to new edges, normalization included.

        Args:
            sums: [2, C] of f and f² over all edges, in training.
            edges: their number.
        """
        weight: Tensor = self.edge_projection.weight.T
        bias: Tensor = self.edge_projection.bias
        if isinstance(self.edge_normalization, nn.BatchNorm1d):
            statistics = None
            if sums is not None:
                mean, square = sums / max(edges, 1)
                statistics = mean, (square - mean.square()).clamp(min=0.0)
            scale, shift = batch_affine(self.edge_normalization, statistics, edges)
            weight, bias = scale[:, None] * weight, bias + shift @ weight
        return weight, bias


def _output_parameters(layer: EdgeAttention) -> tuple[Tensor, ...]:
    """What ``layer.edge_output`` depends on, besides the sums."""
    return *layer.edge_normalization.parameters(), *layer.edge_projection.parameters()


class _NormalizedAttention(torch.autograd.Function):
    """The operator with batch normalization of f, whose statistics come before what they change.

    f is computed twice, and twice again on the way back: the gradients of the weights to new edges
    first, from which those of the statistics follow, and then all others at once.
    """

    @staticmethod
    def forward(
        context: Any,
        layer: EdgeAttention,
        edge_index: Tensor,
        projected: Tensor,
        edge: Tensor,
        edge_weight: Tensor,
        attention: Tensor,
        *_parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Gathered [N, C] and new edges [E, D]; the last arguments are ``_output_parameters``."""
        inputs = projected, edge, edge_weight, attention
        options = edge_index, layer.negative_slope, layer.skip
        gathered, _, sums = torch.ops.symgnn.edge_attention(
            *inputs, None, None, *options, True, True
        )
        with torch.enable_grad():  # its gradient is torch's own
            sums.requires_grad_()
            output = layer.edge_output(sums, len(edge))
        weight, bias = (tensor.detach() for tensor in output)
        _, new_edge, _ = torch.ops.symgnn.edge_attention(
            *inputs, weight, bias, *options, False, False
        )
        context.save_for_backward(*inputs, edge_index)
        context.set_materialize_grads(False)
        context.layer, context.sums, context.output = layer, sums, output
        return gathered, new_edge

    @staticmethod
    def backward(
        context: Any, of_gathered: Tensor | None, of_new_edge: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Gradients of what ``forward`` takes."""
        *inputs, edge_index = context.saved_tensors
        layer, parameters = context.layer, _output_parameters(context.layer)
        of_rest: tuple[Tensor | None, ...] = (None,) * (1 + len(parameters))
        if of_new_edge is not None:
            of_output = torch.ops.symgnn.edge_attention_output_backward(
                of_new_edge, *inputs, edge_index, layer.negative_slope
            )
            of_rest = torch.autograd.grad(
                context.output, (context.sums, *parameters), of_output, retain_graph=True
            )
        output = (tensor.detach() for tensor in context.output)
        of_inputs = torch.ops.symgnn.edge_attention_backward(
            *(of_gathered, of_new_edge, of_rest[0]),
            *inputs,
            *output,
            *(edge_index, layer.negative_slope, layer.skip, False),
        )
        return None, None, *of_inputs[:4], *of_rest[1:]
