#ifndef SYMGNN_KERNELS_DRAG_ENERGIES_H
#define SYMGNN_KERNELS_DRAG_ENERGIES_H

#include <cstdint>

namespace symgnn::kernels {

/// Of squared distances: a table of as many numbers is two registers of AVX-512.
constexpr std::int64_t kPairIntervals = 32;

/// What it costs to drag an atom away from each of its first neighbors (or towards it, by negative
/// strides) while the atoms around it give way, and how far those a few shells away go:
/// python/symgnn/models/drag.py defines it. Arrays are row-major without gaps where no stride is
/// given.
template <typename scalar>
struct DragEnergies {
  const std::int64_t *species;   ///< [N]
  const std::int64_t *first;     ///< [N + 1]: edges of center i are first[i] … first[i + 1] − 1
  const std::int64_t *neighbor;  ///< [E]
  const scalar *edge_vector;     ///< [E, 3], Å
  std::int64_t edge_stride;      ///< scalars from one vector to the next
  std::int64_t elements;         ///< S

  // Pair energies, a polynomial in each interval of the squared distance from lowest on
  const scalar *energy;  ///< [S, S, 4, kPairIntervals], eV, by ascending powers
  const scalar *slope;   ///< [S, S, 3, kPairIntervals]: derivative by distance over distance, eV/Å²
  scalar lowest, spacing;  ///< Å²
  scalar reach, slack;     ///< Å: where pair energies end, and how far pairs may come closer

  const scalar *mobility;            ///< [S], Å²/eV
  scalar mobile_end, mobile_ramp;    ///< Å, from the center: who gives way
  scalar shell_end, shell_ramp;      ///< Å: first neighbors
  scalar far, far_ramp;              ///< Å, from the center: whose displacements count
  scalar stride, momentum, longest;  ///< Å, –, Å
  std::int64_t relaxations, strides, iterations;
  std::int64_t displacements;  ///< columns of them: strides, or none
  std::int64_t levels;         ///< temperatures
  const scalar *temperatures;  ///< [levels], eV

  std::int64_t most;          ///< edges of a center
  std::int64_t first_center;  ///< of row 0 of the results
  /// [rows]: energies [strides + 1, levels + 1], eV, then displacements, Å²
  scalar *result;
};

}  // namespace symgnn::kernels

#endif
