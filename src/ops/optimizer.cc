// lowp.SgdStep, lowp.AdamStep: one step of an optimizer on one parameter (formulas: kernels/optimizer/optimizer.h).
//
// SgdStep operands: 0 w, 1 gradient, both f32 of one shape; 2 learning_rate f32 scalar; 3 gradient_scale f32 scalar,
// what the gradient is multiplied by (optional: 1); 4 nonfinite i64 scalar: at 0 or above the step is skipped, outputs
// equal inputs (optional); 5 velocity (optional). Outputs: 0 w, 1 velocity.
// AdamStep: 0 to 4 likewise; 5 step i64 scalar, the number of this step from 1; 6 mean, 7 square. Outputs: 0 w, 1 mean,
// 2 square.
#include "kernels/optimizer/optimizer.h"

#include "ops/optimizer.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

constexpr size_t kVelocity = 5, kStep = 5, kMean = 6, kSquare = 7;

// Whether two types can be the same when all extents are known.
bool may_be_equal(const TensorType& a, const TensorType& b) {
  if (a.dtype != b.dtype) return false;
  if (!a.has_rank() || !b.has_rank()) return true;
  return ir::may_be_equal(*a.dims, *b.dims);
}

// Operands 0, 1 and the states from `first_state` on have one type; output 0 and those of the states have it too.
Status infer_step(InferContext& ctx, size_t first_state) {
  LOWP_TRY(want_dtype(ctx, kWeight, DType::kF32));
  for (size_t i : {kGradient, first_state, first_state + 1}) {
    if (!ctx.has(i) || may_be_equal(ctx.type(i), ctx.type(kWeight))) continue;
    return error(Code::kTypeMismatch, "the parameter is {}, operand {} is {}", ctx.type(kWeight).to_string(), i,
                 ctx.type(i).to_string());
  }
  LOWP_TRY(want_scalar(ctx, kRate, DType::kF32));
  LOWP_TRY(want_scalar(ctx, kScale, DType::kF32));
  LOWP_TRY(want_scalar(ctx, kNonfinite, DType::kI64));
  for (size_t i = 0; i < ctx.outputs(); ++i) ctx.set(i, ctx.type(kWeight));
  return {};
}
Status infer_sgd(InferContext& ctx) {
  if (ctx.outputs() > 1 && !ctx.has(kVelocity)) return error(Code::kInvalidModel, "momentum wants a velocity");
  return infer_step(ctx, kVelocity);
}
Status infer_adam(InferContext& ctx) {
  const auto& a = ctx.attrs<AdamAttrs>();
  if (a.rule != "adam" && a.rule != "adamw" && a.rule != "lamb")
    return error(Code::kInvalidModel, "rule is '{}', adam, adamw or lamb is wanted", a.rule);
  LOWP_TRY(want_scalar(ctx, kStep, DType::kI64));
  return infer_step(ctx, kMean);
}

bool is_skipped(EvalContext& ctx) { return ctx.has(kNonfinite) && ctx.in(kNonfinite).data<int64_t>()[0] >= 0; }
double gradient_scale(EvalContext& ctx) {
  return ctx.has(kScale) ? static_cast<double>(ctx.in(kScale).data<float>()[0]) : 1.0;
}
void copy_through(EvalContext& ctx, size_t output, size_t input) {
  if (ctx.wants(output)) std::memcpy(ctx.out(output).mutable_raw(), ctx.in(input).raw(), ctx.in(input).bytes());
}
void store(EvalContext& ctx, size_t output, const std::vector<double>& values) {
  if (!ctx.wants(output)) return;
  for (size_t i = 0; i < values.size(); ++i) ctx.out(output).mutable_data<float>()[i] = static_cast<float>(values[i]);
}

Status sgd(EvalContext& ctx) {
  const auto& a = ctx.attrs<SgdAttrs>();
  if (is_skipped(ctx)) {
    copy_through(ctx, 0, kWeight);
    copy_through(ctx, 1, kVelocity);
    return {};
  }
  const double rate = static_cast<double>(ctx.in(kRate).data<float>()[0] * a.rate_factor);
  const auto momentum = static_cast<double>(a.momentum);
  std::vector<double> w = to_doubles(ctx.in(kWeight)), g = to_doubles(ctx.in(kGradient));
  std::vector<double> v = ctx.has(kVelocity) ? to_doubles(ctx.in(kVelocity)) : std::vector<double>{};
  for (size_t i = 0; i < w.size(); ++i) {
    double d = g[i] * gradient_scale(ctx) + static_cast<double>(a.weight_decay) * w[i];
    if (!v.empty()) {
      v[i] = momentum * v[i] + d;
      d = a.nesterov ? d + momentum * v[i] : v[i];
    }
    w[i] -= rate * d;
  }
  store(ctx, 0, w);
  store(ctx, 1, v);
  return {};
}

