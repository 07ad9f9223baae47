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
#include "edge_attention_inputs.h"
#include "graph.h"
#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;
using OptionalTensor = std::optional<Tensor>;
using Results = std::tuple<Tensor, Tensor, Tensor>;

constexpr const char *kName = "symgnn::edge_attention";
constexpr const char *kSchema =
    "edge_attention(Tensor projected, Tensor edge, Tensor edge_weight, Tensor attention, "
    "Tensor? output_weight, Tensor? output_bias, Tensor edge_index, float negative_slope, "
    "bool skip, bool gather, bool moments) -> (Tensor gathered, Tensor new_edge, Tensor moments)";
constexpr const char *kBackwardName = "symgnn::edge_attention_backward";
constexpr const char *kBackwardSchema =
    "edge_attention_backward(Tensor? gathered, Tensor? new_edge, Tensor? moments, "
    "Tensor projected, Tensor edge, Tensor edge_weight, Tensor attention, Tensor? output_weight, "
    "Tensor? output_bias, Tensor edge_index, float negative_slope, bool skip) -> "
    "(Tensor projected, Tensor edge, Tensor edge_weight, Tensor attention, Tensor output_weight, "
    "Tensor output_bias)";

template <typename scalar>
struct Functions {
  void (*attend)(const kernels::EdgeAttention<scalar> &, std::int64_t, std::int64_t, scalar *,
                 scalar *);
  void (*recompute)(const kernels::EdgeAttention<scalar> &, std::int64_t, std::int64_t,
                    const kernels::AttentionGroup<scalar> &);
  void (*gradient)(const kernels::EdgeAttention<scalar> &,
                   const kernels::EdgeAttentionGradient<scalar> &, std::int64_t, std::int64_t,
                   const kernels::AttentionGroup<scalar> &, scalar *, scalar *);
};

/// Those for the instruction set of this processor.
template <typename scalar>
Functions<scalar> functions() {
  switch (kernels::capability()) {
#ifdef SYMGNN_X86_CAPABILITIES
    case kernels::Capability::avx512:
      return {kernels::avx512::edge_attention_centers, kernels::avx512::recompute_group,
              kernels::avx512::gradient_of_group};
    case kernels::Capability::avx2:
      return {kernels::avx2::edge_attention_centers, kernels::avx2::recompute_group,
              kernels::avx2::gradient_of_group};
#endif
    default:
      return {kernels::baseline::edge_attention_centers, kernels::baseline::recompute_group,
              kernels::baseline::gradient_of_group};
  }
}

Results forward(const EdgeAttentionInputs &inputs, bool gather, bool moments) {
  const auto options = inputs.projected.options();
  const std::int64_t atoms = inputs.projected.size(0);
  const std::int64_t channels = inputs.attention.numel();
  const Tensor first = first_edges(inputs.edge_index, atoms);
  const std::vector<std::int64_t> ranges =
      center_ranges(first.data_ptr<std::int64_t>(), atoms, kEdgesOfRange);
  const auto count = static_cast<std::int64_t>(ranges.size()) - 1;

  const Tensor gathered = torch::empty({gather ? atoms : 0, channels}, options);
  const Tensor new_edge = inputs.updates_edges() ? torch::empty_like(inputs.edge)
                                                 : torch::empty({0, inputs.edge.size(1)}, options);
  const Tensor partial = torch::zeros({moments ? count : 0, 2, channels}, options);
  AT_DISPATCH_FLOATING_TYPES(inputs.projected.scalar_type(), "edge_attention", [&] {
    kernels::EdgeAttention<scalar_t> task = make_task<scalar_t>(inputs, first);
    task.gathered = pointer<scalar_t>(gathered);
    task.new_edge = pointer<scalar_t>(new_edge);
    const auto attend = functions<scalar_t>().attend;
    const std::int64_t workspace = kernels::workspace_size(task, most_edges(task.first, atoms));
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      std::vector<scalar_t> scratch(workspace);
      for (std::int64_t range = begin; range < end; ++range) {
        scalar_t *sums = moments ? partial.data_ptr<scalar_t>() + 2 * channels * range : nullptr;
        attend(task, ranges[range], ranges[range + 1], scratch.data(), sums);
      }
    });
  });
  return {gathered, new_edge, moments ? partial.sum(0) : torch::empty({0}, options)};
}

Results edge_attention_cpu(const Tensor &projected, const Tensor &edge, const Tensor &edge_weight,
                           const Tensor &attention, const OptionalTensor &output_weight,
                           const OptionalTensor &output_bias, const Tensor &edge_index,
                           double negative_slope, bool skip, bool gather, bool moments) {
  return forward(checked({projected, edge, edge_weight, attention, output_weight.value_or(Tensor()),
                          output_bias.value_or(Tensor()), edge_index, negative_slope, skip}),
                 gather, moments);
}

/// Few enough for the cache, many enough for matrix products.
constexpr std::int64_t kEdgesOfGroup = 512;

/// Gradients of the inputs that one thread adds up.
struct Sums {
  Tensor neighbor, edge_weight, attention, output_weight;

