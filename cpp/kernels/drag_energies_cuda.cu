#include "drag_energies_cuda.h"

#include <cmath>

#include "device_tiles.h"

namespace symgnn::kernels {

namespace {

// A block takes one center at a time; a thread, one atom that moves in one direction of dragging.
// Neighbors are listed from both sides, so that nobody adds to another's force.
//
// Floor on an H200 for the model cuzr, whose centers have 130 atoms that move, with 45
// neighbors each: 12 steps of all, then 50 in each of 13 directions are 3.9 million pairs of some
// 35 operations. That is 2 µs of its arithmetic (67 TFLOP/s), 16 ms for 8,000 atoms; positions are
// in shared memory, lists and tables in L1.

/// Directions that are dragged at once: what their positions need fits in shared memory.
constexpr int kDirections = 8;

SYMGNN_DEVICE float root_of(float x) { return sqrtf(x); }
SYMGNN_DEVICE double root_of(double x) { return sqrt(x); }
SYMGNN_DEVICE float exponential_of(float x) { return expf(x); }
SYMGNN_DEVICE double exponential_of(double x) { return exp(x); }
SYMGNN_DEVICE float logarithm_of(float x) { return logf(x); }
SYMGNN_DEVICE double logarithm_of(double x) { return log(x); }

template <typename scalar>
SYMGNN_DEVICE scalar square_of(const scalar *vector) {
  return vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2];
}

template <typename scalar>
SYMGNN_DEVICE scalar smooth_ramp(scalar length, scalar end, scalar width) {
  const scalar fraction = (end - length) / width;
  const scalar within = fraction < 0 ? scalar(0) : fraction > 1 ? scalar(1) : fraction;
  return within * within * (scalar(3) - scalar(2) * within);
}

/// Squared distance up to which two atoms are a pair. The center comes to atoms that were far.
template <typename scalar>
SYMGNN_DEVICE scalar pair_limit(const DragEnergies<scalar> &task, bool has_center) {
  const scalar length = task.stride < 0 ? -task.stride : task.stride;
  const scalar slack = has_center ? length * static_cast<scalar>(task.strides) : task.slack;
  return (task.reach + slack) * (task.reach + slack);
}

template <typename scalar>
struct CountKernel {
  DragEnergies<scalar> task;
  std::int64_t rows;
  DragCounts *counts;

  struct Shared {
    std::int32_t *pairs;  ///< [most + 1]; −1 for an atom that does not move
    std::size_t size;

    SYMGNN_BOTH Shared(const DragEnergies<scalar> &task, void *memory) {
      Pieces pieces(memory);
      pairs = pieces.take<std::int32_t>(task.most + 1);
      size = pieces.used();
    }
  };

  SYMGNN_DEVICE void operator()(const Block &block) const {
    const Shared shared(task, block.shared());
    for (std::int64_t row = block.index(); row < rows; row += block.count()) {
      const std::int64_t first = task.first[task.first_center + row];
      const int atoms = static_cast<int>(task.first[task.first_center + row + 1] - first) + 1;
      block.for_each(atoms, [&](int atom) { shared.pairs[atom] = pairs_of(first, atom, atoms); });
      block.barrier();
      block.for_each(1, [&](int) {
        DragCounts found{};
        for (int atom = 0; atom < atoms; ++atom) {
          found.moving += shared.pairs[atom] >= 0;
          found.pairs += shared.pairs[atom] >= 0 ? shared.pairs[atom] : 0;
        }
        counts[row] = found;
      });
      block.barrier();
    }
  }

 private:
  /// Of an atom, which is the center (0) or that of edge first + atom − 1. Limits are a little
  /// longer than those of DragKernel, which may be compiled to other last digits.
  SYMGNN_DEVICE int pairs_of(std::int64_t first, int atom, int atoms) const {
    constexpr scalar kLonger = scalar(1) + scalar(1e-5);
    const scalar mobile_end = task.mobile_end * kLonger;
    scalar from[3];
    place(first, atom, from);
    if (square_of(from) > mobile_end * mobile_end) {
      return -1;
    }
    int count = 0;
    for (int other = 0; other < atoms; ++other) {
      scalar vector[3];
      place(first, other, vector);
      for (int k = 0; k < 3; ++k) {
        vector[k] -= from[k];
      }
      const scalar limit = pair_limit(task, atom == 0 || other == 0) * kLonger;
      count += other != atom && square_of(vector) < limit;
    }
    return count;
  }

