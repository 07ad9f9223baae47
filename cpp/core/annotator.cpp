#include "annotator.h"

#include <c10/core/InferenceMode.h>

#include <cmath>

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
  const torch::Tensor output =
      model_.forward(species, edges.index.to(model_.device()), edges.vector.to(model_.device()))
          .to(torch::kCPU, torch::kFloat64)
          .contiguous();
  const double *first = output.data_ptr<double>();
  std::vector<double> result(first, first + output.numel());
  check_result(result, metadata.outputs.size());
  return result;
}

}  // namespace symgnn
