#include "annotator.h"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <utility>

#include "allocation.h"
#include "error.h"
#include "neighbor_list.h"
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

Annotator::Annotator(const std::string &path, const AnnotatorOptions &options)
    : options_(options),
      model_(path, parse_device(options.device, options.local_rank)),
      list_(model_.metadata().cutoff, options.skin, model_.metadata().self_edges,
            model_.metadata().dtype, model_.device()) {
  keep_freed_memory();
  if (options.threads < 0) {
    throw Error("threads must be 0 (leave torch's setting) or more, not " +
                std::to_string(options.threads));
  }
  if (options.chunk < 0) {
    throw Error("chunk must be 0 (chosen by SymGNN) or a number of atoms, not " +
                std::to_string(options.chunk));
  }
}

std::vector<double> Annotator::annotate(const Structure &structure, const Report &report) {
  if (working_ == std::this_thread::get_id()) {
    throw Error("an annotator was asked for barriers while it reports on others; use a second one");
  }
  const std::lock_guard<std::mutex> alone(busy_);
  working_ = std::this_thread::get_id();
  struct Finally {
    std::atomic<std::thread::id> &working;
    ~Finally() { working = std::thread::id(); }
  } const finally{working_};
  if (structure.n == 0) {
    throw StructureError("the structure has no atoms");
  }
  const Metadata &metadata = model_.metadata();
  check_species(structure, metadata.elements.size());
  check_positions(structure.positions, structure.n);  // while atoms are in the caller's order

  const std::vector<double> result = evaluate(structure, report);
  check_result(result, metadata.outputs.size());
  return result;
}

std::vector<double> Annotator::evaluate(const Structure &structure, const Report &report) try {
  const ThreadsGuard threads(options_.threads);
  const c10::InferenceMode inference;
  const auto n = static_cast<std::int64_t>(structure.n);
  Edges edges = list_.find(structure, options_.threads);
  const SpatialOrder &order = list_.order();
  Evaluation evaluation(model_, order.species(structure).to(model_.device()), std::move(edges), n,
                        options_.chunk, report);
  evaluation.start();
  for (std::int64_t layer = 0; layer < model_.metadata().layers; ++layer) {
    evaluation.step(layer);
  }
  return order.back(evaluation.finish());
} catch (const c10::OutOfMemoryError &) {
  throw MemoryError();
}

}  // namespace symgnn
