#include "edge_embedding_cuda.h"

#include "device_tiles.h"

namespace symgnn::kernels {

namespace {

// Floor on an H200 with I = 3 and W = 32, per edge and transformation: 2 W (I + W) = 2.2 kFLOP,
// 0.033 ns. Bytes, 4 (I + W) per edge with the average: 140 B, 0.03 ns, once. So arithmetic is the
// bound from the second transformation on.

/// Transformations one after the other; a tile's hidden layer stays in shared memory.
template <typename scalar>
struct EmbeddingKernel {
  EdgeEmbedding<scalar> task;
  bool is_aligned;

  struct Shared {
    scalar *input, *hidden, *sum;
    scalar *first_weight, *second_weight;
    std::size_t size;

    SYMGNN_BOTH Shared(const EdgeEmbedding<scalar> &task, void *memory) {
      const int columns = 4 * quads(task.width);
      Pieces pieces(memory);
      input = pieces.take<scalar>(4 * quads(task.inputs) * kStride<scalar>);
      hidden = pieces.take<scalar>(columns * kStride<scalar>);
      sum = pieces.take<scalar>(columns * kStride<scalar>);
      first_weight = pieces.take<scalar>(task.inputs * columns);
      second_weight = pieces.take<scalar>(task.width * columns);
      size = pieces.used();
    }
  };

  SYMGNN_DEVICE void operator()(const Block &block) const {
    const int width = static_cast<int>(task.width);
    const int inputs = static_cast<int>(task.inputs);
    const int transformations = static_cast<int>(task.transformations);
    const Shared shared(task, block.shared());
    const auto load_first_weight = [&](int number) {
      load_weight(block, task.first_weight + number * width, transformations * width, 1, inputs,
                  width, shared.first_weight);
    };
    load_weight(block, task.second_weight, width, 1, width, width, shared.second_weight);
    for (std::int64_t tile = block.index(); tile * kRows<scalar> < task.edges;
         tile += block.count()) {
      const std::int64_t first = tile * kRows<scalar>;
      const std::int64_t left = task.edges - first;
      const int count = static_cast<int>(left < kRows<scalar> ? left : kRows<scalar>);
      load_columns(block, task.input, inputs, first, count, shared.input);
      load_first_weight(0);
      block.barrier();
      for (int number = 0; number < transformations; ++number) {
        compute_hidden(block, number, count, shared);
        block.barrier();
        add_result(block, number, first, count, shared);
        if (number + 1 < transformations) {
          load_first_weight(number + 1);
        }
        block.barrier();
      }
    }
  }

 private:
  /// Bias and product, where negative zero.
  SYMGNN_DEVICE Corner<scalar> layer(const CornerOf &at, const scalar *bias, const scalar *from,
                                     const scalar *weight, int depth) const {
    const int width = static_cast<int>(task.width);
    const Four<scalar> four = Columns<scalar>(at.column, width, is_aligned).load(bias);
    Corner<scalar> corner;
    corner.clear();
    for (int r = 0; r < 4; ++r) {
      corner.add_row(r, four);
    }
    corner.add_product(from + at.row, weight + at.column, 4 * quads(width), depth);
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 4; ++c) {
        corner.sum[r][c] = corner.sum[r][c] > 0 ? corner.sum[r][c] : scalar(0);
      }
    }
    return corner;
  }

  SYMGNN_DEVICE void compute_hidden(const Block &block, int number, int count,
                                    const Shared &shared) const {
    const int width = static_cast<int>(task.width);
    block.for_each(CornerOf::count(count, width), [&](int item) {
      const CornerOf at(item, width);
      if (at.row >= count) {
        return;
      }
      const Corner<scalar> corner = layer(at, task.first_bias + number * width, shared.input,
                                          shared.first_weight, static_cast<int>(task.inputs));
      for (int c = 0; c < 4; ++c) {
        store_four(shared.hidden + (at.column + c) * kStride<scalar> + at.row, corner.column(c));
      }
    });
  }

  SYMGNN_DEVICE void add_result(const Block &block, int number, std::int64_t first, int count,
                                const Shared &shared) const {
    const int width = static_cast<int>(task.width);
    const int transformations = static_cast<int>(task.transformations);
    const bool is_last = number + 1 == transformations;
    block.for_each(CornerOf::count(count, width), [&](int item) {
      const CornerOf at(item, width);
      if (at.row >= count) {
        return;
      }
      const Columns<scalar> columns(at.column, width, is_aligned);
      Corner<scalar> corner =
          layer(at, task.second_bias, shared.hidden, shared.second_weight, width);
      scalar *sum = shared.sum + at.column * kStride<scalar> + at.row;
      for (int c = 0; c < 4 && task.average; ++c) {
        if (number > 0) {
          corner.add_column(c, load_four(sum + c * kStride<scalar>));
        }
        if (!is_last) {
          store_four(sum + c * kStride<scalar>, corner.column(c));
        }
      }
      if (task.average && !is_last) {
        return;
      }
      const scalar factor = task.average ? 1 / static_cast<scalar>(transformations) : scalar(1);
      const std::int64_t stride = task.average ? width : transformations * width;
      for (int r = 0; r < 4 && at.row + r < count; ++r) {
        Four<scalar> four = corner.row(r);
        for (int c = 0; c < 4; ++c) {
          four.value[c] *= factor;
        }
        columns.store(
            task.result + (first + at.row + r) * stride + (task.average ? 0 : number * width),
            four);
      }
    });
  }
};

}  // namespace

template <typename scalar>
const char *edge_embedding_cuda(const EdgeEmbedding<scalar> &task, void *stream) {
  using Kernel = EmbeddingKernel<scalar>;
  const bool is_aligned =
      task.width % 4 == 0 && begin_aligned(task.first_bias, task.second_bias, task.result);
  const std::int64_t blocks = (task.edges + kRows<scalar> - 1) / kRows<scalar>;
  return launch<4>(Kernel{task, is_aligned}, blocks < kMostBlocks ? blocks : kMostBlocks,
                   typename Kernel::Shared(task, nullptr).size, stream);
}

template const char *edge_embedding_cuda(const EdgeEmbedding<float> &, void *);
template const char *edge_embedding_cuda(const EdgeEmbedding<double> &, void *);

}  // namespace symgnn::kernels
