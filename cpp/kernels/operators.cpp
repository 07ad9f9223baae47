#include "operators.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>
#include <torch/types.h>

#include <memory>
#include <string>

namespace symgnn {

namespace {

/// Columns of edges for which the shared memory of a GPU suffices, gradients included.
constexpr std::int64_t kWidestOnCuda = 48;

/// Does the operator take tensors like this one? Elsewhere models run as the plain TorchScript that
/// defines it.
bool has_kernel(const std::string &name, const torch::Tensor &tensor) {
  const torch::Dtype dtype = tensor.scalar_type();
  const auto operation = c10::Dispatcher::singleton().findSchema({"symgnn::" + name, ""});
  const auto key = tensor.is_cuda() ? c10::DispatchKey::CUDA : c10::DispatchKey::CPU;
  return (dtype == torch::kFloat32 || dtype == torch::kFloat64) &&
         (tensor.is_cpu() || (tensor.is_cuda() && tensor.size(-1) <= kWidestOnCuda)) &&
         operation.has_value() && operation->hasKernelForDispatchKey(key);
}

}  // namespace

void register_operators() {
  static const std::unique_ptr<torch::Library> library = [] {
    const bool is_known =
        c10::Dispatcher::singleton().findSchema({"symgnn::has_kernel", ""}).has_value();
    if (is_known) {
      return std::unique_ptr<torch::Library>();
    }
    auto made = std::make_unique<torch::Library>(torch::Library::DEF, "symgnn", std::nullopt,
                                                 __FILE__, __LINE__);
    made->def("has_kernel(str operator, Tensor tensor) -> bool", &has_kernel);
    register_byte_dropout(*made);
    register_drag_energies(*made);
    register_edge_attention(*made);
    register_edge_embedding(*made);
    register_edges_shorter_than(*made);
    register_embedded_atom(*made);
    register_local_densities(*made);
    register_shell_sums(*made);
#ifdef SYMGNN_CUDA
    register_cuda_operators(*made);
#endif
    return made;
  }();
}

}  // namespace symgnn
