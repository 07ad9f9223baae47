#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>
#include <torch/types.h>

#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Elements of `value` whose random byte is below `threshold` are zeroed, the others scaled up so
/// that the mean remains: one pass through memory, and a byte per element for the way back.
Tensor byte_dropout(const Tensor &value, const Tensor &bytes, std::int64_t threshold) {
  TORCH_CHECK(bytes.scalar_type() == torch::kUInt8 && bytes.is_contiguous() &&
                  bytes.numel() == value.numel(),
              "bytes is uint8 without gaps, one for each element of value");
  TORCH_CHECK(threshold >= 0 && threshold < 256, "threshold is from 0 to 255");
  const Tensor from = value.contiguous();
  const Tensor result = torch::empty_like(from);
  AT_DISPATCH_FLOATING_TYPES(value.scalar_type(), "byte_dropout", [&] {
    const scalar_t factor = scalar_t{256} / static_cast<scalar_t>(256 - threshold);
    const auto least = static_cast<std::uint8_t>(threshold);
    const std::uint8_t *byte = bytes.data_ptr<std::uint8_t>();
    const scalar_t *source = from.data_ptr<scalar_t>();
    scalar_t *target = result.data_ptr<scalar_t>();
    at::parallel_for(0, from.numel(), 1 << 15, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t k = begin; k < end; ++k) {
        target[k] = byte[k] >= least ? factor * source[k] : 0;
      }
    });
  });
  return result;
}

class ByteDropoutFunction : public torch::autograd::Function<ByteDropoutFunction> {
 public:
  static Tensor forward(AutogradContext *context, const Tensor &value, const Tensor &bytes,
                        std::int64_t threshold) {
    context->save_for_backward({bytes});
    context->saved_data["threshold"] = threshold;
    return byte_dropout(value, bytes, threshold);
  }

  static variable_list backward(AutogradContext *context, const variable_list &given) {
    return {byte_dropout(given[0], context->get_saved_variables()[0],
                         context->saved_data["threshold"].toInt()),
            Tensor(), Tensor()};
  }
};

Tensor byte_dropout_autograd(const Tensor &value, const Tensor &bytes, std::int64_t threshold) {
  return ByteDropoutFunction::apply(value, bytes, threshold);
}

}  // namespace

void register_byte_dropout(torch::Library &library) {
  library.def("byte_dropout(Tensor value, Tensor bytes, int threshold) -> Tensor");
  library.impl("byte_dropout", torch::dispatch(c10::DispatchKey::CPU, &byte_dropout));
  library.impl("byte_dropout",
               torch::dispatch(c10::DispatchKey::AutogradCPU, &byte_dropout_autograd));
}

}  // namespace symgnn
