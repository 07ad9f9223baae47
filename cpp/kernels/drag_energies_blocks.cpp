#include "drag_energies_blocks.h"

#include "functions.h"

namespace symgnn::kernels::SYMGNN_CAPABILITY {

namespace {

template <typename scalar>
inline scalar ramp_of(scalar length, scalar end, scalar width) {
  const scalar fraction = (end - length) / width;
  const scalar within = fraction < 0 ? scalar(0) : fraction > 1 ? scalar(1) : fraction;
  return within * within * (scalar(3) - scalar(2) * within);
}

/// The center and its surroundings, dragged in as many directions at once as a register has lanes.
template <typename scalar>
class Drag {
 public:
  Drag(const DragEnergies<scalar> &task, const DragWorkspace<scalar> &workspace)
      : task_(task),
        work_(workspace),
        per_square_(scalar(1) / task.spacing),
        place_of_zero_(-task.lowest / task.spacing) {}

  void of_center(std::int64_t center) {
    gather(center);
    find_neighbors();
    relax();
    find_directions();
    const std::int64_t columns = (task_.strides + 1) * (task_.levels + 1) + task_.displacements;
    scalar *result = task_.result + (center - task_.first_center) * columns;
    if (directions_ == 0) {
      for (std::int64_t column = 0; column < columns; ++column) {
        result[column] = scalar(0);
      }
      return;
    }
    begin();
    for_each_pair([this](DraggedNeighbor<scalar> &neighbor, const V(&vector)[3]) {
      neighbor.start_energy = energy_of(neighbor, vector)[0];
    });
    for (std::int64_t first = 0; first < directions_; first += step) {
      drag(first);
    }
    reduce(result);
  }

 private:
  using V = Vector<scalar>;
  static constexpr std::int64_t step = lanes<V, scalar>;

  /// Atoms that move, the center first, then the others.
  void gather(std::int64_t center) {
    add(center, scalar(0), nullptr);
    mobile_ = 1;
    for (std::int64_t number = 0; number < work_.count; ++number) {
      const std::int64_t edge = work_.edges[number];
      const scalar *vector = task_.edge_vector + edge * task_.edge_stride;
      const scalar length = root(square_of(vector));
      mobile_ += mobile_ == atoms_ && length < task_.mobile_end;
      add(task_.neighbor[edge], length, vector);
    }
  }

  void add(std::int64_t atom, scalar length, const scalar *vector) {
    const scalar free = ramp_of(length, task_.mobile_end, task_.mobile_ramp);
    work_.atoms[atoms_] = atom;
    work_.mobility[atoms_] = task_.mobility[task_.species[atom]] * free;
    work_.counted[atoms_] = scalar(1) - ramp_of(length, task_.far + task_.far_ramp, task_.far_ramp);
    for (int k = 0; k < 3; ++k) {
      work_.start[3 * atoms_ + k] = vector == nullptr ? scalar(0) : vector[k];
    }
    ++atoms_;
  }

  static scalar square_of(const scalar *vector) {
    return vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2];
  }

  static scalar length_of(scalar stride) { return stride < 0 ? -stride : stride; }

  /// The neighbors of each atom that moves, of those with higher numbers: first those that move.
  void find_neighbors() {
    std::int64_t count = 0;
    for (std::int64_t first = 0; first < mobile_; ++first) {
      // The center comes to atoms that were far.
      const scalar slack =
          first == 0 ? length_of(task_.stride) * static_cast<scalar>(task_.strides) : task_.slack;
      const scalar limit = task_.reach + slack;
      const std::int64_t row = task_.species[work_.atoms[first]] * task_.elements;
      for (std::int64_t second = first + 1; second < atoms_; ++second) {
        if (second == mobile_) {
          work_.ends[2 * first] = count;
        }
        scalar vector[3];
        for (int k = 0; k < 3; ++k) {
          vector[k] = work_.start[3 * second + k] - work_.start[3 * first + k];
        }
        if (square_of(vector) < limit * limit) {
          const std::int64_t elements = row + task_.species[work_.atoms[second]];
          work_.neighbors[count++] = {static_cast<std::int32_t>(second),
                                      static_cast<std::int32_t>(elements), scalar(0)};
        }
      }
      if (mobile_ == atoms_) {
        work_.ends[2 * first] = count;
      }
      work_.ends[2 * first + 1] = count;
    }
  }

