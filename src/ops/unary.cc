// Element-wise functions of one operand.
#include <numbers>

#include "kernels/convert/convert.h"
#include "kernels/elementwise/elementwise.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::field;

Status infer(InferContext& ctx) { return infer_same_as_input(ctx); }

Status infer_float(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  return infer_same_as_input(ctx);
}

// y[i] = fn(x[i]) in double for f64 and float otherwise.
template <typename F>
Status map_float(EvalContext& ctx, F fn) {
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    const T* x = ctx.in(0).data<T>();
    T* y = ctx.out(0).mutable_data<T>();
    for (int64_t i = 0; i < ctx.in(0).size(); ++i) y[i] = static_cast<T>(static_cast<C>(fn(static_cast<C>(x[i]))));
    return {};
  });
}
template <typename F>
Status map_numeric(EvalContext& ctx, F fn) {
  if (is_floating(ctx.in(0).dtype())) return map_float(ctx, fn);
  return dispatch_integer(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const T* x = ctx.in(0).data<T>();
    T* y = ctx.out(0).mutable_data<T>();
    for (int64_t i = 0; i < ctx.in(0).size(); ++i) y[i] = static_cast<T>(fn(x[i]));
    return {};
  });
}

std::vector<Sample> float_samples() {
  return {{{}, {{DType::kF32, {3, 5, 7}}}}, {{}, {{DType::kF32, {1031}, -30.0, 30.0}}}, {{}, {{DType::kF32, {}}}}};
}
std::vector<Sample> positive_samples() {
  return {{{}, {{DType::kF32, {3, 5, 7}, 0.1, 4.0}}}, {{}, {{DType::kF32, {257}, 0.01, 100.0}}}};
}

// Inside (-1, 1), and above 1.
std::vector<Sample> arc_samples() { return {{{}, {{DType::kF32, {3, 5, 7}, -0.9, 0.9}}}}; }
std::vector<Sample> above_one_samples() { return {{{}, {{DType::kF32, {3, 5, 7}, 1.1, 9.0}}}}; }
std::vector<Sample> bool_samples() { return {{{}, {{DType::kBool, {3, 5, 7}}}}}; }
std::vector<Sample> predicate_samples() {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  SampleInput x{DType::kF32, {5}};
  x.value = Tensor::from<float>({5}, {kInf, -kInf, std::numeric_limits<float>::quiet_NaN(), 0.0F, 3.0F});
  return {{{}, {x}}};
}
std::vector<Sample> bits_samples() {
  return {{{}, {{DType::kI32, {3, 5}, -99, 99}}}, {{}, {{DType::kU8, {7}, 0, 255}}}};
}

struct LeakyReluAttrs {
  float alpha = 0.01F;
  bool operator==(const LeakyReluAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("alpha", &LeakyReluAttrs::alpha)); }
};
struct EluAttrs {
  float alpha = 1.0F;
  bool operator==(const EluAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("alpha", &EluAttrs::alpha)); }
};
struct ThresholdedReluAttrs {
  float alpha = 1.0F;
  bool operator==(const ThresholdedReluAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("alpha", &ThresholdedReluAttrs::alpha)); }
};
struct SeluAttrs {
  float alpha = 1.67326319217681884765625F;
  float gamma = 1.05070102214813232421875F;
  bool operator==(const SeluAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("alpha", &SeluAttrs::alpha), field("gamma", &SeluAttrs::gamma));
  }
};
struct HardSigmoidAttrs {
  float alpha = 0.2F;
  float beta = 0.5F;
  bool operator==(const HardSigmoidAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("alpha", &HardSigmoidAttrs::alpha), field("beta", &HardSigmoidAttrs::beta));
  }
};
struct ShrinkAttrs {
  float bias = 0.0F;
  float lambd = 0.5F;
  bool operator==(const ShrinkAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("bias", &ShrinkAttrs::bias), field("lambd", &ShrinkAttrs::lambd));
  }
};
struct GeluAttrs {
  std::string approximate = "none";
  bool operator==(const GeluAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("approximate", &GeluAttrs::approximate)); }
};
struct SwishAttrs {
  float alpha = 1.0F;
  bool operator==(const SwishAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("alpha", &SwishAttrs::alpha)); }
};
struct IsInfAttrs {
  bool detect_negative = true;
  bool detect_positive = true;
  bool operator==(const IsInfAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("detect_negative", &IsInfAttrs::detect_negative),
                      field("detect_positive", &IsInfAttrs::detect_positive));
  }
};

