// Ops that only move elements work on INT8 as well as on floats, with a quarter of the bytes:
//   DequantizeLinear -> Reshape -> QuantizeLinear (same scale and zero point)  becomes  Reshape on INT8
//   Reshape -> QuantizeLinear  becomes  QuantizeLinear -> Reshape where the unquantized result has no other reader
//   Concat -> QuantizeLinear  likewise, each operand on its own; a Clip between moves too
// DequantizeLinear directly followed by an equal QuantizeLinear vanishes.
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

bool moves_elements(const ir::Node* node) {
  return node != nullptr && node->op->quantize == QuantRule::kPassThrough && node->outputs.size() == 1 &&
         !is_op(node, "Concat");
}

// Puts the node on the quantized input of `dq`: its output becomes INT8, followed by a DequantizeLinear of its own.
void work_on_int8(ir::Graph& graph, ir::Node* node, const ir::Node* dq) {
  ir::Value* old = node->outputs[0];
  GraphBuilder b(graph, node);
  std::vector<ir::Value*> inputs = node->inputs;
  inputs[0] = dq->inputs[0];
  ir::Node* moved = graph.add_node(node->op, node->attrs, inputs, 1, node->name, node);
  moved->outputs[0]->type = old->type;
  moved->outputs[0]->type.dtype = dq->inputs[0]->type.dtype;
  std::vector<ir::Value*> operands = dq->inputs;
  operands[0] = moved->outputs[0];
  ir::Node* after = graph.add_node(dq->op, dq->attrs, operands, 1, dq->name, node);
  after->outputs[0]->type = old->type;
  graph.replace_uses(old, after->outputs[0]);
}

// Concat -> [Clip ->] Q becomes [Clip ->] Q -> Concat.
bool move_above_concat(ir::Graph& graph, ir::Node* q) {
  ir::Node* clip = producer(q->inputs[0], "Clip");
  if (clip != nullptr && only_user(graph, clip->outputs[0]) != q) return false;
  const ir::Value* whole = clip != nullptr ? clip->inputs[0] : q->inputs[0];
  ir::Node* concat = producer(whole, "Concat");
  if (concat == nullptr || only_user(graph, whole) != (clip != nullptr ? clip : q) || !tensor_quantization(q))
    return false;
  for (const ir::Value* v : concat->inputs) {
    if (v->is_constant()) return false;
  }
  // A copy of `node` that reads x.
  auto on = [&](const ir::Node* node, ir::Value* x) {
    std::vector<ir::Value*> operands = node->inputs;
    operands[0] = x;
    ir::Node* copy = graph.add_node(node->op, node->attrs, std::move(operands), 1, node->name, concat);
    copy->outputs[0]->type = x->type;
    copy->outputs[0]->type.dtype = node->outputs[0]->type.dtype;
    return copy->outputs[0];
  };
  std::vector<ir::Value*> parts;
  for (ir::Value* v : concat->inputs) parts.push_back(on(q, clip != nullptr ? on(clip, v) : v));
  ir::Node* moved = graph.add_node(concat->op, concat->attrs, std::move(parts), 1, concat->name, concat);
  moved->outputs[0]->type = q->outputs[0]->type;
  graph.replace_uses(q->outputs[0], moved->outputs[0]);
  return true;
}

bool is_max_pool(const ir::Node* node) { return is_op(node, "MaxPool"); }

}  // namespace

Result<int> move_quantization(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* node : graph.node_list()) {
    // Downwards: DQ -> op.
    if (moves_elements(node)) {
      ir::Node* dq = producer(node->inputs[0], "DequantizeLinear");
      if (dq != nullptr && !dq->inputs[0]->is_constant() && tensor_quantization(dq)) {
        // Only where a quantized reader follows; a float reader would dequantize anyway.
        bool wanted = is_max_pool(node);
        for (const ir::Node* user : node->outputs[0]->uses)
          wanted = wanted || is_op(user, "QuantizeLinear") || moves_elements(user);
        if (wanted) {
          work_on_int8(graph, node, dq);
          ++changed;
          continue;
        }
      }
    }
    // Upwards: op -> Q.
    if (is_op(node, "QuantizeLinear")) {
      if (move_above_concat(graph, node)) {
        ++changed;
        continue;
      }
      ir::Node* before = node->inputs[0]->producer;
      if (moves_elements(before) && only_user(graph, before->outputs[0]) == node && tensor_quantization(node) &&
          producer(before->inputs[0], "DequantizeLinear") == nullptr) {
        std::vector<ir::Value*> operands = node->inputs;
        operands[0] = before->inputs[0];
        ir::Node* q = graph.add_node(node->op, node->attrs, operands, 1, node->name, before);
        q->outputs[0]->type = before->inputs[0]->type;
        q->outputs[0]->type.dtype = node->outputs[0]->type.dtype;
        std::vector<ir::Value*> moved_inputs = before->inputs;
        moved_inputs[0] = q->outputs[0];
        ir::Node* moved = graph.add_node(before->op, before->attrs, moved_inputs, 1, before->name, before);
        moved->outputs[0]->type = node->outputs[0]->type;
        graph.replace_uses(node->outputs[0], moved->outputs[0]);
        ++changed;
      }
    }
  }
  graph.remove_dead();
  for (ir::Node* node : graph.node_list()) {
    if (!is_op(node, "QuantizeLinear")) continue;
    const ir::Node* dq = producer(node->inputs[0], "DequantizeLinear");
    auto q = tensor_quantization(node);
    if (dq == nullptr || !q || tensor_quantization(dq) != q) continue;
    graph.replace_uses(node->outputs[0], dq->inputs[0]);
    ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
