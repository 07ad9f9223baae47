#ifndef SYMGNN_KERNELS_EDGE_ATTENTION_BLOCKS_H
#define SYMGNN_KERNELS_EDGE_ATTENTION_BLOCKS_H

#include "edge_attention.h"

namespace symgnn::kernels {

/// Edges whose scores are kept at once; a center with more of them is taken alone.
constexpr std::int64_t kGroupEdges = 256;
/// Edges whose hidden channels are kept at once.
constexpr std::int64_t kBlockEdges = 48;

/// Scalars of workspace that `edge_attention_centers` needs, where no center has more than
/// `most_edges` edges.
template <typename scalar>
std::int64_t workspace_size(const EdgeAttention<scalar> &task, std::int64_t most_edges) {
  const std::int64_t group = most_edges > kGroupEdges ? most_edges : kGroupEdges;
  return kBlockEdges * task.heads * task.width + group * task.heads;
}

/// The work for centers begin … end − 1, on one thread. `moments` [2, C], or null, is added to.
#define SYMGNN_DECLARE(capability)                                                   \
  namespace capability {                                                             \
  void edge_attention_centers(const EdgeAttention<float> &task, std::int64_t begin,  \
                              std::int64_t end, float *workspace, float *moments);   \
  void edge_attention_centers(const EdgeAttention<double> &task, std::int64_t begin, \
                              std::int64_t end, double *workspace, double *moments); \
  }
SYMGNN_DECLARE(baseline)
SYMGNN_DECLARE(avx2)
SYMGNN_DECLARE(avx512)
#undef SYMGNN_DECLARE

}  // namespace symgnn::kernels

#endif
