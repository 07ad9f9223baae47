#include "edge_attention_blocks.h"

#include <math.h>

#include "products.h"

namespace symgnn::kernels::SYMGNN_CAPABILITY {

namespace {

/// Edges first … first + count − 1, at most kBlockEdges, and their hidden channels [count, C].
template <typename scalar>
struct Block {
  const EdgeAttention<scalar> &task;
  std::int64_t first, count;
  scalar *hidden;
  std::int64_t center[kBlockEdges];

  std::int64_t channels() const { return task.heads * task.width; }
};

/// Hidden channels c, c + 1, … of edges row, row + 1, … of a block, as many as fit the registers.
template <typename scalar>
struct HiddenTile {
  const Block<scalar> &block;

  template <typename V, int rows, int columns>
  inline void compute(std::int64_t row, std::int64_t c) const {
    const EdgeAttention<scalar> &task = block.task;
    const std::int64_t channels = block.channels();
    constexpr std::int64_t step = lanes<V, scalar>;
    V sum[rows][columns];
    for (int r = 0; r < rows; ++r) {
      const std::int64_t neighbor = task.neighbor[block.first + row + r];
      const scalar *as_center = task.projected + 3 * channels * block.center[row + r] + c;
      const scalar *as_neighbor = task.projected + 3 * channels * neighbor + channels + c;
      for (int k = 0; k < columns; ++k) {
        sum[r][k] = load<V>(as_center + step * k) + load<V>(as_neighbor + step * k);
      }
    }
    const scalar *edge = task.edge + (block.first + row) * task.edge_width;
    for (std::int64_t d = 0; d < task.edge_width; ++d) {
      V weight[columns];
      for (int k = 0; k < columns; ++k) {
        weight[k] = load<V>(task.edge_weight + d * channels + c + step * k);
      }
      for (int r = 0; r < rows; ++r) {
        const scalar value = edge[r * task.edge_width + d];
        for (int k = 0; k < columns; ++k) {
          sum[r][k] += value * weight[k];
        }
      }
    }
    // In registers: what is stored might change the block or the task.
    scalar *hidden = block.hidden + row * channels + c;
    const V slope = V{} + task.negative_slope;
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int k = 0; k < columns; ++k) {
        const V leaky = slope * sum[r][k];
        store(hidden + r * channels + step * k, sum[r][k] > V{} ? sum[r][k] : leaky);
      }
    }
  }
};

/// The same of new edges, from hidden channels.
template <typename scalar>
struct OutputTile {
  const Block<scalar> &block;

  template <typename V, int rows, int columns>
  inline void compute(std::int64_t row, std::int64_t c) const {
    const EdgeAttention<scalar> &task = block.task;
    const std::int64_t channels = block.channels();
    const std::int64_t width = task.edge_width;
    constexpr std::int64_t step = lanes<V, scalar>;
    const std::int64_t first = (block.first + row) * width + c;
    V sum[rows][columns];
    for (int r = 0; r < rows; ++r) {
      for (int k = 0; k < columns; ++k) {
        sum[r][k] = load<V>(task.output_bias + c + step * k);
        if (task.skip) {
          sum[r][k] += load<V>(task.edge + first + r * width + step * k);
        }
      }
    }
    const scalar *hidden = block.hidden + row * channels;
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      V weight[columns];
      for (int k = 0; k < columns; ++k) {
        weight[k] = load<V>(task.output_weight + channel * width + c + step * k);
      }
      for (int r = 0; r < rows; ++r) {
        const scalar value = hidden[r * channels + channel];
        for (int k = 0; k < columns; ++k) {
          sum[r][k] += value * weight[k];
        }
      }
    }
    scalar *new_edge = task.new_edge + first;
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int k = 0; k < columns; ++k) {
        store(new_edge + r * width + step * k, sum[r][k]);
      }
    }
  }
};

/// Scores [H, stride] of a block's edges, from column `column` on.
template <typename V, typename scalar>
inline void score_block(const Block<scalar> &block, scalar *score, std::int64_t stride,
                        std::int64_t column) {
  const EdgeAttention<scalar> &task = block.task;
  for (std::int64_t row = 0; row < block.count; ++row) {
    for (std::int64_t head = 0; head < task.heads; ++head) {
      const scalar *hidden = block.hidden + row * block.channels() + head * task.width;
      const scalar *attention = task.attention + head * task.width;
      V sum{};
      for (std::int64_t w = 0; w < task.width; w += lanes<V, scalar>) {
        sum += load<V>(hidden + w) * load<V>(attention + w);
      }
      score[head * stride + column + row] = sum_lanes<scalar>(sum);
    }
  }
}

