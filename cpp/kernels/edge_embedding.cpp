#include "edge_embedding.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>
#include <torch/types.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "capability.h"
#include "edge_embedding_inputs.h"
#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <typename scalar>
struct Functions {
  using Task = kernels::EdgeEmbedding<scalar>;
  void (*embed)(const Task &, std::int64_t, std::int64_t, scalar *);
  void (*embed_gradient)(const Task &, const kernels::EdgeEmbeddingGradient<scalar> &, std::int64_t,
                         std::int64_t, scalar *);
  void (*moments)(const Task &, const kernels::HiddenMoments<scalar> &, std::int64_t, std::int64_t,
                  scalar *);
  void (*moments_gradient)(const Task &, const kernels::HiddenMomentsGradient<scalar> &,
                           std::int64_t, std::int64_t, scalar *);
};

/// Those for the instruction set of this processor.
template <typename scalar>
Functions<scalar> functions() {
  switch (kernels::capability()) {
#ifdef SYMGNN_X86_CAPABILITIES
    case kernels::Capability::avx512:
      return {kernels::avx512::embed_edges, kernels::avx512::embed_edges_gradient,
              kernels::avx512::hidden_moments, kernels::avx512::hidden_moments_gradient};
    case kernels::Capability::avx2:
      return {kernels::avx2::embed_edges, kernels::avx2::embed_edges_gradient,
              kernels::avx2::hidden_moments, kernels::avx2::hidden_moments_gradient};
#endif
    default:
      return {kernels::baseline::embed_edges, kernels::baseline::embed_edges_gradient,
              kernels::baseline::hidden_moments, kernels::baseline::hidden_moments_gradient};
  }
}

/// Parts of the edges whose sums are kept apart: fixed by their number alone, so that the sums do
/// not depend on the number of threads.
class Parts {
 public:
  explicit Parts(std::int64_t edges)
      : edges_(edges), count_(std::min<std::int64_t>(64, (edges + 1023) / 1024)) {}

  /// Zeros [parts, *sizes of `tensor`].
  Tensor zeros_like(const Tensor &tensor) const {
    std::vector<std::int64_t> sizes = tensor.sizes().vec();
    sizes.insert(sizes.begin(), count_);
    return torch::zeros(sizes, tensor.options());
  }

  /// Calls work(part, begin, end, workspace) on several threads.
  template <typename scalar, typename Work>
  void for_each(const kernels::EdgeEmbedding<scalar> &task, const Work &work) const {
    at::parallel_for(0, count_, 1, [&](std::int64_t first, std::int64_t last) {
      std::vector<scalar> workspace(kernels::workspace_size(task));
      for (std::int64_t part = first; part < last; ++part) {
        work(part, edges_ * part / count_, edges_ * (part + 1) / count_, workspace.data());
      }
    });
  }

 private:
  std::int64_t edges_, count_;
};

/// Where the sums of a part lie.
template <typename scalar>
scalar *of_part(const Tensor &sums, std::int64_t part) {
  return sums.data_ptr<scalar>() + part * sums.stride(0);
}

Tensor edge_embedding(const Tensor &input, const Tensor &first_weight, const Tensor &first_bias,
                      const Tensor &second_weight, const Tensor &second_bias, bool average) {
  const EdgeEmbeddingInputs inputs = checked(
      {input, first_weight, first_bias, second_weight, second_bias, second_bias.size(-1), average});
  const Tensor result = torch::empty({inputs.edges(), average ? inputs.width : inputs.channels()},
                                     inputs.input.options());
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "edge_embedding", [&] {
    auto task = make_task<scalar_t>(inputs);
    task.result = result.data_ptr<scalar_t>();
    at::parallel_for(0, task.edges, 64 * kernels::kEmbeddingEdges,
                     [&](std::int64_t begin, std::int64_t end) {
                       std::vector<scalar_t> workspace(kernels::workspace_size(task));
                       functions<scalar_t>().embed(task, begin, end, workspace.data());
                     });
  });
  return result;
}

using EmbeddingGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

