// lowp.MaxPoolGradient(dy, x) with MaxPool's attributes: each dy goes to the greatest tap of its window, the first in
// row-major order where several are, found again from x.
// lowp.AveragePoolGradient(dy) with AveragePool's attributes and input_shape, the spatial extents of x: each dy is
// spread evenly over its window. The gradients of the global pools are those with the image as the window.
#include "kernels/convert/convert.h"
#include "ops/pool.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

struct AverageGradientAttrs : PoolAttrs {
  std::vector<int64_t> input_shape;
  bool operator==(const AverageGradientAttrs&) const = default;
  static constexpr auto fields() {
    using S = AverageGradientAttrs;
    return std::tuple(ir::field("auto_pad", static_cast<std::string S::*>(&S::auto_pad)),
                      ir::field("kernel_shape", static_cast<std::vector<int64_t> S::*>(&S::kernel_shape)),
                      ir::field("strides", static_cast<std::vector<int64_t> S::*>(&S::strides)),
                      ir::field("dilations", static_cast<std::vector<int64_t> S::*>(&S::dilations)),
                      ir::field("pads", static_cast<std::vector<int64_t> S::*>(&S::pads)),
                      ir::field("ceil_mode", static_cast<bool S::*>(&S::ceil_mode)),
                      ir::field("count_include_pad", static_cast<bool S::*>(&S::count_include_pad)),
                      ir::field("storage_order", static_cast<int64_t S::*>(&S::storage_order)),
                      ir::required_field("input_shape", &S::input_shape));
  }
};

// dy against the output of a pool over `spatial`.
Status check_output(const InferContext& ctx, const PoolAttrs& a, const ir::Dims& spatial) {
  LOWP_ASSIGN(Window window, resolve_window(a, a.kernel_shape, spatial, a.ceil_mode));
  if (!ctx.has_rank(0)) return {};
  const std::span<const ir::Dim> dy = ctx.dims(0);
  if (dy.size() < 2 || !ir::may_be_equal(dy.subspan(2), window.out))
    return error(Code::kShapeMismatch, "dy has type {}, the pool's output is {}", ctx.type(0).to_string(),
                 TensorType(ctx.dtype(0), window.out).to_string());
  return {};
}

Status infer_max(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 1));
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  if (ctx.has_rank(1)) {
    const ir::Dims& x = ctx.dims(1);
    if (x.size() < 3)
      return error(Code::kShapeMismatch, "x has type {}, rank 3 or more is wanted", ctx.type(1).to_string());
    LOWP_TRY(check_output(ctx, ctx.attrs<PoolAttrs>(), ir::Dims(x.begin() + 2, x.end())));
  }
  ctx.set(0, ctx.type(1));
  return {};
}
Status infer_average(InferContext& ctx) {
  const auto& a = ctx.attrs<AverageGradientAttrs>();
  LOWP_TRY(want_float(ctx, 0));
  ir::Dims out(2);
  for (int64_t n : a.input_shape) out.push_back(ir::Dim(n));
  LOWP_TRY(check_output(ctx, a, ir::Dims(out.begin() + 2, out.end())));
  if (ctx.has_rank(0)) std::copy_n(ctx.dims(0).begin(), 2, out.begin());
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}

Status store(const std::vector<double>& sums, Tensor& out) {
  return dispatch_float(out.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < sums.size(); ++i)
      out.mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(sums[i]));
    return {};
  });
}
Status max_gradient(EvalContext& ctx) {
  const std::vector<double> dy = to_doubles(ctx.in(0));
  const std::vector<double> x = to_doubles(ctx.in(1));
  std::vector<double> dx(x.size());
  LOWP_TRY(for_each_window(ctx.attrs<PoolAttrs>(), ctx.in(1).extents(), ctx.in(0).extents(),
                           [&](int64_t i, int64_t plane, const std::vector<int64_t>& inside, int64_t) {
                             if (inside.empty()) return;
                             size_t best = static_cast<size_t>(plane + inside[0]);
                             for (int64_t offset : inside) {
                               const auto at = static_cast<size_t>(plane + offset);
                               if (x[at] > x[best] || (x[at] != x[at] && x[best] == x[best])) best = at;
                             }
                             dx[best] += dy[static_cast<size_t>(i)];
                           }));
  return store(dx, ctx.out(0));
}
Status average_gradient(EvalContext& ctx) {
  const auto& a = ctx.attrs<AverageGradientAttrs>();
  const std::vector<double> dy = to_doubles(ctx.in(0));
  std::vector<double> dx(static_cast<size_t>(ctx.out(0).size()));
  LOWP_TRY(for_each_window(a, ctx.out(0).extents(), ctx.in(0).extents(),
                           [&](int64_t i, int64_t plane, const std::vector<int64_t>& inside, int64_t padding) {
                             const auto count =
                                 static_cast<int64_t>(inside.size()) + (a.count_include_pad ? padding : 0);
                             for (int64_t offset : inside)
                               dx[static_cast<size_t>(plane + offset)] +=
                                   dy[static_cast<size_t>(i)] / static_cast<double>(count);
                           }));
  return store(dx, ctx.out(0));
}

