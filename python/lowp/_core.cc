// The module's entry: errors become Python's exceptions here, and nowhere else.
#include <nanobind/stl/string.h>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "bindings.h"
#include "errors.h"

namespace nb = nanobind;

namespace lowp::python {

void throw_status(const Status& status) {
  std::string message = status.message();
  if (!status.node().empty()) message = fmt::format("node '{}': {}", status.node(), message);
  if (!status.hint().empty()) message += fmt::format(" ({})", status.hint());
  throw StatusError(std::string(code_name(status.code())), std::move(message));
}

namespace {

// lowp.errors has one class for each code.
void raise(const std::string& code, const std::string& message) {
  try {
    nb::object exception = nb::module_::import_("lowp.errors").attr("from_code")(code, message);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  } catch (nb::python_error& e) {
    e.restore();
  }
}

void translate(const std::exception_ptr& p, void* /*payload*/) {
  try {
    std::rethrow_exception(p);
  } catch (const StatusError& e) {
    raise(e.code(), e.what());
  } catch (const InternalError& e) {
    raise(std::string(code_name(Code::kInternal)), e.what());
  }
}

nb::dict cpu() {
  const Target target = value_or_throw(selected_target());
  nb::dict d;
  d["name"] = cpu_name();
  d["target"] = std::string(target_name(target));
  d["threads"] = available_threads();
  d["native_bf16"] = target_has_bf16(target);
  d["native_int8"] = target_has_vnni(target);
  return d;
}

}  // namespace
}  // namespace lowp::python

NB_MODULE(_core, module) {
  using namespace lowp::python;
  nb::register_exception_translator(translate, nullptr);
  // Modules keep compiled programs until the interpreter ends, which is no leak to tell users of.
  nb::set_leak_warnings(false);
  module.def(
      "version", [] { return LOWP_VERSION; }, "The version of lowp.");
  module.def("cpu", &cpu,
             "What lowp found of this machine: name, target, threads, native_bf16, native_int8 (exact 8-bit dot "
             "products).");
  bind_model(module);
  bind_engine(module);
  bind_graph(module);
  bind_compile(module);
  bind_communicator(module);
}
