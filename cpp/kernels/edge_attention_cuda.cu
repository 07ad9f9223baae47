#include "edge_attention_cuda.h"

#include "edge_attention_device.h"

namespace symgnn::kernels {

namespace {

constexpr std::int64_t fewer(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// Two blocks for each multiprocessor of an H200. Fixed, so that sums do not depend on the device.
constexpr std::int64_t kGradientBlocks = fewer(264, kMostBlocks);

template <typename scalar>
std::int64_t tiles(const EdgeAttention<scalar> &task) {
  return (task.edges + kRows<scalar> - 1) / kRows<scalar>;
}

/// One item to a thread.
std::int64_t blocks_for(std::int64_t items) {
  return fewer((items + kThreads - 1) / kThreads, std::int64_t{1} << 30);
}

template <typename scalar>
Task<scalar> make_task(const EdgeAttention<scalar> &given, const std::int64_t *center) {
  Task<scalar> task;
  static_cast<EdgeAttention<scalar> &>(task) = given;
  task.center = center;
  task.is_aligned =
      given.width % 4 == 0 && given.edge_width % 4 == 0 &&
      begin_aligned(given.projected, given.edge, given.output_bias, given.gathered, given.new_edge);
  return task;
}

/// Intermediate results of the forward pass.
template <typename scalar>
struct Workspace {
  scalar *score, *moments;
  std::size_t size;

  Workspace(const EdgeAttention<scalar> &task, void *memory) {
    Pieces pieces(memory);
    score = pieces.take<scalar>(task.edges * task.heads);
    moments = pieces.take<scalar>(fewer(tiles(task), kMostBlocks) * 2 * task.heads * task.width);
    size = pieces.used();
  }
};

template <typename scalar>
struct GradientWorkspace {
  scalar *score, *score_gradient, *entering, *partial;
  std::size_t size;

  GradientWorkspace(const EdgeAttention<scalar> &task, void *memory) {
    Pieces pieces(memory);
    score = pieces.take<scalar>(task.edges * task.heads);
    score_gradient = pieces.take<scalar>(task.edges * task.heads);
    entering = pieces.take<scalar>(task.edges * task.width);
    partial =
        pieces.take<scalar>(fewer(tiles(task), kGradientBlocks) *
                            HeadGradientKernel<scalar>::kSplits * WeightLayout<scalar>(task).size);
    size = pieces.used();
  }
};

/// Launches on one stream, up to the first problem.
class Queue {
 public:
  explicit Queue(void *stream) : stream_(stream) {}

  template <int resident = 1, typename Kernel>
  void add(const Kernel &kernel, std::int64_t blocks, std::size_t shared_bytes = 0) {
    if (problem_ == nullptr) {
      problem_ = launch<resident>(kernel, blocks, shared_bytes, stream_);
    }
  }
  const char *problem() const { return problem_; }

 private:
  void *stream_;
  const char *problem_ = nullptr;
};

}  // namespace

const char *find_first_edges_cuda(const std::int64_t *center, const std::int64_t *neighbor,
                                  std::int64_t edges, std::int64_t atoms, std::int64_t *first,
                                  std::int32_t *problem, void *stream) {
  Queue queue(stream);
  queue.add(ClearKernel{problem}, 1);
  queue.add(FirstEdgesKernel{center, neighbor, edges, atoms, first, problem},
            blocks_for(edges + 1));
  return queue.problem();
}

template <typename scalar>
std::size_t edge_attention_workspace(const EdgeAttention<scalar> &task) {
  return Workspace<scalar>(task, nullptr).size;
}

template <typename scalar>
const char *edge_attention_cuda(const EdgeAttention<scalar> &given, const std::int64_t *center,
                                void *workspace, void *stream) {
  const Task<scalar> task = make_task(given, center);
  const Workspace<scalar> memory(task, workspace);
  const std::int64_t blocks = fewer(tiles(task), kMostBlocks);
  const bool has_gathered = task.gathered != nullptr;
  const bool has_moments = task.moments != nullptr;
  Queue queue(stream);
  queue.add<3>(EdgeKernel<scalar>{task, has_gathered ? memory.score : nullptr,
                                  has_moments ? memory.moments : nullptr},
               blocks, typename EdgeKernel<scalar>::Shared(task, nullptr).size);
  if (has_gathered) {
    queue.add(GatherKernel<scalar>{task, memory.score},
              blocks_for(task.atoms * task.heads * quads(task.width)));
  }
  if (has_moments) {
    const std::int64_t size = 2 * task.heads * task.width;
    queue.add(SumKernel<scalar>{memory.moments, blocks, size, task.moments, size},
              blocks_for(size));
  }
  return queue.problem();
}

template <typename scalar>
std::size_t edge_attention_gradient_workspace(const EdgeAttention<scalar> &task) {
  return GradientWorkspace<scalar>(task, nullptr).size;
}

template <typename scalar>
const char *edge_attention_gradient_cuda(const EdgeAttention<scalar> &given,
                                         const EdgeAttentionGradient<scalar> &gradient,
                                         const std::int64_t *center,
                                         const EdgesByNeighbor &by_neighbor, void *workspace,
                                         void *stream) {
  Task<scalar> task = make_task(given, center);
  task.gathered = task.new_edge = task.moments = nullptr;
  task.is_aligned = task.is_aligned && begin_aligned(gradient.gathered, gradient.new_edge,
                                                     gradient.projected, gradient.edge);
  const GradientWorkspace<scalar> memory(task, workspace);
  Queue queue(stream);
  if (gradient.gathered != nullptr) {
    queue.add<3>(EdgeKernel<scalar>{task, memory.score, nullptr}, fewer(tiles(task), kMostBlocks),
                 typename EdgeKernel<scalar>::Shared(task, nullptr).size);
    queue.add(WeightGradientKernel<scalar>{task, gradient.gathered, memory.score_gradient},
              blocks_for(task.edges * task.heads));
    queue.add(SoftmaxGradientKernel<scalar>{task, memory.score, memory.score_gradient},
              blocks_for(task.atoms * task.heads));
  }
  const std::int64_t blocks = fewer(tiles(task), kGradientBlocks);
  for (int head = 0; head < static_cast<int>(task.heads); ++head) {
    queue.add<2>(
        HeadGradientKernel<scalar>{task, gradient, head,
                                   gradient.gathered != nullptr ? memory.score_gradient : nullptr,
                                   memory.entering, memory.partial},
        blocks, typename HeadGradientKernel<scalar>::Shared(task, nullptr).size);
    if (gradient.projected != nullptr) {
      queue.add(AtomGradientKernel<scalar>{task, gradient, head, by_neighbor.first,
                                           by_neighbor.edge, memory.entering, memory.score},
                blocks_for(task.atoms * quads(task.width)));
    }
  }
  const WeightLayout<scalar> layout(task);
  const std::int64_t channels = task.heads * task.width;
  const auto sum = [&](std::int64_t offset, scalar *to, std::int64_t size) {
    if (to != nullptr) {
      queue.add(
          SumKernel<scalar>{memory.partial + offset, blocks * HeadGradientKernel<scalar>::kSplits,
                            layout.size, to, size},
          blocks_for(size));
    }
  };
  sum(layout.edge_weight, gradient.edge_weight, task.edge_width * channels);
  sum(layout.attention, gradient.attention, channels);
  if (task.output_weight != nullptr) {
    sum(layout.output_weight, gradient.output_weight, channels * task.edge_width);
    sum(layout.output_bias, gradient.output_bias, task.edge_width);
  }
  return queue.problem();
}

#define SYMGNN_INSTANTIATE(scalar)                                                                \
  template std::size_t edge_attention_workspace(const EdgeAttention<scalar> &);                   \
  template const char *edge_attention_cuda(const EdgeAttention<scalar> &, const std::int64_t *,   \
                                           void *, void *);                                       \
  template std::size_t edge_attention_gradient_workspace(const EdgeAttention<scalar> &);          \
  template const char *edge_attention_gradient_cuda(                                              \
      const EdgeAttention<scalar> &, const EdgeAttentionGradient<scalar> &, const std::int64_t *, \
      const EdgesByNeighbor &, void *, void *);
SYMGNN_INSTANTIATE(float)
SYMGNN_INSTANTIATE(double)
#undef SYMGNN_INSTANTIATE

}  // namespace symgnn::kernels
