#ifndef SYMGNN_KERNELS_EDGE_ATTENTION_DEVICE_H
#define SYMGNN_KERNELS_EDGE_ATTENTION_DEVICE_H

// The kernels of edge_attention_cuda.h.
//
// Forward: `EdgeKernel` takes the edges in tiles of 128 (64 in double), head by head, and keeps a
// head's hidden channels of a tile in shared memory, where the product with output_weight finds
// them. What it hands on is a score per edge and head, [E, H]. `GatherKernel` then takes the
// softmax and the sum over the edges of each center, four channels to a thread.
//
// Backward: the scores anew, their softmax and its gradient, [E, H] each. Then head by head
// `HeadGradientKernel` recomputes a tile's hidden channels, writes the gradient of what enters the
// LeakyReLU, [E, W] of one head, and adds up the gradients of the weights; `AtomGradientKernel`
// sums it over the edges of each atom, as center and as neighbor. To store one head costs 3 W
// scalars of traffic per edge and head; to recompute it for either sum would cost two of the five
// matrix products again, and an atom's edges as neighbor lie scattered, where tiles are poor.
//
// Floor on an H200 (4.8 TB/s, 67 TFLOP/s in float32), D = W = 32, C = 256 (8 heads), per edge:
//   forward   4 D C = 33 kFLOP: 0.49 ns. Bytes: edge and new_edge 8 D, indices 16, scores 8 H,
//             rows of the neighbor 8 C if no cache helps: 2.4 kB, 0.49 ns; from the second-level
//             cache, where 8,000 atoms (25 MB) fit, 0.08 ns are left. So arithmetic is the bound.
//   backward  12 D C = 98 kFLOP: 1.47 ns. Bytes: 12 C for the gradient of hidden channels and
//             8 C for rows, D H 8 for the gradient of edges: 7 kB, 1.5 ns without any cache.
// TF32 would lift the arithmetic to 494 TFLOP/s, but rounds factors to 11 bits, 5e-4 of their size,
// where energy barriers are to agree within 2e-5 eV.
//
// Shared memory in float, D = W = 32: 62 KiB forward, 81 KiB backward: three and two blocks per
// multiprocessor of an H200 or H100 (227 KiB).

#include <cmath>
#include <cstdint>

#include "device_tiles.h"
#include "edge_attention.h"

namespace symgnn::kernels {

/// What every kernel is given.
template <typename scalar>
struct Task : EdgeAttention<scalar> {
  const std::int64_t *center;  ///< [E]
  bool is_aligned;             ///< rows of all arrays begin and end at multiples of 16 bytes

  SYMGNN_DEVICE int heads_() const { return static_cast<int>(this->heads); }
  SYMGNN_DEVICE int width_() const { return static_cast<int>(this->width); }
  SYMGNN_DEVICE int edge_width_() const { return static_cast<int>(this->edge_width); }
  SYMGNN_DEVICE int channels() const { return static_cast<int>(this->heads * this->width); }

  SYMGNN_DEVICE const scalar *as_center(std::int64_t atom) const {
    return this->projected + 3 * channels() * atom;
  }
  SYMGNN_DEVICE const scalar *as_neighbor(std::int64_t atom) const {
    return as_center(atom) + channels();
  }
  SYMGNN_DEVICE const scalar *as_value(std::int64_t atom) const {
    return as_center(atom) + 2 * channels();
  }
};

/// Edges first … first + count − 1 in shared memory.
template <typename scalar>
struct Tile {
  std::int64_t first;
  int count;
  std::int64_t *center, *neighbor;  ///< [rows]

  SYMGNN_DEVICE Tile(std::int64_t number, std::int64_t edges, std::int64_t *ends)
      : first(number * kRows<scalar>),
        count(static_cast<int>(edges - first < kRows<scalar> ? edges - first : kRows<scalar>)),
        center(ends),
        neighbor(ends + kRows<scalar>) {}

