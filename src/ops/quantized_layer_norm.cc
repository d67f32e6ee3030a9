// lowp.LayerNorm: what LayerNormalization becomes where an INT8 layer reads it (passes/fuse_quantization.cc).
#include "ops/quantized_layer_norm.h"

#include "kernels/norm/norm.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

constexpr size_t kScale = 1, kBias = 2, kPlainScale = 3, kPlainBias = 4;

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<QuantizedLayerNormAttrs>();
  LOWP_TRY(check(a));
  if (a.out_dtype == DType::kF32) return error(Code::kInvalidModel, "the result is not quantized");
  LOWP_TRY(want_dtype(ctx, 0, DType::kF32));
  if (!ctx.has_rank(0)) {
    ctx.set_unranked(0, a.out_dtype);
    if (ctx.outputs() > 1) ctx.set_unranked(1, DType::kF32);
    return {};
  }
  const ir::Dims& x = ctx.dims(0);
  if (ctx.has(kPlainBias) && !ctx.has(kPlainScale)) return error(Code::kInvalidModel, "plain_bias without plain_scale");
  for (size_t i = 1; i < ctx.inputs(); ++i) {
    if (!ctx.has(i)) continue;
    LOWP_TRY(want_dtype(ctx, i, DType::kF32));
    if (x.empty() || !ctx.type(i).concrete() || ctx.dims(i).size() != 1 ||
        (x.back().known() && x.back().value() != ctx.dims(i)[0].value())) {
      return error(Code::kShapeMismatch, "input {} and operand {} of {} do not go together", ctx.type(0).to_string(), i,
                   ctx.type(i).to_string());
    }
  }
  ctx.set(0, a.out_dtype, x);
  if (ctx.outputs() > 1) ctx.set(1, DType::kF32, x);
  return {};
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<QuantizedLayerNormAttrs>();
  const Tensor& x = ctx.in(0);
  const int64_t n = ctx.in(kScale).size();
  const bool plain = ctx.wants(1);
  const size_t plain_scale = ctx.has(kPlainScale) ? kPlainScale : kScale;
  const size_t plain_bias = ctx.has(kPlainScale) ? kPlainBias : kBias;
  for (int64_t first = 0; first < x.size(); first += n) {
    const float* row = x.data<float>() + first;
    double sum = 0;
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(row[i]);
    const double mean = sum / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) squares += std::pow(static_cast<double>(row[i]) - mean, 2);
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(a.epsilon));
    const auto affine = [&](int64_t i, size_t scale, size_t bias) {
      const double v = (static_cast<double>(row[i]) - mean) * inverse;
      return v * static_cast<double>(ctx.in(scale).data<float>()[i]) +
             (ctx.has(bias) ? static_cast<double>(ctx.in(bias).data<float>()[i]) : 0);
    };
    for (int64_t i = 0; i < n; ++i) {
      store_output(a, ctx.out(0), first + i, affine(i, kScale, kBias));
      if (plain) ctx.out(1).mutable_data<float>()[first + i] = static_cast<float>(affine(i, plain_scale, plain_bias));
    }
  }
  return {};
}

Status lower(LowerContext& ctx) {
  const auto& a = ctx.attrs<QuantizedLayerNormAttrs>();
  kernels::LayerNormArgs args;
  args.n = ctx.in_size(kScale);
  if (args.n == 0) return {};
  args.rows = ctx.in_size(0) / args.n;
  args.eps = a.epsilon;
  args.q_dtype = a.out_dtype;
  args.q_scale = a.out_scale;
  args.q_zero = static_cast<int32_t>(a.out_zero);
  args.q_range = a.range();
  const bool bias = ctx.has(kBias);
  const bool plain = ctx.wants(1);
  const bool own = ctx.has(kPlainScale);
  const bool own_bias = ctx.has(kPlainBias);
  const int threads = ctx.threads();
  ctx.emit("layer_norm.f32", [args, bias, plain, own, own_bias, threads](const StepArgs& s) {
    kernels::LayerNormArgs call = args;
    call.x = s.in<float>(0);
    call.gamma = s.in<float>(kScale);
    if (bias) call.beta = s.in<float>(kBias);
    call.quantized = s.outputs[0];
    if (plain) call.y = s.out<float>(1);
    if (own) {
      call.q_gamma = call.gamma;
      call.q_beta = call.beta;
      call.gamma = s.in<float>(kPlainScale);
      call.beta = own_bias ? s.in<float>(kPlainBias) : nullptr;
    }
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
  def.max_inputs = 5;
  def.max_outputs = 2;
  def.attrs = ir::AttrCodec::of<QuantizedLayerNormAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  def.per_item = per_item_by_rank;
  def.samples = [] {
    auto sample = [](DType dtype, int64_t zero, int64_t high, bool bias, size_t outputs = 1) {
      Sample s;
      s.outputs = outputs;
      s.attrs = {{"out_dtype", ir::dtype_to_onnx(dtype)}, {"out_scale", 0.05F}, {"out_zero", zero}, {"out_high", high}};
      s.inputs = {{DType::kF32, {3, 5, 37}}, {DType::kF32, {37}}};
      if (bias) s.inputs.push_back({DType::kF32, {37}});
      for (size_t i = 1; i < s.inputs.size(); ++i) s.inputs[i].constant = true;
      return s;
    };
    Sample twins = sample(DType::kU8, 120, 255, true, 2);
    for (int i = 0; i < 2; ++i) twins.inputs.push_back(twins.inputs[1]);
    return std::vector<Sample>{sample(DType::kU8, 60, 127, true), sample(DType::kI8, -3, 255, false),
                               sample(DType::kU8, 60, 127, true, 2), std::move(twins)};
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
