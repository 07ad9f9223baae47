#include "annotator.h"

#include <c10/core/InferenceMode.h>

#include <cmath>

#include "error.h"
#include "evaluation.h"
#include "neighbor_list.h"
#include "spatial_order.h"
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

Annotator::Annotator(const std::string &path, const std::string &device, int threads, int chunk,
                     int local_rank)
    : model_(path, parse_device(device, local_rank)), threads_(threads), chunk_(chunk) {
  if (threads < 0) {
    throw Error("threads must be 0 (leave torch's setting) or more, not " +
                std::to_string(threads));
  }
  if (chunk < 0) {
    throw Error("chunk must be 0 (chosen by SymGNN) or a number of atoms, not " +
                std::to_string(chunk));
  }
}

std::vector<double> Annotator::annotate(const Structure &structure) {
  if (structure.n == 0) {
    throw StructureError("the structure has no atoms");
  }
  const Metadata &metadata = model_.metadata();
  check_species(structure, metadata.elements.size());
  check_positions(structure.positions, structure.n);  // while atoms are in the caller's order

  const ThreadsGuard threads(threads_);
  const c10::InferenceMode inference;
  const auto n = static_cast<std::int64_t>(structure.n);
  const SpatialOrder order(structure);
  Evaluation evaluation(
      model_, order.species().to(model_.device()),
      find_edges(order.positions().data(), structure.n, structure.n, structure.cell,
                 metadata.cutoff, metadata.self_edges, metadata.dtype, threads_),
      n, chunk_);
  evaluation.start();
  for (std::int64_t layer = 0; layer < metadata.layers; ++layer) {
    evaluation.step(layer);
  }
  const std::vector<double> result = order.back(evaluation.finish());
  check_result(result, metadata.outputs.size());
  return result;
}

}  // namespace symgnn
