#ifndef SYMGNN_KERNELS_CAPABILITY_H
#define SYMGNN_KERNELS_CAPABILITY_H

namespace symgnn::kernels {

/// Instruction sets that the vectorized files are compiled for, each into a namespace of its name.
enum class Capability { baseline, avx2, avx512 };

/// The best that was compiled and that this processor has.
inline Capability capability() {
#ifdef SYMGNN_X86_CAPABILITIES
  static const Capability best = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
      return Capability::avx512;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? Capability::avx2
                                                                           : Capability::baseline;
  }();
  return best;
#else
  return Capability::baseline;
#endif
}

}  // namespace symgnn::kernels

#endif