Status adam(EvalContext& ctx) {
  const auto& a = ctx.attrs<AdamAttrs>();
  if (is_skipped(ctx)) {
    copy_through(ctx, 0, kWeight);
    copy_through(ctx, 1, kMean);
    copy_through(ctx, 2, kSquare);
    return {};
  }
  const int64_t step = ctx.in(kStep).data<int64_t>()[0];
  LOWP_TRY(check_step(step));
  const auto beta1 = static_cast<double>(a.beta1), beta2 = static_cast<double>(a.beta2);
  const double rate = static_cast<double>(ctx.in(kRate).data<float>()[0] * a.rate_factor);
  const auto decay = static_cast<double>(a.weight_decay);
  std::vector<double> w = to_doubles(ctx.in(kWeight)), m = to_doubles(ctx.in(kMean)), v = to_doubles(ctx.in(kSquare));
  const std::vector<double> g = to_doubles(ctx.in(kGradient));
  std::vector<double> u(w.size());
  double weights = 0, updates = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double d = g[i] * gradient_scale(ctx) + (a.rule == "adam" ? decay * w[i] : 0);
    m[i] = beta1 * m[i] + (1 - beta1) * d;
    v[i] = beta2 * v[i] + (1 - beta2) * d * d;
    u[i] =
        m[i] / correction(beta1, step) / (std::sqrt(v[i] / correction(beta2, step)) + static_cast<double>(a.epsilon));
    if (a.rule == "lamb") u[i] += decay * w[i];
    weights += w[i] * w[i];
    updates += u[i] * u[i];
  }
  const double ratio = a.rule == "lamb" && weights > 0 && updates > 0 ? std::sqrt(weights / updates) : 1;
  for (size_t i = 0; i < w.size(); ++i) w[i] -= rate * ratio * u[i] + (a.rule == "adamw" ? rate * decay * w[i] : 0);
  store(ctx, 0, w);
  store(ctx, 1, m);
  store(ctx, 2, v);
  return {};
}

void copy_unless_in_place(const StepArgs& s, size_t output, size_t input, int64_t n) {
  if (s.outputs[output] != s.inputs[input])
    std::memcpy(s.outputs[output], s.inputs[input], static_cast<size_t>(n) * sizeof(float));
}

Status lower_sgd(LowerContext& ctx) {
  const auto& a = ctx.attrs<SgdAttrs>();
  kernels::SgdArgs args;
  args.momentum = a.momentum;
  args.weight_decay = a.weight_decay;
  args.nesterov = a.nesterov;
  const int64_t n = ctx.in_size(kWeight);
  const bool scale = ctx.has(kScale), nonfinite = ctx.has(kNonfinite), velocity = ctx.has(kVelocity);
  if (velocity && !ctx.wants(1)) return {};
  ctx.allow_in_place(0, kWeight);
  if (velocity) ctx.allow_in_place(1, kVelocity);
  const float factor = a.rate_factor;
  const int threads = ctx.threads();
  ctx.emit("sgd.f32", [=](const StepArgs& s) {
    const StepScalars now = read_scalars(s, scale, nonfinite, factor);
    if (now.skipped) {
      copy_unless_in_place(s, 0, kWeight, n);
      if (velocity) copy_unless_in_place(s, 1, kVelocity, n);
      return;
    }
    kernels::SgdArgs call = args;
    call.learning_rate = now.rate;
    call.gradient_scale = now.scale;
    kernels::sgd_step(call, s.in<float>(kWeight), s.in<float>(kGradient), velocity ? s.in<float>(kVelocity) : nullptr,
                      s.out<float>(0), velocity ? s.out<float>(1) : nullptr, n, threads);
  });
  return {};
}

