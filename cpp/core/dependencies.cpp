#include "dependencies.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace symgnn {

namespace {

constexpr double kRounding = 1e-3;  ///< Å, of edges as long as the reach

}  // namespace

Dependencies::Dependencies(const Edges &edges, std::vector<double> reach,
                           std::vector<std::int32_t> layers)
    : index_(edges.index.contiguous()),
      vector_(edges.vector.contiguous()),
      reach_(std::move(reach)),
      layers_(std::move(layers)),
      first_(layers_.size() + 1, 0),
      followed_(layers_.size(), 0.0) {
  const std::int64_t *center = index_.data_ptr<std::int64_t>();
  for (std::int64_t edge = 0; edge < index_.size(1); ++edge) {
    ++first_[center[edge] + 1];
  }
  for (std::size_t row = 0; row < layers_.size(); ++row) {
    first_[row + 1] += first_[row];
  }
}

void Dependencies::step(std::int64_t layer) {
  if (vector_.scalar_type() == torch::kFloat32) {
    follow<float>(layer);
  } else {
    follow<double>(layer);
  }
}

template <typename scalar>
void Dependencies::follow(std::int64_t layer) {
  const double reach = reach_[layer], square_of_reach = std::pow(reach + kRounding, 2);
  const std::int64_t *neighbor = index_.data_ptr<std::int64_t>() + index_.size(1);
  const scalar *vector = vector_.data_ptr<scalar>();
  for (std::size_t row = 0; row < layers_.size(); ++row) {
    if (layers_[row] <= layer || followed_[row] >= reach) {
      continue;
    }
    followed_[row] = reach;
    for (std::int64_t edge = first_[row]; edge < first_[row + 1]; ++edge) {
      const scalar *to = vector + 3 * edge;
      const double square = static_cast<double>(to[0] * to[0] + to[1] * to[1] + to[2] * to[2]);
      if (square <= square_of_reach) {
        std::int32_t &layers = layers_[neighbor[edge]];
        layers = std::max(layers, static_cast<std::int32_t>(layer));
      }
    }
  }
}

}  // namespace symgnn
