// A QuantizeLinear or lowp.Quantize that alone reads an embedding, an attention or a layer normalization becomes part
// of it: the f32 result is never written.
#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/norm.h"
#include "ops/quantized_layer_norm.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

template <typename A>
bool fuse(ir::Graph& graph, ir::Node* node) {
  auto attrs = node->attrs.get<A>();
  ir::Node* next = only_user(graph, node->outputs[0]);
  const auto q = output_quantization(next);
  if (attrs.out_dtype != DType::kF32 || !q) return false;
  static_cast<ops::OutputQuantization&>(attrs) = *q;
  node->attrs = Attrs::make(A(attrs));
  ir::Value* old = next->outputs[0];
  node->outputs[0]->type = old->type;
  ir::Graph::take_name(node->outputs[0], old);
  graph.replace_uses(old, node->outputs[0]);
  graph.erase(next);
  return true;
}

// Over the last axis, as the op's kernel wants it.
bool fuse_layer_norm(ir::Graph& graph, ir::Node* node) {
  const auto& a = node->attrs.get<ops::LayerNormAttrs>();
  const auto q = output_quantization(only_user(graph, node->outputs[0]));
  const TensorType& x = node->inputs[0]->type;
  if (!q || !x.has_rank() || x.rank() == 0 || x.dtype != DType::kF32 || (a.axis != -1 && a.axis != x.rank() - 1))
    return false;
  for (size_t i = 1; i < node->outputs.size(); ++i) {
    if (node->outputs[i] != nullptr && (!node->outputs[i]->uses.empty() || graph.is_graph_output(node->outputs[i])))
      return false;
  }
  const ir::Dim last = x.dims->back();
  for (size_t i = 1; i < node->inputs.size(); ++i) {
    if (node->input(i) == nullptr) continue;
    const TensorType& t = node->inputs[i]->type;
    if (t.dtype != DType::kF32 || !t.concrete() || t.rank() != 1 || !last.known() || t.extents()[0] != last.value())
      return false;
  }
  ops::QuantizedLayerNormAttrs attrs;
  static_cast<ops::OutputQuantization&>(attrs) = *q;
  attrs.epsilon = a.epsilon;
  const ir::Node* next = only_user(graph, node->outputs[0]);
  ir::Node* fused = graph.add_node(&op("LayerNorm", kLowpDomain), Attrs::make(ops::QuantizedLayerNormAttrs(attrs)),
                                   node->inputs, 1, node->name, node);
  fused->outputs[0]->type = next->outputs[0]->type;
  graph.replace_uses(next->outputs[0], fused->outputs[0]);
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
  for (ir::Node* node : graph.node_list()) {
    if (is_op(node, "LayerNormalization")) changed += fuse_layer_norm(graph, node) ? 1 : 0;
  }
  graph.remove_dead();
  return changed;
}

}  // namespace lowp::passes
