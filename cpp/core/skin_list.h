#ifndef SYMGNN_CORE_SKIN_LIST_H
#define SYMGNN_CORE_SKIN_LIST_H

#include <torch/types.h>

#include <memory>

#include "neighbor_list.h"
#include "neighbor_list_cuda.h"
#include "spatial_order.h"
#include "structure.h"

namespace symgnn {

/// Graphs of a structure that moves little from call to call. Pairs are searched up to cutoff +
/// skin, and serve until an atom has moved by half the skin from where it was then, or the cell
/// has changed. An atom that went around the box to another image of itself has not moved.
class SkinList {
 public:
  /// Lengths in Å. Without skin every call searches anew.
  SkinList(double cutoff, double skin, bool self_edges, torch::Dtype dtype, torch::Device device);

  /// Edges shorter than the cutoff, in rows of `order()`, found and left on the device. Throws
  /// Error as find_edges does.
  Edges find(const Structure &structure, int threads);
  /// Order of the rows in the last call of `find`.
  const SpatialOrder &order() const { return search_->order; }
  /// Times that pairs were searched.
  std::int64_t searches() const { return searches_; }

 private:
  /// A structure, and the pairs that were found in it.
  struct Search {
    SpatialOrder order;
    Cell cell;
    torch::Tensor positions;  ///< float64 [N, 3], in that order
    torch::Tensor index;      ///< int64 [2, E]
    torch::Tensor shift;      ///< float64 [E, 3], S·cell
  };

  Edges search(const Structure &structure, const torch::Tensor &positions, int threads);
  torch::Tensor continued(const Structure &structure) const;
  torch::Tensor positions_of(const Structure &structure, const SpatialOrder &order) const;

  double cutoff_, skin_;
  bool self_edges_;
  torch::Dtype dtype_;
  torch::Device device_;
  DeviceNeighborList device_list_;
  std::unique_ptr<Search> search_;
  std::int64_t searches_ = 0;
};

}  // namespace symgnn

#endif
