#ifndef SYMGNN_KERNELS_LOCAL_DENSITIES_H
#define SYMGNN_KERNELS_LOCAL_DENSITIES_H

#include <cstdint>

namespace symgnn::kernels {

/// Gaussians of distance that go to zero at a cutoff, Å.
template <typename scalar>
struct GaussianBasis {
  std::int64_t count;
  const scalar *centers;  ///< [count, rounded up to kMostLanes], ascending
  scalar width;
  scalar end;   ///< where the cutoff reaches zero
  scalar ramp;  ///< over which it does
};

/// Densities of neighbors around atoms: python/symgnn/models/densities.py defines them.
///
/// Arrays are row-major, on one device, and without gaps but for rows of vectors.
template <typename scalar>
struct LocalDensities {
  std::int64_t elements;         ///< S
  const std::int64_t *species;   ///< [N]
  const std::int64_t *first;     ///< [N + 1]: edges of center i are first[i] … first[i + 1] − 1
  const std::int64_t *neighbor;  ///< [E]
  const scalar *edge_vector;     ///< [E, 3], Å
  std::int64_t edge_stride;      ///< scalars from one vector to the next
  scalar smallest_length;        ///< Å
  GaussianBasis<scalar> radial, coarse;

  std::int64_t channels;  ///< R: Gaussians that weight the moments
  const scalar *radii;    ///< [R], Å
  const scalar *widths;   ///< [R], Å
  std::int64_t degree;    ///< largest l
  scalar angular_cutoff;  ///< Å
  /// [degree + 1, degree + 1, 3]: for each m and l ≥ m, the factors a and b of the recursion
  /// P_l = a z P_{l−1} − b P_{l−2}, P_m = a, and the normalization of Y_lm.
  const scalar *legendre;

  std::int64_t first_center;  ///< of row 0 of the densities
  scalar *densities;          ///< [rows, columns()]

  std::int64_t pairs() const { return elements * channels * (elements * channels + 1) / 2; }
  std::int64_t columns() const {
    return elements * (radial.count + coarse.count) + degree * pairs();
  }
  /// Moments c_lm of an element and channel.
  std::int64_t harmonics() const { return degree * (degree + 2); }
};

}  // namespace symgnn::kernels

#endif