bool has_kernel(const LowerContext& ctx) {
  return ctx.in_layout(0) == ir::Layout::kChannelsLast && ctx.out_layout(0) == ir::Layout::kChannelsLast &&
         (ctx.in(0).size() == 3 || ctx.in(0).size() == 4) && kernels::is_stored_float(ctx.dtype(0)) &&
         ctx.in_size(0) > 0 && ir::element_count(ctx.out(0)) > 0;
}
Status lower_max(LowerContext& ctx) {
  if (!has_kernel(ctx)) return {};
  LOWP_ASSIGN(kernels::PoolArgs args, pool_args(ctx.attrs<PoolAttrs>(), ctx.in(1), ctx.in(0)));
  const DType dtype = ctx.dtype(0);
  const int threads = ctx.threads();
  ctx.set_scratch(kernels::max_pool_gradient_scratch(args, dtype, threads));
  ctx.emit("pool.max_gradient", [args, dtype, threads](const StepArgs& s) {
    kernels::max_pool_gradient(args, dtype, s.inputs[0], s.inputs[1], s.outputs[0], s.scratch, threads);
  });
  return {};
}
Status lower_average(LowerContext& ctx) {
  if (!has_kernel(ctx)) return {};
  LOWP_ASSIGN(kernels::PoolArgs args, pool_args(ctx.attrs<AverageGradientAttrs>(), ctx.out(0), ctx.in(0)));
  if (!kernels::average_pool_gradient_supported(args)) return {};
  const DType dtype = ctx.dtype(0);
  const int threads = ctx.threads();
  ctx.emit("pool.average_gradient", [args, dtype, threads](const StepArgs& s) {
    kernels::average_pool_gradient(args, dtype, s.inputs[0], s.outputs[0], threads);
  });
  return {};
}
// The gradient is linear in dy: its own is the pool.
Status average_gradient_gradient(GradContext& g) {
  const PoolAttrs& a = g.attrs<AverageGradientAttrs>();
  g.set_grad_in(0, g.builder().op("AveragePool", {g.grad_out()},
                                  ir::AttrCodec::of<PoolAttrs>().write(ir::Attrs::make(PoolAttrs(a)))));
  return {};
}

std::vector<Sample> gradient_samples(bool max) {
  using Ints = std::vector<int64_t>;
  struct Geometry {
    AttrMap attrs;
    Extents x, y;
  };
  std::vector<Geometry> list = {
      {{{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}},
       {2, 17, 9, 11},
       {2, 17, 5, 6}},
      {{{"kernel_shape", Ints{2, 3}}, {"ceil_mode", int64_t{1}}, {"strides", Ints{3, 3}}}, {1, 5, 8, 10}, {1, 5, 3, 4}},
      {{{"kernel_shape", Ints{5, 7}}}, {2, 19, 5, 7}, {2, 19, 1, 1}},
      {{{"kernel_shape", Ints{3}}}, {2, 5, 9}, {2, 5, 7}}};
  std::vector<Sample> samples;
  for (Geometry& g : list) {
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      Sample s{g.attrs, {{dtype, g.y}}};
      if (max)
        s.inputs.push_back({dtype, g.x});
      else
        s.attrs["input_shape"] = Ints(g.x.begin() + 2, g.x.end());
      samples.push_back(std::move(s));
    }
  }
  return samples;
}

}  // namespace

std::vector<OpDef> pool_gradient() {
  OpDef max;
  max.name = "MaxPoolGradient";
  max.domain = kLowpDomain;
  max.min_inputs = max.max_inputs = 2;
  max.attrs = ir::AttrCodec::of<PoolAttrs>();
  max.infer = infer_max;
  max.reference = max_gradient;
  max.lower = lower_max;
  max.layout = LayoutRule::kChannelsLast;
  max.channels_last_inputs = 3;
  max.per_item = always_per_item;
  max.samples = [] { return gradient_samples(true); };

  OpDef average;
  average.name = "AveragePoolGradient";
  average.domain = kLowpDomain;
  average.attrs = ir::AttrCodec::of<AverageGradientAttrs>();
  average.infer = infer_average;
  average.reference = average_gradient;
  average.gradient = average_gradient_gradient;
  average.lower = lower_average;
  average.layout = LayoutRule::kChannelsLast;
  average.per_item = always_per_item;
  average.samples = [] { return gradient_samples(false); };
  return {std::move(max), std::move(average)};
}

}  // namespace lowp::ops
