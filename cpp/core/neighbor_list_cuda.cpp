#include "neighbor_list_cuda.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <vesin.h>

#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include "enclosure.h"
#include "error.h"

namespace symgnn {

namespace {

using torch::Tensor;

void check_on_device(const Tensor &positions) {
  const double farthest = positions.abs().max().item<double>();  // not-a-number goes through
  if (!(farthest <= kFarthest)) {
    const Tensor on_cpu = positions.cpu();
    check_positions(on_cpu.data_ptr<double>(), static_cast<std::size_t>(on_cpu.size(0)));
  }
}

double extent(const Tensor &positions, const std::array<double, 3> &direction) {
  const Tensor along = positions.select(1, 0) * direction[0] +
                       positions.select(1, 1) * direction[1] +
                       positions.select(1, 2) * direction[2];
  return (along.max() - along.min()).item<double>();
}

/// The order that sorts by the keys, the last of them first.
Tensor order_by(const std::vector<Tensor> &keys) {
  Tensor order;
  for (const Tensor &key : keys) {
    const Tensor sorted_so_far = order.defined() ? key.index_select(0, order) : key;
    const Tensor next = at::argsort(sorted_so_far, /*stable=*/true, /*dim=*/0);
    order = order.defined() ? order.index_select(0, next) : next;
  }
  return order;
}

/// vesin takes the NVRTC that is loaded already, or one that the system finds. torch's lies in a
/// folder that only torch's libraries know. Its Python module loads it; `lmp` has this one do so.
void load_nvrtc() {
  static void *const library = dlopen("libcaffe2_nvrtc.so", RTLD_LAZY);
  (void)library;  // without it vesin says what is missing
}

/// Memory that vesin lacks may lie unused with torch.
void give_unused_memory_back(const Tensor &like) {
  try {
    torch::zeros({1}, like.options());
  } catch (const c10::Error &) {
    // Of vesin: CUDA tells an error to whoever asks next, which would be the next kernel of
    // torch's.
  }
  at::getDeviceAllocator(like.device().type())->emptyCache();
}

/// A copy of the cell as vesin wants it: on the device of the positions.
Tensor box_of(const Cell &cell, const Tensor &positions) {
  const Tensor box = torch::empty({3, 3}, torch::kFloat64);
  for (int axis = 0; axis < 3; ++axis) {
    std::copy(cell.vectors[axis].begin(), cell.vectors[axis].end(),
              box.data_ptr<double>() + 3 * axis);
  }
  return box.to(positions.device());
}

}  // namespace

Edges arrange_pairs(const Pairs &pairs, std::int64_t atoms, std::int64_t centers, double cutoff,
                    bool self_edges, bool images_may_meet, torch::Dtype dtype) {
  const Tensor i = pairs.atoms.select(1, 0);
  const Tensor j = pairs.atoms.select(1, 1);
  const Tensor x = pairs.vector.select(1, 0);
  const Tensor y = pairs.vector.select(1, 1);
  const Tensor z = pairs.vector.select(1, 2);
  const Tensor is_near = x * x + y * y + z * z < cutoff * cutoff;
  const Tensor chosen =
      at::cat({is_near & (i < centers), is_near & (j < centers)}).nonzero().select(1, 0);
  Tensor center = at::cat({i, j}).index_select(0, chosen);
  Tensor neighbor = at::cat({j, i}).index_select(0, chosen);
  Tensor vector = at::cat({pairs.vector, -pairs.vector}).index_select(0, chosen).to(dtype);
  if (self_edges) {
    const Tensor self = at::arange(centers, pairs.atoms.options());
    center = at::cat({center, self});
    neighbor = at::cat({neighbor, self});
    vector = at::cat({vector, at::zeros({centers, 3}, vector.options())});
  }
  // Without images a pair of atoms is one edge: no two keys are equal.
  std::vector<Tensor> keys;
  if (images_may_meet) {
    keys = {vector.select(1, 2), vector.select(1, 1), vector.select(1, 0)};
  }
  keys.push_back(center * atoms + neighbor);
  const Tensor order = order_by(keys);
  return {at::stack({center, neighbor}).index_select(1, order), vector.index_select(0, order)};
}

struct DeviceNeighborList::Memory {
  VesinNeighborList list;

