#include "model.h"

#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/cuda.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "error.h"
#include "kernels/operators.h"

namespace symgnn {

namespace {

using nlohmann::json;

constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kMostLayers = 100'000;
constexpr const char *kMetadataRecord = "extra/symgnn.json";
constexpr std::array<const char *, 13> kKeys = {
    "elements", "cutoff", "layers",     "width",    "dtype",          "self_edges",   "outputs",
    "units",    "format", "invariance", "training", "symgnn_version", "torch_version"};
constexpr const char *kExportHint = "; `symgnn export CHECKPOINT -o model.pt` writes a model";

std::string quoted(const std::string &path) { return "'" + path + "'"; }

void check_readable(const std::string &path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw ModelError("there is no model file " + quoted(path));
  }
  if (std::filesystem::is_directory(path, ignored)) {
    throw ModelError(quoted(path) + " is a folder, not a model file");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw ModelError("the model file " + quoted(path) + " cannot be read; check its permissions");
  }
  std::array<char, 4> magic{};
  file.read(magic.data(), magic.size());
  if (file.gcount() == 0) {
    throw ModelError("the model file " + quoted(path) + " is empty; copy or export it again");
  }
  constexpr std::array<char, 4> zip = {'P', 'K', 3, 4};
  if (magic != zip) {
    throw ModelError(quoted(path) + " is not a SymGNN model (no TorchScript archive)" +
                     kExportHint);
  }
}

/// Text of symgnn.json, after telling apart everything else that a zip archive can be.
std::string read_metadata(const std::string &path) {
  check_readable(path);
  try {
    caffe2::serialize::PyTorchStreamReader archive(path);
    if (!archive.hasRecord("constants.pkl")) {
      if (archive.hasRecord("data.pkl")) {
        throw ModelError(quoted(path) +
                         " is a training checkpoint, not a model; make one with `symgnn export " +
                         path + " -o model.pt`");
      }
      throw ModelError(quoted(path) + " is not a SymGNN model (no TorchScript archive)" +
                       kExportHint);
    }
    if (!archive.hasRecord(kMetadataRecord)) {
      throw ModelError(quoted(path) + " is TorchScript, but not a SymGNN model (no symgnn.json)" +
                       kExportHint);
    }
    const auto [data, size] = archive.getRecord(kMetadataRecord);
    return std::string(static_cast<const char *>(data.get()), size);
  } catch (const ModelError &) {
    throw;
  } catch (const std::exception &) {
    throw ModelError(quoted(path) +
                     " is truncated or not a SymGNN model (its archive cannot be read); copy or "
                     "export it again");
  }
}

torch::Dtype parse_dtype(const std::string &name) {
  if (name == "float32") {
    return torch::kFloat32;
  }
  if (name == "float64") {
    return torch::kFloat64;
  }
  throw std::invalid_argument("dtype is '" + name + "', not float32 or float64");
}

void check_values(const Metadata &metadata) {
  if (metadata.elements.empty()) {
    throw std::invalid_argument("elements is empty");
  }
  if (!(metadata.cutoff > 0.0) || !std::isfinite(metadata.cutoff)) {
    throw std::invalid_argument("cutoff is not a positive length");
  }
  if (static_cast<std::int64_t>(metadata.reach.size()) != metadata.layers ||
      !std::all_of(metadata.reach.begin(), metadata.reach.end(),
                   [&](double length) { return length >= 0.0 && length <= metadata.cutoff; })) {
    throw std::invalid_argument("reach is not a length up to the cutoff for each layer");
  }
  if (metadata.outputs.empty() || metadata.outputs.front() != "energy_barrier") {
    throw std::invalid_argument("the first of outputs is not energy_barrier");
  }
}

Metadata parse_metadata(const std::string &path, const std::string &text) {
  const std::string damaged = "the metadata of " + quoted(path) + " is damaged (";
  try {
    const json data = json::parse(text);
    if (!data.is_object() || !data.contains("format")) {
      throw ModelError(damaged + "key format is missing); export the model again");
    }
    const auto format = data.at("format").get<std::int64_t>();
    if (format != kFormat) {
      throw ModelError(quoted(path) + " has model format " + std::to_string(format) +
                       ", but this SymGNN reads format " + std::to_string(kFormat) +
                       (format > kFormat ? "; install a newer SymGNN" : "; export it again"));
    }
    for (const char *key : kKeys) {
      if (!data.contains(key)) {
        throw ModelError(damaged + "key " + key + " is missing); export the model again");
      }
    }
    Metadata metadata;
    metadata.elements = data.at("elements").get<std::vector<std::string>>();
    metadata.cutoff = data.at("cutoff").get<double>();
    metadata.layers = data.at("layers").get<std::int64_t>();
    metadata.dtype = parse_dtype(data.at("dtype").get<std::string>());
    metadata.self_edges = data.at("self_edges").get<bool>();
    metadata.rows_of_edges = data.contains("reach");  // in mixtures and older models: who knows
    if (metadata.layers < 1 || metadata.layers > kMostLayers) {
      throw std::invalid_argument("layers is not a number from 1 to " +
                                  std::to_string(kMostLayers));
    }
    metadata.reach = data.value("reach", std::vector<double>(metadata.layers, metadata.cutoff));
    metadata.outputs = data.at("outputs").get<std::vector<std::string>>();
    metadata.json = text;
    check_values(metadata);
    return metadata;
  } catch (const ModelError &) {
    throw;
  } catch (const json::parse_error &) {
    throw ModelError(damaged + "symgnn.json is not JSON); export the model again");
  } catch (const std::exception &problem) {
    throw ModelError(damaged + one_line(problem.what()) + "); export the model again");
  }
}

torch::jit::Module load_module(const std::string &path, torch::Device device) {
  const std::string remedy = "; export it again with torch " TORCH_VERSION;
  register_operators();
  torch::jit::Module module;
  try {
    module = torch::jit::load(path, device);
    module.eval();
  } catch (const std::exception &problem) {
    throw ModelError("torch " TORCH_VERSION " cannot load " + quoted(path) + " (" +
                     one_line(problem.what()) + ")" + remedy);
  }
  for (const char *method : {"forward", "start", "step", "finish"}) {
    if (!module.find_method(method)) {
      throw ModelError(quoted(path) + " lacks the method " + method + remedy);
    }
  }
  return module;
}

/// Plain float32 instead of TF32 in matrix products on GPUs, as long as any thread has one of
/// these. The setting belongs to the process, and is put back. torch's older switch,
/// allowTF32CuBLAS, throws where the program has used this one.
class PlainFloat32Guard {
 public:
  explicit PlainFloat32Guard(torch::Device device) : counts_(device.is_cuda()) {
    if (!counts_) {
      return;
    }
    const std::lock_guard<std::mutex> alone(busy);
    if (guards++ == 0) {
      previous = at::globalContext().float32Precision(kBackend, kMatmul);
      if (previous == at::Float32Precision::TF32) {
        set(at::Float32Precision::IEEE);
      }
    }
  }
  ~PlainFloat32Guard() {
    if (!counts_) {
      return;
    }
    const std::lock_guard<std::mutex> alone(busy);
    if (--guards == 0 && previous == at::Float32Precision::TF32) {
      set(previous);
    }
  }
  PlainFloat32Guard(const PlainFloat32Guard &) = delete;
  PlainFloat32Guard &operator=(const PlainFloat32Guard &) = delete;

