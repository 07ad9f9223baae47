#include "local_densities_blocks.h"

#include "functions.h"

namespace symgnn::kernels::SYMGNN_CAPABILITY {

namespace {

template <typename scalar>
inline void fill(scalar *to, std::int64_t count, scalar value) {
  for (std::int64_t k = 0; k < count; ++k) {
    to[k] = value;
  }
}

/// The surroundings of one center after the other, in a workspace.
template <typename scalar>
class Surroundings {
 public:
  Surroundings(const LocalDensities<scalar> &task, const DensitiesLayout &layout, scalar *workspace)
      : task_(task),
        layout_(layout),
        edge_(workspace + layout.edge),
        cutoff_(workspace + layout.cutoff),
        near_(workspace + layout.near),
        harmonic_(workspace + layout.harmonic),
        weight_(workspace + layout.weight),
        lanes_(workspace + layout.lanes),
        moments_(workspace + layout.moments),
        transposed_(workspace + layout.transposed) {
    // Lanes beyond the last harmonic and the last channel are computed with, and not read.
    fill(harmonic_, layout.edges * layout.harmonics, scalar(0));
    fill(transposed_, (layout.harmonics + 1) * layout.channels, scalar(0));
  }

  /// Densities of a center, [columns].
  void describe(std::int64_t center, scalar *densities) {
    if (task_.first[center] == task_.first[center + 1]) {
      fill(densities, task_.columns(), scalar(0));
      return;
    }
    scalar *angular = densities + task_.elements * task_.radial.count;
    scalar *coarse = angular + task_.degree * task_.pairs();
    for (std::int64_t element = 0; element < task_.elements; ++element) {
      const std::int64_t count = find_edges(center, element);
      sum_gaussians(task_.radial, count, densities + element * task_.radial.count);
      sum_gaussians(task_.coarse, count, coarse + element * task_.coarse.count);
      const std::int64_t near = find_near(count);
      expand(near);
      sum_moments(near, moments_ + element * task_.channels * layout_.harmonics);
    }
    contract(angular);
  }

 private:
  using V = Vector<scalar>;
  static constexpr std::int64_t step = lanes<V, scalar>;

  /// Vectors and lengths of a center's edges to one element: how many.
  std::int64_t find_edges(std::int64_t center, std::int64_t element) {
    scalar *x = edge_;
    scalar *y = x + layout_.edges;
    scalar *z = y + layout_.edges;
    scalar *length = z + layout_.edges;
    std::int64_t count = 0;
    for (std::int64_t edge = task_.first[center]; edge < task_.first[center + 1]; ++edge) {
      const scalar *vector = task_.edge_vector + edge * task_.edge_stride;
      x[count] = vector[0];
      y[count] = vector[1];
      z[count] = vector[2];
      count += task_.species[task_.neighbor[edge]] == element;
    }
    for (std::int64_t edge = count; edge % step != 0; ++edge) {
      x[edge] = y[edge] = z[edge] = scalar(1);
    }
    const V smallest = V{} + task_.smallest_length;
    for (std::int64_t edge = 0; edge < count; edge += step) {
      const V a = load<V>(x + edge);
      const V b = load<V>(y + edge);
      const V c = load<V>(z + edge);
      store(length + edge, maximum(root_of<scalar>(a * a + b * b + c * c), smallest));
    }
    return count;
  }

  /// Sums of Gaussians over edges, [basis.count].
  void sum_gaussians(const GaussianBasis<scalar> &basis, std::int64_t count, scalar *densities) {
    const scalar *length = edge_ + 3 * layout_.edges;
    for (std::int64_t edge = 0; edge < count; edge += step) {
      store(cutoff_ + edge, ramp(load<V>(length + edge), basis.end, basis.ramp));
    }
    const scalar scale = root(scalar(0.5)) / basis.width;
    const scalar reach = FloatingPoint<scalar>::kGaussianReach * basis.width;
    for (std::int64_t k = 0; k < basis.count; k += step) {
      const V centers = load<V>(basis.centers + k);
      const scalar lowest = basis.centers[k] - reach;
      const scalar highest = minimum(basis.centers[k + step - 1] + reach, basis.end);
      V sum{};
      for (std::int64_t edge = 0; edge < count; ++edge) {
        if ((length[edge] > lowest) & (length[edge] < highest)) {
          const V offset = scale * (length[edge] - centers);
          sum += cutoff_[edge] * exp_of_negative<scalar>(-(offset * offset));
        }
      }
      scalar of_lanes[step];
      store(of_lanes, sum);
      for (std::int64_t lane = 0; lane < step && k + lane < basis.count; ++lane) {
        densities[k + lane] = of_lanes[lane];
      }
    }
  }