  SYMGNN_DEVICE void load_ends(const Block &block, const Task<scalar> &task) const {
    block.for_each(count, [&](int row) {
      center[row] = task.center[first + row];
      neighbor[row] = task.neighbor[first + row];
    });
  }
};

/// Hidden channels of a head, [W] columns, from columns of edges and edge_weight [D, W] of the
/// head. Rows and columns that do not exist become zero.
template <typename scalar>
SYMGNN_DEVICE void compute_hidden(const Block &block, const Task<scalar> &task,
                                  const Tile<scalar> &tile, int head, const scalar *edge,
                                  const scalar *weight, scalar *hidden) {
  const int width = task.width_();
  block.for_each(CornerOf::count(tile.count, width), [&](int item) {
    const CornerOf at(item, width);
    if (at.row >= tile.count) {
      return;
    }
    const Columns<scalar> columns(at.column, width, task.is_aligned);
    Corner<scalar> corner;
    corner.clear();
    for (int r = 0; r < 4 && at.row + r < tile.count; ++r) {
      corner.add_row(r, columns.load(task.as_center(tile.center[at.row + r]) + head * width));
      corner.add_row(r, columns.load(task.as_neighbor(tile.neighbor[at.row + r]) + head * width));
    }
    corner.add_product(edge + at.row, weight + at.column, 4 * quads(width), task.edge_width_());
    for (int c = 0; c < 4; ++c) {
      Four<scalar> four = corner.column(c);
      for (int r = 0; r < 4; ++r) {
        four.value[r] *= four.value[r] > 0 ? scalar(1) : task.negative_slope;
      }
      store_four(hidden + (at.column + c) * kStride<scalar> + at.row, four);
    }
  });
}

/// Scores [E, H], new edges, and the sums over a block's edges of hidden channels and squares.
template <typename scalar>
struct EdgeKernel {
  static constexpr int kParts = 8;  ///< of a tile's rows, for moments

  Task<scalar> task;
  scalar *score;    ///< [E, H], or null
  scalar *moments;  ///< [blocks, 2, C], or null

  /// Memory of a block. Tiles are columns of kStride, weights rows, each padded with zeros.
  struct Shared {
    std::int64_t *ends;
    scalar *edge, *output, *hidden;
    scalar *edge_weight, *output_weight;
    scalar *partial;
    std::size_t size;

    SYMGNN_BOTH Shared(const EdgeAttention<scalar> &task, void *memory) {
      const int edge_columns = 4 * quads(task.edge_width);
      const int columns = 4 * quads(task.width);
      Pieces pieces(memory);
      ends = pieces.take<std::int64_t>(2 * kRows<scalar>);
      edge = pieces.take<scalar>(edge_columns * kStride<scalar>);
      output = pieces.take<scalar>(edge_columns * kStride<scalar>);
      hidden = pieces.take<scalar>(columns * kStride<scalar>);
      edge_weight = pieces.take<scalar>(task.edge_width * columns);
      output_weight = pieces.take<scalar>(task.width * edge_columns);
      partial = pieces.take<scalar>(2 * kParts * columns);
      size = pieces.used();
    }
  };

  SYMGNN_DEVICE void operator()(const Block &block) const {
    const int width = task.width_();
    const int edge_width = task.edge_width_();
    const Shared shared(task, block.shared());

    const auto load_weights = [&](int head) {
      load_weight(block, task.edge_weight + head * width, task.channels(), 1, edge_width, width,
                  shared.edge_weight);
      if (task.new_edge != nullptr) {
        load_weight(block, task.output_weight + head * width * edge_width, edge_width, 1, width,
                    edge_width, shared.output_weight);
      }
    };
    for (std::int64_t number = block.index(); number * kRows<scalar> < task.edges;
         number += block.count()) {
      const Tile<scalar> tile(number, task.edges, shared.ends);
      tile.load_ends(block, task);
      load_columns(block, task.edge, edge_width, tile.first, tile.count, shared.edge);
      load_weights(0);
      block.barrier();
      for (int head = 0; head < task.heads_(); ++head) {
        compute_hidden(block, task, tile, head, shared.edge, shared.edge_weight, shared.hidden);
        block.barrier();
        if (score != nullptr) {
          write_scores(block, tile, head, shared.hidden);
        }
        if (task.new_edge != nullptr) {
          add_output(block, tile, head, shared);
        }
        if (moments != nullptr) {
          sum_parts(block, tile, shared);
        }
        block.barrier();
        if (head + 1 < task.heads_()) {
          load_weights(head + 1);
        }
        if (moments != nullptr) {
          add_parts(block, head, number == block.index(), shared.partial);
        }
        block.barrier();
      }
    }
  }

