// The operators for tensors on a GPU. Needs no headers of CUDA: torch gives the current stream
// through its device-independent interface.

#include <ATen/Dispatch.h>
#include <ATen/ops/argsort.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/library.h>
#include <torch/types.h>

#include <optional>
#include <tuple>

#include "drag_energies_cuda.h"
#include "drag_energies_inputs.h"
#include "edge_attention_cuda.h"
#include "edge_attention_inputs.h"
#include "edge_embedding_cuda.h"
#include "edge_embedding_inputs.h"
#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;
using OptionalTensor = std::optional<Tensor>;

void *current_stream(const Tensor &tensor) {
  const c10::impl::VirtualGuardImpl guard(tensor.device().type());
  return guard.getStream(tensor.device()).native_handle();
}

void check(const char *problem) { TORCH_CHECK(problem == nullptr, "on the GPU: ", problem); }

/// [N + 1]: where the edges of each center begin. Waits for the GPU to hear whether they are sorted
/// and in range.
Tensor first_edges(const Tensor &center, const Tensor &neighbor, std::int64_t atoms) {
  const Tensor first = torch::empty({atoms + 1}, center.options());
  const Tensor problem = torch::empty({1}, center.options().dtype(torch::kInt32));
  check(kernels::find_first_edges_cuda(
      pointer<std::int64_t>(center), pointer<std::int64_t>(neighbor), center.numel(), atoms,
      first.data_ptr<std::int64_t>(), problem.data_ptr<std::int32_t>(), current_stream(center)));
  TORCH_CHECK(problem.item<std::int32_t>() == 0,
              "edge_index must be sorted by center and name existing atoms");
  return first;
}

Tensor make_workspace(std::size_t bytes, const Tensor &like) {
  return torch::empty({static_cast<std::int64_t>(bytes)}, like.options().dtype(torch::kUInt8));
}

std::tuple<Tensor, Tensor, Tensor> edge_attention_cuda(
    const Tensor &projected, const Tensor &edge, const Tensor &edge_weight, const Tensor &attention,
    const OptionalTensor &output_weight, const OptionalTensor &output_bias,
    const Tensor &edge_index, double negative_slope, bool skip, bool gather, bool moments) {
  const EdgeAttentionInputs inputs =
      checked({projected, edge, edge_weight, attention, output_weight.value_or(Tensor()),
               output_bias.value_or(Tensor()), edge_index, negative_slope, skip});
  const c10::DeviceGuard guard(inputs.projected.device());
  const auto options = inputs.projected.options();
  const std::int64_t atoms = inputs.projected.size(0);
  const std::int64_t channels = inputs.attention.numel();
  const Tensor first = first_edges(inputs.edge_index[0], inputs.edge_index[1], atoms);
  const Tensor gathered = torch::empty({gather ? atoms : 0, channels}, options);
  const Tensor new_edge = inputs.updates_edges() ? torch::empty_like(inputs.edge)
                                                 : torch::empty({0, inputs.edge.size(1)}, options);
  const Tensor sums = moments ? torch::empty({2, channels}, options) : torch::empty({0}, options);
  AT_DISPATCH_FLOATING_TYPES(inputs.projected.scalar_type(), "edge_attention", [&] {
    auto task = make_task<scalar_t>(inputs, first);
    task.gathered = pointer<scalar_t>(gathered);
    task.new_edge = pointer<scalar_t>(new_edge);
    task.moments = pointer<scalar_t>(sums);
    const Tensor workspace =
        make_workspace(kernels::edge_attention_workspace(task), inputs.projected);
    check(kernels::edge_attention_cuda(task, pointer<std::int64_t>(inputs.edge_index),
                                       pointer<std::uint8_t>(workspace),
                                       current_stream(inputs.projected)));
  });
  return {gathered, new_edge, sums};
}

