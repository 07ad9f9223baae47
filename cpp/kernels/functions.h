#ifndef SYMGNN_KERNELS_FUNCTIONS_H
#define SYMGNN_KERNELS_FUNCTIONS_H

// Functions of all lanes of a vector at once, for files that are compiled once per instruction set.

#include <math.h>

#include "vectors.h"

namespace symgnn::kernels::SYMGNN_CAPABILITY {

template <typename scalar>
struct FloatingPoint;

template <>
struct FloatingPoint<float> {
  using Bits = std::uint32_t;
  static constexpr int kFractionBits = 23;
  static constexpr Bits kExponentOfOne = 127;
  static constexpr float kLowestExponent = -87.0F;    // e to this is just above the smallest float
  static constexpr float kLog2High = 0.693359375F;    // few digits: its products with integers are
  static constexpr float kLog2Low = -2.12194440e-4F;  // exact; and what is missing
  static constexpr int kExpTerms = 7;
  static constexpr int kSineTerms = 6;
  static constexpr float kGaussianReach = 6.5F;  // widths, beyond which it is below 1e-9
};

template <>
struct FloatingPoint<double> {
  using Bits = std::uint64_t;
  static constexpr int kFractionBits = 52;
  static constexpr Bits kExponentOfOne = 1023;
  static constexpr double kLowestExponent = -708.0;
  static constexpr double kLog2High = 6.93145751953125e-1;
  static constexpr double kLog2Low = 1.42860682030941723212e-6;
  static constexpr int kExpTerms = 13;
  static constexpr int kSineTerms = 11;
  static constexpr double kGaussianReach = 9.0;  // below 1e-17
};

/// 1 / k!
constexpr double inverse_factorial(int k) { return k < 2 ? 1.0 : inverse_factorial(k - 1) / k; }

/// 1 / 0!, 1 / 1!, … as constants of the compiled code.
template <typename scalar, int... k>
struct Factorials {
  static constexpr scalar inverse[] = {static_cast<scalar>(inverse_factorial(k))...};
};
template <typename scalar>
using FirstFactorials = Factorials<scalar, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
                                   17, 18, 19, 20, 21, 22, 23>;

template <typename V>
inline V minimum(const V &a, const V &b) {
  return a < b ? a : b;
}

template <typename V>
inline V maximum(const V &a, const V &b) {
  return a > b ? a : b;
}

// Compilers do not find these instructions in the above.
#if defined(__AVX512F__)
inline Vector<float> minimum(const Vector<float> &a, const Vector<float> &b) {
  return (Vector<float>)_mm512_mask_min_ps((__m512)a, 0xFFFF, (__m512)a, (__m512)b);
}
inline Vector<float> maximum(const Vector<float> &a, const Vector<float> &b) {
  return (Vector<float>)_mm512_mask_max_ps((__m512)a, 0xFFFF, (__m512)a, (__m512)b);
}
#elif defined(__AVX2__)
inline Vector<float> minimum(const Vector<float> &a, const Vector<float> &b) {
  return (Vector<float>)_mm256_min_ps((__m256)a, (__m256)b);
}
inline Vector<float> maximum(const Vector<float> &a, const Vector<float> &b) {
  return (Vector<float>)_mm256_max_ps((__m256)a, (__m256)b);
}
#endif

/// e^x for x ≤ 0, to rounding; hardly above zero where x is very low. By x = n log 2 + r with
/// |r| ≤ log 2 / 2, Taylor's series in r, and n as exponent.
template <typename scalar>
inline Vector<scalar> exp_of_negative(Vector<scalar> x) {
  using V = Vector<scalar>;
  using F = FloatingPoint<scalar>;
  using Bits = Vector<typename F::Bits>;
  // A number this large has no fraction: adding it rounds, and leaves n in the lowest bits.
  constexpr scalar large = scalar(3) * (typename F::Bits(1) << (F::kFractionBits - 1));
  x = maximum(x, V{} + F::kLowestExponent);
  const V shifted = x * scalar(1.4426950408889634074) + large;
  const V n = shifted - large;
  const V r = (x - n * F::kLog2High) - n * F::kLog2Low;
  constexpr const scalar *inverse_factorial = FirstFactorials<scalar>::inverse;
  V series = V{} + inverse_factorial[F::kExpTerms];
#pragma GCC unroll 16
  for (int k = F::kExpTerms - 1; k >= 0; --k) {
    series = series * r + inverse_factorial[k];
  }
  const Bits power = ((Bits)shifted + F::kExponentOfOne) << F::kFractionBits;
  return series * (V)power;
}

/// sin²(π x / 2) for 0 ≤ x ≤ 1, by Taylor's series.
template <typename scalar>
inline Vector<scalar> squared_sine(const Vector<scalar> &x) {
  using V = Vector<scalar>;
  const V angle = x * scalar(1.5707963267948966192);
  const V square = angle * angle;
  constexpr const scalar *inverse_factorial = FirstFactorials<scalar>::inverse;
  constexpr int terms = FloatingPoint<scalar>::kSineTerms;
  V series = V{} + inverse_factorial[2 * terms + 1];
#pragma GCC unroll 16
  for (int k = terms - 1; k >= 0; --k) {
    series = inverse_factorial[2 * k + 1] - series * square;
  }
  series *= angle;
  return series * series;
}

inline float root(float x) { return sqrtf(x); }
inline double root(double x) { return sqrt(x); }

/// Square roots; the loop becomes one instruction.
template <typename scalar>
inline Vector<scalar> root_of(const Vector<scalar> &x) {
  Vector<scalar> result;
  for (int k = 0; k < lanes<Vector<scalar>, scalar>; ++k) {
    result[k] = root(x[k]);
  }
  return result;
}

/// Smooth step from 1 to 0 between `end` − `width` and `end`.
template <typename scalar>
inline Vector<scalar> ramp(const Vector<scalar> &length, scalar end, scalar width) {
  using V = Vector<scalar>;
  const V fraction = minimum(maximum((end - length) / width, V{}), V{} + scalar(1));
  return fraction * fraction * (scalar(3) - scalar(2) * fraction);
}

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY

#endif
