// GELU: 0.5 x (1 + erf(x / sqrt 2)) in the orders in which exporters write it. SiLU: x sigmoid(x).
#include <numbers>

#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

// x of erf(x / sqrt 2), or null.
ir::Value* gelu_argument(const ir::Node* erf) {
  const ir::Value* scaled = erf->inputs[0];
  if (const ir::Node* div = producer(scaled, "Div"); div != nullptr && is_scalar(div->inputs[1], std::numbers::sqrt2))
    return div->inputs[0];
  if (const ir::Node* mul = producer(scaled, "Mul")) {
    for (size_t i = 0; i < 2; ++i) {
      if (is_scalar(mul->inputs[i], 1 / std::numbers::sqrt2)) return mul->inputs[1 - i];
    }
  }
  return nullptr;
}
// x of x * 0.5, or null.
ir::Value* half_of(const ir::Value* v) {
  const ir::Node* mul = producer(v, "Mul");
  if (mul == nullptr) return nullptr;
  for (size_t i = 0; i < 2; ++i) {
    if (is_scalar(mul->inputs[i], 0.5)) return mul->inputs[1 - i];
  }
  return nullptr;
}

// The node whose output is gelu(x), given the node that computes 1 + erf(x / sqrt 2).
ir::Node* match_tail(const ir::Graph& graph, ir::Node* plus_one, ir::Value* x) {
  ir::Node* mul = only_user(graph, plus_one->outputs[0]);
  if (!is_op(mul, "Mul")) return nullptr;
  ir::Value* factor = other(mul, plus_one->outputs[0]);
  if (half_of(factor) == x) return mul;
  ir::Node* next = only_user(graph, mul->outputs[0]);
  if (!is_op(next, "Mul")) return nullptr;
  ir::Value* last = other(next, mul->outputs[0]);
  if (factor == x && is_scalar(last, 0.5)) return next;
  if (is_scalar(factor, 0.5) && last == x) return next;
  return nullptr;
}

}  // namespace

Result<int> fuse_gelu(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* node : graph.node_list()) {
    ir::Value* x = nullptr;
    ir::Node* tail = nullptr;
    std::string_view fused = "Gelu";
    if (is_op(node, "Erf")) {
      x = gelu_argument(node);
      ir::Node* add = x == nullptr ? nullptr : only_user(graph, node->outputs[0]);
      if (!is_op(add, "Add") || !is_scalar(other(add, node->outputs[0]), 1)) continue;
      tail = match_tail(graph, add, x);
    } else if (is_op(node, "Sigmoid")) {
      x = node->inputs[0];
      tail = only_user(graph, node->outputs[0]);
      if (!is_op(tail, "Mul") || other(tail, node->outputs[0]) != x) continue;
      fused = "Swish";
    }
    if (tail == nullptr) continue;
    GraphBuilder b(graph, tail);
    ir::Value* y = b.op(fused, {x}, {}, kOnnxDomain, tail->name);
    ir::Graph::take_name(y, tail->outputs[0]);
    graph.replace_uses(tail->outputs[0], y);
    ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
