#include "graph.h"

#include <algorithm>

namespace symgnn {

torch::Tensor first_edges(const torch::Tensor &edge_index, std::int64_t atoms) {
  TORCH_CHECK(edge_index.dim() == 2 && edge_index.size(0) == 2 && edge_index.is_contiguous() &&
                  edge_index.scalar_type() == torch::kInt64,
              "edge_index is int64 [2, E] without gaps");
  const std::int64_t edges = edge_index.size(1);
  const std::int64_t *center = edge_index.data_ptr<std::int64_t>();
  const std::int64_t *neighbor = center + edges;
  torch::Tensor result = torch::zeros({atoms + 1}, torch::kInt64);
  std::int64_t *first = result.data_ptr<std::int64_t>();
  // Of atoms after `previous`, up to `current`, no edge comes before this one.
  const auto begin_at = [first](std::int64_t previous, std::int64_t current, std::int64_t edge) {
    std::fill(first + previous + 1, first + current + 1, edge);
  };
  constexpr std::int64_t kGrain = 1 << 16;
  at::parallel_for(0, edges, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t edge = begin; edge < end; ++edge) {
      const std::int64_t previous = edge > 0 ? center[edge - 1] : 0;
      TORCH_CHECK(previous >= 0 && center[edge] >= previous && center[edge] < atoms &&
                      neighbor[edge] >= 0 && neighbor[edge] < atoms,
                  "edge_index must be sorted by center and name existing atoms");
      if (center[edge] > previous) {
        begin_at(previous, center[edge], edge);
      }
    }
  });
  if (edges > 0) {
    begin_at(center[edges - 1], atoms, edges);
  }
  return result;
}

std::vector<std::int64_t> center_ranges(const std::int64_t *first, std::int64_t atoms,
                                        std::int64_t edges) {
  std::vector<std::int64_t> ranges{0};
  for (std::int64_t atom = 1; atom <= atoms; ++atom) {
    if (atom == atoms || first[atom] - first[ranges.back()] >= edges) {
      ranges.push_back(atom);
    }
  }
  return ranges;
}

std::int64_t most_edges(const std::int64_t *first, std::int64_t atoms) {
  std::int64_t most = 0;
  for (std::int64_t atom = 0; atom < atoms; ++atom) {
    most = std::max(most, first[atom + 1] - first[atom]);
  }
  return most;
}

Graph::Graph(const torch::Tensor &given_species, const torch::Tensor &given_index,
             const torch::Tensor &given_vector, std::int64_t elements)
    : species(given_species.contiguous()), edge_index(given_index.contiguous()) {
  TORCH_CHECK(species.dim() == 1 && species.scalar_type() == torch::kInt64, "species is int64 [N]");
  first = first_edges(edge_index, atoms());
  TORCH_CHECK(edges() > 0, "a graph needs at least one edge");
  TORCH_CHECK(given_vector.sizes() == torch::IntArrayRef({edges(), 3}), "edge_vector is [E, 3]");
  TORCH_CHECK(given_vector.scalar_type() == torch::kFloat32 ||
                  given_vector.scalar_type() == torch::kFloat64,
              "edge_vector is float32 or float64");
  edge_vector = given_vector.stride(1) == 1 ? given_vector : given_vector.contiguous();
  const std::int64_t *element = species.data_ptr<std::int64_t>();
  TORCH_CHECK(std::all_of(element, element + atoms(),
                          [&](std::int64_t k) { return k >= 0 && k < elements; }),
              "species must be from 0 to the number of elements minus 1");
}

}  // namespace symgnn
