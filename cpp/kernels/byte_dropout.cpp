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

/// target = 256 / (256 − threshold) · source where byte ≥ threshold, else 0 · source (NaN of an
/// infinite one, as in torch). In arithmetic that compilers vectorize: of a choice they make a
/// branch, which no processor foresees.
template <typename scalar>
void drop(const scalar *__restrict source, const std::uint8_t *__restrict byte, int threshold,
          std::int64_t count, scalar *__restrict target) {
  const int kept = 256 - threshold;
  const scalar factor = scalar{256} / static_cast<scalar>(kept);
  for (std::int64_t k = 0; k < count; ++k) {
    const int is_kept = (byte[k] + kept) >> 8;
    target[k] = source[k] * (factor * static_cast<scalar>(is_kept));
  }
}

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
    const std::uint8_t *byte = bytes.data_ptr<std::uint8_t>();
    const scalar_t *source = from.data_ptr<scalar_t>();
    scalar_t *target = result.data_ptr<scalar_t>();
    at::parallel_for(0, from.numel(), 1 << 15, [=](std::int64_t begin, std::int64_t end) {
      drop(source + begin, byte + begin, static_cast<int>(threshold), end - begin, target + begin);
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
