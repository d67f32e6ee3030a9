// Nodes that change nothing: Identity, Dropout at inference, Cast to the same dtype, Transpose and Reshape that keep
// the shape, pairs of inverse Transposes, arithmetic with neutral scalars.
#include "ops/movement.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

bool keeps_shape(const ir::Value* in, const ir::Value* out) { return in->type.concrete() && in->type == out->type; }

std::vector<int64_t> permutation(const ir::Node* node) {
  const auto& perm = node->attrs.get<ops::TransposeAttrs>().perm;
  if (perm) return *perm;
  std::vector<int64_t> reversed;
  for (int64_t i = node->inputs[0]->type.rank(); i-- > 0;) reversed.push_back(i);
  return reversed;
}
bool is_identity(const std::vector<int64_t>& perm) {
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return !perm.empty();
}

// The value that the node's output is equal to; null where the node does something.
ir::Value* same_as(ir::Graph& graph, ir::Node* node) {
  ir::Value* in = node->input(0);
  if (in == nullptr) return nullptr;
  const ir::Value* out = node->outputs[0];
  if (is_op(node, "Identity")) return in;
  if (is_op(node, "Cast") && in->type.dtype == out->type.dtype) return in;
  if ((is_op(node, "Reshape") || is_op(node, "Flatten") || is_op(node, "Squeeze") || is_op(node, "Unsqueeze") ||
       is_op(node, "Expand")) &&
      keeps_shape(in, out))
    return in;
  if (is_op(node, "Transpose") && in->type.has_rank()) {
    const std::vector<int64_t> perm = permutation(node);
    if (is_identity(perm)) return in;
    if (ir::Node* before = producer(in, "Transpose")) {
      const std::vector<int64_t> first = permutation(before);
      std::vector<int64_t> both;
      for (int64_t p : perm) both.push_back(first[static_cast<size_t>(p)]);
      if (is_identity(both)) return before->inputs[0];
      GraphBuilder b(graph, node);
      return b.op("Transpose", {before->inputs[0]}, {{"perm", both}}, kOnnxDomain, node->name);
    }
  }
  const ir::Value* second = node->input(1);
  if (second != nullptr && scalar(second) && second->type.rank() <= in->type.rank()) {
    const double s = *scalar(second);
    if ((is_op(node, "Add") || is_op(node, "Sub")) && s == 0 && is_integer(in->type.dtype))
      return in;  // -0.0 + 0 is not -0.0
    if ((is_op(node, "Mul") || is_op(node, "Div")) && s == 1) return in;
  }
  return nullptr;
}

}  // namespace

Result<int> remove_identities(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* node : graph.node_list()) {
    if (node->outputs.size() != 1 || node->outputs[0] == nullptr) continue;
    ir::Value* same = same_as(graph, node);
    if (same == nullptr) continue;
    graph.replace_uses(node->outputs[0], same);
    ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
