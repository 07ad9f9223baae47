#include "neighbor_list.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/types.h>
#include <vesin.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "enclosure.h"
#include "error.h"

namespace symgnn {

namespace {

using Vector = std::array<double, 3>;

/// Distance spanned by the atoms along a unit vector.
double extent(const double *positions, std::size_t n, const Vector &direction) {
  double lowest = 0.0;
  double highest = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    const double along = positions[3 * i] * direction[0] + positions[3 * i + 1] * direction[1] +
                         positions[3 * i + 2] * direction[2];
    lowest = i == 0 ? along : std::min(lowest, along);
    highest = i == 0 ? along : std::max(highest, along);
  }
  return highest - lowest;
}

/// Owns the memory of a vesin list. Reused by the thread, so that steps of a simulation allocate
/// nothing.
class VesinList {
 public:
  VesinList() = default;
  ~VesinList() { vesin_free(&list_); }
  /// Give the memory of a long list back.
  void shrink() {
    constexpr std::size_t kLong = 10'000'000;
    if (list_.length > kLong) {
      vesin_free(&list_);
      list_ = VesinNeighborList();
    }
  }
  VesinList(const VesinList &) = delete;
  VesinList &operator=(const VesinList &) = delete;

  /// Every pair in a fully periodic cell once, in one of its two directions.
  const VesinNeighborList &half_list(const double *positions, std::size_t n, const Cell &cell,
                                     double cutoff, int threads) {
    VesinOptions options{};
    options.cutoff = cutoff;
    options.full = false;
    options.sorted = false;
    options.algorithm = VesinAutoAlgorithm;
    options.skin = 0.0;
    options.n_threads = threads;
    options.return_shifts = false;
    options.return_distances = false;
    options.return_vectors = true;
    const bool periodic[3] = {true, true, true};
    double box[3][3];
    for (int axis = 0; axis < 3; ++axis) {
      std::copy(cell.vectors[axis].begin(), cell.vectors[axis].end(), box[axis]);
    }
    const char *problem = nullptr;
    const int status = vesin_neighbors(reinterpret_cast<const double (*)[3]>(positions), n, box,
                                       periodic, {VesinCPU, 0}, options, &list_, &problem);
    if (status != 0) {
      throw StructureError(std::string("no neighbor list for this structure: ") +
                           (problem != nullptr ? problem : "vesin gives no reason"));
    }
    return list_;
  }

 private:
  VesinNeighborList list_;
};

struct Edge {
  std::int64_t neighbor;
  Vector vector;

  bool operator<(const Edge &other) const {
    return std::tie(neighbor, vector) < std::tie(other.neighbor, other.vector);
  }
};

/// Edges grouped by center: those of center i are edges[first[i]] … edges[first[i + 1] - 1].
struct GroupedEdges {
  std::vector<std::size_t> first;
  std::vector<Edge> edges;
};

/// Both directions of every pair, grouped by center and in an order that depends on the positions
/// alone: neighbor, then vector. Sums over edges then give the same bytes in every run.
GroupedEdges group_by_center(const VesinNeighborList &list, std::size_t centers, double cutoff,
                             bool self_edges) {
  const double cutoff_squared = cutoff * cutoff;
  const auto for_each_edge = [&](auto &&visit) {
    for (std::size_t pair = 0; pair < list.length; ++pair) {
      const std::size_t i = list.pairs[pair][0];
      const std::size_t j = list.pairs[pair][1];
      const double *v = list.vectors[pair];
      if (v[0] * v[0] + v[1] * v[1] + v[2] * v[2] >= cutoff_squared) {
        continue;
      }
      if (i < centers) {
        visit(i, j, Vector{v[0], v[1], v[2]});
      }
      if (j < centers) {
        visit(j, i, Vector{-v[0], -v[1], -v[2]});
      }
    }
  };

  GroupedEdges grouped;
  grouped.first.assign(centers + 1, 0);
  for_each_edge(
      [&](std::size_t center, std::size_t, const Vector &) { ++grouped.first[center + 1]; });
  for (std::size_t i = 0; i < centers; ++i) {
    grouped.first[i + 1] += grouped.first[i] + (self_edges ? 1 : 0);
  }
  grouped.edges.resize(grouped.first[centers]);

  std::vector<std::size_t> next(grouped.first.begin(), grouped.first.end() - 1);
  const auto append = [&](std::size_t center, std::size_t neighbor, const Vector &vector) {
    grouped.edges[next[center]++] = {static_cast<std::int64_t>(neighbor), vector};
  };
  for_each_edge(append);
  for (std::size_t i = 0; self_edges && i < centers; ++i) {
    append(i, i, Vector{0.0, 0.0, 0.0});
  }
  return grouped;
}

template <typename scalar>
void write_edges(GroupedEdges &grouped, std::size_t centers, std::int64_t *index, scalar *vector) {
  const std::size_t total = grouped.edges.size();
  at::parallel_for(
      0, static_cast<std::int64_t>(centers), 256, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t center = begin; center < end; ++center) {
          const std::size_t first = grouped.first[center];
          const std::size_t last = grouped.first[center + 1];
          std::sort(grouped.edges.begin() + first, grouped.edges.begin() + last);
          for (std::size_t edge = first; edge < last; ++edge) {
            index[edge] = center;
            index[total + edge] = grouped.edges[edge].neighbor;
            for (int axis = 0; axis < 3; ++axis) {
              vector[3 * edge + axis] = static_cast<scalar>(grouped.edges[edge].vector[axis]);
            }
          }
        }
      });
}

}  // namespace

Edges find_edges(const double *positions, std::size_t n, std::size_t centers, const Cell &cell,
                 double cutoff, bool self_edges, torch::Dtype dtype, int threads) {
  check_positions(positions, n);
  const Cell enclosing = enclosing_cell(
      cell, n, cutoff, [&](const Vector &direction) { return extent(positions, n, direction); });
  GroupedEdges grouped;
  if (n == 0) {
    grouped.first = {0};
  } else {
    thread_local VesinList list;
    grouped = group_by_center(list.half_list(positions, n, enclosing, cutoff,
                                             threads > 0 ? threads : at::get_num_threads()),
                              centers, cutoff, self_edges);
    list.shrink();
  }
  const auto total = static_cast<std::int64_t>(grouped.edges.size());
  Edges edges{torch::empty({2, total}, torch::kInt64), torch::empty({total, 3}, dtype)};
  AT_DISPATCH_FLOATING_TYPES(dtype, "find_edges", [&] {
    write_edges(grouped, centers, edges.index.data_ptr<std::int64_t>(),
                edges.vector.data_ptr<scalar_t>());
  });
  return edges;
}

}  // namespace symgnn
