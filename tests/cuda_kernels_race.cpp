// Run the GPU's kernels once, for a tool that watches threads: see test_cuda_kernels.py.

#include <vector>

#include "kernels/edge_attention_cuda.h"
#include "kernels/edge_embedding_cuda.h"

using namespace symgnn::kernels;

namespace {

constexpr std::int64_t kAtoms = 40, kEdges = 13 * kAtoms, kHeads = 2, kWidth = 8, kEdgeWidth = 12;
constexpr std::int64_t kChannels = kHeads * kWidth;

std::vector<float> numbers(std::int64_t count) {
  std::vector<float> result(count);
  for (std::int64_t k = 0; k < count; ++k) {
    result[k] = static_cast<float>(k * 37 % 101) / 101.0f - 0.5f;
  }
  return result;
}

bool attention_works() {
  std::vector<std::int64_t> center(kEdges), neighbor(kEdges), edge_by_neighbor;
  for (std::int64_t edge = 0; edge < kEdges; ++edge) {
    center[edge] = edge / 13;
    neighbor[edge] = edge * 7 % kAtoms;
  }
  std::vector<std::int64_t> first(kAtoms + 1), first_by_neighbor{0};
  for (std::int64_t atom = 0; atom < kAtoms; ++atom) {
    for (std::int64_t edge = 0; edge < kEdges; ++edge) {
      if (neighbor[edge] == atom) {
        edge_by_neighbor.push_back(edge);
      }
    }
    first_by_neighbor.push_back(static_cast<std::int64_t>(edge_by_neighbor.size()));
  }
  std::int32_t problem = 0;
  if (find_first_edges_cuda(center.data(), neighbor.data(), kEdges, kAtoms, first.data(), &problem,
                            nullptr) != nullptr ||
      problem != 0) {
    return false;
  }
  const auto projected = numbers(3 * kAtoms * kChannels), edge = numbers(kEdges * kEdgeWidth);
  const auto edge_weight = numbers(kEdgeWidth * kChannels), attention = numbers(kChannels);
  const auto output_weight = numbers(kChannels * kEdgeWidth), output_bias = numbers(kEdgeWidth);
  auto gathered = numbers(kAtoms * kChannels), new_edge = edge, moments = numbers(2 * kChannels);
  const EdgeAttention<float> task{kAtoms,
                                  kEdges,
                                  kHeads,
                                  kWidth,
                                  kEdgeWidth,
                                  first.data(),
                                  neighbor.data(),
                                  projected.data(),
                                  edge.data(),
                                  edge_weight.data(),
                                  attention.data(),
                                  output_weight.data(),
                                  output_bias.data(),
                                  0.01f,
                                  true,
                                  gathered.data(),
                                  new_edge.data(),
                                  moments.data()};
  std::vector<unsigned char> workspace(edge_attention_workspace(task));
  if (edge_attention_cuda(task, center.data(), workspace.data(), nullptr) != nullptr) {
    return false;
  }
  auto of_projected = projected, of_edge = edge, of_edge_weight = edge_weight;
  auto of_attention = attention, of_output_weight = output_weight, of_output_bias = output_bias;
  const EdgeAttentionGradient<float> gradient{
      gathered.data(),     new_edge.data(),         moments.data(),
      of_projected.data(), of_edge.data(),          of_edge_weight.data(),
      of_attention.data(), of_output_weight.data(), of_output_bias.data()};
  workspace.resize(edge_attention_gradient_workspace(task));
  return edge_attention_gradient_cuda(task, gradient, center.data(),
                                      {first_by_neighbor.data(), edge_by_neighbor.data()},
                                      workspace.data(), nullptr) == nullptr;
}

bool embedding_works() {
  constexpr std::int64_t transformations = 3;
  const auto input = numbers(3 * kEdges), first_weight = numbers(3 * transformations * kWidth);
  const auto bias = numbers(transformations * kWidth), second_weight = numbers(kWidth * kWidth);
  auto result = numbers(kEdges * kWidth);
  const EdgeEmbedding<float> task{kEdges,
                                  3,
                                  kWidth,
                                  transformations,
                                  true,
                                  input.data(),
                                  first_weight.data(),
                                  bias.data(),
                                  second_weight.data(),
                                  bias.data(),
                                  result.data(),
                                  false};
  return edge_embedding_cuda(task, nullptr) == nullptr;
}

}  // namespace

int main() { return attention_works() && embedding_works() ? 0 : 1; }
