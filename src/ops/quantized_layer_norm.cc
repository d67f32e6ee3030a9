// lowp.LayerNorm: what LayerNormalization becomes where only an INT8 layer reads it (passes/fuse_quantization.cc).
#include "ops/quantized_layer_norm.h"

#include "kernels/norm/norm.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<QuantizedLayerNormAttrs>();
  LOWP_TRY(check(a));
  LOWP_TRY(want_dtype(ctx, 0, DType::kF32));
  if (!ctx.has_rank(0)) {
    ctx.set_unranked(0, a.out_dtype);
    return {};
  }
  const ir::Dims& x = ctx.dims(0);
  for (size_t i = 1; i < ctx.inputs(); ++i) {
    LOWP_TRY(want_dtype(ctx, i, DType::kF32));
    if (x.empty() || !ctx.type(i).concrete() || ctx.dims(i).size() != 1 ||
        (x.back().known() && x.back().value() != ctx.dims(i)[0].value())) {
      return error(Code::kShapeMismatch, "input {} and operand {} of {} do not go together", ctx.type(0).to_string(), i,
                   ctx.type(i).to_string());
    }
  }
  ctx.set(0, a.out_dtype, x);
  return {};
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<QuantizedLayerNormAttrs>();
  const Tensor& x = ctx.in(0);
  const int64_t n = ctx.in(1).size();
  const float* gamma = ctx.in(1).data<float>();
  const float* beta = ctx.has(2) ? ctx.in(2).data<float>() : nullptr;
  for (int64_t first = 0; first < x.size(); first += n) {
    const float* row = x.data<float>() + first;
    double sum = 0;
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(row[i]);
    const double mean = sum / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) squares += std::pow(static_cast<double>(row[i]) - mean, 2);
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(a.epsilon));
    for (int64_t i = 0; i < n; ++i) {
      const double v = (static_cast<double>(row[i]) - mean) * inverse * static_cast<double>(gamma[i]);
      store_output(a, ctx.out(0), first + i, v + (beta != nullptr ? static_cast<double>(beta[i]) : 0));
    }
  }
  return {};
}

Status lower(LowerContext& ctx) {
  const auto& a = ctx.attrs<QuantizedLayerNormAttrs>();
  kernels::LayerNormArgs args;
  args.n = ctx.in_size(1);
  if (args.n == 0) return {};
  args.rows = ctx.in_size(0) / args.n;
  args.eps = a.epsilon;
  args.q_dtype = a.out_dtype;
  args.q_scale = a.out_scale;
  args.q_zero = static_cast<int32_t>(a.out_zero);
  args.q_range = a.range();
  const bool bias = ctx.has(2);
  const bool quantized = a.out_dtype != DType::kF32;
  const int threads = ctx.threads();
  ctx.emit("layer_norm.f32", [args, bias, quantized, threads](const StepArgs& s) {
    kernels::LayerNormArgs call = args;
    call.x = s.in<float>(0);
    call.gamma = s.in<float>(1);
    if (bias) call.beta = s.in<float>(2);
    if (quantized)
      call.quantized = s.outputs[0];
    else
      call.y = s.out<float>(0);
    kernels::layer_norm_f32(call, threads);
  });
  return {};
}

}  // namespace

std::vector<OpDef> quantized_layer_norm() {
  OpDef def;
  def.name = "LayerNorm";
  def.domain = kLowpDomain;
  def.min_inputs = 2;
  def.max_inputs = 3;
  def.attrs = ir::AttrCodec::of<QuantizedLayerNormAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  def.samples = [] {
    auto sample = [](DType dtype, int64_t zero, int64_t high, bool bias) {
      Sample s;
      s.attrs = {{"out_dtype", ir::dtype_to_onnx(dtype)}, {"out_scale", 0.05F}, {"out_zero", zero}, {"out_high", high}};
      s.inputs = {{DType::kF32, {3, 5, 37}}, {DType::kF32, {37}}};
      if (bias) s.inputs.push_back({DType::kF32, {37}});
      for (size_t i = 1; i < s.inputs.size(); ++i) s.inputs[i].constant = true;
      return s;
    };
    return std::vector<Sample>{sample(DType::kU8, 60, 127, true), sample(DType::kI8, -3, 255, false)};
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
