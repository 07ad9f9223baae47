#include "evaluation.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "available_memory.h"

namespace symgnn {

namespace {

/// Large enough that few neighbors lie outside, small enough that temporary tensors stay small.
constexpr std::int64_t kCentersOfChunk = 640;
/// On a GPU chunks follow one another and have to fill it.
constexpr std::int64_t kCentersOfGpuChunk = std::int64_t{1} << 20;
/// With fewer edges than this a thread is not worth waking.
constexpr std::int64_t kFewestEdges = 8192;

std::int64_t number_of_chunks(std::int64_t centers, std::int64_t edges, std::int64_t chunk,
                              bool is_cpu) {
  const auto divided = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  if (chunk > 0) {
    return divided(centers, chunk);
  }
  if (!is_cpu) {
    return divided(centers, kCentersOfGpuChunk);
  }
  // The same number for every thread.
  const std::int64_t threads = at::get_num_threads();
  const std::int64_t wanted = divided(divided(centers, kCentersOfChunk), threads) * threads;
  return std::min(wanted, std::max(edges / kFewestEdges, std::int64_t{1}));
}

}  // namespace

Evaluation::Evaluation(Model &model, torch::Tensor species, Edges edges, std::int64_t owned,
                       std::int64_t chunk, const std::vector<std::int32_t> &layers, Report report)
    : model_(model), species_(std::move(species)), owned_(owned), report_(std::move(report)) {
  const double bytes = static_cast<double>(edges.index.size(1)) *
                       static_cast<double>(model.edge_channels()) *
                       static_cast<double>(edges.vector.element_size());
  keeps_edges_ = chunk == 0 && (!model.device().is_cpu() || bytes < 0.5 * available_memory());
  split(std::move(edges), chunk);
  for (Chunk &part : chunks_) {
    part.fewest = part.most = model.metadata().layers;
    if (!layers.empty()) {
      const auto [fewest, most] =
          std::minmax_element(layers.begin() + part.first, layers.begin() + part.last);
      part.fewest = *fewest;
      part.most = *most;
    }
  }
  if (!layers.empty()) {
    layers_ = torch::tensor(layers, torch::kInt32).to(model.device());
  }
}

/// Runs of centers with about the same number of edges.
void Evaluation::split(Edges edges, std::int64_t chunk) {
  const std::int64_t total = edges.index.size(1);
  const std::int64_t count =
      std::max(number_of_chunks(owned_, total, chunk, model_.device().is_cpu()), std::int64_t{1});
  if (count == 1) {
    chunks_ = {
        {0, owned_, {}, edges.index.to(model_.device()), edges.vector.to(model_.device()), {}}};
    return;
  }
  edges = {edges.index.cpu(), edges.vector.cpu()};
  const std::int64_t *center = edges.index.data_ptr<std::int64_t>();
  const std::int64_t *neighbor = center + total;
  std::vector<std::int64_t> limits{0};
  for (std::int64_t number = 1; number < count; ++number) {
    // With a given size by centers, else by edges.
    const std::int64_t limit = chunk > 0 ? number * chunk : center[total * number / count];
    if (limit > limits.back()) {
      limits.push_back(limit);
    }
  }
  limits.push_back(owned_);

  const torch::Device device = model_.device();
  chunks_.resize(limits.size() - 1);
  for (std::size_t number = 0; number < chunks_.size(); ++number) {
    chunks_[number].first = limits[number];
    chunks_[number].last = limits[number + 1];
  }
  at::parallel_for(
      0, static_cast<std::int64_t>(chunks_.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        const c10::InferenceMode inference;
        constexpr std::int32_t kAbsent = -1;
        std::vector<std::int32_t> row_of(chunks_.size() > 1 ? species_.size(0) : 0, kAbsent);
        for (std::int64_t number = begin; number < end; ++number) {
          Chunk &part = chunks_[number];
          const std::int64_t from = std::lower_bound(center, center + total, part.first) - center;
          const std::int64_t to =
              std::lower_bound(center + from, center + total, part.last) - center;
          part.vector = edges.vector.narrow(0, from, to - from).to(device);
          part.index = edges.index.narrow(1, from, to - from).clone(at::MemoryFormat::Contiguous);
          if (chunks_.size() > 1) {
            std::vector<std::int64_t> rows;
            for (std::int64_t row = part.first; row < part.last; ++row) {
              row_of[row] = static_cast<std::int32_t>(rows.size());
              rows.push_back(row);
            }
            std::int64_t *own_center = part.index.data_ptr<std::int64_t>();
            std::int64_t *own_neighbor = own_center + (to - from);
            for (std::int64_t edge = from; edge < to; ++edge) {
              const std::int64_t row = neighbor[edge];
              if (row_of[row] == kAbsent) {
                row_of[row] = static_cast<std::int32_t>(rows.size());
                rows.push_back(row);
              }
              own_center[edge - from] -= part.first;
              own_neighbor[edge - from] = row_of[row];
            }
            for (const std::int64_t row : rows) {
              row_of[row] = kAbsent;
            }
            part.rows = torch::tensor(rows, torch::kInt64).to(device);
          }
          part.index = part.index.to(device);
        }
      });
}

template <typename Work>
void Evaluation::for_each_chunk(std::int64_t layer, const Work &work, const Report &report) {
  std::vector<Chunk *> chunks;
  for (Chunk &chunk : chunks_) {
    if (chunk.most > layer) {
      chunks.push_back(&chunk);
    }
  }
  const auto count = static_cast<std::int64_t>(chunks.size());
  std::atomic<std::int64_t> done{0};
  std::atomic<bool> is_over{false};  // for the other threads, where one has thrown
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    const c10::InferenceMode inference;
    try {
      for (std::int64_t number = begin; number < end && !is_over; ++number) {
        work(*chunks[number]);
        const std::int64_t finished = ++done;
        if (report && at::get_thread_num() == 0) {
          report(layer, static_cast<double>(finished) / static_cast<double>(count));
        }
      }
    } catch (...) {
      is_over = true;
      throw;
    }
  };
  if (model_.device().is_cpu() && count > 1) {
    at::parallel_for(0, count, 1, run);
  } else {
    run(0, count);
  }
}

