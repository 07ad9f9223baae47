#ifndef SYMGNN_KERNELS_DRAG_ENERGIES_CUDA_H
#define SYMGNN_KERNELS_DRAG_ENERGIES_CUDA_H

#include <cstddef>
#include <cstdint>

#include "drag_energies.h"

namespace symgnn::kernels {

// Dragging atoms on a GPU. Pointers, streams and results: see edge_attention_cuda.h; those of a
// task are of the device too, task.temperatures among them.

/// What a center needs memory for, the center included: a little more where rounding decides.
struct DragCounts {
  std::int32_t moving;  ///< atoms that move
  std::int32_t pairs;   ///< of an atom that moves and any other
};

/// `counts` [rows] of the centers task.first_center, …
template <typename scalar>
const char *count_dragged_cuda(const DragEnergies<scalar> &task, std::int64_t rows,
                               DragCounts *counts, void *stream);

/// Bytes that `drag_energies_cuda` needs for lists of neighbors; `largest` of the counts, each.
std::size_t drag_energies_workspace(std::int64_t rows, const DragCounts &largest);

/// Does the GPU lend a block enough shared memory for such centers?
template <typename scalar>
bool drag_energies_fit_cuda(const DragEnergies<scalar> &task, const DragCounts &largest);

/// The rows of task.result.
template <typename scalar>
const char *drag_energies_cuda(const DragEnergies<scalar> &task, std::int64_t rows,
                               const DragCounts &largest, void *workspace, void *stream);

}  // namespace symgnn::kernels

#endif
