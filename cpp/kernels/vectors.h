#ifndef SYMGNN_KERNELS_VECTORS_H
#define SYMGNN_KERNELS_VECTORS_H

// For files that are compiled once per instruction set. Include nothing here or there that has
// inline functions with outside linkage (no containers of the standard library): the linker keeps
// one copy of such a function, which may be the one that this processor cannot run.

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <cstdint>
#include <type_traits>
#include <utility>

#ifndef SYMGNN_CAPABILITY
#error "compiled with -DSYMGNN_CAPABILITY=… -DSYMGNN_VECTOR_BYTES=…: see CMakeLists.txt"
#endif

namespace symgnn::kernels::SYMGNN_CAPABILITY {

template <typename scalar>
struct VectorOf {
  typedef scalar type __attribute__((vector_size(SYMGNN_VECTOR_BYTES)));
};

/// As many scalars as a register holds.
template <typename scalar>
using Vector = typename VectorOf<scalar>::type;

/// Lanes of V, which is a Vector<scalar> or a scalar.
template <typename V, typename scalar>
constexpr std::int64_t lanes = sizeof(V) / sizeof(scalar);

// From and to anywhere in memory: the compiler makes one unaligned move of these.
template <typename V, typename scalar>
inline V load(const scalar *from) {
  V value;
  __builtin_memcpy(&value, from, sizeof(V));
  return value;
}

template <typename V, typename scalar>
inline void store(scalar *to, const V &value) {
  __builtin_memcpy(to, &value, sizeof(V));
}

template <typename scalar>
struct IndexOf {
  typedef std::int32_t type
      __attribute__((vector_size(SYMGNN_VECTOR_BYTES / sizeof(scalar) * sizeof(std::int32_t))));
};

/// As many indices as a register holds scalars.
template <typename scalar>
using Index = typename IndexOf<scalar>::type;

/// table[at], lane by lane. Compilers do not find the instruction by themselves; GCC warns of the
/// one without a mask (its bug 105593).
inline Vector<float> gathered(const float *table, const Index<float> &at) {
#if defined(__AVX512F__)
  return (Vector<float>)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xFFFF, (__m512i)at, table,
                                                 4);
#elif defined(__AVX2__)
  return (Vector<float>)_mm256_mask_i32gather_ps(_mm256_setzero_ps(), table, (__m256i)at,
                                                 (__m256)_mm256_set1_epi32(-1), 4);
#else
  Vector<float> result;
  for (std::size_t lane = 0; lane < sizeof(result) / sizeof(float); ++lane) {
    result[lane] = table[at[lane]];
  }
  return result;
#endif
}

inline Vector<double> gathered(const double *table, const Index<double> &at) {
#if defined(__AVX512F__)
  return (Vector<double>)_mm512_mask_i32gather_pd(_mm512_setzero_pd(), 0xFF, (__m256i)at, table, 8);
#elif defined(__AVX2__)
  return (Vector<double>)_mm256_mask_i32gather_pd(_mm256_setzero_pd(), table, (__m128i)at,
                                                  (__m256d)_mm256_set1_epi64x(-1), 8);
#else
  Vector<double> result;
  for (std::size_t lane = 0; lane < sizeof(result) / sizeof(double); ++lane) {
    result[lane] = table[at[lane]];
  }
  return result;
#endif
}

/// table[at], lane by lane, of a table of 32 that is read often: AVX-512 finds it in two registers.
inline Vector<float> chosen_of_32(const float *table, const Index<float> &at) {
#if defined(__AVX512F__)
  return (Vector<float>)_mm512_permutex2var_ps(_mm512_loadu_ps(table), (__m512i)at,
                                               _mm512_loadu_ps(table + 16));
#else
  return gathered(table, at);
#endif
}

inline Vector<double> chosen_of_32(const double *table, const Index<double> &at) {
  return gathered(table, at);
}

/// The same lanes with neighboring groups of `half` exchanged.
template <int half, typename V, int... lane>
inline V exchanged(const V &vector, std::integer_sequence<int, lane...>) {
#ifdef __clang__
  return __builtin_shufflevector(vector, vector, (lane ^ half)...);
#else
  using Lane = std::conditional_t<sizeof(vector[0]) == 4, std::int32_t, std::int64_t>;
  typedef Lane Lanes __attribute__((vector_size(sizeof(V))));
  return __builtin_shuffle(vector, Lanes{(lane ^ half)...});
#endif
}

/// Sum of the lanes, pairwise: the halves of a vector are added, then those of the half, until one
/// lane is left. Without a detour through memory.
template <typename scalar, typename V, int half = lanes<V, scalar> / 2>
inline scalar sum_lanes(const V &vector) {
  if constexpr (sizeof(V) == sizeof(scalar)) {
    return vector;
  } else if constexpr (half == 0) {
    return vector[0];
  } else {
    constexpr std::make_integer_sequence<int, lanes<V, scalar>> all;
    return sum_lanes<scalar, V, half / 2>(vector + exchanged<half>(vector, all));
  }
}

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY

#endif
