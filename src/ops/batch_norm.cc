// BatchNormalization, and its forms for training with channels-last kernels:
//
// lowp.BatchNormTraining(x, scale, bias, residual?) {epsilon, relu} -> y, mean, inv_std, variance: normalizes with the
// statistics of the batch. y = scale * (x - mean) * inv_std + bias + residual, then max(0, y) with relu. mean, inv_std
// = 1 / sqrt(biased variance + epsilon) and the unbiased variance (what PyTorch's running variance is fed) are [C] in
// f32, as are scale and bias; f64 where x is.
//
// lowp.BatchNormGradient(dy, x, scale, mean, inv_std, bias?, y?) {relu} -> dx, dscale, dbias, dresidual?. With relu the
// gradient passes where y > 0; without y, which a residual makes necessary, that is worked out from x and bias.
#include "kernels/batch_norm/batch_norm.h"

#include "base/align.h"
#include "kernels/convert/convert.h"
#include "ops/norm.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::field;

struct TrainingAttrs {
  float epsilon = 1e-5F;
  bool relu = false;
  bool operator==(const TrainingAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("epsilon", &TrainingAttrs::epsilon), field("relu", &TrainingAttrs::relu));
  }
};
struct GradientAttrs {
  bool relu = false;
  bool operator==(const GradientAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("relu", &GradientAttrs::relu)); }
};

DType channel_dtype(DType x) { return x == DType::kF64 ? DType::kF64 : DType::kF32; }

// Operands of channels, [first, last), are all f32 or all f64, the latter where x is.
Status check_channel_dtypes(const InferContext& ctx, size_t x, size_t first, size_t last) {
  LOWP_TRY(want_dtype(ctx, first, ctx.dtype(first) == DType::kF64 ? DType::kF64 : channel_dtype(ctx.dtype(x))));
  for (size_t i = first + 1; i < last; ++i) LOWP_TRY(want_same_dtype(ctx, first, i));
  return {};
}

// Operands of C elements each: [first, last). `x`: the operand whose channels they are.
Status check_channels(const InferContext& ctx, size_t x, size_t first, size_t last) {
  if (!ctx.has_rank(x)) return {};
  if (ctx.dims(x).size() < 2)
    return error(Code::kShapeMismatch, "input has shape {}, rank 2 or more is wanted", ctx.type(x).to_string());
  const ir::Dim& c = ctx.dims(x)[1];
  for (size_t i = first; i < last; ++i) {
    if (!ctx.has_rank(i)) continue;
    const ir::Dims& d = ctx.dims(i);
    if (d.size() != 1 || !ir::may_be_equal(d[0], c)) {
      return error(Code::kShapeMismatch, "input has {} channels, operand {} has shape {}", c.to_string(), i,
                   ctx.type(i).to_string());
    }
  }
  return {};
}
// `i` has the type of x.
Status check_like(const InferContext& ctx, size_t x, size_t i) {
  LOWP_TRY(want_same_dtype(ctx, x, i));
  if (!ctx.has_rank(x) || !ctx.has_rank(i)) return {};
  if (!ir::may_be_equal(ctx.dims(x), ctx.dims(i)))
    return error(Code::kShapeMismatch, "operands {} and {} have types {} and {}, which must be the same", x, i,
                 ctx.type(x).to_string(), ctx.type(i).to_string());
  return {};
}
void set_channels(InferContext& ctx, size_t x, size_t output, DType dtype) {
  if (ctx.has_rank(x))
    ctx.set(output, dtype, ir::Dims{ctx.dims(x)[1]});
  else
    ctx.set(output, dtype, ir::Dims{ir::Dim()});
}

// Elements of x as [outer][channel][inner].
struct Planes {
  int64_t channels = 0, inner = 1, size = 0;
  explicit Planes(const Tensor& x) : channels(x.extent(1)), size(x.size()) {
    for (int i = 2; i < x.rank(); ++i) inner *= x.extent(i);
  }
  size_t channel(int64_t i) const { return static_cast<size_t>(i / inner % channels); }
  double count() const { return channels == 0 ? 0 : static_cast<double>(size / channels); }
};

