#include "edge_embedding.h"
#include "products.h"

namespace symgnn::kernels::SYMGNN_CAPABILITY {

namespace {

/// ReLU, which leaves NaN what it is: a run that diverges must not look as if it did not.
template <typename V>
inline V rectified(const V &sum) {
  return sum < V{} ? V{} : sum;
}

/// The first layer on `edges` edges from `begin` on: `columns` of its T · W channels from
/// `channel` on, to hidden [edges, columns].
template <typename V, typename scalar>
inline void hidden_layer(const EdgeEmbedding<scalar> &task, std::int64_t begin, std::int64_t edges,
                         std::int64_t channel, std::int64_t columns, scalar *hidden) {
  const auto rectify = [=](std::int64_t row, std::int64_t c, const V &sum) {
    store(hidden + row * columns + c, rectified(sum));
  };
  cover<V, scalar>(LayerTile{task.input + begin * task.inputs, task.inputs, task.inputs,
                             task.first_weight + channel, task.transformations * task.width,
                             task.first_bias + channel, rectify},
                   edges, columns);
}

/// Edges begin … end − 1 block by block, and of each block one transformation after the other:
/// work(first edge, edges, transformation).
template <typename Work>
inline void for_blocks(std::int64_t begin, std::int64_t end, std::int64_t transformations,
                       const Work &work) {
  for (; begin < end; begin += kEmbeddingGradientEdges) {
    const std::int64_t left = end - begin;
    const std::int64_t edges = left < kEmbeddingGradientEdges ? left : kEmbeddingGradientEdges;
    for (std::int64_t t = 0; t < transformations; ++t) {
      work(begin, edges, t);
    }
  }
}

template <typename V, typename scalar>
void embed(const EdgeEmbedding<scalar> &task, std::int64_t begin, std::int64_t end,
           scalar *workspace) {
  const std::int64_t width = task.width;
  const std::int64_t channels = task.transformations * width;
  const std::int64_t columns = task.average ? width : channels;
  for (; begin < end; begin += kEmbeddingEdges) {
    const std::int64_t edges = end - begin < kEmbeddingEdges ? end - begin : kEmbeddingEdges;
    hidden_layer<V>(task, begin, edges, 0, channels, workspace);
    for (std::int64_t t = 0; t < task.transformations; ++t) {
      scalar *result = task.result + begin * columns + (task.average ? 0 : t * width);
      const bool is_last = t + 1 == task.transformations;
      const bool add = task.average && t > 0;
      const scalar factor =
          task.average && is_last ? scalar{1} / static_cast<scalar>(task.transformations) : 1;
      const auto rectify = [=](std::int64_t row, std::int64_t c, const V &sum) {
        scalar *place = result + row * columns + c;
        V positive = rectified(sum);
        if (add) {
          positive += load<V>(place);
        }
        store(place, positive * factor);
      };
      const std::int64_t own = task.own_second ? t : 0;
      cover<V, scalar>(LayerTile{workspace + t * width, width, channels,
                                 task.second_weight + own * width * width, width,
                                 task.second_bias + own * width, rectify},
                       edges, width);
    }
  }
}

/// Back from before the ReLU of the first layer, given [edges, W] for transformation t, to its
/// weights and to the input.
template <typename V, typename scalar>
inline void back_through_first_layer(const EdgeEmbedding<scalar> &task, std::int64_t begin,
                                     std::int64_t edges, std::int64_t t, const scalar *given,
                                     scalar *first_weight, scalar *first_bias, scalar *input) {
  const std::int64_t width = task.width;
  const std::int64_t channels = task.transformations * width;
  cover<V, scalar>(TransposedTile<scalar>{task.input + begin * task.inputs, task.inputs, given,
                                          width, edges, first_weight + t * width, channels},
                   task.inputs, width);
  add_rows<V>(given, edges, width, first_bias + t * width);
  if (input == nullptr) {
    return;
  }
  for (std::int64_t edge = 0; edge < edges; ++edge) {
    for (std::int64_t i = 0; i < task.inputs; ++i) {
      const scalar *weight = task.first_weight + i * channels + t * width;
      V sum{};
      for (std::int64_t c = 0; c < width; c += lanes<V, scalar>) {
        sum += load<V>(given + edge * width + c) * load<V>(weight + c);
      }
      scalar *place = input + (begin + edge) * task.inputs + i;
      *place = (t > 0 ? *place : 0) + sum_lanes<scalar>(sum);
    }
  }
}

template <typename V, typename scalar>
void embed_back(const EdgeEmbedding<scalar> &task, const EdgeEmbeddingGradient<scalar> &gradient,
                std::int64_t begin, std::int64_t end, scalar *workspace) {
  const std::int64_t width = task.width;
  const std::int64_t columns = task.average ? width : task.transformations * width;
  const scalar factor =
      task.average ? scalar{1} / static_cast<scalar>(task.transformations) : scalar{1};
  scalar *hidden = workspace;
  scalar *of_second = hidden + kEmbeddingGradientEdges * width;  // before the second ReLU
  scalar *of_first = of_second + kEmbeddingGradientEdges * width;
  for_blocks(
      begin, end, task.transformations,
      [&](std::int64_t first, std::int64_t edges, std::int64_t t) {
        const std::int64_t own = task.own_second ? t : 0;
        const scalar *given = gradient.result + first * columns + (task.average ? 0 : t * width);
        hidden_layer<V>(task, first, edges, t * width, width, hidden);
        const auto where_positive = [=](std::int64_t row, std::int64_t c, const V &sum) {
          const V scaled = load<V>(given + row * columns + c) * factor;
          store(of_second + row * width + c, sum > V{} ? scaled : V{});
        };
        cover<V, scalar>(LayerTile{static_cast<const scalar *>(hidden), width, width,
                                   task.second_weight + own * width * width, width,
                                   task.second_bias + own * width, where_positive},
                         edges, width);
        cover<V, scalar>(TransposedTile<scalar>{hidden, width, of_second, width, edges,
                                                gradient.second_weight + t * width * width, width},
                         width, width);
        add_rows<V>(of_second, edges, width, gradient.second_bias + t * width);
        const auto where_hidden = [=](std::int64_t row, std::int64_t c, const V &sum) {
          store(of_first + row * width + c, load<V>(hidden + row * width + c) > V{} ? sum : V{});
        };
        cover<V, scalar>(LayerTile{static_cast<const scalar *>(of_second), width, width,
                                   gradient.second_transposed + own * width * width, width,
                                   static_cast<const scalar *>(nullptr), where_hidden},
                         edges, width);
        back_through_first_layer<V>(task, first, edges, t, of_first, gradient.first_weight,
                                    gradient.first_bias, gradient.input);
      });
}

template <typename V, typename scalar>
void moments(const EdgeEmbedding<scalar> &task, const HiddenMoments<scalar> &result,
             std::int64_t begin, std::int64_t end, scalar *hidden) {
  const std::int64_t width = task.width;
  for_blocks(begin, end, task.transformations,
             [&](std::int64_t first, std::int64_t edges, std::int64_t t) {
               hidden_layer<V>(task, first, edges, t * width, width, hidden);
               add_rows<V>(hidden, edges, width, result.sums + t * width);
               cover<V, scalar>(TransposedTile<scalar>{hidden, width, hidden, width, edges,
                                                       result.products + t * width * width, width},
                                width, width);
             });
}

template <typename V, typename scalar>
void moments_back(const EdgeEmbedding<scalar> &task, const HiddenMomentsGradient<scalar> &gradient,
                  std::int64_t begin, std::int64_t end, scalar *workspace) {
  const std::int64_t width = task.width;
  scalar *hidden = workspace;
  scalar *of_first = hidden + kEmbeddingGradientEdges * width;
  for_blocks(begin, end, task.transformations,
             [&](std::int64_t first, std::int64_t edges, std::int64_t t) {
               hidden_layer<V>(task, first, edges, t * width, width, hidden);
               const auto where_hidden = [=](std::int64_t row, std::int64_t c, const V &sum) {
                 store(of_first + row * width + c,
                       load<V>(hidden + row * width + c) > V{} ? sum : V{});
               };
               cover<V, scalar>(LayerTile{static_cast<const scalar *>(hidden), width, width,
                                          gradient.products + t * width * width, width,
                                          gradient.sums + t * width, where_hidden},
                                edges, width);
               back_through_first_layer<V>(task, first, edges, t, of_first, gradient.first_weight,
                                           gradient.first_bias, gradient.input);
             });
}

/// Can vectors divide the width?
template <typename scalar>
bool fits_vectors(const EdgeEmbedding<scalar> &task) {
  return task.width % lanes<Vector<scalar>, scalar> == 0;
}

}  // namespace

#define SYMGNN_DEFINE(scalar)                                                                     \
  void embed_edges(const EdgeEmbedding<scalar> &task, std::int64_t begin, std::int64_t end,       \
                   scalar *workspace) {                                                           \
    fits_vectors(task) ? embed<Vector<scalar>>(task, begin, end, workspace)                       \
                       : embed<scalar>(task, begin, end, workspace);                              \
  }                                                                                               \
  void embed_edges_gradient(const EdgeEmbedding<scalar> &task,                                    \
                            const EdgeEmbeddingGradient<scalar> &gradient, std::int64_t begin,    \
                            std::int64_t end, scalar *workspace) {                                \
    fits_vectors(task) ? embed_back<Vector<scalar>>(task, gradient, begin, end, workspace)        \
                       : embed_back<scalar>(task, gradient, begin, end, workspace);               \
  }                                                                                               \
  void hidden_moments(const EdgeEmbedding<scalar> &task, const HiddenMoments<scalar> &result,     \
                      std::int64_t begin, std::int64_t end, scalar *workspace) {                  \
    fits_vectors(task) ? moments<Vector<scalar>>(task, result, begin, end, workspace)             \
                       : moments<scalar>(task, result, begin, end, workspace);                    \
  }                                                                                               \
  void hidden_moments_gradient(const EdgeEmbedding<scalar> &task,                                 \
                               const HiddenMomentsGradient<scalar> &gradient, std::int64_t begin, \
                               std::int64_t end, scalar *workspace) {                             \
    fits_vectors(task) ? moments_back<Vector<scalar>>(task, gradient, begin, end, workspace)      \
                       : moments_back<scalar>(task, gradient, begin, end, workspace);             \
  }
SYMGNN_DEFINE(float)
SYMGNN_DEFINE(double)
#undef SYMGNN_DEFINE

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY
