#include "passes/match.h"

#include "ops/bounded_quantize.h"
#include "ops/reference.h"

namespace lowp::passes {

std::optional<double> scalar(const ir::Value* value) {
  if (value == nullptr || !value->is_constant() || value->constant.size() != 1 ||
      dtype_bits(value->constant.dtype()) < 8 || value->constant.dtype() > DType::kBool) {
    return std::nullopt;
  }
  return ops::to_doubles(value->constant)[0];
}

std::optional<std::vector<float>> channel_values(const ir::Value* value, int64_t n, int axis_from_back,
                                                 bool allow_scalar) {
  if (value == nullptr || !value->is_constant() || value->constant.dtype() != DType::kF32) return std::nullopt;
  const Tensor& t = value->constant;
  if (t.size() == 1 && allow_scalar) return std::vector<float>(static_cast<size_t>(n), t.data<float>()[0]);
  if (t.size() != n || t.rank() <= axis_from_back || t.extent(t.rank() - 1 - axis_from_back) != n) return std::nullopt;
  return std::vector<float>(t.data<float>(), t.data<float>() + n);
}

std::optional<TensorQuantization> tensor_quantization(const ir::Node* node) {
  auto scale = scalar(node->input(1));
  if (!scale || node->inputs[1]->constant.dtype() != DType::kF32 || !(*scale > 0) || !std::isfinite(*scale))
    return std::nullopt;
  TensorQuantization q;
  q.scale = static_cast<float>(*scale);
  q.dtype = is_op(node, "QuantizeLinear") ? node->outputs[0]->type.dtype : node->inputs[0]->type.dtype;
  if (q.dtype != DType::kU8 && q.dtype != DType::kI8) return std::nullopt;
  if (is_op(node, "DequantizeLinear") && node->outputs[0]->type.dtype != DType::kF32) return std::nullopt;
  if (is_op(node, "QuantizeLinear") && node->inputs[0]->type.dtype != DType::kF32) return std::nullopt;
  if (node->input(2) != nullptr) {
    auto zero = scalar(node->input(2));
    if (!zero) return std::nullopt;
    q.zero = static_cast<int64_t>(*zero);
  }
  return q;
}

std::optional<ops::OutputQuantization> output_quantization(const ir::Node* node) {
  if (is_op(node, "Quantize", kLowpDomain)) return node->attrs.get<ops::BoundedQuantizeAttrs>();
  if (!is_op(node, "QuantizeLinear")) return std::nullopt;
  const auto q = tensor_quantization(node);
  if (!q) return std::nullopt;
  ops::OutputQuantization out;
  out.out_dtype = q->dtype;
  out.out_scale = q->scale;
  out.out_zero = q->zero;
  return out;
}

}  // namespace lowp::passes
