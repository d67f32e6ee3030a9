// lowp.Attention: multi-head attention on fused projections, without transposes.
#include "ops/attention.h"

#include "base/cpu.h"
#include "kernels/attention/attention.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<AttentionAttrs>();
  if (a.heads < 1) return error(Code::kInvalidModel, "heads is {}", a.heads);
  LOWP_TRY(check(a));
  for (size_t i = 0; i < ctx.inputs(); ++i) LOWP_TRY(want_dtype(ctx, i, DType::kF32));
  if (!ctx.has_rank(0) || !ctx.has_rank(1) || !ctx.has_rank(2)) {
    ctx.set_unranked(0, a.out_dtype);
    return {};
  }
  for (size_t i = 0; i < 3; ++i) {
    if (ctx.dims(i).size() != 3)
      return error(Code::kShapeMismatch, "operand {} has shape {}, rank 3 is wanted", i, ctx.type(i).to_string());
    if (ctx.dims(i)[2].known() && ctx.dims(i)[2].value() % a.heads != 0)
      return error(Code::kShapeMismatch, "operand {} has shape {}, which {} heads do not divide", i,
                   ctx.type(i).to_string(), a.heads);
  }
  auto differ = [](const ir::Dim& x, const ir::Dim& y) { return !ir::may_be_equal(x, y); };
  const ir::Dims& q = ctx.dims(0);
  const ir::Dims& k = ctx.dims(1);
  const ir::Dims& v = ctx.dims(2);
  if (differ(q[0], k[0]) || differ(q[0], v[0]) || differ(q[2], k[2]) || differ(k[1], v[1])) {
    return error(Code::kShapeMismatch, "q {}, k {} and v {} do not go together", ctx.type(0).to_string(),
                 ctx.type(1).to_string(), ctx.type(2).to_string());
  }
  if (ctx.has_rank(3)) {
    const ir::Dims& m = ctx.dims(3);
    const ir::Dims full = {q[0], ir::Dim(a.heads), q[1], k[1]};
    if (m.size() > 4 || m.empty() || differ(m.back(), k[1]))
      return error(Code::kShapeMismatch, "mask {} for {} keys", ctx.type(3).to_string(), k[1].to_string());
    for (size_t i = 0; i < m.size(); ++i) {
      const ir::Dim& want = full[4 - m.size() + i];
      if (differ(m[i], want) && m[i].value() != 1)
        return error(Code::kShapeMismatch, "mask {} does not broadcast to {}", ctx.type(3).to_string(),
                     TensorType(DType::kF32, full).to_string());
    }
  }
  ctx.set(0, a.out_dtype, {q[0], q[1], v[2]});
  return {};
}

// Strides of the mask along batch, head and row.
struct MaskStrides {
  int64_t batch = 0, head = 0, row = 0;
};
MaskStrides mask_strides(const Extents& mask) {
  Extents e(4 - mask.size(), 1);
  e.insert(e.end(), mask.begin(), mask.end());
  const Extents s = ir::row_major_strides(e);
  return {e[0] == 1 ? 0 : s[0], e[1] == 1 ? 0 : s[1], e[2] == 1 ? 0 : s[2]};
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<AttentionAttrs>();
  const Extents& q = ctx.in(0).extents();
  const Extents& k = ctx.in(1).extents();
  const Extents& v = ctx.in(2).extents();
  const int64_t d = q[2] / a.heads;
  const int64_t dv = v[2] / a.heads;
  const MaskStrides m = ctx.has(3) ? mask_strides(ctx.in(3).extents()) : MaskStrides{};
  std::vector<double> p(static_cast<size_t>(k[1]));
  for (int64_t b = 0; b < q[0]; ++b) {
    for (int64_t h = 0; h < a.heads; ++h) {
      for (int64_t s = 0; s < q[1]; ++s) {
        double top = -std::numeric_limits<double>::infinity();
        for (int64_t t = 0; t < k[1]; ++t) {
          double sum = 0;
          for (int64_t i = 0; i < d; ++i) {
            sum += static_cast<double>(ctx.in(0).data<float>()[(b * q[1] + s) * q[2] + h * d + i]) *
                   static_cast<double>(ctx.in(1).data<float>()[(b * k[1] + t) * k[2] + h * d + i]);
          }
          sum *= static_cast<double>(a.scale);
          if (ctx.has(3)) sum += static_cast<double>(ctx.in(3).data<float>()[b * m.batch + h * m.head + s * m.row + t]);
          p[static_cast<size_t>(t)] = sum;
          top = std::max(top, sum);
        }
        double total = 0;
        for (double& x : p) total += x = std::exp(x - top);
        for (int64_t i = 0; i < dv; ++i) {
          double sum = 0;
          for (int64_t t = 0; t < k[1]; ++t)
            sum += p[static_cast<size_t>(t)] / total *
                   static_cast<double>(ctx.in(2).data<float>()[(b * v[1] + t) * v[2] + h * dv + i]);
          store_output(a, ctx.out(0), (b * q[1] + s) * v[2] + h * dv + i, static_cast<float>(sum));
        }
      }
    }
  }
  return {};
}