template <typename V, typename scalar>
inline void add_moments(const Block<scalar> &block, scalar *moments) {
  const std::int64_t channels = block.channels();
  for (std::int64_t c = 0; c < channels; c += lanes<V, scalar>) {
    V first{};
    V second{};
    for (std::int64_t row = 0; row < block.count; ++row) {
      const V hidden = load<V>(block.hidden + row * channels + c);
      first += hidden;
      second += hidden * hidden;
    }
    store(moments + c, load<V>(moments + c) + first);
    store(moments + channels + c, load<V>(moments + channels + c) + second);
  }
}

/// e^x for x ≤ 0 in every lane, to 2 units in the last place; 0 below −87.
inline Vector<float> exp_of(Vector<float> x) {
  typedef std::int32_t Integers __attribute__((vector_size(SYMGNN_VECTOR_BYTES)));
  const Vector<float> bounded = x < -87.0F ? Vector<float>{} - 87.0F : x;
  // x = n ln 2 + r, |r| ≤ ln 2 / 2. Adding and subtracting 1.5 · 2²³ rounds to an integer.
  const Vector<float> shifted = bounded * 1.44269504F + 12582912.0F;
  const Vector<float> n = shifted - 12582912.0F;
  const Vector<float> r = (bounded - n * 0.693359375F) + n * 2.12194440e-4F;
  Vector<float> series = r * (1.0F / 5040.0F) + 1.0F / 720.0F;
  series = series * r + 1.0F / 120.0F;
  series = series * r + 1.0F / 24.0F;
  series = series * r + 1.0F / 6.0F;
  series = series * r + 0.5F;
  series = series * r + 1.0F;
  series = series * r + 1.0F;
  const Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
  Vector<float> scale;
  __builtin_memcpy(&scale, &power, sizeof(scale));
  return x < -87.0F ? Vector<float>{} : series * scale;
}

/// Exponentials of `count` numbers, none of which is above zero, in place.
inline void exponentials(float *number, std::int64_t count) {
  constexpr std::int64_t step = lanes<Vector<float>, float>;
  std::int64_t k = 0;
  for (; k + step <= count; k += step) {
    store(number + k, exp_of(load<Vector<float>>(number + k)));
  }
  if (k < count) {
    float rest[step] = {};
    __builtin_memcpy(rest, number + k, sizeof(float) * (count - k));
    store(rest, exp_of(load<Vector<float>>(rest)));
    __builtin_memcpy(number + k, rest, sizeof(float) * (count - k));
  }
}

inline void exponentials(double *number, std::int64_t count) {
  for (std::int64_t k = 0; k < count; ++k) {
    number[k] = exp(number[k]);
  }
}

/// combine(… combine(number(0), number(1)) …, number(count − 1)), from `start`, which changes
/// nothing. In eight chains, which do not wait for each other.
template <typename scalar, typename Number, typename Combine>
inline scalar reduce(std::int64_t count, scalar start, const Number &number,
                     const Combine &combine) {
  constexpr int chains = 8;
  scalar part[chains];
  for (scalar &each : part) {
    each = start;
  }
  std::int64_t k = 0;
  for (; k + chains <= count; k += chains) {
    for (int chain = 0; chain < chains; ++chain) {
      part[chain] = combine(part[chain], number(k + chain));
    }
  }
  for (int chain = 0; k + chain < count; ++chain) {
    part[chain] = combine(part[chain], number(k + chain));
  }
  for (int half = chains / 2; half > 0; half /= 2) {
    for (int chain = 0; chain < half; ++chain) {
      part[chain] = combine(part[chain], part[chain + half]);
    }
  }
  return part[0];
}

template <typename scalar, typename Number>
inline scalar sum(std::int64_t count, const Number &number) {
  return reduce(count, scalar{0}, number, [](scalar a, scalar b) { return a + b; });
}

