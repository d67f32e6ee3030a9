// lowp.SparseSgdStep, lowp.SparseAdamStep: a step on those rows of a table that a batch has gradients for (what
// lowp.SparseRows gives). Other rows stay as they are, their moments included: unlike the dense steps, momentum does
// not carry them on, Adam's averages do not fade and nothing decays them ("lazy" Adam; as PyTorch's SparseAdam).
//
// Operands: 0 w f32 [V, row], 1 values f32 [N, row], 2 learning_rate, 3 gradient_scale?, 4 nonfinite? as in
// optimizer.cc; 5 rows i64 [N], 6 count i64 scalar; SGD: 7 velocity?; Adam: 7 step i64 scalar, 8 mean, 9 square.
// Outputs as the dense ones'.
#include "kernels/optimizer/optimizer.h"
#include "ops/optimizer.h"
#include "ops/reference.h"
#include "ops/sparse_rows.h"

namespace lowp::ops {
namespace {

constexpr size_t kRows = 5, kCount = 6, kVelocity = 7, kStep = 7, kMean = 8, kSquare = 9;

Status infer_rows(InferContext& ctx) {
  for (size_t i : {kWeight, kGradient}) LOWP_TRY(want_dtype(ctx, i, DType::kF32));
  LOWP_TRY(want_dtype(ctx, kRows, DType::kI64));
  LOWP_TRY(want_scalar(ctx, kRate, DType::kF32));
  LOWP_TRY(want_scalar(ctx, kScale, DType::kF32));
  LOWP_TRY(want_scalar(ctx, kNonfinite, DType::kI64));
  LOWP_TRY(want_scalar(ctx, kCount, DType::kI64));
  if (ctx.has_rank(kWeight) && ctx.has_rank(kGradient)) {
    const std::span<const ir::Dim> w = ctx.dims(kWeight), g = ctx.dims(kGradient);
    if (w.empty() || g.empty() || !ir::may_be_equal(w.subspan(1), g.subspan(1)))
      return error(Code::kShapeMismatch, "the table is {}, rows of its gradient {}", ctx.type(kWeight).to_string(),
                   ctx.type(kGradient).to_string());
  }
  for (size_t i = 0; i < ctx.outputs(); ++i) ctx.set(i, ctx.type(kWeight));
  return {};
}

// A table with states of the same shape, what happens to one row at a time, and where states are among the operands.
struct Table {
  size_t states = 0, first_state = 0;
};

// The reference: the dense kernel's formula in double, row by row.
template <typename F>
Status each_element(EvalContext& ctx, const Table& t, F&& element) {
  for (size_t k = 0; k <= t.states; ++k) {
    const Tensor& from = ctx.in(k == 0 ? kWeight : t.first_state + k - 1);
    std::memcpy(ctx.out(k).mutable_raw(), from.raw(), from.bytes());
  }
  if (ctx.has(kNonfinite) && ctx.in(kNonfinite).data<int64_t>()[0] >= 0) return {};
  const Tensor& w = ctx.in(kWeight);
  const int64_t count = ctx.in(kCount).data<int64_t>()[0];
  const auto* rows = ctx.in(kRows).data<int64_t>();
  LOWP_TRY(check_rows(rows, count, ctx.in(kRows).size(), w.extent(0)));
  const int64_t n = w.size() / std::max<int64_t>(w.extent(0), 1);
  const double scale = ctx.has(kScale) ? static_cast<double>(ctx.in(kScale).data<float>()[0]) : 1.0;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t e = 0; e < n; ++e) {
      const int64_t at = rows[i] * n + e;
      std::array<double, 3> v{};
      for (size_t k = 0; k <= t.states; ++k) v[k] = static_cast<double>(ctx.out(k).mutable_data<float>()[at]);
      element(v, static_cast<double>(ctx.in(kGradient).data<float>()[i * n + e]) * scale);
      for (size_t k = 0; k <= t.states; ++k) ctx.out(k).mutable_data<float>()[at] = static_cast<float>(v[k]);
    }
  }
  return {};
}

