#include "edge_embedding.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>
#include <torch/types.h>

#include <vector>

#include "capability.h"
#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;

template <typename scalar>
using Embed = void (*)(const kernels::EdgeEmbedding<scalar> &, std::int64_t, std::int64_t,
                       scalar *);

/// That for the instruction set of this processor.
template <typename scalar>
Embed<scalar> embed_function() {
  switch (kernels::capability()) {
#ifdef SYMGNN_X86_CAPABILITIES
    case kernels::Capability::avx512:
      return kernels::avx512::embed_edges;
    case kernels::Capability::avx2:
      return kernels::avx2::embed_edges;
#endif
    default:
      return kernels::baseline::embed_edges;
  }
}

Tensor edge_embedding(const Tensor &given_input, const Tensor &given_first_weight,
                      const Tensor &given_first_bias, const Tensor &given_second_weight,
                      const Tensor &given_second_bias, bool average) {
  const Tensor input = given_input.contiguous();
  const Tensor first_weight = given_first_weight.contiguous();
  const Tensor first_bias = given_first_bias.contiguous();
  const Tensor second_weight = given_second_weight.contiguous();
  const Tensor second_bias = given_second_bias.contiguous();
  const std::int64_t width = second_bias.numel();
  const std::int64_t channels = first_bias.numel();
  TORCH_CHECK(input.dim() == 2, "input is [edges, inputs]");
  TORCH_CHECK(width > 0 && channels > 0 && channels % width == 0,
              "first_bias is [transformations * width], second_bias [width]");
  TORCH_CHECK(first_weight.sizes() == torch::IntArrayRef({input.size(1), channels}),
              "first_weight is [inputs, transformations * width]");
  TORCH_CHECK(second_weight.sizes() == torch::IntArrayRef({width, width}),
              "second_weight is [width, width]");

  const std::int64_t edges = input.size(0);
  const Tensor result = torch::empty({edges, average ? width : channels}, input.options());
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "edge_embedding", [&] {
    kernels::EdgeEmbedding<scalar_t> task{};
    task.edges = edges;
    task.inputs = input.size(1);
    task.width = width;
    task.transformations = channels / width;
    task.average = average;
    task.input = input.data_ptr<scalar_t>();
    task.first_weight = first_weight.data_ptr<scalar_t>();
    task.first_bias = first_bias.data_ptr<scalar_t>();
    task.second_weight = second_weight.data_ptr<scalar_t>();
    task.second_bias = second_bias.data_ptr<scalar_t>();
    task.result = result.data_ptr<scalar_t>();
    at::parallel_for(0, edges, 64 * kernels::kEmbeddingEdges,
                     [&](std::int64_t begin, std::int64_t end) {
                       std::vector<scalar_t> workspace(kernels::kEmbeddingEdges * channels);
                       embed_function<scalar_t>()(task, begin, end, workspace.data());
                     });
  });
  return result;
}

}  // namespace

void register_edge_embedding(torch::Library &library) {
  library.def(
      "edge_embedding(Tensor input, Tensor first_weight, Tensor first_bias, "
      "Tensor second_weight, Tensor second_bias, bool average) -> Tensor");
  library.impl("edge_embedding", torch::dispatch(c10::DispatchKey::CPU, &edge_embedding));
  library.impl("edge_embedding", c10::DispatchKey::Autograd,
               torch::autograd::autogradNotImplementedFallback());
}

}  // namespace symgnn
