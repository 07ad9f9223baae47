#ifndef SYMGNN_CORE_ALLOCATION_H
#define SYMGNN_CORE_ALLOCATION_H

#include <cstdlib>  // says whether this is glibc

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace symgnn {

/// Let the process keep up to half a gigabyte of freed memory. glibc otherwise returns blocks as
/// large as the tensors of a layer to the system, and gets them back page by page, zeroed: a fifth
/// of the time of a call.
inline void keep_freed_memory() {
#ifdef __GLIBC__
  static const bool done = [] {
    constexpr int kLargestBlock = 256 << 20;
    constexpr int kLargestBlockOfOldGlibc = 32 << 20;
    constexpr int kMostKept = 512 << 20;
    mallopt(M_TRIM_THRESHOLD, kMostKept);
    return mallopt(M_MMAP_THRESHOLD, kLargestBlock) == 1 ||
           mallopt(M_MMAP_THRESHOLD, kLargestBlockOfOldGlibc) == 1;
  }();
  (void)done;
#endif
}

}  // namespace symgnn

#endif