/// Channels c, c + 1, … of the weighted sum of what the neighbors of a center send.
template <typename V, int columns, typename scalar>
inline void gather_columns(const EdgeAttention<scalar> &task, std::int64_t center,
                           const scalar *weight, std::int64_t stride, std::int64_t c) {
  const std::int64_t channels = task.heads * task.width;
  const std::int64_t *neighbor = task.neighbor + task.first[center];
  const std::int64_t count = task.first[center + 1] - task.first[center];
  constexpr std::int64_t step = lanes<V, scalar>;
  const scalar *of_head[columns];
  V sum[columns];
  for (int k = 0; k < columns; ++k) {
    of_head[k] = weight + (c + step * k) / task.width * stride;
    sum[k] = V{};
  }
  for (std::int64_t edge = 0; edge < count; ++edge) {
    const scalar *sent = task.projected + 3 * channels * neighbor[edge] + 2 * channels + c;
    for (int k = 0; k < columns; ++k) {
      sum[k] += of_head[k][edge] * load<V>(sent + step * k);
    }
  }
  for (int k = 0; k < columns; ++k) {
    store(task.gathered + center * channels + c + step * k, sum[k]);
  }
}

/// All channels; weights [H, stride].
template <typename V, typename scalar>
inline void gather(const EdgeAttention<scalar> &task, std::int64_t center, const scalar *weight,
                   std::int64_t stride) {
  const std::int64_t channels = task.heads * task.width;
  constexpr std::int64_t step = lanes<V, scalar>;
  std::int64_t c = 0;
  for (; c + 8 * step <= channels; c += 8 * step) {
    gather_columns<V, 8>(task, center, weight, stride, c);
  }
  for (; c + 2 * step <= channels; c += 2 * step) {
    gather_columns<V, 2>(task, center, weight, stride, c);
  }
  for (; c < channels; c += step) {
    gather_columns<V, 1>(task, center, weight, stride, c);
  }
}

/// Walks through the edges of some centers, block by block.
template <typename scalar>
class Blocks {
 public:
  /// The edges of centers from `center` on, from `first` to `end` − 1.
  Blocks(const EdgeAttention<scalar> &task, std::int64_t center, std::int64_t first,
         std::int64_t end)
      : block{task, first, 0, nullptr, {}}, center_(center), end_(end) {}

  Block<scalar> block;

  /// Fill in the next block, whose hidden channels are to lie at `hidden`.
  bool next(scalar *hidden) {
    block.first += block.count;
    block.hidden = hidden;
    const std::int64_t left = end_ - block.first;
    block.count = left < kBlockEdges ? left : kBlockEdges;
    for (std::int64_t row = 0; row < block.count; ++row) {
      while (block.task.first[center_ + 1] <= block.first + row) {
        ++center_;
      }
      block.center[row] = center_;
    }
    return block.count > 0;
  }

 private:
  std::int64_t center_, end_;
};

/// End of a group of centers from `begin` on with at most kGroupEdges edges, or of one center with
/// however many.
template <typename scalar>
inline std::int64_t group_end(const EdgeAttention<scalar> &task, std::int64_t begin,
                              std::int64_t end) {
  std::int64_t last = begin + 1;
  while (last < end && task.first[last + 1] - task.first[begin] <= kGroupEdges) {
    ++last;
  }
  return last;
}

/// Scores [H, stride] of the edges of centers begin … end − 1 to weights: softmax.
template <typename scalar>
inline void softmax_of_centers(const EdgeAttention<scalar> &task, std::int64_t begin,
                               std::int64_t end, scalar *score, std::int64_t stride) {
  const auto for_centers = [&](scalar *of_head, const auto &work) {
    for (std::int64_t center = begin; center < end; ++center) {
      const std::int64_t count = task.first[center + 1] - task.first[center];
      if (count > 0) {
        work(of_head + task.first[center] - task.first[begin], count);
      }
    }
  };
  for (std::int64_t head = 0; head < task.heads; ++head) {
    scalar *of_head = score + head * stride;
    for_centers(of_head, [](scalar *of_center, std::int64_t count) {
      const scalar highest = reduce(
          count, of_center[0], [=](std::int64_t k) { return of_center[k]; },
          [](scalar a, scalar b) { return a > b ? a : b; });
      for (std::int64_t k = 0; k < count; ++k) {
        of_center[k] -= highest;
      }
    });
    exponentials(of_head, task.first[end] - task.first[begin]);
    for_centers(of_head, [](scalar *of_center, std::int64_t count) {
      const scalar factor =
          scalar{1} / sum<scalar>(count, [=](std::int64_t k) { return of_center[k]; });
      for (std::int64_t k = 0; k < count; ++k) {
        of_center[k] *= factor;
      }
    });
  }
}

