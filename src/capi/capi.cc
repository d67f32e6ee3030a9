// The C API: handles, conversion of arguments, and nothing else. Exceptions and Status end here.
#include <algorithm>
#include <cstring>
#include <functional>

#include "base/log.h"
#include "format/engine_file.h"
#include "lowp/lowp.h"
#include "onnx/import.h"
#include "runtime/compiler.h"
#include "runtime/session.h"

using lowp::Code;
using lowp::Result;
using lowp::Status;
using lowp::Tensor;
using lowp::TensorType;
namespace ir = lowp::ir;
namespace runtime = lowp::runtime;

struct lowp_model {
  ir::Graph graph;
};
struct lowp_engine {
  std::shared_ptr<const runtime::Engine> engine;
  lowp::format::EngineInfo info;
};
struct lowp_session {
  std::unique_ptr<runtime::Session> session;
  std::vector<Tensor> outputs;  // what the caller sees until the next run
};

namespace {

thread_local std::string last_error = "ok";

lowp_code set_error(const Status& status) {
  last_error = status.to_string();
  return static_cast<lowp_code>(status.code());
}

// Runs the body of an API function.
lowp_code guarded(const std::function<Status()>& body) noexcept {
  try {
    const Status status = body();
    return status.is_ok() ? LOWP_OK : set_error(status);
  } catch (const std::bad_alloc&) {
    last_error = "resource: out of memory";
    return LOWP_RESOURCE;
  } catch (const std::exception& e) {
    last_error = std::string("internal: ") + e.what();
    return LOWP_INTERNAL;
  }
}

Status null_argument(const char* what) { return lowp::error(Code::kInvalidArgument, "{} is null", what); }

Status fill_info(const std::string& name, const TensorType& type, lowp_value_info* info) {
  if (info == nullptr) return null_argument("info");
  *info = {};
  info->name = name.c_str();
  info->dtype = static_cast<lowp_dtype>(type.dtype);
  info->rank = type.rank();
  if (type.rank() > LOWP_MAX_RANK)
    return lowp::error(Code::kUnsupported, "'{}' has rank {}, more than {}", name, type.rank(), LOWP_MAX_RANK);
  for (int i = 0; i < type.rank(); ++i) info->shape[i] = (*type.dims)[static_cast<size_t>(i)].value();
  return {};
}
Status input_info(const ir::Graph& graph, int32_t index, lowp_value_info* info) {
  if (index < 0 || static_cast<size_t>(index) >= graph.inputs().size())
    return lowp::error(Code::kInvalidArgument, "input {} of {}", index, graph.inputs().size());
  const ir::Value* v = graph.inputs()[static_cast<size_t>(index)];
  return fill_info(v->name, v->type, info);
}
Status output_info(const ir::Graph& graph, int32_t index, lowp_value_info* info) {
  if (index < 0 || static_cast<size_t>(index) >= graph.outputs().size())
    return lowp::error(Code::kInvalidArgument, "output {} of {}", index, graph.outputs().size());
  const auto& o = graph.outputs()[static_cast<size_t>(index)];
  return fill_info(o.name, o.value->type, info);
}

// A view of the caller's tensor.
Result<Tensor> view(const lowp_tensor& t) {
  if (t.dtype < LOWP_F32 || t.dtype > LOWP_BOOL)
    return lowp::fail(Code::kTypeMismatch, "tensor '{}' has dtype number {}", t.name == nullptr ? "" : t.name,
                      static_cast<int>(t.dtype));
  if (t.rank < 0 || t.rank > LOWP_MAX_RANK)
    return lowp::fail(Code::kShapeMismatch, "tensor '{}' has rank {}", t.name == nullptr ? "" : t.name, t.rank);
  ir::Extents extents(t.shape, t.shape + t.rank);
  auto count = ir::checked_element_count(extents);
  if (!count)
    return lowp::fail(Code::kShapeMismatch, "tensor '{}' has an impossible shape", t.name == nullptr ? "" : t.name);
  if (t.data == nullptr && *count > 0)
    return lowp::fail(Code::kInvalidArgument, "tensor '{}' has no data", t.name == nullptr ? "" : t.name);
  return Tensor::view(static_cast<lowp::DType>(t.dtype), std::move(extents), t.data);
}

// The caller's tensors in the order of the graph's inputs.
Result<std::vector<Tensor>> match(const ir::Graph& graph, const lowp_tensor* tensors, int32_t count) {
  std::vector<Tensor> inputs;
  for (const ir::Value* v : graph.inputs()) {
    const lowp_tensor* found = nullptr;
    for (int32_t i = 0; i < count; ++i) {
      if (tensors[i].name != nullptr && v->name == tensors[i].name) found = &tensors[i];
    }
    if (found == nullptr) return lowp::fail(Code::kInvalidArgument, "input '{}' is missing", v->name);
    LOWP_ASSIGN(Tensor t, view(*found));
    inputs.push_back(std::move(t));
  }
  if (static_cast<size_t>(count) != inputs.size())
    return lowp::fail(Code::kInvalidArgument, "{} inputs were given, the model wants {}", count, inputs.size());
  return inputs;
}

class CallbackSamples : public runtime::SampleSource {
 public:
  CallbackSamples(const ir::Graph& graph, lowp_sample_fn fn, void* user) : graph_(graph), fn_(fn), user_(user) {}
  Status rewind() override {
    index_ = 0;
    return {};
  }
  Result<bool> next(std::vector<Tensor>& inputs) override {
    std::vector<lowp_tensor> tensors(graph_.inputs().size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      tensors[i] = {};
      tensors[i].name = graph_.inputs()[i]->name.c_str();
      tensors[i].dtype = static_cast<lowp_dtype>(graph_.inputs()[i]->type.dtype);
    }
    const auto count = static_cast<int32_t>(tensors.size());
    const int more = fn_(user_, index_++, tensors.data(), count);
    if (more < 0) return lowp::fail(Code::kCancelled, "calibration was stopped");
    if (more == 0) return false;
    LOWP_ASSIGN(inputs, match(graph_, tensors.data(), count));
    return true;
  }

