// A pass is one file: src/passes/<pass>.cc defines Result<int> passes::<pass>(Graph&, const PassOptions&), which
// returns how many places it changed; one line in passes.inc lists it, in the order in which passes run. After every
// pass the verifier runs and types are inferred anew.
#pragma once

#include <set>
#include <string>

#include "ir/graph.h"

namespace lowp::passes {

struct PassOptions {
  // How weights of layers without quantization are stored: kF32, kBF16 or kF16.
  DType weight_dtype = DType::kF32;
  bool narrow_attention = false;                // attention between INT8 layers may compute in 16-bit integers
  bool narrow_activations = false;              // BF16 layers may hand each other bf16
  std::set<std::string, std::less<>> disabled;  // by name
};

// When a pass runs. Simplification happens on ONNX's ops, before calibration; lowering binds kernels.
enum class Stage : uint8_t { kSimplify, kLower };

struct Pass {
  const char* name;
  Stage stage;
  const char* summary;
  Result<int> (*run)(ir::Graph& graph, const PassOptions& options);
};
const std::vector<Pass>& all_passes();

// Runs passes of a stage or not, by name and in the order given. InternalError where there is no such pass.
Status run_passes(ir::Graph& graph, std::initializer_list<std::string_view> names, const PassOptions& options);

// Runs a stage's passes in order. An unknown name in options.disabled is an error.
Status run_stage(ir::Graph& graph, Stage stage, const PassOptions& options);

}  // namespace lowp::passes