 private:
  SYMGNN_DEVICE void write_scores(const Block &block, const Tile<scalar> &tile, int head,
                                  const scalar *hidden) const {
    const int width = task.width_();
    block.for_each(tile.count, [&](int row) {
      scalar sum = 0;
      for (int w = 0; w < width; ++w) {
        sum += task.attention[head * width + w] * hidden[w * kStride<scalar> + row];
      }
      score[(tile.first + row) * task.heads_() + head] = sum;
    });
  }

  /// What a head adds to new edges waits in `output` for the other heads.
  SYMGNN_DEVICE void add_output(const Block &block, const Tile<scalar> &tile, int head,
                                const Shared &shared) const {
    const int edge_width = task.edge_width_();
    block.for_each(CornerOf::count(tile.count, edge_width), [&](int item) {
      const CornerOf at(item, edge_width);
      if (at.row >= tile.count) {
        return;
      }
      const Columns<scalar> columns(at.column, edge_width, task.is_aligned);
      const int first = at.column * kStride<scalar> + at.row;
      Corner<scalar> corner;
      corner.clear();
      if (head == 0) {
        const Four<scalar> bias = columns.load(task.output_bias);
        for (int r = 0; r < 4; ++r) {
          corner.add_row(r, bias);
        }
      }
      if (head > 0 || task.skip) {
        for (int c = 0; c < 4; ++c) {
          corner.add_column(
              c, load_four((head > 0 ? shared.output : shared.edge) + first + c * kStride<scalar>));
        }
      }
      corner.add_product(shared.hidden + at.row, shared.output_weight + at.column,
                         4 * quads(edge_width), task.width_());
      if (head + 1 < task.heads_()) {
        for (int c = 0; c < 4; ++c) {
          store_four(shared.output + first + c * kStride<scalar>, corner.column(c));
        }
        return;
      }
      for (int r = 0; r < 4 && at.row + r < tile.count; ++r) {
        columns.store(task.new_edge + (tile.first + at.row + r) * edge_width, corner.row(r));
      }
    });
  }

  SYMGNN_DEVICE void sum_parts(const Block &block, const Tile<scalar> &tile,
                               const Shared &shared) const {
    const int width = task.width_();
    constexpr int rows = kRows<scalar> / kParts;
    block.for_each(kParts * width, [&](int item) {
      const int part = item % kParts;
      const int w = item / kParts;
      const int end = (part + 1) * rows < tile.count ? (part + 1) * rows : tile.count;
      scalar first = 0;
      scalar second = 0;
      for (int row = part * rows; row < end; ++row) {
        const scalar value = shared.hidden[w * kStride<scalar> + row];
        first += value;
        second += value * value;
      }
      shared.partial[2 * item] = first;
      shared.partial[2 * item + 1] = second;
    });
  }

  SYMGNN_DEVICE void add_parts(const Block &block, int head, bool is_first,
                               const scalar *partial) const {
    const int width = task.width_();
    scalar *sums = moments + 2 * static_cast<std::int64_t>(task.channels()) * block.index();
    block.for_each(2 * width, [&](int item) {
      const int w = item / 2;
      scalar sum = 0;
      for (int part = 0; part < kParts; ++part) {
        sum += partial[2 * (w * kParts + part) + item % 2];
      }
      scalar *of_channel = sums + item % 2 * task.channels() + head * width + w;
      *of_channel = is_first ? sum : *of_channel + sum;
    });
  }
};

template <typename scalar>
SYMGNN_DEVICE scalar highest_score(const scalar *score, int heads, std::int64_t begin,
                                   std::int64_t end) {
  scalar highest = score[begin * heads];
  for (std::int64_t edge = begin + 1; edge < end; ++edge) {
    const scalar value = score[edge * heads];
    highest = value > highest ? value : highest;
  }
  return highest;
}

SYMGNN_DEVICE float exponential(float x) { return expf(x); }
SYMGNN_DEVICE double exponential(double x) { return exp(x); }

/// Softmax over the edges of a center, and the weighted sum of what its neighbors send.
template <typename scalar>
struct GatherKernel {
  Task<scalar> task;
  const scalar *score;  ///< [E, H]

