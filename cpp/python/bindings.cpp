#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <tuple>

#include "core/annotator.h"
#include "core/available_memory.h"
#include "core/error.h"
#include "core/neighbor_list.h"
#include "core/neighbor_list_cuda.h"
#include "core/spatial_order.h"
#include "kernels/operators.h"

namespace py = pybind11;

namespace {

using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Integers = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;
using Booleans = py::array_t<bool, py::array::c_style | py::array::forcecast>;
using Flags = py::array_t<std::uint8_t, py::array::c_style | py::array::forcecast>;
using Input = std::tuple<Doubles, Integers, Doubles, Booleans, std::optional<Flags>>;

void check_shape(const py::array &array, const std::vector<py::ssize_t> &shape,
                 const std::string &name) {
  if (!std::equal(array.shape(), array.shape() + array.ndim(), shape.begin(), shape.end())) {
    throw py::value_error(name + " has the wrong shape");
  }
}

symgnn::Cell make_cell(const Doubles &vectors, const Booleans &periodic) {
  check_shape(vectors, {3, 3}, "cell");
  check_shape(periodic, {3}, "pbc");
  symgnn::Cell cell;
  for (py::ssize_t i = 0; i < 3; ++i) {
    cell.periodic[i] = periodic.at(i);
    for (py::ssize_t k = 0; k < 3; ++k) {
      cell.vectors[i][k] = vectors.at(i, k);
    }
  }
  return cell;
}

/// Ctrl-C and what `report` raises end the work between chunks.
void report_to_python(const py::object &report, std::int64_t layer, double share) {
  const py::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() != 0) {
    throw py::error_already_set();
  }
  if (!report.is_none()) {
    report(layer, share);
  }
}

Doubles annotate_one(symgnn::Annotator &annotator, const Input &input, const py::object &report) {
  const auto &[positions, species, vectors, periodic, group] = input;
  const py::ssize_t n = positions.ndim() == 2 ? positions.shape(0) : -1;
  check_shape(positions, {n, 3}, "positions");
  check_shape(species, {n}, "species");
  if (group) {
    check_shape(*group, {n}, "group");
  }
  const symgnn::Structure structure{positions.data(), species.data(), static_cast<std::size_t>(n),
                                    make_cell(vectors, periodic), group ? group->data() : nullptr};
  std::vector<double> values;
  {
    const py::gil_scoped_release unlocked;
    // Without a report, other threads of Python are not disturbed more often than Ctrl-C asks for.
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::milliseconds kPatience{100};
    Clock::time_point last = Clock::now();
    const bool reports = !report.is_none();
    values = annotator.annotate(structure, [&](std::int64_t layer, double share) {
      if (reports || Clock::now() - last > kPatience) {
        report_to_python(report, layer, share);
        last = Clock::now();
      }
    });
  }
  const auto outputs = static_cast<py::ssize_t>(annotator.model().metadata().outputs.size());
  Doubles result({n, outputs});
  std::copy(values.begin(), values.end(), result.mutable_data());
  return result;
}

std::vector<Doubles> annotate(symgnn::Annotator &annotator, const std::vector<Input> &inputs,
                              const py::object &report) {
  std::vector<Doubles> results;
  results.reserve(inputs.size());
  for (const Input &input : inputs) {
    results.push_back(annotate_one(annotator, input, report));
    if (PyErr_CheckSignals() != 0) {
      throw py::error_already_set();
    }
  }
  return results;
}

Integers spatial_order(const Doubles &positions, const Doubles &vectors, const Booleans &periodic) {
  const py::ssize_t n = positions.ndim() == 2 ? positions.shape(0) : -1;
  check_shape(positions, {n, 3}, "positions");
  const symgnn::SpatialOrder order(
      {positions.data(), nullptr, static_cast<std::size_t>(n), make_cell(vectors, periodic)});
  Integers result(n);
  std::copy(order.atoms().begin(), order.atoms().end(), result.mutable_data());
  return result;
}

std::pair<Integers, Doubles> to_numpy(const symgnn::Edges &edges) {
  const torch::Tensor from_index = edges.index.cpu().contiguous();
  const torch::Tensor from_vector = edges.vector.cpu().contiguous();
  const auto total = static_cast<py::ssize_t>(from_index.size(1));
  Integers index({py::ssize_t{2}, total});
  Doubles vector({total, py::ssize_t{3}});
  std::copy_n(from_index.data_ptr<std::int64_t>(), 2 * total, index.mutable_data());
  std::copy_n(from_vector.data_ptr<double>(), 3 * total, vector.mutable_data());
  return {index, vector};
}

