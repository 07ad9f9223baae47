#include "drag_energies.h"

#include <ATen/Dispatch.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "capability.h"
#include "drag_energies_blocks.h"
#include "drag_energies_inputs.h"
#include "graph.h"
#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;

constexpr const char *kSchema =
    "drag_energies(Tensor species, Tensor edge_index, Tensor edge_vector, Tensor energy, "
    "float lowest, float spacing, float reach, float slack, Tensor mobility, "
    "float mobile_end, float mobile_ramp, float shell_end, float shell_ramp, "
    "int relaxations, float stride, int strides, int iterations, float momentum, float longest, "
    "float[] temperatures, float? far=None, float far_ramp=1.0) -> Tensor";

template <typename scalar>
auto function() -> void (*)(const kernels::DragEnergies<scalar> &, std::int64_t,
                            const kernels::DragWorkspace<scalar> &) {
  switch (kernels::capability()) {
#ifdef SYMGNN_X86_CAPABILITIES
    case kernels::Capability::avx512:
      return kernels::avx512::drag_energies;
    case kernels::Capability::avx2:
      return kernels::avx2::drag_energies;
#endif
    default:
      return kernels::baseline::drag_energies;
  }
}

/// What one thread works in.
template <typename scalar>
class Memory {
 public:
  explicit Memory(const kernels::DragEnergies<scalar> &task)
      : task_(task),
        atoms_(task.most + 1),
        ends_(2 * (task.most + 1)),
        neighbors_((task.most + 1) * (task.most + 2) / 2),
        scalars_((kFixed + task.strides + 1 + task.displacements) * (task.most + 1)),
        lanes_(3 * 3 * (task.most + 1)) {}

  /// For a center. The order of its edges is that of their vectors, whatever rank or search found
  /// them: steps down a slope multiply what rounding does to sums in another order.
  kernels::DragWorkspace<scalar> workspace(std::int64_t center) {
    nearest_.clear();
    const scalar farthest = task_.mobile_end + task_.reach + task_.slack;
    for (std::int64_t edge = task_.first[center]; edge < task_.first[center + 1]; ++edge) {
      const scalar *vector = task_.edge_vector + edge * task_.edge_stride;
      const scalar x = vector[0], y = vector[1], z = vector[2];
      const scalar square = x * x + y * y + z * z;
      if (square < farthest * farthest) {
        nearest_.push_back({{square, x, y, z}, edge});
      }
    }
    std::sort(nearest_.begin(), nearest_.end());
    edges_.clear();
    for (const auto &[place, edge] : nearest_) {
      edges_.push_back(edge);
    }
    const auto atoms = static_cast<std::int64_t>(atoms_.size());
    scalar *next = scalars_.data();
    const auto take = [&next](std::int64_t count) {
      scalar *taken = next;
      next += count;
      return taken;
    };
    kernels::DragWorkspace<scalar> result{};
    result.edges = edges_.data();
    result.count = static_cast<std::int64_t>(edges_.size());
    result.start = take(3 * atoms);
    result.mobility = take(atoms);
    result.counted = take(atoms);
    result.directions = take(3 * atoms);
    result.weights = take(atoms);
    result.energies = take((task_.strides + 1) * atoms);
    result.displacements = take(task_.displacements * atoms);
    result.atoms = atoms_.data();
    result.ends = ends_.data();
    result.neighbors = neighbors_.data();
    result.position = lanes_.front().scalars;
    result.force = result.position + 3 * atoms * kernels::kMostLanes;
    result.velocity = result.force + 3 * atoms * kernels::kMostLanes;
    return result;
  }

 private:
  static constexpr std::int64_t kFixed = 3 + 1 + 1 + 3 + 1;
  struct alignas(64) Lanes {
    scalar scalars[kernels::kMostLanes];
  };

  const kernels::DragEnergies<scalar> &task_;
  std::vector<std::pair<std::array<scalar, 4>, std::int64_t>> nearest_;
  std::vector<std::int64_t> edges_, atoms_, ends_;
  std::vector<kernels::DraggedNeighbor<scalar>> neighbors_;
  std::vector<scalar> scalars_;
  std::vector<Lanes> lanes_;
};

Tensor drag_energies_cpu(const Tensor &species, const Tensor &edge_index, const Tensor &edge_vector,
                         const DragEnergiesInputs &given) {
  const Graph graph(species, edge_index, edge_vector, given.elements());
  const auto options = graph.edge_vector.options();
  const DragEnergiesInputs inputs = given.with(options);
  const Tensor result = torch::empty({graph.rows(), inputs.columns()}, options);
  AT_DISPATCH_FLOATING_TYPES(graph.edge_vector.scalar_type(), "drag_energies", [&] {
    auto task = make_task<scalar_t>(inputs);
    task.species = graph.species.data_ptr<std::int64_t>();
    task.first = graph.first.data_ptr<std::int64_t>();
    task.neighbor = graph.neighbors();
    task.edge_vector = graph.edge_vector.data_ptr<scalar_t>();
    task.edge_stride = graph.edge_vector.stride(0);
    task.most = most_edges(task.first, graph.atoms());
    task.first_center = graph.first_center();
    task.result = result.data_ptr<scalar_t>();
    const auto drag = function<scalar_t>();
    graph.for_each_range([&](std::int64_t begin, std::int64_t end) {
      Memory<scalar_t> memory(task);
      for (std::int64_t center = begin; center < end; ++center) {
        drag(task, center, memory.workspace(center));
      }
    });
  });
  return result;
}

}  // namespace

Tensor drag_energies_elsewhere(const Tensor &species, const Tensor &edge_index,
                               const Tensor &edge_vector, const DragEnergiesInputs &inputs) {
  return drag_energies_cpu(species.cpu(), edge_index.cpu(), edge_vector.cpu(), inputs)
      .to(edge_vector.device());
}

void register_drag_energies(torch::Library &library) {
  library.def(kSchema);
  library.impl("drag_energies",
               torch::dispatch(c10::DispatchKey::CPU, &drag_energies<drag_energies_cpu>));
#ifndef SYMGNN_CUDA
  library.impl("drag_energies",
               torch::dispatch(c10::DispatchKey::CUDA, &drag_energies<drag_energies_elsewhere>));
#endif
  library.impl("drag_energies", c10::DispatchKey::Autograd,
               torch::autograd::autogradNotImplementedFallback());
}

}  // namespace symgnn