  SYMGNN_DEVICE void operator()(const Block &block) const {
    const int heads = task.heads_();
    const int width = task.width_();
    const int of_head = quads(width);
    block.for_each_of_grid(task.atoms * heads * of_head, [&](std::int64_t item) {
      const std::int64_t center = item / (heads * of_head);
      const int head = static_cast<int>(item / of_head % heads);
      const Columns<scalar> columns(4 * static_cast<int>(item % of_head), width, task.is_aligned);
      const std::int64_t begin = task.first[center];
      const std::int64_t end = task.first[center + 1];
      scalar total = 0;
      Four<scalar> sum{};
      if (begin < end) {
        const scalar highest = highest_score(score + head, heads, begin, end);
#ifdef __CUDACC__
#pragma unroll 4
#endif
        for (std::int64_t edge = begin; edge < end; ++edge) {
          const scalar weight = exponential(score[edge * heads + head] - highest);
          const Four<scalar> value =
              columns.load(task.as_value(task.neighbor[edge]) + head * width);
          total += weight;
          for (int k = 0; k < 4; ++k) {
            sum.value[k] += weight * value.value[k];
          }
        }
        for (int k = 0; k < 4; ++k) {
          sum.value[k] /= total;
        }
      }
      columns.store(task.gathered + center * task.channels() + head * width, sum);
    });
  }
};

/// Gradients of attention weights, [E, H]: what a center is given, times what the neighbor sends.
template <typename scalar>
struct WeightGradientKernel {
  Task<scalar> task;
  const scalar *gathered;   ///< [N, C], gradient
  scalar *weight_gradient;  ///< [E, H]

  SYMGNN_DEVICE void operator()(const Block &block) const {
    const int heads = task.heads_();
    const int width = task.width_();
    block.for_each_of_grid(task.edges * heads, [&](std::int64_t item) {
      const std::int64_t edge = item / heads;
      const int offset = static_cast<int>(item % heads) * width;
      const scalar *given = gathered + task.center[edge] * task.channels() + offset;
      const scalar *sent = task.as_value(task.neighbor[edge]) + offset;
      scalar sum = 0;
      for (int w = 0; w < width; w += 4) {
        const Columns<scalar> columns(w, width, task.is_aligned);
        const Four<scalar> x = columns.load(given);
        const Four<scalar> y = columns.load(sent);
        for (int k = 0; k < 4; ++k) {
          sum += x.value[k] * y.value[k];
        }
      }
      weight_gradient[item] = sum;
    });
  }
};

/// Scores become weights, gradients of weights those of scores.
template <typename scalar>
struct SoftmaxGradientKernel {
  Task<scalar> task;
  scalar *score;     ///< [E, H]
  scalar *gradient;  ///< [E, H]

  SYMGNN_DEVICE void operator()(const Block &block) const {
    const int heads = task.heads_();
    block.for_each_of_grid(task.atoms * heads, [&](std::int64_t item) {
      const std::int64_t center = item / heads;
      const std::int64_t head = item % heads;
      const std::int64_t begin = task.first[center];
      const std::int64_t end = task.first[center + 1];
      if (begin == end) {
        return;
      }
      const scalar highest = highest_score(score + head, heads, begin, end);
      scalar total = 0;
      scalar mean = 0;
      for (std::int64_t edge = begin; edge < end; ++edge) {
        const scalar weight = exponential(score[edge * heads + head] - highest);
        score[edge * heads + head] = weight;
        total += weight;
        mean += weight * gradient[edge * heads + head];
      }
      mean /= total;
      for (std::int64_t edge = begin; edge < end; ++edge) {
        const scalar weight = score[edge * heads + head] / total;
        score[edge * heads + head] = weight;
        gradient[edge * heads + head] = weight * (gradient[edge * heads + head] - mean);
      }
    });
  }
};

/// Gradients of weights and biases one behind the other, in the layout of the whole arrays.
template <typename scalar>
struct WeightLayout {
  std::int64_t edge_weight, output_weight, attention, output_bias, size;

  explicit SYMGNN_BOTH WeightLayout(const EdgeAttention<scalar> &task) {
    const std::int64_t channels = task.heads * task.width;
    edge_weight = 0;
    output_weight = edge_weight + task.edge_width * channels;
    attention = output_weight + channels * task.edge_width;
    output_bias = attention + channels;
    size = output_bias + task.edge_width;
  }
};

/// One head's part of the gradients of edges and weights, and the gradient of what enters its
/// LeakyReLU.
template <typename scalar>
struct HeadGradientKernel {
  static constexpr int kSplits = 2;  ///< of a tile's rows, in sums for weights

