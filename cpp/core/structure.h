#ifndef SYMGNN_CORE_STRUCTURE_H
#define SYMGNN_CORE_STRUCTURE_H

#include <array>
#include <cstddef>
#include <cstdint>

namespace symgnn {

/// Cell vectors as rows, Å, and which of them repeat.
struct Cell {
  std::array<std::array<double, 3>, 3> vectors{};
  std::array<bool, 3> periodic{};
};

/// One structure, borrowed from the caller for the length of a call.
struct Structure {
  const double *positions;      ///< n × 3, Å
  const std::int64_t *species;  ///< n indices into Metadata::elements
  std::size_t n;
  Cell cell;
  const std::uint8_t *group = nullptr;  ///< n, not 0 for atoms whose barriers are wanted; null: all
};

}  // namespace symgnn

#endif