/// Vectors V must divide the width of heads and of edges.
template <typename V, typename scalar>
void attend(const EdgeAttention<scalar> &task, std::int64_t begin, std::int64_t end,
            scalar *workspace, scalar *moments) {
  const std::int64_t channels = task.heads * task.width;
  scalar *score = workspace + kBlockEdges * channels;
  while (begin < end) {
    const std::int64_t last = group_end(task, begin, end);
    const std::int64_t first = task.first[begin];
    const std::int64_t edges = task.first[last] - first;
    Blocks<scalar> blocks(task, begin, first, first + edges);
    while (blocks.next(workspace)) {
      const Block<scalar> &block = blocks.block;
      cover<V, scalar>(HiddenTile<scalar>{block}, block.count, channels);
      if (task.gathered != nullptr) {
        score_block<V>(block, score, edges, block.first - first);
      }
      if (task.new_edge != nullptr) {
        cover<V, scalar>(OutputTile<scalar>{block}, block.count, task.edge_width);
      }
      if (moments != nullptr) {
        add_moments<V>(block, moments);
      }
    }
    if (task.gathered != nullptr) {
      softmax_of_centers(task, begin, last, score, edges);
      for (std::int64_t center = begin; center < last; ++center) {
        gather<V>(task, center, score + task.first[center] - first, edges);
      }
    }
    begin = last;
  }
}

/// Hidden channels [E', C] and weights [H, E'] of all edges of some centers.
template <typename V, typename scalar>
void recompute(const EdgeAttention<scalar> &task, std::int64_t begin, std::int64_t end,
               const AttentionGroup<scalar> &group) {
  const std::int64_t channels = task.heads * task.width;
  const std::int64_t first = task.first[begin];
  const std::int64_t edges = task.first[end] - first;
  Blocks<scalar> blocks(task, begin, first, first + edges);
  scalar *hidden = group.hidden;
  while (blocks.next(hidden)) {
    const Block<scalar> &block = blocks.block;
    cover<V, scalar>(HiddenTile<scalar>{block}, block.count, channels);
    score_block<V>(block, group.weight, edges, block.first - first);
    hidden += block.count * channels;
  }
  softmax_of_centers(task, begin, end, group.weight, edges);
}

/// Gradient of the scores of a center's edges in one head, in place of those of the weights.
template <typename scalar>
inline void softmax_gradient(const scalar *weight, scalar *gradient, std::int64_t count) {
  const scalar mean = sum<scalar>(count, [=](std::int64_t k) { return weight[k] * gradient[k]; });
  for (std::int64_t k = 0; k < count; ++k) {
    gradient[k] = weight[k] * (gradient[k] - mean);
  }
}

/// Back from gathered [C] of one center to values and scores of its edges.
template <typename V, typename scalar>
inline void back_through_gather(const EdgeAttention<scalar> &task, const scalar *gathered,
                                std::int64_t center, const scalar *weight, scalar *score_gradient,
                                std::int64_t stride, scalar *neighbor_gradient) {
  const std::int64_t channels = task.heads * task.width;
  const std::int64_t begin = task.first[center];
  const std::int64_t count = task.first[center + 1] - begin;
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t neighbor = task.neighbor[begin + k];
    const scalar *value = task.projected + 3 * channels * neighbor + 2 * channels;
    scalar *value_gradient = neighbor_gradient + 2 * channels * neighbor + channels;
    for (std::int64_t head = 0; head < task.heads; ++head) {
      const scalar weight_of_edge = weight[head * stride + k];
      V sum{};
      for (std::int64_t c = head * task.width; c < (head + 1) * task.width; c += lanes<V, scalar>) {
        const V given = load<V>(gathered + c);
        sum += given * load<V>(value + c);
        store(value_gradient + c, load<V>(value_gradient + c) + weight_of_edge * given);
      }
      score_gradient[head * stride + k] = sum_lanes<scalar>(sum);
    }
  }
  for (std::int64_t head = 0; head < task.heads; ++head) {
    softmax_gradient(weight + head * stride, score_gradient + head * stride, count);
  }
}