/// Without gaps, or undefined where there is none.
Tensor given_gradient(const OptionalTensor &gradient) {
  return gradient.has_value() && gradient->defined() ? gradient->contiguous() : Tensor();
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> edge_attention_backward_cuda(
    const OptionalTensor &gathered, const OptionalTensor &new_edge, const OptionalTensor &moments,
    const Tensor &projected, const Tensor &edge, const Tensor &edge_weight, const Tensor &attention,
    const OptionalTensor &output_weight, const OptionalTensor &output_bias,
    const Tensor &edge_index, double negative_slope, bool skip, bool /*wants_output*/) {
  const EdgeAttentionInputs inputs =
      checked({projected, edge, edge_weight, attention, output_weight.value_or(Tensor()),
               output_bias.value_or(Tensor()), edge_index, negative_slope, skip});
  const c10::DeviceGuard guard(inputs.projected.device());
  const std::int64_t atoms = inputs.projected.size(0);
  const Tensor center = inputs.edge_index[0];
  const Tensor neighbor = inputs.edge_index[1];
  const Tensor first = first_edges(center, neighbor, atoms);
  const Tensor by_neighbor = at::argsort(neighbor, /*stable=*/true, /*dim=*/0);
  const Tensor first_by_neighbor = first_edges(neighbor.index_select(0, by_neighbor),
                                               center.index_select(0, by_neighbor), atoms);
  const Tensor of_gathered = given_gradient(gathered);
  const Tensor of_new_edge = given_gradient(new_edge);
  const Tensor of_moments = given_gradient(moments);
  const auto empty_like = [](const Tensor &tensor) {
    return tensor.defined() ? torch::empty_like(tensor) : Tensor();
  };
  const std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> results = {
      empty_like(inputs.projected),     empty_like(inputs.edge),
      empty_like(inputs.edge_weight),   empty_like(inputs.attention),
      empty_like(inputs.output_weight), empty_like(inputs.output_bias)};
  AT_DISPATCH_FLOATING_TYPES(inputs.projected.scalar_type(), "edge_attention_backward", [&] {
    const auto task = make_task<scalar_t>(inputs, first);
    const kernels::EdgeAttentionGradient<scalar_t> gradient{
        pointer<scalar_t>(of_gathered),          pointer<scalar_t>(of_new_edge),
        pointer<scalar_t>(of_moments),           pointer<scalar_t>(std::get<0>(results)),
        pointer<scalar_t>(std::get<1>(results)), pointer<scalar_t>(std::get<2>(results)),
        pointer<scalar_t>(std::get<3>(results)), pointer<scalar_t>(std::get<4>(results)),
        pointer<scalar_t>(std::get<5>(results))};
    const Tensor workspace =
        make_workspace(kernels::edge_attention_gradient_workspace(task), inputs.projected);
    check(kernels::edge_attention_gradient_cuda(
        task, gradient, pointer<std::int64_t>(inputs.edge_index),
        {first_by_neighbor.data_ptr<std::int64_t>(), pointer<std::int64_t>(by_neighbor)},
        pointer<std::uint8_t>(workspace), current_stream(inputs.projected)));
  });
  return results;
}

/// All gradients, of which these two are kept: simple, and no faster than it has to be.
std::tuple<Tensor, Tensor> edge_attention_output_backward_cuda(
    const Tensor &new_edge, const Tensor &projected, const Tensor &edge, const Tensor &edge_weight,
    const Tensor &attention, const Tensor &edge_index, double negative_slope) {
  const Tensor output_weight = torch::zeros({attention.numel(), edge.size(1)}, edge.options());
  const Tensor output_bias = torch::zeros({edge.size(1)}, edge.options());
  const auto gradients = edge_attention_backward_cuda(
      std::nullopt, new_edge, std::nullopt, projected, edge, edge_weight, attention, output_weight,
      output_bias, edge_index, negative_slope, false, true);
  return {std::get<4>(gradients), std::get<5>(gradients)};
}

Tensor edge_embedding_cuda(const Tensor &input, const Tensor &first_weight,
                           const Tensor &first_bias, const Tensor &second_weight,
                           const Tensor &second_bias, bool average) {
  const EdgeEmbeddingInputs inputs = checked(
      {input, first_weight, first_bias, second_weight, second_bias, second_bias.size(-1), average});
  TORCH_CHECK(!inputs.own_second(),
              "on the GPU, transformations share second_weight [width, width]");
  const c10::DeviceGuard guard(input.device());
  const Tensor result = torch::empty({inputs.edges(), average ? inputs.width : inputs.channels()},
                                     inputs.input.options());
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "edge_embedding", [&] {
    auto task = make_task<scalar_t>(inputs);
    task.result = pointer<scalar_t>(result);
    check(kernels::edge_embedding_cuda(task, current_stream(input)));
  });
  return result;
}

