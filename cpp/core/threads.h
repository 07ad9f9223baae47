#ifndef SYMGNN_CORE_THREADS_H
#define SYMGNN_CORE_THREADS_H

#include <ATen/Parallel.h>

namespace symgnn {

/// Sets torch's number of threads and puts the old one back: it belongs to the whole process.
class ThreadsGuard {
 public:
  /// 0 leaves torch's setting.
  explicit ThreadsGuard(int threads) : previous_(at::get_num_threads()) {
    if (threads > 0) {
      at::set_num_threads(threads);
    }
  }
  ~ThreadsGuard() {
    if (at::get_num_threads() != previous_) {
      at::set_num_threads(previous_);
    }
  }
  ThreadsGuard(const ThreadsGuard &) = delete;
  ThreadsGuard &operator=(const ThreadsGuard &) = delete;

 private:
  int previous_;
};

}  // namespace symgnn

#endif
