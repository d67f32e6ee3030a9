// The classes of lowp._core. Users see lowp.Model and lowp.Engine (lowp/_model.py, lowp/_engine.py) instead.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <mutex>
#include <vector>

#include "format/engine_file.h"
#include "runtime/session.h"

namespace lowp::python {

namespace nb = nanobind;

struct Model {
  ir::Graph graph;
};

// An engine and the sessions that run it: one for each thread that is in run() at the same time. A graph with states
// has one, and its runs follow one another.
class Engine {
 public:
  Engine(std::shared_ptr<const runtime::Engine> engine, format::EngineInfo info, int threads)
      : engine_(std::move(engine)), info_(std::move(info)), threads_(threads) {}

  const ir::Graph& graph() const { return engine_->graph(); }
  const std::shared_ptr<const runtime::Engine>& shared() const { return engine_; }
  const format::EngineInfo& info() const { return info_; }
  int threads() const { return threads_; }

  // Without the GIL, from any number of threads.
  Result<std::vector<ir::Tensor>> run(std::span<const ir::Tensor> inputs);

 private:
  Result<std::unique_ptr<runtime::Session>> take();

  std::shared_ptr<const runtime::Engine> engine_;
  format::EngineInfo info_;
  int threads_;
  std::mutex mutex_;
  std::mutex state_mutex_;  // held through run() where there are states
  std::vector<std::unique_ptr<runtime::Session>> idle_;
};

void bind_model(nb::module_& module);
void bind_engine(nb::module_& module);
void bind_graph(nb::module_& module);
void bind_compile(nb::module_& module);
void bind_communicator(nb::module_& module);

}  // namespace lowp::python
