#include "autograd/keep.h"

#include <map>

#include "ops/recurrent.h"

namespace lowp::autograd {
namespace {

bool is_recurrence(const ir::Node* node, std::string_view ending) {
  if (node == nullptr || node->op->domain != kLowpDomain) return false;
  const std::string& name = node->op->name;
  return name == "LSTM" + std::string(ending) || name == "GRU" + std::string(ending);
}

ir::Value* cast(GraphBuilder b, ir::Value* v, DType to) {
  return b.op("Cast", {v}, {{"to", ir::dtype_to_onnx(to)}}, kOnnxDomain, v->name + ":" + std::string(dtype_name(to)));
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
    if (!is_recurrence(node, "Gradient")) continue;
    for (size_t i : {ops::kBackGates, ops::kBackY, ops::kBackCells}) {
      ir::Value* v = node->input(i);
      // Operand kBackCells of a GRU's gradient, where it has one, is no output of the recurrence.
      if (v == nullptr || v->type.dtype != DType::kF32 || !is_recurrence(v->producer, "")) continue;
      ir::Value* kept = v->type.concrete() ? cast_of(v, dtype) : nullptr;
      if (kept == nullptr) {
        kept = cast(GraphBuilder(graph, next[v->producer]), v, dtype);
      } else if (kept->type.extents() != v->type.extents()) {
        GraphBuilder b(graph, node);
        kept = b.op("Reshape", {kept, b.ints(v->type.extents())});
      }
      graph.set_input(node, i, cast(GraphBuilder(graph, node), kept, DType::kF32));
    }
  }
}

}  // namespace lowp::autograd
