#ifndef SYMGNN_KERNELS_EDGE_ATTENTION_H
#define SYMGNN_KERNELS_EDGE_ATTENTION_H

#include <cstdint>

namespace symgnn::kernels {

/// The fused core of an attention layer (python/symgnn/models/attention.py), for edge e from
/// neighbor j to center i, with C = heads × width channels:
///
///     hidden_e   = LeakyReLU(edge_e · edge_weight + projected_i[0, C) + projected_j[C, 2C))
///     score_eh   = Σ_w attention_hw hidden_ehw        weight_e = softmax of score over edges of i
///     gathered_i = Σ_e weight_e ∘ projected_j[2C, 3C)
///     new_edge_e = hidden_e · output_weight + output_bias (+ edge_e with skip)
///     moments    = Σ_e hidden_e, Σ_e hidden_e²
///
/// Arrays are row-major, without gaps, and on one device. Nothing of size edges × C is stored.
template <typename scalar>
struct EdgeAttention {
  std::int64_t atoms;       ///< N, rows of projected and gathered
  std::int64_t edges;       ///< E
  std::int64_t heads;       ///< H
  std::int64_t width;       ///< W, of a head; C = H · W
  std::int64_t edge_width;  ///< D

  const std::int64_t *first;     ///< [N + 1]: the edges of center i are first[i] … first[i + 1] − 1
  const std::int64_t *neighbor;  ///< [E]
  const scalar *projected;       ///< [N, 3C]: as center, as neighbor, as value
  const scalar *edge;            ///< [E, D]
  const scalar *edge_weight;     ///< [D, C]
  const scalar *attention;       ///< [C]
  const scalar *output_weight;   ///< [C, D], or null: no new_edge
  const scalar *output_bias;     ///< [D], or null
  scalar negative_slope;
  bool skip;

  scalar *gathered;  ///< [N, C], or null: not wanted; zero for atoms without edges
  scalar *new_edge;  ///< [E, D], or null
  scalar *moments;   ///< [2, C], or null
};

/// Gradients of a scalar loss: of the results above, given (null: zero), and of the inputs, wanted.
template <typename scalar>
struct EdgeAttentionGradient {
  const scalar *gathered;  ///< [N, C]
  const scalar *new_edge;  ///< [E, D]
  const scalar *moments;   ///< [2, C]

  scalar *projected;      ///< [N, 3C]
  scalar *edge;           ///< [E, D]
  scalar *edge_weight;    ///< [D, C]
  scalar *attention;      ///< [C]
  scalar *output_weight;  ///< [C, D], or null
  scalar *output_bias;    ///< [D], or null
};

}  // namespace symgnn::kernels

#endif
