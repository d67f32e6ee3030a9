// lowp.Linear: x[..., K] times packed weights [K, N], with a fused epilogue. What MatMul and Gemm with constant weights
// become, in every precision.
#include "kernels/gemm/gemm.h"
#include "ops/packed.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<LinearAttrs>();
  if (a.k < 1 || a.n < 1 || a.k > (int64_t{1} << 31) || a.n > (int64_t{1} << 31))
    return error(Code::kInvalidModel, "k is {} and n is {}", a.k, a.n);
  auto kind = weight_kind(ctx.dtype(kPackedWeights));
  if (!kind) return error(Code::kTypeMismatch, "weights have dtype {}", dtype_name(ctx.dtype(kPackedWeights)));
  if (*kind == kernels::WeightKind::kS8 && a.k > kernels::kMaxInt8K)
    return error(Code::kUnsupported, "INT8 with k = {}, more than {} could overflow", a.k, kernels::kMaxInt8K);
  LOWP_TRY(check_packed(ctx, a, a.n, kernels::packed_bytes(*kind, a.k, a.n) / kernels::weight_bytes(*kind)));
  if (!ctx.has_rank(kPackedX)) {
    ctx.set_unranked(0, a.out_dtype);
    return {};
  }
  ir::Dims out = ctx.dims(kPackedX);
  if (out.empty() || (out.back().known() && out.back().value() != a.k)) {
    return error(Code::kShapeMismatch, "input has shape {}, its last dimension should be {}",
                 ctx.type(kPackedX).to_string(), a.k);
  }
  out.back() = ir::Dim(a.n);
  if (ctx.has_rank(kPackedResidual) && ctx.type(kPackedResidual).concrete() &&
      TensorType(DType::kF32, out).concrete() && ctx.dims(kPackedResidual) != out) {
    return error(Code::kShapeMismatch, "residual has shape {}, the output {}", ctx.type(kPackedResidual).to_string(),
                 TensorType(a.out_dtype, out).to_string());
  }
  ctx.set(0, a.out_dtype, std::move(out));
  return {};
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<LinearAttrs>();
  const Tensor& x = ctx.in(kPackedX);
  const Tensor& w = ctx.in(kPackedWeights);
  // INT8: the bias holds -zero point * column sum; s8 inputs are biased by 128 like their zero point.
  const double shift = x.dtype() == DType::kI8 ? 128 : 0;
  const std::vector<double> xs = to_doubles(x);
  for (int64_t m = 0; m < x.size() / a.k; ++m) {
    for (int64_t n = 0; n < a.n; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < a.k; ++k)
        sum += (xs[static_cast<size_t>(m * a.k + k)] + shift) * packed_element(w, 0, k, n, a.k);
      reference_epilogue(ctx, a, sum, n, m * a.n + n);
    }
  }
  return {};
}

Status lower(LowerContext& ctx) {
  const auto& a = ctx.attrs<LinearAttrs>();
  kernels::GemmArgs args;
  args.k = a.k;
  args.n = a.n;
  args.m = ir::element_count(ctx.in(kPackedX)) / a.k;
  args.a_dtype = ctx.dtype(kPackedX);
  args.b_kind = weight_kind(ctx.dtype(kPackedWeights)).value();
  args.int8_class = static_cast<kernels::Int8Class>(a.int8_class);
  args.lda = a.k;
  args.ldc = ctx.row_pitch();
  const bool int8 = args.b_kind == kernels::WeightKind::kS8;
  args.epilogue = make_epilogue(a, ctx, a.n);
  const bool has_bias = ctx.has(kPackedBias);
  const bool has_residual = ctx.has(kPackedResidual);
  const bool has_steps = ctx.has(kPackedSteps);
  const int threads = ctx.threads();
  if (ctx.has_choice()) {
    args.choice = ctx.choose(fmt::format("gemm {}x{}x{} {}", args.m, args.n, args.k, layer_text(a, ctx)),
                             kernels::gemm_candidates(args, threads));
  }
  ctx.set_scratch(kernels::gemm_scratch(args, threads));
  ctx.set_macs(args.m * args.n * args.k);
  ctx.emit(kernel_text("gemm", ctx, args.choice),
           [args, int8, has_bias, has_residual, has_steps, threads](const StepArgs& s) {
             kernels::GemmArgs call = args;
             call.a = s.inputs[kPackedX];
             call.b = s.inputs[kPackedWeights];
             call.c = s.outputs[0];
             bind_epilogue(call.epilogue, s, int8, has_bias, has_residual, has_steps);
             kernels::gemm(call, s.scratch, threads);
           });
  return {};
}

