#ifndef SYMGNN_CORE_SPATIAL_ORDER_H
#define SYMGNN_CORE_SPATIAL_ORDER_H

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "structure.h"

namespace symgnn {

/// A structure with its atoms along a space-filling curve. Neighbors are then close in memory, and
/// a run of atoms is a compact piece of the structure, whatever the order in the file.
class SpatialOrder {
 public:
  explicit SpatialOrder(const Structure &structure);

  /// n × 3, Å.
  const std::vector<double> &positions() const { return positions_; }
  /// int64 [n].
  const torch::Tensor &species() const { return species_; }
  /// Rows [n, columns] of a float64 result, in the order of the structure, row-major.
  std::vector<double> back(const torch::Tensor &rows) const;

 private:
  std::vector<std::int64_t> atom_;  ///< of each row
  std::vector<double> positions_;
  torch::Tensor species_;
};

}  // namespace symgnn

#endif
