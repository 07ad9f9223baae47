#include <ATen/Dispatch.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>
#include <torch/types.h>

#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;

/// Numbers of the edges that are shorter than a cutoff, in order.
Tensor edges_shorter_than_cpu(const Tensor &given, double cutoff) {
  TORCH_CHECK(given.dim() == 2 && given.size(1) == 3, "edge_vector is [E, 3]");
  const Tensor vector = given.contiguous();
  const std::int64_t edges = vector.size(0);
  const Tensor found = torch::empty({edges}, torch::kInt64);
  std::int64_t *number = found.data_ptr<std::int64_t>();
  std::int64_t count = 0;
  AT_DISPATCH_FLOATING_TYPES(vector.scalar_type(), "edges_shorter_than", [&] {
    const scalar_t *component = vector.data_ptr<scalar_t>();
    const auto limit = static_cast<scalar_t>(cutoff * cutoff);
    for (std::int64_t edge = 0; edge < edges; ++edge, component += 3) {
      number[count] = edge;
      count +=
          component[0] * component[0] + component[1] * component[1] + component[2] * component[2] <
          limit;
    }
  });
  return found.narrow(0, 0, count);
}

}  // namespace

void register_edges_shorter_than(torch::Library &library) {
  library.def("edges_shorter_than(Tensor edge_vector, float cutoff) -> Tensor");
  library.impl("edges_shorter_than",
               torch::dispatch(c10::DispatchKey::CPU, &edges_shorter_than_cpu));
  library.impl("edges_shorter_than", c10::DispatchKey::Autograd,
               torch::autograd::autogradNotImplementedFallback());
}

}  // namespace symgnn
