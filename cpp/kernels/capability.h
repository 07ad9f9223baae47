#ifndef SYMGNN_KERNELS_CAPABILITY_H
#define SYMGNN_KERNELS_CAPABILITY_H

#include <algorithm>
#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace symgnn::kernels {

/// Instruction sets that the vectorized files are compiled for, each into a namespace of its name,
/// in ascending order.
enum class Capability { baseline, avx2, avx512 };

/// The best that was compiled and that this processor has.
inline Capability best_capability() {
#ifdef SYMGNN_X86_CAPABILITIES
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
    return Capability::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return Capability::avx2;
  }
#endif
  return Capability::baseline;
}

/// The best, or the one that the environment variable SYMGNN_CAPABILITY names, for tests. Throws
/// std::runtime_error for a name that is none of those that run here.
inline Capability capability() {
  static const Capability chosen = [] {
    const Capability best = best_capability();
    const char *name = std::getenv("SYMGNN_CAPABILITY");
    if (name == nullptr || *name == '\0') {
      return best;
    }
    constexpr std::array<const char *, 3> names{"baseline", "avx2", "avx512"};
    const auto found = std::find(names.begin(), names.end(), std::string(name));
    const auto wanted = static_cast<Capability>(found - names.begin());
    if (found == names.end() || wanted > best) {
      throw std::runtime_error("SYMGNN_CAPABILITY is '" + std::string(name) +
                               "': unset it, or give baseline, avx2 or avx512, as far as this "
                               "processor has them");
    }
    return wanted;
  }();
  return chosen;
}

}  // namespace symgnn::kernels

#endif