// y = kernel(x) for f32, bf16 and f16; other dtypes stay with the reference.
void emit_unary(LowerContext& ctx, kernels::Unary op, kernels::UnaryParams params = {}) {
  const DType dtype = ctx.dtype(0);
  if (!kernels::is_stored_float(dtype)) return;
  const int64_t n = ctx.in_size(0);
  const int threads = ctx.threads();
  ctx.allow_in_place(0, 0);
  ctx.emit(fmt::format("elementwise.{}", dtype_name(dtype)), [op, params, dtype, n, threads](const StepArgs& s) {
    kernels::unary_stored(op, params, dtype, s.inputs[0], s.outputs[0], n, threads);
  });
}
template <kernels::Unary kOp>
Status lower_unary(LowerContext& ctx) {
  emit_unary(ctx, kOp);
  return {};
}
// Ops whose kernel takes attributes.
Status lower_with_attrs(LowerContext& ctx) {
  using U = kernels::Unary;
  const std::string& name = ctx.node().op->name;
  if (name == "LeakyRelu") {
    emit_unary(ctx, U::kLeakyRelu, {ctx.attrs<LeakyReluAttrs>().alpha, 0});
  } else if (name == "Elu" || name == "Celu") {
    emit_unary(ctx, name == "Elu" ? U::kElu : U::kCelu, {ctx.attrs<EluAttrs>().alpha, 0});
  } else if (name == "Selu") {
    const auto& a = ctx.attrs<SeluAttrs>();
    emit_unary(ctx, U::kSelu, {a.alpha, a.gamma});
  } else if (name == "HardSigmoid") {
    const auto& a = ctx.attrs<HardSigmoidAttrs>();
    emit_unary(ctx, U::kHardSigmoid, {a.alpha, a.beta});
  } else if (name == "Gelu") {
    emit_unary(ctx, ctx.attrs<GeluAttrs>().approximate == "tanh" ? U::kGeluTanh : U::kGelu);
  } else if (name == "Swish" && ctx.attrs<SwishAttrs>().alpha == 1.0F) {
    emit_unary(ctx, U::kSilu);
  }
  return {};
}

// A float op without attributes.
OpDef simple(const char* name, Status (*reference)(EvalContext&), Status (*gradient)(GradContext&) = nullptr,
             int since = 1, std::vector<Sample> (*samples)() = float_samples) {
  OpDef def;
  def.name = name;
  def.infer = infer_float;
  def.reference = reference;
  def.gradient = gradient;
  def.layout = LayoutRule::kAny;
  def.since_version = since;
  def.samples = samples;
  return def;
}
template <typename A>
OpDef with_attrs(OpDef def) {
  def.attrs = ir::AttrCodec::of<A>();
  return def;
}
OpDef numeric(OpDef def) {
  def.infer = infer;
  return def;
}

#define LOWP_MAP_FLOAT(expression) [](EvalContext& ctx) { return map_float(ctx, [](auto x) { return expression; }); }

Status relu(EvalContext& ctx) {
  return map_numeric(ctx, [](auto x) { return x > 0 || x != x ? x : decltype(x)(0); });
}
// Gradients that are one pass of a kernel (activation_gradient.cc), from the result where it tells enough: then the
// operand need not be kept.
Status relu_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("ReluGradient", {g.grad_out(), g.out()}, {}, kLowpDomain));
  return {};
}
Status sigmoid_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("SigmoidGradient", {g.grad_out(), g.out()}, {}, kLowpDomain));
  return {};
}
Status tanh_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("TanhGradient", {g.grad_out(), g.out()}, {}, kLowpDomain));
  return {};
}
Status exp_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("Mul", {g.grad_out(), g.out()}));
  return {};
}
Status log_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("Div", {g.grad_out(), g.in(0)}));
  return {};
}
Status sqrt_gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  g.set_grad_in(0, b.op("Div", {g.grad_out(), b.op("Mul", {b.scalar_like(g.out(), 2), g.out()})}));
  return {};
}
Status neg_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("Neg", {g.grad_out()}));
  return {};
}
Status reciprocal_gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  g.set_grad_in(0, b.op("Neg", {b.op("Mul", {g.grad_out(), b.op("Mul", {g.out(), g.out()})})}));
  return {};
}
Status erf_gradient(GradContext& g) {
  // 2 / sqrt(pi) * exp(-x^2)
  GraphBuilder& b = g.builder();
  ir::Value* x = g.in(0);
  ir::Value* e = b.op("Exp", {b.op("Neg", {b.op("Mul", {x, x})})});
  g.set_grad_in(0, b.op("Mul", {g.grad_out(), b.op("Mul", {b.scalar_like(x, 2 / std::sqrt(std::numbers::pi)), e})}));
  return {};
}
Status abs_gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  g.set_grad_in(0, b.op("Mul", {g.grad_out(), b.op("Sign", {g.in(0)})}));
  return {};
}

