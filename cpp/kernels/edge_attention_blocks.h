#ifndef SYMGNN_KERNELS_EDGE_ATTENTION_BLOCKS_H
#define SYMGNN_KERNELS_EDGE_ATTENTION_BLOCKS_H

#include "edge_attention.h"

namespace symgnn::kernels {

/// Edges whose scores are kept at once; a center with more of them is taken alone.
constexpr std::int64_t kGroupEdges = 256;
/// Edges whose hidden channels are kept at once.
constexpr std::int64_t kBlockEdges = 24;

/// Scalars of workspace that `edge_attention_centers` needs, where no center has more than
/// `most_edges` edges.
template <typename scalar>
std::int64_t workspace_size(const EdgeAttention<scalar> &task, std::int64_t most_edges) {
  const std::int64_t group = most_edges > kGroupEdges ? most_edges : kGroupEdges;
  return kBlockEdges * task.heads * task.width + group * task.heads;
}

/// What the backward pass keeps of the edges E' of some centers.
template <typename scalar>
struct AttentionGroup {
  scalar *hidden;           ///< [E', C]
  scalar *hidden_gradient;  ///< [E', C]: given, and replaced by that before the LeakyReLU
  scalar *weight;           ///< [H, E']
  scalar *score_gradient;   ///< [H, E']
};

// Each on one thread, for centers begin … end − 1.
//
// edge_attention_centers: the results of the task; `moments` [2, C], or null, is added to.
// recompute_group: hidden and, unless null, weight of a group.
// gradient_of_group: from hidden_gradient and the gradients given, those of the atoms as centers,
// of the atoms as neighbors and values [N, 2C], and of the attention [C]; the last two are added
// to.
#define SYMGNN_DECLARE_SCALAR(scalar)                                                           \
  void edge_attention_centers(const EdgeAttention<scalar> &task, std::int64_t begin,            \
                              std::int64_t end, scalar *workspace, scalar *moments);            \
  void recompute_group(const EdgeAttention<scalar> &task, std::int64_t begin, std::int64_t end, \
                       const AttentionGroup<scalar> &group);                                    \
  void gradient_of_group(const EdgeAttention<scalar> &task,                                     \
                         const EdgeAttentionGradient<scalar> &gradient, std::int64_t begin,     \
                         std::int64_t end, const AttentionGroup<scalar> &group,                 \
                         scalar *neighbor_gradient, scalar *attention_gradient);
#define SYMGNN_DECLARE(capability) \
  namespace capability {           \
  SYMGNN_DECLARE_SCALAR(float)     \
  SYMGNN_DECLARE_SCALAR(double)    \
  }
SYMGNN_DECLARE(baseline)
SYMGNN_DECLARE(avx2)
SYMGNN_DECLARE(avx512)
#undef SYMGNN_DECLARE
#undef SYMGNN_DECLARE_SCALAR

}  // namespace symgnn::kernels

#endif
