// A QuantizeLinear or lowp.Quantize that alone reads an embedding, an attention or a layer normalization becomes part
// of it: the f32 result is never written. A layer normalization that others read too gives both results, and so do two
// of one value that differ in scale and bias (quant/equalize.h): the value is read once.
#include <algorithm>

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

bool quantizes(const ir::Node* node) { return output_quantization(node).has_value(); }

// f32 over the last axis, of which nobody wants the statistics: what lowp.LayerNorm computes.
bool is_row_norm(const ir::Graph& graph, const ir::Node* node) {
  if (!is_op(node, "LayerNormalization")) return false;
  const auto& a = node->attrs.get<ops::LayerNormAttrs>();
  const TensorType& x = node->inputs[0]->type;
  if (!x.has_rank() || x.rank() == 0 || x.dtype != DType::kF32 || (a.axis != -1 && a.axis != x.rank() - 1))
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
  return true;
}

// lowp.LayerNorm in the place of a quantization of `norm`; `plain` also gives the f32 result of that normalization.
void add_layer_norm(ir::Graph& graph, const ir::Node* norm, ir::Node* quantization, const ir::Node* plain) {
  ops::QuantizedLayerNormAttrs attrs;
  static_cast<ops::OutputQuantization&>(attrs) = *output_quantization(quantization);
  attrs.epsilon = norm->attrs.get<ops::LayerNormAttrs>().epsilon;
  std::vector<ir::Value*> inputs = norm->inputs;
  if (plain != nullptr && plain != norm) {
    inputs.resize(3, nullptr);
    inputs.insert(inputs.end(), plain->inputs.begin() + 1, plain->inputs.end());
  }
  ir::Node* fused = graph.add_node(&op("LayerNorm", kLowpDomain), Attrs::make(ops::QuantizedLayerNormAttrs(attrs)),
                                   std::move(inputs), plain != nullptr ? 2 : 1, norm->name);
  fused->outputs[0]->type = quantization->outputs[0]->type;
  graph.replace_uses(quantization->outputs[0], fused->outputs[0]);
  if (plain != nullptr) {
    fused->outputs[1]->type = plain->outputs[0]->type;
    graph.replace_uses(plain->outputs[0], fused->outputs[1]);
  }
}

// The other normalization of the same value, whose result is read in f32; null where there is none.
ir::Node* plain_twin(const ir::Graph& graph, const ir::Node* norm) {
  const float epsilon = norm->attrs.get<ops::LayerNormAttrs>().epsilon;
  for (ir::Node* node : norm->inputs[0]->uses) {
    if (node == norm || !is_row_norm(graph, node) || node->inputs[0] != norm->inputs[0] ||
        node->attrs.get<ops::LayerNormAttrs>().epsilon != epsilon)
      continue;
    const ir::Value* y = node->outputs[0];
    const bool is_read = !y->uses.empty() || graph.is_graph_output(y);
    if (is_read && std::ranges::none_of(y->uses, quantizes)) return node;
  }
  return nullptr;
}

bool fuse_layer_norm(ir::Graph& graph, ir::Node* node) {
  if (!is_row_norm(graph, node)) return false;
  const auto& uses = node->outputs[0]->uses;
  const auto quantization = std::ranges::find_if(uses, quantizes);
  if (quantization == uses.end()) return false;
  add_layer_norm(graph, node, *quantization,
                 only_user(graph, node->outputs[0]) == *quantization ? plain_twin(graph, node) : node);
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
  for (ir::Node* node : graph.node_list()) changed += fuse_layer_norm(graph, node) ? 1 : 0;
  graph.remove_dead();
  return changed;
}

}  // namespace lowp::passes
