// lowp.Quantize(x f32) -> u8 or s8: QuantizeLinear with one scale and a range of its own, which is what Clip followed
// by QuantizeLinear becomes (passes/bound_quantization.cc).
#include "ops/bounded_quantize.h"

#include "kernels/quantize/quantize.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<BoundedQuantizeAttrs>();
  LOWP_TRY(check(a));
  if (a.out_dtype == DType::kF32) return error(Code::kInvalidModel, "Quantize gives u8 or s8");
  LOWP_TRY(want_dtype(ctx, 0, DType::kF32));
  TensorType t = ctx.type(0);
  t.dtype = a.out_dtype;
  ctx.set(0, std::move(t));
  return {};
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<BoundedQuantizeAttrs>();
  // The quotient is rounded to float, as kernels compute it.
  for (int64_t i = 0; i < ctx.in(0).size(); ++i) {
    const double steps = static_cast<double>(ctx.in(0).data<float>()[i] / a.out_scale);
    store_output(a, ctx.out(0), i, steps * static_cast<double>(a.out_scale));
  }
  return {};
}

Status lower(LowerContext& ctx) {
  const auto& a = ctx.attrs<BoundedQuantizeAttrs>();
  kernels::QuantizeArgs args;
  args.dtype = a.out_dtype;
  args.inner = ctx.in_size(0);
  args.range = a.range();
  const float scale = a.out_scale;
  const auto zero = static_cast<int32_t>(a.out_zero);
  const int threads = ctx.threads();
  ctx.emit("quantize.f32", [args, scale, zero, threads](const StepArgs& s) {
    kernels::QuantizeArgs call = args;
    call.scale = &scale;
    call.zero_point = &zero;
    kernels::quantize_f32(call, s.in<float>(0), s.outputs[0], threads);
  });
  return {};
}

}  // namespace

std::vector<OpDef> bounded_quantize() {
  OpDef def;
  def.name = "Quantize";
  def.domain = kLowpDomain;
  def.min_inputs = def.max_inputs = 1;
  def.attrs = ir::AttrCodec::of<BoundedQuantizeAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  def.per_item = always_per_item;
  def.layout = LayoutRule::kAny;
  def.samples = [] {
    auto sample = [](DType dtype, int64_t zero, int64_t low, int64_t high) {
      Sample s;
      s.attrs = {{"out_dtype", ir::dtype_to_onnx(dtype)},
                 {"out_scale", 0.013F},
                 {"out_zero", zero},
                 {"out_low", low},
                 {"out_high", high}};
      s.inputs = {{DType::kF32, {3, 35}}};
      s.tolerance_ulps = 0;
      return s;
    };
    return std::vector<Sample>{sample(DType::kU8, 60, 0, 127), sample(DType::kI8, -3, -64, 100)};
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
