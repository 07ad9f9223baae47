#ifndef SYMGNN_KERNELS_DRAG_ENERGIES_BLOCKS_H
#define SYMGNN_KERNELS_DRAG_ENERGIES_BLOCKS_H

#include "drag_energies.h"
#include "lanes.h"

namespace symgnn::kernels {

/// An atom of a center's surroundings that another one, which moves, attracts or repels.
template <typename scalar>
struct DraggedNeighbor {
  std::int32_t atom;
  std::int32_t elements;  ///< row of the energies of these two
  scalar start_energy;    ///< eV
};

/// Memory for the surroundings of one center at a time, for up to `most` edges.
template <typename scalar>
struct DragWorkspace {
  const std::int64_t *edges;  ///< of the center, the shortest first
  std::int64_t count;
  scalar *start;        ///< [most + 1, 3], Å, from the center; those that move come first
  scalar *mobility;     ///< [most + 1], Å²/eV
  scalar *counted;      ///< [most + 1], how much an atom's displacement counts
  std::int64_t *atoms;  ///< [most + 1]
  std::int64_t *ends;   ///< [most + 1, 2]: of an atom's neighbors that move, of all of them
  DraggedNeighbor<scalar> *neighbors;   ///< [(most + 1) (most + 2) / 2]
  scalar *directions;                   ///< [most, 3]
  scalar *weights;                      ///< [most]
  scalar *energies;                     ///< [strides + 1, most], eV
  scalar *displacements;                ///< [displacements, most], Å²
  scalar *position, *force, *velocity;  ///< [most + 1, 3, kMostLanes], aligned like vectors
};

/// Energies of one center.
#define SYMGNN_DECLARE(capability)                                          \
  namespace capability {                                                    \
  void drag_energies(const DragEnergies<float> &task, std::int64_t center,  \
                     const DragWorkspace<float> &workspace);                \
  void drag_energies(const DragEnergies<double> &task, std::int64_t center, \
                     const DragWorkspace<double> &workspace);               \
  }
SYMGNN_DECLARE(baseline)
SYMGNN_DECLARE(avx2)
SYMGNN_DECLARE(avx512)
#undef SYMGNN_DECLARE

}  // namespace symgnn::kernels

#endif
