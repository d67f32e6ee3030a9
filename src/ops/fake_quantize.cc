// Quantization-aware training (Jacob et al., CVPR 2018).
//
// lowp.FakeQuantize(x, low f32, high f32, scales f32 [C]) {levels, symmetric, axis} -> y, of x's type: x rounded to
// what INT8 stores, and back; see kernels/fake_quantize/fake_quantize.h. low and high are scalars or one number for
// each channel along `axis`; activation_steps() or, where symmetric, weight_steps() makes steps of them. NaN stays NaN.
// The gradient is dy inside the range and 0 outside (Bengio et al. 2013); ranges have none. With scales, whose channels
// lie along the last axis, low and high are scalars, and x / scales is what is rounded: y is not multiplied by them
// again.
//
// lowp.FakeQuantizeGradient(dy, x, low, high, scales), the same attributes -> dx.
//
// lowp.ObserveRange(x, low f32 [], high f32 []) {momentum} -> next low, next high: the extremes of x and 0, averaged:
// low + momentum * (extreme - low); as they are where low == high == 0, which is how ranges begin. NaN is ignored.
#include "ops/fake_quantize.h"

#include "kernels/convert/convert.h"
#include "kernels/fake_quantize/fake_quantize.h"
#include "ops/reference.h"

namespace lowp::ops {

namespace {
// So that a quotient by the scale is finite where the range is that of denormal numbers.
constexpr float kLeastScale = 1e-30F;
constexpr float kMostWeight = 127.0F;
}  // namespace

QuantizationSteps activation_steps(float low, float high, int64_t levels) {
  low = std::min(low, 0.0F);
  high = std::max(high, 0.0F);
  if (!(high > low)) high = low + 1.0F;
  const auto most = static_cast<float>(levels);
  const float scale = std::max((high - low) / most, kLeastScale);
  const float zero = std::nearbyint(-low / scale);
  return {scale, static_cast<int32_t>(zero >= 0 ? std::min(zero, most) : 0)};
}

QuantizationSteps weight_steps(float low, float high) {
  const float largest = std::max(std::abs(low), std::abs(high));
  return {largest > 0 ? std::max(largest / kMostWeight, kLeastScale) : 1.0F, 0};
}

std::pair<float, float> next_range(float momentum, float low, float high, float least, float most) {
  if (low == 0 && high == 0) return {least, most};
  return {std::min(low + momentum * (least - low), 0.0F), std::max(high + momentum * (most - high), 0.0F)};
}

namespace {

Status infer_scales(InferContext& ctx, size_t x) {
  const DType dtype = ctx.dtype(x) == DType::kF64 ? DType::kF64 : DType::kF32;
  LOWP_TRY(want_dtype(ctx, x + 3, dtype));
  for (size_t i = x + 1; i <= x + 2; ++i) LOWP_TRY(want_scalar(ctx, i, dtype));
  if (!ctx.has_rank(x) || !ctx.has_rank(x + 3)) return {};
  if (ctx.type(x).rank() < 1 || ctx.type(x + 3).rank() != 1 ||
      !ir::may_be_equal(ctx.dims(x).back(), ctx.dims(x + 3)[0]))
    return error(Code::kShapeMismatch, "scales have shape {}, one for each of the last extent of {} is wanted",
                 ctx.type(x + 3).to_string(), ctx.type(x).to_string());
  return {};
}
// Operands count from the tensor that is quantized: low is one behind it, high two, scales three.
Status infer_ranges(InferContext& ctx, size_t x) {
  const auto& a = ctx.attrs<FakeQuantizeAttrs>();
  LOWP_TRY(want_float(ctx, x));
  if (a.levels < 1 || a.levels > 255) return error(Code::kInvalidModel, "levels is {}, 1 to 255 is wanted", a.levels);
  for (size_t i = x + 1; i <= x + 2; ++i) {
    LOWP_TRY(want_dtype(ctx, i, ctx.dtype(x) == DType::kF64 ? DType::kF64 : DType::kF32));
    if (!ctx.has_rank(i)) continue;
    if (ctx.type(i).rank() > 1)
      return error(Code::kShapeMismatch, "input {} has shape {}, a scalar or a vector is wanted", i,
                   ctx.type(i).to_string());
    if (ctx.type(i).rank() == 0 || !ctx.has_rank(x)) continue;
    const auto axis = normalize_axis(a.axis, ctx.type(x).rank());
    if (!axis) return axis.error();
    const ir::Dim channels = ctx.dims(x)[static_cast<size_t>(*axis)];
    const ir::Dim have = ctx.dims(i)[0];
    if (!ir::may_be_equal(channels, have))
      return error(Code::kShapeMismatch, "input {} has {} numbers for axis {} of extent {}", i, have.value(), *axis,
                   channels.value());
  }
  if (ctx.has(x + 3)) LOWP_TRY(infer_scales(ctx, x));
  ctx.set(0, ctx.type(x));
  return {};
}
Status infer(InferContext& ctx) { return infer_ranges(ctx, 0); }
Status infer_gradient(InferContext& ctx) {
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  return infer_ranges(ctx, 1);
}

// Scale, least and greatest step of a channel.
struct Range {
  float scale, low, high;
};
Range range_of(const FakeQuantizeAttrs& a, float low, float high) {
  if (a.symmetric) return {weight_steps(low, high).scale, -kMostWeight, kMostWeight};
  const QuantizationSteps s = activation_steps(low, high, a.levels);
  return {s.scale, static_cast<float>(-s.zero), static_cast<float>(a.levels - s.zero)};
}

// As [outer, channels, inner].
struct Split {
  int64_t outer = 1, channels = 1, inner = 1;
};
Split split_of(const FakeQuantizeAttrs& a, const Extents& x, const Extents& low, bool scales) {
  Split s;
  if (low.empty() && !scales) {
    s.inner = ir::element_count(x);
    return s;
  }
  const int64_t along = scales ? -1 : a.axis;
  const auto axis = static_cast<size_t>(along < 0 ? along + static_cast<int64_t>(x.size()) : along);
  for (size_t i = 0; i < x.size(); ++i) (i < axis ? s.outer : i == axis ? s.channels : s.inner) *= x[i];
  return s;
}

// The gradient's operands begin with dy.
Status reference_of(EvalContext& ctx, bool gradient) {
  const auto& a = ctx.attrs<FakeQuantizeAttrs>();
  const size_t first = gradient ? 1 : 0;
  const Tensor& x = ctx.in(first);
  const std::vector<double> low = to_doubles(ctx.in(first + 1)), high = to_doubles(ctx.in(first + 2));
  const bool scaled = ctx.has(first + 3);
  const std::vector<double> scales = scaled ? to_doubles(ctx.in(first + 3)) : std::vector<double>{};
  const Split split = split_of(a, x.extents(), ctx.in(first + 1).extents(), scaled);
  return dispatch_float(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    for (int64_t i = 0; i < x.size(); ++i) {
      const auto c = static_cast<size_t>(i / split.inner % split.channels);
      const size_t of_range = scaled ? 0 : c;
      const Range r = range_of(a, static_cast<float>(low[of_range]), static_cast<float>(high[of_range]));
      const C scale = static_cast<C>(scaled ? r.scale * static_cast<float>(scales[c]) : r.scale);
      const C steps = std::nearbyint(static_cast<C>(x.data<T>()[i]) / scale);
      const C least = static_cast<C>(r.low), most = static_cast<C>(r.high), unit = static_cast<C>(r.scale);
      C result = std::clamp(steps, least, most) * unit;
      if (gradient)
        result = steps >= least && steps <= most ? static_cast<C>(ctx.in(0).data<T>()[i]) * (unit / scale) : C(0);
      ctx.out(0).mutable_data<T>()[i] = static_cast<T>(result);
    }
    return {};
  });
}
Status reference(EvalContext& ctx) { return reference_of(ctx, false); }
Status reference_gradient(EvalContext& ctx) { return reference_of(ctx, true); }

Status lower_of(LowerContext& ctx, bool gradient) {
  const size_t first = gradient ? 1 : 0;
  const DType dtype = ctx.dtype(first);
  if (!kernels::is_stored_float(dtype)) return {};
  const auto a = ctx.attrs<FakeQuantizeAttrs>();
  if (ctx.in(first + 1) != ctx.in(first + 2)) return {};
  const bool scaled = ctx.has(first + 3);
  const Split split = split_of(a, ctx.in(first), ctx.in(first + 1), scaled);
  const int threads = ctx.threads();
  ctx.set_scratch(static_cast<size_t>(split.channels) * 4 * sizeof(float));
  ctx.allow_in_place(0, 0);
  ctx.emit(fmt::format("fake_quantize{}.{}", gradient ? "_gradient" : "", dtype_name(dtype)), [=](const StepArgs& s) {
    auto* scale = static_cast<float*>(s.scratch);
    float *low = scale + split.channels, *high = low + split.channels, *unit = high + split.channels;
    for (int64_t c = 0; c < split.channels; ++c) {
      const int64_t of_range = scaled ? 0 : c;
      const Range r = range_of(a, s.in<float>(first + 1)[of_range], s.in<float>(first + 2)[of_range]);
      scale[c] = scaled ? r.scale * s.in<float>(first + 3)[c] : r.scale;
      unit[c] = r.scale;
      low[c] = r.low;
      high[c] = r.high;
    }
    const kernels::FakeQuantizeArgs args{dtype, split.outer, split.channels, split.inner, scale, low, high, unit};
    if (gradient)
      kernels::fake_quantize_gradient(args, s.inputs[0], s.inputs[1], s.outputs[0], threads);
    else
      kernels::fake_quantize(args, s.inputs[0], s.outputs[0], threads);
  });
  return {};
}
Status lower(LowerContext& ctx) { return lower_of(ctx, false); }
Status lower_gradient(LowerContext& ctx) { return lower_of(ctx, true); }

Status gradient(GradContext& g) {
  if (!g.wants(0)) return {};
  std::vector<ir::Value*> operands = g.node().inputs;
  operands.insert(operands.begin(), g.grad_out());
  g.set_grad_in(0, g.builder().op("FakeQuantizeGradient", std::move(operands), g.node().op->attrs.write(g.node().attrs),
                                  kLowpDomain));
  return {};
}

// Inside the range the gradient is an estimate, not what finite differences give; outside they agree on 0.
std::vector<SampleInput> ranged(DType dtype, Extents extents, Extents channels) {
  SampleInput x{dtype, std::move(extents), -3, 3};
  x.differentiable = false;
  SampleInput low{DType::kF32, channels, -2, 0}, high{DType::kF32, std::move(channels), 0, 2};
  low.differentiable = high.differentiable = false;
  return {x, low, high};
}
std::vector<Sample> samples_of(bool gradient) {
  std::vector<Sample> list;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const AttrMap weights = {{"symmetric", int64_t{1}}, {"axis", int64_t{1}}};
    list.push_back({{}, ranged(dtype, {2, 5, 37}, {})});
    list.push_back({{{"levels", int64_t{127}}}, ranged(dtype, {70}, {})});
    list.push_back({weights, ranged(dtype, {3, 5, 7}, {5})});
    list.push_back({{{"symmetric", int64_t{1}}, {"axis", int64_t{-1}}}, ranged(dtype, {9, 37}, {37})});
    list.push_back({{}, ranged(dtype, {2, 9, 37}, {})});
    list.back().inputs.push_back({DType::kF32, {37}, 0.5, 2});
    list.back().inputs.back().differentiable = false;
  }
  list.push_back({{}, ranged(DType::kF32, {4}, {})});
  for (size_t i : {1, 2}) list.back().inputs[i].value = Tensor::scalar(0.0F);
  list.push_back({{}, ranged(DType::kF32, {6}, {})});
  list.back().inputs[0].low = 5;
  list.back().inputs[0].high = 9;
  list.back().inputs[0].differentiable = true;
  for (Sample& s : list) {
    s.tolerance_ulps = 0;
    if (gradient) s.inputs.insert(s.inputs.begin(), s.inputs[0]);
  }
  return list;
}