  SYMGNN_DEVICE void place(std::int64_t first, int atom, scalar *to) const {
    for (int k = 0; k < 3; ++k) {
      to[k] = atom == 0 ? scalar(0) : task.edge_vector[(first + atom - 1) * task.edge_stride + k];
    }
  }
};

template <typename scalar>
struct DragKernel {
  DragEnergies<scalar> task;
  std::int64_t rows;
  DragCounts largest;
  std::int32_t *lists;  ///< [blocks, largest.pairs]

  struct Shared {
    scalar *length;                      ///< [most], Å, of edges
    scalar *start;                       ///< [most + 1, 3], Å; those that move come first
    std::int32_t *kind;                  ///< [most + 1], elements
    scalar *mobility;                    ///< [largest.moving], Å²/eV
    scalar *counted;                     ///< [largest.moving]: see DragWorkspace
    std::int32_t *ends;                  ///< [largest.moving, 2]: see DragWorkspace
    scalar *direction;                   ///< [largest.moving, 3]
    scalar *weight;                      ///< [largest.moving], of directions
    scalar *energy;                      ///< [strides + 1, largest.moving], eV, of directions
    scalar *displacement;                ///< [displacements, largest.moving], Å², of directions
    scalar *position, *next, *velocity;  ///< [largest.moving, 3, kDirections]
    std::int32_t *counts;                ///< atoms, those that move, directions
    std::size_t size;

    SYMGNN_BOTH Shared(const DragEnergies<scalar> &task, const DragCounts &largest, void *memory) {
      const std::int64_t moving = largest.moving;
      Pieces pieces(memory);
      length = pieces.take<scalar>(task.most);
      start = pieces.take<scalar>(3 * (task.most + 1));
      kind = pieces.take<std::int32_t>(task.most + 1);
      mobility = pieces.take<scalar>(moving);
      counted = pieces.take<scalar>(moving);
      ends = pieces.take<std::int32_t>(2 * moving);
      direction = pieces.take<scalar>(3 * moving);
      weight = pieces.take<scalar>(moving);
      energy = pieces.take<scalar>((task.strides + 1) * moving);
      displacement = pieces.take<scalar>(task.displacements * moving);
      position = pieces.take<scalar>(3 * moving * kDirections);
      next = pieces.take<scalar>(3 * moving * kDirections);
      velocity = pieces.take<scalar>(3 * moving * kDirections);
      counts = pieces.take<std::int32_t>(3);
      size = pieces.used();
    }
  };

  SYMGNN_DEVICE void operator()(const Block &block) const {
    const Shared shared(task, largest, block.shared());
    std::int32_t *list = lists + static_cast<std::int64_t>(largest.pairs) * block.index();
    const std::int64_t columns = (task.strides + 1) * (task.levels + 1) + task.displacements;
    for (std::int64_t row = block.index(); row < rows; row += block.count()) {
      Center center{task, block, shared, list, largest.moving};
      center.gather(task.first_center + row);
      center.find_neighbors();
      center.relax();
      center.find_directions();
      center.drag();
      center.reduce(task.result + row * columns);
      block.barrier();
    }
  }

 private:
  /// A center and its surroundings, as every thread of the block sees them.
  class Center {
   public:
    SYMGNN_DEVICE Center(const DragEnergies<scalar> &task, const Block &block, const Shared &shared,
                         std::int32_t *list, int most_moving)
        : task_(task),
          block_(block),
          shared_(shared),
          list_(list),
          most_moving_(most_moving),
          position_(shared.position),
          next_(shared.next) {}