 private:
  static constexpr at::Float32Backend kBackend = at::Float32Backend::CUDA;
  static constexpr at::Float32Op kMatmul = at::Float32Op::MATMUL;

  static void set(at::Float32Precision precision) {
    at::globalContext().setFloat32Precision(kBackend, kMatmul, precision);
  }

  inline static std::mutex busy;
  inline static int guards = 0;
  inline static at::Float32Precision previous = at::Float32Precision::NONE;

  bool counts_;
};

/// How a network runs: in its own precision, without autograd, and without the profiling executor,
/// whose first calls take seconds.
struct ExecutionGuard {
  explicit ExecutionGuard(torch::Device device) : plain_float32(device) {}

  PlainFloat32Guard plain_float32;
  c10::InferenceMode inference;
  c10::impl::ExcludeDispatchKeyGuard without_autocast{c10::autocast_dispatch_keyset};
  torch::jit::GraphOptimizerEnabledGuard optimizer{false};
};

c10::IValue run(torch::jit::Module &module, torch::Device device, const char *method,
                std::vector<c10::IValue> inputs) {
  const ExecutionGuard guard(device);
  try {
    return module.get_method(method)(std::move(inputs));
  } catch (const std::exception &problem) {
    // The interpreter loses the exception's type and keeps its text.
    if (tells_of_memory(problem.what())) {
      throw MemoryError();
    }
    throw;
  }
}

std::pair<torch::Tensor, torch::Tensor> tensor_pair(const c10::IValue &value) {
  const auto &elements = value.toTupleRef().elements();
  return {elements.at(0).toTensor(), elements.at(1).toTensor()};
}

}  // namespace