// ---- ObserveRange

struct ObserveRangeAttrs {
  float momentum = 0.1F;
  bool operator==(const ObserveRangeAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::field("momentum", &ObserveRangeAttrs::momentum)); }
};

Status infer_observe(InferContext& ctx) {
  const float momentum = ctx.attrs<ObserveRangeAttrs>().momentum;
  LOWP_TRY(want_float(ctx, 0));
  if (!(momentum > 0 && momentum <= 1))
    return error(Code::kInvalidModel, "momentum is {}, above 0 to 1 is wanted", momentum);
  for (size_t i = 1; i < 3; ++i) {
    LOWP_TRY(want_dtype(ctx, i, DType::kF32));
    if (ctx.has_rank(i) && ctx.type(i).rank() != 0)
      return error(Code::kShapeMismatch, "input {} has shape {}, a scalar is wanted", i, ctx.type(i).to_string());
  }
  for (size_t i = 0; i < ctx.outputs(); ++i) ctx.set(i, TensorType(DType::kF32, Extents{}));
  return {};
}

Status observe(EvalContext& ctx) {
  float least = 0, most = 0;
  for (double v : to_doubles(ctx.in(0))) {
    if (v < static_cast<double>(least)) least = static_cast<float>(v);
    if (v > static_cast<double>(most)) most = static_cast<float>(v);
  }
  const auto [low, high] = next_range(ctx.attrs<ObserveRangeAttrs>().momentum, *ctx.in(1).data<float>(),
                                      *ctx.in(2).data<float>(), least, most);
  if (ctx.wants(0)) *ctx.out(0).mutable_data<float>() = low;
  if (ctx.wants(1)) *ctx.out(1).mutable_data<float>() = high;
  return {};
}