/// Back from the hidden channels of one edge, number `row` of the block and `number` of the group's
/// `edges`, to what entered the LeakyReLU, in place, and on to its center, its neighbor and the
/// attention.
template <typename V, typename scalar>
inline void back_through_edge(const EdgeAttention<scalar> &task,
                              const EdgeAttentionGradient<scalar> &gradient,
                              const AttentionGroup<scalar> &group, std::int64_t row,
                              std::int64_t number, std::int64_t edges, scalar *center_gradient,
                              scalar *neighbor_gradient, scalar *attention_gradient) {
  const std::int64_t channels = task.heads * task.width;
  scalar *hidden_gradient = group.hidden_gradient + row * channels;
  const scalar *hidden_of_edge = group.hidden + number * channels;
  for (std::int64_t head = 0; head < task.heads; ++head) {
    const scalar of_score = gradient.gathered ? group.score_gradient[head * edges + number] : 0;
    for (std::int64_t c = head * task.width; c < (head + 1) * task.width; c += lanes<V, scalar>) {
      const V hidden = load<V>(hidden_of_edge + c);
      V given = load<V>(hidden_gradient + c);
      if (gradient.moments != nullptr) {
        given += load<V>(gradient.moments + c) +
                 scalar{2} * load<V>(gradient.moments + channels + c) * hidden;
      }
      if (gradient.gathered != nullptr) {
        given += of_score * load<V>(task.attention + c);
        store(attention_gradient + c, load<V>(attention_gradient + c) + of_score * hidden);
      }
      const V leaky = task.negative_slope * given;
      given = hidden > V{} ? given : leaky;
      store(hidden_gradient + c, given);
      store(center_gradient + c, load<V>(center_gradient + c) + given);
      store(neighbor_gradient + c, load<V>(neighbor_gradient + c) + given);
    }
  }
}

/// Back from the new edges of a block to its hidden channels; zero where nobody reads them.
template <typename V, typename scalar>
inline void back_through_output(const Block<scalar> &block, const scalar *given,
                                const scalar *transposed, scalar *hidden_gradient,
                                scalar *output_weight) {
  const std::int64_t channels = block.channels();
  const std::int64_t width = block.task.edge_width;
  if (given == nullptr) {
    for (std::int64_t k = 0; k < block.count * channels; ++k) {
      hidden_gradient[k] = 0;
    }
    return;
  }
  const auto keep = [=](std::int64_t row, std::int64_t c, const V &sum) {
    store(hidden_gradient + row * channels + c, sum);
  };
  cover<V, scalar>(LayerTile{given, width, width, transposed, channels,
                             static_cast<const scalar *>(nullptr), keep},
                   block.count, channels);
  if (output_weight != nullptr) {
    cover<V, scalar>(TransposedTile<scalar>{block.hidden, channels, given, width, block.count,
                                            output_weight, width},
                     channels, width);
  }
}

/// Back from before the LeakyReLU of a block to its edges, which also gave `given` with skip, and
/// to their weight.
template <typename V, typename scalar>
inline void back_to_edges(const Block<scalar> &block, const scalar *hidden_gradient,
                          const scalar *given, const scalar *transposed, scalar *edge_gradient,
                          scalar *edge_weight) {
  const EdgeAttention<scalar> &task = block.task;
  const std::int64_t channels = block.channels();
  const std::int64_t width = task.edge_width;
  const bool skip = task.skip && given != nullptr;
  const auto keep = [=](std::int64_t row, std::int64_t c, const V &sum) {
    const std::int64_t place = row * width + c;
    store(edge_gradient + place, skip ? sum + load<V>(given + place) : sum);
  };
  cover<V, scalar>(LayerTile{hidden_gradient, channels, channels, transposed, width,
                             static_cast<const scalar *>(nullptr), keep},
                   block.count, width);
  cover<V, scalar>(TransposedTile<scalar>{task.edge + block.first * width, width, hidden_gradient,
                                          channels, block.count, edge_weight, channels},
                   width, channels);
}

