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
  scalar *weight;           ///< [H, E']
  scalar *score_gradient;   ///< [H, E']
  scalar *hidden_gradient;  ///< [kBlockEdges, C]
};

/// Weights of the task from columns to rows.
template <typename scalar>
struct TransposedWeights {
  const scalar *edge;    ///< [C, D]
  const scalar *output;  ///< [D, C], or null
};

/// Gradients that one thread adds up.
template <typename scalar>
struct AttentionSums {
  scalar *neighbor;       ///< [N, 2C], of atoms as neighbors and as values
  scalar *edge_weight;    ///< [D, C]
  scalar *attention;      ///< [C]
  scalar *output_weight;  ///< [C, D], or null: not wanted
};

// Each on one thread, for centers begin … end − 1.
//
// edge_attention_centers: the results of the task; `moments` [2, C], or null, is added to.
// gradient_of_group: from the gradients given, those of the edges and of the atoms as centers, and
// the sums. Keeps all edges of the centers at once.
// gradient_of_output: adds to `output_weight` [C, D] and `output_bias` [D] alone; workspace:
// kBlockEdges · C scalars.
#define SYMGNN_DECLARE_SCALAR(scalar)                                                         \
  void edge_attention_centers(const EdgeAttention<scalar> &task, std::int64_t begin,          \
                              std::int64_t end, scalar *workspace, scalar *moments);          \
  void gradient_of_group(                                                                     \
      const EdgeAttention<scalar> &task, const EdgeAttentionGradient<scalar> &gradient,       \
      const TransposedWeights<scalar> &transposed, std::int64_t begin, std::int64_t end,      \
      const AttentionGroup<scalar> &group, const AttentionSums<scalar> &sums);                \
  void gradient_of_output(const EdgeAttention<scalar> &task, const scalar *new_edge_gradient, \
                          std::int64_t begin, std::int64_t end, scalar *workspace,            \
                          scalar *output_weight, scalar *output_bias);
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
