// lowp.LayerNormGradient(dy, x, scale, mean, inv_std) {axis} -> dx, dscale, dbias: the gradient of LayerNormalization
// whose scale (and bias) has an element for each normalized element of x. mean and inv_std are outputs 1 and 2 of the
// forward pass. dx has x's type, dscale and dbias have scale's.
#include "kernels/norm/layer_norm_gradient.h"

#include "kernels/convert/convert.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

struct LayerNormGradientAttrs {
  int64_t axis = -1;
  bool operator==(const LayerNormGradientAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::field("axis", &LayerNormGradientAttrs::axis)); }
};

Status infer(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  for (size_t i = 2; i < 5; ++i) LOWP_TRY(want_float(ctx, i));
  ctx.set(0, ctx.type(1));
  for (size_t i = 1; i < ctx.outputs(); ++i) ctx.set(i, ctx.type(2));
  if (!ctx.has_rank(1) || !ctx.has_rank(2)) return {};
  const std::span<const ir::Dim> x = ctx.dims(1);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<LayerNormGradientAttrs>().axis, static_cast<int64_t>(x.size())));
  if (ir::may_be_equal(x.subspan(static_cast<size_t>(axis)), ctx.dims(2))) return {};
  return error(Code::kShapeMismatch, "scale is {}, x {} normalized from axis {} on", ctx.type(2).to_string(),
               ctx.type(1).to_string(), axis);
}

Status reference(EvalContext& ctx) {
  const auto dy = to_doubles(ctx.in(0));
  const auto x = to_doubles(ctx.in(1));
  const auto scale = to_doubles(ctx.in(2));
  const auto mean = to_doubles(ctx.in(3));
  const auto inv_std = to_doubles(ctx.in(4));
  const size_t n = scale.size();
  std::vector<double> dx(x.size());
  std::vector<double> dscale(n, 0.0);
  std::vector<double> dbias(n, 0.0);
  for (size_t r = 0; n > 0 && r < x.size() / n; ++r) {
    auto xhat = [&](size_t i) { return (x[r * n + i] - mean[r]) * inv_std[r]; };
    double a = 0;
    double b = 0;
    for (size_t i = 0; i < n; ++i) {
      const double s = dy[r * n + i] * scale[i];
      a += s / static_cast<double>(n);
      b += s * xhat(i) / static_cast<double>(n);
      dscale[i] += dy[r * n + i] * xhat(i);
      dbias[i] += dy[r * n + i];
    }
    for (size_t i = 0; i < n; ++i) dx[r * n + i] = inv_std[r] * (dy[r * n + i] * scale[i] - a - xhat(i) * b);
  }
  const std::vector<double>* values[] = {&dx, &dscale, &dbias};
  for (size_t k = 0; k < ctx.outputs(); ++k) {
    if (!ctx.wants(k)) continue;
    LOWP_TRY(dispatch_float(ctx.out(k).dtype(), [&](auto tag) -> Status {
      using T = typename decltype(tag)::type;
      for (size_t i = 0; i < values[k]->size(); ++i)
        ctx.out(k).mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>((*values[k])[i]));
      return {};
    }));
  }
  return {};
}

Status lower(LowerContext& ctx) {
  if (!kernels::is_stored_float(ctx.dtype(1))) return {};
  for (size_t i = 2; i < 5; ++i) {
    if (ctx.dtype(i) != DType::kF32) return {};
  }
  kernels::LayerNormGradientArgs args;
  args.n = ctx.in_size(2);
  if (args.n == 0) return {};
  args.rows = ctx.in_size(1) / args.n;
  args.dtype = ctx.dtype(1);
  const int threads = ctx.threads();
  const bool dx = ctx.wants(0);
  const bool dscale = ctx.wants(1);
  const bool dbias = ctx.wants(2);
  ctx.emit(fmt::format("layer_norm_gradient.{}", dtype_name(args.dtype)),
           [args, threads, dx, dscale, dbias](const StepArgs& s) {
             kernels::LayerNormGradientArgs call = args;
             call.dy = s.inputs[0];
             call.x = s.inputs[1];
             call.gamma = s.in<float>(2);
             call.mean = s.in<float>(3);
             call.inv_std = s.in<float>(4);
             if (dx) call.dx = s.outputs[0];
             if (dscale) call.dgamma = s.out<float>(1);
             if (dbias) call.dbeta = s.out<float>(2);
             kernels::layer_norm_gradient(call, threads);
           });
  return {};
}

Sample sample(DType dtype, Extents x, Extents scale) {
  Extents rows(x.begin(), x.end() - static_cast<int64_t>(scale.size()));
  rows.resize(x.size(), 1);
  Sample s;
  s.attrs = {{"axis", -static_cast<int64_t>(scale.size())}};
  s.inputs = {{dtype, x}, {dtype, x}, {DType::kF32, scale, 0.5, 2}, {DType::kF32, rows}, {DType::kF32, rows, 0.3, 2}};
  s.outputs = 3;
  s.tolerance_ulps = 16;  // dx is a difference of terms several times its size
  return s;
}

}  // namespace

std::vector<OpDef> layer_norm_gradient() {
  OpDef def;
  def.name = "LayerNormGradient";
  def.domain = kLowpDomain;
  def.min_inputs = def.max_inputs = 5;
  def.max_outputs = 3;
  def.attrs = ir::AttrCodec::of<LayerNormGradientAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  def.samples = [] {
    return std::vector<Sample>{sample(DType::kF32, {3, 5, 37}, {37}), sample(DType::kF32, {300, 2, 16}, {2, 16}),
                               sample(DType::kBF16, {7, 64}, {64})};
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