Status store(const std::vector<double>& values, Tensor& out) {
  return dispatch_float(out.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < values.size(); ++i)
      out.mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(values[i]));
    return {};
  });
}

struct Statistics {
  std::vector<double> mean, variance;  // biased
};
Statistics statistics(const std::vector<double>& x, const Planes& p) {
  const auto channels = static_cast<size_t>(p.channels);
  Statistics s{std::vector<double>(channels), std::vector<double>(channels)};
  for (int64_t i = 0; i < p.size; ++i) s.mean[p.channel(i)] += x[static_cast<size_t>(i)] / p.count();
  for (int64_t i = 0; i < p.size; ++i) {
    const double d = x[static_cast<size_t>(i)] - s.mean[p.channel(i)];
    s.variance[p.channel(i)] += d * d / p.count();
  }
  return s;
}

// ---- rows x channels, as kernels take them ----

bool has_kernel(const LowerContext& ctx, size_t x) {
  const DType t = ctx.dtype(x);
  const bool layout = ctx.in(x).size() == 2 || ctx.in_layout(x) == ir::Layout::kChannelsLast;
  return layout && kernels::is_stored_float(t) && ctx.in_size(x) > 0;
}
kernels::BatchNormArgs kernel_args(const LowerContext& ctx, float epsilon) {
  kernels::BatchNormArgs a;
  a.channels = ctx.in(0)[1];
  a.rows = ctx.in_size(0) / a.channels;
  a.dtype = ctx.dtype(0);
  a.eps = epsilon;
  return a;
}

// ---- BatchNormalization(x, scale, bias, mean, var) ----

Status infer_batch_norm(InferContext& ctx) {
  LOWP_TRY(check_channels(ctx, 0, 1, 5));
  if (ctx.outputs() > 1 && !ctx.attrs<BatchNormAttrs>().training_mode)
    return error(Code::kInvalidModel, "{} outputs without training_mode", ctx.outputs());
  for (size_t i = 1; i < ctx.outputs(); ++i) ctx.set(i, ctx.type(i + 2));
  return infer_same_as_input(ctx);
}
Status batch_norm(EvalContext& ctx) {
  const auto& a = ctx.attrs<BatchNormAttrs>();
  const Planes p(ctx.in(0));
  std::vector<double> x = to_doubles(ctx.in(0));
  const auto scale = to_doubles(ctx.in(1));
  const auto bias = to_doubles(ctx.in(2));
  Statistics s{to_doubles(ctx.in(3)), to_doubles(ctx.in(4))};
  if (a.training_mode) {
    const Statistics running = s;
    s = statistics(x, p);
    auto updated = [&](const std::vector<double>& old, const std::vector<double>& batch) {
      std::vector<double> v(old.size());
      const auto m = static_cast<double>(a.momentum);
      for (size_t c = 0; c < v.size(); ++c) v[c] = old[c] * m + batch[c] * (1 - m);
      return v;
    };
    if (ctx.wants(1)) LOWP_TRY(store(updated(running.mean, s.mean), ctx.out(1)));
    if (ctx.wants(2)) LOWP_TRY(store(updated(running.variance, s.variance), ctx.out(2)));
  }
  for (int64_t i = 0; i < p.size; ++i) {
    const size_t c = p.channel(i);
    double& v = x[static_cast<size_t>(i)];
    v = (v - s.mean[c]) / std::sqrt(s.variance[c] + static_cast<double>(a.epsilon)) * scale[c] + bias[c];
  }
  return store(x, ctx.out(0));
}
Status lower_batch_norm(LowerContext& ctx) {
  const auto& attrs = ctx.attrs<BatchNormAttrs>();
  if (!has_kernel(ctx, 0)) return {};
  for (size_t i = 1; i < 5; ++i) {
    if (ctx.dtype(i) != DType::kF32) return {};
  }
  const kernels::BatchNormArgs args = kernel_args(ctx, attrs.epsilon);
  const int threads = ctx.threads();
  const size_t vector = align64(static_cast<size_t>(args.channels) * sizeof(float));
  auto bound = [args](const StepArgs& s) {
    kernels::BatchNormArgs call = args;
    call.x = s.inputs[0];
    call.scale = s.in<float>(1);
    call.bias = s.in<float>(2);
    call.y = s.outputs[0];
    return call;
  };
  if (!attrs.training_mode) {
    ctx.set_scratch(vector);
    ctx.emit("batch_norm.inference", [bound, threads](const StepArgs& s) {
      kernels::BatchNormArgs call = bound(s);
      call.mean = const_cast<float*>(s.in<float>(3));  // only read
      call.inv_std = static_cast<float*>(s.scratch);
      kernels::inverse_std(s.in<float>(4), call.eps, call.channels, call.inv_std);
      kernels::normalize_channels(call, threads);
    });
    return {};
  }
  const bool mean = ctx.wants(1);
  const bool variance = ctx.wants(2);
  const float momentum = attrs.momentum;
  ctx.set_scratch(3 * vector + kernels::batch_norm_scratch(args.rows, args.channels));
  ctx.emit("batch_norm.training", [=](const StepArgs& s) {
    kernels::BatchNormArgs call = bound(s);
    char* scratch = static_cast<char*>(s.scratch);
    call.mean = reinterpret_cast<float*>(scratch);
    call.inv_std = reinterpret_cast<float*>(scratch + vector);
    call.variance = reinterpret_cast<float*>(scratch + 2 * vector);
    kernels::batch_norm(call, scratch + 3 * vector, threads);
    // ONNX's running variance takes the biased variance.
    const float biased = static_cast<float>(std::max<int64_t>(call.rows - 1, 1)) / static_cast<float>(call.rows);
    for (int64_t c = 0; c < call.channels; ++c) {
      if (mean) s.out<float>(1)[c] = s.in<float>(3)[c] * momentum + call.mean[c] * (1 - momentum);
      if (variance) s.out<float>(2)[c] = s.in<float>(4)[c] * momentum + call.variance[c] * biased * (1 - momentum);
    }
  });
  return {};
}

