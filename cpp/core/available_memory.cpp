#include "available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace symgnn {

namespace {

using std::filesystem::path;

/// The number in a file; none where the file is missing, or says `max`.
std::optional<double> number_in(const path &file) {
  std::ifstream stream(file);
  double number = 0.0;
  return stream >> number ? std::optional(number) : std::nullopt;
}

/// The number after a word at the beginning of a line.
std::optional<double> number_after(const std::string &name, const path &file) {
  std::ifstream stream(file);
  std::string word;
  double number = 0.0;
  while (stream >> word) {
    if (word == name) {
      return stream >> number ? std::optional(number) : std::nullopt;
    }
    stream.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

/// What the files of a version of control groups are called.
struct Names {
  const char *mount, *limit, *used, *reclaimable;
};
constexpr Names kFirst{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                       "total_inactive_file"};
constexpr Names kSecond{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

/// Bytes that are left to a control group: its limit and those of the groups around it count.
/// `group` as the kernel tells it; in a container, where it may not be found, the mount is its own.
double left_to(const path &root, const Names &names, const path &group) {
  double left = std::numeric_limits<double>::infinity();
  for (path inner = group.relative_path();; inner = inner.parent_path()) {
    const path folder = root / names.mount / inner;
    const std::optional<double> limit = number_in(folder / names.limit);
    const std::optional<double> used = number_in(folder / names.used);
    if (limit && used) {
      // Files that nobody reads at present are dropped before anything is killed.
      const double cached = number_after(names.reclaimable, folder / "memory.stat").value_or(0.0);
      left = std::min(left, std::max(*limit - *used + cached, 0.0));
    }
    if (inner.empty()) {
      return left;
    }
  }
}

}  // namespace

double available_memory(const path &root) {
  const std::optional<double> kilobytes = number_after("MemAvailable:", root / "proc/meminfo");
  double available = kilobytes ? 1024.0 * *kilobytes : std::numeric_limits<double>::infinity();
  std::ifstream groups(root / "proc/self/cgroup");  // lines number:controllers:group
  std::string line;
  while (std::getline(groups, line)) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      continue;
    }
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const path group = line.substr(second + 1);
    if (controllers == ",,") {
      available = std::min(available, left_to(root, kSecond, group));
    } else if (controllers.find(",memory,") != std::string::npos) {
      available = std::min(available, left_to(root, kFirst, group));
    }
  }
  return available;
}

}  // namespace symgnn
