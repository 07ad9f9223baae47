#ifndef SYMGNN_KERNELS_SHELL_SUMS_BLOCKS_H
#define SYMGNN_KERNELS_SHELL_SUMS_BLOCKS_H

#include "shell_sums.h"

namespace symgnn::kernels {

/// Sums and totals of centers begin … end − 1, on one thread.
#define SYMGNN_DECLARE(capability)                                                      \
  namespace capability {                                                                \
  void shell_sums(const ShellSums<float> &task, std::int64_t begin, std::int64_t end);  \
  void shell_sums(const ShellSums<double> &task, std::int64_t begin, std::int64_t end); \
  }
SYMGNN_DECLARE(baseline)
SYMGNN_DECLARE(avx2)
SYMGNN_DECLARE(avx512)
#undef SYMGNN_DECLARE

}  // namespace symgnn::kernels

#endif