Status batch_norm_gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  const auto& a = g.attrs<BatchNormAttrs>();
  ir::Value* x = g.in(0);
  const int rank = x->type.rank();
  if (rank < 2) return error(Code::kUnsupported, "the gradient of BatchNormalization wants a known rank");
  if (a.training_mode) {
    if ((g.node().outputs.size() > 1 && g.grad_out(1) != nullptr) ||
        (g.node().outputs.size() > 2 && g.grad_out(2) != nullptr))
      return error(Code::kUnsupported, "a gradient through the running statistics of BatchNormalization");
    const DType t = channel_dtype(x->type.dtype);
    ir::Value* scale = b.cast(g.in(1), t);
    const std::vector<ir::Value*> again =
        b.op_n(3, "BatchNormTraining", {x, scale, b.cast(g.in(2), t)}, {{"epsilon", a.epsilon}}, kLowpDomain);
    const std::vector<ir::Value*> d =
        b.op_n(3, "BatchNormGradient", {g.grad_out(), x, scale, again[1], again[2]}, {}, kLowpDomain);
    g.set_grad_in(0, d[0]);
    g.set_grad_in(1, b.cast(d[1], g.in(1)->type.dtype));
    g.set_grad_in(2, b.cast(d[2], g.in(2)->type.dtype));
    return {};
  }
  // y = (x - mean) * r * scale + bias with r = (var + epsilon)^-1/2 and s = sum dy, p = sum dy * (x - mean):
  //   dx = dy * r * scale, dscale = p * r, dbias = s, dmean = -s * r * scale, dvar = -p * scale * r^3 / 2
  std::vector<int64_t> others = {0};
  for (int64_t i = 2; i < rank; ++i) others.push_back(i);
  ir::Value* axes = b.ints(others);
  auto column = [&](ir::Value* v) { return b.op("Unsqueeze", {b.cast(v, x->type.dtype), axes}); };
  auto sum = [&](ir::Value* v, const ir::Value* like) {
    return b.cast(b.op("ReduceSum", {v, axes}, {{"keepdims", int64_t{0}}}), like->type.dtype);
  };
  ir::Value* r = b.op("Reciprocal",
                      {b.op("Sqrt", {b.op("Add", {g.in(4), b.scalar_like(g.in(4), static_cast<double>(a.epsilon))})})});
  ir::Value* factor = b.op("Mul", {r, g.in(1)});
  ir::Value* s = sum(g.grad_out(), g.in(1));
  if (g.wants(0)) g.set_grad_in(0, b.op("Mul", {g.grad_out(), column(factor)}));
  if (g.wants(2)) g.set_grad_in(2, s);
  if (g.wants(3)) g.set_grad_in(3, b.op("Neg", {b.op("Mul", {s, factor})}));
  if (!g.wants(1) && !g.wants(4)) return {};
  ir::Value* p = sum(b.op("Mul", {g.grad_out(), b.op("Sub", {x, column(g.in(3))})}), g.in(1));
  ir::Value* dscale = b.op("Mul", {p, r});
  if (g.wants(1)) g.set_grad_in(1, dscale);
  if (g.wants(4)) {
    g.set_grad_in(4, b.op("Mul", {b.op("Mul", {b.op("Mul", {dscale, factor}), r}), b.scalar_like(r, -0.5)}));
  }
  return {};
}

