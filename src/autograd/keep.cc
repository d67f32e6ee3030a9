#include "autograd/keep.h"

#include <map>

#include "ops/recurrent.h"

namespace lowp::autograd {
namespace {

bool is_lowp(const ir::Node* node, std::string_view lstm, std::string_view gru) {
  return node != nullptr && node->op->domain == kLowpDomain && (node->op->name == lstm || node->op->name == gru);
}

// What mixed precision cast to `dtype` for other readers: the value itself, or behind ops that only change its shape
// (split_recurrent's Unsqueeze, and the Squeeze of a layer of one direction). Null where there is none.
ir::Value* cast_of(const ir::Value* v, DType dtype) {
  for (const ir::Node* reader : v->uses) {
    const std::string& op = reader->op->name;
    if (reader->input(0) != v || reader->op->domain != kOnnxDomain) continue;
    if (op == "Cast" && reader->output()->type.dtype == dtype) return reader->output();
    if (op != "Unsqueeze" && op != "Squeeze" && op != "Reshape") continue;
    if (ir::Value* found = cast_of(reader->output(), dtype)) return found;
  }
  return nullptr;
}

}  // namespace

void keep_recurrences_in(ir::Graph& graph, DType dtype) {
  if (dtype == DType::kF32) return;
  const std::vector<ir::Node*> nodes = graph.node_list();
  std::map<const ir::Node*, ir::Node*> next;
  for (size_t i = 0; i + 1 < nodes.size(); ++i) next[nodes[i]] = nodes[i + 1];
  for (ir::Node* node : nodes) {
    const bool back = is_lowp(node, "LSTMGradient", "GRUGradient");
    if (dtype == DType::kBF16 && (back || is_lowp(node, "LSTM", "GRU"))) {
      auto attrs = node->attrs.get<ops::RecurrenceAttrs>();
      attrs.bf16_products = true;
      node->attrs = ir::Attrs::make(ops::RecurrenceAttrs(attrs));
    }
    if (!back) continue;
    for (size_t i : {ops::kBackGates, ops::kBackY, ops::kBackCells}) {
      ir::Value* v = node->input(i);
      if (v == nullptr || v->type.dtype != DType::kF32 || !is_lowp(v->producer, "LSTM", "GRU")) continue;
      ir::Value* kept = v->type.concrete() ? cast_of(v, dtype) : nullptr;
      GraphBuilder b(graph, node);
      if (kept == nullptr)
        kept = GraphBuilder(graph, next[v->producer]).cast(v, dtype, v->name + ":" + std::string(dtype_name(dtype)));
      else if (kept->type.extents() != v->type.extents())
        kept = b.op("Reshape", {kept, b.ints(v->type.extents())});
      graph.set_input(node, i, b.cast(kept, DType::kF32, kept->name + ":f32"));
    }
  }
}

}  // namespace lowp::autograd
