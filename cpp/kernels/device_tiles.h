#ifndef SYMGNN_KERNELS_DEVICE_TILES_H
#define SYMGNN_KERNELS_DEVICE_TILES_H

// Matrix products of tiles in shared memory, of any width. A tile is stored by columns, so that
// four rows are one load; a weight is stored by rows, padded with zeros to a multiple of four.

#include <cstddef>
#include <cstdint>

#include "device.h"

namespace symgnn::kernels {

/// Rows of a tile, which are edges.
template <typename scalar>
constexpr int kRows = sizeof(scalar) == sizeof(float) ? 128 : 64;

/// Distance of columns in a tile: columns begin in different banks of shared memory.
template <typename scalar>
constexpr int kStride = kRows<scalar> + 4;

/// Groups of four that hold `count`.
SYMGNN_BOTH constexpr int quads(std::int64_t count) { return static_cast<int>((count + 3) / 4); }

template <typename scalar>
struct alignas(16) Four {
  scalar value[4];
};

/// Four scalars in shared memory, at a multiple of 16 bytes.
template <typename scalar>
SYMGNN_DEVICE Four<scalar> load_four(const scalar *from) {
  assume_shared(from);
  return *reinterpret_cast<const Four<scalar> *>(from);
}

template <typename scalar>
SYMGNN_DEVICE void store_four(scalar *to, const Four<scalar> &four) {
  assume_shared(to);
  *reinterpret_cast<Four<scalar> *>(to) = four;
}

/// May rows that begin here be loaded and stored in pieces of 16 bytes?
template <typename... Pointer>
bool begin_aligned(const Pointer *...pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// Columns c, c + 1, … of rows in global memory, up to four; zero beyond the width.
template <typename scalar>
struct Columns {
  int c, count;
  bool is_aligned;

  SYMGNN_DEVICE Columns(int column, int width, bool aligned)
      : c(column), count(width - column < 4 ? width - column : 4), is_aligned(aligned) {}

  SYMGNN_DEVICE Four<scalar> load(const scalar *row) const {
    if (is_aligned) {
      return *reinterpret_cast<const Four<scalar> *>(row + c);
    }
    Four<scalar> four;
    for (int k = 0; k < 4; ++k) {
      four.value[k] = k < count ? row[c + k] : scalar(0);
    }
    return four;
  }

  SYMGNN_DEVICE void store(scalar *row, const Four<scalar> &four) const {
    if (is_aligned) {
      *reinterpret_cast<Four<scalar> *>(row + c) = four;
      return;
    }
    for (int k = 0; k < 4; ++k) {
      if (k < count) {
        row[c + k] = four.value[k];
      }
    }
  }
};

/// A 4 × 4 corner of a matrix: rows are edges.
template <typename scalar>
struct Corner {
  scalar sum[4][4];  ///< [row][column]

  SYMGNN_DEVICE void clear() {
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 4; ++c) {
        sum[r][c] = 0;
      }
    }
  }

  /// Add Σ_k a[k][row] b[k][column], from columns `a` of a tile and rows `b` of a weight.
  SYMGNN_DEVICE void add_product(const scalar *a, const scalar *b, int b_stride, int depth) {
#ifdef __CUDACC__
#pragma unroll 4
#endif
    for (int k = 0; k < depth; ++k) {
      const Four<scalar> x = load_four(a + k * kStride<scalar>);
      const Four<scalar> y = load_four(b + k * b_stride);
      for (int r = 0; r < 4; ++r) {
        for (int c = 0; c < 4; ++c) {
          sum[r][c] += x.value[r] * y.value[c];
        }
      }
    }
  }

  /// Add Σ_row a[row][p] b[row][q] to sum[p][q], for rows begin … end − 1, multiples of four.
  SYMGNN_DEVICE void add_sum_over_rows(const scalar *a, const scalar *b, int begin, int end) {
    for (int row = begin; row < end; row += 4) {
      Four<scalar> y[4];
      for (int q = 0; q < 4; ++q) {
        y[q] = load_four(b + q * kStride<scalar> + row);
      }
      for (int p = 0; p < 4; ++p) {
        const Four<scalar> x = load_four(a + p * kStride<scalar> + row);
        for (int q = 0; q < 4; ++q) {
          for (int k = 0; k < 4; ++k) {
            sum[p][q] += x.value[k] * y[q].value[k];
          }
        }
      }
    }
  }

  /// Column c as four rows of a tile, and back.
  SYMGNN_DEVICE Four<scalar> column(int c) const {
    return {sum[0][c], sum[1][c], sum[2][c], sum[3][c]};
  }
  SYMGNN_DEVICE void add_column(int c, const Four<scalar> &four) {
    for (int r = 0; r < 4; ++r) {
      sum[r][c] += four.value[r];
    }
  }
  SYMGNN_DEVICE Four<scalar> row(int r) const {
    return {sum[r][0], sum[r][1], sum[r][2], sum[r][3]};
  }
  SYMGNN_DEVICE void add_row(int r, const Four<scalar> &four) {
    for (int c = 0; c < 4; ++c) {
      sum[r][c] += four.value[c];
    }
  }
};

/// Where item `item` of a phase over the corners of rows × columns lies. Eight corners of rows come
/// first, so that eight neighboring threads read and write whole lines of shared memory.
struct CornerOf {
  int row, column;

  static SYMGNN_DEVICE int count(int rows, int columns) {
    return (quads(rows) + 7) / 8 * 8 * quads(columns);
  }
  SYMGNN_DEVICE CornerOf(int item, int columns) {
    const int rest = item / 8;
    column = 4 * (rest % quads(columns));
    row = 4 * (rest / quads(columns) * 8 + item % 8);
  }
};

/// Copy rows × columns of a row-major matrix, with row_step and column_step to walk it, into shared
/// memory: row-major, columns padded with zeros to a multiple of four.
template <typename scalar>
SYMGNN_DEVICE void load_weight(const Block &block, const scalar *from, int row_step,
                               int column_step, int rows, int columns, scalar *to) {
  const int all = 4 * quads(columns);
  block.for_each(rows * all, [&](int item) {
    const int row = item / all;
    const int column = item % all;
    scalar *at = to + item;
    assume_shared(at);
    *at = column < columns ? from[row * row_step + column * column_step] : scalar(0);
  });
}

/// Memory in pieces that begin at multiples of 16 bytes. Without memory it only counts.
class Pieces {
 public:
  explicit SYMGNN_BOTH Pieces(void *memory) : memory_(static_cast<unsigned char *>(memory)) {}

  template <typename type>
  SYMGNN_BOTH type *take(std::int64_t count) {
    unsigned char *piece = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (static_cast<std::size_t>(count) * sizeof(type) + 15) / 16 * 16;
    return reinterpret_cast<type *>(piece);
  }
  SYMGNN_BOTH std::size_t used() const { return used_; }

 private:
  unsigned char *memory_;
  std::size_t used_ = 0;
};

/// Rows first … first + count − 1 of `from` [rows, width] as columns of a tile; zero without `from`
/// and beyond the last row and column.
template <typename scalar>
SYMGNN_DEVICE void load_columns(const Block &block, const scalar *from, int width,
                                std::int64_t first, int count, scalar *to) {
  const int columns = 4 * quads(width);
  block.for_each(kRows<scalar> * columns, [&](int item) {
    const int row = item / columns;
    const int column = item % columns;
    const bool exists = from != nullptr && row < count && column < width;
    scalar *at = to + column * kStride<scalar> + row;
    assume_shared(at);
    *at = exists ? from[(first + row) * width + column] : scalar(0);
  });
}

}  // namespace symgnn::kernels

#endif
