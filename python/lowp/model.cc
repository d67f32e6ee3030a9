#include <nanobind/stl/string.h>

#include "arrays.h"
#include "bindings.h"
#include "errors.h"
#include "onnx/import.h"

namespace lowp::python {
namespace {

Model load(const std::string& path) {
  const nb::gil_scoped_release release;
  return {value_or_throw(onnx::import_onnx(path))};
}

Model load_bytes(const nb::bytes& bytes) {
  const nb::gil_scoped_release release;
  return {value_or_throw(onnx::import_onnx_bytes({static_cast<const std::byte*>(bytes.data()), bytes.size()}))};
}

nb::list nodes(const Model& model) {
  nb::list list;
  for (const auto& n : model.graph.nodes()) list.append(nb::make_tuple(n->name, op_display_name(*n->op)));
  return list;
}

}  // namespace

void bind_model(nb::module_& module) {
  nb::class_<Model>(module, "Model", "An imported model.")
      .def_static("load", &load, nb::arg("path"))
      .def_static("load_bytes", &load_bytes, nb::arg("data"))
      .def_prop_ro("name", [](const Model& m) { return m.graph.name; })
      .def_prop_ro("inputs", [](const Model& m) { return describe_inputs(m.graph); })
      .def_prop_ro("outputs", [](const Model& m) { return describe_outputs(m.graph); })
      .def_prop_ro("nodes", &nodes, "Name and op of each node.");
}

}  // namespace lowp::python
