#include "annotator.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "error.h"
#include "threads.h"

namespace symgnn {

namespace {

void check_species(const Structure &structure, std::size_t elements) {
  for (std::size_t i = 0; i < structure.n; ++i) {
    if (structure.species[i] < 0 || structure.species[i] >= static_cast<std::int64_t>(elements)) {
      throw StructureError("species " + std::to_string(structure.species[i]) + " of atom " +
                           std::to_string(i) + " is none of the model's " +
                           std::to_string(elements) + " elements");
    }
  }
}

/// The atoms first … last − 1 and the edges of which they are the centers.
struct Part {
  std::int64_t first, last;
  torch::Tensor edge_index, edge_vector;
  torch::Tensor node, edge;  ///< what the network has made of them so far
};

constexpr std::int64_t kFewestEdgesOfPart = 8192;

/// Cut a graph into at most `most` parts with about the same number of edges each.
std::vector<Part> split(const Edges &edges, std::int64_t atoms, std::int64_t most) {
  const std::int64_t total = edges.index.size(1);
  const std::int64_t count = std::clamp(total / kFewestEdgesOfPart, std::int64_t{1}, most);
  const std::int64_t *center = edges.index.data_ptr<std::int64_t>();
  std::vector<Part> parts;
  std::int64_t begin = 0;
  std::int64_t first = 0;
  for (std::int64_t number = 1; number <= count; ++number) {
    const bool is_last = number == count;
    const std::int64_t last = is_last ? atoms : center[total * number / count];
    const std::int64_t end =
        is_last ? total : std::lower_bound(center + begin, center + total, last) - center;
    parts.push_back({first, last, edges.index.narrow(1, begin, end - begin).contiguous(),
                     edges.vector.narrow(0, begin, end - begin)});
    first = last;
    begin = end;
  }
  return parts;
}

/// The network on a CPU, one thread per part of the graph. The parts see each other's atoms after
/// each layer, as MPI ranks do. Threads inside every small operation would mostly wait instead.
torch::Tensor forward_in_parts(Model &model, const torch::Tensor &species,
                               std::vector<Part> parts) {
  const auto for_each_part = [&parts](const auto &work) {
    at::parallel_for(0, static_cast<std::int64_t>(parts.size()), 1,
                     [&](std::int64_t begin, std::int64_t end) {
                       const c10::InferenceMode inference;
                       for (std::int64_t part = begin; part < end; ++part) {
                         work(parts[part]);
                       }
                     });
  };
  for_each_part(
      [&](Part &part) { std::tie(part.node, part.edge) = model.start(species, part.edge_vector); });
  torch::Tensor node = parts.front().node;
  for (std::int64_t layer = 0; layer < model.metadata().layers; ++layer) {
    for_each_part([&](Part &part) {
      std::tie(part.node, part.edge) = model.step(layer, node, part.edge, part.edge_index);
    });
    std::vector<torch::Tensor> rows;
    for (const Part &part : parts) {
      rows.push_back(part.node.narrow(0, part.first, part.last - part.first));
    }
    node = torch::cat(rows);
  }
  return model.finish(node);
}

void check_result(const std::vector<double> &result, std::size_t outputs) {
  for (std::size_t k = 0; k < result.size(); ++k) {
    if (!std::isfinite(result[k])) {
      throw StructureError("the model gives no finite number for atom " +
                           std::to_string(k / outputs) +
                           " (counted from 0); is the structure like those it was trained on?");
    }
  }
}

}  // namespace

Annotator::Annotator(const std::string &path, const std::string &device, int threads,
                     int local_rank)
    : model_(path, parse_device(device, local_rank)), threads_(threads) {
  if (threads < 0) {
    throw Error("threads must be 0 (leave torch's setting) or more, not " +
                std::to_string(threads));
  }
}

std::vector<double> Annotator::annotate(const Structure &structure) {
  if (structure.n == 0) {
    throw StructureError("the structure has no atoms");
  }
  const Metadata &metadata = model_.metadata();
  check_species(structure, metadata.elements.size());

  const ThreadsGuard threads(threads_);
  const c10::InferenceMode inference;
  const Edges edges = find_edges(structure.positions, structure.n, structure.n, structure.cell,
                                 metadata.cutoff, metadata.self_edges, metadata.dtype, threads_);
  const auto n = static_cast<std::int64_t>(structure.n);
  const torch::Tensor species =
      torch::from_blob(const_cast<std::int64_t *>(structure.species), {n}, torch::kInt64)
          .to(model_.device());
  std::vector<Part> parts;
  if (model_.device().is_cpu()) {
    parts = split(edges, n, at::get_num_threads());
  }
  const torch::Tensor output =
      (parts.size() > 1 ? forward_in_parts(model_, species, std::move(parts))
                        : model_.forward(species, edges.index.to(model_.device()),
                                         edges.vector.to(model_.device())))
          .to(torch::kCPU, torch::kFloat64)
          .contiguous();
  const double *first = output.data_ptr<double>();
  std::vector<double> result(first, first + output.numel());
  check_result(result, metadata.outputs.size());
  return result;
}

}  // namespace symgnn
