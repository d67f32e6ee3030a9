// Layer normalization over the last axis written out: d = x - mean(x); d / sqrt(mean(d^2) + eps) * gamma + beta.
#include "ops/reduce.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

// Whether the node is a mean over the last axis that keeps it.
bool is_last_axis_mean(const ir::Node* node) {
  if (!is_op(node, "ReduceMean") || !node->attrs.get<ops::ReduceAttrs>().keepdims) return false;
  auto axis = scalar(node->input(1));
  const int rank = node->inputs[0]->type.rank();
  return axis && (*axis == -1 || (rank > 0 && *axis == rank - 1));
}

struct LayerNorm {
  ir::Value* x;
  ir::Value* scale;
  ir::Value* bias;
  double epsilon;
  ir::Node* tail;
};

bool is_last_axis_vector(const ir::Value* v) {
  return v != nullptr && v->is_constant() && v->constant.rank() == 1 && v->constant.dtype() == DType::kF32;
}

// From the node that computes d / sqrt(...).
std::optional<LayerNorm> match(const ir::Graph& graph, ir::Node* div) {
  const ir::Node* sub = producer(div->inputs[0], "Sub");
  const ir::Node* root = producer(div->inputs[1], "Sqrt");
  if (sub == nullptr || root == nullptr) return std::nullopt;
  ir::Value* x = sub->inputs[0];
  const ir::Node* mean = sub->inputs[1]->producer;
  if (!is_last_axis_mean(mean) || mean->inputs[0] != x) return std::nullopt;
  const ir::Node* add = producer(root->inputs[0], "Add");
  if (add == nullptr) return std::nullopt;
  const size_t eps_at = scalar(add->inputs[1]) ? 1 : 0;
  auto epsilon = scalar(add->inputs[eps_at]);
  const ir::Node* variance = add->inputs[1 - eps_at]->producer;
  if (!epsilon || !is_last_axis_mean(variance)) return std::nullopt;
  const ir::Node* square = variance->inputs[0]->producer;
  auto is_deviation = [&](const ir::Value* v) {
    const ir::Node* s = producer(v, "Sub");
    return s != nullptr && s->inputs[0] == x && is_last_axis_mean(s->inputs[1]->producer) &&
           s->inputs[1]->producer->inputs[0] == x;
  };
  const bool squared =
      (is_op(square, "Pow") && is_scalar(square->inputs[1], 2) && is_deviation(square->inputs[0])) ||
      (is_op(square, "Mul") && square->inputs[0] == square->inputs[1] && is_deviation(square->inputs[0]));
  if (!squared) return std::nullopt;
  ir::Node* mul = only_user(graph, div->outputs[0]);
  if (!is_op(mul, "Mul") || !is_last_axis_vector(other(mul, div->outputs[0]))) return std::nullopt;
  LayerNorm result{x, other(mul, div->outputs[0]), nullptr, *epsilon, mul};
  ir::Node* shift = only_user(graph, mul->outputs[0]);
  if (is_op(shift, "Add") && is_last_axis_vector(other(shift, mul->outputs[0]))) {
    result.bias = other(shift, mul->outputs[0]);
    result.tail = shift;
  }
  return result;
}

}  // namespace

Result<int> fuse_layer_norm(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* node : graph.node_list()) {
    if (!is_op(node, "Div")) continue;
    auto found = match(graph, node);
    if (!found) continue;
    GraphBuilder b(graph, found->tail);
    std::vector<ir::Value*> inputs = {found->x, found->scale};
    if (found->bias != nullptr) inputs.push_back(found->bias);
    ir::Value* y =
        b.op("LayerNormalization", inputs, {{"axis", int64_t{-1}}, {"epsilon", static_cast<float>(found->epsilon)}},
             kOnnxDomain, found->tail->name);
    ir::Graph::take_name(y, found->tail->outputs[0]);
    graph.replace_uses(found->tail->outputs[0], y);
    ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
