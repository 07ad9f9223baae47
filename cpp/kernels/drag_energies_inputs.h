#ifndef SYMGNN_KERNELS_DRAG_ENERGIES_INPUTS_H
#define SYMGNN_KERNELS_DRAG_ENERGIES_INPUTS_H

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <torch/types.h>

#include <cstdint>
#include <optional>

#include "drag_energies.h"

namespace symgnn {

/// Arguments of the operator `drag_energies` that say how atoms are dragged.
struct DragEnergiesInputs {
  torch::Tensor energy;  ///< [S, S, 4, kPairIntervals], eV
  double lowest, spacing, reach, slack;
  torch::Tensor mobility;  ///< [S], Å²/eV
  double mobile_end, mobile_ramp, shell_end, shell_ramp;
  std::int64_t relaxations;
  double stride;
  std::int64_t strides, iterations;
  double momentum, longest;
  torch::Tensor temperatures;  ///< [levels], eV
  std::optional<double> far;   ///< displacements from there on are wanted
  double far_ramp;
  torch::Tensor slope = {};  ///< [S, S, 3, kPairIntervals], eV/Å², of energy

  std::int64_t elements() const { return mobility.numel(); }
  std::int64_t displacements() const { return far ? strides : 0; }
  std::int64_t columns() const {
    return (strides + 1) * (temperatures.numel() + 1) + displacements();
  }

  /// As kernels read them, with `options`. Throws c10::Error where they make no sense.
  DragEnergiesInputs with(const at::TensorOptions &options) const {
    TORCH_CHECK(
        energy.sizes() == at::IntArrayRef({elements(), elements(), 4, kernels::kPairIntervals}),
        "energy is [elements, elements, 4, ", kernels::kPairIntervals, "]");
    TORCH_CHECK(
        spacing > 0.0 && mobile_ramp > 0.0 && shell_ramp > 0.0 && longest > 0.0 && far_ramp > 0.0,
        "spacing, ramps and longest are positive");
    TORCH_CHECK(strides > 0 && iterations >= 0 && relaxations >= 0, "strides are one or more");
    DragEnergiesInputs result = *this;
    result.energy = energy.to(options).contiguous();
    result.mobility = mobility.to(options).contiguous();
    result.temperatures = temperatures.to(options);
    // By distance over distance: twice the derivatives by its square.
    const torch::Tensor powers = at::arange(1, 4, options).mul_(2.0 / spacing).unsqueeze(1);
    result.slope = (result.energy.slice(2, 1) * powers).contiguous();
    return result;
  }
};

/// Energies by the CPU, for a graph on another device; on that device.
torch::Tensor drag_energies_elsewhere(const torch::Tensor &species, const torch::Tensor &edge_index,
                                      const torch::Tensor &edge_vector,
                                      const DragEnergiesInputs &inputs);

/// The operator, of what `run(species, edge_index, edge_vector, inputs)` does.
template <torch::Tensor (*run)(const torch::Tensor &, const torch::Tensor &, const torch::Tensor &,
                               const DragEnergiesInputs &)>
torch::Tensor drag_energies(const torch::Tensor &species, const torch::Tensor &edge_index,
                            const torch::Tensor &edge_vector, const torch::Tensor &energy,
                            double lowest, double spacing, double reach, double slack,
                            const torch::Tensor &mobility, double mobile_end, double mobile_ramp,
                            double shell_end, double shell_ramp, std::int64_t relaxations,
                            double stride, std::int64_t strides, std::int64_t iterations,
                            double momentum, double longest, at::ArrayRef<double> temperatures,
                            std::optional<double> far, double far_ramp) {
  return run(species, edge_index, edge_vector,
             {energy, lowest, spacing, reach, slack, mobility, mobile_end, mobile_ramp, shell_end,
              shell_ramp, relaxations, stride, strides, iterations, momentum, longest,
              at::tensor(temperatures, at::kDouble), far, far_ramp});
}

/// Of prepared inputs; the graph and where the result is to lie are left to be said.
template <typename scalar>
kernels::DragEnergies<scalar> make_task(const DragEnergiesInputs &inputs) {
  kernels::DragEnergies<scalar> task{};
  task.elements = inputs.elements();
  task.energy = inputs.energy.data_ptr<scalar>();
  task.slope = inputs.slope.data_ptr<scalar>();
  task.lowest = static_cast<scalar>(inputs.lowest);
  task.spacing = static_cast<scalar>(inputs.spacing);
  task.reach = static_cast<scalar>(inputs.reach);
  task.slack = static_cast<scalar>(inputs.slack);
  task.mobility = inputs.mobility.data_ptr<scalar>();
  task.mobile_end = static_cast<scalar>(inputs.mobile_end);
  task.mobile_ramp = static_cast<scalar>(inputs.mobile_ramp);
  task.shell_end = static_cast<scalar>(inputs.shell_end);
  task.shell_ramp = static_cast<scalar>(inputs.shell_ramp);
  task.stride = static_cast<scalar>(inputs.stride);
  task.momentum = static_cast<scalar>(inputs.momentum);
  task.longest = static_cast<scalar>(inputs.longest);
  task.relaxations = inputs.relaxations;
  task.strides = inputs.strides;
  task.iterations = inputs.iterations;
  task.levels = inputs.temperatures.numel();
  task.temperatures = inputs.temperatures.data_ptr<scalar>();
  task.displacements = inputs.displacements();
  task.far = static_cast<scalar>(inputs.far.value_or(0.0));
  task.far_ramp = static_cast<scalar>(inputs.far_ramp);
  return task;
}

}  // namespace symgnn

#endif
