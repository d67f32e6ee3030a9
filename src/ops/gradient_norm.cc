// lowp.GradientNorm and lowp.LossScale: what a training step decides from all gradients together.
//
// GradientNorm operands: 0 loss_scale f32 scalar, by which the gradients are too large; 1... gradients f32.
// Outputs: 0 norm f32, the Euclidean norm of all gradients over the loss scale, infinite where one is not finite; 1
// gradient_scale f32, what the gradients are to be multiplied by: 1 / loss_scale, times clip_norm / norm where
// clip_norm > 0 and the norm is larger (Pascanu et al. 2013); 2 nonfinite i64, the number of the first gradient with an
// infinity or NaN, -1 where there is none.
//
// LossScale (Micikevicius et al. 2018) operands: 0 nonfinite i64; 1 steps i64, taken so far; 2 skipped i64, so far; 3
// scale f32; 4 good i64, steps since the scale changed. Outputs: 0 steps, 1 skipped, 2 scale, 3 good, for the next
// step. A skipped step multiplies the scale by `backoff`, not below `floor`; `interval` good ones by `growth`, not
// above `ceiling`. Interval 0: a static scale.
#include "kernels/optimizer/optimizer.h"
#include "ops/optimizer.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

constexpr size_t kLossScale = 0, kFirstGradient = 1;

struct NormAttrs {
  float clip_norm = 0;
  bool operator==(const NormAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::field("clip_norm", &NormAttrs::clip_norm)); }
};

Status infer_norm(InferContext& ctx) {
  if (!(ctx.attrs<NormAttrs>().clip_norm >= 0))
    return error(Code::kInvalidModel, "clip_norm is {}", ctx.attrs<NormAttrs>().clip_norm);
  for (size_t i = 0; i < ctx.inputs(); ++i) LOWP_TRY(want_dtype(ctx, i, DType::kF32));
  for (size_t i = 0; i < ctx.outputs(); ++i) ctx.set(i, TensorType(i == 2 ? DType::kI64 : DType::kF32, Extents{}));
  return {};
}

struct NormResult {
  float norm = 0, gradient_scale = 1;
};
// From the sum of squares of the unscaled gradients, which means something where all are finite.
NormResult finish(double squares, bool finite, float loss_scale, float clip) {
  NormResult r;
  r.norm = finite ? static_cast<float>(std::sqrt(squares)) : std::numeric_limits<float>::infinity();
  r.gradient_scale = 1.0F / loss_scale;
  if (finite && clip > 0 && r.norm > clip)
    r.gradient_scale =
        static_cast<float>(static_cast<double>(clip) / std::sqrt(squares) / static_cast<double>(loss_scale));
  return r;
}

Status norm(EvalContext& ctx) {
  const float scale = ctx.in(kLossScale).data<float>()[0];
  double squares = 0;
  int64_t nonfinite = -1;
  for (size_t i = kFirstGradient; i < ctx.inputs(); ++i) {
    for (double g : to_doubles(ctx.in(i))) {
      if (!std::isfinite(g) && nonfinite < 0) nonfinite = static_cast<int64_t>(i - kFirstGradient);
      squares += g / static_cast<double>(scale) * g / static_cast<double>(scale);
    }
  }
  const NormResult r = finish(squares, nonfinite < 0, scale, ctx.attrs<NormAttrs>().clip_norm);
  if (ctx.wants(0)) ctx.out(0).mutable_data<float>()[0] = r.norm;
  if (ctx.wants(1)) ctx.out(1).mutable_data<float>()[0] = r.gradient_scale;
  if (ctx.wants(2)) ctx.out(2).mutable_data<int64_t>()[0] = nonfinite;
  return {};
}

Status lower_norm(LowerContext& ctx) {
  const float clip = ctx.attrs<NormAttrs>().clip_norm;
  std::vector<int64_t> sizes;
  int64_t blocks = 1;
  for (size_t i = kFirstGradient; i < ctx.node().inputs.size(); ++i) {
    sizes.push_back(ctx.in_size(i));
    blocks = std::max(blocks, kernels::sum_blocks(sizes.back()));
  }
  ctx.set_scratch(static_cast<size_t>(blocks) * sizeof(double));
  const std::array<bool, 3> wants{ctx.wants(0), ctx.wants(1), ctx.wants(2)};
  const int threads = ctx.threads();
  ctx.emit("gradient_norm.f32", [=](const StepArgs& s) {
    const float scale = *s.in<float>(kLossScale);
    double squares = 0;
    int64_t nonfinite = -1;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const kernels::SquareSum sum = kernels::square_sum(s.in<float>(kFirstGradient + i), 1.0F / scale, sizes[i],
                                                         static_cast<double*>(s.scratch), threads);
      squares += sum.sum;
      if (!sum.finite && nonfinite < 0) nonfinite = static_cast<int64_t>(i);
    }
    const NormResult r = finish(squares, nonfinite < 0, scale, clip);
    if (wants[0]) *s.out<float>(0) = r.norm;
    if (wants[1]) *s.out<float>(1) = r.gradient_scale;
    if (wants[2]) *s.out<int64_t>(2) = nonfinite;
  });
  return {};
}