EmbeddingGradients edge_embedding_backward(const Tensor &given, const Tensor &input,
                                           const Tensor &first_weight, const Tensor &first_bias,
                                           const Tensor &second_weight, const Tensor &second_bias,
                                           bool average, bool wants_input) {
  const EdgeEmbeddingInputs inputs = checked(
      {input, first_weight, first_bias, second_weight, second_bias, second_bias.size(-1), average});
  const Tensor of_result = given.contiguous();
  const Tensor transposed = inputs.second_weight.transpose(-2, -1).contiguous();
  const Tensor of_input = wants_input ? torch::empty_like(inputs.input) : Tensor();
  const Parts parts(inputs.edges());
  const Tensor of_first_weight = parts.zeros_like(inputs.first_weight);
  const Tensor of_first_bias = parts.zeros_like(inputs.first_bias);
  const std::int64_t width = inputs.width;
  const auto options = inputs.input.options();
  const Tensor of_second_weight =
      parts.zeros_like(torch::empty({inputs.transformations(), width, width}, options));
  const Tensor of_second_bias =
      parts.zeros_like(torch::empty({inputs.transformations(), width}, options));
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "edge_embedding_backward", [&] {
    const auto task = make_task<scalar_t>(inputs);
    parts.for_each(
        task, [&](std::int64_t part, std::int64_t begin, std::int64_t end, scalar_t *workspace) {
          const kernels::EdgeEmbeddingGradient<scalar_t> gradient{
              of_result.data_ptr<scalar_t>(),
              transposed.data_ptr<scalar_t>(),
              wants_input ? of_input.data_ptr<scalar_t>() : nullptr,
              of_part<scalar_t>(of_first_weight, part),
              of_part<scalar_t>(of_first_bias, part),
              of_part<scalar_t>(of_second_weight, part),
              of_part<scalar_t>(of_second_bias, part)};
          functions<scalar_t>().embed_gradient(task, gradient, begin, end, workspace);
        });
  });
  const auto over_parts = [&](const Tensor &sums, const Tensor &like) {
    const Tensor sum = sums.sum(0);
    return (inputs.own_second() ? sum : sum.sum(0)).view_as(like);
  };
  return {of_input, of_first_weight.sum(0), of_first_bias.sum(0).view_as(first_bias),
          over_parts(of_second_weight, second_weight), over_parts(of_second_bias, second_bias)};
}

std::tuple<Tensor, Tensor> hidden_moments(const Tensor &input, const Tensor &first_weight,
                                          const Tensor &first_bias, std::int64_t width) {
  const EdgeEmbeddingInputs inputs =
      checked({input, first_weight, first_bias, Tensor(), Tensor(), width, false});
  const auto options = inputs.input.options();
  const Parts parts(inputs.edges());
  const Tensor sums = parts.zeros_like(torch::empty({inputs.transformations(), width}, options));
  const Tensor products =
      parts.zeros_like(torch::empty({inputs.transformations(), width, width}, options));
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "hidden_moments", [&] {
    const auto task = make_task<scalar_t>(inputs);
    parts.for_each(
        task, [&](std::int64_t part, std::int64_t begin, std::int64_t end, scalar_t *workspace) {
          functions<scalar_t>().moments(
              task, {of_part<scalar_t>(sums, part), of_part<scalar_t>(products, part)}, begin, end,
              workspace);
        });
  });
  return {sums.sum(0), products.sum(0)};
}

std::tuple<Tensor, Tensor, Tensor> hidden_moments_backward(
    const Tensor &given_sums, const Tensor &given_products, const Tensor &input,
    const Tensor &first_weight, const Tensor &first_bias, std::int64_t width, bool wants_input) {
  const EdgeEmbeddingInputs inputs =
      checked({input, first_weight, first_bias, Tensor(), Tensor(), width, false});
  const Tensor of_sums = given_sums.contiguous();
  const Tensor of_products = (given_products + given_products.transpose(1, 2)).contiguous();
  const Tensor of_input = wants_input ? torch::empty_like(inputs.input) : Tensor();
  const Parts parts(inputs.edges());
  const Tensor of_first_weight = parts.zeros_like(inputs.first_weight);
  const Tensor of_first_bias = parts.zeros_like(inputs.first_bias);
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "hidden_moments_backward", [&] {
    const auto task = make_task<scalar_t>(inputs);
    parts.for_each(
        task, [&](std::int64_t part, std::int64_t begin, std::int64_t end, scalar_t *workspace) {
          const kernels::HiddenMomentsGradient<scalar_t> gradient{
              of_sums.data_ptr<scalar_t>(), of_products.data_ptr<scalar_t>(),
              wants_input ? of_input.data_ptr<scalar_t>() : nullptr,
              of_part<scalar_t>(of_first_weight, part), of_part<scalar_t>(of_first_bias, part)};
          functions<scalar_t>().moments_gradient(task, gradient, begin, end, workspace);
        });
  });
  return {of_input, of_first_weight.sum(0), of_first_bias.sum(0).view_as(first_bias)};
}

/// The operator of this name, for the device of its arguments.
template <typename Function>
auto operation(const char *name, Function *) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Function>();
}

