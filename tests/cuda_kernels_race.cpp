// Run the GPU's kernels once, for a tool that watches threads: see test_cuda_kernels.py.

#include <cmath>
#include <vector>

#include "kernels/drag_energies_cuda.h"
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

/// A simple cubic crystal of two elements, spaced by 2.8 Å.
bool dragging_works() {
  constexpr std::int64_t kReach = 2, kSide = 2 * kReach + 1, kNeighbors = kSide * kSide * kSide - 1;
  constexpr std::int64_t kCenters = 3, kElements = 2;
  std::vector<std::int64_t> species(kCenters), first{0}, neighbor;
  std::vector<float> vectors;
  for (std::int64_t center = 0; center < kCenters; ++center) {
    species[center] = center % kElements;
    for (std::int64_t place = 0; place <= kNeighbors; ++place) {
      const std::int64_t offset[3] = {place / (kSide * kSide) - kReach,
                                      place / kSide % kSide - kReach, place % kSide - kReach};
      if (2 * place != kNeighbors) {
        neighbor.push_back((center + place) % kCenters);
        for (const std::int64_t steps : offset) {
          vectors.push_back(2.8f * static_cast<float>(steps));
        }
      }
    }
    first.push_back(static_cast<std::int64_t>(neighbor.size()));
  }
  const auto energy = numbers(kElements * kElements * 4 * kPairIntervals);
  const auto slope = numbers(kElements * kElements * 3 * kPairIntervals);
  const std::vector<float> mobility{0.05f, 0.1f}, temperatures{0.1f, 0.3f};
  DragEnergies<float> task{};
  task.species = species.data();
  task.first = first.data();
  task.neighbor = neighbor.data();
  task.edge_vector = vectors.data();
  task.edge_stride = 3;
  task.elements = kElements;
  task.energy = energy.data();
  task.slope = slope.data();
  task.lowest = 1.0f;
  task.spacing = 0.5f;
  task.reach = 4.0f;
  task.slack = 0.5f;
  task.mobility = mobility.data();
  task.mobile_end = 4.5f;
  task.mobile_ramp = task.shell_ramp = task.far_ramp = 1.0f;
  task.far = 2.0f;
  task.shell_end = 4.2f;
  task.stride = 0.5f;
  task.momentum = 0.8f;
  task.longest = 0.1f;
  task.relaxations = task.strides = task.iterations = task.displacements = 2;
  task.levels = static_cast<std::int64_t>(temperatures.size());
  task.temperatures = temperatures.data();
  task.most = kNeighbors;
  const std::int64_t energies = (task.strides + 1) * (task.levels + 1);
  const std::int64_t columns = energies + task.displacements;
  std::vector<float> result(kCenters * columns);
  task.result = result.data();
  std::vector<DragCounts> counts(kCenters);
  if (count_dragged_cuda(task, kCenters, counts.data(), nullptr) != nullptr) {
    return false;
  }
  std::vector<unsigned char> workspace(drag_energies_workspace(kCenters, counts[0]));
  if (drag_energies_cuda(task, kCenters, counts[0], workspace.data(), nullptr) != nullptr) {
    return false;
  }
  bool finite = true, any_energy = false, any_displacement = false;
  for (std::size_t item = 0; item < result.size(); ++item) {
    const bool is_energy = static_cast<std::int64_t>(item) % columns < energies;
    finite = finite && std::isfinite(result[item]);
    any_energy = any_energy || (is_energy && result[item] != 0.0f);
    any_displacement = any_displacement || (!is_energy && result[item] > 0.0f);
  }
  return finite && any_energy && any_displacement;
}

}  // namespace

int main() { return attention_works() && embedding_works() && dragging_works() ? 0 : 1; }
