#ifndef SYMGNN_CORE_NEIGHBOR_LIST_H
#define SYMGNN_CORE_NEIGHBOR_LIST_H

#include <torch/types.h>

#include <cstddef>

#include "enclosure.h"
#include "structure.h"

namespace symgnn {

/// Edges (i, j): i is the center that receives, j the neighbor that sends; sorted by i.
struct Edges {
  torch::Tensor index;   ///< int64 [2, E]; row 0 holds i, row 1 holds j
  torch::Tensor vector;  ///< dtype [E, 3]; r_j + S·cell − r_i, Å, shorter than the cutoff
};

/// All pairs closer than `cutoff` Å, every periodic image counted, built by vesin.
///
/// positions: n × 3 doubles, Å, inside the cell or not. Only the first `centers` atoms are
/// centers (pass n for all); the rest are ghosts that only send. With `self_edges` each center
/// also gets the edge (i, i) with a zero vector.
/// Throws Error for positions or cells that are not finite, for a periodic cell without volume, and
/// before it begins where the edges would not fit into the free memory of the machine, of which
/// other ranks may want a share.
Edges find_edges(const double *positions, std::size_t n, std::size_t centers, const Cell &cell,
                 double cutoff, bool self_edges, torch::Dtype dtype, int threads);

/// Throws the Error for what vesin says where it finds no list; null where it says nothing.
[[noreturn]] void throw_no_list(const char *problem);

}  // namespace symgnn

#endif
