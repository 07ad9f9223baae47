#ifndef SYMGNN_CORE_ERROR_H
#define SYMGNN_CORE_ERROR_H

#include <stdexcept>
#include <string>

namespace symgnn {

/// Something a user can put right. The message is one line and names the remedy.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The model file cannot be used, or the device that it should run on is absent.
class ModelError : public Error {
 public:
  using Error::Error;
};

/// The atoms or their cell make no graph.
class StructureError : public Error {
 public:
  using Error::Error;
};

/// The network or the neighbor list of a structure does not fit.
class MemoryError : public Error {
 public:
  using Error::Error;
  MemoryError()
      : Error(
            "there is too little memory for this structure; give a smaller chunk, or use the CPU, "
            "more ranks or a larger machine") {}
};

/// The line of a message that says it: the first, or the last where TorchScript wrote it.
std::string one_line(const std::string &message);

/// Is this what an allocator of C++, torch, TorchScript or vesin says where memory is short?
bool tells_of_memory(const std::string &message);

}  // namespace symgnn

#endif
