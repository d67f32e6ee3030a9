// lowp.SigmoidCrossEntropyLoss(scores, targets): the binary cross-entropy of sigmoid(scores) against targets of the
// same shape in [0, 1], max(x, 0) - x t + log(1 + exp(-|x|)), reduced over all elements; and its gradient,
// lowp.SigmoidCrossEntropyGradient(scores, targets, dloss). The targets are data: they have no gradient.
#include "kernels/convert/convert.h"
#include "kernels/reduce/reduce.h"
#include "kernels/softmax/loss.h"
#include "ops/loss.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

struct SigmoidLossAttrs {
  std::string reduction = "mean";
  bool operator==(const SigmoidLossAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::field("reduction", &SigmoidLossAttrs::reduction)); }
};

Status check_operands(const InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  LOWP_TRY(check_reduction(ctx.attrs<SigmoidLossAttrs>().reduction));
  if (!ctx.has_rank(0) || !ctx.has_rank(1)) return {};
  if (ir::may_be_equal(ctx.dims(0), ctx.dims(1))) return {};
  return error(Code::kShapeMismatch, "scores are {} and targets {}, which must have one shape", ctx.type(0).to_string(),
               ctx.type(1).to_string());
}
Status infer(InferContext& ctx) {
  LOWP_TRY(check_operands(ctx));
  ctx.set(0, ctx.attrs<SigmoidLossAttrs>().reduction == "none" ? ctx.type(0) : TensorType(ctx.dtype(0), Extents{}));
  return {};
}
Status infer_gradient(InferContext& ctx) {
  LOWP_TRY(check_operands(ctx));
  LOWP_TRY(want_same_dtype(ctx, 0, 2));
  ctx.set(0, ctx.type(0));
  return {};
}

Status reference(EvalContext& ctx) {
  const Reduction reduction = reduction_of(ctx.attrs<SigmoidLossAttrs>().reduction);
  const auto x = to_doubles(ctx.in(0));
  const auto t = to_doubles(ctx.in(1));
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    double total = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double loss = std::max(x[i], 0.0) - x[i] * t[i] + std::log1p(std::exp(-std::abs(x[i])));
      total += loss;
      if (reduction == Reduction::kNone)
        ctx.out(0).mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(loss));
    }
    if (reduction == Reduction::kMean) total /= static_cast<double>(x.size());
    if (reduction != Reduction::kNone)
      ctx.out(0).mutable_data<T>()[0] = static_cast<T>(static_cast<compute_t<T>>(total));
    return {};
  });
}
Status reference_gradient(EvalContext& ctx) {
  const Reduction reduction = reduction_of(ctx.attrs<SigmoidLossAttrs>().reduction);
  const auto x = to_doubles(ctx.in(0));
  const auto t = to_doubles(ctx.in(1));
  const auto dloss = to_doubles(ctx.in(2));
  const double count = reduction == Reduction::kMean ? static_cast<double>(x.size()) : 1;
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < x.size(); ++i) {
      const double d = (1 / (1 + std::exp(-x[i])) - t[i]) * dloss[reduction == Reduction::kNone ? i : 0] / count;
      ctx.out(0).mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(d));
    }
    return {};
  });
}

Status lower(LowerContext& ctx) {
  const DType dtype = ctx.dtype(0);
  const Reduction reduction = reduction_of(ctx.attrs<SigmoidLossAttrs>().reduction);
  if (!kernels::is_stored_float(dtype)) return {};
  const int64_t n = ctx.in_size(0);
  const int threads = ctx.threads();
  ctx.set_scratch(static_cast<size_t>(n) * sizeof(float));
  ctx.emit(fmt::format("sigmoid_cross_entropy.{}", dtype_name(dtype)),
           [dtype, reduction, n, threads](const StepArgs& s) {
             float* loss = static_cast<float*>(s.scratch);
             kernels::sigmoid_cross_entropy(dtype, s.inputs[0], s.inputs[1], loss, n, threads);
             if (reduction == Reduction::kNone) {
               for (int64_t i = 0; i < n; ++i) store_float(dtype, s.outputs[0], i, loss[i]);
               return;
             }
             float total = 0;
             kernels::reduce_f32(kernels::Reduce::kSum, loss, &total, 1, n, 1, 1);
             store_float(dtype, s.outputs[0], 0, reduction == Reduction::kMean ? total / static_cast<float>(n) : total);
           });
  return {};
}
Status lower_gradient(LowerContext& ctx) {
  const DType dtype = ctx.dtype(0);
  const Reduction reduction = reduction_of(ctx.attrs<SigmoidLossAttrs>().reduction);
  if (!kernels::is_stored_float(dtype)) return {};
  const int64_t n = ctx.in_size(0);
  const int threads = ctx.threads();
  const bool each = reduction == Reduction::kNone;
  ctx.set_scratch(static_cast<size_t>(each ? n : 1) * sizeof(float));
  ctx.allow_in_place(0, 0);
  ctx.emit(fmt::format("sigmoid_cross_entropy_gradient.{}", dtype_name(dtype)), [dtype, reduction, n, threads,
                                                                                 each](const StepArgs& s) {
    float* scale = static_cast<float*>(s.scratch);
    for (int64_t i = 0; i < (each ? n : 1); ++i) scale[i] = load_float(dtype, s.inputs[2], i);
    if (reduction == Reduction::kMean) scale[0] /= static_cast<float>(n);
    kernels::sigmoid_cross_entropy_gradient(dtype, s.inputs[0], s.inputs[1], scale, !each, s.outputs[0], n, threads);
  });
  return {};
}

Status gradient(GradContext& g) {
  if (g.wants(1)) return error(Code::kUnsupported, "SigmoidCrossEntropyLoss has no gradient with respect to targets");
  g.set_grad_in(0, g.builder().op("SigmoidCrossEntropyGradient", {g.in(0), g.in(1), g.grad_out()},
                                  g.node().op->attrs.write(g.node().attrs), kLowpDomain));
  return {};
}

Sample sample(const char* reduction, DType dtype, Extents extents, bool dloss) {
  Sample s;
  s.attrs = {{"reduction", std::string(reduction)}};
  const bool each = std::string_view(reduction) == "none";
  s.inputs = {{dtype, extents, -9, 9}, {dtype, extents, 0, 1}};
  s.inputs[1].differentiable = false;
  if (dloss) s.inputs.push_back({dtype, each ? extents : Extents{}});
  return s;
}
template <bool kGradient>
std::vector<Sample> samples() {
  return {sample("mean", DType::kF32, {37}, kGradient), sample("sum", DType::kF32, {5, 7}, kGradient),
          sample("none", DType::kF32, {3, 35}, kGradient), sample("mean", DType::kBF16, {4, 9}, kGradient)};
}

}  // namespace

std::vector<OpDef> sigmoid_cross_entropy() {
  OpDef def;
  def.name = "SigmoidCrossEntropyLoss";
  def.domain = kLowpDomain;
  def.min_inputs = def.max_inputs = 2;
  def.attrs = ir::AttrCodec::of<SigmoidLossAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.gradient = gradient;
  def.lower = lower;
  def.samples = samples<false>;
  OpDef back = def;
  back.name = "SigmoidCrossEntropyGradient";
  back.min_inputs = back.max_inputs = 3;
  back.infer = infer_gradient;
  back.reference = reference_gradient;
  back.gradient = nullptr;
  back.lower = lower_gradient;
  back.samples = samples<true>;
  return {std::move(def), std::move(back)};
}

}  // namespace lowp::ops
