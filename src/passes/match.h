// Small questions that pattern-matching passes ask.
#pragma once

#include <cmath>
#include <optional>

#include "ops/output_quantization.h"

namespace lowp::passes {

inline bool is_op(const ir::Node* node, std::string_view name, std::string_view domain = kOnnxDomain) {
  return node != nullptr && node->op->name == name && node->op->domain == domain;
}
inline ir::Node* producer(const ir::Value* value, std::string_view name, std::string_view domain = kOnnxDomain) {
  return value != nullptr && is_op(value->producer, name, domain) ? value->producer : nullptr;
}
// The node that alone reads the value; null where there are more, none, or the value is an output of the graph.
inline ir::Node* only_user(const ir::Graph& graph, const ir::Value* value) {
  return value->uses.size() == 1 && !graph.is_graph_output(value) ? value->uses[0] : nullptr;
}
// A constant of one element, any dtype.
std::optional<double> scalar(const ir::Value* value);
// Whether the value is a constant scalar near `want` (relative 1e-4: exporters write sqrt(2) in f32 or f16).
inline bool is_scalar(const ir::Value* value, double want) {
  auto s = scalar(value);
  return s && std::abs(*s - want) <= 1e-4 * std::abs(want);
}
// The other operand of a two-operand node.
inline ir::Value* other(const ir::Node* node, const ir::Value* value) {
  return node->inputs[0] == value ? node->inputs[1] : node->inputs[0];
}
// A constant with one f32 value for each of `n` channels: a vector [n], or a tensor with extent n at `axis_from_back`
// and 1 elsewhere. A scalar counts where allow_scalar.
std::optional<std::vector<float>> channel_values(const ir::Value* value, int64_t n, int axis_from_back,
                                                 bool allow_scalar);

// Scale and zero point of a per-tensor QuantizeLinear or DequantizeLinear with constant operands and an 8-bit dtype.
struct TensorQuantization {
  float scale = 1;
  int64_t zero = 0;
  DType dtype = DType::kU8;
  bool operator==(const TensorQuantization&) const = default;
};
std::optional<TensorQuantization> tensor_quantization(const ir::Node* node);
// What a per-tensor QuantizeLinear or a lowp.Quantize makes of its input; nullopt for other nodes.
std::optional<ops::OutputQuantization> output_quantization(const ir::Node* node);

}  // namespace lowp::passes
