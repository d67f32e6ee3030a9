// BatchNormTraining, then Relu, or Add of a shortcut and Relu, in one node: forward and backward read and write the
// activations once instead of two or three times.
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

constexpr size_t kResidual = 3;

bool is_bare(const ir::Node* node) {
  if (!is_op(node, "BatchNormTraining", kLowpDomain) || node->input(kResidual) != nullptr) return false;
  const AttrMap attrs = node->op->attrs.write(node->attrs);
  return std::get<int64_t>(attrs.at("relu")) == 0;
}

// The normalization that alone gives an operand of the Add, and runs last: the other operand must be there before it.
ir::Node* normalization_of(const ir::Graph& graph, const ir::Node* add, ir::Value*& residual) {
  for (size_t i = 2; i-- > 0;) {
    ir::Node* norm = producer(add->inputs[i], "BatchNormTraining", kLowpDomain);
    ir::Value* other = add->inputs[1 - i];
    if (!is_bare(norm) || only_user(graph, add->inputs[i]) != add || !(other->type == add->inputs[i]->type)) continue;
    bool before = other->producer == nullptr;
    for (const auto& n : graph.nodes()) {
      if (n.get() == other->producer) before = true;
      if (n.get() == norm) break;
    }
    if (!before) continue;
    residual = other;
    return norm;
  }
  return nullptr;
}

}  // namespace

Result<int> fuse_batch_norm(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* relu : graph.node_list()) {
    if (!is_op(relu, "Relu")) continue;
    ir::Value* residual = nullptr;
    ir::Node* norm = producer(relu->inputs[0], "BatchNormTraining", kLowpDomain);
    if (norm == nullptr) {
      const ir::Node* add = producer(relu->inputs[0], "Add");
      if (add != nullptr && only_user(graph, relu->inputs[0]) == relu) norm = normalization_of(graph, add, residual);
    } else if (!is_bare(norm) || only_user(graph, relu->inputs[0]) != relu) {
      norm = nullptr;
    }
    if (norm == nullptr) continue;
    AttrMap attrs = norm->op->attrs.write(norm->attrs);
    attrs["relu"] = int64_t{1};
    norm->attrs = norm->op->attrs.read(attrs).value();
    if (residual != nullptr) {
      norm->inputs.resize(kResidual + 1, nullptr);
      graph.set_input(norm, kResidual, residual);
    }
    graph.replace_uses(relu->outputs[0], norm->outputs[0]);
    ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
