#include "shell_sums_blocks.h"

#include "functions.h"

namespace symgnn::kernels::SYMGNN_CAPABILITY {

namespace {

constexpr std::int64_t kBlockEdges = 256;

template <typename scalar, int count>
struct FewLanes {
  typedef scalar type __attribute__((vector_size(count * sizeof(scalar))));
};

template <typename scalar>
struct FewLanes<scalar, 1> {
  using type = scalar;
};

/// Some edges of a center that enter one sum: their weights, and what their neighbors send.
template <typename scalar>
struct Weighted {
  std::int64_t count;
  scalar weight[kBlockEdges];
  const scalar *sent[kBlockEdges];
};

template <typename V, int vectors, typename scalar>
inline void add_tile(const Weighted<scalar> &edges, std::int64_t column, scalar *sum) {
  constexpr std::int64_t step = lanes<V, scalar>;
  V tile[vectors];
  for (int v = 0; v < vectors; ++v) {
    tile[v] = load<V>(sum + column + step * v);
  }
  for (std::int64_t edge = 0; edge < edges.count; ++edge) {
    const scalar weight = edges.weight[edge];
    const scalar *sent = edges.sent[edge] + column;
    for (int v = 0; v < vectors; ++v) {
      tile[v] += weight * load<V>(sent + step * v);
    }
  }
  for (int v = 0; v < vectors; ++v) {
    store(sum + column + step * v, tile[v]);
  }
}

/// Adds to columns first … columns − 1, in vectors of `count` lanes, then of fewer.
template <int count, typename scalar>
inline void add_columns(const Weighted<scalar> &edges, std::int64_t first, std::int64_t columns,
                        scalar *sum) {
  using V = typename FewLanes<scalar, count>::type;
  for (; first + 4 * count <= columns; first += 4 * count) {
    add_tile<V, 4>(edges, first, sum);
  }
  for (; first + count <= columns; first += count) {
    add_tile<V, 1>(edges, first, sum);
  }
  if constexpr (count > 1) {
    add_columns<count / 2>(edges, first, columns, sum);
  }
}

/// Edges of one center, at most kBlockEdges of them, after the other.
template <typename scalar>
class Shells {
 public:
  explicit Shells(const ShellSums<scalar> &task) : task_(task) {}

  /// Sums [G, H, C] and totals [G, H] of a center.
  void sum(std::int64_t center, scalar *sums, scalar *totals) {
    for (std::int64_t k = 0; k < task_.groups * task_.shells; ++k) {
      totals[k] = scalar(0);
    }
    for (std::int64_t k = 0; k < task_.groups * task_.shells * task_.columns; ++k) {
      sums[k] = scalar(0);
    }
    const scalar *values = task_.values + task_.species[center] * task_.element_stride;
    const std::int64_t end = task_.first[center + 1];
    for (first_ = task_.first[center]; first_ < end; first_ += count_) {
      count_ = end - first_ < kBlockEdges ? end - first_ : kBlockEdges;
      measure();
      for (std::int64_t shell = 0; shell < task_.shells; ++shell) {
        weigh(shell);
        for (std::int64_t group = 0; group < task_.groups; ++group) {
          find(group, values + shell * task_.shell_stride);
          const std::int64_t row = group * task_.shells + shell;
          for (std::int64_t edge = 0; edge < found_.count; ++edge) {
            totals[row] += found_.weight[edge];
          }
          add_columns<lanes<V, scalar>>(found_, 0, task_.columns, sums + row * task_.columns);
        }
      }
    }
  }

 private:
  using V = Vector<scalar>;
  static constexpr std::int64_t step = lanes<V, scalar>;

  void measure() {
    for (std::int64_t edge = 0; edge < count_; ++edge) {
      const scalar *vector = task_.edge_vector + (first_ + edge) * task_.edge_stride;
      length_[edge] = vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2];
      inside_[edge] = scalar(0);
    }
    for (std::int64_t edge = 0; edge < count_; edge += step) {
      store(length_ + edge, root_of<scalar>(load<V>(length_ + edge)));
    }
  }

  /// Weights in a shell: what is inside its radius and was not inside of the one before.
  void weigh(std::int64_t shell) {
    for (std::int64_t edge = 0; edge < count_; edge += step) {
      const V inside =
          ramp(load<V>(length_ + edge), task_.radii[shell] + scalar(0.5) * task_.ramp, task_.ramp);
      store(weight_ + edge, inside - load<V>(inside_ + edge));
      store(inside_ + edge, inside);
    }
  }

  /// The edges of a group that have a weight.
  void find(std::int64_t group, const scalar *values) {
    found_.count = 0;
    for (std::int64_t edge = 0; edge < count_; ++edge) {
      const std::int64_t neighbor = task_.neighbor[first_ + edge];
      found_.weight[found_.count] = weight_[edge];
      found_.sent[found_.count] = values + neighbor * task_.atom_stride;
      const bool is_of_group = task_.groups == 1 || task_.species[neighbor] == group;
      found_.count += is_of_group & (weight_[edge] != scalar(0));
    }
  }

  const ShellSums<scalar> &task_;
  std::int64_t first_ = 0, count_ = 0;
  scalar length_[kBlockEdges] = {}, inside_[kBlockEdges] = {}, weight_[kBlockEdges] = {};
  Weighted<scalar> found_;
};

template <typename scalar>
void sum_centers(const ShellSums<scalar> &task, std::int64_t begin, std::int64_t end) {
  Shells<scalar> shells(task);
  for (std::int64_t center = begin; center < end; ++center) {
    const std::int64_t totals = (center - task.first_center) * task.groups * task.shells;
    shells.sum(center, task.sums + totals * task.columns, task.totals + totals);
  }
}

}  // namespace

void shell_sums(const ShellSums<float> &task, std::int64_t begin, std::int64_t end) {
  sum_centers(task, begin, end);
}

void shell_sums(const ShellSums<double> &task, std::int64_t begin, std::int64_t end) {
  sum_centers(task, begin, end);
}

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY
