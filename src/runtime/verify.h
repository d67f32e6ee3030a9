// Holding engines against each other: tensor by tensor, and as a digest of what they compute.
#pragma once

#include "runtime/engine.h"

namespace lowp::runtime {

// One tensor that both engines compute under the same name. INT8 tensors are dequantized first.
struct TensorComparison {
  std::string name;
  std::string op_a, op_b;  // what produced it
  std::string precision_a, precision_b;
  double max_abs_error = 0;
  double max_abs = 0;  // of A
  double snr_db = 0;   // of B against A; 200 for equal
};

// In the order in which A computes them; the models' outputs are the last. Inputs in the order of A's; B's are matched
// by name. kInvalidArgument where the two do not have the same inputs.
Result<std::vector<TensorComparison>> compare(const Engine& a, const Engine& b, std::span<const Tensor> inputs,
                                              int threads);

// Inputs that depend on the model alone: pseudo-random floats in [-1, 1], small indices, true. Symbols and unknown
// extents become `symbol_extent`.
std::vector<Tensor> golden_inputs(const ir::Graph& graph, int64_t symbol_extent);
// The same content in the given shapes, one for each input.
std::vector<Tensor> pseudo_random_inputs(const ir::Graph& graph, std::span<const Extents> extents);

// XXH3 of the outputs for golden_inputs(graph, 2), as 16 hex digits. The same on every CPU and for any number of
// threads. An error where the model does not take such inputs.
Result<std::string> golden_digest(const std::shared_ptr<const Engine>& engine);

}  // namespace lowp::runtime
