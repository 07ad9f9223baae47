#ifndef SYMGNN_KERNELS_DEVICE_H
#define SYMGNN_KERNELS_DEVICE_H

// One source for kernels, two machines. nvcc compiles it for the GPU; any C++ compiler compiles it
// for the host, where a test runs the very same bodies. A kernel is a struct with
//
//     SYMGNN_DEVICE void operator()(const Block &block) const;
//
// whose work is written in phases: `block.for_each(count, work)` shares `count` items among the
// threads of the block, and `block.barrier()` ends a phase. What one phase hands to the next lies
// in memory. Items of a phase must not depend on each other, which the host checks: see HostOrder.

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define SYMGNN_DEVICE __device__ __forceinline__
#define SYMGNN_BOTH __host__ __device__ __forceinline__
#else
#include <cstring>
#include <vector>
#define SYMGNN_DEVICE inline
#define SYMGNN_BOTH inline
#endif

namespace symgnn::kernels {

constexpr int kThreads = 256;  ///< of every block

#ifdef __CUDACC__

/// Shared memory has instructions of its own, where the compiler knows that a pointer is of it.
__device__ __forceinline__ void assume_shared(const void *pointer) {
  __builtin_assume(__isShared(pointer));
}

class Block {
 public:
  __device__ Block(unsigned char *shared) : shared_(shared) {}

  __device__ int index() const { return static_cast<int>(blockIdx.x); }
  __device__ int count() const { return static_cast<int>(gridDim.x); }
  __device__ unsigned char *shared() const { return shared_; }
  __device__ void barrier() const { __syncthreads(); }

  template <typename Work>
  __device__ __forceinline__ void for_each(int count, const Work &work) const {
    for (int item = static_cast<int>(threadIdx.x); item < count; item += kThreads) {
      work(item);
    }
  }

  /// `count` items shared among the threads of all blocks.
  template <typename Work>
  __device__ __forceinline__ void for_each_of_grid(std::int64_t count, const Work &work) const {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    for (std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
         item < count; item += step) {
      work(item);
    }
  }

 private:
  unsigned char *shared_;
};

template <int resident, typename Kernel>
__global__ void __launch_bounds__(kThreads, resident) run(Kernel kernel) {
  extern __shared__ __align__(16) unsigned char shared[];
  kernel(Block(shared));
}

/// Queue `blocks` blocks with `shared_bytes` of shared memory each, `resident` of which should find
/// registers on a multiprocessor at once. Null, or what went wrong.
template <int resident, typename Kernel>
const char *launch(const Kernel &kernel, std::int64_t blocks, std::size_t shared_bytes,
                   void *stream) {
  if (blocks == 0) {
    return nullptr;
  }
  void (*const function)(Kernel) = run<resident, Kernel>;
  // Up to 48 KiB every device gives unasked.
  if (shared_bytes > 48 * 1024) {
    const cudaError_t problem = cudaFuncSetAttribute(
        function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (problem != cudaSuccess) {
      cudaGetLastError();  // or the next call would report it again
      return "the heads or edges of this network are too wide for the shared memory of this GPU; "
             "run it on the CPU";
    }
  }
  function<<<static_cast<unsigned>(blocks), kThreads, shared_bytes,
             static_cast<cudaStream_t>(stream)>>>(kernel);
  const cudaError_t problem = cudaGetLastError();
  return problem == cudaSuccess ? nullptr : cudaGetErrorString(problem);
}

#else

inline void assume_shared(const void *) {}

/// In which order the host takes the blocks of a launch and the items of a phase. A GPU takes them
/// in any: results that differ between two orders show a race.
struct HostOrder {
  static inline bool is_reversed = false;

  template <typename Integer, typename Work>
  static void for_each(Integer count, const Work &work) {
    for (Integer k = 0; k < count; ++k) {
      work(is_reversed ? count - 1 - k : k);
    }
  }
};

class Block {
 public:
  Block(int index, int count, unsigned char *shared)
      : index_(index), count_(count), shared_(shared) {}

  int index() const { return index_; }
  int count() const { return count_; }
  unsigned char *shared() const { return shared_; }
  void barrier() const {}

  template <typename Work>
  void for_each(int count, const Work &work) const {
    HostOrder::for_each(count, work);
  }

  template <typename Work>
  void for_each_of_grid(std::int64_t count, const Work &work) const {
    const std::int64_t each = (count + count_ - 1) / count_;
    const std::int64_t begin = index_ * each < count ? index_ * each : count;
    const std::int64_t end = begin + each < count ? begin + each : count;
    HostOrder::for_each(end - begin, [&](std::int64_t item) { work(begin + item); });
  }

 private:
  int index_;
  int count_;
  unsigned char *shared_;
};

template <int resident, typename Kernel>
const char *launch(const Kernel &kernel, std::int64_t blocks, std::size_t shared_bytes, void *) {
  struct alignas(16) Unit {
    unsigned char bytes[16];
  };
  std::vector<Unit> shared(shared_bytes / sizeof(Unit) + 1);
  HostOrder::for_each(blocks, [&](std::int64_t index) {
    // Shared memory starts with anything in it: not-a-number in every format.
    std::memset(static_cast<void *>(shared.data()), 0xff, shared.size() * sizeof(Unit));
    kernel(Block(static_cast<int>(index), static_cast<int>(blocks), shared.data()->bytes));
  });
  return nullptr;
}

#endif

}  // namespace symgnn::kernels

#endif
