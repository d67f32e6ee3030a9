// Clip -> QuantizeLinear becomes lowp.Quantize, whose range holds what the Clip limited: rounding keeps order, so that
// limits of the input are limits of the result. Seven-bit activations are made this way.
#include <algorithm>

#include "ops/bounded_quantize.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace lowp::passes {
namespace {

// The stored value of a limit.
int64_t stored(double limit, const TensorQuantization& q) {
  const double steps = std::nearbyint(static_cast<double>(static_cast<float>(limit) / q.scale));
  return static_cast<int64_t>(std::clamp(steps, -1e6, 1e6)) + q.zero;
}

bool bound(ir::Graph& graph, ir::Node* node) {
  const auto q = tensor_quantization(node);
  ir::Node* clip = producer(node->inputs[0], "Clip");
  if (!q || clip == nullptr || only_user(graph, clip->outputs[0]) != node) return false;
  ops::BoundedQuantizeAttrs attrs;
  attrs.out_dtype = q->dtype;
  attrs.out_scale = q->scale;
  attrs.out_zero = q->zero;
  const bool is_signed = q->dtype == DType::kI8;
  const int64_t least = is_signed ? -128 : 0;
  const int64_t most = is_signed ? 127 : 255;
  for (size_t i : {1, 2}) {
    if (clip->input(i) == nullptr) continue;
    const auto limit = scalar(clip->inputs[i]);
    if (!limit || std::isnan(*limit)) return false;
    (i == 1 ? attrs.out_low : attrs.out_high) = std::clamp(stored(*limit, *q), least, most);
  }
  if (attrs.out_low > attrs.out_high) return false;
  ir::Node* fused = graph.add_node(&op("Quantize", kLowpDomain), Attrs::make(ops::BoundedQuantizeAttrs(attrs)),
                                   {clip->inputs[0]}, 1, node->name, node);
  fused->outputs[0]->type = node->outputs[0]->type;
  graph.replace_uses(node->outputs[0], fused->outputs[0]);
  return true;
}

}  // namespace

Result<int> bound_quantization(ir::Graph& graph, const PassOptions&) {
  int changed = 0;
  for (ir::Node* node : graph.node_list()) {
    if (is_op(node, "QuantizeLinear")) changed += bound(graph, node) ? 1 : 0;
  }
  graph.remove_dead();
  return changed;
}

}  // namespace lowp::passes