Status upgrade_batch_norm(ImportedNode& node) {
  for (const char* name : {"consumed_inputs", "is_test", "spatial"}) node.attrs.erase(name);
  if (node.version < 14 && node.outputs > 1)
    return error(Code::kUnsupported, "BatchNormalization with {} outputs, its training form", node.outputs);
  return {};
}

// ---- lowp.BatchNormTraining(x, scale, bias, residual?) ----

Status infer_training(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  LOWP_TRY(check_channel_dtypes(ctx, 0, 1, 3));
  const DType t = ctx.dtype(1);
  LOWP_TRY(check_channels(ctx, 0, 1, 3));
  if (ctx.has(3)) LOWP_TRY(check_like(ctx, 0, 3));
  for (size_t i = 1; i < ctx.outputs(); ++i) set_channels(ctx, 0, i, t);
  return infer_same_as_input(ctx);
}
Status training(EvalContext& ctx) {
  const auto& a = ctx.attrs<TrainingAttrs>();
  const Planes p(ctx.in(0));
  std::vector<double> x = to_doubles(ctx.in(0));
  const auto scale = to_doubles(ctx.in(1));
  const auto bias = to_doubles(ctx.in(2));
  const auto residual = ctx.has(3) ? to_doubles(ctx.in(3)) : std::vector<double>(x.size());
  Statistics s = statistics(x, p);
  std::vector<double> inv(s.mean.size());
  for (size_t c = 0; c < inv.size(); ++c) inv[c] = 1 / std::sqrt(s.variance[c] + static_cast<double>(a.epsilon));
  for (int64_t i = 0; i < p.size; ++i) {
    const size_t c = p.channel(i);
    double& v = x[static_cast<size_t>(i)];
    v = (v - s.mean[c]) * inv[c] * scale[c] + bias[c] + residual[static_cast<size_t>(i)];
    if (a.relu && v < 0) v = 0;
  }
  LOWP_TRY(store(x, ctx.out(0)));
  if (ctx.wants(1)) LOWP_TRY(store(s.mean, ctx.out(1)));
  if (ctx.wants(2)) LOWP_TRY(store(inv, ctx.out(2)));
  for (double& v : s.variance) v *= p.count() / std::max(p.count() - 1, 1.0);
  return ctx.wants(3) ? store(s.variance, ctx.out(3)) : Status();
}
Status lower_training(LowerContext& ctx) {
  const auto& attrs = ctx.attrs<TrainingAttrs>();
  if (!has_kernel(ctx, 0) || ctx.dtype(1) != DType::kF32) return {};
  kernels::BatchNormArgs args = kernel_args(ctx, attrs.epsilon);
  args.relu = attrs.relu;
  const bool residual = ctx.has(3);
  bool wants[4] = {};
  for (size_t i = 0; i < 4; ++i) wants[i] = ctx.wants(i);
  const int threads = ctx.threads();
  const size_t vector = align64(static_cast<size_t>(args.channels) * sizeof(float));
  if (residual) ctx.allow_in_place(0, 3);
  ctx.set_scratch(2 * vector + kernels::batch_norm_scratch(args.rows, args.channels));
  ctx.emit("batch_norm.training", [=](const StepArgs& s) {
    kernels::BatchNormArgs call = args;
    char* scratch = static_cast<char*>(s.scratch);
    call.x = s.inputs[0];
    call.scale = s.in<float>(1);
    call.bias = s.in<float>(2);
    if (residual) call.residual = s.inputs[3];
    call.y = s.outputs[0];
    call.mean = wants[1] ? s.out<float>(1) : reinterpret_cast<float*>(scratch);
    call.inv_std = wants[2] ? s.out<float>(2) : reinterpret_cast<float*>(scratch + vector);
    if (wants[3]) call.variance = s.out<float>(3);
    kernels::batch_norm(call, scratch + 2 * vector, threads);
  });
  return {};
}
Status training_gradient(GradContext& g) {
  for (size_t i = 1; i < g.node().outputs.size(); ++i) {
    if (g.grad_out(i) != nullptr)
      return error(Code::kUnsupported, "a gradient through the statistics of BatchNormTraining");
  }
  GraphBuilder& b = g.builder();
  const auto& a = g.attrs<TrainingAttrs>();
  ir::Value* mean = g.node().outputs.size() > 1 ? g.out(1) : nullptr;
  ir::Value* inv_std = g.node().outputs.size() > 2 ? g.out(2) : nullptr;
  if (mean == nullptr || inv_std == nullptr) {
    const std::vector<ir::Value*> again =
        b.op_n(3, "BatchNormTraining", {g.in(0), g.in(1), g.in(2)}, {{"epsilon", a.epsilon}}, kLowpDomain);
    mean = again[1];
    inv_std = again[2];
  }
  const bool residual = g.node().input(3) != nullptr;
  std::vector<ir::Value*> operands = {g.grad_out(), g.in(0), g.in(1), mean, inv_std};
  if (a.relu) {
    operands.push_back(residual ? nullptr : g.in(2));
    if (residual) operands.push_back(g.out(0));
  }
  // Without a relu the residual's gradient is dy itself.
  const bool masked = residual && a.relu;
  const std::vector<ir::Value*> d =
      b.op_n(masked ? 4 : 3, "BatchNormGradient", operands, {{"relu", int64_t{a.relu ? 1 : 0}}}, kLowpDomain);
  for (size_t i = 0; i < 3; ++i) {
    if (g.wants(i)) g.set_grad_in(i, d[i]);
  }
  if (residual && g.wants(3)) g.set_grad_in(3, masked ? d[3] : g.grad_out());
  return {};
}

