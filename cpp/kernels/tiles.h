#ifndef SYMGNN_KERNELS_TILES_H
#define SYMGNN_KERNELS_TILES_H

#include "vectors.h"

namespace symgnn::kernels::SYMGNN_CAPABILITY {

/// Tiles of `tile_rows` rows, and smaller ones for the rest, that cover rows row … end − 1 at
/// column c.
template <typename V, int tile_rows, int columns, typename Tile>
inline void cover_rows(const Tile &tile, std::int64_t row, std::int64_t end, std::int64_t c) {
  for (; row + tile_rows <= end; row += tile_rows) {
    tile.template compute<V, tile_rows, columns>(row, c);
  }
  if constexpr (tile_rows > 1) {
    if (row < end) {
      cover_rows<V, tile_rows / 2, columns>(tile, row, end, c);
    }
  }
}

/// Tiles that cover rows × columns, a multiple of the lanes of V. A tile is a piece of a matrix
/// product, tile.compute<V, rows, columns>(row, column) with `columns` vectors V, whose sums fill
/// the registers.
template <typename V, typename scalar, typename Tile>
inline void cover(const Tile &tile, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t step = lanes<V, scalar>;
  constexpr bool many_registers = SYMGNN_VECTOR_BYTES == 64;
  std::int64_t c = 0;
  if constexpr (many_registers) {
    for (; c + 4 * step <= columns; c += 4 * step) {
      cover_rows<V, 6, 4>(tile, 0, rows, c);
    }
  }
  constexpr int tile_rows = many_registers ? 12 : 6;
  for (; c + 2 * step <= columns; c += 2 * step) {
    cover_rows<V, tile_rows, 2>(tile, 0, rows, c);
  }
  for (; c < columns; c += step) {
    cover_rows<V, tile_rows, 1>(tile, 0, rows, c);
  }
}

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY

#endif
