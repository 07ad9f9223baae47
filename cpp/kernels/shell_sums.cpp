#include "shell_sums.h"

#include <ATen/Dispatch.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>
#include <torch/types.h>

#include <tuple>
#include <vector>

#include "capability.h"
#include "graph.h"
#include "operators.h"
#include "shell_sums_blocks.h"

namespace symgnn {

namespace {

using torch::Tensor;

constexpr const char *kSchema =
    "shell_sums(Tensor values, Tensor species, Tensor edge_index, Tensor edge_vector, "
    "int elements, bool by_element, float[] shells, float ramp) -> (Tensor sums, Tensor totals)";

template <typename scalar>
auto function() -> void (*)(const kernels::ShellSums<scalar> &, std::int64_t, std::int64_t) {
  switch (kernels::capability()) {
#ifdef SYMGNN_X86_CAPABILITIES
    case kernels::Capability::avx512:
      return kernels::avx512::shell_sums;
    case kernels::Capability::avx2:
      return kernels::avx2::shell_sums;
#endif
    default:
      return kernels::baseline::shell_sums;
  }
}

std::tuple<Tensor, Tensor> shell_sums_cpu(const Tensor &given_values, const Tensor &species,
                                          const Tensor &edge_index, const Tensor &edge_vector,
                                          std::int64_t elements, bool by_element,
                                          at::ArrayRef<double> radii, double ramp) {
  const Graph graph(species, edge_index, edge_vector, elements);
  const auto shells = static_cast<std::int64_t>(radii.size());
  TORCH_CHECK(given_values.dim() == 4 && given_values.size(0) == graph.atoms() &&
                  (given_values.size(1) == elements || given_values.size(1) == 1) &&
                  (given_values.size(2) == shells || given_values.size(2) == 1),
              "values is [N, elements or 1, shells or 1, C]");
  TORCH_CHECK(given_values.scalar_type() == graph.edge_vector.scalar_type(),
              "values and edge_vector must have one dtype");
  const Tensor values = given_values.size(3) < 2 || given_values.stride(3) == 1
                            ? given_values
                            : given_values.contiguous();
  const auto stride = [&values](std::int64_t dimension) {
    return values.size(dimension) == 1 ? 0 : values.stride(dimension);
  };
  const auto options = graph.edge_vector.options();
  const std::int64_t groups = by_element ? elements : 1;
  const Tensor sums = torch::empty({graph.rows(), groups, shells, values.size(3)}, options);
  const Tensor totals = torch::empty({graph.rows(), groups, shells}, options);
  AT_DISPATCH_FLOATING_TYPES(graph.edge_vector.scalar_type(), "shell_sums", [&] {
    const std::vector<scalar_t> radius(radii.begin(), radii.end());
    kernels::ShellSums<scalar_t> task{};
    task.species = graph.species.data_ptr<std::int64_t>();
    task.first = graph.first.data_ptr<std::int64_t>();
    task.neighbor = graph.neighbors();
    task.edge_vector = graph.edge_vector.data_ptr<scalar_t>();
    task.edge_stride = graph.edge_vector.stride(0);
    task.groups = groups;
    task.shells = shells;
    task.radii = radius.data();
    task.ramp = static_cast<scalar_t>(ramp);
    task.values = values.data_ptr<scalar_t>();
    task.columns = values.size(3);
    task.atom_stride = values.stride(0);
    task.element_stride = stride(1);
    task.shell_stride = stride(2);
    task.first_center = graph.first_center();
    task.sums = sums.data_ptr<scalar_t>();
    task.totals = totals.data_ptr<scalar_t>();
    const auto sum = function<scalar_t>();
    graph.for_each_range([&](std::int64_t begin, std::int64_t end) { sum(task, begin, end); });
  });
  return {sums, totals};
}

}  // namespace

void register_shell_sums(torch::Library &library) {
  library.def(kSchema);
  library.impl("shell_sums", torch::dispatch(c10::DispatchKey::CPU, &shell_sums_cpu));
  library.impl("shell_sums", c10::DispatchKey::Autograd,
               torch::autograd::autogradNotImplementedFallback());
}

}  // namespace symgnn
