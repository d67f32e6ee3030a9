// lowp.Embedding(rows s8 [V, D], scale f32 [V], indices): rows by index, dequantized. What Gather from a large constant
// table becomes in INT8. The result may be quantized again, for an INT8 layer that reads it.
#include "ops/embedding.h"

#include "ops/indices.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<EmbeddingAttrs>();
  LOWP_TRY(check(a));
  LOWP_TRY(want_dtype(ctx, 0, DType::kI8));
  LOWP_TRY(want_dtype(ctx, 1, DType::kF32));
  if (ctx.dtype(2) != DType::kI64 && ctx.dtype(2) != DType::kI32)
    return error(Code::kTypeMismatch, "indices have dtype {}, i32 or i64 is wanted", dtype_name(ctx.dtype(2)));
  if (!ctx.type(0).concrete() || ctx.dims(0).size() != 2 || !ctx.type(1).concrete() ||
      ctx.type(1).extents() != Extents{ctx.dims(0)[0].value()}) {
    return error(Code::kShapeMismatch, "rows {} and scales {} do not go together", ctx.type(0).to_string(),
                 ctx.type(1).to_string());
  }
  if (!ctx.has_rank(2)) {
    ctx.set_unranked(0, a.out_dtype);
    return {};
  }
  ir::Dims out = ctx.dims(2);
  out.push_back(ctx.dims(0)[1]);
  ctx.set(0, a.out_dtype, std::move(out));
  return {};
}

Status reference(EvalContext& ctx) {
  const int64_t limit = ctx.in(0).extent(0);
  const int64_t n = ctx.in(0).extent(1);
  const auto& a = ctx.attrs<EmbeddingAttrs>();
  int64_t at = 0;
  for (int64_t i : ctx.in(2).to_int64s()) {
    if (i < -limit || i >= limit) return error(Code::kInvalidArgument, "index {} is outside an axis of {}", i, limit);
    if (i < 0) i += limit;
    for (int64_t k = 0; k < n; ++k)
      store_output(a, ctx.out(0), at++,
                   static_cast<float>(ctx.in(0).data<int8_t>()[i * n + k]) * ctx.in(1).data<float>()[i]);
  }
  return {};
}

Status lower(LowerContext& ctx) {
  kernels::GatherS8Args args;
  args.limit = ctx.in(0)[0];
  args.n = ctx.in(0)[1];
  args.count = ir::element_count(ctx.in(2));
  args.index_dtype = ctx.dtype(2);
  const auto& a = ctx.attrs<EmbeddingAttrs>();
  args.y_dtype = a.out_dtype;
  args.y_scale = a.out_scale;
  args.y_zero = static_cast<int32_t>(a.out_zero);
  args.y_range = a.range();
  args.y_ld = ctx.row_pitch();
  const int threads = ctx.threads();
  ctx.emit("gather.s8", [args, threads](const StepArgs& s) {
    if (!indices_fit(s, 2, args.index_dtype, args.count, args.limit)) return;
    kernels::GatherS8Args call = args;
    call.x = s.in<int8_t>(0);
    call.scale = s.in<float>(1);
    call.indices = s.inputs[2];
    call.y = s.outputs[0];
    kernels::gather_s8(call, threads);
  });
  return {};
}

}  // namespace

std::vector<OpDef> embedding() {
  OpDef def;
  def.name = "Embedding";
  def.domain = kLowpDomain;
  def.min_inputs = def.max_inputs = 3;
  def.attrs = ir::AttrCodec::of<EmbeddingAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  def.per_item = [](const ir::Node& node) { return node.inputs[0]->is_constant() && node.inputs[1]->is_constant(); };
  def.reads_rows = true;
  def.samples = [] {
    Sample s;
    s.inputs = {{DType::kI8, {11, 37}, -127, 127}, {DType::kF32, {11}, 0.001, 0.1}, {DType::kI64, {2, 3}, -11, 10}};
    s.inputs[0].constant = s.inputs[1].constant = true;
    s.tolerance_ulps = 0;
    Sample quantized = s;
    quantized.attrs = {{"out_dtype", ir::dtype_to_onnx(DType::kI8)}, {"out_scale", 0.07F}, {"out_zero", int64_t{3}}};
    return std::vector<Sample>{s, quantized};
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
