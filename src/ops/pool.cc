// MaxPool, AveragePool, LpPool and their global forms.
#include "ops/pool.h"

#include "kernels/convert/convert.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

Status infer_pool(InferContext& ctx) {
  const auto& a = ctx.attrs<PoolAttrs>();
  if (!ctx.has_rank(0)) {
    ctx.set_unranked(0, ctx.dtype(0));
    if (ctx.outputs() > 1) ctx.set_unranked(1, DType::kI64);
    return {};
  }
  const ir::Dims& x = ctx.dims(0);
  if (x.size() < 3)
    return error(Code::kShapeMismatch, "input has shape {}, rank 3 or more is wanted", ctx.type(0).to_string());
  LOWP_ASSIGN(Window window, resolve_window(a, a.kernel_shape, ir::Dims(x.begin() + 2, x.end()), a.ceil_mode));
  ir::Dims out = {x[0], x[1]};
  out.insert(out.end(), window.out.begin(), window.out.end());
  if (ctx.outputs() > 1) ctx.set(1, DType::kI64, out);
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}

Status for_each_window(EvalContext& ctx,
                       const std::function<void(int64_t, int64_t, const std::vector<int64_t>&, int64_t)>& fn) {
  return ops::for_each_window(ctx.attrs<PoolAttrs>(), ctx.in(0).extents(), ctx.out(0).extents(), fn);
}

Status max_pool(EvalContext& ctx) {
  const bool column_major = ctx.attrs<PoolAttrs>().storage_order != 0;
  return dispatch_numeric(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    const Tensor& x = ctx.in(0);
    const int64_t width = x.extent(x.rank() - 1);
    const int64_t height = x.rank() == 4 ? x.extent(2) : 1;
    return for_each_window(ctx, [&](int64_t i, int64_t plane, const std::vector<int64_t>& inside, int64_t) {
      C best =
          std::numeric_limits<C>::has_infinity ? -std::numeric_limits<C>::infinity() : std::numeric_limits<C>::lowest();
      int64_t where = inside.empty() ? 0 : inside[0];
      for (int64_t offset : inside) {
        const C v = static_cast<C>(x.data<T>()[plane + offset]);
        if (v > best || (v != v && best == best)) {
          best = v;
          where = offset;
        }
      }
      ctx.out(0).mutable_data<T>()[i] = static_cast<T>(best);
      if (ctx.wants(1)) {
        ctx.out(1).mutable_data<int64_t>()[i] = plane + (column_major ? where % width * height + where / width : where);
      }
    });
  });
}
Status average_pool(EvalContext& ctx) {
  const bool include_pad = ctx.attrs<PoolAttrs>().count_include_pad;
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    return for_each_window(ctx, [&](int64_t i, int64_t plane, const std::vector<int64_t>& inside, int64_t padding) {
      double sum = 0;
      for (int64_t offset : inside)
        sum += static_cast<double>(static_cast<compute_t<T>>(ctx.in(0).data<T>()[plane + offset]));
      const auto count = static_cast<double>(static_cast<int64_t>(inside.size()) + (include_pad ? padding : 0));
      ctx.out(0).mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(count > 0 ? sum / count : 0));
    });
  });
}

Status infer_global(InferContext& ctx) {
  if (!ctx.has_rank(0)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  ir::Dims out = ctx.dims(0);
  if (out.size() < 3)
    return error(Code::kShapeMismatch, "input has shape {}, rank 3 or more is wanted", ctx.type(0).to_string());
  for (size_t i = 2; i < out.size(); ++i) out[i] = ir::Dim(1);
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status global_average(EvalContext& ctx) {
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const int64_t planes = ctx.in(0).extent(0) * ctx.in(0).extent(1);
    const int64_t image = planes == 0 ? 0 : ctx.in(0).size() / planes;
    for (int64_t p = 0; p < planes; ++p) {
      double sum = 0;
      for (int64_t i = 0; i < image; ++i)
        sum += static_cast<double>(static_cast<compute_t<T>>(ctx.in(0).data<T>()[p * image + i]));
      ctx.out(0).mutable_data<T>()[p] = static_cast<T>(static_cast<compute_t<T>>(sum / static_cast<double>(image)));
    }
    return {};
  });
}
Status global_max(EvalContext& ctx) {
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    const int64_t planes = ctx.in(0).extent(0) * ctx.in(0).extent(1);
    const int64_t image = planes == 0 ? 0 : ctx.in(0).size() / planes;
    for (int64_t p = 0; p < planes; ++p) {
      C best = -std::numeric_limits<C>::infinity();
      for (int64_t i = 0; i < image; ++i) {
        const C v = static_cast<C>(ctx.in(0).data<T>()[p * image + i]);
        if (v > best || v != v) best = v;
      }
      ctx.out(0).mutable_data<T>()[p] = static_cast<T>(best);
    }
    return {};
  });
}
// Spatial extents of x, which a gradient wants to know.
Result<std::vector<int64_t>> image_of(GradContext& g) {
  const TensorType& t = g.in(0)->type;
  std::vector<int64_t> image;
  for (size_t i = 2; t.has_rank() && i < t.dims->size(); ++i) {
    if ((*t.dims)[i].known()) image.push_back((*t.dims)[i].value());
  }
  if (!t.has_rank() || image.size() + 2 != t.dims->size()) {
    return fail(Code::kUnsupported, "the gradient of {} wants known spatial extents, its input is {}",
                op_display_name(*g.node().op), t.to_string());
  }
  return image;
}
AttrMap written(const PoolAttrs& a) { return ir::AttrCodec::of<PoolAttrs>().write(ir::Attrs::make(a)); }

