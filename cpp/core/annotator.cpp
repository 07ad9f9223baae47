#include "annotator.h"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <limits>
#include <new>
#include <utility>

#include "allocation.h"
#include "dependencies.h"
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

/// In how many layers atoms take part, so that those of the group have barriers; empty: in all.
std::vector<std::int32_t> layers_of(const Structure &structure, const SpatialOrder &order,
                                    const Edges &edges, const Metadata &metadata) {
  if (!structure.group) {
    return {};
  }
  std::vector<std::int32_t> wanted(structure.n);
  for (std::size_t row = 0; row < structure.n; ++row) {
    const bool is_wanted = structure.group[order.atoms()[row]];
    wanted[row] = is_wanted ? static_cast<std::int32_t>(metadata.layers) : 0;
  }
  Dependencies dependencies({edges.index.cpu(), edges.vector.cpu()}, metadata.reach,
                            std::move(wanted));
  for (std::int64_t layer = metadata.layers - 1; layer >= 0; --layer) {
    dependencies.step(layer);
  }
  return std::move(dependencies.layers());
}

void check_result(const Structure &structure, const std::vector<double> &result,
                  std::size_t outputs) {
  for (std::size_t k = 0; k < result.size(); ++k) {
    const bool is_wanted = !structure.group || structure.group[k / outputs];
    if (is_wanted && !std::isfinite(result[k])) {
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
  check_result(structure, result, metadata.outputs.size());
  return result;
}

std::vector<double> Annotator::evaluate(const Structure &structure, const Report &report) try {
  const ThreadsGuard threads(options_.threads);
  const c10::InferenceMode inference;
  const auto n = static_cast<std::int64_t>(structure.n);
  Edges edges = list_.find(structure, options_.threads);
  const SpatialOrder &order = list_.order();
  const std::vector<std::int32_t> layers = layers_of(structure, order, edges, model_.metadata());
  Evaluation evaluation(model_, order.species(structure).to(model_.device()), std::move(edges), n,
                        options_.chunk, layers, report);
  evaluation.start();
  for (std::int64_t layer = 0; layer < model_.metadata().layers; ++layer) {
    evaluation.step(layer);
  }
  std::vector<double> result = order.back(evaluation.finish());
  for (std::size_t k = 0; structure.group && k < result.size(); ++k) {
    if (!structure.group[k / model_.metadata().outputs.size()]) {
      result[k] = std::numeric_limits<double>::quiet_NaN();
    }
  }
  return result;
} catch (const std::bad_alloc &) {
  throw MemoryError();
} catch (const c10::Error &problem) {
  if (tells_of_memory(problem.what())) {
    throw MemoryError();
  }
  throw;
}

}  // namespace symgnn