  /// Directions and lengths of those edges that are within the angular cutoff: how many.
  std::int64_t find_near(std::int64_t edges) {
    std::int64_t count = 0;
    for (std::int64_t edge = 0; edge < edges; ++edge) {
      for (std::int64_t k = 0; k < 4; ++k) {
        near_[k * layout_.edges + count] = edge_[k * layout_.edges + edge];
      }
      count += edge_[3 * layout_.edges + edge] < task_.angular_cutoff;
    }
    for (std::int64_t edge = count; edge % step != 0; ++edge) {
      for (std::int64_t k = 0; k < 4; ++k) {
        near_[k * layout_.edges + edge] = scalar(1);
      }
    }
    for (std::int64_t edge = 0; edge < count; edge += step) {
      const V length = load<V>(near_ + 3 * layout_.edges + edge);
      for (std::int64_t k = 0; k < 3; ++k) {
        scalar *component = near_ + k * layout_.edges + edge;
        store(component, load<V>(component) / length);
      }
    }
    return count;
  }

  /// Harmonics [count, harmonics] and weights [count, R] of near edges.
  void expand(std::int64_t count) {
    scalar *of_lanes = lanes_;
    scalar *weight_of_lanes = lanes_ + layout_.harmonics * step;
    for (std::int64_t edge = 0; edge < count; edge += step) {
      const V length = load<V>(near_ + 3 * layout_.edges + edge);
      harmonics(load<V>(near_ + edge), load<V>(near_ + layout_.edges + edge),
                load<V>(near_ + 2 * layout_.edges + edge), of_lanes);
      const V near = squared_sine<scalar>(scalar(1) - length / task_.angular_cutoff);
      for (std::int64_t channel = 0; channel < task_.channels; ++channel) {
        const V offset =
            (length - task_.radii[channel]) * (root(scalar(0.5)) / task_.widths[channel]);
        store(weight_of_lanes + channel * step, near * exp_of_negative<scalar>(-(offset * offset)));
      }
      const std::int64_t present = count - edge < step ? count - edge : step;
      transpose(of_lanes, task_.harmonics(), present, harmonic_ + edge * layout_.harmonics,
                layout_.harmonics);
      transpose(weight_of_lanes, task_.channels, present, weight_ + edge * task_.channels,
                task_.channels);
    }
  }

  /// From [rows, lanes] to [lanes, rows].
  static void transpose(const scalar *from, std::int64_t rows, std::int64_t columns, scalar *to,
                        std::int64_t stride) {
    for (std::int64_t column = 0; column < columns; ++column) {
      for (std::int64_t row = 0; row < rows; ++row) {
        to[column * stride + row] = from[row * step + column];
      }
    }
  }

  /// Real spherical harmonics of unit vectors, [harmonics, lanes]: for each l, m = 0, then cosine
  /// and sine of m = 1 … l.
  void harmonics(const V &x, const V &y, const V &z, scalar *result) const {
    V cosine = V{} + scalar(1);
    V sine{};
    for (std::int64_t m = 0; m <= task_.degree; ++m) {
      if (m > 0) {
        const V next = x * cosine - y * sine;
        sine = x * sine + y * cosine;
        cosine = next;
      }
      V before{};
      V legendre{};
      for (std::int64_t l = m; l <= task_.degree; ++l) {
        const scalar *factor = task_.legendre + 3 * (m * (task_.degree + 1) + l);
        const V next = l == m ? V{} + factor[0] : factor[0] * z * legendre - factor[1] * before;
        before = legendre;
        legendre = next;
        const V value = factor[2] * legendre;
        scalar *of_degree = result + (l * l - 1) * step;
        if (m > 0) {
          store(of_degree + (2 * m - 1) * step, value * cosine);
          store(of_degree + 2 * m * step, value * sine);
        } else if (l > 0) {
          store(of_degree, value);
        }
      }
    }
  }