Tensor drag_energies_cuda(const Tensor &given_species, const Tensor &given_index,
                          const Tensor &given_vector, const DragEnergiesInputs &given) {
  const Tensor species = given_species.contiguous(), edge_index = given_index.contiguous();
  const Tensor edge_vector = given_vector.contiguous();
  const std::int64_t edges = edge_vector.size(0);
  TORCH_CHECK(edges > 0, "a graph needs at least one edge");
  TORCH_CHECK(edge_index.sizes() == at::IntArrayRef({2, edges}) &&
                  edge_vector.sizes() == at::IntArrayRef({edges, 3}) && species.dim() == 1,
              "species is [N], edge_index [2, E] and edge_vector [E, 3]");
  TORCH_CHECK(
      species.device() == edge_vector.device() && edge_index.device() == edge_vector.device(),
      "drag_energies needs species, edge_index and edge_vector on one device");
  const c10::DeviceGuard guard(edge_vector.device());
  void *const stream = current_stream(edge_vector);
  const DragEnergiesInputs inputs = given.with(edge_vector.options());
  const Tensor first = first_edges(edge_index[0], edge_index[1], species.numel());
  TORCH_CHECK(((species >= 0) & (species < inputs.elements())).all().item<bool>(),
              "species must be from 0 to the number of elements minus 1");
  const std::int64_t first_center = edge_index[0][0].item<std::int64_t>();
  const std::int64_t rows = edge_index[0][-1].item<std::int64_t>() - first_center + 1;
  Tensor result = torch::empty({rows, inputs.columns()}, edge_vector.options());
  AT_DISPATCH_FLOATING_TYPES(edge_vector.scalar_type(), "drag_energies", [&] {
    auto task = make_task<scalar_t>(inputs);
    task.species = species.data_ptr<std::int64_t>();
    task.first = first.data_ptr<std::int64_t>();
    task.neighbor = edge_index[1].data_ptr<std::int64_t>();
    task.edge_vector = edge_vector.data_ptr<scalar_t>();
    task.edge_stride = 3;
    task.most = first.diff().max().item<std::int64_t>();
    task.first_center = first_center;
    task.result = result.data_ptr<scalar_t>();
    const Tensor counts = torch::empty({rows, 2}, edge_index.options().dtype(torch::kInt32));
    check(kernels::count_dragged_cuda(
        task, rows, reinterpret_cast<kernels::DragCounts *>(counts.data_ptr<std::int32_t>()),
        stream));
    const Tensor largest = counts.amax(0).cpu();
    const kernels::DragCounts most{largest[0].item<std::int32_t>(),
                                   largest[1].item<std::int32_t>()};
    if (!kernels::drag_energies_fit_cuda(task, most)) {
      result = drag_energies_elsewhere(species, edge_index, edge_vector, given);
      return;
    }
    const Tensor workspace =
        make_workspace(kernels::drag_energies_workspace(rows, most), edge_vector);
    check(kernels::drag_energies_cuda(task, rows, most, pointer<std::uint8_t>(workspace), stream));
  });
  return result;
}

}  // namespace

void register_cuda_operators(torch::Library &library) {
  library.impl("drag_energies",
               torch::dispatch(c10::DispatchKey::CUDA, &drag_energies<drag_energies_cuda>));
  library.impl("edge_embedding", torch::dispatch(c10::DispatchKey::CUDA, &edge_embedding_cuda));
  library.impl("edge_attention", torch::dispatch(c10::DispatchKey::CUDA, &edge_attention_cuda));
  library.impl("edge_attention_backward",
               torch::dispatch(c10::DispatchKey::CUDA, &edge_attention_backward_cuda));
  library.impl("edge_attention_output_backward",
               torch::dispatch(c10::DispatchKey::CUDA, &edge_attention_output_backward_cuda));
}

}  // namespace symgnn
