#ifndef SYMGNN_KERNELS_GRAPH_H
#define SYMGNN_KERNELS_GRAPH_H

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace symgnn {

/// [N + 1]: where the edges of each center begin. Throws c10::Error where edge_index is not int64
/// [2, E] without gaps, sorted by center and naming atoms below N.
torch::Tensor first_edges(const torch::Tensor &edge_index, std::int64_t atoms);

/// Ranges of centers with about `edges` edges each. Fixed by the graph alone, so that sums over
/// ranges do not depend on the number of threads.
std::vector<std::int64_t> center_ranges(const std::int64_t *first, std::int64_t atoms,
                                        std::int64_t edges);

std::int64_t most_edges(const std::int64_t *first, std::int64_t atoms);

constexpr std::int64_t kEdgesOfRange = 4096;

/// A graph with at least one edge, checked, as kernels read it. The rows of their results are
/// those centers, from the first that has edges to the last.
struct Graph {
  torch::Tensor species;      ///< int64 [N], below `elements`
  torch::Tensor edge_index;   ///< int64 [2, E], sorted by center
  torch::Tensor edge_vector;  ///< float32 or float64 [E, 3]; only the last dimension has no gaps
  torch::Tensor first;        ///< int64 [N + 1]: where the edges of each center begin

  /// Throws c10::Error where the tensors are not as above.
  Graph(const torch::Tensor &given_species, const torch::Tensor &given_index,
        const torch::Tensor &given_vector, std::int64_t elements);

  std::int64_t atoms() const { return species.numel(); }
  std::int64_t edges() const { return edge_index.size(1); }
  const std::int64_t *centers() const { return edge_index.data_ptr<std::int64_t>(); }
  const std::int64_t *neighbors() const { return centers() + edges(); }
  std::int64_t first_center() const { return centers()[0]; }
  std::int64_t rows() const { return centers()[edges() - 1] - first_center() + 1; }

  /// Calls work(begin, end) for ranges of centers that have rows, on several threads.
  template <typename Work>
  void for_each_range(const Work &work) const {
    const std::int64_t *first_edge = first.data_ptr<std::int64_t>() + first_center();
    const std::vector<std::int64_t> ranges = center_ranges(first_edge, rows(), kEdgesOfRange);
    const auto count = static_cast<std::int64_t>(ranges.size()) - 1;
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      work(first_center() + ranges[begin], first_center() + ranges[end]);
    });
  }
};

}  // namespace symgnn

#endif