    /// The center, then its neighbors in the order of their vectors, the shortest first: whatever
    /// rank or search found them.
    SYMGNN_DEVICE void gather(std::int64_t center) {
      const std::int64_t first = task_.first[center];
      const int edges = static_cast<int>(task_.first[center + 1] - first);
      block_.for_each(edges, [&](int edge) {
        shared_.length[edge] = root_of(square_of(vector_of(first + edge)));
      });
      block_.for_each(1, [&](int) {
        const scalar zero[3] = {};
        place(0, center, zero, scalar(0));
        shared_.counts[0] = shared_.counts[1] = 1;
      });
      block_.barrier();
      const scalar farthest = task_.mobile_end + task_.reach + task_.slack;
      block_.for_each(edges, [&](int edge) {
        int before = 0, there = 0, moving = 0;
        for (int other = 0; other < edges; ++other) {
          before += is_before(first, other, edge);
          there += shared_.length[other] < farthest;
          moving += shared_.length[other] < task_.mobile_end;
        }
        place(1 + before, task_.neighbor[first + edge], vector_of(first + edge),
              shared_.length[edge]);
        if (edge == 0) {
          shared_.counts[0] = 1 + there;
          shared_.counts[1] = 1 + moving;
        }
      });
      block_.barrier();
      atoms_ = shared_.counts[0];
      moving_ = shared_.counts[1];
    }

    /// The neighbors of each atom that moves: first those that move.
    SYMGNN_DEVICE void find_neighbors() {
      block_.for_each(moving_, [&](int atom) {
        int count = 0;
        for_each_neighbor(atom, 0, moving_, [&](int) { ++count; });
        shared_.ends[2 * atom] = count;
        for_each_neighbor(atom, moving_, atoms_, [&](int) { ++count; });
        shared_.ends[2 * atom + 1] = count;
      });
      block_.barrier();
      block_.for_each(1, [&](int) {
        int before = 0;
        for (int atom = 0; atom < moving_; ++atom) {
          shared_.ends[2 * atom] += before;
          before = shared_.ends[2 * atom + 1] += before;
        }
      });
      block_.barrier();
      block_.for_each(moving_, [&](int atom) {
        std::int32_t *next = list_ + begin_of(atom);
        for_each_neighbor(atom, 0, atoms_, [&](int other) { *next++ = other; });
      });
      block_.barrier();
    }

    /// Steps down the slope for all atoms that move: from there they are dragged.
    SYMGNN_DEVICE void relax() {
      block_.for_each(3, [&](int k) { shared_.direction[k] = 0; });
      begin(1);
      for (std::int64_t count = 0; count < task_.relaxations; ++count) {
        move(0, 1);
      }
      block_.for_each(3 * moving_, [&](int k) { shared_.start[k] = position_[k * kDirections]; });
      block_.barrier();
    }

    /// Away from each first neighbor.
    SYMGNN_DEVICE void find_directions() {
      block_.for_each(1, [&](int) {
        int count = 0;
        for (int atom = 1; atom < moving_; ++atom) {
          scalar vector[3];
          for (int k = 0; k < 3; ++k) {
            vector[k] = shared_.start[k] - shared_.start[3 * atom + k];
          }
          const scalar length = root_of(square_of(vector));
          const scalar weight = smooth_ramp(length, task_.shell_end, task_.shell_ramp);
          if (weight > 0 && length > 0) {
            for (int k = 0; k < 3; ++k) {
              shared_.direction[3 * count + k] = vector[k] / length;
            }
            shared_.weight[count++] = weight;
          }
        }
        shared_.counts[2] = count;
      });
      block_.barrier();
      directions_ = shared_.counts[2];
    }

    SYMGNN_DEVICE void drag() {
      for (int first = 0; first < directions_; first += kDirections) {
        const int left = directions_ - first;
        const int count = left < kDirections ? left : kDirections;
        begin(count);
        for (std::int64_t stride = 0; stride < task_.strides; ++stride) {
          block_.for_each(3 * count, [&](int item) {
            position_[item % 3 * kDirections + item / 3] +=
                task_.stride * shared_.direction[3 * first + item];
          });
          block_.barrier();
          for (std::int64_t iteration = 0; iteration < task_.iterations; ++iteration) {
            move(first, count);
          }
          find_energies(count, shared_.energy + stride * directions_ + first);
          if (task_.displacements > 0) {
            find_displacements(count, shared_.displacement + stride * directions_ + first);
          }
        }
      }
    }

