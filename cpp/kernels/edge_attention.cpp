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
    "Tensor? output_bias, Tensor edge_index, float negative_slope, bool skip, "
    "bool wants_output) -> (Tensor projected, Tensor edge, Tensor edge_weight, Tensor attention, "
    "Tensor output_weight, "
    "Tensor output_bias)";
constexpr const char *kOutputBackwardSchema =
    "edge_attention_output_backward(Tensor new_edge, Tensor projected, Tensor edge, "
    "Tensor edge_weight, Tensor attention, Tensor edge_index, float negative_slope) -> "
    "(Tensor output_weight, Tensor output_bias)";

template <typename scalar>
struct Functions {
  void (*attend)(const kernels::EdgeAttention<scalar> &, std::int64_t, std::int64_t, scalar *,
                 scalar *);
  void (*gradient)(const kernels::EdgeAttention<scalar> &,
                   const kernels::EdgeAttentionGradient<scalar> &,
                   const kernels::TransposedWeights<scalar> &, std::int64_t, std::int64_t,
                   const kernels::AttentionGroup<scalar> &, const kernels::AttentionSums<scalar> &);
  void (*output_gradient)(const kernels::EdgeAttention<scalar> &, const scalar *, std::int64_t,
                          std::int64_t, scalar *, scalar *, scalar *);
};

/// Those for the instruction set of this processor.
template <typename scalar>
Functions<scalar> functions() {
  switch (kernels::capability()) {
#ifdef SYMGNN_X86_CAPABILITIES
    case kernels::Capability::avx512:
      return {kernels::avx512::edge_attention_centers, kernels::avx512::gradient_of_group,
              kernels::avx512::gradient_of_output};
    case kernels::Capability::avx2:
      return {kernels::avx2::edge_attention_centers, kernels::avx2::gradient_of_group,
              kernels::avx2::gradient_of_output};
#endif
    default:
      return {kernels::baseline::edge_attention_centers, kernels::baseline::gradient_of_group,
              kernels::baseline::gradient_of_output};
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

/// Few enough for the cache.
constexpr std::int64_t kEdgesOfGroup = 128;

/// The edges of a graph in groups that do not divide the edges of a center, shared out to threads.
class Groups {
 public:
  Groups(const Tensor &first, std::int64_t atoms)
      : first_(first.data_ptr<std::int64_t>()),
        ranges_(center_ranges(first_, atoms, kEdgesOfGroup)) {
    for (std::int64_t group = 0; group < count(); ++group) {
      most_ = std::max(most_, first_[ranges_[group + 1]] - first_[ranges_[group]]);
    }
    threads_ = std::max<std::int64_t>(1, std::min<std::int64_t>(at::get_num_threads(), count()));
  }

  std::int64_t threads() const { return threads_; }
  std::int64_t most_edges() const { return most_; }

  /// Calls work(thread) on every thread, and gives it its groups with edges by `of_thread`.
  template <typename Work>
  void on_threads(const Work &work) const {
    at::parallel_for(0, threads_, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t thread = begin; thread < end; ++thread) {
        work(thread);
      }
    });
  }

  /// Calls work(first center, end of centers) for the groups of a thread.
  template <typename Work>
  void of_thread(std::int64_t thread, const Work &work) const {
    for (std::int64_t group = count() * thread / threads_;
         group < count() * (thread + 1) / threads_; ++group) {
      const std::int64_t begin = ranges_[group];
      const std::int64_t end = ranges_[group + 1];
      if (first_[end] > first_[begin]) {
        work(begin, end);
      }
    }
  }

 private:
  std::int64_t count() const { return static_cast<std::int64_t>(ranges_.size()) - 1; }

  const std::int64_t *first_;
  std::vector<std::int64_t> ranges_;
  std::int64_t most_ = 0, threads_;
};

/// A tensor like this one, full of zeros, for each thread: [threads, …].
Tensor zeros_for_threads(const Tensor &tensor, std::int64_t threads) {
  std::vector<std::int64_t> sizes = tensor.sizes().vec();
  sizes.insert(sizes.begin(), threads);
  return torch::zeros(sizes, tensor.options());
}

