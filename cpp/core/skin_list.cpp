#include "skin_list.h"

#include <vector>

#include "error.h"

namespace symgnn {

namespace {

/// From the center to the neighbor in the same cell, [E, 3].
torch::Tensor differences(const torch::Tensor &positions, const torch::Tensor &index) {
  return positions.index_select(0, index[1]) - positions.index_select(0, index[0]);
}

/// Displacements [N, 3] to the nearest image, for displacements that are small in the end.
torch::Tensor nearest_image(const torch::Tensor &displacement, const Cell &cell) {
  std::vector<torch::Tensor> rows;
  for (int axis = 0; axis < 3; ++axis) {
    if (cell.periodic[axis]) {
      const auto &vector = cell.vectors[axis];
      rows.push_back(torch::tensor({vector[0], vector[1], vector[2]}, torch::kFloat64));
    }
  }
  if (rows.empty()) {
    return displacement;
  }
  // On the CPU: a GPU takes milliseconds, and libraries of its own, for so small a matrix.
  const torch::Tensor vectors = torch::stack(rows);
  const torch::Tensor inverse = torch::linalg_pinv(vectors).to(displacement.device());
  const torch::Tensor cells = torch::mm(displacement, inverse).round();
  return displacement - torch::mm(cells, vectors.to(displacement.device()));
}

bool is_same(const Cell &a, const Cell &b) {
  return a.periodic == b.periodic && a.vectors == b.vectors;
}

}  // namespace

SkinList::SkinList(double cutoff, double skin, bool self_edges, torch::Dtype dtype,
                   torch::Device device)
    : cutoff_(cutoff), skin_(skin), self_edges_(self_edges), dtype_(dtype), device_(device) {
  if (!(skin >= 0.0) || skin > cutoff) {
    throw Error("skin must be between 0 and the model's cutoff, " + std::to_string(cutoff) +
                " Å, not " + std::to_string(skin));
  }
}

/// Positions [N, 3] in an order of the atoms, on the device.
torch::Tensor SkinList::positions_of(const Structure &structure, const SpatialOrder &order) const {
  std::vector<double> positions = order.positions(structure);
  const auto atoms = static_cast<std::int64_t>(structure.n);
  return torch::from_blob(positions.data(), {atoms, 3}, torch::kFloat64)
      .to(device_, torch::kFloat64, /*non_blocking=*/false, /*copy=*/true);
}

/// The same in the order of the last search, each atom at its image next to where it was then;
/// undefined where the search does not serve.
torch::Tensor SkinList::continued(const Structure &structure) const {
  if (skin_ == 0.0 || !search_ || search_->order.size() != structure.n ||
      !is_same(search_->cell, structure.cell)) {
    return {};
  }
  const torch::Tensor moved =
      nearest_image(positions_of(structure, search_->order) - search_->positions, structure.cell);
  if (moved.square().sum(1).max().item<double>() > 0.25 * skin_ * skin_) {
    return {};
  }
  return search_->positions + moved;
}

/// All pairs up to cutoff + skin, of positions [N, 3] on the device.
Edges SkinList::search(const Structure &structure, const torch::Tensor &positions, int threads) {
  ++searches_;
  const torch::Dtype dtype = skin_ > 0.0 ? torch::kFloat64 : dtype_;
  if (device_.is_cuda()) {
    return device_list_.find(positions, static_cast<std::int64_t>(structure.n), structure.cell,
                             cutoff_ + skin_, self_edges_, dtype);
  }
  return find_edges(positions.data_ptr<double>(), structure.n, structure.n, structure.cell,
                    cutoff_ + skin_, self_edges_, dtype, threads);
}

Edges SkinList::find(const Structure &structure, int threads) {
  torch::Tensor positions = continued(structure);
  if (!positions.defined()) {
    search_.reset();  // what is found below may be an error
    Search found{SpatialOrder(structure), structure.cell, {}, {}, {}};
    positions = positions_of(structure, found.order);
    Edges edges = search(structure, positions, threads);
    if (skin_ > 0.0) {
      found.positions = positions;
      found.shift = edges.vector - differences(positions, edges.index);
      found.index = edges.index;
    }
    search_ = std::make_unique<Search>(std::move(found));
    if (skin_ == 0.0) {
      return edges;
    }
  }
  const torch::Tensor vector = differences(positions, search_->index) + search_->shift;
  const torch::Tensor near = (vector.square().sum(1) < cutoff_ * cutoff_).nonzero().squeeze(1);
  return {search_->index.index_select(1, near), vector.index_select(0, near).to(dtype_)};
}

}  // namespace symgnn