    /// Soft minima over directions at each temperature, and the mean, of each stride and of the
    /// highest energy on the way; then means of displacements.
    SYMGNN_DEVICE void reduce(scalar *result) {
      const int strides = static_cast<int>(task_.strides);
      const int columns = static_cast<int>(task_.levels) + 1;
      block_.for_each(directions_, [&](int number) {
        scalar highest = shared_.energy[number];
        for (int stride = 1; stride < strides; ++stride) {
          const scalar energy = shared_.energy[stride * directions_ + number];
          highest = energy > highest ? energy : highest;
        }
        shared_.energy[strides * directions_ + number] = highest;
      });
      block_.barrier();
      const int energies = (strides + 1) * columns;
      block_.for_each(energies + static_cast<int>(task_.displacements), [&](int item) {
        const int column = item % columns;
        const scalar *energy = shared_.energy + item / columns * directions_;
        result[item] = directions_ == 0 ? scalar(0)
                       : item >= energies
                           ? mean(shared_.displacement + (item - energies) * directions_)
                       : column + 1 == columns ? mean(energy)
                                               : soft_minimum(energy, task_.temperatures[column]);
      });
    }

   private:
    SYMGNN_DEVICE const scalar *vector_of(std::int64_t edge) const {
      return task_.edge_vector + edge * task_.edge_stride;
    }

    SYMGNN_DEVICE bool is_before(std::int64_t first, int one, int other) const {
      if (shared_.length[one] != shared_.length[other]) {
        return shared_.length[one] < shared_.length[other];
      }
      for (int k = 0; k < 3; ++k) {
        const scalar difference = vector_of(first + one)[k] - vector_of(first + other)[k];
        if (difference != 0) {
          return difference < 0;
        }
      }
      return one < other;
    }

    SYMGNN_DEVICE void place(int atom, std::int64_t number, const scalar *vector, scalar length) {
      const auto kind = static_cast<std::int32_t>(task_.species[number]);
      shared_.kind[atom] = kind;
      for (int k = 0; k < 3; ++k) {
        shared_.start[3 * atom + k] = vector[k];
      }
      if (length < task_.mobile_end && atom < most_moving_) {
        shared_.mobility[atom] =
            task_.mobility[kind] * smooth_ramp(length, task_.mobile_end, task_.mobile_ramp);
        shared_.counted[atom] =
            scalar(1) - smooth_ramp(length, task_.far + task_.far_ramp, task_.far_ramp);
      }
    }

    template <typename Work>
    SYMGNN_DEVICE void for_each_neighbor(int atom, int begin, int end, const Work &work) const {
      for (int other = begin; other < end; ++other) {
        scalar vector[3];
        for (int k = 0; k < 3; ++k) {
          vector[k] = shared_.start[3 * other + k] - shared_.start[3 * atom + k];
        }
        if (other != atom && square_of(vector) < pair_limit(task_, atom == 0 || other == 0)) {
          work(other);
        }
      }
    }

    SYMGNN_DEVICE int begin_of(int atom) const {
      return atom == 0 ? 0 : shared_.ends[2 * atom - 1];
    }

    /// Everything at rest at the start, in each of `count` directions.
    SYMGNN_DEVICE void begin(int count) {
      block_.for_each(3 * moving_ * count, [&](int item) {
        const int place = item / count * kDirections + item % count;
        position_[place] = shared_.start[item / count];
        shared_.velocity[place] = 0;
      });
      block_.barrier();
    }

    /// One iteration of descent with momentum, in `count` directions from `first` on: the center
    /// moves across its direction only.
    SYMGNN_DEVICE void move(int first, int count) {
      block_.for_each(moving_ * count, [&](int item) {
        const int atom = item / count, lane = item % count;
        scalar force[3] = {};
        for_each_pair(atom, lane, [&](int row, const scalar *vector, bool) {
          const scalar slope = polynomial<3>(task_.slope, row, vector);
          for (int k = 0; k < 3; ++k) {
            force[k] += slope * vector[k];
          }
        });
        if (atom == 0) {
          const scalar *direction = shared_.direction + 3 * (first + lane);
          const scalar along =
              force[0] * direction[0] + force[1] * direction[1] + force[2] * direction[2];
          for (int k = 0; k < 3; ++k) {
            force[k] -= along * direction[k];
          }
        }
        const int place = 3 * atom * kDirections + lane;
        scalar step[3];
        for (int k = 0; k < 3; ++k) {
          step[k] = task_.momentum * shared_.velocity[place + k * kDirections] +
                    shared_.mobility[atom] * force[k];
        }
        const scalar length = root_of(square_of(step));
        const scalar scale = task_.longest / (length > task_.longest ? length : task_.longest);
        for (int k = 0; k < 3; ++k) {
          const int at = place + k * kDirections;
          shared_.velocity[at] = step[k] * scale;
          next_[at] = position_[at] + step[k] * scale;
        }
      });
      block_.barrier();
      scalar *former = position_;
      position_ = next_;
      next_ = former;
    }

