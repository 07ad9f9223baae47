#ifndef SYMGNN_CORE_SPATIAL_ORDER_H
#define SYMGNN_CORE_SPATIAL_ORDER_H

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "structure.h"

namespace symgnn {

/// The atoms of a structure along a space-filling curve. Neighbors are then close in memory, and a
/// run of atoms is a compact piece of the structure, whatever the order in the file.
class SpatialOrder {
 public:
  explicit SpatialOrder(const Structure &structure);

  std::size_t size() const { return atom_.size(); }
  /// The atom of each row.
  const std::vector<std::int64_t> &atoms() const { return atom_; }
  /// Positions of a structure with as many atoms, in this order: n × 3, Å.
  std::vector<double> positions(const Structure &structure) const;
  /// Its species in this order: int64 [n].
  torch::Tensor species(const Structure &structure) const;
  /// Rows [n, columns] of a float64 result, in the order of the structure, row-major.
  std::vector<double> back(const torch::Tensor &rows) const;

 private:
  std::vector<std::int64_t> atom_;
};

}  // namespace symgnn

#endif