template <bool kMax>
Status pool_gradient_with(GradContext& g, const PoolAttrs& a) {
  AttrMap attrs = written(a);
  if (kMax) {
    g.set_grad_in(0, g.builder().op("MaxPoolGradient", {g.grad_out(), g.in(0)}, attrs, kLowpDomain));
    return {};
  }
  LOWP_ASSIGN(attrs["input_shape"], image_of(g));
  g.set_grad_in(0, g.builder().op("AveragePoolGradient", {g.grad_out()}, attrs, kLowpDomain));
  return {};
}
template <bool kMax>
Status pool_gradient(GradContext& g) {
  return pool_gradient_with<kMax>(g, g.attrs<PoolAttrs>());
}
// The image is the window.
template <bool kMax>
Status global_gradient(GradContext& g) {
  PoolAttrs a;
  LOWP_ASSIGN(a.kernel_shape, image_of(g));
  return pool_gradient_with<kMax>(g, a);
}

bool channels_last(const LowerContext& ctx) {
  return ctx.in_layout(0) == ir::Layout::kChannelsLast && ctx.out_layout(0) == ir::Layout::kChannelsLast &&
         (ctx.in(0).size() == 3 || ctx.in(0).size() == 4);
}
void emit_pool(LowerContext& ctx, const kernels::PoolArgs& args, bool max) {
  const int threads = ctx.threads();
  const DType dtype = ctx.dtype(0);
  ctx.emit(max ? "pool.max" : "pool.average", [args, dtype, threads, max](const StepArgs& s) {
    if (max) {
      kernels::max_pool(args, dtype, s.inputs[0], s.outputs[0], threads);
    } else {
      kernels::average_pool(args, dtype, s.inputs[0], s.outputs[0], threads);
    }
  });
}
template <bool kMax>
Status lower_pool(LowerContext& ctx) {
  const DType t = ctx.dtype(0);
  if (ctx.wants(1) || !channels_last(ctx) ||
      !(kernels::is_stored_float(t) || (kMax && (t == DType::kU8 || t == DType::kI8))))
    return {};
  LOWP_ASSIGN(kernels::PoolArgs args, pool_args(ctx.attrs<PoolAttrs>(), ctx.in(0), ctx.out(0)));
  emit_pool(ctx, args, kMax);
  return {};
}
template <bool kMax>
Status lower_global(LowerContext& ctx) {
  if (!channels_last(ctx) || !kernels::is_stored_float(ctx.dtype(0))) return {};
  const Extents& x = ctx.in(0);
  emit_pool(ctx, kernels::global_pool_args(x[0], x.size() == 4 ? x[2] : 1, x.back(), x[1]), kMax);
  return {};
}

std::vector<Sample> pool_samples() {
  const std::vector<int64_t> three = {3, 3};
  return {
      {{{"kernel_shape", three}, {"strides", std::vector<int64_t>{2, 2}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}}},
       {{DType::kF32, {2, 17, 9, 11}}}},
      {{{"kernel_shape", std::vector<int64_t>{2, 3}}, {"ceil_mode", int64_t{1}}, {"strides", three}},
       {{DType::kF32, {1, 5, 8, 10}}}},
      {{{"kernel_shape", three}, {"strides", std::vector<int64_t>{2, 2}}}, {{DType::kBF16, {2, 17, 9, 11}}}},
      {{{"kernel_shape", std::vector<int64_t>{2}}}, {{DType::kF16, {2, 5, 9}}}}};
}

}  // namespace

