#ifndef SYMGNN_CORE_ENCLOSURE_H
#define SYMGNN_CORE_ENCLOSURE_H

#include <array>
#include <cstddef>
#include <functional>

#include "structure.h"

namespace symgnn {

/// Beyond this, in Å, a double no longer resolves a bond well, and cell numbers overflow.
constexpr double kFarthest = 1e8;

/// Throws StructureError for positions, n × 3, that are not finite or too far away.
void check_positions(const double *positions, std::size_t n);

/// Distance that the atoms span along a unit vector, Å.
using Extent = std::function<double(const std::array<double, 3> &)>;

/// A fully periodic cell in which n atoms have the same pairs as in `cell`.
/// Throws StructureError for cells without volume, or that no neighbor list can serve.
Cell enclosing_cell(const Cell &cell, std::size_t n, double cutoff, const Extent &extent);

/// Å³.
double volume(const Cell &cell);

/// The smallest distance of opposite faces of a fully periodic cell, Å. No two images of an atom
/// are closer.
double smallest_height(const Cell &cell);

}  // namespace symgnn

#endif