Status sgd(EvalContext& ctx) {
  const auto& a = ctx.attrs<SgdAttrs>();
  const bool velocity = ctx.has(kVelocity);
  const double rate = static_cast<double>(ctx.in(kRate).data<float>()[0] * a.rate_factor);
  return each_element(ctx, {velocity ? size_t{1} : 0, kVelocity}, [&](std::array<double, 3>& v, double g) {
    double d = g + static_cast<double>(a.weight_decay) * v[0];
    if (velocity) {
      v[1] = static_cast<double>(a.momentum) * v[1] + d;
      d = a.nesterov ? d + static_cast<double>(a.momentum) * v[1] : v[1];
    }
    v[0] -= rate * d;
  });
}

Status adam(EvalContext& ctx) {
  const auto& a = ctx.attrs<AdamAttrs>();
  const int64_t step = ctx.in(kStep).data<int64_t>()[0];
  LOWP_TRY(check_step(step));
  const double rate = static_cast<double>(ctx.in(kRate).data<float>()[0] * a.rate_factor);
  const auto beta1 = static_cast<double>(a.beta1), beta2 = static_cast<double>(a.beta2);
  const auto decay = static_cast<double>(a.weight_decay);
  return each_element(ctx, {2, kMean}, [&](std::array<double, 3>& v, double g) {
    const double d = g + (a.rule == "adam" ? decay * v[0] : 0);
    v[1] = beta1 * v[1] + (1 - beta1) * d;
    v[2] = beta2 * v[2] + (1 - beta2) * d * d;
    const double u =
        v[1] / correction(beta1, step) / (std::sqrt(v[2] / correction(beta2, step)) + static_cast<double>(a.epsilon));
    v[0] -= rate * u + (a.rule == "adamw" ? rate * decay * v[0] : 0);
  });
}

// Copies what is not in place, checks the rows, and calls body(StepArgs, scalars, rows, count, elements of a row).
template <typename Body>
void emit_rows(LowerContext& ctx, std::string kernel, const Table& t, float factor, Body body) {
  const int64_t limit = ctx.in(kWeight)[0], most = ctx.in_size(kRows);
  const int64_t size = ctx.in_size(kWeight), n = size / std::max<int64_t>(limit, 1);
  const bool scale = ctx.has(kScale), nonfinite = ctx.has(kNonfinite);
  for (size_t k = 0; k <= t.states; ++k) ctx.allow_in_place(k, k == 0 ? kWeight : t.first_state + k - 1);
  ctx.emit(std::move(kernel), [=](const StepArgs& s) {
    for (size_t k = 0; k <= t.states; ++k) {
      const void* from = s.inputs[k == 0 ? kWeight : t.first_state + k - 1];
      if (s.outputs[k] != from) std::memcpy(s.outputs[k], from, static_cast<size_t>(size) * sizeof(float));
    }
    const StepScalars now = read_scalars(s, scale, nonfinite, factor);
    if (now.skipped) return;
    const int64_t count = *s.in<int64_t>(kCount);
    if (Status bad = check_rows(s.in<int64_t>(kRows), count, most, limit); !bad.is_ok()) {
      *s.status = std::move(bad);
      return;
    }
    body(s, now, s.in<int64_t>(kRows), count, n);
  });
}

Status lower_sgd(LowerContext& ctx) {
  const auto& a = ctx.attrs<SgdAttrs>();
  kernels::SgdArgs args;
  args.momentum = a.momentum;
  args.weight_decay = a.weight_decay;
  args.nesterov = a.nesterov;
  const bool velocity = ctx.has(kVelocity);
  const int threads = ctx.threads();
  emit_rows(ctx, "sgd_rows.f32", {velocity ? size_t{1} : 0, kVelocity}, a.rate_factor,
            [=](const StepArgs& s, const StepScalars& now, const int64_t* rows, int64_t count, int64_t n) {
              kernels::SgdArgs call = args;
              call.learning_rate = now.rate;
              call.gradient_scale = now.scale;
              kernels::sgd_rows(call, s.out<float>(0), s.in<float>(kGradient), velocity ? s.out<float>(1) : nullptr,
                                rows, count, n, threads);
            });
  return {};
}

