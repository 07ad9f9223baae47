#ifndef SYMGNN_CORE_AVAILABLE_MEMORY_H
#define SYMGNN_CORE_AVAILABLE_MEMORY_H

#include <filesystem>

namespace symgnn {

/// Bytes that this process can take without swapping and without being killed: what Linux calls
/// available, or less where a container or a batch system limits memory by control groups, of
/// version 1 or 2. Infinity where the system does not tell. `root`: another root of the file
/// system, for tests.
double available_memory(const std::filesystem::path &root = "/");

}  // namespace symgnn

#endif
