#ifndef SYMGNN_CORE_EVALUATION_H
#define SYMGNN_CORE_EVALUATION_H

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "model.h"
#include "neighbor_list.h"

namespace symgnn {

/// Called by the thread that waits for an evaluation, after each chunk of its own: the layer, and
/// the share of its chunks that are done (on a GPU: queued). What it throws ends the evaluation.
using Report = std::function<void(std::int64_t layer, double share)>;

/// A network on a graph, layer by layer and chunk by chunk.
///
/// A chunk is a run of centers with their edges. It reads the rows of its neighbors and writes its
/// own, as a rank of a parallel run does; on a CPU each thread works on chunks of its own. Edge
/// features are kept between the layers if half of the available memory holds them. Otherwise, or
/// with a given chunk, they are computed anew in every layer from the rows before the layers
/// before: memory is then bounded by the chunk, the neighbor list and the rows.
class Evaluation {
 public:
  /// species: int64 [N] on the model's device. edges: on any device, and gone afterwards; their
  /// centers are rows below `owned`. chunk: centers at a time; 0: chosen by SymGNN.
  /// layers: for each center, in how many layers it takes part (see Dependencies); empty: all.
  Evaluation(Model &model, torch::Tensor species, Edges edges, std::int64_t owned,
             std::int64_t chunk, const std::vector<std::int32_t> &layers = {}, Report report = {});

  /// start, then step(0) … step(layers − 1), then finish.
  void start();
  void step(std::int64_t layer);
  /// [owned, outputs], eV, float64 on the CPU.
  torch::Tensor finish();

  /// Features [N, channels] after the last call. Rows from `owned` on are not filled by `step`:
  /// whoever has such rows fetches them from their owners between the layers. Rows of centers that
  /// took no part mean nothing; undefined where none did.
  torch::Tensor node() const { return node_; }

 private:
  struct Chunk {
    std::int64_t first, last;  ///< rows of its centers
    torch::Tensor rows;        ///< all that it reads, its centers first; undefined: all there are
    torch::Tensor index, vector;        ///< edges, in numbers of its own rows
    torch::Tensor edge;                 ///< features, where they are kept
    bool edge_stays = false;            ///< did the last layer hand back the features it was given?
    std::int64_t fewest = 0, most = 0;  ///< layers that its centers with edges take part in
  };

  void split(Edges edges, std::int64_t chunk);
  void leave_out(Chunk &chunk, std::int64_t layer);
  torch::Tensor rows_of(const Chunk &chunk, const torch::Tensor &all) const;
  torch::Tensor first_edge(const Chunk &chunk);
  torch::Tensor edge_again(const Chunk &chunk, std::int64_t layer);
  /// Those with centers that take part in a layer. With a report, it is told of them.
  template <typename Work>
  void for_each_chunk(std::int64_t layer, const Work &work, const Report &report = {});
  torch::Tensor new_rows(std::int64_t columns) const;

  Model &model_;
  torch::Tensor species_;
  std::int64_t owned_;
  torch::Tensor layers_;  ///< int32 [owned], that centers take part in; undefined: in all
  Report report_;
  std::vector<Chunk> chunks_;
  bool keeps_edges_;
  torch::Tensor node_;
  std::vector<bool> edges_stay_;  ///< did a layer leave the features of edges alone?
  /// Node before each layer that changed them, where edges are not kept.
  std::vector<torch::Tensor> history_;
};

}  // namespace symgnn

#endif