  Sums(const EdgeAttentionInputs &inputs, std::int64_t threads)
      : neighbor(torch::zeros({threads, inputs.projected.size(0), 2 * inputs.attention.numel()},
                              inputs.projected.options())),
        edge_weight(zeros_like(inputs.edge_weight, threads)),
        attention(zeros_like(inputs.attention, threads)),
        output_weight(inputs.updates_edges() ? zeros_like(inputs.output_weight, threads)
                                             : Tensor()) {}

  static Tensor zeros_like(const Tensor &tensor, std::int64_t threads) {
    std::vector<std::int64_t> sizes = tensor.sizes().vec();
    sizes.insert(sizes.begin(), threads);
    return torch::zeros(sizes, tensor.options());
  }
};

/// Hidden channels and scores of a group of edges, and their gradients.
template <typename scalar>
class GroupMemory {
 public:
  GroupMemory(const EdgeAttentionInputs &inputs, std::int64_t edges)
      : hidden_(torch::empty({edges, inputs.attention.numel()}, inputs.projected.options())),
        hidden_gradient_(torch::empty_like(hidden_)),
        weight_(torch::empty({edges * inputs.attention.size(0)}, inputs.projected.options())),
        score_gradient_(torch::empty_like(weight_)) {}

  Tensor hidden(std::int64_t edges) const { return hidden_.narrow(0, 0, edges); }
  Tensor hidden_gradient(std::int64_t edges) const { return hidden_gradient_.narrow(0, 0, edges); }
  kernels::AttentionGroup<scalar> group() const {
    return {hidden_.data_ptr<scalar>(), hidden_gradient_.data_ptr<scalar>(),
            weight_.data_ptr<scalar>(), score_gradient_.data_ptr<scalar>()};
  }

 private:
  Tensor hidden_, hidden_gradient_, weight_, score_gradient_;
};

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

/// Gradient [rows, columns] of a result, or an undefined tensor where there is none.
Tensor given_gradient(const OptionalTensor &gradient) {
  return gradient.has_value() && gradient->defined() && gradient->numel() > 0
             ? gradient->contiguous()
             : Tensor();
}

Gradients backward(const OptionalTensor &gathered, const OptionalTensor &new_edge,
                   const OptionalTensor &moments, const EdgeAttentionInputs &inputs) {
  const std::int64_t atoms = inputs.projected.size(0);
  const std::int64_t channels = inputs.attention.numel();
  const Tensor of_gathered = given_gradient(gathered);
  const Tensor of_new_edge = given_gradient(new_edge);
  const Tensor of_moments = given_gradient(moments);
  const Tensor first = first_edges(inputs.edge_index, atoms);
  const std::int64_t *first_edge = first.data_ptr<std::int64_t>();
  const std::vector<std::int64_t> ranges = center_ranges(first_edge, atoms, kEdgesOfGroup);
  const auto count = static_cast<std::int64_t>(ranges.size()) - 1;
  const std::int64_t threads =
      std::max(std::int64_t{1}, std::min<std::int64_t>(at::get_num_threads(), count));

  Tensor projected = torch::zeros_like(inputs.projected);
  Tensor edge = torch::empty_like(inputs.edge);
  const Sums sums(inputs, threads);
  AT_DISPATCH_FLOATING_TYPES(inputs.projected.scalar_type(), "edge_attention_backward", [&] {
    const auto task = make_task<scalar_t>(inputs, first);
    kernels::EdgeAttentionGradient<scalar_t> gradient{};
    gradient.gathered = pointer<scalar_t>(of_gathered);
    gradient.moments = pointer<scalar_t>(of_moments);
    gradient.projected = pointer<scalar_t>(projected);
    std::int64_t most = 0;
    for (std::int64_t range = 0; range < count; ++range) {
      most = std::max(most, first_edge[ranges[range + 1]] - first_edge[ranges[range]]);
    }
    at::parallel_for(0, threads, 1, [&](std::int64_t begin_thread, std::int64_t end_thread) {
      const at::AutoDispatchBelowADInplaceOrView without_autograd;
      const GroupMemory<scalar_t> memory(inputs, most);
      for (std::int64_t thread = begin_thread; thread < end_thread; ++thread) {
        Tensor edge_weight = sums.edge_weight[thread];
        Tensor output_weight = sums.output_weight.defined() ? sums.output_weight[thread] : Tensor();
        for (std::int64_t range = count * thread / threads; range < count * (thread + 1) / threads;
             ++range) {
          const std::int64_t begin = ranges[range];
          const std::int64_t end = ranges[range + 1];
          const std::int64_t start = first_edge[begin];
          const std::int64_t edges = first_edge[end] - start;
          if (edges == 0) {
            continue;
          }
          const Tensor hidden = memory.hidden(edges);
          Tensor hidden_gradient = memory.hidden_gradient(edges);
          functions<scalar_t>().recompute(task, begin, end, memory.group());
          if (of_new_edge.defined()) {
            const Tensor given = of_new_edge.narrow(0, start, edges);
            torch::mm_out(hidden_gradient, given, inputs.output_weight.t());
            output_weight.addmm_(hidden.t(), given);
          } else {
            hidden_gradient.zero_();
          }
          functions<scalar_t>().gradient(task, gradient, begin, end, memory.group(),
                                         sums.neighbor[thread].data_ptr<scalar_t>(),
                                         sums.attention[thread].data_ptr<scalar_t>());
          Tensor edge_part = edge.narrow(0, start, edges);
          torch::mm_out(edge_part, hidden_gradient, inputs.edge_weight.t());
          edge_weight.addmm_(inputs.edge.narrow(0, start, edges).t(), hidden_gradient);
        }
      }
    });
  });
  projected.narrow(1, channels, 2 * channels).copy_(sums.neighbor.sum(0));
  Tensor output_weight;
  Tensor output_bias;
  if (inputs.updates_edges()) {
    output_weight = sums.output_weight.sum(0);
    output_bias = torch::zeros_like(inputs.output_bias);
  }
  if (of_new_edge.defined()) {
    output_bias = of_new_edge.sum(0);
    if (inputs.skip) {
      edge += of_new_edge;
    }
  }
  return {projected,     edge,       sums.edge_weight.sum(0), sums.attention.sum(0),
          output_weight, output_bias};
}

