#include <ATen/Dispatch.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "graph.h"
#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;

constexpr const char *kSchema =
    "embedded_atom(Tensor species, Tensor edge_index, Tensor edge_vector, Tensor displacement, "
    "Tensor embedding, Tensor pair, Tensor density, Tensor slope, int elements, float lowest, "
    "float cutoff, float margin) -> (Tensor force, Tensor density)";

/// Cubic polynomials in intervals of squared distances, [elements², intervals, 4].
template <typename scalar>
struct Tables {
  const scalar *pair, *density, *slope;
  std::int64_t intervals;
  scalar lowest, per_square;  ///< Å², and intervals per Å²

  static scalar at(const scalar *table, std::int64_t interval, scalar fraction) {
    const scalar *term = table + 4 * interval;
    return ((term[3] * fraction + term[2]) * fraction + term[1]) * fraction + term[0];
  }
};

/// Of one center: its force, and the density around it. Summed in double precision, so that the
/// order of edges, which ranks do not share, changes nothing that steps down a slope would
/// multiply.
struct Sums {
  double force[3] = {0.0, 0.0, 0.0};
  double density = 0.0;
};

template <typename scalar>
struct Task {
  const std::int64_t *species, *first, *neighbor;
  const scalar *edge_vector;
  std::int64_t edge_stride;
  const scalar *displacement, *embedding;
  std::int64_t elements;
  scalar longest_square;  ///< Å², of edges before atoms were displaced
  Tables<scalar> tables;

  Sums operator()(std::int64_t center) const {
    Sums sums;
    const scalar *from = displacement + 3 * center;
    const std::int64_t own = species[center];
    for (std::int64_t edge = first[center]; edge < first[center + 1]; ++edge) {
      const scalar *vector = edge_vector + edge_stride * edge;
      if (!(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2] <
            longest_square)) {
        continue;
      }
      const std::int64_t other = neighbor[edge];
      const scalar *to = displacement + 3 * other;
      const scalar x = vector[0] + to[0] - from[0];
      const scalar y = vector[1] + to[1] - from[1];
      const scalar z = vector[2] + to[2] - from[2];
      const auto end = static_cast<scalar>(tables.intervals) - static_cast<scalar>(1e-3);
      // In this order a place that is no number is the first.
      const scalar place = std::min(
          std::max(scalar(0), (x * x + y * y + z * z - tables.lowest) * tables.per_square), end);
      const auto interval = static_cast<std::int64_t>(place);
      const scalar fraction = place - static_cast<scalar>(interval);
      const std::int64_t there = (own * elements + species[other]) * tables.intervals + interval;
      const std::int64_t back = (species[other] * elements + own) * tables.intervals + interval;
      const scalar along = tables.at(tables.pair, there, fraction) +
                           embedding[center] * tables.at(tables.slope, there, fraction) +
                           embedding[other] * tables.at(tables.slope, back, fraction);
      sums.force[0] += static_cast<double>(along * x);
      sums.force[1] += static_cast<double>(along * y);
      sums.force[2] += static_cast<double>(along * z);
      sums.density += static_cast<double>(tables.at(tables.density, there, fraction));
    }
    return sums;
  }
};

std::tuple<Tensor, Tensor> embedded_atom_cpu(const Tensor &species, const Tensor &edge_index,
                                             const Tensor &edge_vector,
                                             const Tensor &given_displacement,
                                             const Tensor &given_embedding,
                                             const Tensor &given_pair, const Tensor &given_density,
                                             const Tensor &given_slope, std::int64_t elements,
                                             double lowest, double cutoff, double margin) {
  const Graph graph(species, edge_index, edge_vector, elements);
  const auto dtype = graph.edge_vector.scalar_type();
  for (const Tensor &table : {given_pair, given_density, given_slope}) {
    TORCH_CHECK(table.dim() == 3 && table.size(0) == elements * elements && table.size(1) > 0 &&
                    table.size(1) == given_pair.size(1) && table.size(2) == 4 &&
                    table.scalar_type() == dtype,
                "tables are [elements * elements, intervals, 4], in the dtype of edge_vector");
  }
  TORCH_CHECK(given_displacement.dim() == 2 && given_displacement.size(0) == graph.atoms() &&
                  given_displacement.size(1) == 3 && given_displacement.scalar_type() == dtype,
              "displacement is [N, 3], in the dtype of edge_vector");
  TORCH_CHECK(given_embedding.dim() == 1 && given_embedding.size(0) == graph.atoms() &&
                  given_embedding.scalar_type() == dtype,
              "embedding is [N], in the dtype of edge_vector");
  TORCH_CHECK(cutoff * cutoff > lowest, "lowest is a squared distance below that of cutoff");
  const Tensor displacement = given_displacement.contiguous();
  const Tensor embedding = given_embedding.contiguous();
  const Tensor pair = given_pair.contiguous(), density = given_density.contiguous(),
               slope = given_slope.contiguous();
  const Tensor force = torch::empty({graph.rows(), 3}, graph.edge_vector.options());
  const Tensor total = torch::empty({graph.rows()}, graph.edge_vector.options());
  AT_DISPATCH_FLOATING_TYPES(dtype, "embedded_atom", [&] {
    const auto intervals = pair.size(1);
    const double reach = cutoff + margin;
    const Task<scalar_t> task{
        graph.species.data_ptr<std::int64_t>(),
        graph.first.data_ptr<std::int64_t>(),
        graph.neighbors(),
        graph.edge_vector.data_ptr<scalar_t>(),
        graph.edge_vector.stride(0),
        displacement.data_ptr<scalar_t>(),
        embedding.data_ptr<scalar_t>(),
        elements,
        static_cast<scalar_t>(reach * reach),
        {pair.data_ptr<scalar_t>(), density.data_ptr<scalar_t>(), slope.data_ptr<scalar_t>(),
         intervals, static_cast<scalar_t>(lowest),
         static_cast<scalar_t>(static_cast<double>(intervals) / (cutoff * cutoff - lowest))}};
    auto *forces = force.data_ptr<scalar_t>();
    auto *densities = total.data_ptr<scalar_t>();
    graph.for_each_range([&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t center = begin; center < end; ++center) {
        const Sums sums = task(center);
        const std::int64_t row = center - graph.first_center();
        std::copy_n(sums.force, 3, forces + 3 * row);
        densities[row] = static_cast<scalar_t>(sums.density);
      }
    });
  });
  return {force, total};
}

}  // namespace

void register_embedded_atom(torch::Library &library) {
  library.def(kSchema);
  library.impl("embedded_atom", torch::dispatch(c10::DispatchKey::CPU, &embedded_atom_cpu));
  library.impl("embedded_atom", c10::DispatchKey::Autograd,
               torch::autograd::autogradNotImplementedFallback());
}

}  // namespace symgnn