Status lower(LowerContext& ctx) {
  const auto& a = ctx.attrs<AttentionAttrs>();
  kernels::AttentionArgs args;
  const Extents& q = ctx.in(0);
  const Extents& k = ctx.in(1);
  const Extents& v = ctx.in(2);
  args.batch = q[0];
  args.heads = a.heads;
  args.s = q[1];
  args.t = k[1];
  args.d = q[2] / a.heads;
  args.dv = v[2] / a.heads;
  args.scale = a.scale;
  args.q_strides = {q[1] * q[2], q[2], args.d};
  args.k_strides = {k[1] * k[2], k[2], args.d};
  args.v_strides = {v[1] * v[2], v[2], args.dv};
  args.y_strides = {q[1] * v[2], v[2], args.dv};
  args.y_dtype = a.out_dtype;
  args.y_scale = a.out_scale;
  args.y_zero = static_cast<int32_t>(a.out_zero);
  args.y_range = a.range();
  const bool masked = ctx.has(3);
  if (masked) {
    const MaskStrides m = mask_strides(ctx.in(3));
    args.mask_batch = m.batch;
    args.mask_head = m.head;
    args.mask_row = m.row;
  }
  args.s16 = a.s16;
  const int threads = ctx.threads();
  ctx.set_scratch(kernels::attention_scratch(args, threads));
  ctx.set_macs(args.batch * args.heads * args.s * args.t * (args.d + args.dv));
  ctx.emit(fmt::format("attention.{} {}", a.s16 ? "s16" : "f32", target_name(active_target())),
           [args, masked, threads](const StepArgs& s) {
             kernels::AttentionArgs call = args;
             call.q = s.in<float>(0);
             call.k = s.in<float>(1);
             call.v = s.in<float>(2);
             if (masked) call.mask = s.in<float>(3);
             call.y = s.outputs[0];
             kernels::attention(call, s.scratch, threads);
           });
  return {};
}

}  // namespace

std::vector<OpDef> attention() {
  OpDef def;
  def.name = "Attention";
  def.domain = kLowpDomain;
  def.min_inputs = 3;
  def.max_inputs = 4;
  def.attrs = ir::AttrCodec::of<AttentionAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  // A mask has the batch's axis where it has four.
  def.per_item = [](const ir::Node& node) {
    const ir::Value* mask = node.input(3);
    return mask == nullptr || (mask->is_constant() ? mask->type.rank() < 4 : mask->type.rank() == 4);
  };
  def.samples = [] {
    return std::vector<Sample>{
        {{{"heads", int64_t{3}}, {"scale", 0.25F}},
         {{DType::kF32, {2, 7, 48}}, {DType::kF32, {2, 9, 48}}, {DType::kF32, {2, 9, 48}}, {DType::kF32, {2, 1, 1, 9}}},
         1,
         64},
        {{{"heads", int64_t{2}}, {"scale", 0.5F}},
         {{DType::kF32, {1, 33, 64}}, {DType::kF32, {1, 33, 64}}, {DType::kF32, {1, 33, 64}}},
         1,
         64},
        // Values next to a tie may be a step apart: one in units of an epsilon of 255 steps.
        {{{"heads", int64_t{2}},
          {"scale", 0.5F},
          {"out_dtype", ir::dtype_to_onnx(DType::kU8)},
          {"out_scale", 0.01F},
          {"out_zero", int64_t{120}}},
         {{DType::kF32, {1, 5, 64}}, {DType::kF32, {1, 9, 64}}, {DType::kF32, {1, 9, 64}}},
         1,
         64},
        // A few steps of 1/2047, by which scores are off too.
        {{{"heads", int64_t{2}}, {"scale", 0.5F}, {"s16", true}},
         {{DType::kF32, {1, 33, 64}}, {DType::kF32, {1, 41, 64}}, {DType::kF32, {1, 41, 64}}},
         1,
         8.0 / 2047 / 0x1p-23}};
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
