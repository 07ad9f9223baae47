#ifndef SYMGNN_KERNELS_LOCAL_DENSITIES_BLOCKS_H
#define SYMGNN_KERNELS_LOCAL_DENSITIES_BLOCKS_H

#include "lanes.h"
#include "local_densities.h"

namespace symgnn::kernels {

/// Where the parts of a workspace begin, in scalars, where no center has more than `most_edges`.
struct DensitiesLayout {
  std::int64_t edges, harmonics, channels;  ///< rounded up
  std::int64_t edge, cutoff, near, harmonic, weight, lanes, moments, transposed, size;

  template <typename scalar>
  DensitiesLayout(const LocalDensities<scalar> &task, std::int64_t most_edges)
      : edges(rounded_up(most_edges)),
        harmonics(rounded_up(task.harmonics())),
        channels(rounded_up(task.elements * task.channels)) {
    std::int64_t used = 0;
    const auto take = [&used](std::int64_t scalars) {
      used += rounded_up(scalars);
      return used - rounded_up(scalars);
    };
    // Of the edges to one element:
    edge = take(4 * edges);                // [4, edges]: x, y, z, length
    cutoff = take(edges);                  // [edges]
    near = take(4 * edges);                // [4, edges]: direction and length of near ones
    harmonic = take(edges * harmonics);    // [edges, harmonics]
    weight = take(edges * task.channels);  // [edges, R]
    lanes = take(kMostLanes * (harmonics + task.channels));     // [harmonics, lanes], [R, lanes]
    moments = take(task.elements * task.channels * harmonics);  // [S R, harmonics]
    transposed = take((harmonics + 1) * channels);              // [harmonics, S R], and one row
    size = used;
  }
};

/// Densities of centers begin … end − 1, on one thread.
#define SYMGNN_DECLARE(capability)                                                               \
  namespace capability {                                                                         \
  void local_densities(const LocalDensities<float> &task, std::int64_t begin, std::int64_t end,  \
                       const DensitiesLayout &layout, float *workspace);                         \
  void local_densities(const LocalDensities<double> &task, std::int64_t begin, std::int64_t end, \
                       const DensitiesLayout &layout, double *workspace);                        \
  }
SYMGNN_DECLARE(baseline)
SYMGNN_DECLARE(avx2)
SYMGNN_DECLARE(avx512)
#undef SYMGNN_DECLARE

}  // namespace symgnn::kernels

#endif
