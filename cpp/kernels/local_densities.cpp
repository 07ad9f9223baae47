#include "local_densities.h"

#include <ATen/Dispatch.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>
#include <torch/types.h>

#include <cmath>
#include <vector>

#include "capability.h"
#include "graph.h"
#include "local_densities_blocks.h"
#include "operators.h"

namespace symgnn {

namespace {

using torch::Tensor;

constexpr const char *kSchema =
    "local_densities(Tensor species, Tensor edge_index, Tensor edge_vector, int elements, "
    "Tensor radial_centers, float radial_width, float radial_end, float radial_ramp, "
    "Tensor coarse_centers, float coarse_width, float coarse_end, float coarse_ramp, "
    "Tensor radii, Tensor widths, int degree, float angular_cutoff, float smallest_length) "
    "-> Tensor";

/// Vectors are moved faster from and to memory that is aligned like them.
template <typename scalar>
struct alignas(64) CacheLine {
  static constexpr std::int64_t kScalars = 64 / sizeof(scalar);
  scalar scalars[kScalars];
};

/// Gaussians as the operator is given them.
struct Basis {
  Tensor centers;
  double width, end, ramp;
};

/// The recursion of the associated Legendre functions over sinᵐ θ in l at fixed m, and the factor
/// of the real harmonics, with which the squares of those of one l sum to one.
template <typename scalar>
std::vector<scalar> legendre_factors(std::int64_t degree) {
  std::vector<scalar> result(3 * (degree + 1) * (degree + 1));
  double start = 1.0;
  for (std::int64_t m = 0; m <= degree; ++m) {
    start *= m > 0 ? 2.0 * m - 1.0 : 1.0;
    for (std::int64_t l = m; l <= degree; ++l) {
      double square = m > 0 ? 2.0 : 1.0;
      for (std::int64_t k = l - m + 1; k <= l + m; ++k) {
        square /= static_cast<double>(k);
      }
      scalar *factor = &result[3 * (m * (degree + 1) + l)];
      factor[0] = static_cast<scalar>(l == m ? start : (2.0 * l - 1.0) / (l - m));
      factor[1] = static_cast<scalar>(l > m ? (l + m - 1.0) / (l - m) : 0.0);
      factor[2] = static_cast<scalar>(std::sqrt(square));
    }
  }
  return result;
}

/// Values, and the last again up to a multiple of the lanes of any vector.
template <typename scalar>
std::vector<scalar> padded(const Tensor &values) {
  const Tensor contiguous = values.to(c10::CppTypeToScalarType<scalar>::value).contiguous();
  const scalar *first = contiguous.data_ptr<scalar>();
  std::vector<scalar> result(first, first + contiguous.numel());
  result.resize(kernels::rounded_up(contiguous.numel()),
                result.empty() ? scalar(0) : result.back());
  return result;
}

template <typename scalar>
auto function() -> void (*)(const kernels::LocalDensities<scalar> &, std::int64_t, std::int64_t,
                            const kernels::DensitiesLayout &, scalar *) {
  switch (kernels::capability()) {
#ifdef SYMGNN_X86_CAPABILITIES
    case kernels::Capability::avx512:
      return kernels::avx512::local_densities;
    case kernels::Capability::avx2:
      return kernels::avx2::local_densities;
#endif
    default:
      return kernels::baseline::local_densities;
  }
}

void check(const Tensor &radii, const Tensor &widths, std::int64_t degree, const Basis &radial,
           const Basis &coarse) {
  TORCH_CHECK(radial.centers.dim() == 1 && coarse.centers.dim() == 1,
              "centers of Gaussians are [n]");
  for (const Tensor &centers : {radial.centers, coarse.centers}) {
    TORCH_CHECK(centers.diff().ge(0).all().item<bool>(), "centers of Gaussians ascend");
  }
  TORCH_CHECK(radii.dim() == 1 && widths.sizes() == radii.sizes(), "radii and widths are [R]");
  TORCH_CHECK(degree >= 0, "degree is not negative");
}

Tensor local_densities_cpu(const Tensor &given_species, const Tensor &given_index,
                           const Tensor &given_vector, std::int64_t elements,
                           const Tensor &radial_centers, double radial_width, double radial_end,
                           double radial_ramp, const Tensor &coarse_centers, double coarse_width,
                           double coarse_end, double coarse_ramp, const Tensor &radii,
                           const Tensor &widths, std::int64_t degree, double angular_cutoff,
                           double smallest_length) {
  const Basis radial{radial_centers, radial_width, radial_end, radial_ramp};
  const Basis coarse{coarse_centers, coarse_width, coarse_end, coarse_ramp};
  check(radii, widths, degree, radial, coarse);
  const Graph graph(given_species, given_index, given_vector, elements);
  Tensor result;
  AT_DISPATCH_FLOATING_TYPES(graph.edge_vector.scalar_type(), "local_densities", [&] {
    const auto radial_values = padded<scalar_t>(radial.centers);
    const auto coarse_values = padded<scalar_t>(coarse.centers);
    const auto radius_values = padded<scalar_t>(radii);
    const auto width_values = padded<scalar_t>(widths);
    const auto legendre = legendre_factors<scalar_t>(degree);
    const auto basis = [](const Basis &given, const std::vector<scalar_t> &centers) {
      return kernels::GaussianBasis<scalar_t>{
          given.centers.numel(), centers.data(), static_cast<scalar_t>(given.width),
          static_cast<scalar_t>(given.end), static_cast<scalar_t>(given.ramp)};
    };
    kernels::LocalDensities<scalar_t> task{};
    task.elements = elements;
    task.species = graph.species.data_ptr<std::int64_t>();
    task.first = graph.first.data_ptr<std::int64_t>();
    task.neighbor = graph.neighbors();
    task.edge_vector = graph.edge_vector.data_ptr<scalar_t>();
    task.edge_stride = graph.edge_vector.stride(0);
    task.smallest_length = static_cast<scalar_t>(smallest_length);
    task.radial = basis(radial, radial_values);
    task.coarse = basis(coarse, coarse_values);
    task.channels = radii.numel();
    task.radii = radius_values.data();
    task.widths = width_values.data();
    task.degree = degree;
    task.angular_cutoff = static_cast<scalar_t>(angular_cutoff);
    task.legendre = legendre.data();
    task.first_center = graph.first_center();
    result = torch::empty({graph.rows(), task.columns()}, graph.edge_vector.options());
    task.densities = result.data_ptr<scalar_t>();
    const kernels::DensitiesLayout layout(task, most_edges(task.first, graph.atoms()));
    const auto describe = function<scalar_t>();
    graph.for_each_range([&](std::int64_t begin, std::int64_t end) {
      std::vector<CacheLine<scalar_t>> workspace(layout.size / CacheLine<scalar_t>::kScalars + 1);
      describe(task, begin, end, layout, workspace.front().scalars);
    });
  });
  return result;
}

}  // namespace

void register_local_densities(torch::Library &library) {
  library.def(kSchema);
  library.impl("local_densities", torch::dispatch(c10::DispatchKey::CPU, &local_densities_cpu));
  library.impl("local_densities", c10::DispatchKey::Autograd,
               torch::autograd::autogradNotImplementedFallback());
}

}  // namespace symgnn
