#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "arrays.h"
#include "bindings.h"
#include "errors.h"
#include "runtime/compiler.h"

namespace lowp::python {
namespace {

// What a Python callback raised while C++ had no way to let it pass; thrown again at the border.
struct Raised {
  std::exception_ptr exception;
  Status keep() {
    exception = std::current_exception();
    return error(Code::kCancelled, "a Python callback raised an exception");
  }
};

// Samples from `make`, a callable that gives an iterator over lists of (buffer, shape).
class PythonSamples : public runtime::SampleSource {
 public:
  PythonSamples(const ir::Graph& graph, nb::handle make, int64_t size, Raised& raised)
      : graph_(graph), make_(make), size_(size), raised_(raised) {}
  PythonSamples(const PythonSamples&) = delete;
  PythonSamples& operator=(const PythonSamples&) = delete;
  // The caller has the GIL.
  ~PythonSamples() override = default;

  Status rewind() override {
    const nb::gil_scoped_acquire acquire;
    try {
      iterator_ = make_();
    } catch (...) {
      return raised_.keep();
    }
    return {};
  }

  Result<bool> next(std::vector<ir::Tensor>& inputs) override {
    const nb::gil_scoped_acquire acquire;
    try {
      const nb::object item = nb::steal<nb::object>(PyIter_Next(iterator_.ptr()));
      if (!item.is_valid()) {
        if (PyErr_Occurred() != nullptr) throw nb::python_error();
        return false;
      }
      views_.assign(graph_, item);
      inputs = views_.tensors();
    } catch (...) {
      return fail(raised_.keep());
    }
    return true;
  }

  int64_t size() const override { return size_; }

 private:
  const ir::Graph& graph_;
  nb::handle make_;
  int64_t size_;
  Raised& raised_;
  nb::object iterator_;
  BufferViews views_;
};

template <typename T>
T known(std::optional<T> value, std::string_view what, std::string_view name, std::string_view all) {
  if (!value) throw_status(error(Code::kInvalidArgument, "{} '{}' is not known; {} are", what, name, all));
  return *value;
}

nb::tuple compile(const Model& model, const std::string& precision, const std::string& observer,
                  const std::string& target, int threads, bool strict, bool equalize, bool measure, bool tune,
                  bool cache, std::map<std::string, std::vector<int64_t>> shapes, std::vector<std::string> keep_fp32,
                  double min_output_snr, nb::handle samples, int64_t sample_count, nb::handle progress) {
  runtime::CompileOptions options;
  options.precision =
      known(runtime::precision_from_name(precision), "precision", precision, "fp32, bf16, fp16, int8 and auto");
  options.observer =
      known(runtime::observer_from_name(observer), "observer", observer, "auto, minmax, percentile and mse");
  options.optimize_for = target;
  options.threads = threads;
  options.strict = strict;
  options.equalize = equalize;
  options.measure = measure;
  options.tune = tune;
  options.cache = cache;
  options.shapes = std::move(shapes);
  options.keep_fp32 = std::move(keep_fp32);
  options.min_output_snr_db = min_output_snr;

  Raised raised;
  options.progress = [&](std::string_view stage, int64_t done, int64_t total) {
    const nb::gil_scoped_acquire acquire;
    try {
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
      if (progress.is_none()) return true;
      const nb::object go = progress(std::string(stage), done, total);
      return !go.is(nb::bool_(false));
    } catch (...) {
      (void)raised.keep();
      return false;
    }
  };
  PythonSamples source(model.graph, samples, sample_count, raised);
  Result<runtime::Compiled> compiled;
  {
    const nb::gil_scoped_release release;
    compiled = runtime::compile(model.graph, options, samples.is_none() ? nullptr : &source);
  }
  if (raised.exception) std::rethrow_exception(raised.exception);
  if (!compiled) throw_status(compiled.error());
  auto engine = std::make_unique<Engine>(compiled->engine, format::EngineInfo{}, threads);
  return nb::make_tuple(nb::cast(std::move(engine)), compiled->report.to_json());
}

}  // namespace

void bind_compile(nb::module_& module) {
  module.def("compile", &compile, nb::arg("model"), nb::arg("precision"), nb::arg("observer"), nb::arg("target"),
             nb::arg("threads"), nb::arg("strict"), nb::arg("equalize"), nb::arg("measure"), nb::arg("tune"),
             nb::arg("cache"), nb::arg("shapes"), nb::arg("keep_fp32"), nb::arg("min_output_snr"),
             nb::arg("samples").none(), nb::arg("sample_count"), nb::arg("progress").none(),
             "The engine and the report as JSON.");
}

}  // namespace lowp::python