// ---- lowp.BatchNormGradient(dy, x, scale, mean, inv_std, bias?, y?) ----

Status infer_gradient(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 1));
  LOWP_TRY(check_like(ctx, 1, 0));
  LOWP_TRY(check_channel_dtypes(ctx, 1, 2, 6));
  const DType t = ctx.dtype(2);
  LOWP_TRY(check_channels(ctx, 1, 2, 6));
  if (ctx.has(6)) LOWP_TRY(check_like(ctx, 1, 6));
  if (ctx.attrs<GradientAttrs>().relu && !ctx.has(5) && !ctx.has(6))
    return error(Code::kInvalidModel, "relu wants bias or y, neither is there");
  for (size_t i = 0; i < ctx.outputs(); ++i) {
    if (i == 1 || i == 2)
      set_channels(ctx, 1, i, t);
    else
      ctx.set(i, ctx.type(1));
  }
  return {};
}
Status gradient(EvalContext& ctx) {
  const Tensor& x = ctx.in(1);
  const Planes p(x);
  std::vector<double> g = to_doubles(ctx.in(0));
  std::vector<double> d = to_doubles(x);
  const auto scale = to_doubles(ctx.in(2));
  const auto mean = to_doubles(ctx.in(3));
  const auto inv = to_doubles(ctx.in(4));
  for (int64_t i = 0; i < p.size; ++i) d[static_cast<size_t>(i)] -= mean[p.channel(i)];
  if (ctx.attrs<GradientAttrs>().relu) {
    const auto bias = ctx.has(5) ? to_doubles(ctx.in(5)) : std::vector<double>{};
    const auto y = ctx.has(6) ? to_doubles(ctx.in(6)) : std::vector<double>{};
    for (int64_t i = 0; i < p.size; ++i) {
      const auto at = static_cast<size_t>(i);
      const size_t c = p.channel(i);
      const double v = y.empty() ? d[at] * inv[c] * scale[c] + bias[c] : y[at];
      if (!(v > 0)) g[at] = 0;
    }
  }
  if (ctx.wants(3)) LOWP_TRY(store(g, ctx.out(3)));
  std::vector<double> s(mean.size());
  std::vector<double> product(mean.size());
  for (int64_t i = 0; i < p.size; ++i) {
    const auto at = static_cast<size_t>(i);
    s[p.channel(i)] += g[at];
    product[p.channel(i)] += g[at] * d[at] * inv[p.channel(i)];
  }
  for (int64_t i = 0; i < p.size; ++i) {
    const auto at = static_cast<size_t>(i);
    const size_t c = p.channel(i);
    g[at] = scale[c] * inv[c] * (g[at] - s[c] / p.count() - d[at] * inv[c] * product[c] / p.count());
  }
  if (ctx.wants(0)) LOWP_TRY(store(g, ctx.out(0)));
  if (ctx.wants(1)) LOWP_TRY(store(product, ctx.out(1)));
  return ctx.wants(2) ? store(s, ctx.out(2)) : Status();
}
Status lower_gradient(LowerContext& ctx) {
  if (!has_kernel(ctx, 1) || ctx.dtype(2) != DType::kF32) return {};
  kernels::BatchNormGradientArgs args;
  args.channels = ctx.in(1)[1];
  args.rows = ctx.in_size(1) / args.channels;
  args.dtype = ctx.dtype(1);
  args.relu = ctx.attrs<GradientAttrs>().relu;
  const bool bias = ctx.has(5);
  const bool y = ctx.has(6);
  bool wants[4] = {};
  for (size_t i = 0; i < 4; ++i) wants[i] = ctx.wants(i);
  const int threads = ctx.threads();
  const size_t vector = align64(static_cast<size_t>(args.channels) * sizeof(float));
  // x, the output of a convolution, has no other reader as a rule. dy becomes dresidual.
  if (wants[0]) ctx.allow_in_place(0, 1);
  if (wants[3])
    ctx.allow_in_place(3, 0);
  else if (wants[0])
    ctx.allow_in_place(0, 0);
  ctx.set_scratch(2 * vector + kernels::batch_norm_scratch(args.rows, args.channels));
  ctx.emit("batch_norm.gradient", [=](const StepArgs& s) {
    kernels::BatchNormGradientArgs call = args;
    char* scratch = static_cast<char*>(s.scratch);
    call.dy = s.inputs[0];
    call.x = s.inputs[1];
    call.scale = s.in<float>(2);
    call.mean = s.in<float>(3);
    call.inv_std = s.in<float>(4);
    if (bias) call.bias = s.in<float>(5);
    if (y) call.y = s.inputs[6];
    if (wants[0]) call.dx = s.outputs[0];
    call.dscale = wants[1] ? s.out<float>(1) : reinterpret_cast<float*>(scratch);
    call.dbias = wants[2] ? s.out<float>(2) : reinterpret_cast<float*>(scratch + vector);
    if (wants[3]) call.dresidual = s.outputs[3];
    kernels::batch_norm_gradient(call, scratch + 2 * vector, threads);
  });
  return {};
}