/// Gradients of the inputs that each thread adds up.
struct Sums {
  Tensor neighbor, edge_weight, attention, output_weight;

  Sums(const EdgeAttentionInputs &inputs, std::int64_t threads, bool wants_output)
      : neighbor(torch::zeros({threads, inputs.projected.size(0), 2 * inputs.attention.numel()},
                              inputs.projected.options())),
        edge_weight(zeros_for_threads(inputs.edge_weight, threads)),
        attention(zeros_for_threads(inputs.attention, threads)),
        output_weight(wants_output ? zeros_for_threads(inputs.output_weight, threads) : Tensor()) {}
};

/// Memory for a group of at most `edges` edges.
template <typename scalar>
class GroupMemory {
 public:
  GroupMemory(const kernels::EdgeAttention<scalar> &task, std::int64_t edges)
      : channels_(task.heads * task.width),
        hidden_((edges + kernels::kBlockEdges) * channels_),
        weight_(2 * edges * task.heads) {}

  kernels::AttentionGroup<scalar> group() {
    return {hidden_.data() + kernels::kBlockEdges * channels_, weight_.data(),
            weight_.data() + weight_.size() / 2, hidden_.data()};
  }

 private:
  std::int64_t channels_;
  std::vector<scalar> hidden_, weight_;
};

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

/// Gradient [rows, columns] of a result, or an undefined tensor where there is none.
Tensor given_gradient(const OptionalTensor &gradient) {
  return gradient.has_value() && gradient->defined() && gradient->numel() > 0
             ? gradient->contiguous()
             : Tensor();
}

Gradients backward(const OptionalTensor &gathered, const OptionalTensor &new_edge,
                   const OptionalTensor &moments, const EdgeAttentionInputs &inputs,
                   bool wants_output) {
  const std::int64_t atoms = inputs.projected.size(0);
  const std::int64_t channels = inputs.attention.numel();
  const Tensor of_gathered = given_gradient(gathered);
  const Tensor of_new_edge = given_gradient(new_edge);
  const Tensor of_moments = given_gradient(moments);
  const Tensor first = first_edges(inputs.edge_index, atoms);
  const Groups groups(first, atoms);
  wants_output = wants_output && inputs.updates_edges();

  Tensor projected = torch::empty_like(inputs.projected);
  projected.narrow(1, 0, channels).zero_();  // groups without edges are left out
  Tensor edge = torch::empty_like(inputs.edge);
  const Tensor edge_weight = inputs.edge_weight.t().contiguous();
  const Tensor output_weight =
      inputs.updates_edges() ? inputs.output_weight.t().contiguous() : Tensor();
  const Sums sums(inputs, groups.threads(), wants_output);
  AT_DISPATCH_FLOATING_TYPES(inputs.projected.scalar_type(), "edge_attention_backward", [&] {
    const auto task = make_task<scalar_t>(inputs, first);
    kernels::EdgeAttentionGradient<scalar_t> gradient{};
    gradient.gathered = pointer<scalar_t>(of_gathered);
    gradient.moments = pointer<scalar_t>(of_moments);
    gradient.projected = pointer<scalar_t>(projected);
    gradient.edge = pointer<scalar_t>(edge);
    gradient.new_edge = pointer<scalar_t>(of_new_edge);
    const kernels::TransposedWeights<scalar_t> weights{pointer<scalar_t>(edge_weight),
                                                       pointer<scalar_t>(output_weight)};
    groups.on_threads([&](std::int64_t thread) {
      GroupMemory<scalar_t> memory(task, groups.most_edges());
      const kernels::AttentionSums<scalar_t> of_thread{
          sums.neighbor[thread].data_ptr<scalar_t>(), sums.edge_weight[thread].data_ptr<scalar_t>(),
          sums.attention[thread].data_ptr<scalar_t>(),
          wants_output ? sums.output_weight[thread].data_ptr<scalar_t>() : nullptr};
      groups.of_thread(thread, [&](std::int64_t begin, std::int64_t end) {
        functions<scalar_t>().gradient(task, gradient, weights, begin, end, memory.group(),
                                       of_thread);
      });
    });
  });
  Tensor as_neighbor = projected.narrow(1, channels, 2 * channels);
  // One after the other: torch's sum over so few rows takes twice as long.
  as_neighbor.copy_(sums.neighbor[0]);
  for (std::int64_t thread = 1; thread < groups.threads(); ++thread) {
    as_neighbor.add_(sums.neighbor[thread]);
  }
  Tensor of_output_weight;
  Tensor of_output_bias;
  if (wants_output) {
    of_output_weight = sums.output_weight.sum(0);
    of_output_bias =
        of_new_edge.defined() ? of_new_edge.sum(0) : torch::zeros_like(inputs.output_bias);
  }
  return {projected,        edge,          sums.edge_weight.sum(0), sums.attention.sum(0),
          of_output_weight, of_output_bias};
}