Status lower_observe(LowerContext& ctx) {
  const DType dtype = ctx.dtype(0);
  if (!kernels::is_stored_float(dtype)) return {};
  const float momentum = ctx.attrs<ObserveRangeAttrs>().momentum;
  const int64_t n = ctx.in_size(0);
  const std::array<bool, 2> wants{ctx.wants(0), ctx.wants(1)};
  const int threads = ctx.threads();
  ctx.emit(fmt::format("observe_range.{}", dtype_name(dtype)), [=](const StepArgs& s) {
    float least = 0, most = 0;
    kernels::extremes_with_zero(dtype, s.inputs[0], n, &least, &most, threads);
    const auto [low, high] = next_range(momentum, *s.in<float>(1), *s.in<float>(2), least, most);
    if (wants[0]) *s.out<float>(0) = low;
    if (wants[1]) *s.out<float>(1) = high;
  });
  return {};
}

std::vector<Sample> observe_samples() {
  std::vector<Sample> list;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    list.push_back({{{"momentum", 0.25F}}, ranged(dtype, {3, 35}, {}), 2, 0});
    list.push_back({{}, ranged(dtype, {35}, {}), 2, 0});
    for (size_t i : {1, 2}) list.back().inputs[i].value = Tensor::scalar(0.0F);
  }
  return list;
}

}  // namespace