  /// Steps down the slope for all atoms that move: from there they are dragged.
  void relax() {
    begin();
    for (std::int64_t count = 0; count < task_.relaxations; ++count) {
      find_forces();
      move();
    }
    for (std::int64_t k = 0; k < 3 * mobile_; ++k) {
      work_.start[k] = work_.position[k * step];
    }
  }

  /// Away from each first neighbor.
  void find_directions() {
    directions_ = 0;
    for (std::int64_t atom = 1; atom < mobile_; ++atom) {
      scalar vector[3];
      for (int k = 0; k < 3; ++k) {
        vector[k] = work_.start[k] - work_.start[3 * atom + k];
      }
      const scalar length = root(square_of(vector));
      const scalar weight = ramp_of(length, task_.shell_end, task_.shell_ramp);
      if (weight > 0 && length > 0) {
        for (int k = 0; k < 3; ++k) {
          work_.directions[3 * directions_ + k] = vector[k] / length;
        }
        work_.weights[directions_++] = weight;
      }
    }
  }

  /// Everything at rest at the start, the center free.
  void begin() {
    for (std::int64_t k = 0; k < 3 * mobile_; ++k) {
      store(work_.position + k * step, V{} + work_.start[k]);
      store(work_.velocity + k * step, V{});
    }
    for (V &component : direction_) {
      component = V{};
    }
  }

  /// Directions first, first + 1, … in the lanes; the last one again in those that are left.
  void drag(std::int64_t first) {
    begin();
    for (std::int64_t lane = 0; lane < step; ++lane) {
      const std::int64_t number = first + lane < directions_ ? first + lane : directions_ - 1;
      for (int k = 0; k < 3; ++k) {
        direction_[k][lane] = work_.directions[3 * number + k];
      }
    }
    for (std::int64_t stride = 0; stride < task_.strides; ++stride) {
      for (int k = 0; k < 3; ++k) {
        store(work_.position + k * step, position(0, k) + task_.stride * direction_[k]);
      }
      for (std::int64_t iteration = 0; iteration < task_.iterations; ++iteration) {
        find_forces();
        move();
      }
      keep(energy(), first, work_.energies + stride * directions_);
      if (task_.displacements > 0) {
        keep(displacement(), first, work_.displacements + stride * directions_);
      }
    }
  }

  /// What was found in the directions first, first + 1, ….
  void keep(const V &found, std::int64_t first, scalar *of_directions) const {
    for (std::int64_t lane = 0; lane < step && first + lane < directions_; ++lane) {
      of_directions[first + lane] = found[lane];
    }
  }

  /// One iteration of descent with momentum: the center moves across its direction only.
  void move() {
    for (std::int64_t atom = 0; atom < mobile_; ++atom) {
      V force[3];
      for (int k = 0; k < 3; ++k) {
        force[k] = load<V>(work_.force + (3 * atom + k) * step);
      }
      if (atom == 0) {
        const V along =
            force[0] * direction_[0] + force[1] * direction_[1] + force[2] * direction_[2];
        for (int k = 0; k < 3; ++k) {
          force[k] -= along * direction_[k];
        }
      }
      scalar *velocity = work_.velocity + 3 * atom * step;
      scalar *position = work_.position + 3 * atom * step;
      V moved[3];
      for (int k = 0; k < 3; ++k) {
        moved[k] = task_.momentum * load<V>(velocity + k * step) + work_.mobility[atom] * force[k];
      }
      const V square = moved[0] * moved[0] + moved[1] * moved[1] + moved[2] * moved[2];
      const V longest = V{} + task_.longest;
      const V scale = longest / maximum(root_of<scalar>(square), longest);
      for (int k = 0; k < 3; ++k) {
        store(velocity + k * step, moved[k] * scale);
        store(position + k * step, load<V>(position + k * step) + moved[k] * scale);
      }
    }
  }