template <typename V, typename scalar>
void back(const EdgeAttention<scalar> &task, const EdgeAttentionGradient<scalar> &gradient,
          const TransposedWeights<scalar> &transposed, std::int64_t begin, std::int64_t end,
          const AttentionGroup<scalar> &group, const AttentionSums<scalar> &sums) {
  const std::int64_t channels = task.heads * task.width;
  const std::int64_t first = task.first[begin];
  const std::int64_t edges = task.first[end] - first;
  recompute<V>(task, begin, end, group);
  for (std::int64_t center = begin; center < end; ++center) {
    const std::int64_t offset = task.first[center] - first;
    scalar *center_gradient = gradient.projected + 3 * channels * center;
    for (std::int64_t c = 0; c < channels; ++c) {
      center_gradient[c] = 0;
    }
    if (gradient.gathered != nullptr) {
      back_through_gather<V>(task, gradient.gathered + center * channels, center,
                             group.weight + offset, group.score_gradient + offset, edges,
                             sums.neighbor);
    }
  }
  Blocks<scalar> blocks(task, begin, first, first + edges);
  scalar *hidden = group.hidden;
  while (blocks.next(hidden)) {
    const Block<scalar> &block = blocks.block;
    const std::int64_t place = block.first * task.edge_width;
    const scalar *given = gradient.new_edge == nullptr ? nullptr : gradient.new_edge + place;
    back_through_output<V>(block, given, transposed.output, group.hidden_gradient,
                           sums.output_weight);
    for (std::int64_t row = 0; row < block.count; ++row) {
      const std::int64_t edge = block.first + row;
      back_through_edge<V>(task, gradient, group, row, edge - first, edges,
                           gradient.projected + 3 * channels * block.center[row],
                           sums.neighbor + 2 * channels * task.neighbor[edge], sums.attention);
    }
    back_to_edges<V>(block, static_cast<const scalar *>(group.hidden_gradient), given,
                     transposed.edge, gradient.edge + place, sums.edge_weight);
    hidden += block.count * channels;
  }
}

template <typename V, typename scalar>
void back_to_output(const EdgeAttention<scalar> &task, const scalar *given, std::int64_t begin,
                    std::int64_t end, scalar *hidden, scalar *output_weight, scalar *output_bias) {
  const std::int64_t channels = task.heads * task.width;
  const std::int64_t width = task.edge_width;
  Blocks<scalar> blocks(task, begin, task.first[begin], task.first[end]);
  while (blocks.next(hidden)) {
    const Block<scalar> &block = blocks.block;
    const scalar *of_block = given + block.first * width;
    cover<V, scalar>(HiddenTile<scalar>{block}, block.count, channels);
    cover<V, scalar>(TransposedTile<scalar>{hidden, channels, of_block, width, block.count,
                                            output_weight, width},
                     channels, width);
    add_rows<V>(of_block, block.count, width, output_bias);
  }
}

/// Can vectors divide the width of heads and of edges?
template <typename scalar>
bool fits_vectors(const EdgeAttention<scalar> &task) {
  constexpr std::int64_t step = lanes<Vector<scalar>, scalar>;
  return task.width % step == 0 && task.edge_width % step == 0;
}

}  // namespace

#define SYMGNN_DEFINE(scalar)                                                                      \
  void edge_attention_centers(const EdgeAttention<scalar> &task, std::int64_t begin,               \
                              std::int64_t end, scalar *workspace, scalar *moments) {              \
    fits_vectors(task) ? attend<Vector<scalar>>(task, begin, end, workspace, moments)              \
                       : attend<scalar>(task, begin, end, workspace, moments);                     \
  }                                                                                                \
  void gradient_of_group(                                                                          \
      const EdgeAttention<scalar> &task, const EdgeAttentionGradient<scalar> &gradient,            \
      const TransposedWeights<scalar> &transposed, std::int64_t begin, std::int64_t end,           \
      const AttentionGroup<scalar> &group, const AttentionSums<scalar> &sums) {                    \
    fits_vectors(task) ? back<Vector<scalar>>(task, gradient, transposed, begin, end, group, sums) \
                       : back<scalar>(task, gradient, transposed, begin, end, group, sums);        \
  }                                                                                                \
  void gradient_of_output(const EdgeAttention<scalar> &task, const scalar *given,                  \
                          std::int64_t begin, std::int64_t end, scalar *workspace,                 \
                          scalar *output_weight, scalar *output_bias) {                            \
    fits_vectors(task)                                                                             \
        ? back_to_output<Vector<scalar>>(task, given, begin, end, workspace, output_weight,        \
                                         output_bias)                                              \
        : back_to_output<scalar>(task, given, begin, end, workspace, output_weight, output_bias);  \
  }
SYMGNN_DEFINE(float)
SYMGNN_DEFINE(double)
#undef SYMGNN_DEFINE

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY
