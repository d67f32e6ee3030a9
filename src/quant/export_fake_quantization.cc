// What training rounded becomes QuantizeLinear and DequantizeLinear.
#include <algorithm>
#include <cmath>

#include "ops/fake_quantize.h"
#include "ops/infer.h"
#include "ops/movement.h"
#include "ops/quantize_linear.h"
#include "passes/match.h"
#include "quant/fake_quantization.h"

namespace lowp::quant {
namespace {

using passes::is_op;

// Content of a value that depends on constants alone; invalid where it does not.
Result<Tensor> content(const ir::Value* v) {
  if (v->is_constant()) return v->constant;
  const ir::Node* node = v->producer;
  if (node == nullptr || !node->op->pure) return Tensor();
  std::vector<Tensor> operands;
  std::vector<const Tensor*> inputs;
  std::vector<const TensorType*> types;
  for (const ir::Value* in : node->inputs) {
    operands.emplace_back();
    if (in == nullptr) continue;
    LOWP_ASSIGN(operands.back(), content(in));
    if (!operands.back().valid()) return Tensor();
  }
  for (size_t i = 0; i < operands.size(); ++i) {
    inputs.push_back(node->inputs[i] == nullptr ? nullptr : &operands[i]);
    types.push_back(node->inputs[i] == nullptr ? nullptr : &node->inputs[i]->type);
  }
  LOWP_ASSIGN(Inferred inferred, infer_node(*node, types, inputs, 0));
  LOWP_ASSIGN(std::vector<Tensor> outputs, evaluate_node(*node, inputs, inferred.types));
  return outputs[static_cast<size_t>(v->output_index)];
}

// x / scales: a layer normalization of its own, whose gamma and beta are divided, or a Mul.
Result<ir::Value*> export_scales(ir::Graph& graph, GraphBuilder& b, const ir::Node* node, const Tensor& scales) {
  ir::Value* x = node->inputs[0];
  for (float s : scales.values<float>()) {
    if (!(std::isfinite(s) && s > 0))
      return fail(Code::kCalibration, "the scale of a channel is {}: it has not been observed", s);
  }
  auto divided = [&](const Tensor& of) {
    Tensor y = of.clone();
    for (int64_t c = 0; c < scales.size(); ++c) y.mutable_data<float>()[c] /= scales.data<float>()[c];
    return y;
  };
  ir::Node* norm = x->producer;
  if (!is_op(norm, "LayerNormalization")) {
    const std::vector<float> ones(static_cast<size_t>(scales.size()), 1.0F);
    const Tensor factors = divided(Tensor::from<float>(scales.extents(), ones));
    return b.op("Mul", {x, b.constant(factors, node->name + ":factors")}, {}, kOnnxDomain, node->name + ":equalized");
  }
  std::vector<ir::Value*> operands = norm->inputs;
  for (size_t i = 1; i < operands.size(); ++i) {
    if (operands[i] == nullptr) continue;
    LOWP_ASSIGN(const Tensor of, content(operands[i]));
    if (!of.valid() || of.size() != scales.size())
      return fail(Code::kUnsupported, "the scale or bias of '{}' depends on data", norm->name);
    operands[i] = b.constant(divided(of), operands[i]->name + ":equalized");
  }
  ir::Node* copy = graph.add_node(norm->op, norm->attrs, std::move(operands), 1, norm->name + ":equalized",
                                  const_cast<ir::Node*>(node));
  copy->outputs[0]->type = x->type;
  return copy->outputs[0];
}

ir::Value* export_activation(GraphBuilder& b, const ir::Node* node, ir::Value* x, int64_t levels, float low,
                             float high) {
  const ops::QuantizationSteps steps = ops::activation_steps(low, high, levels);
  const std::string& name = node->name;
  if (levels < 255) {
    const auto limit = [&](int64_t stored) {
      return Tensor::scalar(static_cast<float>(stored - steps.zero) * steps.scale);
    };
    x = b.op("Clip", {x, b.constant(limit(0), name + ":lo"), b.constant(limit(levels), name + ":hi")}, {}, kOnnxDomain,
             name + ":clip");
  }
  ir::Value* s = b.constant(Tensor::scalar(steps.scale), name + ":scale");
  ir::Value* z = b.constant(Tensor::scalar(static_cast<uint8_t>(steps.zero)), name + ":zero_point");
  ir::Value* q = b.op("QuantizeLinear", {x, s, z}, {}, kOnnxDomain, name + ":quantize");
  return b.op("DequantizeLinear", {q, s, z}, {}, kOnnxDomain, name + ":dequantize");
}

ir::Value* export_weights(GraphBuilder& b, const ir::Node* node, int64_t axis, const Tensor& w, const Tensor& low,
                          const Tensor& high) {
  Tensor values = Tensor::zeros(DType::kI8, w.extents());
  Tensor scales = Tensor::zeros(DType::kF32, low.extents());
  for (int64_t c = 0; c < low.size(); ++c)
    scales.mutable_data<float>()[c] = ops::weight_steps(low.data<float>()[c], high.data<float>()[c]).scale;
  int64_t inner = 1;
  for (int i = static_cast<int>(axis) + 1; i < w.rank(); ++i) inner *= w.extent(i);
  for (int64_t i = 0; i < w.size(); ++i) {
    const int64_t c = low.rank() == 0 ? 0 : i / inner % low.size();
    const float steps = std::nearbyint(w.data<float>()[i] / scales.data<float>()[c]);
    values.mutable_data<int8_t>()[i] = static_cast<int8_t>(std::clamp(steps, -127.0F, 127.0F));
  }
  return b.op(
      "DequantizeLinear",
      {b.constant(std::move(values), node->name + ":int8"), b.constant(std::move(scales), node->name + ":scale")},
      {{"axis", axis}}, kOnnxDomain, node->name + ":dequantize");
}

// Transposes of the weights are done now: kernels are bound to weights that stand behind DequantizeLinear itself.
Status move_behind_transposes(ir::Graph& graph, ir::Value* y) {
  const ir::Node* dequantize = y->producer;
  const int64_t axis = dequantize->attrs.get<ops::QuantizeAttrs>().axis;
  for (ir::Node* user : std::vector<ir::Node*>(y->uses)) {
    if (!is_op(user, "Transpose")) continue;
    const Tensor& values = dequantize->inputs[0]->constant;
    const TensorType type = values.type();
    const std::vector<const Tensor*> inputs = {&values};
    const std::vector<const TensorType*> types = {&type};
    LOWP_ASSIGN(Inferred inferred, infer_node(*user, types, inputs, 0));
    LOWP_ASSIGN(std::vector<Tensor> transposed, evaluate_node(*user, inputs, inferred.types));
    const auto& perm = user->attrs.get<ops::TransposeAttrs>().perm;
    int64_t moved = values.rank() - 1 - axis;
    if (perm) moved = std::find(perm->begin(), perm->end(), axis) - perm->begin();
    GraphBuilder b(graph, user);
    ir::Value* z = b.op("DequantizeLinear",
                        {b.constant(std::move(transposed[0]), dequantize->inputs[0]->name), dequantize->inputs[1]},
                        {{"axis", moved}}, kOnnxDomain, dequantize->name);
    graph.replace_uses(user->outputs[0], z);
  }
  return {};
}

Status export_node(ir::Graph& graph, ir::Node* node) {
  const auto a = node->attrs.get<ops::FakeQuantizeAttrs>();
  LOWP_ASSIGN(const Tensor low, content(node->inputs[1]));
  LOWP_ASSIGN(const Tensor high, content(node->inputs[2]));
  if (!low.valid() || !high.valid())
    return error(Code::kUnsupported, "the range depends on data").with_node(node->name);
  GraphBuilder b(graph, node);
  ir::Value* y = nullptr;
  if (a.symmetric) {
    LOWP_ASSIGN(const Tensor w, content(node->inputs[0]));
    if (!w.valid()) return error(Code::kUnsupported, "the weights depend on data").with_node(node->name);
    for (float v : w.values<float>()) {
      if (!std::isfinite(v)) return error(Code::kCalibration, "a weight is {}", v).with_node(node->name);
    }
    const int64_t axis = a.axis < 0 ? a.axis + w.rank() : a.axis;
    y = export_weights(b, node, axis, w, low, high);
  } else {
    const float from = low.data<float>()[0], to = high.data<float>()[0];
    if (!std::isfinite(from) || !std::isfinite(to) || (from == 0 && to == 0))
      return error(Code::kCalibration, "the range is {} to {}: it has not been observed", from, to)
          .with_node(node->name)
          .with_hint("train some steps with ranges that are not frozen");
    ir::Value* x = node->inputs[0];
    if (node->input(3) != nullptr) {
      LOWP_ASSIGN(const Tensor scales, content(node->inputs[3]));
      if (!scales.valid()) return error(Code::kUnsupported, "the scales depend on data").with_node(node->name);
      auto scaled = export_scales(graph, b, node, scales);
      if (!scaled) return std::move(scaled.error()).with_node(node->name);
      x = *scaled;
    }
    y = export_activation(b, node, x, a.levels, from, to);
  }
  graph.replace_uses(node->outputs[0], y);
  graph.erase(node);
  return a.symmetric ? move_behind_transposes(graph, y) : Status();
}

// A channel that training switched off has weights, and with them steps, so small that a bias of common size has more
// of them than 32 bit hold; the layer could not run in INT8. Such a channel's scale is raised to where its bias stays
// below 2^29 steps, as quant/quantize.cc does: what its weights lose is beyond what f32 keeps beside that bias.
Status make_room_for_bias(ir::Graph& graph, const ir::Node* layer) {
  const bool has_bias = (is_op(layer, "Conv") || is_op(layer, "Gemm")) && layer->input(2) != nullptr;
  if (!has_bias) return {};
  const ir::Node* x = layer->inputs[0]->producer;
  ir::Node* w = layer->inputs[1]->producer;
  if (!is_op(x, "DequantizeLinear") || !is_op(w, "DequantizeLinear") || !w->inputs[0]->is_constant() ||
      !w->inputs[1]->is_constant() || !x->inputs[1]->is_constant())
    return {};
  LOWP_ASSIGN(const Tensor bias, content(layer->inputs[2]));
  const Tensor& scales = w->inputs[1]->constant;
  if (!bias.valid() || bias.size() != scales.size()) return {};
  const float of_x = x->inputs[1]->constant.data<float>()[0];
  Tensor raised = scales.clone();
  Tensor values = w->inputs[0]->constant.clone();
  const auto axis = static_cast<int>(w->attrs.get<ops::QuantizeAttrs>().axis);
  int64_t inner = 1;
  for (int i = axis + 1; i < values.rank(); ++i) inner *= values.extent(i);
  bool changed = false;
  for (int64_t c = 0; c < scales.size(); ++c) {
    const float least = std::abs(bias.data<float>()[c]) / of_x * 0x1p-29F;
    if (!(scales.data<float>()[c] < least)) continue;
    raised.mutable_data<float>()[c] = least;
    changed = true;
  }
  if (!changed) return {};
  for (int64_t i = 0; i < values.size(); ++i) {
    const int64_t c = i / inner % scales.size();
    const float steps = static_cast<float>(values.data<int8_t>()[i]) * scales.data<float>()[c];
    values.mutable_data<int8_t>()[i] = static_cast<int8_t>(std::nearbyint(steps / raised.data<float>()[c]));
  }
  graph.set_input(w, 0, graph.add_constant(w->inputs[0]->name, std::move(values)));
  graph.set_input(w, 1, graph.add_constant(w->inputs[1]->name, std::move(raised)));
  return {};
}

}  // namespace

Status export_fake_quantization(ir::Graph& graph) {
  bool found = false;
  for (ir::Node* node : graph.node_list()) {
    if (!is_op(node, "FakeQuantize", kLowpDomain)) continue;
    LOWP_TRY(export_node(graph, node));
    found = true;
  }
  if (!found) return {};
  for (const ir::Node* node : graph.node_list()) LOWP_TRY(make_room_for_bias(graph, node));
  graph.remove_dead();
  return ir::verify(graph);
}

}  // namespace lowp::quant