torch::Tensor Evaluation::rows_of(const Chunk &chunk, const torch::Tensor &all) const {
  return chunk.rows.defined() ? all.index_select(0, chunk.rows) : all;
}

/// Rows that no layer fills are zero: neighbors out of reach read them, with a weight of zero.
torch::Tensor Evaluation::new_rows(std::int64_t columns) const {
  const auto options = torch::dtype(model_.metadata().dtype).device(model_.device());
  return layers_.defined() ? torch::zeros({species_.size(0), columns}, options)
                           : torch::empty({species_.size(0), columns}, options);
}

/// Edges of centers that take no part in this layer, nor in any after it.
void Evaluation::leave_out(Chunk &chunk, std::int64_t layer) {
  if (layer < chunk.fewest || (chunk.edge.defined() && !model_.metadata().rows_of_edges)) {
    return;
  }
  const std::int64_t own = chunk.last - chunk.first;
  const torch::Tensor layers = layers_.narrow(0, chunk.first, own).index_select(0, chunk.index[0]);
  const torch::Tensor kept = (layers > layer).nonzero().squeeze(1);
  chunk.index = chunk.index.index_select(1, kept);
  for (torch::Tensor *of_edges : {&chunk.vector, &chunk.edge}) {
    if (of_edges->defined()) {
      *of_edges = of_edges->index_select(0, kept);
    }
  }
  chunk.fewest = kept.numel() > 0 ? layers.index_select(0, kept).min().item<std::int64_t>()
                                  : model_.metadata().layers;
}

/// First features of an atom depend on its element alone, those of an edge on its vector alone.
void Evaluation::start() {
  const torch::Tensor no_vector = new_rows(3).narrow(0, 0, 0);
  node_ = model_.start(species_, no_vector).first;
  if (!keeps_edges_) {
    return;
  }
  for_each_chunk(0, [&](Chunk &chunk) {
    leave_out(chunk, 0);
    chunk.edge = first_edge(chunk);
    chunk.vector = torch::Tensor();
  });
}

torch::Tensor Evaluation::first_edge(const Chunk &chunk) {
  return model_.start(species_.narrow(0, 0, 0), chunk.vector).second;
}

torch::Tensor Evaluation::edge_again(const Chunk &chunk, std::int64_t layer) {
  torch::Tensor edge = first_edge(chunk);
  for (std::int64_t before = 0; before < layer; ++before) {
    if (!edges_stay_[before]) {
      edge = model_.step(before, rows_of(chunk, history_[before]), edge, chunk.index).second;
    }
  }
  return edge;
}

void Evaluation::step(std::int64_t layer) {
  torch::Tensor result;
  std::once_flag known;
  const auto work = [&](Chunk &chunk) {
    leave_out(chunk, layer);
    const torch::Tensor edge = keeps_edges_ ? std::move(chunk.edge) : edge_again(chunk, layer);
    auto [node, new_edge] = model_.step(layer, rows_of(chunk, node_), edge, chunk.index);
    const std::int64_t own = chunk.last - chunk.first;
    std::call_once(known, [&, columns = node.size(1)] { result = new_rows(columns); });
    result.narrow(0, chunk.first, own).copy_(node.narrow(0, 0, own));
    chunk.edge_stays = new_edge.is_same(edge);
    if (keeps_edges_) {
      chunk.edge = std::move(new_edge);
    }
  };
  for_each_chunk(layer, work, report_);
  edges_stay_.push_back(std::all_of(chunks_.begin(), chunks_.end(), [layer](const Chunk &chunk) {
    return chunk.most <= layer || chunk.edge_stays;
  }));
  if (!keeps_edges_) {
    history_.push_back(edges_stay_.back() ? torch::Tensor() : node_);
  }
  node_ = result;
}

torch::Tensor Evaluation::finish() {
  const auto outputs = static_cast<std::int64_t>(model_.metadata().outputs.size());
  const torch::Tensor result = torch::zeros({owned_, outputs}, torch::kFloat64);
  for_each_chunk(model_.metadata().layers - 1, [&](Chunk &chunk) {
    const std::int64_t own = chunk.last - chunk.first;
    result.narrow(0, chunk.first, own).copy_(model_.finish(node_.narrow(0, chunk.first, own)));
  });
  return result;
}

}  // namespace symgnn
