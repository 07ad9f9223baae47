#ifndef SYMGNN_KERNELS_SHELL_SUMS_H
#define SYMGNN_KERNELS_SHELL_SUMS_H

#include <cstdint>

namespace symgnn::kernels {

/// Weighted sums over the neighbors of each center, by element of the neighbor and by shell:
/// python/symgnn/models/shells.py defines them. For edge e from neighbor j to center i, both of
/// some element,
///
///     sums_i[element of j, h]   = Σ_e weight_h(|r_e|) values_j[element of i, h]
///     totals_i[element of j, h] = Σ_e weight_h(|r_e|)
///
/// Arrays are on one device; where no strides are given, row-major without gaps.
template <typename scalar>
struct ShellSums {
  const std::int64_t *species;   ///< [N]
  const std::int64_t *first;     ///< [N + 1]: edges of center i are first[i] … first[i + 1] − 1
  const std::int64_t *neighbor;  ///< [E]
  const scalar *edge_vector;     ///< [E, 3], Å
  std::int64_t edge_stride;      ///< scalars from one vector to the next
  std::int64_t groups;           ///< G: the number of elements, or 1: all in one
  std::int64_t shells;           ///< H
  const scalar *radii;           ///< [H], Å
  scalar ramp;                   ///< Å

  const scalar *values;  ///< [N, elements, H, C]
  std::int64_t columns;  ///< C
  /// Scalars from one atom, element or shell to the next; 0: the same for all.
  std::int64_t atom_stride, element_stride, shell_stride;

  std::int64_t first_center;  ///< of row 0 of the results
  scalar *sums;               ///< [rows, G, H, C]
  scalar *totals;             ///< [rows, G, H]
};

}  // namespace symgnn::kernels

#endif
