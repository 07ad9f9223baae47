#ifndef SYMGNN_KERNELS_EDGE_ATTENTION_INPUTS_H
#define SYMGNN_KERNELS_EDGE_ATTENTION_INPUTS_H

#include <torch/types.h>

#include <cstdint>

#include "edge_attention.h"

namespace symgnn {

/// Arguments of the operator `edge_attention`. Undefined tensors stand for none.
struct EdgeAttentionInputs {
  torch::Tensor projected, edge, edge_weight, attention, output_weight, output_bias, edge_index;
  double negative_slope;
  bool skip;

  bool updates_edges() const { return output_weight.defined(); }
};

/// The same without gaps. Throws where shapes, devices or the type of indices are not as told.
inline EdgeAttentionInputs checked(EdgeAttentionInputs inputs) {
  for (torch::Tensor *tensor :
       {&inputs.projected, &inputs.edge, &inputs.edge_weight, &inputs.attention,
        &inputs.output_weight, &inputs.output_bias, &inputs.edge_index}) {
    if (tensor->defined()) {
      *tensor = tensor->contiguous();
      TORCH_CHECK(tensor->device() == inputs.projected.device(),
                  "edge_attention needs all of its tensors on one device");
    }
  }
  const std::int64_t channels = inputs.attention.numel();
  const std::int64_t edges = inputs.edge.size(0);
  const std::int64_t width = inputs.edge.size(1);
  TORCH_CHECK(inputs.attention.dim() == 2, "attention is [heads, width]");
  TORCH_CHECK(inputs.projected.dim() == 2 && inputs.projected.size(1) == 3 * channels,
              "projected is [atoms, 3 * heads * width]");
  TORCH_CHECK(inputs.edge_weight.sizes() == torch::IntArrayRef({width, channels}),
              "edge_weight is [edge width, heads * width]");
  TORCH_CHECK(inputs.edge_index.sizes() == torch::IntArrayRef({2, edges}), "edge_index is [2, E]");
  TORCH_CHECK(inputs.edge_index.scalar_type() == torch::kInt64, "edge_index is int64");
  TORCH_CHECK(inputs.negative_slope >= 0.0 && inputs.negative_slope <= 1.0,
              "negative_slope is between 0 and 1");
  if (inputs.updates_edges()) {
    TORCH_CHECK(inputs.output_weight.sizes() == torch::IntArrayRef({channels, width}) &&
                    inputs.output_bias.defined() && inputs.output_bias.numel() == width,
                "output_weight is [heads * width, edge width], output_bias [edge width]");
  }
  return inputs;
}

/// Null for tensors that are undefined or empty.
template <typename scalar>
scalar *pointer(const torch::Tensor &tensor) {
  return tensor.defined() && tensor.numel() > 0 ? tensor.data_ptr<scalar>() : nullptr;
}

/// The inputs for a kernel; which results are wanted is left to be said.
template <typename scalar>
kernels::EdgeAttention<scalar> make_task(const EdgeAttentionInputs &inputs,
                                         const torch::Tensor &first) {
  kernels::EdgeAttention<scalar> task{};
  task.atoms = inputs.projected.size(0);
  task.edges = inputs.edge.size(0);
  task.heads = inputs.attention.size(0);
  task.width = inputs.attention.size(1);
  task.edge_width = inputs.edge.size(1);
  task.first = first.data_ptr<std::int64_t>();
  task.neighbor = inputs.edge_index.data_ptr<std::int64_t>() + task.edges;
  task.projected = pointer<scalar>(inputs.projected);
  task.edge = pointer<scalar>(inputs.edge);
  task.edge_weight = pointer<scalar>(inputs.edge_weight);
  task.attention = pointer<scalar>(inputs.attention);
  task.output_weight = pointer<scalar>(inputs.output_weight);
  task.output_bias = pointer<scalar>(inputs.output_bias);
  task.negative_slope = static_cast<scalar>(inputs.negative_slope);
  task.skip = inputs.skip;
  return task;
}

}  // namespace symgnn

#endif
