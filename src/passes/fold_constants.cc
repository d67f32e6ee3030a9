// Computes nodes whose inputs are all constants. Dequantization of weights stays: it marks them as INT8.
#include "ops/infer.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

// Growing a constant beyond this many bytes and beyond its inputs costs more memory than time it saves.
constexpr size_t kMaxFoldedBytes = size_t{16} << 20;

}  // namespace

Result<int> fold_constants(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* node : graph.node_list()) {
    if (!node->op->pure || is_op(node, "DequantizeLinear") || is_op(node, "QuantizeLinear") ||
        node->op->domain == kLowpDomain)
      continue;
    std::vector<const Tensor*> inputs;
    std::vector<const TensorType*> types;
    size_t input_bytes = 0;
    bool constant = true;
    for (const ir::Value* v : node->inputs) {
      inputs.push_back(v == nullptr ? nullptr : &v->constant);
      types.push_back(v == nullptr ? nullptr : &v->type);
      if (v == nullptr) continue;
      constant = constant && v->is_constant();
      if (v->is_constant()) input_bytes += v->constant.bytes();
    }
    // Shape and Size need types only.
    const bool shape_only = (is_op(node, "Shape") || is_op(node, "Size")) && node->inputs[0]->type.concrete();
    if (!constant && !shape_only) continue;
    for (const Tensor*& t : inputs) {
      if (t != nullptr && !t->valid()) t = nullptr;
    }
    LOWP_ASSIGN(Inferred inferred, infer_node(*node, types, inputs, 0));
    std::vector<Tensor> outputs = std::move(inferred.known);
    size_t output_bytes = 0;
    bool skip = false;
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      if (node->outputs[i] == nullptr || outputs[i].valid()) continue;
      if (shape_only || !inferred.types[i].concrete()) {
        skip = shape_only;
        continue;
      }
      output_bytes +=
          dtype_bytes(inferred.types[i].dtype, static_cast<size_t>(ir::element_count(inferred.types[i].extents())));
    }
    if (skip || (output_bytes > kMaxFoldedBytes && output_bytes > input_bytes)) continue;
    if (constant) {
      bool complete = true;
      for (size_t i = 0; i < outputs.size(); ++i)
        complete = complete && (node->outputs[i] == nullptr || outputs[i].valid());
      if (!complete) {
        LOWP_ASSIGN(outputs, evaluate_node(*node, inputs, inferred.types));
      }
    }
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      if (node->outputs[i] == nullptr || !outputs[i].valid()) continue;
      graph.replace_uses(node->outputs[i],
                         graph.add_constant(node->outputs[i]->name + ":folded", std::move(outputs[i])));
    }
    ++changed;
  }
  return changed;
}

}  // namespace lowp::passes