Status lower_adam(LowerContext& ctx) {
  const auto& a = ctx.attrs<AdamAttrs>();
  if (!ctx.wants(1) || !ctx.wants(2)) return {};
  kernels::AdamArgs args;
  args.rule = a.rule == "adam"    ? kernels::AdamRule::kAdam
              : a.rule == "adamw" ? kernels::AdamRule::kAdamW
                                  : kernels::AdamRule::kLamb;
  args.beta1 = a.beta1;
  args.beta2 = a.beta2;
  args.epsilon = a.epsilon;
  args.weight_decay = a.weight_decay;
  const int64_t n = ctx.in_size(kWeight);
  const bool scale = ctx.has(kScale), nonfinite = ctx.has(kNonfinite);
  ctx.allow_in_place(0, kWeight);
  ctx.allow_in_place(1, kMean);
  ctx.allow_in_place(2, kSquare);
  ctx.set_scratch(static_cast<size_t>(kernels::adam_scratch(args.rule, n)));
  const float factor = a.rate_factor;
  const int threads = ctx.threads();
  ctx.emit(a.rule + ".f32", [=](const StepArgs& s) {
    const StepScalars now = read_scalars(s, scale, nonfinite, factor);
    if (now.skipped) {
      copy_unless_in_place(s, 0, kWeight, n);
      copy_unless_in_place(s, 1, kMean, n);
      copy_unless_in_place(s, 2, kSquare, n);
      return;
    }
    const int64_t step = *s.in<int64_t>(kStep);
    if (Status status = check_step(step); !status.is_ok()) {
      *s.status = std::move(status);
      return;
    }
    kernels::AdamArgs call = args;
    call.learning_rate = now.rate;
    call.gradient_scale = now.scale;
    call.correction1 = static_cast<float>(correction(static_cast<double>(args.beta1), step));
    call.correction2 = static_cast<float>(correction(static_cast<double>(args.beta2), step));
    kernels::adam_step(call, s.in<float>(kWeight), s.in<float>(kGradient), s.in<float>(kMean), s.in<float>(kSquare),
                       s.out<float>(0), s.out<float>(1), s.out<float>(2), n, s.scratch, threads);
  });
  return {};
}

SampleInput scalar(DType dtype, double low, double high) {
  SampleInput s{dtype, {}, low, high};
  s.differentiable = false;
  return s;
}
std::vector<Sample> sgd_samples() {
  const SampleInput p{DType::kF32, {7, 33}};
  SampleInput absent;
  absent.absent = true;
  const SampleInput rate = scalar(DType::kF32, 0.01, 0.1), scale = scalar(DType::kF32, 0.1, 1);
  return {{{{"weight_decay", 0.01F}}, {p, p, rate}},
          {{{"momentum", 0.9F}, {"nesterov", int64_t{1}}, {"rate_factor", 0.5F}},
           {p, p, rate, scale, scalar(DType::kI64, -1, -1), p},
           2},
          {{{"momentum", 0.9F}}, {p, p, rate, absent, scalar(DType::kI64, 0, 3), p}, 2}};
}
std::vector<Sample> adam_samples() {
  const SampleInput p{DType::kF32, {7, 33}}, square{DType::kF32, {7, 33}, 0.1, 1};
  const SampleInput rate = scalar(DType::kF32, 0.01, 0.1), scale = scalar(DType::kF32, 0.1, 1);
  const SampleInput step = scalar(DType::kI64, 1, 9);
  std::vector<Sample> samples;
  for (const char* rule : {"adam", "adamw", "lamb"}) {
    samples.push_back({{{"rule", std::string(rule)}, {"weight_decay", 0.02F}},
                       {p, p, rate, scale, scalar(DType::kI64, -1, -1), step, p, square},
                       3,
                       16});
  }
  samples.push_back({{}, {p, p, rate, scale, scalar(DType::kI64, 2, 2), step, p, square}, 3});
  return samples;
}

}  // namespace

std::vector<OpDef> optimizer() {
  OpDef sgd_def;
  sgd_def.name = "SgdStep";
  sgd_def.domain = kLowpDomain;
  sgd_def.min_inputs = 3;
  sgd_def.max_inputs = 6;
  sgd_def.max_outputs = 2;
  sgd_def.attrs = ir::AttrCodec::of<SgdAttrs>();
  sgd_def.infer = infer_sgd;
  sgd_def.reference = sgd;
  sgd_def.lower = lower_sgd;
  sgd_def.samples = sgd_samples;
  OpDef adam_def;
  adam_def.name = "AdamStep";
  adam_def.domain = kLowpDomain;
  adam_def.min_inputs = 8;
  adam_def.max_inputs = 8;
  adam_def.max_outputs = 3;
  adam_def.attrs = ir::AttrCodec::of<AdamAttrs>();
  adam_def.infer = infer_adam;
  adam_def.reference = adam;
  adam_def.lower = lower_adam;
  adam_def.samples = adam_samples;
  return {std::move(sgd_def), std::move(adam_def)};
}

}  // namespace lowp::ops
