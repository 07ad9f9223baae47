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
    "float[] temperatures) -> Tensor";

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
        scalars_(kFixed * (task.most + 1) + (task.strides + 1) * (task.most + 1)),
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
    result.directions = take(3 * atoms);
    result.weights = take(atoms);
    result.energies = next;
    result.atoms = atoms_.data();
    result.ends = ends_.data();
    result.neighbors = neighbors_.data();
    result.position = lanes_.front().scalars;
    result.force = result.position + 3 * atoms * kernels::kMostLanes;
    result.velocity = result.force + 3 * atoms * kernels::kMostLanes;
    return result;
  }

 private:
  static constexpr std::int64_t kFixed = 3 + 1 + 3 + 1;
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

/// Derivatives of energies [S, S, 4, intervals] by distance over distance: twice those by its
/// square.
Tensor slope_of(const Tensor &energy, double spacing) {
  const Tensor powers = torch::arange(1, 4, energy.options()).mul_(2.0 / spacing).unsqueeze(1);
  return (energy.slice(2, 1) * powers).contiguous();
}

Tensor drag_energies_cpu(const Tensor &species, const Tensor &edge_index, const Tensor &edge_vector,
                         const Tensor &given_energy, double lowest, double spacing, double reach,
                         double slack, const Tensor &given_mobility, double mobile_end,
                         double mobile_ramp, double shell_end, double shell_ramp,
                         std::int64_t relaxations, double stride, std::int64_t strides,
                         std::int64_t iterations, double momentum, double longest,
                         at::ArrayRef<double> temperatures) {
  const std::int64_t elements = given_mobility.numel();
  TORCH_CHECK(
      given_energy.sizes() == at::IntArrayRef({elements, elements, 4, kernels::kPairIntervals}),
      "energy is [elements, elements, 4, ", kernels::kPairIntervals, "]");
  TORCH_CHECK(spacing > 0.0 && mobile_ramp > 0.0 && shell_ramp > 0.0 && longest > 0.0,
              "spacing, ramps and longest are positive");
  TORCH_CHECK(strides > 0 && iterations >= 0 && relaxations >= 0, "strides are one or more");
  const Graph graph(species, edge_index, edge_vector, elements);
  const auto options = graph.edge_vector.options();
  const Tensor energy = given_energy.to(options).contiguous();
  const Tensor slope = slope_of(energy, spacing);
  const Tensor mobility = given_mobility.to(options).contiguous();
  const auto levels = static_cast<std::int64_t>(temperatures.size());
  const Tensor result = torch::empty({graph.rows(), (strides + 1) * (levels + 1)}, options);
  AT_DISPATCH_FLOATING_TYPES(graph.edge_vector.scalar_type(), "drag_energies", [&] {
    const std::vector<scalar_t> temperature(temperatures.begin(), temperatures.end());
    kernels::DragEnergies<scalar_t> task{};
    task.species = graph.species.data_ptr<std::int64_t>();
    task.first = graph.first.data_ptr<std::int64_t>();
    task.neighbor = graph.neighbors();
    task.edge_vector = graph.edge_vector.data_ptr<scalar_t>();
    task.edge_stride = graph.edge_vector.stride(0);
    task.elements = elements;
    task.energy = energy.data_ptr<scalar_t>();
    task.slope = slope.data_ptr<scalar_t>();
    task.lowest = static_cast<scalar_t>(lowest);
    task.spacing = static_cast<scalar_t>(spacing);
    task.reach = static_cast<scalar_t>(reach);
    task.slack = static_cast<scalar_t>(slack);
    task.mobility = mobility.data_ptr<scalar_t>();
    task.mobile_end = static_cast<scalar_t>(mobile_end);
    task.mobile_ramp = static_cast<scalar_t>(mobile_ramp);
    task.shell_end = static_cast<scalar_t>(shell_end);
    task.shell_ramp = static_cast<scalar_t>(shell_ramp);
    task.stride = static_cast<scalar_t>(stride);
    task.momentum = static_cast<scalar_t>(momentum);
    task.longest = static_cast<scalar_t>(longest);
    task.relaxations = relaxations;
    task.strides = strides;
    task.iterations = iterations;
    task.levels = levels;
    task.temperatures = temperature.data();
    task.most = most_edges(task.first, graph.atoms());
    task.first_center = graph.first_center();
    task.energies = result.data_ptr<scalar_t>();
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

/// There is no kernel for GPUs: structures on them are sent to the processor, and energies back.
Tensor drag_energies_cuda(const Tensor &species, const Tensor &edge_index,
                          const Tensor &edge_vector, const Tensor &energy, double lowest,
                          double spacing, double reach, double slack, const Tensor &mobility,
                          double mobile_end, double mobile_ramp, double shell_end,
                          double shell_ramp, std::int64_t relaxations, double stride,
                          std::int64_t strides, std::int64_t iterations, double momentum,
                          double longest, at::ArrayRef<double> temperatures) {
  return drag_energies_cpu(species.cpu(), edge_index.cpu(), edge_vector.cpu(), energy.cpu(), lowest,
                           spacing, reach, slack, mobility.cpu(), mobile_end, mobile_ramp,
                           shell_end, shell_ramp, relaxations, stride, strides, iterations,
                           momentum, longest, temperatures)
      .to(edge_vector.device());
}

}  // namespace

void register_drag_energies(torch::Library &library) {
  library.def(kSchema);
  library.impl("drag_energies", torch::dispatch(c10::DispatchKey::CPU, &drag_energies_cpu));
  library.impl("drag_energies", torch::dispatch(c10::DispatchKey::CUDA, &drag_energies_cuda));
  library.impl("drag_energies", c10::DispatchKey::Autograd,
               torch::autograd::autogradNotImplementedFallback());
}

}  // namespace symgnn
