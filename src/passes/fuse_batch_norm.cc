// lowp.BatchNormTraining takes in the residual and the ReLU behind it: both cost nothing but memory traffic. To be run
// before the backward graph is built, whose nodes read what lies between.
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

// What is added to the value by its only reader, of the same type as it; or null.
ir::Value* residual_of(const ir::Node* add, const ir::Value* value) {
  if (!is_op(add, "Add")) return nullptr;
  ir::Value* r = other(add, value);
  return value->type.has_rank() && r->type == value->type && add->outputs[0]->type == value->type ? r : nullptr;
}

}  // namespace

Result<int> fuse_batch_norm(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* node : graph.node_list()) {
    if (!is_op(node, "BatchNormTraining", kLowpDomain)) continue;
    AttrMap attrs = node->op->attrs.write(node->attrs);
    const auto relu = attrs.find("relu");
    if (relu != attrs.end() && relu->second != ir::AttrMap::mapped_type(int64_t{0})) continue;
    ir::Node* last = node;
    ir::Node* next = only_user(graph, node->outputs[0]);
    ir::Value* residual = node->input(3) == nullptr ? residual_of(next, node->outputs[0]) : nullptr;
    if (residual != nullptr) {
      last = next;
      next = only_user(graph, last->outputs[0]);
    }
    const bool has_relu = is_op(next, "Relu");
    if (has_relu) last = next;
    if (last == node) continue;
    std::vector<ir::Value*> operands = node->inputs;
    if (residual != nullptr) {
      operands.resize(4, nullptr);
      operands[3] = residual;
    }
    attrs["relu"] = int64_t{has_relu ? 1 : 0};
    const std::vector<ir::Value*> fused =
        GraphBuilder(graph, last)
            .op_n(node->outputs.size(), "BatchNormTraining", operands, attrs, kLowpDomain, node->name);
    ir::Graph::take_name(fused[0], last->outputs[0]);
    graph.replace_uses(last->outputs[0], fused[0]);
    for (size_t i = 1; i < fused.size(); ++i) {
      if (node->outputs[i] != nullptr) graph.replace_uses(node->outputs[i], fused[i]);
    }
    ++changed;
  }
  // The statistics may have readers between the old place and the new one.
  if (changed > 0) LOWP_TRY([&]() -> Status { return graph.sort(); }());
  return changed;
}

}  // namespace lowp::passes
