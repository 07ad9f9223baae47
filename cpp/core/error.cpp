#include "error.h"

#include <initializer_list>

namespace symgnn {

std::string one_line(const std::string &message) {
  std::size_t end = message.find_last_not_of(" \n");
  if (end == std::string::npos) {
    return message;
  }
  const bool is_script = message.find("TorchScript interpreter") != std::string::npos;
  const std::size_t begin = is_script ? message.rfind('\n', end) + 1 : 0;
  end = is_script ? end + 1 : message.find('\n');
  return message.substr(begin, end - begin);
}

bool tells_of_memory(const std::string &message) {
  for (const char *words : {"out of memory", "not enough memory", "allocate memory", "bad_alloc"}) {
    if (message.find(words) != std::string::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace symgnn
