// lowp.Linear: x[..., K] times packed weights [K, N], with a fused epilogue. What MatMul and Gemm with constant weights
// become, in every precision.
#include "base/cpu.h"
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
  args.ldc = a.n;
  const bool int8 = args.b_kind == kernels::WeightKind::kS8;
  args.epilogue = make_epilogue(a, ctx, a.n);
  const bool has_bias = ctx.has(kPackedBias);
  const bool has_residual = ctx.has(kPackedResidual);
  const int threads = ctx.threads();
  ctx.set_scratch(kernels::gemm_scratch(args, threads));
  ctx.set_macs(args.m * args.n * args.k);
  ctx.emit(
      fmt::format("gemm.{} {}", operand_kinds(args.a_dtype, ctx.dtype(kPackedWeights)), target_name(active_target())),
      [args, int8, has_bias, has_residual, threads](const StepArgs& s) {
        kernels::GemmArgs call = args;
        call.a = s.inputs[kPackedX];
        call.b = s.inputs[kPackedWeights];
        call.c = s.outputs[0];
        bind_epilogue(call.epilogue, s, int8, has_bias, has_residual);
        kernels::gemm(call, s.scratch, threads);
      });
  return {};
}

}  // namespace

std::vector<OpDef> linear() {
  OpDef def;
  def.name = "Linear";
  def.domain = kLowpDomain;
  def.min_inputs = 2;
  def.max_inputs = 5;
  def.attrs = ir::AttrCodec::of<LinearAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  return {std::move(def)};
}

}  // namespace lowp::ops
