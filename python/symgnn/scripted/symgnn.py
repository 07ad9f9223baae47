"""SymGNN as exported models run it, with everything constant folded in.

Batch normalization goes into the projections that follow it, the sampled transformations into the
first edge layer, the element encoder into a table, the label scaling into the last layer. Layers
walk through the edges in blocks that stay in the processor's cache, so that no tensor of edges ×
heads × width is ever stored.
"""

import torch
from torch import Tensor, nn

from ..models import SymGNN
from ..models.attention import EdgeAttention
from ..models.blocks import block_end, edge_block
from ..models.symgnn import expand_length


class ExportedLayer(nn.Module):
    """One attention layer with its normalizations folded into its projections.

    Args:
        layer: a trained layer, in the dtype of the export.
    """

    node_weight: Tensor
    node_bias: Tensor
    edge_weight: Tensor
    score_weight: Tensor

    def __init__(self, layer: EdgeAttention) -> None:
        super().__init__()
        self.heads, self.width, self.skip = layer.heads, layer.width, layer.skip
        self.updates_edges, self.negative_slope = layer.updates_edges, layer.negative_slope
        channels = layer.heads * layer.width
        self.channels = channels

        # Node features enter a layer three times: as center, as neighbor and as value.
        weights = [layer.center.weight, layer.neighbor.weight, layer.value.weight]
        self.register_buffer("node_weight", torch.cat([w.detach() for w in weights]).T.clone())
        bias = torch.zeros(3 * channels, dtype=layer.attention.dtype)
        bias[:channels] = layer.edge.bias.detach()
        bias[2 * channels :] = layer.value.bias.detach()
        self.register_buffer("node_bias", bias)
        self.register_buffer("edge_weight", layer.edge.weight.detach().T.clone())
        # Block-diagonal, so that one matrix product gives the scores of all heads.
        score = torch.zeros(channels, layer.heads, dtype=layer.attention.dtype)
        for head in range(layer.heads):
            rows = slice(head * layer.width, (head + 1) * layer.width)
            score[rows, head] = layer.attention.detach()[head]
        self.register_buffer("score_weight", score)

        self.node_output = _fold(layer.node_normalization, layer.node_projection)
        self.edge_output: nn.Module = nn.Identity()
        if layer.updates_edges:
            self.edge_output = _fold(layer.edge_normalization, layer.edge_projection)

    def forward(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Features node [N, D] and edge [E, D], updated; edge_index [2, E] sorted by center."""
        atoms, edges = node.size(0), edge.size(0)
        center, neighbor = edge_index[0], edge_index[1]
        projected = torch.addmm(self.node_bias, node, self.node_weight)
        center_part = projected[:, : self.channels]
        neighbor_part = projected[:, self.channels : 2 * self.channels].contiguous()
        value = projected[:, 2 * self.channels :].contiguous()

        gathered = torch.zeros([atoms, self.channels], dtype=node.dtype, device=node.device)
        new_edge = torch.empty_like(edge) if self.updates_edges else edge
        block = edge_block(node)
        begin = 0
        while begin < edges:
            end = block_end(center, begin, block)
            first, last = int(center[begin].item()), int(center[end - 1].item()) + 1
            block_center, block_neighbor = center[begin:end] - first, neighbor[begin:end]

            hidden = torch.mm(edge[begin:end], self.edge_weight)
            hidden += center_part[first:last].index_select(0, block_center)
            hidden += neighbor_part.index_select(0, block_neighbor)
            hidden = nn.functional.leaky_relu_(hidden, self.negative_slope)

            score = torch.mm(hidden, self.score_weight)
            index = block_center[:, None].expand_as(score)
            highest = torch.full([last - first, self.heads], -1e30, dtype=node.dtype).to(
                node.device
            )
            highest = highest.scatter_reduce(0, index, score, "amax")
            weight = torch.exp(score - highest.index_select(0, block_center))
            total = torch.zeros_like(highest).index_add_(0, block_center, weight)
            weight /= total.index_select(0, block_center)

            message = value.index_select(0, block_neighbor).view(-1, self.heads, self.width)
            message *= weight[:, :, None]
            gathered[first:last].index_add_(0, block_center, message.view(-1, self.channels))
            if self.updates_edges:
                update = self.edge_output(hidden)
                new_edge[begin:end] = edge[begin:end] + update if self.skip else update
            begin = end

        new_node = self.node_output(gathered)
        return (node + new_node if self.skip else new_node), new_edge


class ExportedSymGNN(nn.Module):
    """The scripted interface of a model file: ``forward``, or ``start``, ``step``, ``finish``.

    With symmetrization of outputs, every transformation has its own copy of node and edge
    features, side by side in the columns.

    Args:
        model: a trained network, in evaluation mode and in the dtype of the export.
    """

    node_table: Tensor
    encoder_weight: Tensor
    encoder_bias: Tensor

    def __init__(self, model: SymGNN) -> None:
        super().__init__()
        config = model.config
        self.width = config.width
        self.lengths = config.edge_input == "length"
        self.cutoff, self.radial_basis = config.cutoff, config.radial_basis
        dtype = model.label_mean.dtype
        matrices = model.symmetrization().detach().to(dtype)
        self.transformations = len(matrices)
        self.copies = len(matrices) if config.symmetrization.level == "output" else 1

        with torch.no_grad():
            embedding = model.node_encoder[0]
            assert isinstance(embedding, nn.Embedding)
            species = torch.arange(embedding.num_embeddings)
            self.register_buffer("node_table", model.node_encoder(species).clone())

        (linear, *activation) = _fold_block(model.edge_encoder[:3])
        assert isinstance(linear, nn.Linear)
        # A transformed vector enters the first layer as W (M r): fold M into W.
        weight = linear.weight.detach()
        if not self.lengths:
            weight = torch.cat([weight @ matrix for matrix in matrices])
        self.register_buffer("encoder_weight", weight.T.clone())
        self.register_buffer("encoder_bias", linear.bias.detach().repeat(self.transformations))
        self.encoder_rest = nn.Sequential(*activation, *_fold_block(model.edge_encoder[3:]))

        self.layers = nn.ModuleList(ExportedLayer(layer) for layer in _attention(model))
        decoder = [
            part
            for begin in range(0, len(model.node_decoder) - 1, 3)
            for part in _fold_block(model.node_decoder[begin : begin + 3])
        ]
        final = _copy_linear(model.node_decoder[-1])
        with torch.no_grad():
            final.weight.mul_(model.label_std)
            final.bias.mul_(model.label_std).add_(model.label_mean)
        self.decoder = nn.Sequential(*decoder, final)

    def forward(self, species: Tensor, edge_index: Tensor, edge_vector: Tensor) -> Tensor:
        """From species [N], sorted edge_index [2, E], edge_vector [E, 3] in Å to [N, 1] in eV."""
        node, edge = self.start(species, edge_vector)
        for number in range(len(self.layers)):
            node, edge = self.step(number, node, edge, edge_index)
        return self.finish(node)

    @torch.jit.export
    def start(self, species: Tensor, edge_vector: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings: node [N, C] and edge [E, C]."""
        node = self.node_table.index_select(0, species).repeat(1, self.copies)
        edges = edge_vector.size(0)
        edge = torch.empty(
            [edges, self.copies * self.width], dtype=edge_vector.dtype, device=edge_vector.device
        )
        block = edge_block(edge_vector)
        begin = 0
        while begin < edges:
            end = min(begin + block, edges)
            geometry = edge_vector[begin:end]
            if self.lengths:
                geometry = torch.sqrt(geometry.square().sum(1, keepdim=True))
                geometry = expand_length(geometry, self.cutoff, self.radial_basis)
            hidden = torch.addmm(self.encoder_bias, geometry, self.encoder_weight)
            hidden = self.encoder_rest(hidden.view(-1, self.width))
            hidden = hidden.view(end - begin, self.transformations, self.width)
            if self.copies == 1:
                hidden = hidden.mean(1)
            edge[begin:end] = hidden.view(end - begin, self.copies * self.width)
            begin = end
        return node, edge

    @torch.jit.export
    def step(
        self, layer: int, node: Tensor, edge: Tensor, edge_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One layer: node [N, C] and edge [E, C], updated."""
        if self.copies == 1:
            return self._layer(layer, node, edge, edge_index)
        new_node, new_edge = torch.empty_like(node), torch.empty_like(edge)
        for copy in range(self.copies):
            begin, end = copy * self.width, (copy + 1) * self.width
            part_node, part_edge = self._layer(
                layer,
                node[:, begin:end].contiguous(),
                edge[:, begin:end].contiguous(),
                edge_index,
            )
            new_node[:, begin:end] = part_node
            new_edge[:, begin:end] = part_edge
        return new_node, new_edge

    @torch.jit.export
    def finish(self, node: Tensor) -> Tensor:
        """Barriers [N, 1], eV, from node [N, C]."""
        barrier: Tensor = self.decoder(node.view(-1, self.width))
        return barrier.view(-1, self.copies).mean(1, keepdim=True)

    def _layer(
        self, number: int, node: Tensor, edge: Tensor, edge_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        for index, layer in enumerate(self.layers):
            if index == number:
                node, edge = layer(node, edge, edge_index)
        return node, edge


def _attention(model: SymGNN) -> list[EdgeAttention]:
    return [layer for layer in model.layers if isinstance(layer, EdgeAttention)]


def _fold(normalization: nn.Module, projection: nn.Module) -> nn.Module:
    """Normalization followed by a linear map, as one linear map where that is possible."""
    folded = _copy_linear(projection)
    if isinstance(normalization, nn.LayerNorm):
        return nn.Sequential(normalization, folded)
    if isinstance(normalization, nn.BatchNorm1d):
        scale, shift = _affine(normalization)
        with torch.no_grad():
            folded.bias.add_(folded.weight @ shift)
            folded.weight.mul_(scale)
    return folded


def _fold_block(block: nn.Module) -> list[nn.Module]:
    """Linear map, normalization and activation, the normalization folded where possible."""
    linear, normalization, activation = block.children()
    folded = _copy_linear(linear)
    if isinstance(normalization, nn.LayerNorm):
        return [folded, normalization, activation]
    if isinstance(normalization, nn.BatchNorm1d):
        scale, shift = _affine(normalization)
        with torch.no_grad():
            folded.weight.mul_(scale[:, None])
            folded.bias.mul_(scale).add_(shift)
    return [folded, activation]


def _affine(normalization: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift that batch normalization applies in evaluation mode."""
    mean, variance = normalization.running_mean, normalization.running_var
    assert mean is not None
    assert variance is not None
    scale = normalization.weight.detach() / torch.sqrt(variance + normalization.eps)
    return scale, normalization.bias.detach() - mean * scale


def _copy_linear(linear: nn.Module) -> nn.Linear:
    assert isinstance(linear, nn.Linear)
    copy = nn.Linear(
        linear.in_features, linear.out_features, dtype=linear.weight.dtype, device="cpu"
    )
    copy.load_state_dict(linear.state_dict())
    return copy