Result<kernels::PoolArgs> pool_args(const PoolAttrs& a, const Extents& x, const Extents& y) {
  LOWP_ASSIGN(Window w, resolve_window(a, a.kernel_shape, ir::Dims(x.begin() + 2, x.end()), a.ceil_mode));
  const bool two = x.size() == 4;
  const size_t last = w.rank() - 1;
  kernels::PoolArgs args;
  args.batch = x[0];
  args.channels = x[1];
  args.in_h = two ? x[2] : 1;
  args.in_w = x.back();
  args.out_h = two ? y[2] : 1;
  args.out_w = y.back();
  args.kernel_h = two ? w.kernel[0] : 1;
  args.kernel_w = w.kernel[last];
  args.stride_h = two ? w.strides[0] : 1;
  args.stride_w = w.strides[last];
  args.dilation_h = two ? w.dilations[0] : 1;
  args.dilation_w = w.dilations[last];
  args.pad_top = two ? w.pads_begin[0] : 0;
  args.pad_left = w.pads_begin[last];
  args.pad_bottom = two ? w.pads_end[0] : 0;
  args.pad_right = w.pads_end[last];
  args.count_include_pad = a.count_include_pad;
  return args;
}

Status for_each_window(const PoolAttrs& a, const Extents& x, const Extents& y,
                       const std::function<void(int64_t, int64_t, const std::vector<int64_t>&, int64_t)>& fn) {
  const Extents xs(x.begin() + 2, x.end());
  LOWP_ASSIGN(Window w, resolve_window(a, a.kernel_shape, ir::Dims(xs.begin(), xs.end()), a.ceil_mode));
  const Extents strides = ir::row_major_strides(xs);
  const int64_t image = ir::element_count(xs);
  std::vector<int64_t> inside;
  for_each_index(y, [&](int64_t i, const Extents& index) {
    inside.clear();
    int64_t padding = 0;
    for_each_index(w.kernel, [&](int64_t, const Extents& k) {
      int64_t offset = 0;
      bool in_image = true;
      bool in_padding = true;
      for (size_t d = 0; d < k.size(); ++d) {
        const int64_t p = index[d + 2] * w.strides[d] - w.pads_begin[d] + k[d] * w.dilations[d];
        in_image = in_image && p >= 0 && p < xs[d];
        in_padding = in_padding && p < xs[d] + w.pads_end[d];  // beyond: only ceil_mode reaches there, never counted
        offset += p * strides[d];
      }
      if (in_image) {
        inside.push_back(offset);
      } else if (in_padding) {
        ++padding;
      }
    });
    fn(i, (index[0] * x[1] + index[1]) * image, inside, padding);
  });
  return {};
}

std::vector<OpDef> pool() {
  std::vector<OpDef> defs;
  auto add = [&](const char* name, Status (*infer)(InferContext&), Status (*reference)(EvalContext&),
                 std::vector<Sample> (*samples)()) -> OpDef& {
    OpDef def;
    def.name = name;
    def.infer = infer;
    def.reference = reference;
    def.layout = LayoutRule::kChannelsLast;
    def.per_item = always_per_item;
    def.samples = samples;
    defs.push_back(std::move(def));
    return defs.back();
  };
  {
    OpDef& def = add("MaxPool", infer_pool, max_pool, pool_samples);
    def.max_outputs = 2;
    def.attrs = ir::AttrCodec::of<PoolAttrs>();
    def.quantize = QuantRule::kPassThrough;
    def.gradient = pool_gradient<true>;
    def.lower = lower_pool<true>;
    // Indices count through the whole batch.
    def.per_item = [](const ir::Node& node) { return node.outputs.size() < 2 || node.outputs[1] == nullptr; };
  }
  {
    OpDef& def = add("AveragePool", infer_pool, average_pool, pool_samples);
    def.attrs = ir::AttrCodec::of<PoolAttrs>();
    def.gradient = pool_gradient<false>;
    def.lower = lower_pool<false>;
  }
  auto global_samples = [] { return std::vector<Sample>{{{}, {{DType::kF32, {2, 19, 5, 7}}}}}; };
  {
    OpDef& def = add("GlobalAveragePool", infer_global, global_average, global_samples);
    def.gradient = global_gradient<false>;
    def.lower = lower_global<false>;
  }
  {
    OpDef& def = add("GlobalMaxPool", infer_global, global_max, global_samples);
    def.gradient = global_gradient<true>;
    def.lower = lower_global<true>;
  }
  return defs;
}

}  // namespace lowp::ops
