#ifndef SYMGNN_KERNELS_EDGE_EMBEDDING_H
#define SYMGNN_KERNELS_EDGE_EMBEDDING_H

#include <cstdint>

namespace symgnn::kernels {

/// Two layers on every edge and every one of T transformations of it, which are folded into the
/// first weight; averaged over the transformations, or side by side:
///
///     hidden_t = ReLU(input · first_weight_t + first_bias_t)
///     result   = mean over t of ReLU(hidden_t · second_weight + second_bias)
///
/// Arrays are row-major, without gaps.
template <typename scalar>
struct EdgeEmbedding {
  std::int64_t edges;            ///< E
  std::int64_t inputs;           ///< I
  std::int64_t width;            ///< W
  std::int64_t transformations;  ///< T
  bool average;

  const scalar *input;          ///< [E, I]
  const scalar *first_weight;   ///< [I, T · W]
  const scalar *first_bias;     ///< [T · W]
  const scalar *second_weight;  ///< [W, W], from rows to columns
  const scalar *second_bias;    ///< [W]
  scalar *result;               ///< [E, W], or [E, T · W] if not averaged
};

/// Edges whose hidden layer is kept at once.
constexpr std::int64_t kEmbeddingEdges = 24;

// The work for edges begin … end − 1 on one thread; workspace: kEmbeddingEdges · T · W scalars.
#define SYMGNN_DECLARE(capability)                                                          \
  namespace capability {                                                                    \
  void embed_edges(const EdgeEmbedding<float> &task, std::int64_t begin, std::int64_t end,  \
                   float *workspace);                                                       \
  void embed_edges(const EdgeEmbedding<double> &task, std::int64_t begin, std::int64_t end, \
                   double *workspace);                                                      \
  }
SYMGNN_DECLARE(baseline)
SYMGNN_DECLARE(avx2)
SYMGNN_DECLARE(avx512)
#undef SYMGNN_DECLARE

}  // namespace symgnn::kernels

#endif