    /// Above those of the start: pair by pair, since they are a small part of either.
    SYMGNN_DEVICE void find_energies(int count, scalar *energies) {
      block_.for_each(moving_ * count, [&](int item) {
        const int atom = item / count, lane = item % count;
        const scalar *here = shared_.start + 3 * atom;
        int at = begin_of(atom);
        scalar sum = 0;
        for_each_pair(atom, lane, [&](int row, const scalar *vector, bool both_move) {
          const scalar *there = shared_.start + 3 * list_[at++];
          const scalar before[3] = {there[0] - here[0], there[1] - here[1], there[2] - here[2]};
          const scalar change =
              polynomial<4>(task_.energy, row, vector) - polynomial<4>(task_.energy, row, before);
          sum += both_move ? scalar(0.5) * change : change;
        });
        next_[atom * kDirections + lane] = sum;
      });
      add_atoms(count, energies);
    }

    /// Sums over atoms of their squared displacements, each as far as it counts.
    SYMGNN_DEVICE void find_displacements(int count, scalar *displacements) {
      block_.for_each(moving_ * count, [&](int item) {
        const int atom = item / count, lane = item % count;
        scalar way[3];
        for (int k = 0; k < 3; ++k) {
          way[k] = position_[(3 * atom + k) * kDirections + lane] - shared_.start[3 * atom + k];
        }
        next_[atom * kDirections + lane] = shared_.counted[atom] * square_of(way);
      });
      add_atoms(count, displacements);
    }

    /// Of what stands in `next_` for each atom and direction, sums over atoms.
    SYMGNN_DEVICE void add_atoms(int count, scalar *sums) {
      block_.barrier();
      block_.for_each(count, [&](int lane) {
        scalar sum = 0;
        for (int atom = 0; atom < moving_; ++atom) {
          sum += next_[atom * kDirections + lane];
        }
        sums[lane] = sum;
      });
      block_.barrier();
    }

    /// Calls work(row of the tables, vector to the neighbor, whether it moves too).
    template <typename Work>
    SYMGNN_DEVICE void for_each_pair(int atom, int lane, const Work &work) const {
      const scalar *from = position_ + 3 * atom * kDirections + lane;
      const scalar here[3] = {from[0], from[kDirections], from[2 * kDirections]};
      const int row = shared_.kind[atom] * static_cast<int>(task_.elements);
      int next = begin_of(atom);
      for (; next < shared_.ends[2 * atom]; ++next) {
        const int other = list_[next];
        const scalar *to = position_ + 3 * other * kDirections + lane;
        const scalar vector[3] = {to[0] - here[0], to[kDirections] - here[1],
                                  to[2 * kDirections] - here[2]};
        work(row + shared_.kind[other], vector, true);
      }
      for (; next < shared_.ends[2 * atom + 1]; ++next) {
        const int other = list_[next];
        const scalar *to = shared_.start + 3 * other;
        const scalar vector[3] = {to[0] - here[0], to[1] - here[1], to[2] - here[2]};
        work(row + shared_.kind[other], vector, false);
      }
    }

