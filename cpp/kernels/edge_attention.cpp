#include "edge_attention.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>
#include <torch/types.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "capability.h"
#include "edge_attention_blocks.h"
#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;
using OptionalTensor = std::optional<Tensor>;
using Results = std::tuple<Tensor, Tensor, Tensor>;

constexpr const char *kSchema =
    "edge_attention(Tensor projected, Tensor edge, Tensor edge_weight, Tensor attention, "
    "Tensor? output_weight, Tensor? output_bias, Tensor edge_index, float negative_slope, "
    "bool skip, bool gather, bool moments) -> (Tensor gathered, Tensor new_edge, Tensor moments)";

/// Arguments, checked and without gaps.
struct Inputs {
  Tensor projected, edge, edge_weight, attention, output_weight, output_bias, edge_index;
  double negative_slope;
  bool skip, gather, moments;

  bool updates_edges() const { return output_weight.defined(); }
};

Inputs checked(const Inputs &given) {
  Inputs inputs = given;
  for (Tensor *tensor : {&inputs.projected, &inputs.edge, &inputs.edge_weight, &inputs.attention,
                         &inputs.output_weight, &inputs.output_bias, &inputs.edge_index}) {
    if (tensor->defined()) {
      *tensor = tensor->contiguous();
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

/// [N + 1]: where the edges of each center begin. Checks that edges are sorted and in range.
Tensor first_edges(const Tensor &edge_index, std::int64_t atoms) {
  const std::int64_t edges = edge_index.size(1);
  const std::int64_t *center = edge_index.data_ptr<std::int64_t>();
  const std::int64_t *neighbor = center + edges;
  Tensor result = torch::zeros({atoms + 1}, torch::kInt64);
  std::int64_t *first = result.data_ptr<std::int64_t>();
  for (std::int64_t edge = 0; edge < edges; ++edge) {
    TORCH_CHECK(center[edge] >= (edge > 0 ? center[edge - 1] : 0) && center[edge] < atoms &&
                    neighbor[edge] >= 0 && neighbor[edge] < atoms,
                "edge_index must be sorted by center and name existing atoms");
    ++first[center[edge] + 1];
  }
  for (std::int64_t atom = 0; atom < atoms; ++atom) {
    first[atom + 1] += first[atom];
  }
  return result;
}

template <typename scalar>
scalar *pointer(const Tensor &tensor) {
  return tensor.defined() && tensor.numel() > 0 ? tensor.data_ptr<scalar>() : nullptr;
}

template <typename scalar>
kernels::EdgeAttention<scalar> make_task(const Inputs &inputs, const Tensor &first) {
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

template <typename scalar>
void attend_centers(const kernels::EdgeAttention<scalar> &task, std::int64_t begin,
                    std::int64_t end, scalar *workspace, scalar *moments) {
  switch (kernels::capability()) {
#ifdef SYMGNN_X86_CAPABILITIES
    case kernels::Capability::avx512:
      return kernels::avx512::edge_attention_centers(task, begin, end, workspace, moments);
    case kernels::Capability::avx2:
      return kernels::avx2::edge_attention_centers(task, begin, end, workspace, moments);
#endif
    default:
      return kernels::baseline::edge_attention_centers(task, begin, end, workspace, moments);
  }
}

/// Ranges of centers with about the same number of edges each. Fixed by the graph alone, so that
/// sums over ranges do not depend on the number of threads.
std::vector<std::int64_t> center_ranges(const std::int64_t *first, std::int64_t atoms) {
  constexpr std::int64_t kEdgesPerRange = 4096;
  std::vector<std::int64_t> ranges{0};
  for (std::int64_t atom = 1; atom <= atoms; ++atom) {
    if (atom == atoms || first[atom] - first[ranges.back()] >= kEdgesPerRange) {
      ranges.push_back(atom);
    }
  }
  return ranges;
}

std::int64_t most_edges(const std::int64_t *first, std::int64_t atoms) {
  std::int64_t most = 0;
  for (std::int64_t atom = 0; atom < atoms; ++atom) {
    most = std::max(most, first[atom + 1] - first[atom]);
  }
  return most;
}

Results attend(const Inputs &inputs) {
  const auto options = inputs.projected.options();
  const std::int64_t atoms = inputs.projected.size(0);
  const std::int64_t channels = inputs.attention.numel();
  const Tensor first = first_edges(inputs.edge_index, atoms);
  const std::vector<std::int64_t> ranges = center_ranges(first.data_ptr<std::int64_t>(), atoms);
  const auto count = static_cast<std::int64_t>(ranges.size()) - 1;

  const Tensor gathered = torch::empty({inputs.gather ? atoms : 0, channels}, options);
  const Tensor new_edge = inputs.updates_edges() ? torch::empty_like(inputs.edge)
                                                 : torch::empty({0, inputs.edge.size(1)}, options);
  const Tensor partial = torch::zeros({inputs.moments ? count : 0, 2, channels}, options);
  AT_DISPATCH_FLOATING_TYPES(inputs.projected.scalar_type(), "edge_attention", [&] {
    kernels::EdgeAttention<scalar_t> task = make_task<scalar_t>(inputs, first);
    task.gathered = pointer<scalar_t>(gathered);
    task.new_edge = pointer<scalar_t>(new_edge);
    const std::int64_t workspace = kernels::workspace_size(task, most_edges(task.first, atoms));
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      std::vector<scalar_t> scratch(workspace);
      for (std::int64_t range = begin; range < end; ++range) {
        scalar_t *moments =
            inputs.moments ? partial.data_ptr<scalar_t>() + 2 * channels * range : nullptr;
        attend_centers(task, ranges[range], ranges[range + 1], scratch.data(), moments);
      }
    });
  });
  return {gathered, new_edge, inputs.moments ? partial.sum(0) : torch::empty({0}, options)};
}

Results edge_attention_cpu(const Tensor &projected, const Tensor &edge, const Tensor &edge_weight,
                           const Tensor &attention, const OptionalTensor &output_weight,
                           const OptionalTensor &output_bias, const Tensor &edge_index,
                           double negative_slope, bool skip, bool gather, bool moments) {
  return attend(
      checked({projected, edge, edge_weight, attention, output_weight.value_or(Tensor()),
               output_bias.value_or(Tensor()), edge_index, negative_slope, skip, gather, moments}));
}

}  // namespace

void register_edge_attention(torch::Library &library) {
  library.def(kSchema);
  library.impl("edge_attention", torch::dispatch(c10::DispatchKey::CPU, &edge_attention_cpu));
}

}  // namespace symgnn
