#ifndef SYMGNN_KERNELS_PRODUCTS_H
#define SYMGNN_KERNELS_PRODUCTS_H

#include "tiles.h"

namespace symgnn::kernels::SYMGNN_CAPABILITY {

// In a namespace without name, so that every file keeps its own instructions: see vectors.h.
namespace {

/// input · weight + bias (or null), handed over as vectors: finish(row, column, sum).
template <typename scalar, typename Finish>
struct LayerTile {
  const scalar *input;
  std::int64_t inputs, input_stride;
  const scalar *weight;
  std::int64_t weight_stride;
  const scalar *bias;
  Finish finish;

  template <typename V, int rows, int columns>
  inline void compute(std::int64_t row, std::int64_t c) const {
    constexpr std::int64_t step = lanes<V, scalar>;
    V sum[rows][columns];
    for (int r = 0; r < rows; ++r) {
      for (int k = 0; k < columns; ++k) {
        sum[r][k] = bias == nullptr ? V{} : load<V>(bias + c + step * k);
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
    const Finish hand_over = finish;  // in registers: what it stores might change this tile
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int k = 0; k < columns; ++k) {
        hand_over(row + r, c + step * k, sum[r][k]);
      }
    }
  }
};

template <typename scalar, typename Finish>
LayerTile(const scalar *, std::int64_t, std::int64_t, const scalar *, std::int64_t, const scalar *,
          Finish) -> LayerTile<scalar, Finish>;

/// result += leftᵀ · right, summed over edges.
template <typename scalar>
struct TransposedTile {
  const scalar *left;
  std::int64_t left_stride;
  const scalar *right;
  std::int64_t right_stride;
  std::int64_t edges;
  scalar *result;
  std::int64_t result_stride;

  template <typename V, int rows, int columns>
  inline void compute(std::int64_t row, std::int64_t c) const {
    constexpr std::int64_t step = lanes<V, scalar>;
    V sum[rows][columns] = {};
    for (std::int64_t edge = 0; edge < edges; ++edge) {
      V of_edge[columns];
      for (int k = 0; k < columns; ++k) {
        of_edge[k] = load<V>(right + edge * right_stride + c + step * k);
      }
      for (int r = 0; r < rows; ++r) {
        const scalar value = left[edge * left_stride + row + r];
        for (int k = 0; k < columns; ++k) {
          sum[r][k] += value * of_edge[k];
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int k = 0; k < columns; ++k) {
        scalar *place = result + (row + r) * result_stride + c + step * k;
        store(place, load<V>(place) + sum[r][k]);
      }
    }
  }
};

/// result [columns] += the sum of rows [edges, columns].
template <typename V, typename scalar>
inline void add_rows(const scalar *row, std::int64_t edges, std::int64_t columns, scalar *result) {
  for (std::int64_t c = 0; c < columns; c += lanes<V, scalar>) {
    V sum{};
    for (std::int64_t edge = 0; edge < edges; ++edge) {
      sum += load<V>(row + edge * columns + c);
    }
    store(result + c, load<V>(result + c) + sum);
  }
}

}  // namespace

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY

#endif