Status leaky_relu(EvalContext& ctx) {
  const float alpha = ctx.attrs<LeakyReluAttrs>().alpha;
  return map_float(ctx, [&](auto x) { return x < 0 ? static_cast<decltype(x)>(alpha) * x : x; });
}
Status thresholded_relu(EvalContext& ctx) {
  const float alpha = ctx.attrs<ThresholdedReluAttrs>().alpha;
  return map_float(ctx, [&](auto x) { return x > static_cast<decltype(x)>(alpha) ? x : decltype(x)(0); });
}
Status elu(EvalContext& ctx) {
  const float alpha = ctx.attrs<EluAttrs>().alpha;
  return map_float(ctx, [&](auto x) { return x < 0 ? static_cast<decltype(x)>(alpha) * (std::exp(x) - 1) : x; });
}
Status celu(EvalContext& ctx) {
  const float alpha = ctx.attrs<EluAttrs>().alpha;
  return map_float(ctx, [&](auto x) {
    using C = decltype(x);
    const C a = static_cast<C>(alpha);
    return std::max(C(0), x) + std::min(C(0), a * (std::exp(x / a) - 1));
  });
}
Status selu(EvalContext& ctx) {
  const auto& a = ctx.attrs<SeluAttrs>();
  return map_float(ctx, [&](auto x) {
    using C = decltype(x);
    return static_cast<C>(a.gamma) * (x > 0 ? x : static_cast<C>(a.alpha) * (std::exp(x) - 1));
  });
}
Status hard_sigmoid(EvalContext& ctx) {
  const auto& a = ctx.attrs<HardSigmoidAttrs>();
  return map_float(ctx, [&](auto x) {
    using C = decltype(x);
    return std::max(C(0), std::min(C(1), static_cast<C>(a.alpha) * x + static_cast<C>(a.beta)));
  });
}
Status shrink(EvalContext& ctx) {
  const auto& a = ctx.attrs<ShrinkAttrs>();
  return map_numeric(ctx, [&](auto x) -> decltype(x) {
    if (x < -a.lambd) return static_cast<decltype(x)>(x + static_cast<decltype(x)>(a.bias));
    if (x > a.lambd) return static_cast<decltype(x)>(x - static_cast<decltype(x)>(a.bias));
    return decltype(x)(0);
  });
}
Status gelu(EvalContext& ctx) {
  const bool tanh_form = ctx.attrs<GeluAttrs>().approximate == "tanh";
  return map_float(ctx, [&](auto x) {
    using C = decltype(x);
    if (tanh_form) return C(0.5) * x * (C(1) + std::tanh(C(0.7978845608028654) * (x + C(0.044715) * x * x * x)));
    return C(0.5) * x * (C(1) + std::erf(x / std::numbers::sqrt2_v<C>));
  });
}
Status gelu_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("GeluGradient", {g.grad_out(), g.in(0)},
                                  {{"approximate", g.attrs<GeluAttrs>().approximate}}, kLowpDomain));
  return {};
}
Status swish(EvalContext& ctx) {
  const float alpha = ctx.attrs<SwishAttrs>().alpha;
  return map_float(ctx, [&](auto x) { return x / (1 + std::exp(-static_cast<decltype(x)>(alpha) * x)); });
}

