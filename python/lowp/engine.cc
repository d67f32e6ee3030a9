#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <cstring>

#include "arrays.h"
#include "base/aligned_buffer.h"
#include "bindings.h"
#include "errors.h"

namespace lowp::python {

Result<std::unique_ptr<runtime::Session>> Engine::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto session = std::move(idle_.back());
      idle_.pop_back();
      return session;
    }
  }
  runtime::SessionOptions options;
  options.threads = threads_;
  return runtime::Session::create(engine_, options);
}

Result<std::vector<ir::Tensor>> Engine::run(std::span<const ir::Tensor> inputs) {
  std::unique_lock state(state_mutex_, std::defer_lock);
  if (!graph().states().empty()) state.lock();
  LOWP_ASSIGN(std::unique_ptr<runtime::Session> session, take());
  auto outputs = session->run(inputs);
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(session));
  return outputs;
}

namespace {

std::unique_ptr<Engine> make_engine(format::LoadedEngine loaded, int threads) {
  auto engine = std::make_shared<runtime::Engine>(std::make_unique<ir::Graph>(std::move(loaded.graph)));
  return std::make_unique<Engine>(std::move(engine), std::move(loaded.info), threads);
}

std::unique_ptr<Engine> open(const std::string& path, int threads) {
  const nb::gil_scoped_release release;
  return make_engine(value_or_throw(format::open_engine(path)), threads);
}

std::unique_ptr<Engine> open_bytes(const nb::bytes& bytes, int threads) {
  const nb::gil_scoped_release release;
  auto copy = std::make_shared<AlignedBuffer>(value_or_throw(AlignedBuffer::allocate(bytes.size())));
  if (bytes.size() > 0) std::memcpy(copy->data(), bytes.data(), bytes.size());
  return make_engine(value_or_throw(format::open_engine_bytes(copy->bytes(), copy)), threads);
}

void save(const Engine& engine, const std::string& path, const std::map<std::string, std::string>& entries) {
  const nb::gil_scoped_release release;
  format::EngineInfo info = engine.info();
  for (const auto& [key, value] : entries) info.entries[key] = value;
  check(format::save_engine(engine.graph(), info, path));
}

nb::list run(Engine& engine, nb::handle inputs) {
  BufferViews views;
  views.assign(engine.graph(), inputs);
  Result<std::vector<ir::Tensor>> outputs;
  {
    const nb::gil_scoped_release release;
    outputs = engine.run(views.tensors());
  }
  return to_numpy(value_or_throw(std::move(outputs)));
}

nb::list profile(Engine& engine, nb::handle inputs, int runs) {
  BufferViews views;
  views.assign(engine.graph(), inputs);
  std::vector<runtime::ProfileEntry> entries;
  {
    const nb::gil_scoped_release release;
    runtime::SessionOptions options;
    options.threads = engine.threads();
    auto warm = value_or_throw(runtime::Session::create(engine.shared(), options));
    if (auto outputs = warm->run(views.tensors()); !outputs) throw_status(outputs.error());
    options.profile = true;
    auto session = value_or_throw(runtime::Session::create(engine.shared(), options));
    for (int i = 0; i < runs; ++i) {
      if (auto outputs = session->run(views.tensors()); !outputs) throw_status(outputs.error());
    }
    entries = session->profile();
  }
  return describe_profile(entries);
}

}  // namespace

void bind_engine(nb::module_& module) {
  nb::class_<Engine>(module, "Engine", "A compiled model with its sessions.")
      .def_static("open", &open, nb::arg("path"), nb::arg("threads"))
      .def_static("open_bytes", &open_bytes, nb::arg("data"), nb::arg("threads"))
      .def("save", &save, nb::arg("path"), nb::arg("info"))
      .def("run", &run, nb::arg("inputs"), "Pairs of buffer and shape in, pairs of array and shape out.")
      .def("profile", &profile, nb::arg("inputs"), nb::arg("runs"),
           "(node, op, kernel, runs, nanoseconds, macs, bytes) of each step.")
      .def_prop_ro("threads", &Engine::threads)
      .def_prop_ro("metadata", [](const Engine& e) { return e.graph().metadata; })
      .def_prop_ro("info", [](const Engine& e) { return e.info().entries; })
      .def_prop_ro("inputs", [](const Engine& e) { return describe_inputs(e.graph()); })
      .def_prop_ro("outputs", [](const Engine& e) { return describe_outputs(e.graph()); });
}

}  // namespace lowp::python