  Memory() = default;
  ~Memory() {
    try {
      free();
    } catch (const std::exception &) {
      // The GPU is gone, and its memory with it.
    }
  }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;

  void free() {
    if (list.device.type != VesinCUDA) {
      vesin_free(&list);
      return;
    }
    // vesin leaves the device of the list as the current one.
    const c10::impl::VirtualGuardImpl guard(torch::kCUDA);
    const torch::Device current = guard.getDevice();
    vesin_free(&list);
    guard.uncheckedSetDevice(current);
  }

  /// Every pair in a fully periodic cell once. The tensors end with the next call.
  Pairs half_list(const Tensor &positions, const Cell &cell, double cutoff) {
    const bool is_on_cpu = positions.device().is_cpu();
    const VesinDevice device{is_on_cpu ? VesinCPU : VesinCUDA,
                             is_on_cpu ? 0 : positions.device().index()};
    if (list.device.type != device.type || list.device.device_id != device.device_id) {
      free();
    }
    VesinOptions options{};
    options.cutoff = cutoff;
    options.full = false;
    // Its other algorithm on GPUs needs boxes of two cutoffs.
    options.algorithm = VesinCellList;
    options.n_threads = 1;
    options.return_vectors = true;
    const Tensor box = box_of(cell, positions);
    const Tensor periodic = torch::ones({3}, positions.options().dtype(torch::kBool));
    if (!is_on_cpu) {
      load_nvrtc();
      // vesin (0.6.2) works on the default stream, for which torch's other streams do not wait,
      // and returns when all of the device is idle. This also ends all use of the previous list.
      const c10::impl::VirtualGuardImpl guard(positions.device().type());
      guard.getStream(positions.device()).synchronize();
    }
    const char *problem = nullptr;
    const auto search = [&] {
      return vesin_neighbors(reinterpret_cast<const double (*)[3]>(positions.data_ptr<double>()),
                             static_cast<std::size_t>(positions.size(0)),
                             reinterpret_cast<const double (*)[3]>(box.data_ptr<double>()),
                             periodic.data_ptr<bool>(), device, options, &list, &problem);
    };
    int status = search();
    if (status != 0 && !is_on_cpu) {
      free();
      give_unused_memory_back(positions);
      status = search();
    }
    if (status != 0) {
      if (is_on_cpu) {
        list = VesinNeighborList();  // see VesinList
      } else {
        free();
        give_unused_memory_back(positions);
      }
      throw_no_list(problem);
    }
    const auto length = static_cast<std::int64_t>(list.length);
    const auto options_of = [&](torch::Dtype dtype) { return positions.options().dtype(dtype); };
    if (length == 0) {
      return {torch::empty({0, 2}, options_of(torch::kInt64)),
              torch::empty({0, 3}, options_of(torch::kFloat64))};
    }
    return {at::from_blob(list.pairs, {length, 2}, options_of(torch::kInt64)),
            at::from_blob(list.vectors, {length, 3}, options_of(torch::kFloat64))};
  }
};

DeviceNeighborList::DeviceNeighborList() : memory_(std::make_unique<Memory>()) {}
DeviceNeighborList::~DeviceNeighborList() = default;

Edges DeviceNeighborList::find(const Tensor &positions, std::int64_t centers, const Cell &cell,
                               double cutoff, bool self_edges, torch::Dtype dtype) {
  const c10::DeviceGuard guard(positions.device());
  const Tensor points = positions.contiguous();
  const std::int64_t atoms = points.size(0);
  if (atoms > 0) {
    check_on_device(points);
  }
  const Cell enclosing = enclosing_cell(
      cell, static_cast<std::size_t>(atoms), cutoff,
      [&](const std::array<double, 3> &direction) { return extent(points, direction); });
  if (atoms == 0) {
    return {torch::empty({2, 0}, points.options().dtype(torch::kInt64)),
            torch::empty({0, 3}, points.options().dtype(dtype))};
  }
  return arrange_pairs(memory_->half_list(points, enclosing, cutoff), atoms, centers, cutoff,
                       self_edges, smallest_height(enclosing) < 2.0 * cutoff, dtype);
}

}  // namespace symgnn
