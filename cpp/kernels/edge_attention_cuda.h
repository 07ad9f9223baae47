#ifndef SYMGNN_KERNELS_EDGE_ATTENTION_CUDA_H
#define SYMGNN_KERNELS_EDGE_ATTENTION_CUDA_H

#include <cstddef>
#include <cstdint>

#include "edge_attention.h"

namespace symgnn::kernels {

// The fused attention core on a GPU. All pointers are of one device, the current one; `stream` is
// a cudaStream_t of it. Functions queue work and return at once: null, or what went wrong. Sums
// are taken in an order that the graph alone decides, so that results are the same in every run.

/// Where the edges of each center begin: first [atoms + 1], of edges sorted by `center` [edges].
/// `problem` becomes 1 where edges are not sorted or name atoms that do not exist, else 0; check
/// it before `first` is used.
const char *find_first_edges_cuda(const std::int64_t *center, const std::int64_t *neighbor,
                                  std::int64_t edges, std::int64_t atoms, std::int64_t *first,
                                  std::int32_t *problem, void *stream);

/// Bytes that `edge_attention_cuda` needs for intermediate results.
template <typename scalar>
std::size_t edge_attention_workspace(const EdgeAttention<scalar> &task);

/// `center` [E] repeats what task.first says; an edge finds its center by it.
template <typename scalar>
const char *edge_attention_cuda(const EdgeAttention<scalar> &task, const std::int64_t *center,
                                void *workspace, void *stream);

/// The edges by neighbor: those of neighbor j are edge[first[j]] … edge[first[j + 1] − 1],
/// in a fixed order.
struct EdgesByNeighbor {
  const std::int64_t *first;  ///< [N + 1]
  const std::int64_t *edge;   ///< [E]
};

template <typename scalar>
std::size_t edge_attention_gradient_workspace(const EdgeAttention<scalar> &task);

/// Results of `task` are neither read nor written. Gradients that are null are not computed.
template <typename scalar>
const char *edge_attention_gradient_cuda(const EdgeAttention<scalar> &task,
                                         const EdgeAttentionGradient<scalar> &gradient,
                                         const std::int64_t *center,
                                         const EdgesByNeighbor &by_neighbor, void *workspace,
                                         void *stream);

}  // namespace symgnn::kernels

#endif
