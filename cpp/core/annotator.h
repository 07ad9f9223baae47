#ifndef SYMGNN_CORE_ANNOTATOR_H
#define SYMGNN_CORE_ANNOTATOR_H

#include <string>
#include <vector>

#include "model.h"
#include "structure.h"

namespace symgnn {

/// Structure in, barriers out: the one place where a neighbor list meets a network.
class Annotator {
 public:
  /// threads: torch and neighbor-list threads for each call; 0 leaves torch's own setting.
  /// chunk: atoms that the network works on at a time; 0 leaves it to SymGNN.
  Annotator(const std::string &path, const std::string &device, int threads, int chunk,
            int local_rank = 0);

  /// n × outputs, row-major, eV. Throws Error for a structure without atoms or with bad numbers.
  std::vector<double> annotate(const Structure &structure);

  Model &model() { return model_; }
  const Model &model() const { return model_; }
  int threads() const { return threads_; }
  int chunk() const { return chunk_; }

 private:
  Model model_;
  int threads_;
  int chunk_;
};

}  // namespace symgnn

#endif
