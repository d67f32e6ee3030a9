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

// The value in `dtype`: from the cast that mixed precision made of it for other readers, if there is one.
ir::Value* in_dtype(ir::Graph& graph, ir::Value* v, DType dtype, ir::Node* behind_producer) {
  for (const ir::Node* reader : v->uses) {
    if (reader->op->name == "Cast" && reader->output()->type.dtype == dtype) return reader->output();
  }
  return cast(GraphBuilder(graph, behind_producer), v, dtype);
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
      ir::Value* kept = in_dtype(graph, v, dtype, next[v->producer]);
      graph.set_input(node, i, cast(GraphBuilder(graph, node), kept, DType::kF32));
    }
  }
}

}  // namespace lowp::autograd
