// Softmax and LogSoftmax along an axis, and their gradients from the result y: lowp.SoftmaxGradient(dy, y) =
// y (dy - sum(dy y)), lowp.LogSoftmaxGradient(dy, y) = dy - exp(y) sum(dy), sums along the axis.
#include "kernels/softmax/softmax.h"

#include "kernels/convert/convert.h"
#include "kernels/softmax/loss.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

struct SoftmaxAttrs {
  int64_t axis = -1;
  bool operator==(const SoftmaxAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::field("axis", &SoftmaxAttrs::axis)); }
};

Status infer(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  if (ctx.has_rank(0))
    LOWP_TRY([&]() -> Status {
      auto a = normalize_axis(ctx.attrs<SoftmaxAttrs>().axis, static_cast<int64_t>(ctx.dims(0).size()));
      return a ? Status() : a.error();
    }());
  return infer_same_as_input(ctx);
}

template <bool kLog>
Status reference(EvalContext& ctx) {
  const Tensor& x = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<SoftmaxAttrs>().axis, x.rank()));
  const int64_t n = x.extent(static_cast<int>(axis));
  int64_t inner = 1;
  for (int i = static_cast<int>(axis) + 1; i < x.rank(); ++i) inner *= x.extent(i);
  const int64_t outer = n * inner == 0 ? 0 : x.size() / (n * inner);
  return dispatch_float(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        const T* in = x.data<T>() + o * n * inner + i;
        T* out = ctx.out(0).mutable_data<T>() + o * n * inner + i;
        auto at = [&](int64_t k) { return static_cast<double>(static_cast<compute_t<T>>(in[k * inner])); };
        double top = -std::numeric_limits<double>::infinity();
        for (int64_t k = 0; k < n; ++k) top = std::max(top, at(k));
        double sum = 0;
        for (int64_t k = 0; k < n; ++k) sum += std::exp(at(k) - top);
        for (int64_t k = 0; k < n; ++k) {
          const double v = kLog ? at(k) - top - std::log(sum) : std::exp(at(k) - top) / sum;
          out[k * inner] = static_cast<T>(static_cast<compute_t<T>>(v));
        }
      }
    }
    return {};
  });
}

template <bool kLog>
Status lower(LowerContext& ctx) {
  const Extents& x = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<SoftmaxAttrs>().axis, static_cast<int64_t>(x.size())));
  const DType dtype = ctx.dtype(0);
  if (!kernels::is_stored_float(dtype) || axis != static_cast<int64_t>(x.size()) - 1 || x.back() == 0) return {};
  if (dtype != DType::kF32) {
    const int64_t n = x.back();
    const int64_t rows = ctx.in_size(0) / n;
    const int threads = ctx.threads();
    ctx.allow_in_place(0, 0);
    ctx.emit(fmt::format("softmax.{}", dtype_name(dtype)), [dtype, rows, n, threads](const StepArgs& s) {
      kernels::softmax_stored(dtype, kLog, s.inputs[0], s.outputs[0], rows, n, threads);
    });
    return {};
  }
  kernels::SoftmaxArgs args;
  args.n = args.x_stride = args.y_stride = x.back();
  args.rows = ctx.in_size(0) / args.n;
  args.log = kLog;
  const int threads = ctx.threads();
  ctx.allow_in_place(0, 0);
  ctx.emit("softmax.f32", [args, threads](const StepArgs& s) {
    kernels::SoftmaxArgs call = args;
    call.x = s.in<float>(0);
    call.y = s.out<float>(0);
    kernels::softmax_f32(call, threads);
  });
  return {};
}

template <bool kLog>
Status gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op(kLog ? "LogSoftmaxGradient" : "SoftmaxGradient", {g.grad_out(), g.out()},
                                  {{"axis", g.attrs<SoftmaxAttrs>().axis}}, kLowpDomain));
  return {};
}

