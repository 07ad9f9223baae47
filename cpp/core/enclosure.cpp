#include "enclosure.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "error.h"

namespace symgnn {

namespace {

using Vector = std::array<double, 3>;

double dot(const Vector &a, const Vector &b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

Vector cross(const Vector &a, const Vector &b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

Vector scaled(const Vector &a, double factor) {
  return {a[0] * factor, a[1] * factor, a[2] * factor};
}

double norm(const Vector &a) { return std::sqrt(dot(a, a)); }

bool is_finite(const Vector &a) {
  return std::isfinite(a[0]) && std::isfinite(a[1]) && std::isfinite(a[2]);
}

std::string rounded(double length) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", length);
  return text.data();
}

/// A unit vector perpendicular to the given ones (one or two of them, not parallel).
Vector perpendicular(const Vector &a, const Vector *b) {
  if (b != nullptr) {
    const Vector normal = cross(a, *b);
    return scaled(normal, 1.0 / norm(normal));
  }
  const bool x_is_smallest = std::abs(a[0]) <= std::abs(a[1]) && std::abs(a[0]) <= std::abs(a[2]);
  const bool y_is_smaller = std::abs(a[1]) <= std::abs(a[2]);
  const Vector axis = x_is_smallest  ? Vector{1, 0, 0}
                      : y_is_smaller ? Vector{0, 1, 0}
                                     : Vector{0, 0, 1};
  const Vector normal = cross(a, axis);
  return scaled(normal, 1.0 / norm(normal));
}

void check_volume(const Cell &cell) {
  std::vector<Vector> periodic;
  for (int axis = 0; axis < 3; ++axis) {
    if (!cell.periodic[axis]) {
      continue;
    }
    const Vector &vector = cell.vectors[axis];
    if (!is_finite(vector)) {
      throw StructureError("a periodic cell vector is not finite; repair the cell first");
    }
    const double length = norm(vector);
    if (!(length > 0.0)) {
      throw StructureError(
          "the cell has no extent along a periodic direction; set the cell, or switch the "
          "periodicity off");
    }
    periodic.push_back(scaled(vector, 1.0 / length));
  }
  double volume = 1.0;  // of the unit vectors: zero if they lie in one plane or line
  if (periodic.size() == 3) {
    volume = std::abs(dot(periodic[0], cross(periodic[1], periodic[2])));
  } else if (periodic.size() == 2) {
    volume = norm(cross(periodic[0], periodic[1]));
  }
  if (!(volume > 1e-8)) {
    throw StructureError(
        "the periodic cell has no volume; set the cell, or switch the periodicity off");
  }
}

/// A fully periodic cell with the same pairs: vectors that do not repeat are replaced by
/// perpendicular ones that enclose the atoms and leave more than a cutoff empty. What files carry
/// in their place means nothing, and vesin's (0.6.2) own treatment of partly periodic cells takes a
/// time that grows with the square of the volume.
Cell enclosed(const Cell &cell, double cutoff, const Extent &extent) {
  std::vector<Vector> basis;
  for (int axis = 0; axis < 3; ++axis) {
    if (cell.periodic[axis]) {
      basis.push_back(cell.vectors[axis]);
    }
  }
  Cell result = cell;
  for (int axis = 0; axis < 3; ++axis) {
    if (cell.periodic[axis]) {
      continue;
    }
    const Vector direction = basis.empty()
                                 ? Vector{1, 0, 0}
                                 : perpendicular(basis[0], basis.size() > 1 ? &basis[1] : nullptr);
    result.vectors[axis] = scaled(direction, extent(direction) + 1.01 * cutoff);
    basis.push_back(direction);
  }
  result.periodic = {true, true, true};
  return result;
}

/// Distances of opposite faces.
Vector heights(const Cell &cell) {
  const Vector &a = cell.vectors[0];
  const Vector &b = cell.vectors[1];
  const Vector &c = cell.vectors[2];
  const double product = volume(cell);
  return {product / norm(cross(b, c)), product / norm(cross(c, a)), product / norm(cross(a, b))};
}

/// Refuse shapes that a list of cells cannot serve: periodic cells that are absurdly small for the
/// cutoff (they would eat the memory), and few atoms spread over a huge length. vesin (0.6.2)
/// limits the number of its cells to 100,000 by scaling all three directions, and divides by zero
/// where one of them then has less than one; the bound here keeps a factor of two away from that.
void check_shape(const Cell &cell, std::size_t n, double cutoff) {
  const Vector height = heights(cell);
  double images = static_cast<double>(n);
  double cells = 1.0;
  double fewest_cells = HUGE_VAL;
  for (int axis = 0; axis < 3; ++axis) {
    images *= 1.0 + 2.0 * cutoff / height[axis];
    const double along = std::max(1.0, std::trunc(height[axis] / cutoff));
    cells *= along;
    fewest_cells = std::min(fewest_cells, along);
  }
  if (!(images < 1e9)) {
    throw StructureError("the periodic cell is far too small for the model's cutoff of " +
                         rounded(cutoff) + " Å; are its lengths in Å?");
  }
  if (cells > 5e4 && cells > 5e4 * std::pow(fewest_cells, 3)) {
    throw StructureError(
        "the structure spans " + rounded(height[0]) + " × " + rounded(height[1]) + " × " +
        rounded(height[2]) +
        " Å, too long and thin for a neighbor list; remove atoms that flew away, or use "
        "more ranks of LAMMPS");
  }
}

}  // namespace

void check_positions(const double *positions, std::size_t n) {
  const auto problem = [](std::size_t coordinate, const std::string &what) {
    return StructureError("the position of atom " + std::to_string(coordinate / 3) +
                          " (counted from 0) is " + what + "; the simulation may have blown up");
  };
  for (std::size_t k = 0; k < 3 * n; ++k) {
    if (!std::isfinite(positions[k])) {
      throw problem(k, "not a finite number");
    }
    if (std::abs(positions[k]) > kFarthest) {
      throw problem(k, rounded(positions[k]) + " Å away");
    }
  }
}

Cell enclosing_cell(const Cell &cell, std::size_t n, double cutoff, const Extent &extent) {
  check_volume(cell);
  if (n == 0) {
    return cell;
  }
  const Cell enclosing = enclosed(cell, cutoff, extent);
  check_shape(enclosing, n, cutoff);
  return enclosing;
}

double volume(const Cell &cell) {
  return std::abs(dot(cell.vectors[0], cross(cell.vectors[1], cell.vectors[2])));
}

double smallest_height(const Cell &cell) {
  const std::array<double, 3> found = heights(cell);
  return *std::min_element(found.begin(), found.end());
}

}  // namespace symgnn