// ---- samples ----

SampleInput channels(int64_t n) { return {DType::kF32, {n}, 0.5, 1.5}; }

std::vector<Sample> batch_norm_samples() {
  const SampleInput c = channels(5);
  const SampleInput x{DType::kF32, {2, 5, 3, 7}};
  Sample training{{{"training_mode", int64_t{1}}, {"momentum", 0.8F}}, {x, c, c, c, c}, 3};
  Sample only_y = training;
  only_y.outputs = 1;
  for (size_t i : {size_t{3}, size_t{4}}) training.inputs[i].differentiable = only_y.inputs[i].differentiable = false;
  return {{{}, {x, c, c, c, c}}, training, only_y};
}
std::vector<Sample> training_samples() {
  std::vector<Sample> list;
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int64_t relu : {0, 1}) {
      const SampleInput x{dtype, {3, 19, 5, 21}};
      // Statistics have no gradient: with one output they are not part of the loss.
      list.push_back({{{"relu", relu}}, {x, channels(19), channels(19)}, 4, 8});
      list.push_back({{{"relu", relu}}, {x, channels(19), channels(19), x}, 1, 8});
    }
  }
  list.push_back({{{"epsilon", 1e-3F}}, {{DType::kF32, {300, 7}}, channels(7), channels(7)}, 4, 8});
  return list;
}
std::vector<Sample> gradient_samples() {
  std::vector<Sample> list;
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const SampleInput x{dtype, {3, 19, 5, 21}};
    const SampleInput c = channels(19);
    SampleInput absent;
    absent.absent = true;
    const AttrMap relu = {{"relu", int64_t{1}}};
    list.push_back({{}, {x, x, c, c, c}, 3, 16});
    list.push_back({relu, {x, x, c, c, c, c}, 3, 16});
    list.push_back({relu, {x, x, c, c, c, absent, x}, 4, 16});
  }
  list.push_back({{}, {{DType::kF32, {40, 7}}, {DType::kF32, {40, 7}}, channels(7), channels(7), channels(7)}, 3, 16});
  return list;
}

}  // namespace