  Task<scalar> task;
  EdgeAttentionGradient<scalar> gradient;
  int head;
  const scalar *score_gradient;  ///< [E, H], or null: zero
  scalar *entering;              ///< [E, W]
  scalar *partial;               ///< [blocks, kSplits, WeightLayout]

  struct Shared {
    std::int64_t *ends;
    scalar *edge, *given, *hidden, *entering;
    scalar *edge_weight, *edge_weight_transposed, *output_weight_transposed;
    scalar *score_gradient;
    std::size_t size;

    SYMGNN_BOTH Shared(const EdgeAttention<scalar> &task, void *memory) {
      const int edge_columns = 4 * quads(task.edge_width);
      const int columns = 4 * quads(task.width);
      Pieces pieces(memory);
      ends = pieces.take<std::int64_t>(2 * kRows<scalar>);
      edge = pieces.take<scalar>(edge_columns * kStride<scalar>);
      given = pieces.take<scalar>(edge_columns * kStride<scalar>);
      hidden = pieces.take<scalar>(columns * kStride<scalar>);
      entering = pieces.take<scalar>(columns * kStride<scalar>);
      edge_weight = pieces.take<scalar>(task.edge_width * columns);
      edge_weight_transposed = pieces.take<scalar>(task.width * edge_columns);
      output_weight_transposed = pieces.take<scalar>(task.edge_width * columns);
      score_gradient = pieces.take<scalar>(kRows<scalar>);
      size = pieces.used();
    }
  };

  SYMGNN_DEVICE void operator()(const Block &block) const {
    const int width = task.width_();
    const int edge_width = task.edge_width_();
    const int channels = task.channels();
    const bool has_output = task.output_weight != nullptr;
    const Shared shared(task, block.shared());
    load_weight(block, task.edge_weight + head * width, channels, 1, edge_width, width,
                shared.edge_weight);
    load_weight(block, task.edge_weight + head * width, 1, channels, width, edge_width,
                shared.edge_weight_transposed);
    if (has_output) {
      load_weight(block, task.output_weight + head * width * edge_width, 1, edge_width, edge_width,
                  width, shared.output_weight_transposed);
    }
    for (std::int64_t number = block.index(); number * kRows<scalar> < task.edges;
         number += block.count()) {
      const Tile<scalar> tile(number, task.edges, shared.ends);
      tile.load_ends(block, task);
      load_columns(block, task.edge, edge_width, tile.first, tile.count, shared.edge);
      if (has_output) {
        load_columns(block, gradient.new_edge, edge_width, tile.first, tile.count, shared.given);
      }
      block.for_each(kRows<scalar>, [&](int row) {
        shared.score_gradient[row] = score_gradient != nullptr && row < tile.count
                                         ? score_gradient[(tile.first + row) * task.heads_() + head]
                                         : scalar(0);
      });
      block.barrier();
      compute_hidden(block, task, tile, head, shared.edge, shared.edge_weight, shared.hidden);
      // No barrier: a thread goes on with what it wrote itself.
      compute_entering(block, tile, shared);
      block.barrier();
      add_edge_gradient(block, tile, shared);
      add_weight_gradients(block, tile, number == block.index(), shared);
      block.barrier();
    }
  }

 private:
  SYMGNN_DEVICE void compute_entering(const Block &block, const Tile<scalar> &tile,
                                      const Shared &shared) const {
    const int width = task.width_();
    const int channels = task.channels();
    block.for_each(CornerOf::count(tile.count, width), [&](int item) {
      const CornerOf at(item, width);
      if (at.row >= tile.count) {
        return;
      }
      Corner<scalar> corner;
      corner.clear();
      if (task.output_weight != nullptr) {
        corner.add_product(shared.given + at.row, shared.output_weight_transposed + at.column,
                           4 * quads(width), task.edge_width_());
      }
      const Four<scalar> score = load_four(shared.score_gradient + at.row);
      for (int c = 0; c < 4; ++c) {
        const int column = (at.column + c) * kStride<scalar> + at.row;
        const bool exists = at.column + c < width;
        const int channel = head * width + at.column + c;
        const scalar attention = exists ? task.attention[channel] : scalar(0);
        const bool has_moments = exists && gradient.moments != nullptr;
        const scalar first = has_moments ? gradient.moments[channel] : scalar(0);
        const scalar second = has_moments ? 2 * gradient.moments[channels + channel] : scalar(0);
        const Four<scalar> value = load_four(shared.hidden + column);
        for (int r = 0; r < 4; ++r) {
          const scalar slope = value.value[r] > 0 ? scalar(1) : task.negative_slope;
          const scalar sum =
              corner.sum[r][c] + attention * score.value[r] + first + second * value.value[r];
          corner.sum[r][c] = slope * sum;  // of no effect in rows without an edge: theirs is zero
        }
        store_four(shared.entering + column, corner.column(c));
      }
      const Columns<scalar> columns(at.column, width, task.is_aligned);
      for (int r = 0; r < 4 && at.row + r < tile.count; ++r) {
        columns.store(entering + (tile.first + at.row + r) * width, corner.row(r));
      }
    });
  }

