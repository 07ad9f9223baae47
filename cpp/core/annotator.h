#ifndef SYMGNN_CORE_ANNOTATOR_H
#define SYMGNN_CORE_ANNOTATOR_H

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "evaluation.h"
#include "model.h"
#include "skin_list.h"
#include "structure.h"

namespace symgnn {

struct AnnotatorOptions {
  std::string device = "auto";
  int threads = 0;     ///< of torch and the neighbor list in each call; 0: torch's own setting
  int chunk = 0;       ///< atoms that the network works on at a time; 0: chosen by SymGNN
  double skin = 0.0;   ///< Å, with which neighbor lists serve for several calls: see SkinList
  int local_rank = 0;  ///< on this node, which chooses the GPU
};

/// Structure in, barriers out: the one place where a neighbor list meets a network.
class Annotator {
 public:
  Annotator(const std::string &path, const AnnotatorOptions &options);

  /// One call at a time; others wait, and `report` makes none.
  /// n × outputs, row-major, eV; NaN for atoms outside the structure's group. Throws Error for a
  /// structure without atoms or with bad numbers.
  std::vector<double> annotate(const Structure &structure, const Report &report = {});

  Model &model() { return model_; }
  const Model &model() const { return model_; }
  const AnnotatorOptions &options() const { return options_; }
  const SkinList &list() const { return list_; }

 private:
  std::vector<double> evaluate(const Structure &structure, const Report &report);

  AnnotatorOptions options_;
  std::mutex busy_;
  std::atomic<std::thread::id> working_{};  ///< the thread that `busy_` belongs to
  Model model_;
  SkinList list_;
};

}  // namespace symgnn

#endif