class EdgeEmbeddingFunction : public torch::autograd::Function<EdgeEmbeddingFunction> {
 public:
  static Tensor forward(AutogradContext *context, const Tensor &input, const Tensor &first_weight,
                        const Tensor &first_bias, const Tensor &second_weight,
                        const Tensor &second_bias, bool average) {
    context->save_for_backward({input, first_weight, first_bias, second_weight, second_bias});
    context->saved_data["average"] = average;
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    static const auto embed = operation("symgnn::edge_embedding", edge_embedding);
    return embed.call(input, first_weight, first_bias, second_weight, second_bias, average);
  }

  static variable_list backward(AutogradContext *context, const variable_list &given) {
    const auto saved = context->get_saved_variables();
    static const auto back = operation("symgnn::edge_embedding_backward", edge_embedding_backward);
    const auto [input, first_weight, first_bias, second_weight, second_bias] =
        back.call(given[0], saved[0], saved[1], saved[2], saved[3], saved[4],
                  context->saved_data["average"].toBool(), context->needs_input_grad(0));
    return {input, first_weight, first_bias, second_weight, second_bias, Tensor()};
  }
};

class HiddenMomentsFunction : public torch::autograd::Function<HiddenMomentsFunction> {
 public:
  static variable_list forward(AutogradContext *context, const Tensor &input,
                               const Tensor &first_weight, const Tensor &first_bias,
                               std::int64_t width) {
    context->save_for_backward({input, first_weight, first_bias});
    context->saved_data["width"] = width;
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    static const auto moments = operation("symgnn::hidden_moments", hidden_moments);
    const auto [sums, products] = moments.call(input, first_weight, first_bias, width);
    return {sums, products};
  }

  static variable_list backward(AutogradContext *context, const variable_list &given) {
    const auto saved = context->get_saved_variables();
    static const auto back = operation("symgnn::hidden_moments_backward", hidden_moments_backward);
    const auto [input, first_weight, first_bias] =
        back.call(given[0], given[1], saved[0], saved[1], saved[2],
                  context->saved_data["width"].toInt(), context->needs_input_grad(0));
    return {input, first_weight, first_bias, Tensor()};
  }
};

Tensor edge_embedding_autograd(const Tensor &input, const Tensor &first_weight,
                               const Tensor &first_bias, const Tensor &second_weight,
                               const Tensor &second_bias, bool average) {
  return EdgeEmbeddingFunction::apply(input, first_weight, first_bias, second_weight, second_bias,
                                      average);
}

std::tuple<Tensor, Tensor> hidden_moments_autograd(const Tensor &input, const Tensor &first_weight,
                                                   const Tensor &first_bias, std::int64_t width) {
  const auto results = HiddenMomentsFunction::apply(input, first_weight, first_bias, width);
  return {results[0], results[1]};
}

}  // namespace

void register_edge_embedding(torch::Library &library) {
  using c10::DispatchKey;
  using torch::dispatch;
  library.def(
      "edge_embedding(Tensor input, Tensor first_weight, Tensor first_bias, "
      "Tensor second_weight, Tensor second_bias, bool average) -> Tensor");
  library.def(
      "edge_embedding_backward(Tensor result, Tensor input, Tensor first_weight, "
      "Tensor first_bias, Tensor second_weight, Tensor second_bias, bool average, "
      "bool wants_input) -> (Tensor input, Tensor first_weight, Tensor first_bias, "
      "Tensor second_weight, Tensor second_bias)");
  library.def(
      "hidden_moments(Tensor input, Tensor first_weight, Tensor first_bias, int width) -> "
      "(Tensor sums, Tensor products)");
  library.def(
      "hidden_moments_backward(Tensor sums, Tensor products, Tensor input, Tensor first_weight, "
      "Tensor first_bias, int width, bool wants_input) -> (Tensor input, Tensor first_weight, "
      "Tensor first_bias)");
  library.impl("edge_embedding", dispatch(DispatchKey::CPU, &edge_embedding));
  library.impl("edge_embedding", dispatch(DispatchKey::Autograd, &edge_embedding_autograd));
  library.impl("edge_embedding_backward", dispatch(DispatchKey::CPU, &edge_embedding_backward));
  library.impl("hidden_moments", dispatch(DispatchKey::CPU, &hidden_moments));
  library.impl("hidden_moments", dispatch(DispatchKey::Autograd, &hidden_moments_autograd));
  library.impl("hidden_moments_backward", dispatch(DispatchKey::CPU, &hidden_moments_backward));
}

}  // namespace symgnn