  SYMGNN_DEVICE void add_edge_gradient(const Block &block, const Tile<scalar> &tile,
                                       const Shared &shared) const {
    if (gradient.edge == nullptr) {
      return;
    }
    const int edge_width = task.edge_width_();
    block.for_each(CornerOf::count(tile.count, edge_width), [&](int item) {
      const CornerOf at(item, edge_width);
      if (at.row >= tile.count) {
        return;
      }
      const Columns<scalar> columns(at.column, edge_width, task.is_aligned);
      scalar *to = gradient.edge + (tile.first + at.row) * edge_width;
      Corner<scalar> corner;
      corner.clear();
      if (head > 0) {
        for (int r = 0; r < 4 && at.row + r < tile.count; ++r) {
          corner.add_row(r, columns.load(to + r * edge_width));
        }
      } else if (task.skip && task.output_weight != nullptr) {
        for (int c = 0; c < 4; ++c) {
          corner.add_column(c,
                            load_four(shared.given + (at.column + c) * kStride<scalar> + at.row));
        }
      }
      corner.add_product(shared.entering + at.row, shared.edge_weight_transposed + at.column,
                         4 * quads(edge_width), task.width_());
      for (int r = 0; r < 4 && at.row + r < tile.count; ++r) {
        columns.store(to + r * edge_width, corner.row(r));
      }
    });
  }

  SYMGNN_DEVICE void add_weight_gradients(const Block &block, const Tile<scalar> &tile,
                                          bool is_first, const Shared &shared) const {
    const int width = task.width_();
    const int edge_width = task.edge_width_();
    const int of_width = quads(width);
    const int of_edge_width = quads(edge_width);
    const int channels = task.channels();
    const WeightLayout<scalar> layout(task);
    const bool has_output = task.output_weight != nullptr;
    scalar *sums = partial + kSplits * layout.size * block.index();
    const auto add = [&](scalar *to, scalar sum) { *to = is_first ? sum : *to + sum; };

    // Products first, then the sums of single columns, in one phase: threads that have no product
    // take a sum.
    const int corners = of_width * of_edge_width;
    const int products = (has_output ? 2 : 1) * corners * kSplits;
    const int columns = width + (has_output && head == 0 ? edge_width : 0);
    block.for_each(products + columns, [&](int item) {
      const int rows = 4 * quads(tile.count);
      if (item >= products) {
        const int column = item - products;
        const scalar *x = column < width ? shared.hidden + column * kStride<scalar>
                                         : shared.given + (column - width) * kStride<scalar>;
        scalar sum = 0;
        for (int row = 0; row < tile.count; ++row) {
          sum += column < width ? shared.score_gradient[row] * x[row] : x[row];
        }
        scalar *to = column < width ? sums + layout.attention + head * width + column
                                    : sums + layout.output_bias + column - width;
        add(to, sum);
        for (int split = 1; is_first && split < kSplits; ++split) {
          to[split * layout.size] = 0;
        }
        return;
      }
      const int split = item % kSplits;
      const int corner_number = item / kSplits % corners;
      const bool is_output = item / kSplits >= corners;
      const int d = 4 * (corner_number % of_edge_width);
      const int w = 4 * (corner_number / of_edge_width);
      constexpr int rows_of_split = kRows<scalar> / kSplits;
      const int begin = split * rows_of_split;
      const int end = begin + rows_of_split < rows ? begin + rows_of_split : rows;
      Corner<scalar> corner;  // [d][w]
      corner.clear();
      corner.add_sum_over_rows((is_output ? shared.given : shared.edge) + d * kStride<scalar>,
                               (is_output ? shared.hidden : shared.entering) + w * kStride<scalar>,
                               begin, end);
      scalar *of_split = sums + split * layout.size;
      for (int p = 0; p < 4 && d + p < edge_width; ++p) {
        for (int q = 0; q < 4 && w + q < width; ++q) {
          const int channel = head * width + w + q;
          add(of_split + (is_output ? layout.output_weight + channel * edge_width + d + p
                                    : layout.edge_weight + (d + p) * channels + channel),
              corner.sum[p][q]);
        }
      }
    });
  }
};

/// One head's part of the gradients of atoms: as center, as neighbor, as value.
template <typename scalar>
struct AtomGradientKernel {
  Task<scalar> task;
  EdgeAttentionGradient<scalar> gradient;
  int head;
  const std::int64_t *first_as_neighbor;  ///< [N + 1]
  const std::int64_t *edge_as_neighbor;   ///< [E]
  const scalar *entering;                 ///< [E, W]
  const scalar *weight;                   ///< [E, H]

