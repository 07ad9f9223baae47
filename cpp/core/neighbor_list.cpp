#include "neighbor_list.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/types.h>
#include <vesin.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <tuple>
#include <vector>

#include "error.h"

namespace symgnn {

namespace {

using Vector = std::array<double, 3>;

double dot(const Vector &a, const Vector &b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

Vector cross(const Vector &a, const Vector &b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

Vector scaled(const Vector &a, double factor) {
  return {a[0] * factor, a[1] * factor, a[2] * factor};
}

double norm(const Vector &a) { return std::sqrt(dot(a, a)); }

bool is_finite(const Vector &a) {
  return std::isfinite(a[0]) && std::isfinite(a[1]) && std::isfinite(a[2]);
}

std::string rounded(double length) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", length);
  return text.data();
}

/// Beyond this, in Å, a double no longer resolves a bond well, and cell numbers overflow.
constexpr double kFarthest = 1e8;

/// A unit vector perpendicular to the given ones (one or two of them, not parallel).
Vector perpendicular(const Vector &a, const Vector *b) {
  if (b != nullptr) {
    const Vector normal = cross(a, *b);
    return scaled(normal, 1.0 / norm(normal));
  }
  const bool x_is_smallest = std::abs(a[0]) <= std::abs(a[1]) && std::abs(a[0]) <= std::abs(a[2]);
  const bool y_is_smaller = std::abs(a[1]) <= std::abs(a[2]);
  const Vector axis = x_is_smallest  ? Vector{1, 0, 0}
                      : y_is_smaller ? Vector{0, 1, 0}
                                     : Vector{0, 0, 1};
  const Vector normal = cross(a, axis);
  return scaled(normal, 1.0 / norm(normal));
}

/// Distance spanned by the atoms along a unit vector.
double extent(const double *positions, std::size_t n, const Vector &direction) {
  double lowest = 0.0;
  double highest = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    const double along =
        dot({positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]}, direction);
    lowest = i == 0 ? along : std::min(lowest, along);
    highest = i == 0 ? along : std::max(highest, along);
  }
  return highest - lowest;
}

void check_volume(const Cell &cell) {
  std::vector<Vector> periodic;
  for (int axis = 0; axis < 3; ++axis) {
    if (!cell.periodic[axis]) {
      continue;
    }
    const Vector &vector = cell.vectors[axis];
    if (!is_finite(vector)) {
      throw StructureError("a periodic cell vector is not finite; repair the cell first");
    }
    const double length = norm(vector);
    if (!(length > 0.0)) {
      throw StructureError(
          "the cell has no extent along a periodic direction; set the cell, or switch the "
          "periodicity off");
    }
    periodic.push_back(scaled(vector, 1.0 / length));
  }
  double volume = 1.0;  // of the unit vectors: zero if they lie in one plane or line
  if (periodic.size() == 3) {
    volume = std::abs(dot(periodic[0], cross(periodic[1], periodic[2])));
  } else if (periodic.size() == 2) {
    volume = norm(cross(periodic[0], periodic[1]));
  }
  if (!(volume > 1e-8)) {
    throw StructureError(
        "the periodic cell has no volume; set the cell, or switch the periodicity off");
  }
}

/// A fully periodic cell with the same pairs: vectors that do not repeat are replaced by
/// perpendicular ones that enclose the atoms and leave more than a cutoff empty. What files carry
/// in their place means nothing, and vesin's (0.6.2) own treatment of partly periodic cells takes a
/// time that grows with the square of the volume.
Cell enclosed(const Cell &cell, const double *positions, std::size_t n, double cutoff) {
  std::vector<Vector> basis;
  for (int axis = 0; axis < 3; ++axis) {
    if (cell.periodic[axis]) {
      basis.push_back(cell.vectors[axis]);
    }
  }
  Cell result = cell;
  for (int axis = 0; axis < 3; ++axis) {
    if (cell.periodic[axis]) {
      continue;
    }
    const Vector direction = basis.empty()
                                 ? Vector{1, 0, 0}
                                 : perpendicular(basis[0], basis.size() > 1 ? &basis[1] : nullptr);
    result.vectors[axis] = scaled(direction, extent(positions, n, direction) + 1.01 * cutoff);
    basis.push_back(direction);
  }
  result.periodic = {true, true, true};
  return result;
}

/// Refuse shapes that a list of cells cannot serve: periodic cells that are absurdly small for the
/// cutoff (they would eat the memory), and few atoms spread over a huge length. vesin (0.6.2)
/// limits the number of its cells to 100,000 by scaling all three directions, and divides by zero
/// where one of them then has less than one; the bound here keeps a factor of two away from that.
void check_shape(const Cell &cell, std::size_t n, double cutoff) {
  const Vector &a = cell.vectors[0];
  const Vector &b = cell.vectors[1];
  const Vector &c = cell.vectors[2];
  const double volume = std::abs(dot(a, cross(b, c)));
  const Vector heights = {volume / norm(cross(b, c)), volume / norm(cross(c, a)),
                          volume / norm(cross(a, b))};
  double images = static_cast<double>(n);
  double cells = 1.0;
  double fewest_cells = HUGE_VAL;
  for (int axis = 0; axis < 3; ++axis) {
    images *= 1.0 + 2.0 * cutoff / heights[axis];
    const double along = std::max(1.0, std::trunc(heights[axis] / cutoff));
    cells *= along;
    fewest_cells = std::min(fewest_cells, along);
  }
  if (!(images < 1e9)) {
    throw StructureError("the periodic cell is far too small for the model's cutoff of " +
                         rounded(cutoff) + " Å; are its lengths in Å?");
  }
  if (cells > 5e4 && cells > 5e4 * std::pow(fewest_cells, 3)) {
    throw StructureError("the structure spans " + rounded(heights[0]) + " × " +
                         rounded(heights[1]) + " × " + rounded(heights[2]) +
                         " Å, too long and thin for a neighbor list; remove atoms that flew away");
  }
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

void check_positions(const double *positions, std::size_t n) {
  const auto problem = [](std::size_t coordinate, const std::string &what) {
    return StructureError("the position of atom " + std::to_string(coordinate / 3) +
                          " (counted from 0) is " + what + "; the simulation may have blown up");
  };
  for (std::size_t k = 0; k < 3 * n; ++k) {
    if (!std::isfinite(positions[k])) {
      throw problem(k, "not a finite number");
    }
    if (std::abs(positions[k]) > kFarthest) {
      throw problem(k, rounded(positions[k]) + " Å away");
    }
  }
}

Edges find_edges(const double *positions, std::size_t n, std::size_t centers, const Cell &cell,
                 double cutoff, bool self_edges, torch::Dtype dtype, int threads) {
  check_positions(positions, n);
  check_volume(cell);
  GroupedEdges grouped;
  if (n == 0) {
    grouped.first = {0};
  } else {
    const Cell enclosing = enclosed(cell, positions, n, cutoff);
    check_shape(enclosing, n, cutoff);
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
