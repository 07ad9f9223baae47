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
/// The second layer is one for all transformations, or each has its own. Arrays are row-major,
/// without gaps. Nothing of size edges × T × W is stored, unless it is the result.
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
  const scalar *second_weight;  ///< [W, W], from rows to columns; or [T, W, W]
  const scalar *second_bias;    ///< [W]; or [T, W]
  scalar *result;               ///< [E, W], or [E, T · W] if not averaged
  bool own_second;              ///< each transformation has a second layer of its own
};

/// Gradients of a scalar loss: of the result, given, and of the inputs, wanted.
template <typename scalar>
struct EdgeEmbeddingGradient {
  const scalar *result;             ///< as above
  const scalar *second_transposed;  ///< second_weight, from columns to rows

  scalar *input;  ///< [E, I], or null: not wanted
  // These are added to.
  scalar *first_weight;   ///< [I, T · W]
  scalar *first_bias;     ///< [T · W]
  scalar *second_weight;  ///< [T, W, W]
  scalar *second_bias;    ///< [T, W]
};

/// What batch normalization of the second layer needs to know of the first: over all edges, the
/// sums of hidden_t [T, W] and of its products hidden_tᵀ hidden_t [T, W, W]. Added to.
template <typename scalar>
struct HiddenMoments {
  scalar *sums, *products;
};

/// Gradients with respect to them, given, and of the inputs, wanted.
template <typename scalar>
struct HiddenMomentsGradient {
  const scalar *sums;      ///< [T, W]
  const scalar *products;  ///< [T, W, W], plus its transpose

  scalar *input;         ///< [E, I], or null: not wanted
  scalar *first_weight;  ///< [I, T · W], added to
  scalar *first_bias;    ///< [T · W], added to
};

/// Edges whose hidden layer is kept at once.
constexpr std::int64_t kEmbeddingEdges = 24;
/// The same on the way back, for one transformation at a time.
constexpr std::int64_t kEmbeddingGradientEdges = 72;

/// Scalars of workspace that each of the functions below needs.
template <typename scalar>
std::int64_t workspace_size(const EdgeEmbedding<scalar> &task) {
  const std::int64_t forward = kEmbeddingEdges * task.transformations * task.width;
  const std::int64_t backward = 3 * kEmbeddingGradientEdges * task.width;
  return forward > backward ? forward : backward;
}

// The work for edges begin … end − 1 on one thread. The moments need the first layer alone.
#define SYMGNN_DECLARE_SCALAR(scalar)                                                             \
  void embed_edges(const EdgeEmbedding<scalar> &task, std::int64_t begin, std::int64_t end,       \
                   scalar *workspace);                                                            \
  void embed_edges_gradient(const EdgeEmbedding<scalar> &task,                                    \
                            const EdgeEmbeddingGradient<scalar> &gradient, std::int64_t begin,    \
                            std::int64_t end, scalar *workspace);                                 \
  void hidden_moments(const EdgeEmbedding<scalar> &task, const HiddenMoments<scalar> &moments,    \
                      std::int64_t begin, std::int64_t end, scalar *workspace);                   \
  void hidden_moments_gradient(const EdgeEmbedding<scalar> &task,                                 \
                               const HiddenMomentsGradient<scalar> &gradient, std::int64_t begin, \
                               std::int64_t end, scalar *workspace);
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
