#include "neighbor_list.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/types.h>
#include <vesin.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "available_memory.h"
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
      // Where memory was short, vesin leaves pointers to what it has freed: not to be used again.
      list_ = VesinNeighborList();
      throw_no_list(problem);
    }
    return list_;
  }

 private:
  VesinNeighborList list_;
};

template <typename scalar>
struct Edge {
  std::int32_t neighbor;
  std::array<scalar, 3> vector;

  bool operator<(const Edge &other) const {
    return std::tie(neighbor, vector) < std::tie(other.neighbor, other.vector);
  }
};

/// Edges grouped by center: those of center i are edges[first[i]] … edges[first[i + 1] - 1].
template <typename scalar>
struct GroupedEdges {
  std::vector<std::size_t> first;
  std::vector<Edge<scalar>> edges;
};

/// Refuse what the system would kill half way, by the mean density of the space that the atoms
/// take. Memory is at its peak while vesin's pairs are grouped, or while grouped edges are written.
template <typename scalar>
void check_memory(const double *positions, std::size_t n, std::size_t centers,
                  const Cell &enclosing, double cutoff) {
  if (n > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw StructureError("more than 2147483647 atoms; divide them among ranks");
  }
  double spanned = 1.0;
  for (int axis = 0; axis < 3; ++axis) {
    Vector direction{};
    direction[axis] = 1.0;
    spanned *= extent(positions, n, direction) + cutoff;
  }
  constexpr double kSphere = 4.0 / 3.0 * 3.14159265358979323846;
  const auto atoms = static_cast<double>(n);
  const double neighbors =
      atoms * kSphere * cutoff * cutoff * cutoff / std::min(spanned, volume(enclosing));
  const double pairs = 0.5 * atoms * neighbors;
  const double edges = static_cast<double>(centers) * neighbors;
  constexpr double kPair = 2 * sizeof(std::size_t) + 3 * sizeof(double);
  constexpr double kWritten = 2 * sizeof(std::int64_t) + 3 * sizeof(scalar);
  const double needed = std::max(kPair * pairs, kWritten * edges) + sizeof(Edge<scalar>) * edges;
  constexpr double kAlwaysThere = 5e8;
  if (needed < kAlwaysThere) {
    return;
  }
  const double available = available_memory();
  if (needed > available) {
    const auto rounded = [](double number) {
      std::array<char, 32> text{};
      std::snprintf(text.data(), text.size(), "%.3g", number);
      return std::string(text.data());
    };
    throw MemoryError("the neighbors of " + std::to_string(centers) + " atoms up to " +
                      rounded(cutoff) + " Å need about " + rounded(needed / 1e9) +
                      " GB of memory, and " + rounded(available / 1e9) +
                      " GB are free: use a model with a shorter cutoff (`symgnn info`), or LAMMPS "
                      "on more than one machine");
  }
}

/// Both directions of every pair, grouped by center and in an order that depends on the positions
/// alone: neighbor, then vector. Sums over edges then give the same bytes in every run.
template <typename scalar>
GroupedEdges<scalar> group_by_center(const VesinNeighborList &list, std::size_t centers,
                                     double cutoff, bool self_edges) {
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

  GroupedEdges<scalar> grouped;
  grouped.first.assign(centers + 1, 0);
  for_each_edge(
      [&](std::size_t center, std::size_t, const Vector &) { ++grouped.first[center + 1]; });
  for (std::size_t i = 0; i < centers; ++i) {
    grouped.first[i + 1] += grouped.first[i] + (self_edges ? 1 : 0);
  }
  grouped.edges.resize(grouped.first[centers]);

  std::vector<std::size_t> next(grouped.first.begin(), grouped.first.end() - 1);
  const auto append = [&](std::size_t center, std::size_t neighbor, const Vector &vector) {
    grouped.edges[next[center]++] = {
        static_cast<std::int32_t>(neighbor),
        {static_cast<scalar>(vector[0]), static_cast<scalar>(vector[1]),
         static_cast<scalar>(vector[2])}};
  };
  for_each_edge(append);
  for (std::size_t i = 0; self_edges && i < centers; ++i) {
    append(i, i, Vector{0.0, 0.0, 0.0});
  }
  return grouped;
}

template <typename scalar>
void write_edges(GroupedEdges<scalar> &grouped, std::size_t centers, std::int64_t *index,
                 scalar *vector) {
  const std::size_t total = grouped.edges.size();
  at::parallel_for(0, static_cast<std::int64_t>(centers), 256,
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t center = begin; center < end; ++center) {
                       const std::size_t first = grouped.first[center];
                       const std::size_t last = grouped.first[center + 1];
                       std::sort(grouped.edges.begin() + first, grouped.edges.begin() + last);
                       for (std::size_t edge = first; edge < last; ++edge) {
                         index[edge] = center;
                         index[total + edge] = grouped.edges[edge].neighbor;
                         std::copy_n(grouped.edges[edge].vector.data(), 3, vector + 3 * edge);
                       }
                     }
                   });
}

template <typename scalar>
Edges edges_of(const double *positions, std::size_t n, std::size_t centers, const Cell &enclosing,
               double cutoff, bool self_edges, int threads) {
  GroupedEdges<scalar> grouped;
  if (n == 0) {
    grouped.first = {0};
  } else {
    check_memory<scalar>(positions, n, centers, enclosing, cutoff);
    thread_local VesinList list;
    grouped = group_by_center<scalar>(list.half_list(positions, n, enclosing, cutoff, threads),
                                      centers, cutoff, self_edges);
    list.shrink();
  }
  const auto total = static_cast<std::int64_t>(grouped.edges.size());
  Edges edges{torch::empty({2, total}, torch::kInt64),
              torch::empty({total, 3}, c10::CppTypeToScalarType<scalar>::value)};
  write_edges(grouped, centers, edges.index.data_ptr<std::int64_t>(),
              edges.vector.data_ptr<scalar>());
  return edges;
}

}  // namespace

void throw_no_list(const char *problem) {
  const std::string reason = problem != nullptr ? problem : "vesin gives no reason";
  if (tells_of_memory(reason)) {
    throw MemoryError();
  }
  throw StructureError("no neighbor list for this structure: " + reason);
}

Edges find_edges(const double *positions, std::size_t n, std::size_t centers, const Cell &cell,
                 double cutoff, bool self_edges, torch::Dtype dtype, int threads) {
  check_positions(positions, n);
  const Cell enclosing = enclosing_cell(
      cell, n, cutoff, [&](const Vector &direction) { return extent(positions, n, direction); });
  return AT_DISPATCH_FLOATING_TYPES(dtype, "find_edges", [&] {
    return edges_of<scalar_t>(positions, n, centers, enclosing, cutoff, self_edges,
                              threads > 0 ? threads : at::get_num_threads());
  });
}

}  // namespace symgnn