  /// Moments [R, harmonics] of one element from those of its edges.
  void sum_moments(std::int64_t count, scalar *moments) const {
    std::int64_t channel = 0;
    for (; channel + 4 <= task_.channels; channel += 4) {
      sum_channels<4>(count, channel, moments);
    }
    for (; channel < task_.channels; ++channel) {
      sum_channels<1>(count, channel, moments);
    }
  }

  template <int channels>
  void sum_channels(std::int64_t count, std::int64_t channel, scalar *moments) const {
    std::int64_t k = 0;
    for (; k + 3 * step <= layout_.harmonics; k += 3 * step) {
      sum_tile<channels, 3>(count, channel, k, moments);
    }
    for (; k < layout_.harmonics; k += step) {
      sum_tile<channels, 1>(count, channel, k, moments);
    }
  }

  template <int channels, int vectors>
  void sum_tile(std::int64_t count, std::int64_t channel, std::int64_t k, scalar *moments) const {
    V sum[channels][vectors] = {};
    for (std::int64_t edge = 0; edge < count; ++edge) {
      const scalar *harmonic = harmonic_ + edge * layout_.harmonics + k;
      const scalar *weight = weight_ + edge * task_.channels + channel;
      for (int v = 0; v < vectors; ++v) {
        const V value = load<V>(harmonic + step * v);
        for (int c = 0; c < channels; ++c) {
          sum[c][v] += weight[c] * value;
        }
      }
    }
    for (int c = 0; c < channels; ++c) {
      for (int v = 0; v < vectors; ++v) {
        store(moments + (channel + c) * layout_.harmonics + k + step * v, sum[c][v]);
      }
    }
  }

  /// Power spectra [degree, pairs] from moments.
  void contract(scalar *densities) {
    const std::int64_t channels = task_.elements * task_.channels;
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t k = 0; k < task_.harmonics(); ++k) {
        transposed_[k * layout_.channels + channel] = moments_[channel * layout_.harmonics + k];
      }
    }
    scalar *row = transposed_ + layout_.harmonics * layout_.channels;
    for (std::int64_t l = 1; l <= task_.degree; ++l) {
      const scalar *of_degree = transposed_ + (l * l - 1) * layout_.channels;
      for (std::int64_t channel = 0; channel < channels; ++channel) {
        for (std::int64_t k = channel / step * step; k < channels; k += step) {
          V sum{};
          for (std::int64_t m = 0; m < 2 * l + 1; ++m) {
            const scalar *moment = of_degree + m * layout_.channels;
            sum += moment[channel] * load<V>(moment + k);
          }
          store(row + k, sum);
        }
        for (std::int64_t other = channel; other < channels; ++other) {
          *densities++ = row[other];
        }
      }
    }
  }

  const LocalDensities<scalar> &task_;
  const DensitiesLayout &layout_;
  scalar *const edge_, *const cutoff_, *const near_, *const harmonic_,
                                                         *const weight_,

                                                             *const lanes_, *const moments_,
                                                                                *const transposed_;
};

template <typename scalar>
void describe_centers(const LocalDensities<scalar> &task, std::int64_t begin, std::int64_t end,
                      const DensitiesLayout &layout, scalar *workspace) {
  Surroundings<scalar> surroundings(task, layout, workspace);
  for (std::int64_t center = begin; center < end; ++center) {
    surroundings.describe(center, task.densities + (center - task.first_center) * task.columns());
  }
}

}  // namespace

void local_densities(const LocalDensities<float> &task, std::int64_t begin, std::int64_t end,
                     const DensitiesLayout &layout, float *workspace) {
  describe_centers(task, begin, end, layout, workspace);
}

void local_densities(const LocalDensities<double> &task, std::int64_t begin, std::int64_t end,
                     const DensitiesLayout &layout, double *workspace) {
  describe_centers(task, begin, end, layout, workspace);
}

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY
