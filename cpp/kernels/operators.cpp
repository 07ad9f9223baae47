#include "operators.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>
#include <torch/types.h>

#include <memory>

namespace symgnn {

namespace {

/// Do the operators run on this tensor's device and dtype? Elsewhere models use plain torch.
bool has_kernel(const torch::Tensor &tensor) {
  const bool is_real =
      tensor.scalar_type() == torch::kFloat32 || tensor.scalar_type() == torch::kFloat64;
  return is_real && tensor.device().is_cpu();
}

}  // namespace

void register_operators() {
  static const std::unique_ptr<torch::Library> library = [] {
    const bool is_known =
        c10::Dispatcher::singleton().findSchema({"symgnn::edge_attention", ""}).has_value();
    if (is_known) {
      return std::unique_ptr<torch::Library>();
    }
    auto made = std::make_unique<torch::Library>(torch::Library::DEF, "symgnn", std::nullopt,
                                                 __FILE__, __LINE__);
    made->def("has_kernel(Tensor tensor) -> bool", &has_kernel);
    register_edge_attention(*made);
    register_edge_embedding(*made);
    return made;
  }();
}

}  // namespace symgnn