  void find_forces() {
    for (std::int64_t k = 0; k < 3 * mobile_; ++k) {
      store(work_.force + k * step, V{});
    }
    std::int64_t next = 0;
    for (std::int64_t first = 0; first < mobile_; ++first) {
      const V from[3] = {position(first, 0), position(first, 1), position(first, 2)};
      scalar *on_first = work_.force + 3 * first * step;
      V force[3] = {load<V>(on_first), load<V>(on_first + step), load<V>(on_first + 2 * step)};
      for (; next < work_.ends[2 * first]; ++next) {
        const DraggedNeighbor<scalar> &neighbor = work_.neighbors[next];
        scalar *on_second = work_.force + 3 * neighbor.atom * step;
        V vector[3];
        for (int k = 0; k < 3; ++k) {
          vector[k] = position(neighbor.atom, k) - from[k];
        }
        const V slope = slope_of(neighbor, vector);
        for (int k = 0; k < 3; ++k) {
          force[k] += slope * vector[k];
          store(on_second + k * step, load<V>(on_second + k * step) - slope * vector[k]);
        }
      }
      for (; next < work_.ends[2 * first + 1]; ++next) {
        const DraggedNeighbor<scalar> &neighbor = work_.neighbors[next];
        V vector[3];
        for (int k = 0; k < 3; ++k) {
          vector[k] = work_.start[3 * neighbor.atom + k] - from[k];
        }
        const V slope = slope_of(neighbor, vector);
        for (int k = 0; k < 3; ++k) {
          force[k] += slope * vector[k];
        }
      }
      for (int k = 0; k < 3; ++k) {
        store(on_first + k * step, force[k]);
      }
    }
  }

  /// Above that of the start: pair by pair, since it is a small part of either.
  V energy() const {
    V sum{};
    for_each_pair([&](const DraggedNeighbor<scalar> &neighbor, const V(&vector)[3]) {
      sum += energy_of(neighbor, vector) - neighbor.start_energy;
    });
    return sum;
  }

  /// Sum over atoms of their squared displacements, each as far as it counts.
  V displacement() const {
    V sum{};
    for (std::int64_t atom = 0; atom < mobile_; ++atom) {
      if (work_.counted[atom] > 0) {
        V square{};
        for (int k = 0; k < 3; ++k) {
          const V way = position(atom, k) - work_.start[3 * atom + k];
          square += way * way;
        }
        sum += work_.counted[atom] * square;
      }
    }
    return sum;
  }

  template <typename Work>
  void for_each_pair(const Work &work) const {
    std::int64_t next = 0;
    for (std::int64_t first = 0; first < mobile_; ++first) {
      const V from[3] = {position(first, 0), position(first, 1), position(first, 2)};
      for (; next < work_.ends[2 * first + 1]; ++next) {
        const std::int64_t second = work_.neighbors[next].atom;
        const bool moves = next < work_.ends[2 * first];
        V vector[3];
        for (int k = 0; k < 3; ++k) {
          vector[k] = moves ? position(second, k) - from[k] : work_.start[3 * second + k] - from[k];
        }
        work(work_.neighbors[next], vector);
      }
    }
  }

  V position(std::int64_t atom, int k) const {
    return load<V>(work_.position + (3 * atom + k) * step);
  }

  /// Where squared lengths of vectors lie: the interval, and how far in it. The last one stands for
  /// all that is beyond, where energies are zero.
  struct Place {
    Index<scalar> interval;
    V fraction;
  };

  Place place_of(const V (&vector)[3]) const {
    const V square = vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2];
    const V last = V{} + (scalar(kPairIntervals) - scalar(0.5));
    const V place = minimum(maximum(square * per_square_ + place_of_zero_, V{}), last);
    const auto interval = __builtin_convertvector(place, Index<scalar>);
    return {interval, place - __builtin_convertvector(interval, V)};
  }

