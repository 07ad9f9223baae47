#ifndef SYMGNN_CORE_MODEL_H
#define SYMGNN_CORE_MODEL_H

#include <torch/script.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace symgnn {

/// What `symgnn.json` inside a model file says about the network.
struct Metadata {
  std::vector<std::string> elements;  ///< chemical symbols; species is an index into this list
  double cutoff;                      ///< edge cutoff, Å
  std::int64_t layers;                ///< number of `step` calls
  torch::Dtype dtype;                 ///< of edge vectors and of the network
  bool self_edges;                    ///< does the network expect edges (i, i) with a zero vector?
  std::vector<double> reach;          ///< Å, how far each layer reads neighbors
  bool rows_of_edges;                 ///< do edge features have a row for each edge?
  std::vector<std::string> outputs;   ///< column names of the result; the first is energy_barrier
  std::string json;                   ///< the whole file, as written by the exporter
};

/// An exported network: TorchScript and metadata, on one device. Immutable after loading.
class Model {
 public:
  /// Load a file written by `symgnn export`.
  /// Throws Error for anything that is not such a file, with the remedy.
  Model(const std::string &path, torch::Device device);

  const Metadata &metadata() const { return metadata_; }
  torch::Device device() const { return device_; }
  /// Greatest width of the node features that travel between ranks, which is that of the first.
  std::int64_t node_channels() const { return node_channels_; }
  /// Width of the edge features that stay in memory between layers.
  std::int64_t edge_channels() const { return edge_channels_; }
  /// Index of a chemical symbol in `elements`. Throws Error for an element the model lacks.
  std::int64_t species_of(const std::string &element) const;

  /// The network in steps, so that ranks can exchange node features between layers: start, then
  /// step(0) … step(layers − 1), then finish. species int64 [N], edge_index int64 [2, E] sorted by
  /// center, edge_vector [E, 3] in Å; gives [N, outputs] in eV.
  std::pair<torch::Tensor, torch::Tensor> start(const torch::Tensor &species,
                                                const torch::Tensor &edge_vector);
  std::pair<torch::Tensor, torch::Tensor> step(std::int64_t layer, const torch::Tensor &node,
                                               const torch::Tensor &edge,
                                               const torch::Tensor &edge_index);
  torch::Tensor finish(const torch::Tensor &node);

 private:
  Metadata metadata_;
  torch::Device device_;
  torch::jit::Module module_;
  std::int64_t node_channels_ = 0;
  std::int64_t edge_channels_ = 0;
};

/// `auto`, `cpu`, `cuda` or `cuda:N` to a device. `auto` takes GPU number `local_rank` modulo the
/// number of GPUs, or the CPU where there is none. Throws Error for an absent device.
torch::Device parse_device(const std::string &name, int local_rank = 0);

}  // namespace symgnn

#endif
