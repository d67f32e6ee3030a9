#include "common.h"

#include <charconv>
#include <csignal>
#include <random>

#include "format/engine_file.h"
#include "onnx/import.h"

namespace lowp::tool {

Result<Opened> open_any(const std::string& path, int threads) {
  Opened opened;
  if (path.ends_with(".onnx")) {
    LOWP_ASSIGN(ir::Graph graph, onnx::import_onnx(path));
    runtime::CompileOptions options;
    options.threads = threads;
    options.measure = false;  // for one run it is not worth the time
    LOWP_ASSIGN(runtime::Compiled compiled, runtime::compile(graph, options));
    opened.engine = compiled.engine;
    return opened;
  }
  LOWP_ASSIGN(format::LoadedEngine loaded, format::open_engine(path));
  opened.is_engine = true;
  opened.info = std::move(loaded.info.entries);
  opened.engine = std::make_shared<runtime::Engine>(std::make_unique<ir::Graph>(std::move(loaded.graph)));
  return opened;
}

Result<std::vector<Tensor>> match_inputs(const ir::Graph& graph, const NamedTensors& tensors) {
  std::vector<Tensor> inputs;
  for (const ir::Value* v : graph.inputs()) {
    auto it = tensors.find(v->name);
    if (it == tensors.end()) {
      std::string have;
      for (const auto& [name, t] : tensors) have += (have.empty() ? "" : ", ") + name;
      return fail(Code::kInvalidArgument, "input '{}' is missing; the file has: {}", v->name,
                  have.empty() ? "nothing" : have);
    }
    inputs.push_back(it->second);
  }
  for (const auto& [name, t] : tensors) {
    bool known = false;
    for (const ir::Value* v : graph.inputs()) known = known || v->name == name;
    if (!known) return fail(Code::kInvalidArgument, "the model has no input '{}'", name);
  }
  return inputs;
}

Result<std::pair<std::string, Extents>> parse_shape(const std::string& text) {
  const size_t equals = text.find('=');
  auto bad = [&] {
    return fail(error(Code::kInvalidArgument, "'{}' is not a shape", text).with_hint("write it like x=1x3x224x224"));
  };
  if (equals == std::string::npos || equals == 0) return bad();
  Extents extents;
  const char* p = text.data() + equals + 1;
  const char* end = text.data() + text.size();
  while (p < end) {
    int64_t e = 0;
    auto [next, ec] = std::from_chars(p, end, e);
    if (ec != std::errc() || e < 0) return bad();
    extents.push_back(e);
    if (next < end && *next != 'x') return bad();
    p = next + 1;
  }
  return std::pair(text.substr(0, equals), extents);
}

Result<std::vector<Tensor>> random_inputs(const ir::Graph& graph, const std::vector<std::string>& shapes,
                                          int64_t batch) {
  std::map<std::string, Extents> given;
  for (const std::string& s : shapes) {
    LOWP_ASSIGN(auto shape, parse_shape(s));
    given[shape.first] = shape.second;
  }
  std::mt19937_64 rng(1);
  std::vector<Tensor> inputs;
  for (const ir::Value* v : graph.inputs()) {
    Extents e;
    if (auto it = given.find(v->name); it != given.end()) {
      e = it->second;
      given.erase(it);
    } else if (v->type.has_rank()) {
      for (size_t i = 0; i < v->type.dims->size(); ++i) {
        const ir::Dim& d = (*v->type.dims)[i];
        e.push_back(d.known() ? d.value() : i == 0 ? batch : 128);
      }
    } else {
      return fail(error(Code::kInvalidArgument, "the shape of input '{}' is not known", v->name)
                      .with_hint(fmt::format("give it with --shape {}=...", v->name)));
    }
    LOWP_ASSIGN(Tensor t, Tensor::allocate(v->type.dtype, e));
    for (int64_t i = 0; i < t.size(); ++i) {
      switch (v->type.dtype) {
        case DType::kF32: t.mutable_data<float>()[i] = std::uniform_real_distribution<float>(-1, 1)(rng); break;
        case DType::kI64: t.mutable_data<int64_t>()[i] = static_cast<int64_t>(rng() & 1); break;
        case DType::kI32: t.mutable_data<int32_t>()[i] = static_cast<int32_t>(rng() & 1); break;
        case DType::kU8: t.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(rng()); break;
        case DType::kBool: t.mutable_data<bool>()[i] = true; break;
        default: break;
      }
    }
    inputs.push_back(std::move(t));
  }
  if (!given.empty()) return fail(Code::kInvalidArgument, "the model has no input '{}'", given.begin()->first);
  return inputs;
}

nlohmann::json to_json(const ir::Graph& graph) {
  auto value = [](const std::string& name, const TensorType& t) {
    nlohmann::json j = {{"name", name}, {"dtype", dtype_name(t.dtype)}};
    nlohmann::json shape = nlohmann::json::array();
    if (t.has_rank()) {
      for (const ir::Dim& d : *t.dims)
        shape.push_back(d.known()            ? nlohmann::json(d.value())
                        : d.symbol().empty() ? nlohmann::json(nullptr)
                                             : nlohmann::json(d.symbol()));
      j["shape"] = std::move(shape);
    }
    return j;
  };
  nlohmann::json j;
  j["inputs"] = nlohmann::json::array();
  j["outputs"] = nlohmann::json::array();
  for (const ir::Value* v : graph.inputs()) j["inputs"].push_back(value(v->name, v->type));
  for (const auto& o : graph.outputs()) j["outputs"].push_back(value(o.name, o.value->type));
  return j;
}

std::string file_size_text(uint64_t bytes) {
  return bytes < 1 << 20 ? fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024)
                         : fmt::format("{:.2f} MiB", static_cast<double>(bytes) / (1 << 20));
}

const std::atomic<bool>& interrupted() {
  static std::atomic<bool> flag{false};
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_handler = [](int) { flag.store(true, std::memory_order_relaxed); };
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second Ctrl-C ends the process at once
    sigaction(SIGINT, &action, nullptr);
    return true;
  }();
  (void)installed;
  return flag;
}

}  // namespace lowp::tool
