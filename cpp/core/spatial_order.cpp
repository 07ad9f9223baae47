#include "spatial_order.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace symgnn {

namespace {

/// Side of the cells that are put in order, Å: about a neighbor shell.
constexpr double kCell = 5.0;
/// Bits of a cell's number along each axis; three of them fit into 64.
constexpr int kBits = 20;

/// The bits of a number, each followed by two zeros.
std::uint64_t spread_bits(std::uint64_t number) {
  std::uint64_t result = 0;
  for (int bit = 0; bit < kBits; ++bit) {
    result |= (number >> bit & 1) << (3 * bit);
  }
  return result;
}

/// Length of the box along a Cartesian axis in which positions are folded, or 0. Skewed boxes are
/// folded as if they were straight: the order is only worse near their faces.
std::array<double, 3> periods(const Cell &cell) {
  std::array<double, 3> result{};
  for (int axis = 0; axis < 3; ++axis) {
    result[axis] = cell.periodic[axis] ? std::abs(cell.vectors[axis][axis]) : 0.0;
  }
  return result;
}

}  // namespace

SpatialOrder::SpatialOrder(const Structure &structure) {
  const std::size_t n = structure.n;
  const std::array<double, 3> period = periods(structure.cell);
  const auto folded = [&](std::size_t atom, int axis) {
    const double x = structure.positions[3 * atom + axis];
    return period[axis] > 0.0 ? x - period[axis] * std::floor(x / period[axis]) : x;
  };
  std::array<double, 3> lowest{};
  for (int axis = 0; axis < 3; ++axis) {
    for (std::size_t atom = 0; atom < n; ++atom) {
      const double x = folded(atom, axis);
      lowest[axis] = atom == 0 ? x : std::min(lowest[axis], x);
    }
  }

  std::vector<std::pair<std::uint64_t, std::int64_t>> codes(n);
  for (std::size_t atom = 0; atom < n; ++atom) {
    std::uint64_t code = 0;
    for (int axis = 0; axis < 3; ++axis) {
      // Positions that are not finite are refused later, by the neighbor list.
      const double cell = (folded(atom, axis) - lowest[axis]) / kCell;
      constexpr double kLast = (1 << kBits) - 1;
      const double bounded = cell > 0.0 ? std::min(cell, kLast) : 0.0;
      code |= spread_bits(static_cast<std::uint64_t>(bounded)) << axis;
    }
    codes[atom] = {code, static_cast<std::int64_t>(atom)};
  }
  std::sort(codes.begin(), codes.end());

  atom_.resize(n);
  for (std::size_t row = 0; row < n; ++row) {
    atom_[row] = codes[row].second;
  }
}

std::vector<double> SpatialOrder::positions(const Structure &structure) const {
  std::vector<double> result(3 * atom_.size());
  for (std::size_t row = 0; row < atom_.size(); ++row) {
    std::copy_n(structure.positions + 3 * atom_[row], 3, result.begin() + 3 * row);
  }
  return result;
}

torch::Tensor SpatialOrder::species(const Structure &structure) const {
  torch::Tensor result = torch::empty({static_cast<std::int64_t>(atom_.size())}, torch::kInt64);
  std::int64_t *species = result.data_ptr<std::int64_t>();
  for (std::size_t row = 0; row < atom_.size(); ++row) {
    species[row] = structure.species[atom_[row]];
  }
  return result;
}

std::vector<double> SpatialOrder::back(const torch::Tensor &rows) const {
  const auto columns = static_cast<std::size_t>(rows.size(1));
  const double *values = rows.data_ptr<double>();
  std::vector<double> result(atom_.size() * columns);
  for (std::size_t row = 0; row < atom_.size(); ++row) {
    std::copy_n(values + columns * row, columns, result.begin() + columns * atom_[row]);
  }
  return result;
}

}  // namespace symgnn