Gradients edge_attention_backward_cpu(const OptionalTensor &gathered,
                                      const OptionalTensor &new_edge, const OptionalTensor &moments,
                                      const Tensor &projected, const Tensor &edge,
                                      const Tensor &edge_weight, const Tensor &attention,
                                      const OptionalTensor &output_weight,
                                      const OptionalTensor &output_bias, const Tensor &edge_index,
                                      double negative_slope, bool skip) {
  return backward(
      gathered, new_edge, moments,
      checked({projected, edge, edge_weight, attention, output_weight.value_or(Tensor()),
               output_bias.value_or(Tensor()), edge_index, negative_slope, skip}));
}

/// The operator with its gradient, for whichever device has both.
class EdgeAttentionFunction : public torch::autograd::Function<EdgeAttentionFunction> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext *context,
                                                const Tensor &projected, const Tensor &edge,
                                                const Tensor &edge_weight, const Tensor &attention,
                                                const OptionalTensor &output_weight,
                                                const OptionalTensor &output_bias,
                                                const Tensor &edge_index, double negative_slope,
                                                bool skip, bool gather, bool moments) {
    context->set_materialize_grads(false);
    context->save_for_backward({projected, edge, edge_weight, attention,
                                output_weight.value_or(Tensor()), output_bias.value_or(Tensor()),
                                edge_index});
    context->saved_data["negative_slope"] = negative_slope;
    context->saved_data["skip"] = skip;
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    static const auto operation = c10::Dispatcher::singleton()
                                      .findSchemaOrThrow(kName, "")
                                      .typed<decltype(edge_attention_cpu)>();
    const auto [gathered, new_edge, sums] =
        operation.call(projected, edge, edge_weight, attention, output_weight, output_bias,
                       edge_index, negative_slope, skip, gather, moments);
    return {gathered, new_edge, sums};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 const torch::autograd::variable_list &given) {
    const auto saved = context->get_saved_variables();
    const auto optional = [](const Tensor &tensor) {
      return tensor.defined() ? OptionalTensor(tensor) : std::nullopt;
    };
    static const auto operation = c10::Dispatcher::singleton()
                                      .findSchemaOrThrow(kBackwardName, "")
                                      .typed<decltype(edge_attention_backward_cpu)>();
    const auto [projected, edge, edge_weight, attention, output_weight, output_bias] =
        operation.call(optional(given[0]), optional(given[1]), optional(given[2]), saved[0],
                       saved[1], saved[2], saved[3], optional(saved[4]), optional(saved[5]),
                       saved[6], context->saved_data["negative_slope"].toDouble(),
                       context->saved_data["skip"].toBool());
    const Tensor none;
    return {projected, edge, edge_weight, attention, output_weight, output_bias,
            none,      none, none,        none,      none};
  }
};

Results edge_attention_autograd(const Tensor &projected, const Tensor &edge,
                                const Tensor &edge_weight, const Tensor &attention,
                                const OptionalTensor &output_weight,
                                const OptionalTensor &output_bias, const Tensor &edge_index,
                                double negative_slope, bool skip, bool gather, bool moments) {
  const auto results =
      EdgeAttentionFunction::apply(projected, edge, edge_weight, attention, output_weight,
                                   output_bias, edge_index, negative_slope, skip, gather, moments);
  return {results[0], results[1], results[2]};
}

}  // namespace

void register_edge_attention(torch::Library &library) {
  library.def(kSchema);
  library.def(kBackwardSchema);
  library.impl("edge_attention", torch::dispatch(c10::DispatchKey::CPU, &edge_attention_cpu));
  library.impl("edge_attention",
               torch::dispatch(c10::DispatchKey::Autograd, &edge_attention_autograd));
  library.impl("edge_attention_backward",
               torch::dispatch(c10::DispatchKey::CPU, &edge_attention_backward_cpu));
}

}  // namespace symgnn
