// What the subcommands share: opening models and engines, inputs by name, shapes on the command line.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "npz.h"
#include "runtime/compiler.h"
#include "runtime/session.h"

namespace lowp::tool {

using ir::Tensor;
using ir::TensorType;

struct Opened {
  std::shared_ptr<const runtime::Engine> engine;
  std::map<std::string, std::string> info;  // of an engine file
  bool is_engine = false;
};
// An engine file, or an ONNX model compiled in FP32.
Result<Opened> open_any(const std::string& path, int threads);

// Tensors for the graph's inputs in its order. Names what is missing or unknown.
Result<std::vector<Tensor>> match_inputs(const ir::Graph& graph, const NamedTensors& tensors);

// "x=1x3x224x224" -> name and extents.
Result<std::pair<std::string, Extents>> parse_shape(const std::string& text);

// Random inputs with the given shapes; unknown extents become `batch` for the first dimension and 1, or 128 for later
// ones, unless a shape is given. Integers stay small, so that they are valid indices.
Result<std::vector<Tensor>> random_inputs(const ir::Graph& graph, const std::vector<std::string>& shapes,
                                          int64_t batch);

nlohmann::json to_json(const ir::Graph& graph);  // inputs and outputs
std::string file_size_text(uint64_t bytes);
// Sets a flag on Ctrl-C; the flag is what progress callbacks return.
const std::atomic<bool>& interrupted();

}  // namespace lowp::tool
