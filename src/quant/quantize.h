// Post-training quantization as a change of the graph: finds what to observe, and inserts QuantizeLinear and
// DequantizeLinear around what INT8 kernels will compute.
#pragma once

#include <map>
#include <set>

#include "ops/op_def.h"
#include "quant/observer.h"

namespace lowp::quant {

// A layer that can be quantized: Conv, MatMul or Gemm with constant f32 weights, lowp.LSTM or lowp.GRU, or Gather from
// a constant f32 table.
struct Layer {
  ir::Node* node;
  ir::Value* activation;       // null for Gather and recurrences
  ir::Value* state = nullptr;  // initial state of a recurrence, if it has one
  bool recurrent() const { return node->op->quantize == QuantRule::kRecurrent; }
};
std::vector<Layer> find_layers(ir::Graph& graph);

struct Scheme {
  int levels = 255;  // 255: u8; 127: 7 bits, with weights for the A7 kernels
  RangeMethod method = RangeMethod::kMse;
  std::set<std::string, std::less<>> keep_float;  // names of nodes
};

// Values whose ranges quantize() will ask for, by name.
std::vector<std::string> observed_values(ir::Graph& graph, const Scheme& scheme);

// Inserts Q/DQ. `observers` has an entry for each of observed_values().
Status quantize(ir::Graph& graph, const Scheme& scheme, const std::map<std::string, HistogramObserver>& observers);

}  // namespace lowp::quant