Model::Model(const std::string &path, torch::Device device)
    : metadata_(parse_metadata(path, read_metadata(path))),
      device_(device),
      module_(load_module(path, device)) {
  try {
    const torch::Tensor species = torch::zeros({1}, torch::kInt64).to(device_);
    const torch::Tensor edge_vector = torch::zeros({0, 3}, metadata_.dtype).to(device_);
    const auto [node, edge] = start(species, edge_vector);
    node_channels_ = node.size(1);
    edge_channels_ = edge.size(1);
  } catch (const std::exception &problem) {
    throw ModelError("the network in " + quoted(path) + " does not run (" +
                     one_line(problem.what()) + "); export the model again");
  }
}

std::int64_t Model::species_of(const std::string &element) const {
  const auto &elements = metadata_.elements;
  const auto found = std::find(elements.begin(), elements.end(), element);
  if (found == elements.end()) {
    std::string known;
    for (const std::string &name : elements) {
      known += (known.empty() ? "" : ", ") + name;
    }
    throw ModelError("the model was not trained on element '" + element + "'; it knows " + known);
  }
  return found - elements.begin();
}

std::pair<torch::Tensor, torch::Tensor> Model::start(const torch::Tensor &species,
                                                     const torch::Tensor &edge_vector) {
  return tensor_pair(run(module_, device_, "start", {species, edge_vector}));
}

std::pair<torch::Tensor, torch::Tensor> Model::step(std::int64_t layer, const torch::Tensor &node,
                                                    const torch::Tensor &edge,
                                                    const torch::Tensor &edge_index) {
  return tensor_pair(run(module_, device_, "step", {layer, node, edge, edge_index}));
}

torch::Tensor Model::finish(const torch::Tensor &node) {
  return run(module_, device_, "finish", {node}).toTensor();
}

torch::Device parse_device(const std::string &name, int local_rank) {
  const auto gpus = static_cast<int>(torch::cuda::device_count());
  if (name == "auto") {
    return gpus > 0 ? torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(local_rank % gpus))
                    : torch::Device(torch::kCPU);
  }
  if (name == "cpu") {
    return torch::Device(torch::kCPU);
  }
  const std::string prefix = "cuda:";
  const bool numbered = name.compare(0, prefix.size(), prefix) == 0 &&
                        name.size() > prefix.size() && name.size() <= prefix.size() + 3 &&
                        name.find_first_not_of("0123456789", prefix.size()) == std::string::npos;
  if (name != "cuda" && !numbered) {
    throw ModelError("unknown device '" + name + "'; give auto, cpu, cuda or cuda:N");
  }
  const int number = numbered ? std::stoi(name.substr(prefix.size())) : 0;
  if (number >= gpus) {
    throw ModelError("device " + name + " is absent: torch sees " + std::to_string(gpus) +
                     " GPUs here; use device auto or cpu");
  }
  return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(number));
}

}  // namespace symgnn