  SYMGNN_DEVICE void operator()(const Block &block) const {
    const int width = task.width_();
    const int of_head = quads(width);
    const int channels = task.channels();
    block.for_each_of_grid(task.atoms * of_head, [&](std::int64_t item) {
      const std::int64_t atom = item / of_head;
      const Columns<scalar> columns(4 * static_cast<int>(item % of_head), width, task.is_aligned);
      Four<scalar> as_center{};
      Four<scalar> as_neighbor{};
      Four<scalar> as_value{};
      const auto add = [](Four<scalar> &sum, const Four<scalar> &four, scalar factor) {
        for (int k = 0; k < 4; ++k) {
          sum.value[k] += factor * four.value[k];
        }
      };
      for (std::int64_t edge = task.first[atom]; edge < task.first[atom + 1]; ++edge) {
        add(as_center, columns.load(entering + edge * width), 1);
      }
      for (std::int64_t k = first_as_neighbor[atom]; k < first_as_neighbor[atom + 1]; ++k) {
        const std::int64_t edge = edge_as_neighbor[k];
        add(as_neighbor, columns.load(entering + edge * width), 1);
        if (gradient.gathered != nullptr) {
          const scalar *given = gradient.gathered + task.center[edge] * channels + head * width;
          add(as_value, columns.load(given), weight[edge * task.heads_() + head]);
        }
      }
      scalar *to = gradient.projected + 3 * channels * atom + head * width;
      columns.store(to, as_center);
      columns.store(to + channels, as_neighbor);
      columns.store(to + 2 * channels, as_value);
    });
  }
};

/// Sums over the first of two axes.
template <typename scalar>
struct SumKernel {
  const scalar *from;  ///< [count, stride]
  std::int64_t count, stride;
  scalar *to;  ///< [size]
  std::int64_t size;

  SYMGNN_DEVICE void operator()(const Block &block) const {
    block.for_each_of_grid(size, [&](std::int64_t item) {
      scalar sum = 0;
      for (std::int64_t k = 0; k < count; ++k) {
        sum += from[k * stride + item];
      }
      to[item] = sum;
    });
  }
};

struct ClearKernel {
  std::int32_t *value;

  SYMGNN_DEVICE void operator()(const Block &block) const {
    block.for_each(1, [&](int) { *value = 0; });
  }
};

/// The edge with the next center says for all atoms up to it where their edges begin.
struct FirstEdgesKernel {
  const std::int64_t *center, *neighbor;
  std::int64_t edges, atoms;
  std::int64_t *first;
  std::int32_t *problem;

  SYMGNN_DEVICE void operator()(const Block &block) const {
    block.for_each_of_grid(edges + 1, [&](std::int64_t edge) {
      const std::int64_t before = edge > 0 ? center[edge - 1] : -1;
      const std::int64_t here = edge < edges ? center[edge] : atoms;
      const bool is_right = edge == edges || (here >= before && here >= 0 && here < atoms &&
                                              neighbor[edge] >= 0 && neighbor[edge] < atoms);
      if (!is_right) {
        *problem = 1;  // by whichever thread: the same value
        return;
      }
      for (std::int64_t atom = before < 0 ? 0 : before + 1; atom <= here; ++atom) {
        first[atom] = edge;
      }
    });
  }
};

}  // namespace symgnn::kernels

#endif