Status not_reference(EvalContext& ctx) {
  const bool* x = ctx.in(0).data<bool>();
  bool* y = ctx.out(0).mutable_data<bool>();
  for (int64_t i = 0; i < ctx.in(0).size(); ++i) y[i] = !x[i];
  return {};
}
Status infer_bool(InferContext& ctx) {
  ctx.set(0, ctx.type(0));
  LOWP_TRY(want_dtype(ctx, 0, DType::kBool));
  return {};
}
Status infer_predicate(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  TensorType t = ctx.type(0);
  t.dtype = DType::kBool;
  ctx.set(0, std::move(t));
  return {};
}
template <typename F>
Status predicate(EvalContext& ctx, F fn) {
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const T* x = ctx.in(0).data<T>();
    bool* y = ctx.out(0).mutable_data<bool>();
    for (int64_t i = 0; i < ctx.in(0).size(); ++i) y[i] = fn(static_cast<compute_t<T>>(x[i]));
    return {};
  });
}
Status is_nan(EvalContext& ctx) {
  return predicate(ctx, [](auto x) { return x != x; });
}
Status is_inf(EvalContext& ctx) {
  const auto& a = ctx.attrs<IsInfAttrs>();
  return predicate(
      ctx, [&](auto x) { return std::isinf(x) && ((x > 0 && a.detect_positive) || (x < 0 && a.detect_negative)); });
}
Status bitwise_not(EvalContext& ctx) {
  return dispatch_integer(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const T* x = ctx.in(0).data<T>();
    T* y = ctx.out(0).mutable_data<T>();
    for (int64_t i = 0; i < ctx.in(0).size(); ++i) y[i] = static_cast<T>(~x[i]);
    return {};
  });
}

Status identity(EvalContext& ctx) {
  if (ctx.in(0).bytes() > 0) std::memcpy(ctx.out(0).mutable_raw(), ctx.in(0).raw(), ctx.in(0).bytes());
  return {};
}
Status identity_gradient(GradContext& g) {
  g.set_grad_in(0, g.grad_out());
  return {};
}
Status identity_lower(LowerContext& ctx) {
  ctx.alias(0, 0);
  return {};
}

// Opset 1 and 6 carry "consumed_inputs", an optimisation hint without meaning.
Status drop_consumed_inputs(ImportedNode& node) {
  node.attrs.erase("consumed_inputs");
  return {};
}

}  // namespace