std::vector<Sample> norm_samples() {
  const SampleInput scale{DType::kF32, {}, 2, 8}, a{DType::kF32, {5, 7}}, b{DType::kF32, {5000}}, c{DType::kF32, {}};
  SampleInput bad{DType::kF32, {2}};
  bad.value = Tensor::from<float>({2}, {1.0F, std::numeric_limits<float>::infinity()});
  return {{{{"clip_norm", 1.0F}}, {scale, a, b, c}, 3}, {{}, {scale, a}, 3}, {{}, {scale, a, bad, bad}, 3}};
}

struct LossScaleAttrs {
  float growth = 2;
  float backoff = 0.5F;
  int64_t interval = 2000;
  float floor = 1;
  float ceiling = 0x1p24F;
  bool operator==(const LossScaleAttrs&) const = default;
  static constexpr auto fields() {
    using S = LossScaleAttrs;
    return std::tuple(ir::field("growth", &S::growth), ir::field("backoff", &S::backoff),
                      ir::field("interval", &S::interval), ir::field("floor", &S::floor),
                      ir::field("ceiling", &S::ceiling));
  }
};
Status infer_scale(InferContext& ctx) {
  const auto& a = ctx.attrs<LossScaleAttrs>();
  if (!(a.growth >= 1) || !(a.backoff > 0 && a.backoff <= 1) || a.interval < 0 || !(a.floor > 0) ||
      !(a.ceiling >= a.floor))
    return error(Code::kInvalidModel, "loss scaling grows by {}, backs off by {}, interval {}, from {} to {}", a.growth,
                 a.backoff, a.interval, a.floor, a.ceiling);
  for (size_t i = 0; i < 5; ++i) {
    LOWP_TRY(want_scalar(ctx, i, i == 3 ? DType::kF32 : DType::kI64));
  }
  for (size_t i = 0; i < ctx.outputs(); ++i) ctx.set(i, TensorType(i == 2 ? DType::kF32 : DType::kI64, Extents{}));
  return {};
}
Status scale(EvalContext& ctx) {
  const auto& a = ctx.attrs<LossScaleAttrs>();
  auto integer = [&](size_t i) { return ctx.in(i).data<int64_t>()[0]; };
  const bool skip = integer(0) >= 0;
  float scale = ctx.in(3).data<float>()[0];
  int64_t good = skip ? 0 : integer(4) + 1;
  if (a.interval > 0 && skip) scale = std::max(scale * a.backoff, a.floor);
  if (a.interval > 0 && good >= a.interval) {
    scale = std::min(scale * a.growth, a.ceiling);
    good = 0;
  }
  const std::array<int64_t, 4> results{integer(1) + (skip ? 0 : 1), integer(2) + (skip ? 1 : 0), 0, good};
  for (size_t i = 0; i < results.size(); ++i) {
    if (!ctx.wants(i)) continue;
    if (i == 2)
      ctx.out(i).mutable_data<float>()[0] = scale;
    else
      ctx.out(i).mutable_data<int64_t>()[0] = results[i];
  }
  return {};
}
std::vector<Sample> scale_samples() {
  auto at = [](int64_t nonfinite, float scale, int64_t good) {
    const SampleInput count{DType::kI64, {}, 0, 9};
    SampleInput n{DType::kI64, {}}, s{DType::kF32, {}}, g{DType::kI64, {}};
    n.value = Tensor::scalar(nonfinite);
    s.value = Tensor::scalar(scale);
    g.value = Tensor::scalar(good);
    return Sample{{{"interval", int64_t{10}}}, {n, count, count, s, g}, 4, 0};
  };
  return {at(-1, 8, 3), at(-1, 8, 9), at(2, 8, 9), at(0, 1, 0)};
}

}  // namespace

std::vector<OpDef> gradient_norm() {
  OpDef norm_def;
  norm_def.name = "GradientNorm";
  norm_def.domain = kLowpDomain;
  norm_def.min_inputs = 2;
  norm_def.max_inputs = 1 << 20;
  norm_def.max_outputs = 3;
  norm_def.attrs = ir::AttrCodec::of<NormAttrs>();
  norm_def.infer = infer_norm;
  norm_def.reference = norm;
  norm_def.lower = lower_norm;
  norm_def.samples = norm_samples;
  OpDef scale_def;
  scale_def.name = "LossScale";
  scale_def.domain = kLowpDomain;
  scale_def.min_inputs = 5;
  scale_def.max_inputs = 5;
  scale_def.max_outputs = 4;
  scale_def.attrs = ir::AttrCodec::of<LossScaleAttrs>();
  scale_def.infer = infer_scale;
  scale_def.reference = scale;
  scale_def.samples = scale_samples;
  return {std::move(norm_def), std::move(scale_def)};
}

}  // namespace lowp::ops
