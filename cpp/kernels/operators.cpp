#include "operators.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>
#include <torch/types.h>

#include <memory>

namespace symgnn {

namespace {

/// Whether the operators take tensors like this one: models that are given others run as the plain
/// TorchScript that defines them.
bool has_kernel(const torch::Tensor &tensor) {
  const torch::Dtype dtype = tensor.scalar_type();
#ifdef SYMGNN_CUDA
  const bool is_supported = tensor.is_cpu() || tensor.is_cuda();
#else
  const bool is_supported = tensor.is_cpu();
#endif
  return is_supported && (dtype == torch::kFloat32 || dtype == torch::kFloat64);
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
    made->def("has_kernel(Tensor tensor) -> bool", &has_kernel);
    register_edge_attention(*made);
    register_local_densities(*made);
    register_shell_sums(*made);
    return made;
  }();
}

}  // namespace symgnn