Sample sample(DType x, DType w, Extents x_extents, int64_t n, LinearAttrs a, bool bias, DType residual) {
  a.k = x_extents.back();
  a.n = n;
  const Tensor weights = sample_weights(w, {a.k, n}, sample_weight_limit(a.int8_class));
  Extents out = x_extents;
  out.back() = n;
  Sample s;
  s.attrs = ir::AttrCodec::of<LinearAttrs>().write(ir::Attrs::make(a));
  s.inputs = sample_operands(x, std::move(x_extents), weights, pack_linear_weights(weights, false, w), a, n, a.k, bias);
  if (residual != DType::kInvalid) {
    SampleInput absent;
    absent.absent = true;
    s.inputs.resize(kPackedResidual, absent);
    s.inputs.push_back({residual, out, residual == DType::kU8 ? 0.0 : -2.0, residual == DType::kU8 ? 255.0 : 2.0});
  }
  s.tolerance_ulps = sample_tolerance(w, a.k, a.out_dtype);
  return s;
}

// The sample with an INT8 output whose channels have steps of their own.
Sample with_steps(Sample s, int64_t n) {
  SampleInput absent;
  absent.absent = true;
  s.inputs.resize(kPackedSteps, absent);
  SampleInput steps{DType::kF32, {n}, 20.0, 60.0};
  steps.constant = true;
  steps.differentiable = false;
  s.inputs.push_back(std::move(steps));
  return s;
}

std::vector<Sample> samples() {
  constexpr DType kNone = DType::kInvalid;
  LinearAttrs plain;
  LinearAttrs gelu;
  gelu.activation = "gelu";
  LinearAttrs clip;
  clip.activation = "clip";
  clip.lo = -1;
  clip.hi = 2;
  LinearAttrs bf16 = clip;
  bf16.out_dtype = DType::kBF16;
  LinearAttrs gelu_bf16 = gelu;
  gelu_bf16.out_dtype = DType::kBF16;
  LinearAttrs quantized = clip;
  quantized.out_dtype = DType::kU8;
  quantized.out_scale = 0.03F;
  quantized.out_zero = 40;
  quantized.in_zero = 119;
  quantized.residual_scale = 0.01F;
  quantized.residual_zero = 7;
  LinearAttrs seven = quantized;
  seven.int8_class = static_cast<int64_t>(kernels::Int8Class::kA7Quad);
  seven.in_zero = 60;
  LinearAttrs oct = seven;
  oct.int8_class = static_cast<int64_t>(kernels::Int8Class::kA7Oct);
  LinearAttrs s8 = quantized;
  s8.out_dtype = DType::kI8;
  s8.out_zero = -5;
  s8.in_zero = -3;
  s8.activation = "silu";
  LinearAttrs gelu_u8 = seven;
  gelu_u8.activation = "gelu";
  return {
      sample(DType::kF32, DType::kF32, {3, 5, 37}, 19, gelu, true, DType::kF32),
      sample(DType::kF32, DType::kF32, {70, 300}, 48, plain, false, kNone),
      sample(DType::kF32, DType::kF32, {1}, 1, clip, true, kNone),
      sample(DType::kF32, DType::kBF16, {7, 65}, 33, gelu, true, kNone),
      sample(DType::kBF16, DType::kBF16, {7, 65}, 33, gelu_bf16, true, kNone),
      sample(DType::kBF16, DType::kBF16, {40, 130}, 48, bf16, false, DType::kBF16),
      sample(DType::kBF16, DType::kBF16, {3, 32}, 70, plain, true, DType::kF32),
      sample(DType::kF32, DType::kBF16, {70, 96}, 64, bf16, true, DType::kBF16),
      sample(DType::kF32, DType::kF16, {7, 65}, 33, plain, true, DType::kF32),
      sample(DType::kU8, DType::kI8, {5, 3, 67}, 35, quantized, true, DType::kU8),
      sample(DType::kU8, DType::kI8, {33, 64}, 16, seven, true, kNone),
      sample(DType::kU8, DType::kI8, {33, 72}, 40, oct, true, kNone),
      sample(DType::kU8, DType::kI8, {4, 300}, 21, gelu, true, DType::kF32),
      sample(DType::kI8, DType::kI8, {9, 30}, 17, s8, false, kNone),
      with_steps(sample(DType::kU8, DType::kI8, {9, 30}, 49, gelu_u8, true, kNone), 49),
      with_steps(sample(DType::kI8, DType::kI8, {2, 30}, 17, s8, true, DType::kF32), 17),
  };
}

}  // namespace

std::vector<OpDef> linear() {
  OpDef def;
  def.name = "Linear";
  def.domain = kLowpDomain;
  def.min_inputs = 2;
  def.max_inputs = 6;
  def.attrs = ir::AttrCodec::of<LinearAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  def.per_item = per_item_by_rank;
  def.samples = samples;
  return {std::move(def)};
}

}  // namespace lowp::ops