std::vector<OpDef> fake_quantize() {
  OpDef def;
  def.name = "FakeQuantize";
  def.domain = kLowpDomain;
  def.min_inputs = 3;
  def.max_inputs = 4;
  def.attrs = ir::AttrCodec::of<FakeQuantizeAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.gradient = gradient;
  def.lower = lower;
  def.layout = LayoutRule::kAny;
  def.samples = [] { return samples_of(false); };
  OpDef back = def;
  back.name = "FakeQuantizeGradient";
  back.min_inputs = 4;
  back.max_inputs = 5;
  back.infer = infer_gradient;
  back.reference = reference_gradient;
  back.gradient = nullptr;
  back.lower = lower_gradient;
  back.samples = [] { return samples_of(true); };
  OpDef observer;
  observer.name = "ObserveRange";
  observer.domain = kLowpDomain;
  observer.min_inputs = observer.max_inputs = 3;
  observer.max_outputs = 2;
  observer.attrs = ir::AttrCodec::of<ObserveRangeAttrs>();
  observer.infer = infer_observe;
  observer.reference = observe;
  observer.lower = lower_observe;
  // Order does not matter to extremes; what convolutions read is channels-last anyhow.
  observer.layout = LayoutRule::kChannelsLast;
  observer.channels_last_outputs = 0;
  observer.samples = observe_samples;
  return {std::move(def), std::move(back), std::move(observer)};
}

}  // namespace lowp::ops