std::vector<OpDef> batch_norm() {
  OpDef inference;
  inference.name = "BatchNormalization";
  inference.min_inputs = inference.max_inputs = 5;
  inference.max_outputs = 3;
  inference.attrs = ir::AttrCodec::of<BatchNormAttrs>();
  inference.infer = infer_batch_norm;
  inference.reference = batch_norm;
  inference.gradient = batch_norm_gradient;
  inference.lower = lower_batch_norm;
  inference.upgrade = upgrade_batch_norm;
  inference.layout = LayoutRule::kChannelsLast;
  inference.samples = batch_norm_samples;

  OpDef train;
  train.name = "BatchNormTraining";
  train.domain = kLowpDomain;
  train.min_inputs = 3;
  train.max_inputs = 4;
  train.max_outputs = 4;
  train.attrs = ir::AttrCodec::of<TrainingAttrs>();
  train.infer = infer_training;
  train.reference = training;
  train.gradient = training_gradient;
  train.lower = lower_training;
  train.layout = LayoutRule::kChannelsLast;
  train.channels_last_inputs = 1U | 1U << 3;
  train.samples = training_samples;

  OpDef back;
  back.name = "BatchNormGradient";
  back.domain = kLowpDomain;
  back.min_inputs = 5;
  back.max_inputs = 7;
  back.min_outputs = 3;
  back.max_outputs = 4;
  back.attrs = ir::AttrCodec::of<GradientAttrs>();
  back.infer = infer_gradient;
  back.reference = gradient;
  back.lower = lower_gradient;
  back.layout = LayoutRule::kChannelsLast;
  back.channels_last_inputs = 3U | 1U << 6;
  back.channels_last_outputs = 1U | 1U << 3;
  back.samples = gradient_samples;
  return {std::move(inference), std::move(train), std::move(back)};
}

}  // namespace lowp::ops