Gradients edge_attention_backward_cpu(const OptionalTensor &gathered,
                                      const OptionalTensor &new_edge, const OptionalTensor &moments,
                                      const Tensor &projected, const Tensor &edge,
                                      const Tensor &edge_weight, const Tensor &attention,
                                      const OptionalTensor &output_weight,
                                      const OptionalTensor &output_bias, const Tensor &edge_index,
                                      double negative_slope, bool skip, bool wants_output) {
  return backward(
      gathered, new_edge, moments,
      checked({projected, edge, edge_weight, attention, output_weight.value_or(Tensor()),
               output_bias.value_or(Tensor()), edge_index, negative_slope, skip}),
      wants_output);
}

/// Gradients of output_weight and output_bias alone, from that of the new edges. With batch
/// normalization of the hidden channels, those of the moments follow from them, and are needed
/// before anything else goes back.
std::tuple<Tensor, Tensor> edge_attention_output_backward_cpu(
    const Tensor &new_edge, const Tensor &projected, const Tensor &edge, const Tensor &edge_weight,
    const Tensor &attention, const Tensor &edge_index, double negative_slope) {
  const EdgeAttentionInputs inputs = checked({projected, edge, edge_weight, attention, Tensor(),
                                              Tensor(), edge_index, negative_slope, false});
  TORCH_CHECK(new_edge.sizes() == inputs.edge.sizes(), "new_edge is [edges, edge width]");
  const Tensor of_new_edge = new_edge.contiguous();
  const std::int64_t atoms = inputs.projected.size(0);
  const Tensor first = first_edges(inputs.edge_index, atoms);
  const Groups groups(first, atoms);
  const Tensor output_weight = zeros_for_threads(inputs.edge_weight.t(), groups.threads());
  const Tensor output_bias =
      torch::zeros({groups.threads(), inputs.edge.size(1)}, inputs.edge.options());
  AT_DISPATCH_FLOATING_TYPES(inputs.projected.scalar_type(), "edge_attention_output", [&] {
    const auto task = make_task<scalar_t>(inputs, first);
    groups.on_threads([&](std::int64_t thread) {
      std::vector<scalar_t> workspace(kernels::kBlockEdges * task.heads * task.width);
      groups.of_thread(thread, [&](std::int64_t begin, std::int64_t end) {
        functions<scalar_t>().output_gradient(
            task, of_new_edge.data_ptr<scalar_t>(), begin, end, workspace.data(),
            output_weight[thread].data_ptr<scalar_t>(), output_bias[thread].data_ptr<scalar_t>());
      });
    });
  });
  return {output_weight.sum(0), output_bias.sum(0)};
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
                       context->saved_data["skip"].toBool(), /*wants_output=*/true);
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
  library.def(kOutputBackwardSchema);
  library.impl("edge_attention", torch::dispatch(c10::DispatchKey::CPU, &edge_attention_cpu));
  library.impl("edge_attention",
               torch::dispatch(c10::DispatchKey::Autograd, &edge_attention_autograd));
  library.impl("edge_attention_backward",
               torch::dispatch(c10::DispatchKey::CPU, &edge_attention_backward_cpu));
  library.impl("edge_attention_output_backward",
               torch::dispatch(c10::DispatchKey::CPU, &edge_attention_output_backward_cpu));
}

}  // namespace symgnn
