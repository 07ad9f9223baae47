"""SymGNN as exported models run it, with everything constant folded in.

Batch normalization goes into the projections that follow it, the sampled transformations into the
first edge layer, the element encoder into a table, the label scaling into the last layer. Layers
call the fused operator, or walk through the edges in blocks where there is none, so that no tensor
of edges × heads × width is ever stored.
"""

import torch
from torch import Tensor, nn

from symgnn.models import SymGNN
from symgnn.models.attention import EdgeAttention, edge_attention, unnormalized_softmax
from symgnn.models.blocks import block_end, edge_block
from symgnn.models.normalization import batch_affine
from symgnn.models.symgnn import expand_length
from symgnn.scripted.weighted_density_regression import edges_within


class ExportedLayer(nn.Module):
    """One attention layer with its normalizations folded into its projections.

    Args:
        layer: a trained layer in evaluation mode, in the dtype of the export.
    """

    node_weight: Tensor
    node_bias: Tensor
    edge_weight: Tensor
    attention: Tensor
    output_weight: Tensor
    output_bias: Tensor

    def __init__(self, layer: EdgeAttention) -> None:
        super().__init__()
        self.skip, self.updates_edges = layer.skip, layer.updates_edges
        self.negative_slope = layer.negative_slope
        with torch.no_grad():
            weight, self.node_bias = map(nn.Buffer, layer.node_input())
            self.node_weight = nn.Buffer(weight.T.contiguous())
            self.edge_weight = nn.Buffer(layer.edge.weight.T.contiguous())
            self.attention = nn.Buffer(layer.attention.clone())
            output = layer.edge_output(None, 0) if layer.updates_edges else (weight[:0], weight[:0])
            self.output_weight, self.output_bias = (nn.Buffer(x.contiguous()) for x in output)
        self.node_output = _fold(layer.node_normalization, layer.node_projection)

    def forward(self, node: Tensor, edge: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Features node [N, D] and edge [E, D], updated; edge_index [2, E] sorted by center."""
        projected = torch.addmm(self.node_bias, node, self.node_weight)
        output_weight: Tensor | None = self.output_weight
        output_bias: Tensor | None = self.output_bias
        if not self.updates_edges:
            output_weight, output_bias = None, None
        if torch.ops.symgnn.has_kernel("edge_attention", edge):
            gathered, new_edge, _ = torch.ops.symgnn.edge_attention(
                projected,
                edge,
                self.edge_weight,
                self.attention,
                output_weight,
                output_bias,
                edge_index,
                self.negative_slope,
                self.skip,
                True,
                False,
            )
        else:
            gathered, new_edge = self._in_blocks(
                projected, edge, output_weight, output_bias, edge_index
            )
        new_node = self.node_output(gathered)
        if self.skip:
            new_node = node + new_node
        return new_node, new_edge if self.updates_edges else edge

    def weighted_start(
        self, table: Tensor, species: Tensor, edge: Tensor, edge_index: Tensor, kept: int
    ) -> list[Tensor]:
        """For a first layer, what does not depend on weights of edges.

        Node features [S, D] are those of elements. Returns attention before its normalization
        [E, H], and the features of the first ``kept`` edges after the layer.
        """
        projected = torch.addmm(self.node_bias, table.index_select(0, species), self.node_weight)
        return list(self._unnormalized(projected, edge, edge_index, kept))

    def weighted_first(
        self,
        table: Tensor,
        species: Tensor,
        weight: Tensor,
        attention: Tensor,
        edge_index: Tensor,
        atoms: int,
    ) -> Tensor:
        """A first layer with weights [E] on its edges: features of the first atoms."""
        heads, width = self.attention.size(0), self.attention.size(1)
        elements, channels = table.size(0), heads * width
        share = weight[:, None] * attention
        row = edge_index[0] * elements + species.index_select(0, edge_index[1])
        sent = torch.zeros([atoms * elements, heads], dtype=share.dtype, device=share.device)
        sent = sent.index_add(0, row, weight[:, None] * share).view(atoms, elements, heads, 1)
        value = torch.addmm(self.node_bias, table, self.node_weight)[:, 2 * channels :]
        gathered = (sent * value.view(1, elements, heads, width)).sum(1)
        node = table.index_select(0, species[:atoms])
        return self._weighted_end(node, gathered, share, edge_index[0])

    def weighted(
        self, node: Tensor, edge: Tensor, weight: Tensor, edge_index: Tensor, atoms: int, kept: int
    ) -> tuple[Tensor, Tensor]:
        """The layer with weights [E] on its edges: the first atoms, and the first kept edges."""
        heads, width = self.attention.size(0), self.attention.size(1)
        channels = heads * width
        projected = torch.addmm(self.node_bias, node, self.node_weight)
        attention, new_edge = self._unnormalized(projected, edge, edge_index, kept)
        share = weight[:, None] * attention
        value = projected[:, 2 * channels :].index_select(0, edge_index[1])
        message = (weight[:, None] * share)[:, :, None] * value.view(-1, heads, width)
        gathered = torch.zeros([atoms, channels], dtype=edge.dtype, device=edge.device)
        gathered = gathered.index_add(0, edge_index[0], message.flatten(1))
        gathered = gathered.view(atoms, heads, width)
        return self._weighted_end(node[:atoms], gathered, share, edge_index[0]), new_edge

    def _unnormalized(
        self, projected: Tensor, edge: Tensor, edge_index: Tensor, kept: int
    ) -> tuple[Tensor, Tensor]:
        """Attention [E, H] before its normalization, and new features of the first edges."""
        heads, width = self.attention.size(0), self.attention.size(1)
        channels = heads * width
        hidden = torch.mm(edge, self.edge_weight)
        hidden = hidden + projected[:, :channels].index_select(0, edge_index[0])
        hidden = hidden + projected[:, channels : 2 * channels].index_select(0, edge_index[1])
        hidden = nn.functional.leaky_relu(hidden, self.negative_slope)
        score = (hidden.view(-1, heads, width) * self.attention).sum(-1)
        new_edge = edge[:0]
        if self.updates_edges:
            new_edge = torch.addmm(self.output_bias, hidden[:kept], self.output_weight)
            if self.skip:
                new_edge = new_edge + edge[:kept]
        return unnormalized_softmax(score, edge_index[0], projected.size(0)), new_edge

    def _weighted_end(
        self, node: Tensor, gathered: Tensor, share: Tensor, center: Tensor
    ) -> Tensor:
        total = torch.zeros([node.size(0), share.size(1)], dtype=share.dtype, device=share.device)
        total = total.index_add(0, center, share).clamp(min=1e-30)
        new_node: Tensor = self.node_output((gathered / total[:, :, None]).flatten(1))
        return node + new_node if self.skip else new_node

    def _in_blocks(
        self,
        projected: Tensor,
        edge: Tensor,
        output_weight: Tensor | None,
        output_bias: Tensor | None,
        edge_index: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The same in plain torch, a block of edges at a time."""
        atoms, edges = projected.size(0), edge.size(0)
        gathered = torch.zeros(
            [atoms, self.attention.numel()], dtype=edge.dtype, device=edge.device
        )
        new_edge = torch.empty_like(edge)
        block = edge_block(edge)
        begin = 0
        while begin < edges:
            end = block_end(edge_index[0], begin, block)
            of_block, new_of_block, _ = edge_attention(
                projected,
                edge[begin:end],
                self.edge_weight,
                self.attention,
                output_weight,
                output_bias,
                edge_index[:, begin:end],
                self.negative_slope,
                self.skip,
            )
            gathered += of_block
            if self.updates_edges:
                new_edge[begin:end] = new_of_block
            begin = end
        return gathered, new_edge


class ExportedSymGNN(nn.Module):
    """The scripted interface of a model file: ``forward``, or ``start``, ``step``, ``finish``.

    With symmetrization of outputs, every transformation has its own copy of node and edge
    features, side by side in the columns.

    Args:
        model: a trained network, in evaluation mode and in the dtype of the export.
    """

    node_table: Tensor
    first_weight: Tensor
    first_bias: Tensor
    second_weight: Tensor
    second_bias: Tensor

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

        first, second = (_fold_block(model.edge_encoder[k : k + 3])[0] for k in (0, 3))
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        # A transformed vector enters the first layer as W (M r): fold M into W.
        weight = first.weight.detach()
        if not self.lengths:
            weight = torch.cat([weight @ matrix for matrix in matrices])
        self.register_buffer("first_weight", weight.T.contiguous())
        self.register_buffer("first_bias", first.bias.detach().repeat(self.transformations))
        self.register_buffer("second_weight", second.weight.detach().T.contiguous())
        self.register_buffer("second_bias", second.bias.detach().clone())

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
        if torch.ops.symgnn.has_kernel("edge_embedding", self.second_weight):
            edge = torch.ops.symgnn.edge_embedding(
                self._geometry(edge_vector),
                self.first_weight,
                self.first_bias,
                self.second_weight,
                self.second_bias,
                self.copies == 1,
            )
        else:
            edge = self._embed_in_blocks(edge_vector)
        return node, edge

    def _geometry(self, edge_vector: Tensor) -> Tensor:
        """What the network reads of vectors [E, 3]: themselves, or their lengths expanded."""
        if not self.lengths:
            return edge_vector
        length = torch.sqrt(edge_vector.square().sum(1, keepdim=True))
        return expand_length(length, self.cutoff, self.radial_basis)

    def _embed_in_blocks(self, edge_vector: Tensor) -> Tensor:
        """Edge features [E, C] in plain torch, a block of edges at a time."""
        edges = edge_vector.size(0)
        edge = torch.empty(
            [edges, self.copies * self.width], dtype=edge_vector.dtype, device=edge_vector.device
        )
        block = edge_block(edge_vector)
        begin = 0
        while begin < edges:
            end = min(begin + block, edges)
            geometry = self._geometry(edge_vector[begin:end])
            hidden = torch.relu(torch.addmm(self.first_bias, geometry, self.first_weight))
            hidden = hidden.view(-1, self.width)
            hidden = torch.relu(torch.addmm(self.second_bias, hidden, self.second_weight))
            hidden = hidden.view(end - begin, self.transformations, self.width)
            if self.copies == 1:
                hidden = hidden.mean(1)
            edge[begin:end] = hidden.view(end - begin, self.copies * self.width)
            begin = end
        return edge

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

    @torch.jit.export
    def weighted_start(
        self, species: Tensor, edge_index: Tensor, edge_vector: Tensor, within: list[int]
    ) -> list[Tensor]:
        """What ``weighted`` needs and does not depend on the weights: two tensors per copy."""
        _, edge = self.start(species, edge_vector)
        kept = edges_within(edge_index[0], within[max(len(self.layers) - 2, 0)])
        constants: list[Tensor] = []
        for copy in range(self.copies):
            of_copy = edge[:, copy * self.width : (copy + 1) * self.width]
            for index, layer in enumerate(self.layers):
                if index == 0:
                    constants += layer.weighted_start(  # type: ignore[operator]
                        self.node_table, species, of_copy, edge_index, kept
                    )
        return constants

    @torch.jit.export
    def weighted(
        self,
        weight: Tensor,
        constants: list[Tensor],
        species: Tensor,
        edge_index: Tensor,
        within: list[int],
    ) -> Tensor:
        """Barriers [within[0], 1], eV, with a weight [E] on every edge, differentiable in it.

        The weight w of an edge is a factor of the neighbor's share in the attention, and scales
        what it sends:

            h_i' = h_i + P Norm(Σ_j w_ij exp(a·f_ij) (w_ij V h_j) / Σ_j w_ij exp(a·f_ij))

        so that weights of one are the network, a weight of zero is as if there were no such edge,
        and weights that fall together lead smoothly to an isolated atom.

        Args:
            weight: [E], 0 to 1.
            constants: from ``weighted_start``.
            species: [N]; atoms sorted by the edges that lead to them from the explained ones.
            edge_index: [2, E], sorted by center.
            within: how many atoms are at most 0, 1, … layers edges away.
        """
        copies: list[Tensor] = []
        last = len(self.layers) - 1
        for copy in range(self.copies):
            attention, edge = constants[2 * copy], constants[2 * copy + 1]
            node = self.node_table
            for number, layer in enumerate(self.layers):
                atoms = within[last - number]
                if number == 0:
                    node = layer.weighted_first(  # type: ignore[operator]
                        self.node_table, species, weight, attention, edge_index, atoms
                    )
                else:
                    used = edge.size(0)
                    kept = edges_within(edge_index[0], within[max(last - number - 1, 0)])
                    node, edge = layer.weighted(  # type: ignore[operator]
                        node, edge, weight[:used], edge_index[:, :used], atoms, kept
                    )
            copies.append(self.decoder(node))
        return torch.stack(copies).mean(0)

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
    """Normalization followed by a linear map, as one linear map."""
    folded = _copy_linear(projection)
    if isinstance(normalization, nn.BatchNorm1d):
        scale, shift = batch_affine(normalization, None, 0)
        with torch.no_grad():
            folded.bias.add_(folded.weight @ shift)
            folded.weight.mul_(scale)
    return folded


def _fold_block(block: nn.Module) -> list[nn.Module]:
    """Linear map, normalization and activation, the normalization folded."""
    linear, normalization, activation = block.children()
    folded = _copy_linear(linear)
    if isinstance(normalization, nn.BatchNorm1d):
        scale, shift = batch_affine(normalization, None, 0)
        with torch.no_grad():
            folded.weight.mul_(scale[:, None])
            folded.bias.mul_(scale).add_(shift)
    return [folded, activation]


def _copy_linear(linear: nn.Module) -> nn.Linear:
    assert isinstance(linear, nn.Linear)
    copy = nn.Linear(
        linear.in_features, linear.out_features, dtype=linear.weight.dtype, device="cpu"
    )
    copy.load_state_dict(linear.state_dict())
    return copy