Status lower_adam(LowerContext& ctx) {
  const auto& a = ctx.attrs<AdamAttrs>();
  kernels::AdamArgs args;
  args.rule = a.rule == "adam" ? kernels::AdamRule::kAdam : kernels::AdamRule::kAdamW;
  args.beta1 = a.beta1;
  args.beta2 = a.beta2;
  args.epsilon = a.epsilon;
  args.weight_decay = a.weight_decay;
  const int threads = ctx.threads();
  emit_rows(ctx, "adam_rows.f32", {2, kMean}, a.rate_factor,
            [=](const StepArgs& s, const StepScalars& now, const int64_t* rows, int64_t count, int64_t n) {
              const int64_t step = *s.in<int64_t>(kStep);
              if (Status bad = check_step(step); !bad.is_ok()) {
                *s.status = std::move(bad);
                return;
              }
              kernels::AdamArgs call = args;
              call.learning_rate = now.rate;
              call.gradient_scale = now.scale;
              call.correction1 = static_cast<float>(correction(static_cast<double>(args.beta1), step));
              call.correction2 = static_cast<float>(correction(static_cast<double>(args.beta2), step));
              kernels::adam_rows(call, s.out<float>(0), s.in<float>(kGradient), s.out<float>(1), s.out<float>(2), rows,
                                 count, n, threads);
            });
  return {};
}
Status infer_adam(InferContext& ctx) {
  const std::string& rule = ctx.attrs<AdamAttrs>().rule;
  if (rule != "adam" && rule != "adamw")
    return error(Code::kUnsupported, "rule is '{}'; of rows, adam and adamw are known", rule);
  return infer_rows(ctx);
}

SampleInput scalar(double low, double high) {
  SampleInput s{DType::kF32, {}, low, high};
  s.differentiable = false;
  return s;
}
std::vector<SampleInput> common_operands(int64_t nonfinite) {
  return {{DType::kF32, {9, 21}},
          {DType::kF32, {4, 21}},
          scalar(0.01, 0.1),
          scalar(0.1, 1),
          given(Tensor::scalar(nonfinite)),
          given(Tensor::from<int64_t>({4}, {0, 3, 8, -1})),
          given(Tensor::scalar(int64_t{3}))};
}
std::vector<Sample> sgd_samples() {
  Sample plain{{{"weight_decay", 0.01F}}, common_operands(-1)};
  Sample momentum{{{"momentum", 0.9F}}, common_operands(-1), 2};
  Sample skipped{{{"momentum", 0.9F}}, common_operands(0), 2};
  for (Sample* s : {&momentum, &skipped}) s->inputs.push_back({DType::kF32, {9, 21}});
  return {std::move(plain), std::move(momentum), std::move(skipped)};
}
std::vector<Sample> adam_samples() {
  std::vector<Sample> samples;
  for (const char* rule : {"adam", "adamw"}) {
    Sample s{{{"rule", std::string(rule)}, {"weight_decay", 0.02F}}, common_operands(-1), 3, 16};
    s.inputs.push_back(given(Tensor::scalar(int64_t{3})));
    s.inputs.push_back({DType::kF32, {9, 21}});
    s.inputs.push_back({DType::kF32, {9, 21}, 0.1, 1});
    samples.push_back(std::move(s));
  }
  return samples;
}

}  // namespace

std::vector<OpDef> sparse_optimizer() {
  OpDef sgd_def;
  sgd_def.name = "SparseSgdStep";
  sgd_def.domain = kLowpDomain;
  sgd_def.min_inputs = 7;
  sgd_def.max_inputs = 8;
  sgd_def.max_outputs = 2;
  sgd_def.attrs = ir::AttrCodec::of<SgdAttrs>();
  sgd_def.infer = infer_rows;
  sgd_def.reference = sgd;
  sgd_def.lower = lower_sgd;
  sgd_def.samples = sgd_samples;
  OpDef adam_def;
  adam_def.name = "SparseAdamStep";
  adam_def.domain = kLowpDomain;
  adam_def.min_inputs = adam_def.max_inputs = 10;
  adam_def.min_outputs = adam_def.max_outputs = 3;
  adam_def.attrs = ir::AttrCodec::of<AdamAttrs>();
  adam_def.infer = infer_adam;
  adam_def.reference = adam;
  adam_def.lower = lower_adam;
  adam_def.samples = adam_samples;
  return {std::move(sgd_def), std::move(adam_def)};
}

}  // namespace lowp::ops
