// A QuantizeLinear that alone reads an embedding or an attention becomes part of it: the f32 result is never written.
#include "ops/attention.h"
#include "ops/embedding.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

template <typename A>
bool fuse(ir::Graph& graph, ir::Node* node) {
  auto attrs = node->attrs.get<A>();
  ir::Node* next = only_user(graph, node->outputs[0]);
  if (attrs.out_dtype != DType::kF32 || !is_op(next, "QuantizeLinear")) return false;
  const auto q = tensor_quantization(next);
  if (!q) return false;
  attrs.out_dtype = q->dtype;
  attrs.out_scale = q->scale;
  attrs.out_zero = q->zero;
  node->attrs = Attrs::make(A(attrs));
  ir::Value* old = next->outputs[0];
  node->outputs[0]->type = old->type;
  ir::Graph::take_name(node->outputs[0], old);
  graph.replace_uses(old, node->outputs[0]);
  graph.erase(next);
  return true;
}

}  // namespace

Result<int> fuse_quantization(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  std::vector<ir::Node*> wanted;
  for (ir::Node* node : graph.node_list()) {
    if (is_op(node, "Embedding", kLowpDomain) || is_op(node, "Attention", kLowpDomain)) wanted.push_back(node);
  }
  for (ir::Node* node : wanted)
    changed +=
        node->op->name == "Embedding" ? fuse<ops::EmbeddingAttrs>(graph, node) : fuse<ops::AttentionAttrs>(graph, node);
  return changed;
}

}  // namespace lowp::passes