Status infer_gradient(InferContext& ctx) {
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  return infer(ctx);
}
template <bool kLog>
Status reference_gradient(EvalContext& ctx) {
  const Tensor& dy = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<SoftmaxAttrs>().axis, dy.rank()));
  const int64_t n = dy.extent(static_cast<int>(axis));
  int64_t inner = 1;
  for (int i = static_cast<int>(axis) + 1; i < dy.rank(); ++i) inner *= dy.extent(i);
  const auto d = to_doubles(dy);
  const auto y = to_doubles(ctx.in(1));
  return dispatch_float(dy.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t row = 0; row < (n == 0 ? 0 : dy.size() / n); ++row) {
      auto at = [&](int64_t k) { return static_cast<size_t>((row / inner * n + k) * inner + row % inner); };
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) sum += d[at(k)] * (kLog ? 1 : y[at(k)]);
      for (int64_t k = 0; k < n; ++k) {
        const double v = kLog ? d[at(k)] - std::exp(y[at(k)]) * sum : y[at(k)] * (d[at(k)] - sum);
        ctx.out(0).mutable_data<T>()[at(k)] = static_cast<T>(static_cast<compute_t<T>>(v));
      }
    }
    return {};
  });
}
template <bool kLog>
Status lower_gradient(LowerContext& ctx) {
  const Extents& x = ctx.in(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<SoftmaxAttrs>().axis, static_cast<int64_t>(x.size())));
  // Dimensions of 1 behind the axis change nothing.
  int64_t inner = 1;
  for (size_t i = static_cast<size_t>(axis) + 1; i < x.size(); ++i) inner *= x[i];
  const int64_t n = x[static_cast<size_t>(axis)];
  if (!kernels::is_stored_float(ctx.dtype(0)) || inner != 1 || n == 0) return {};
  kernels::SoftmaxGradientArgs args;
  args.n = n;
  args.rows = ctx.in_size(0) / n;
  args.dtype = ctx.dtype(0);
  args.log = kLog;
  const int threads = ctx.threads();
  ctx.allow_in_place(0, 0);
  ctx.emit(fmt::format("softmax_gradient.{}", dtype_name(ctx.dtype(0))), [args, threads](const StepArgs& s) {
    kernels::SoftmaxGradientArgs call = args;
    call.dy = s.inputs[0];
    call.y = s.inputs[1];
    call.dx = s.outputs[0];
    kernels::softmax_gradient(call, threads);
  });
  return {};
}
template <bool kLog>
OpDef gradient_op() {
  OpDef def;
  def.name = kLog ? "LogSoftmaxGradient" : "SoftmaxGradient";
  def.domain = kLowpDomain;
  def.min_inputs = def.max_inputs = 2;
  def.attrs = ir::AttrCodec::of<SoftmaxAttrs>();
  def.infer = infer_gradient;
  def.reference = reference_gradient<kLog>;
  def.lower = lower_gradient<kLog>;
  def.samples = [] {
    const double low = kLog ? -8 : 0;
    const double high = kLog ? 0 : 1;
    return std::vector<Sample>{
        {{}, {{DType::kF32, {5, 37}}, {DType::kF32, {5, 37}, low, high}}},
        {{{"axis", int64_t{1}}}, {{DType::kF32, {3, 9, 5}}, {DType::kF32, {3, 9, 5}, low, high}}},
        {{}, {{DType::kBF16, {2, 3, 65}}, {DType::kBF16, {2, 3, 65}, low, high}}}};
  };
  return def;
}

// Before opset 13 the tensor was flattened to 2-d at axis (default 1). The same as axis -1 where that is the last axis.
Status upgrade(ImportedNode& node) {
  if (node.version >= 13) return {};
  const auto* axis_attr = node.attrs.contains("axis") ? std::get_if<int64_t>(&node.attrs["axis"]) : nullptr;
  int64_t axis = axis_attr != nullptr ? *axis_attr : 1;
  const ir::Value* x = node.inputs.empty() ? nullptr : node.inputs[0];
  if (x != nullptr && x->type.has_rank() && axis >= 0 && axis == x->type.rank() - 1) axis = -1;
  if (axis != -1) {
    return error(Code::kUnsupported, "softmax of opset {} flattened at axis {}, which is not the last", node.version,
                 axis)
        .with_hint("convert the model to opset 13 or later");
  }
  node.attrs["axis"] = int64_t{-1};
  return {};
}

std::vector<Sample> samples() {
  return {{{}, {{DType::kF32, {5, 37}, -8, 8}}},
          {{{"axis", int64_t{1}}}, {{DType::kF32, {3, 9, 5}, -8, 8}}},
          {{}, {{DType::kF32, {2, 3, 128}, -80, 80}}},
          {{}, {{DType::kBF16, {2, 3, 37}, -8, 8}}}};
}

}  // namespace

std::vector<OpDef> softmax() {
  OpDef soft;
  soft.name = "Softmax";
  soft.attrs = ir::AttrCodec::of<SoftmaxAttrs>();
  soft.infer = infer;
  soft.reference = reference<false>;
  soft.gradient = gradient<false>;
  soft.lower = lower<false>;
  soft.upgrade = upgrade;
  soft.samples = samples;
  OpDef log_soft = soft;
  log_soft.name = "LogSoftmax";
  log_soft.reference = reference<true>;
  log_soft.lower = lower<true>;
  log_soft.gradient = gradient<true>;
  return {std::move(soft), std::move(log_soft), gradient_op<false>(), gradient_op<true>()};
}

}  // namespace lowp::ops