std::pair<Integers, Doubles> find_edges(const Doubles &positions, const Doubles &vectors,
                                        const Booleans &periodic, double cutoff,
                                        std::optional<std::size_t> centers, bool self_edges,
                                        int threads) {
  const py::ssize_t n = positions.ndim() == 2 ? positions.shape(0) : -1;
  check_shape(positions, {n, 3}, "positions");
  const auto count = static_cast<std::size_t>(n);
  const symgnn::Edges edges = symgnn::find_edges(
      positions.data(), count, std::min(centers.value_or(count), count),
      make_cell(vectors, periodic), cutoff, self_edges, torch::kFloat64, threads);
  return to_numpy(edges);
}

std::pair<Integers, Doubles> find_edges_on(const std::string &device, const Doubles &positions,
                                           const Doubles &vectors, const Booleans &periodic,
                                           double cutoff, std::optional<std::size_t> centers,
                                           bool self_edges) {
  const py::ssize_t n = positions.ndim() == 2 ? positions.shape(0) : -1;
  check_shape(positions, {n, 3}, "positions");
  const auto count = static_cast<std::size_t>(n);
  const torch::Tensor points =
      torch::from_blob(const_cast<double *>(positions.data()), {n, 3}, torch::kFloat64)
          .to(torch::Device(device));
  symgnn::DeviceNeighborList list;
  return to_numpy(list.find(points,
                            static_cast<std::int64_t>(std::min(centers.value_or(count), count)),
                            make_cell(vectors, periodic), cutoff, self_edges, torch::kFloat64));
}

void translate(std::exception_ptr pointer) {
  const auto raise = [](const char *name, const std::exception &problem) {
    py::set_error(py::module_::import("symgnn.errors").attr(name), problem.what());
  };
  try {
    if (pointer) {
      std::rethrow_exception(pointer);
    }
  } catch (const symgnn::ModelError &problem) {
    raise("ModelError", problem);
  } catch (const symgnn::StructureError &problem) {
    raise("StructureError", problem);
  } catch (const symgnn::Error &problem) {
    raise("SymGNNError", problem);
  }
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "SymGNN's C++ core. NumPy arrays cross this border, torch tensors do not.";
  py::register_local_exception_translator(translate);
  symgnn::register_operators();

  py::class_<symgnn::Annotator>(module, "Annotator")
      .def(py::init([](const std::string &path, const std::string &device, int threads, int chunk,
                       double skin) {
             return std::make_unique<symgnn::Annotator>(
                 path, symgnn::AnnotatorOptions{device, threads, chunk, skin});
           }),
           py::arg("path"), py::arg("device") = "auto", py::arg("threads") = 0,
           py::arg("chunk") = 0, py::arg("skin") = 0.0)
      .def("annotate", &annotate, py::arg("structures"), py::arg("report") = py::none(),
           "Barriers of structures (positions [N, 3], species [N], cell [3, 3], pbc [3], group [N] "
           "or None), Å: a list of arrays [N, outputs], eV. report(layer, share): how far the work "
           "is.")
      .def_property_readonly(
          "metadata_json",
          [](const symgnn::Annotator &self) { return self.model().metadata().json; })
      .def_property_readonly(
          "searches", [](const symgnn::Annotator &self) { return self.list().searches(); },
          "Times that neighbors were searched.")
      .def_property_readonly(
          "device", [](const symgnn::Annotator &self) { return self.model().device().str(); });

  module.def("find_edges", &find_edges, py::arg("positions"), py::arg("cell"), py::arg("pbc"),
             py::arg("cutoff"), py::kw_only(), py::arg("centers") = py::none(),
             py::arg("self_edges") = false, py::arg("threads") = 0,
             "Edge indices [2, E], sorted by center, and edge vectors [E, 3] in Å, float64.");
  module.def("find_edges_on", &find_edges_on, py::arg("device"), py::arg("positions"),
             py::arg("cell"), py::arg("pbc"), py::arg("cutoff"), py::kw_only(),
             py::arg("centers") = py::none(), py::arg("self_edges") = false,
             "The same by the neighbor list for GPUs, on a torch device.");
  module.def(
      "available_memory", [](const std::string &root) { return symgnn::available_memory(root); },
      py::arg("root") = "/",
      "Bytes that the process can take, limits of containers and batch systems included.");
  module.def("spatial_order", &spatial_order, py::arg("positions"), py::arg("cell"), py::arg("pbc"),
             "Atoms [N] along a space-filling curve: neighbors are then close in memory.");
}
