// What quantization-aware training sees of an activation whose channels it equalizes (quant/fake_quantization.h).
//
// lowp.ObserveChannels(x [..., C], low f32 [], high f32 [], scales f32 [C], w f32..., at least one) {momentum, axes} ->
// next low, next high, next scales.
//
// Scales follow sqrt(max |x[..., c]| / max |w[c, ...]|): SmoothQuant's (Xiao et al., ICML 2023) with the strength 1/2.
// axes[i] is the axis of w[i], [C, N] or [N, C], along which the channels lie. A channel that is zero throughout, or
// whose weights are, keeps its scale. low and high follow the extremes of x / next scales, as those of
// lowp.ObserveRange do. All begin as they are first, which is told from low == high == 0 and from scales of 0; then
// they are averaged: a + momentum * (b - a). Scales that nothing is known of become 1. NaN is ignored.
//
// Its results count as constants: in exact arithmetic a layer's result does not depend on scales.
#include <algorithm>
#include <cmath>

#include "kernels/convert/convert.h"
#include "kernels/fake_quantize/fake_quantize.h"
#include "ops/fake_quantize.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

constexpr size_t kLow = 1, kHigh = 2, kScales = 3, kWeights = 4;
// What a scale may be: beyond, its channel is as good as off.
constexpr float kMostScale = 0x1p20F;
constexpr int kMostWeights = 1 << 20;

struct ObserveChannelsAttrs {
  float momentum = 0.1F;
  std::vector<int64_t> axes;
  bool operator==(const ObserveChannelsAttrs&) const = default;
  static constexpr auto fields() {
    using S = ObserveChannelsAttrs;
    return std::tuple(ir::field("momentum", &S::momentum), ir::field("axes", &S::axes));
  }
};

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<ObserveChannelsAttrs>();
  LOWP_TRY(want_float(ctx, 0));
  if (!(a.momentum > 0 && a.momentum <= 1))
    return error(Code::kInvalidModel, "momentum is {}, above 0 to 1 is wanted", a.momentum);
  if (a.axes.size() + kWeights != ctx.inputs())
    return error(Code::kInvalidModel, "there are {} axes for {} weights", a.axes.size(), ctx.inputs() - kWeights);
  for (size_t i : {kLow, kHigh}) LOWP_TRY(want_scalar(ctx, i, DType::kF32));
  for (size_t i = kScales; i < ctx.inputs(); ++i) LOWP_TRY(want_dtype(ctx, i, DType::kF32));
  auto matches = [&](size_t i, int64_t rank, int64_t axis) -> Status {
    if (!ctx.has_rank(i)) return {};
    if (ctx.type(i).rank() != rank || axis < 0 || axis >= rank ||
        (ctx.has_rank(0) &&
         (ctx.type(0).rank() < 1 || !ir::may_be_equal(ctx.dims(0).back(), ctx.dims(i)[static_cast<size_t>(axis)]))))
      return error(Code::kShapeMismatch,
                   "input {} has shape {}, rank {} with as many channels along axis {} as {} has is wanted", i,
                   ctx.type(i).to_string(), rank, axis, ctx.type(0).to_string());
    return {};
  };
  LOWP_TRY(matches(kScales, 1, 0));
  for (size_t i = 0; i < a.axes.size(); ++i) LOWP_TRY(matches(kWeights + i, 2, a.axes[i]));
  ctx.set(0, TensorType(DType::kF32, Extents{}));
  ctx.set(1, TensorType(DType::kF32, Extents{}));
  ctx.set(2, ctx.type(kScales));
  return {};
}

// tops[c] = max(tops[c], |w[c, ...]|).
void take_in(const float* w, int64_t channels, int64_t others, bool transposed, float* tops) {
  const int64_t outer = transposed ? others : channels, inner = transposed ? channels : others;
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t j = 0; j < inner; ++j) {
      float& top = tops[transposed ? j : i];
      top = std::max(top, std::abs(*w++));  // the first operand where *w is NaN
    }
  }
}

