#ifndef SYMGNN_KERNELS_DEVICE_H
#define SYMGNN_KERNELS_DEVICE_H

// One source for kernels, two machines. nvcc compiles it for the GPU; any C++ compiler compiles it
// for the host, where threads take the place of the GPU's and tests run the very same bodies. A
// kernel is a struct with
//
//     SYMGNN_DEVICE void operator()(const Block &block) const;
//
// that every thread of every block runs. `block.for_each(count, work)` shares `count` items among
// the threads of a block; `block.barrier()` makes what was written before it visible after it.

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define SYMGNN_DEVICE __device__ __forceinline__
#define SYMGNN_BOTH __host__ __device__ __forceinline__
#else
#include <pthread.h>

#include <cstring>
#include <thread>
#include <vector>
#define SYMGNN_DEVICE inline
#define SYMGNN_BOTH inline
#endif

// A test takes fewer, so that each block has several tiles.
#ifndef SYMGNN_MOST_BLOCKS
#define SYMGNN_MOST_BLOCKS 2048
#endif

namespace symgnn::kernels {

/// Blocks that loop over tiles, at most.
constexpr std::int64_t kMostBlocks = SYMGNN_MOST_BLOCKS;

#ifdef __CUDACC__

constexpr int kThreads = 256;  ///< of a block

/// Shared memory has instructions of its own, where the compiler knows that a pointer is of it.
__device__ __forceinline__ void assume_shared(const void *pointer) {
  __builtin_assume(__isShared(pointer));
}

#else

inline int kThreads = 3;  ///< of a block: any number gives the same results

inline void assume_shared(const void *) {}

#endif

/// One thread's view of its block.
class Block {
 public:
#ifdef __CUDACC__
  explicit SYMGNN_DEVICE Block(unsigned char *shared) : shared_(shared) {}

  SYMGNN_DEVICE int index() const { return static_cast<int>(blockIdx.x); }
  SYMGNN_DEVICE int count() const { return static_cast<int>(gridDim.x); }
  SYMGNN_DEVICE void barrier() const { __syncthreads(); }
#else
  Block(unsigned char *shared, int thread, int count, pthread_barrier_t (&barriers)[2])
      : shared_(shared), thread_(thread), count_(count), barriers_(barriers) {}

  void begin(int index) { index_ = index; }
  int index() const { return index_; }
  int count() const { return count_; }

  /// Two barriers in turn: ThreadSanitizer takes a thread that wakes late from one to have waited
  /// for all that others did before they came to the same barrier again.
  void barrier() const { pthread_barrier_wait(&barriers_[turn_++ % 2]); }
#endif
  SYMGNN_DEVICE unsigned char *shared() const { return shared_; }

  template <typename Work>
  SYMGNN_DEVICE void for_each(int count, const Work &work) const {
    for (int item = thread(); item < count; item += kThreads) {
      work(item);
    }
  }

  /// `count` items shared among the threads of all blocks.
  template <typename Work>
  SYMGNN_DEVICE void for_each_of_grid(std::int64_t count, const Work &work) const {
    const std::int64_t step = static_cast<std::int64_t>(this->count()) * kThreads;
    for (std::int64_t item = static_cast<std::int64_t>(index()) * kThreads + thread(); item < count;
         item += step) {
      work(item);
    }
  }

 private:
  unsigned char *shared_;
#ifdef __CUDACC__
  SYMGNN_DEVICE int thread() const { return static_cast<int>(threadIdx.x); }
#else
  int thread_;
  int index_ = 0;
  int count_;
  pthread_barrier_t (&barriers_)[2];
  mutable unsigned turn_ = 0;

  int thread() const { return thread_; }
#endif
};

#ifdef __CUDACC__

template <int resident, typename Kernel>
__global__ void __launch_bounds__(kThreads, resident) run(Kernel kernel) {
  extern __shared__ __align__(16) unsigned char shared[];
  kernel(Block(shared));
}

/// Shared memory that the current device lends a block at most, bytes; 0 where it cannot be asked.
inline std::size_t most_shared_bytes() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess) {
    cudaGetLastError();  // or the next call would report it again
    return 0;
  }
  return static_cast<std::size_t>(bytes);
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
      return "this model needs more shared memory than this GPU lends a block; run it on the CPU";
    }
  }
  function<<<static_cast<unsigned>(blocks), kThreads, shared_bytes,
             static_cast<cudaStream_t>(stream)>>>(kernel);
  const cudaError_t problem = cudaGetLastError();
  return problem == cudaSuccess ? nullptr : cudaGetErrorString(problem);
}

#else

inline std::size_t most_shared_bytes() { return SIZE_MAX; }

template <int resident, typename Kernel>
const char *launch(const Kernel &kernel, std::int64_t blocks, std::size_t shared_bytes, void *) {
  struct alignas(16) Unit {
    unsigned char bytes[16];
  };
  std::vector<Unit> shared(shared_bytes / sizeof(Unit) + 1);
  pthread_barrier_t barriers[2];
  for (pthread_barrier_t &barrier : barriers) {
    pthread_barrier_init(&barrier, nullptr, static_cast<unsigned>(kThreads));
  }
  const auto run = [&](int thread) {
    Block block(shared.data()->bytes, thread, static_cast<int>(blocks), barriers);
    for (int index = 0; index < blocks; ++index) {
      block.begin(index);
      if (thread == 0) {
        // A block finds anything in its shared memory: here not-a-number in every format.
        std::memset(static_cast<void *>(shared.data()), 0xff, shared.size() * sizeof(Unit));
      }
      block.barrier();
      kernel(block);
      block.barrier();
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back(run, thread);
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  for (pthread_barrier_t &barrier : barriers) {
    pthread_barrier_destroy(&barrier);
  }
  return nullptr;
}

#endif

}  // namespace symgnn::kernels

#endif
