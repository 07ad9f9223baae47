#ifndef SYMGNN_KERNELS_VECTORS_H
#define SYMGNN_KERNELS_VECTORS_H

// For files that are compiled once per instruction set. Include nothing here or there that has
// inline functions with outside linkage (no containers of the standard library): the linker keeps
// one copy of such a function, which may be the one that this processor cannot run.

#include <cstdint>

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

/// Sum of the lanes, pairwise: halves of a vector are added until one lane is left.
template <typename scalar, typename V>
inline scalar sum_lanes(const V &vector) {
  if constexpr (sizeof(V) == sizeof(scalar)) {
    return vector;
  } else {
    typedef scalar Half __attribute__((vector_size(sizeof(V) / 2)));
    Half low;
    Half high;
    __builtin_memcpy(&low, &vector, sizeof(Half));
    __builtin_memcpy(&high, reinterpret_cast<const char *>(&vector) + sizeof(Half), sizeof(Half));
    if constexpr (sizeof(Half) == sizeof(scalar)) {
      return low[0] + high[0];
    } else {
      return sum_lanes<scalar, Half>(low + high);
    }
  }
}

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY

#endif