 private:
  const ir::Graph& graph_;
  lowp_sample_fn fn_;
  void* user_;
  int64_t index_ = 0;
};

// The caller's options over defaults, as far as its header knew them.
template <typename T>
Result<T> read_options(const T* options) {
  T known{};
  if (options == nullptr) return known;
  if (options->size < sizeof(size_t) || options->size > 4096)
    return lowp::fail(Code::kInvalidArgument, "options have size {}; set it to sizeof the struct", options->size);
  std::memcpy(&known, options, std::min(options->size, sizeof(T)));
  return known;
}

struct LogTarget {
  lowp_log_fn log = nullptr;
  void* user = nullptr;
};
LogTarget log_target;
void forward_log(lowp::LogLevel level, std::string_view message, void* /*user*/) {
  if (log_target.log != nullptr) log_target.log(log_target.user, static_cast<int>(level), std::string(message).c_str());
}

}  // namespace

extern "C" {

const char* lowp_version(void) { return LOWP_VERSION_STRING; }
const char* lowp_code_name(lowp_code code) { return lowp::code_name(static_cast<Code>(code)).data(); }
const char* lowp_last_error(void) { return last_error.c_str(); }

void lowp_set_log(lowp_log_fn log, void* user) {
  log_target = {log, user};
  lowp::set_log_callback(log == nullptr ? nullptr : forward_log, nullptr, lowp::LogLevel::kDebug);
}

lowp_code lowp_load(const char* path, lowp_model** model) {
  return guarded([&]() -> Status {
    if (path == nullptr || model == nullptr) return null_argument(path == nullptr ? "path" : "model");
    LOWP_ASSIGN(ir::Graph graph, lowp::onnx::import_onnx(path));
    *model = new lowp_model{std::move(graph)};
    return {};
  });
}
void lowp_model_close(lowp_model* model) { delete model; }
int32_t lowp_model_inputs(const lowp_model* model) {
  return model == nullptr ? 0 : static_cast<int32_t>(model->graph.inputs().size());
}
int32_t lowp_model_outputs(const lowp_model* model) {
  return model == nullptr ? 0 : static_cast<int32_t>(model->graph.outputs().size());
}
lowp_code lowp_model_input(const lowp_model* model, int32_t index, lowp_value_info* info) {
  return guarded([&] { return model == nullptr ? null_argument("model") : input_info(model->graph, index, info); });
}
lowp_code lowp_model_output(const lowp_model* model, int32_t index, lowp_value_info* info) {
  return guarded([&] { return model == nullptr ? null_argument("model") : output_info(model->graph, index, info); });
}

lowp_code lowp_compile(const lowp_model* model, const lowp_compile_options* options, lowp_engine** engine) {
  return guarded([&]() -> Status {
    if (model == nullptr || engine == nullptr) return null_argument(model == nullptr ? "model" : "engine");
    LOWP_ASSIGN(lowp_compile_options o, read_options(options));
    if (o.precision < LOWP_FP32 || o.precision > LOWP_AUTO)
      return lowp::error(Code::kInvalidArgument, "precision number {}", static_cast<int>(o.precision));
    runtime::CompileOptions c;
    c.precision = static_cast<runtime::PrecisionMode>(o.precision);
    c.threads = o.threads;
    c.strict = o.strict != 0;
    c.measure = o.no_measure == 0;
    c.tune = o.no_tune == 0;
    CallbackSamples samples(model->graph, o.samples, o.samples_user);
    LOWP_ASSIGN(runtime::Compiled compiled,
                runtime::compile(model->graph, c, o.samples == nullptr ? nullptr : &samples));
    lowp::format::EngineInfo info;
    info.entries["measurements"] = compiled.report.to_json();
    *engine = new lowp_engine{std::move(compiled.engine), std::move(info)};
    return {};
  });
}
lowp_code lowp_save(const lowp_engine* engine, const char* path) {
  return guarded([&]() -> Status {
    if (engine == nullptr || path == nullptr) return null_argument(engine == nullptr ? "engine" : "path");
    return lowp::format::save_engine(engine->engine->graph(), engine->info, path);
  });
}
lowp_code lowp_open(const char* path, lowp_engine** engine) {
  return guarded([&]() -> Status {
    if (path == nullptr || engine == nullptr) return null_argument(path == nullptr ? "path" : "engine");
    LOWP_ASSIGN(lowp::format::LoadedEngine loaded, lowp::format::open_engine(path));
    *engine = new lowp_engine{std::make_shared<runtime::Engine>(std::make_unique<ir::Graph>(std::move(loaded.graph))),
                              std::move(loaded.info)};
    return {};
  });
}
void lowp_engine_close(lowp_engine* engine) { delete engine; }
int32_t lowp_engine_inputs(const lowp_engine* engine) {
  return engine == nullptr ? 0 : static_cast<int32_t>(engine->engine->graph().inputs().size());
}
int32_t lowp_engine_outputs(const lowp_engine* engine) {
  return engine == nullptr ? 0 : static_cast<int32_t>(engine->engine->graph().outputs().size());
}
lowp_code lowp_engine_input(const lowp_engine* engine, int32_t index, lowp_value_info* info) {
  return guarded(
      [&] { return engine == nullptr ? null_argument("engine") : input_info(engine->engine->graph(), index, info); });
}
lowp_code lowp_engine_output(const lowp_engine* engine, int32_t index, lowp_value_info* info) {
  return guarded(
      [&] { return engine == nullptr ? null_argument("engine") : output_info(engine->engine->graph(), index, info); });
}

lowp_code lowp_session_open(const lowp_engine* engine, const lowp_session_options* options, lowp_session** session) {
  return guarded([&]() -> Status {
    if (engine == nullptr || session == nullptr) return null_argument(engine == nullptr ? "engine" : "session");
    LOWP_ASSIGN(lowp_session_options o, read_options(options));
    runtime::SessionOptions s;
    s.threads = o.threads;
    s.profile = o.profile != 0;
    LOWP_ASSIGN(auto created, runtime::Session::create(engine->engine, s));
    *session = new lowp_session{std::move(created), {}};
    return {};
  });
}
void lowp_session_close(lowp_session* session) { delete session; }

lowp_code lowp_run(lowp_session* session, const lowp_tensor* inputs, int32_t input_count, lowp_tensor* outputs,
                   int32_t output_count) {
  return guarded([&]() -> Status {
    if (session == nullptr || (inputs == nullptr && input_count != 0) || (outputs == nullptr && output_count != 0))
      return null_argument("an argument");
    const ir::Graph& graph = session->session->engine().graph();
    if (output_count < 0 || static_cast<size_t>(output_count) != graph.outputs().size()) {
      return lowp::error(Code::kInvalidArgument, "room for {} outputs, the engine has {}", output_count,
                         graph.outputs().size());
    }
    LOWP_ASSIGN(std::vector<Tensor> in, match(graph, inputs, input_count));
    const bool into = output_count > 0 && std::all_of(outputs, outputs + output_count,
                                                      [](const lowp_tensor& t) { return t.data != nullptr; });
    if (into) {
      std::vector<Tensor> out;
      for (int32_t i = 0; i < output_count; ++i) {
        LOWP_ASSIGN(Tensor t, view(outputs[i]));
        out.push_back(std::move(t));
      }
      return session->session->run_into(in, out);
    }
    LOWP_ASSIGN(session->outputs, session->session->run(in));
    for (int32_t i = 0; i < output_count; ++i) {
      Tensor& t = session->outputs[static_cast<size_t>(i)];
      lowp_tensor& o = outputs[i];
      if (o.data != nullptr) {
        LOWP_ASSIGN(Tensor wanted, view(o));
        if (wanted.dtype() != t.dtype() || wanted.extents() != t.extents()) {
          return lowp::error(Code::kShapeMismatch, "output '{}' is {}, the buffer is {}",
                             graph.outputs()[static_cast<size_t>(i)].name, t.type().to_string(),
                             wanted.type().to_string());
        }
        if (t.bytes() > 0) std::memcpy(o.data, t.raw(), t.bytes());
        continue;
      }
      if (t.rank() > LOWP_MAX_RANK) return lowp::error(Code::kUnsupported, "an output has rank {}", t.rank());
      o.name = graph.outputs()[static_cast<size_t>(i)].name.c_str();
      o.dtype = static_cast<lowp_dtype>(t.dtype());
      o.rank = t.rank();
      std::copy(t.extents().begin(), t.extents().end(), o.shape);
      o.data = t.mutable_raw();
    }
    return {};
  });
}
void lowp_cancel(lowp_session* session) {
  if (session != nullptr) session->session->cancel();
}

}  // extern "C"
