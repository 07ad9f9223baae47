#ifndef SYMGNN_KERNELS_LANES_H
#define SYMGNN_KERNELS_LANES_H

#include <cstdint>

namespace symgnn::kernels {

/// Of the widest vectors: rows of workspaces are multiples of it.
constexpr std::int64_t kMostLanes = 16;

constexpr std::int64_t rounded_up(std::int64_t count) {
  return (count + kMostLanes - 1) / kMostLanes * kMostLanes;
}

}  // namespace symgnn::kernels

#endif
