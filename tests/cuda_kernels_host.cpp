// The GPU's kernels, compiled for the host and with C names: see test_cuda_kernels.py.

#include <algorithm>
#include <vector>

#include "kernels/device.h"
#include "kernels/drag_energies_cuda.h"
#include "kernels/edge_attention_cuda.h"
#include "kernels/edge_embedding_cuda.h"

using symgnn::kernels::EdgeAttention;
using symgnn::kernels::EdgeAttentionGradient;
using symgnn::kernels::EdgesByNeighbor;

namespace {

template <typename scalar>
const char *forward(const EdgeAttention<scalar> *task, const std::int64_t *center) {
  std::vector<unsigned char> workspace(symgnn::kernels::edge_attention_workspace(*task), 0xff);
  return symgnn::kernels::edge_attention_cuda(*task, center, workspace.data(), nullptr);
}

template <typename scalar>
const char *backward(const EdgeAttention<scalar> *task,
                     const EdgeAttentionGradient<scalar> *gradient, const std::int64_t *center,
                     const EdgesByNeighbor *by_neighbor) {
  std::vector<unsigned char> workspace(symgnn::kernels::edge_attention_gradient_workspace(*task),
                                       0xff);
  return symgnn::kernels::edge_attention_gradient_cuda(*task, *gradient, center, *by_neighbor,
                                                       workspace.data(), nullptr);
}

template <typename scalar>
const char *drag(const symgnn::kernels::DragEnergies<scalar> *task, std::int64_t rows) {
  std::vector<symgnn::kernels::DragCounts> counts(rows, {-1, -1});
  symgnn::kernels::DragCounts largest{};
  const char *problem = symgnn::kernels::count_dragged_cuda(*task, rows, counts.data(), nullptr);
  for (const auto &count : counts) {
    largest = {std::max(largest.moving, count.moving), std::max(largest.pairs, count.pairs)};
  }
  std::vector<unsigned char> workspace(symgnn::kernels::drag_energies_workspace(rows, largest),
                                       0xff);
  return problem != nullptr
             ? problem
             : symgnn::kernels::drag_energies_cuda(*task, rows, largest, workspace.data(), nullptr);
}

}  // namespace

extern "C" {

void set_threads(int threads) { symgnn::kernels::kThreads = threads; }

const char *forward_float(const EdgeAttention<float> *task, const std::int64_t *center) {
  return forward(task, center);
}

const char *forward_double(const EdgeAttention<double> *task, const std::int64_t *center) {
  return forward(task, center);
}

const char *backward_float(const EdgeAttention<float> *task,
                           const EdgeAttentionGradient<float> *gradient, const std::int64_t *center,
                           const EdgesByNeighbor *by_neighbor) {
  return backward(task, gradient, center, by_neighbor);
}

const char *backward_double(const EdgeAttention<double> *task,
                            const EdgeAttentionGradient<double> *gradient,
                            const std::int64_t *center, const EdgesByNeighbor *by_neighbor) {
  return backward(task, gradient, center, by_neighbor);
}

const char *embed_float(const symgnn::kernels::EdgeEmbedding<float> *task) {
  return symgnn::kernels::edge_embedding_cuda(*task, nullptr);
}

const char *embed_double(const symgnn::kernels::EdgeEmbedding<double> *task) {
  return symgnn::kernels::edge_embedding_cuda(*task, nullptr);
}

const char *drag_float(const symgnn::kernels::DragEnergies<float> *task, std::int64_t rows) {
  return drag(task, rows);
}

const char *drag_double(const symgnn::kernels::DragEnergies<double> *task, std::int64_t rows) {
  return drag(task, rows);
}

const char *find_first_edges(const std::int64_t *center, const std::int64_t *neighbor,
                             std::int64_t edges, std::int64_t atoms, std::int64_t *first,
                             std::int32_t *problem) {
  return symgnn::kernels::find_first_edges_cuda(center, neighbor, edges, atoms, first, problem,
                                                nullptr);
}
}
