#ifndef SYMGNN_KERNELS_EDGE_EMBEDDING_INPUTS_H
#define SYMGNN_KERNELS_EDGE_EMBEDDING_INPUTS_H

#include <torch/types.h>

#include <cstdint>

#include "edge_embedding.h"

namespace symgnn {

/// Arguments of the operators `edge_embedding` and, without second layer, `hidden_moments`.
struct EdgeEmbeddingInputs {
  torch::Tensor input, first_weight, first_bias, second_weight, second_bias;
  std::int64_t width;
  bool average;

  std::int64_t edges() const { return input.size(0); }
  std::int64_t channels() const { return first_bias.numel(); }
  std::int64_t transformations() const { return channels() / width; }
  bool own_second() const { return second_weight.defined() && second_weight.dim() == 3; }
};

/// The same without gaps. Throws where shapes, devices or dtypes are not as told.
inline EdgeEmbeddingInputs checked(EdgeEmbeddingInputs inputs) {
  for (torch::Tensor *tensor : {&inputs.input, &inputs.first_weight, &inputs.first_bias,
                                &inputs.second_weight, &inputs.second_bias}) {
    if (tensor->defined()) {
      *tensor = tensor->contiguous();
      TORCH_CHECK(tensor->device() == inputs.input.device(),
                  "edge_embedding needs all of its tensors on one device");
      TORCH_CHECK(tensor->scalar_type() == inputs.input.scalar_type(),
                  "edge_embedding needs all of its tensors in one dtype");
    }
  }
  const std::int64_t width = inputs.width;
  TORCH_CHECK(inputs.input.dim() == 2, "input is [edges, inputs]");
  TORCH_CHECK(width > 0 && inputs.channels() > 0 && inputs.channels() % width == 0,
              "first_bias is [transformations * width], second_bias [width]");
  TORCH_CHECK(
      inputs.first_weight.sizes() == torch::IntArrayRef({inputs.input.size(1), inputs.channels()}),
      "first_weight is [inputs, transformations * width]");
  if (inputs.own_second()) {
    TORCH_CHECK(inputs.second_weight.sizes() ==
                        torch::IntArrayRef({inputs.transformations(), width, width}) &&
                    inputs.second_bias.numel() == inputs.channels(),
                "second_weight is [transformations, width, width], second_bias likewise");
  } else if (inputs.second_weight.defined()) {
    TORCH_CHECK(inputs.second_weight.sizes() == torch::IntArrayRef({width, width}) &&
                    inputs.second_bias.numel() == width,
                "second_weight is [width, width]");
  }
  return inputs;
}

/// The inputs for a kernel; where the result is to lie is left to be said.
template <typename scalar>
kernels::EdgeEmbedding<scalar> make_task(const EdgeEmbeddingInputs &inputs) {
  kernels::EdgeEmbedding<scalar> task{};
  task.edges = inputs.edges();
  task.inputs = inputs.input.size(1);
  task.width = inputs.width;
  task.transformations = inputs.transformations();
  task.average = inputs.average;
  task.input = inputs.input.data_ptr<scalar>();
  task.first_weight = inputs.first_weight.data_ptr<scalar>();
  task.first_bias = inputs.first_bias.data_ptr<scalar>();
  if (inputs.second_weight.defined()) {
    task.second_weight = inputs.second_weight.data_ptr<scalar>();
    task.second_bias = inputs.second_bias.data_ptr<scalar>();
  }
  task.own_second = inputs.own_second();
  return task;
}

}  // namespace symgnn

#endif