std::vector<OpDef> unary() {
  std::vector<OpDef> defs = {
      numeric(simple("Relu", relu, relu_gradient)),
      simple("Sigmoid", LOWP_MAP_FLOAT(1 / (1 + std::exp(-x))), sigmoid_gradient),
      simple("Tanh", LOWP_MAP_FLOAT(std::tanh(x)), tanh_gradient),
      simple("Erf", LOWP_MAP_FLOAT(std::erf(x)), erf_gradient, 9),
      simple("Exp", LOWP_MAP_FLOAT(std::exp(x)), exp_gradient),
      simple("Log", LOWP_MAP_FLOAT(std::log(x)), log_gradient, 1, positive_samples),
      simple("Sqrt", LOWP_MAP_FLOAT(std::sqrt(x)), sqrt_gradient, 1, positive_samples),
      simple("Reciprocal", LOWP_MAP_FLOAT(1 / x), reciprocal_gradient, 1, positive_samples),
      simple("Floor", LOWP_MAP_FLOAT(std::floor(x))),
      simple("Ceil", LOWP_MAP_FLOAT(std::ceil(x))),
      simple("Round", LOWP_MAP_FLOAT(std::nearbyint(x)), nullptr, 11),
      simple("Softplus", LOWP_MAP_FLOAT(std::max(x, decltype(x)(0)) + std::log1p(std::exp(-std::abs(x))))),
      simple("Softsign", LOWP_MAP_FLOAT(x / (1 + std::abs(x)))),
      simple("Mish", LOWP_MAP_FLOAT(x * std::tanh(std::max(x, decltype(x)(0)) + std::log1p(std::exp(-std::abs(x))))),
             nullptr, 18),
      simple("HardSwish",
             LOWP_MAP_FLOAT(x * std::max(decltype(x)(0), std::min(decltype(x)(1), x / 6 + decltype(x)(0.5)))), nullptr,
             14),
      simple("Sin", LOWP_MAP_FLOAT(std::sin(x)), nullptr, 7),
      simple("Cos", LOWP_MAP_FLOAT(std::cos(x)), nullptr, 7),
      simple("Tan", LOWP_MAP_FLOAT(std::tan(x)), nullptr, 7),
      simple("Asin", LOWP_MAP_FLOAT(std::asin(x)), nullptr, 7, arc_samples),
      simple("Acos", LOWP_MAP_FLOAT(std::acos(x)), nullptr, 7, arc_samples),
      simple("Atan", LOWP_MAP_FLOAT(std::atan(x)), nullptr, 7),
      simple("Sinh", LOWP_MAP_FLOAT(std::sinh(x)), nullptr, 9),
      simple("Cosh", LOWP_MAP_FLOAT(std::cosh(x)), nullptr, 9),
      simple("Asinh", LOWP_MAP_FLOAT(std::asinh(x)), nullptr, 9),
      simple("Acosh", LOWP_MAP_FLOAT(std::acosh(x)), nullptr, 9, above_one_samples),
      simple("Atanh", LOWP_MAP_FLOAT(std::atanh(x)), nullptr, 9, arc_samples),
      with_attrs<LeakyReluAttrs>(simple("LeakyRelu", leaky_relu)),
      with_attrs<ThresholdedReluAttrs>(simple("ThresholdedRelu", thresholded_relu, nullptr, 10)),
      with_attrs<EluAttrs>(simple("Elu", elu)),
      with_attrs<EluAttrs>(simple("Celu", celu, nullptr, 12)),
      with_attrs<SeluAttrs>(simple("Selu", selu)),
      with_attrs<HardSigmoidAttrs>(simple("HardSigmoid", hard_sigmoid)),
      with_attrs<GeluAttrs>(simple("Gelu", gelu, gelu_gradient, 20)),
      with_attrs<SwishAttrs>(simple("Swish", swish, nullptr, 24)),
      with_attrs<ShrinkAttrs>(numeric(simple("Shrink", shrink, nullptr, 9))),
      numeric(simple(
          "Neg", [](EvalContext& ctx) { return map_numeric(ctx, [](auto x) { return -x; }); }, neg_gradient)),
      numeric(simple(
          "Abs", [](EvalContext& ctx) { return map_numeric(ctx, [](auto x) { return x < 0 ? -x : x; }); },
          abs_gradient)),
      numeric(simple(
          "Sign", [](EvalContext& ctx) { return map_numeric(ctx, [](auto x) { return x > 0   ? 1
                                                                                     : x < 0 ? -1
                                                                                             : 0; }); },
          nullptr, 9)),
  };
  using U = kernels::Unary;
  const std::pair<std::string_view, Status (*)(LowerContext&)> kernels_of[] = {
      {"Relu", lower_unary<U::kRelu>},
      {"Sigmoid", lower_unary<U::kSigmoid>},
      {"Tanh", lower_unary<U::kTanh>},
      {"Erf", lower_unary<U::kErf>},
      {"Exp", lower_unary<U::kExp>},
      {"Log", lower_unary<U::kLog>},
      {"Sqrt", lower_unary<U::kSqrt>},
      {"Reciprocal", lower_unary<U::kReciprocal>},
      {"Neg", lower_unary<U::kNeg>},
      {"Abs", lower_unary<U::kAbs>},
      {"Floor", lower_unary<U::kFloor>},
      {"Ceil", lower_unary<U::kCeil>},
      {"Round", lower_unary<U::kRound>},
      {"Sign", lower_unary<U::kSign>},
      {"Softplus", lower_unary<U::kSoftplus>},
      {"Softsign", lower_unary<U::kSoftsign>},
      {"Mish", lower_unary<U::kMish>},
      {"HardSwish", lower_unary<U::kHardSwish>},
      {"LeakyRelu", lower_with_attrs},
      {"Elu", lower_with_attrs},
      {"Celu", lower_with_attrs},
      {"Selu", lower_with_attrs},
      {"HardSigmoid", lower_with_attrs},
      {"Gelu", lower_with_attrs},
      {"Swish", lower_with_attrs},
  };
  for (OpDef& def : defs) {
    def.upgrade = drop_consumed_inputs;
    for (const auto& [name, lower] : kernels_of) {
      if (def.name == name) def.lower = lower;
    }
  }

  auto boolean = [&](const char* name, Status (*infer_fn)(InferContext&), Status (*reference)(EvalContext&), int since,
                     std::vector<Sample> (*samples)()) {
    OpDef def = simple(name, reference, nullptr, since, samples);
    def.infer = infer_fn;
    defs.push_back(std::move(def));
  };
  boolean("Not", infer_bool, not_reference, 1, bool_samples);
  boolean("IsNaN", infer_predicate, is_nan, 9, predicate_samples);
  boolean("IsInf", infer_predicate, is_inf, 10, predicate_samples);
  defs.back().attrs = ir::AttrCodec::of<IsInfAttrs>();
  boolean("BitwiseNot", infer, bitwise_not, 18, bits_samples);

  OpDef id = numeric(simple("Identity", identity, identity_gradient));
  id.lower = identity_lower;
  id.quantize = QuantRule::kPassThrough;
  defs.push_back(std::move(id));
  return defs;
}

}  // namespace lowp::ops
