#ifndef SYMGNN_CORE_ANNOTATOR_H
#define SYMGNN_CORE_ANNOTATOR_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model.h"
#include "neighbor_list.h"

namespace symgnn {

/// One structure, borrowed from the caller for the length of a call.
struct Structure {
  const double *positions;      ///< n × 3, Å
  const std::int64_t *species;  ///< n indices into Metadata::elements
  std::size_t n;
  Cell cell;
};

/// Structure in, barriers out: the one place where a neighbor list meets a network.
class Annotator {
 public:
  /// threads: torch and neighbor-list threads for each call; 0 leaves torch's own setting.
  Annotator(const std::string &path, const std::string &device, int threads, int local_rank = 0);

  /// n × outputs, row-major, eV. Throws Error for a structure without atoms or with bad numbers.
  std::vector<double> annotate(const Structure &structure);

  Model &model() { return model_; }
  const Model &model() const { return model_; }
  int threads() const { return threads_; }

 private:
  Model model_;
  int threads_;
};

}  // namespace symgnn

#endif