// What the channels' extremes and largest weights make of the states.
struct States {
  const float *low, *high, *scales;
  float *next_low, *next_high, *next_scales;  // may be null, but for the last
};
void follow(const ObserveChannelsAttrs& a, int64_t channels, const float* lows, const float* highs, const float* tops,
            const States& s) {
  float least = 0, most = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const float magnitude = std::max(-lows[c], highs[c]), was = s.scales[c];
    float scale = was;
    if (magnitude > 0 && tops[c] > 0) {
      const float now = std::clamp(std::sqrt(magnitude / tops[c]), 1 / kMostScale, kMostScale);
      scale = was > 0 ? was + a.momentum * (now - was) : now;
    }
    if (!(scale > 0)) scale = 1;
    s.next_scales[c] = scale;
    least = std::min(least, lows[c] / scale);
    most = std::max(most, highs[c] / scale);
  }
  const auto [low, high] = next_range(a.momentum, *s.low, *s.high, least, most);
  if (s.next_low != nullptr) *s.next_low = low;
  if (s.next_high != nullptr) *s.next_high = high;
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<ObserveChannelsAttrs>();
  const int64_t channels = ctx.in(kScales).size();
  const auto n = static_cast<size_t>(channels);
  std::vector<float> lows(n), highs(n), tops(n), scales(n);
  const std::vector<double> x = to_doubles(ctx.in(0));
  for (size_t i = 0; i < x.size(); ++i) {
    const auto v = static_cast<float>(x[i]);
    if (v < lows[i % n]) lows[i % n] = v;
    if (v > highs[i % n]) highs[i % n] = v;
  }
  for (size_t i = 0; i < a.axes.size(); ++i) {
    const Tensor& w = ctx.in(kWeights + i);
    if (w.size() > 0) take_in(w.data<float>(), channels, w.size() / channels, a.axes[i] == 1, tops.data());
  }
  auto out = [&](size_t i) { return ctx.wants(i) ? ctx.out(i).mutable_data<float>() : nullptr; };
  follow(a, channels, lows.data(), highs.data(), tops.data(),
         {ctx.in(kLow).data<float>(), ctx.in(kHigh).data<float>(), ctx.in(kScales).data<float>(), out(0), out(1),
          ctx.wants(2) ? out(2) : scales.data()});
  return {};
}

Status lower(LowerContext& ctx) {
  const DType dtype = ctx.dtype(0);
  if (!kernels::is_stored_float(dtype)) return {};
  const auto a = ctx.attrs<ObserveChannelsAttrs>();
  const int64_t channels = ctx.in_size(kScales), rows = ctx.in_size(0) / std::max<int64_t>(channels, 1);
  std::vector<int64_t> others;
  for (size_t i = 0; i < a.axes.size(); ++i)
    others.push_back(ctx.in_size(kWeights + i) / std::max<int64_t>(channels, 1));
  const std::array<bool, 3> wants{ctx.wants(0), ctx.wants(1), ctx.wants(2)};
  const int threads = ctx.threads();
  ctx.set_scratch(static_cast<size_t>(channels) * 4 * sizeof(float));
  ctx.emit(fmt::format("observe_channels.{}", dtype_name(dtype)), [=](const StepArgs& s) {
    auto* lows = static_cast<float*>(s.scratch);
    float *highs = lows + channels, *tops = highs + channels, *scales = tops + channels;
    kernels::channel_extremes_with_zero(dtype, s.inputs[0], rows, channels, lows, highs, threads);
    std::fill_n(tops, channels, 0.0F);
    for (size_t i = 0; i < a.axes.size(); ++i)
      take_in(s.in<float>(kWeights + i), channels, others[i], a.axes[i] == 1, tops);
    auto out = [&](size_t i) { return wants[i] ? s.out<float>(i) : nullptr; };
    follow(a, channels, lows, highs, tops,
           {s.in<float>(kLow), s.in<float>(kHigh), s.in<float>(kScales), out(0), out(1), wants[2] ? out(2) : scales});
  });
  return {};
}

std::vector<Sample> samples() {
  std::vector<Sample> list;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const bool first : {false, true}) {
      Sample s{{{"axes", std::vector<int64_t>{1, 0}}},
               {{dtype, {2, 3, 37}, -3, 3},
                {DType::kF32, {}, -2, 0},
                {DType::kF32, {}, 0, 2},
                {DType::kF32, {37}, 0.5, 2},
                {DType::kF32, {5, 37}, -1, 1},
                {DType::kF32, {37, 4}, -1, 1}},
               3,
               0};
      if (first) {
        for (size_t i : {kLow, kHigh}) s.inputs[i].value = Tensor::scalar(0.0F);
        s.inputs[kScales].value = Tensor::zeros(DType::kF32, {37});
      }
      for (SampleInput& in : s.inputs) in.differentiable = false;
      list.push_back(std::move(s));
    }
  }
  return list;
}

}  // namespace

std::vector<OpDef> observe_channels() {
  OpDef def;
  def.name = "ObserveChannels";
  def.domain = kLowpDomain;
  def.min_inputs = kWeights + 1;
  def.max_inputs = kMostWeights;
  def.max_outputs = 3;
  def.attrs = ir::AttrCodec::of<ObserveChannelsAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.stops_gradients = true;
  def.lower = lower;
  def.samples = samples;
  return {std::move(def)};
}

}  // namespace lowp::ops