  V energy_of(const DraggedNeighbor<scalar> &neighbor, const V (&vector)[3]) const {
    return polynomial<4>(task_.energy, neighbor, vector);
  }

  V slope_of(const DraggedNeighbor<scalar> &neighbor, const V (&vector)[3]) const {
    return polynomial<3>(task_.slope, neighbor, vector);
  }

  template <int terms>
  V polynomial(const scalar *tables, const DraggedNeighbor<scalar> &neighbor,
               const V (&vector)[3]) const {
    const Place place = place_of(vector);
    const scalar *table = tables + neighbor.elements * terms * kPairIntervals;
    V value = chosen_of_32(table + (terms - 1) * kPairIntervals, place.interval);
#pragma GCC unroll 4
    for (int power = terms - 2; power >= 0; --power) {
      value = value * place.fraction + chosen_of_32(table + power * kPairIntervals, place.interval);
    }
    return value;
  }

  /// Soft minima over directions at each temperature, and the mean, of each stride and of the
  /// highest energy on the way; then means of displacements.
  void reduce(scalar *result) {
    scalar total = 0;
    for (std::int64_t number = 0; number < directions_; ++number) {
      total += work_.weights[number];
      scalar highest = work_.energies[number];
      for (std::int64_t stride = 1; stride < task_.strides; ++stride) {
        const scalar energy = work_.energies[stride * directions_ + number];
        highest = energy > highest ? energy : highest;
      }
      work_.energies[task_.strides * directions_ + number] = highest;
    }
    const scalar share = total < 1 ? total : scalar(1);
    for (std::int64_t stride = 0; stride <= task_.strides; ++stride) {
      const scalar *energies = work_.energies + stride * directions_;
      for (std::int64_t level = 0; level < task_.levels; ++level) {
        *result++ = share * soft_minimum(energies, total, task_.temperatures[level]);
      }
      *result++ = share * mean(energies, total);
    }
    for (std::int64_t stride = 0; stride < task_.displacements; ++stride) {
      *result++ = share * mean(work_.displacements + stride * directions_, total);
    }
  }

  scalar mean(const scalar *values, scalar total) const {
    scalar sum = 0;
    for (std::int64_t number = 0; number < directions_; ++number) {
      sum += work_.weights[number] * values[number];
    }
    return sum / total;
  }

  scalar soft_minimum(const scalar *energies, scalar total, scalar temperature) const {
    scalar lowest = energies[0];
    for (std::int64_t number = 1; number < directions_; ++number) {
      lowest = energies[number] < lowest ? energies[number] : lowest;
    }
    scalar sum = 0;
    for (std::int64_t number = 0; number < directions_; number += step) {
      scalar above[step];
      for (std::int64_t lane = 0; lane < step; ++lane) {
        const std::int64_t of = number + lane < directions_ ? number + lane : number;
        above[lane] = (lowest - energies[of]) / temperature;
      }
      const V factor = exp_of_negative<scalar>(load<V>(above));
      for (std::int64_t lane = 0; lane < step && number + lane < directions_; ++lane) {
        sum += work_.weights[number + lane] * factor[lane];
      }
    }
    return lowest - temperature * log_of(sum / total);
  }

  static float log_of(float x) { return logf(x); }
  static double log_of(double x) { return log(x); }

  const DragEnergies<scalar> &task_;
  const DragWorkspace<scalar> &work_;
  const scalar per_square_, place_of_zero_;
  std::int64_t atoms_ = 0, mobile_ = 0, directions_ = 0;
  V direction_[3] = {};
};

}  // namespace

void drag_energies(const DragEnergies<float> &task, std::int64_t center,
                   const DragWorkspace<float> &workspace) {
  Drag<float>(task, workspace).of_center(center);
}

void drag_energies(const DragEnergies<double> &task, std::int64_t center,
                   const DragWorkspace<double> &workspace) {
  Drag<double>(task, workspace).of_center(center);
}

}  // namespace symgnn::kernels::SYMGNN_CAPABILITY
