#ifndef SYMGNN_CORE_NEIGHBOR_LIST_CUDA_H
#define SYMGNN_CORE_NEIGHBOR_LIST_CUDA_H

#include <torch/types.h>

#include <cstdint>
#include <memory>

#include "neighbor_list.h"

namespace symgnn {

/// Half-list pairs, as a neighbor search gives them, in any order.
struct Pairs {
  torch::Tensor atoms;   ///< int64 [P, 2]
  torch::Tensor vector;  ///< float64 [P, 3], from the first to the second atom, Å
};

/// Both directions of every pair closer than `cutoff`, as `find_edges` gives them and in its order,
/// by torch operations on the device of the pairs. `images_may_meet`: two images of an atom may be
/// neighbors of the same atom, so that vectors have to be compared as well as atoms.
Edges arrange_pairs(const Pairs &pairs, std::int64_t atoms, std::int64_t centers, double cutoff,
                    bool self_edges, bool images_may_meet, torch::Dtype dtype);

/// `find_edges` for positions that are on a GPU, or to go there: the edges stay on the device. Also
/// works on the CPU, where it is slower than `find_edges`.
///
/// Holds vesin's memory on the device from one call to the next. Calls wait for the GPU. One object
/// serves one thread at a time.
class DeviceNeighborList {
 public:
  DeviceNeighborList();
  ~DeviceNeighborList();

  /// positions: float64 [N, 3], Å, on any device. Other arguments, results and errors are those of
  /// `find_edges`; also throws StructureError where vesin finds no CUDA libraries, or more pairs
  /// than its environment variable VESIN_CUDA_MAX_PAIRS_PER_POINT allows (cutoff³, at least 128,
  /// per atom, each pair counted once).
  Edges find(const torch::Tensor &positions, std::int64_t centers, const Cell &cell, double cutoff,
             bool self_edges, torch::Dtype dtype);

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

}  // namespace symgnn

#endif
