#include "operators.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <memory>

namespace symgnn {

void register_operators() {
  static const std::unique_ptr<torch::Library> library = [] {
    const bool is_known =
        c10::Dispatcher::singleton().findSchema({"symgnn::edge_attention", ""}).has_value();
    if (is_known) {
      return std::unique_ptr<torch::Library>();
    }
    auto made = std::make_unique<torch::Library>(torch::Library::DEF, "symgnn", std::nullopt,
                                                 __FILE__, __LINE__);
    register_edge_attention(*made);
    return made;
  }();
}

}  // namespace symgnn