    /// Of the place of a squared length in its interval; the last interval stands for all beyond.
    template <int terms>
    SYMGNN_DEVICE scalar polynomial(const scalar *tables, int row, const scalar *vector) const {
      const scalar last = scalar(kPairIntervals) - scalar(0.5);
      scalar place = (square_of(vector) - task_.lowest) * (scalar(1) / task_.spacing);
      place = place > 0 ? place : scalar(0);
      place = place < last ? place : last;
      const int interval = static_cast<int>(place);
      const scalar fraction = place - static_cast<scalar>(interval);
      const scalar *table = tables + row * terms * static_cast<int>(kPairIntervals) + interval;
      scalar value = table[(terms - 1) * kPairIntervals];
      for (int power = terms - 2; power >= 0; --power) {
        value = value * fraction + table[power * kPairIntervals];
      }
      return value;
    }

    SYMGNN_DEVICE scalar total_weight() const {
      scalar total = 0;
      for (int number = 0; number < directions_; ++number) {
        total += shared_.weight[number];
      }
      return total;
    }

    SYMGNN_DEVICE scalar mean(const scalar *values) const {
      const scalar total = total_weight();
      scalar sum = 0;
      for (int number = 0; number < directions_; ++number) {
        sum += shared_.weight[number] * values[number];
      }
      return (total < 1 ? total : scalar(1)) * sum / total;
    }

    SYMGNN_DEVICE scalar soft_minimum(const scalar *energy, scalar temperature) const {
      const scalar total = total_weight();
      scalar lowest = energy[0];
      for (int number = 1; number < directions_; ++number) {
        lowest = energy[number] < lowest ? energy[number] : lowest;
      }
      scalar sum = 0;
      for (int number = 0; number < directions_; ++number) {
        sum += shared_.weight[number] * exponential_of((lowest - energy[number]) / temperature);
      }
      return (total < 1 ? total : scalar(1)) * (lowest - temperature * logarithm_of(sum / total));
    }

    const DragEnergies<scalar> &task_;
    const Block &block_;
    const Shared &shared_;
    std::int32_t *const list_;
    const int most_moving_;
    scalar *position_, *next_;  ///< they change places with every step
    int atoms_ = 0, moving_ = 0, directions_ = 0;
  };
};

std::int64_t blocks_for(std::int64_t rows) { return rows < kMostBlocks ? rows : kMostBlocks; }

}  // namespace

template <typename scalar>
const char *count_dragged_cuda(const DragEnergies<scalar> &task, std::int64_t rows,
                               DragCounts *counts, void *stream) {
  using Kernel = CountKernel<scalar>;
  return launch<4>(Kernel{task, rows, counts}, blocks_for(rows),
                   typename Kernel::Shared(task, nullptr).size, stream);
}

std::size_t drag_energies_workspace(std::int64_t rows, const DragCounts &largest) {
  return static_cast<std::size_t>(blocks_for(rows)) * static_cast<std::size_t>(largest.pairs) *
         sizeof(std::int32_t);
}

template <typename scalar>
bool drag_energies_fit_cuda(const DragEnergies<scalar> &task, const DragCounts &largest) {
  return typename DragKernel<scalar>::Shared(task, largest, nullptr).size <= most_shared_bytes();
}

template <typename scalar>
const char *drag_energies_cuda(const DragEnergies<scalar> &task, std::int64_t rows,
                               const DragCounts &largest, void *workspace, void *stream) {
  using Kernel = DragKernel<scalar>;
  constexpr int kResident = sizeof(scalar) == sizeof(float) ? 3 : 1;  // by shared memory
  return launch<kResident>(Kernel{task, rows, largest, static_cast<std::int32_t *>(workspace)},
                           blocks_for(rows), typename Kernel::Shared(task, largest, nullptr).size,
                           stream);
}

template const char *count_dragged_cuda(const DragEnergies<float> &, std::int64_t, DragCounts *,
                                        void *);
template const char *count_dragged_cuda(const DragEnergies<double> &, std::int64_t, DragCounts *,
                                        void *);
template bool drag_energies_fit_cuda(const DragEnergies<float> &, const DragCounts &);
template bool drag_energies_fit_cuda(const DragEnergies<double> &, const DragCounts &);
template const char *drag_energies_cuda(const DragEnergies<float> &, std::int64_t,
                                        const DragCounts &, void *, void *);
template const char *drag_energies_cuda(const DragEnergies<double> &, std::int64_t,
                                        const DragCounts &, void *, void *);

}  // namespace symgnn::kernels
