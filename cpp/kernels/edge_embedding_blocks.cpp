#include "edge_embedding.h"
#include "tiles.h"

namespace symgnn::kernels::SYMGNN_CAPABILITY {

namespace {

/// result = ReLU(input · weight + bias), which may be added to what is there, and then scaled.
template <typename scalar>
struct LayerTile {
  const scalar *input;
  std::int64_t inputs, input_stride;
  const scalar *weight;
  std::int64_t weight_stride;
  const scalar *bias;
  scalar *result;
  std::int64_t result_stride;
  bool add;
  scalar factor;

  template <typename V, int rows, int columns>
  inline void compute(std::int64_t row, std::int64_t c) const {
    constexpr std::int64_t step = lanes<V, scalar>;
    V sum[rows][columns];
    for (int r = 0; r < rows; ++r) {
      for (int k = 0; k < columns; ++k) {
        sum[r][k] = load<V>(bias + c + step * k);
      }
    }
    for (std::int64_t i = 0; i < inputs; ++i) {
      V of_input[columns];
      for (int k = 0; k < columns; ++k) {
        of_input[k] = load<V>(weight + i * weight_stride + c + step * k);
      }
      for (int r = 0; r < rows; ++r) {
        const scalar value = input[(row + r) * input_stride + i];
        for (int k = 0; k < columns; ++k) {
          sum[r][k] += value * of_input[k];
        }
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int k = 0; k < columns; ++k) {
        scalar *place = result + (row + r) * result_stride + c + step * k;
        V positive = sum[r][k] > V{} ? sum[r][k] : V{};
        if (add) {
          positive += load<V>(place);
        }
        store(place, positive * factor);
      }
    }
  }
};

template <typename V, typename scalar>
void embed(const EdgeEmbedding<scalar> &task, std::int64_t begin, std::int64_t end,
           scalar *workspace) {
  const std::int64_t channels = task.transformations * task.width;
  const std::int64_t columns = task.average ? task.width : channels;
  for (; begin < end; begin += kEmbeddingEdges) {
    const std::int64_t edges = end - begin < kEmbeddingEdges ? end - begin : kEmbeddingEdges;
    cover<V, scalar>(LayerTile<scalar>{task.input + begin * task.inputs, task.inputs, task.inputs,
                                       task.first_weight, channels, task.first_bias, workspace,
                                       channels, false, scalar{1}},
                     edges, channels);
    for (std::int64_t t = 0; t < task.transformations; ++t) {
      scalar *result = task.result + begin * columns + (task.average ? 0 : t * task.width);
      const bool is_last = t + 1 == task.transformations;
      const scalar factor =
          task.average && is_last ? scalar{1} / static_cast<scalar>(task.transformations) : 1;
      cover<V, scalar>(LayerTile<scalar>{workspace + t * task.width, task.width, channels,
                                         task.second_weight, task.width, task.second_bias, result,
                                         columns, task.average && t > 0, factor},
                       edges, task.width);
    }
  }
}

template <typename scalar>
void embed_vectorized(const EdgeEmbedding<scalar> &task, std::int64_t begin, std::int64_t end,
                      scalar *workspace) {
  task.width % lanes<Vector<scalar>, scalar> == 0
      ? embed<Vector<scalar>>(task, begin, end, workspace)
      : embed<scalar>(task, begin, end, workspace);
}

}  // namespace

void embed_edges(const EdgeEmbedding<float> &task, std::int64_t begin, std::int64_t end,
                 float *workspace) {
  embed_vectorized(task, begin, end, workspace);
}

void embed_edges(const EdgeEmbedding<double> &task, std::int64_t begin, std::int64_t end,
                 double *workspace) {
  embed_vectorized(task, begin, end, workspace);
}

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY
