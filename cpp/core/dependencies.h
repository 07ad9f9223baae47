#ifndef SYMGNN_CORE_DEPENDENCIES_H
#define SYMGNN_CORE_DEPENDENCIES_H

#include <cstdint>
#include <vector>

#include "neighbor_list.h"

namespace symgnn {

/// In how many layers atoms have to take part, so that the barriers of some come out right.
///
/// The last layer works on the wanted atoms alone, each layer before on what later ones read: the
/// neighbors within their reach. Found from the last layer to the first; ranks tell each other
/// between two calls of `step` what they need of one another.
class Dependencies {
 public:
  /// edges: sorted by center, on the CPU. reach: Å, how far each layer reads neighbors. layers:
  /// for each row how many layers it takes part in, so far: all, or none.
  Dependencies(const Edges &edges, std::vector<double> reach, std::vector<std::int32_t> layers);

  /// Neighbors that a layer reads take part in those before it.
  void step(std::int64_t layer);

  /// For each row; those of ghosts are to be told to their owners.
  std::vector<std::int32_t> &layers() { return layers_; }

 private:
  template <typename scalar>
  void follow(std::int64_t layer);

  torch::Tensor index_, vector_;
  std::vector<double> reach_;
  std::vector<std::int32_t> layers_;
  std::vector<std::int64_t> first_;  ///< edge of each row, and the number of edges
  std::vector<double> followed_;     ///< Å, up to which a row's neighbors are known to take part
};

}  // namespace symgnn

#endif
