// SoftmaxCrossEntropyLoss(scores [N, C, ...], labels [N, ...], weights? [C]): -log softmax(scores)[label], reduced; and
// its gradient, lowp.SoftmaxCrossEntropyGradient(scores, labels, dloss, weights?).
#include "kernels/convert/convert.h"
#include "kernels/reduce/reduce.h"
#include "kernels/softmax/loss.h"
#include "ops/loss.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

struct LossAttrs {
  std::string reduction = "mean";
  std::optional<int64_t> ignore_index;
  bool operator==(const LossAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("reduction", &LossAttrs::reduction),
                      ir::field("ignore_index", &LossAttrs::ignore_index));
  }
};

// Where the operands are that differ between the two.
constexpr size_t kLossWeights = 2;
constexpr size_t kDloss = 2;
constexpr size_t kGradientWeights = 3;

// Scores, labels and weights of both ops.
Status check_operands(const InferContext& ctx, size_t weights) {
  const auto& a = ctx.attrs<LossAttrs>();
  LOWP_TRY(want_float(ctx, 0));
  if (ctx.dtype(1) != DType::kI64 && ctx.dtype(1) != DType::kI32)
    return error(Code::kTypeMismatch, "labels have dtype {}, i32 or i64 is wanted", dtype_name(ctx.dtype(1)));
  LOWP_TRY(check_reduction(a.reduction));
  if (ctx.has_rank(0) && ctx.has_rank(1)) {
    ir::Dims items = ctx.dims(0);
    if (items.size() >= 2) items.erase(items.begin() + 1);
    if (ctx.dims(0).size() < 2 || !ir::may_be_equal(items, ctx.dims(1))) {
      return error(Code::kShapeMismatch, "scores {} and labels {} do not go together", ctx.type(0).to_string(),
                   ctx.type(1).to_string());
    }
  }
  if (ctx.has_rank(weights) && ctx.has_rank(0)) {
    const ir::Dim& classes = ctx.dims(0)[1];
    const ir::Dims& w = ctx.dims(weights);
    if (w.size() != 1 || (w[0].known() && classes.known() && w[0].value() != classes.value())) {
      return error(Code::kShapeMismatch, "{} classes, but the weights have shape {}", classes.to_string(),
                   ctx.type(weights).to_string());
    }
  }
  return {};
}

Status infer(InferContext& ctx) {
  LOWP_TRY(check_operands(ctx, kLossWeights));
  if (ctx.attrs<LossAttrs>().reduction == "none") {
    TensorType t = ctx.type(1);
    t.dtype = ctx.dtype(0);
    ctx.set(0, std::move(t));
  } else {
    ctx.set(0, TensorType(ctx.dtype(0), Extents{}));
  }
  if (ctx.outputs() > 1) ctx.set(1, ctx.type(0));
  return {};
}
Status infer_gradient(InferContext& ctx) {
  LOWP_TRY(check_operands(ctx, kGradientWeights));
  LOWP_TRY(want_same_dtype(ctx, 0, kDloss));
  ctx.set(0, ctx.type(0));
  return {};
}

Status bad_label(int64_t label, int64_t position, int64_t classes) {
  return error(Code::kInvalidArgument, "label {} at position {} is outside {} classes", label, position, classes);
}

// Each label's weight, 0 where it is ignored.
Result<std::vector<double>> label_weights(EvalContext& ctx, const Extents& labels, size_t operand) {
  const auto& a = ctx.attrs<LossAttrs>();
  const int64_t classes = ctx.in(0).extent(1);
  const std::vector<double> of_class = ctx.has(operand) ? to_doubles(ctx.in(operand)) : std::vector<double>{};
  std::vector<double> weights(labels.size(), 0.0);
  for (size_t i = 0; i < labels.size(); ++i) {
    if (a.ignore_index && labels[i] == *a.ignore_index) continue;
    if (labels[i] < 0 || labels[i] >= classes) return fail(bad_label(labels[i], static_cast<int64_t>(i), classes));
    weights[i] = of_class.empty() ? 1 : of_class[static_cast<size_t>(labels[i])];
  }
  return weights;
}

// The scores of one position.
struct Position {
  std::vector<double> x;
  double top, log_sum;
  Position(const std::vector<double>& all, int64_t classes, int64_t inner, int64_t i) {
    const int64_t base = i / inner * classes * inner + i % inner;
    for (int64_t c = 0; c < classes; ++c) x.push_back(all[static_cast<size_t>(base + c * inner)]);
    top = *std::ranges::max_element(x);
    double sum = 0;
    for (const double v : x) sum += std::exp(v - top);
    log_sum = std::log(sum);
  }
  double log_prob(int64_t c) const { return x[static_cast<size_t>(c)] - top - log_sum; }
};
int64_t inner_of(const Tensor& x) {
  int64_t inner = 1;
  for (int i = 2; i < x.rank(); ++i) inner *= x.extent(i);
  return inner;
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<LossAttrs>();
  const Tensor& x = ctx.in(0);
  const int64_t classes = x.extent(1);
  const int64_t inner = inner_of(x);
  const Extents labels = ctx.in(1).to_int64s();
  LOWP_ASSIGN(const std::vector<double> weights, label_weights(ctx, labels, kLossWeights));
  const std::vector<double> all = to_doubles(x);
  return dispatch_float(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto round = [](double v) { return static_cast<T>(static_cast<compute_t<T>>(v)); };
    double total = 0;
    double weight_sum = 0;
    for (size_t i = 0; i < labels.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      const Position p(all, classes, inner, at);
      if (ctx.wants(1)) {
        const int64_t base = at / inner * classes * inner + at % inner;
        for (int64_t c = 0; c < classes; ++c) ctx.out(1).mutable_data<T>()[base + c * inner] = round(p.log_prob(c));
      }
      const bool ignored = a.ignore_index && labels[i] == *a.ignore_index;
      const double loss = ignored ? 0 : -weights[i] * p.log_prob(labels[i]);
      weight_sum += weights[i];
      total += loss;
      if (a.reduction == "none") ctx.out(0).mutable_data<T>()[i] = round(loss);
    }
    if (a.reduction == "mean") total /= weight_sum;
    if (a.reduction != "none") ctx.out(0).mutable_data<T>()[0] = round(total);
    return {};
  });
}

Status reference_gradient(EvalContext& ctx) {
  const auto& a = ctx.attrs<LossAttrs>();
  const Tensor& x = ctx.in(0);
  const int64_t classes = x.extent(1);
  const int64_t inner = inner_of(x);
  const Extents labels = ctx.in(1).to_int64s();
  LOWP_ASSIGN(const std::vector<double> weights, label_weights(ctx, labels, kGradientWeights));
  const std::vector<double> all = to_doubles(x);
  const std::vector<double> dloss = to_doubles(ctx.in(kDloss));
  double weight_sum = 0;
  for (const double w : weights) weight_sum += w;
  return dispatch_float(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < labels.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      const Position p(all, classes, inner, at);
      const bool ignored = a.ignore_index && labels[i] == *a.ignore_index;
      const double scale = weights[i] * dloss[a.reduction == "none" ? i : 0] / (a.reduction == "mean" ? weight_sum : 1);
      const int64_t base = at / inner * classes * inner + at % inner;
      for (int64_t c = 0; c < classes; ++c) {
        const double d = ignored ? 0 : (std::exp(p.log_prob(c)) - (c == labels[i] ? 1 : 0)) * scale;
        ctx.out(0).mutable_data<T>()[base + c * inner] = static_cast<T>(static_cast<compute_t<T>>(d));
      }
    }
    return {};
  });
}

// What both kernels need of the labels. Scratch: labels as i32, and two numbers for each row.
struct Rows {
  int64_t rows = 0, classes = 0;
  DType dtype = DType::kF32, label_dtype = DType::kI64;
  std::optional<int64_t> ignore;
  Reduction reduction = Reduction::kMean;
  size_t weights_at = 0;  // operand; 0: none
  int threads = 1;

  size_t scratch() const { return 3 * padded() * sizeof(float); }
  size_t padded() const { return (static_cast<size_t>(rows) + 15) & ~size_t{15}; }
  int32_t* labels(const StepArgs& s) const { return static_cast<int32_t*>(s.scratch); }
  float* first(const StepArgs& s) const { return static_cast<float*>(s.scratch) + padded(); }
  float* second(const StepArgs& s) const { return first(s) + padded(); }
  const float* weights(const StepArgs& s) const { return weights_at != 0 ? s.in<float>(weights_at) : nullptr; }

  // Labels as the kernels want them, -1 where ignored, and each row's weight. False where a label is wrong.
  bool read(const StepArgs& s, float* weight) const {
    int32_t* out = labels(s);
    const float* of_class = weights(s);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t label = label_dtype == DType::kI64 ? s.in<int64_t>(1)[i] : s.in<int32_t>(1)[i];
      const bool ignored = ignore && label == *ignore;
      if (!ignored && (label < 0 || label >= classes)) {
        *s.status = bad_label(label, i, classes);
        return false;
      }
      out[i] = ignored ? -1 : static_cast<int32_t>(label);
      weight[i] = ignored ? 0.0F : of_class != nullptr ? of_class[label] : 1.0F;
    }
    return true;
  }
  float sum(const float* x) const {
    float y = 0;
    kernels::reduce_f32(kernels::Reduce::kSum, x, &y, 1, rows, 1, 1);
    return y;
  }
};

// Rows of classes that lie side by side, in a dtype that has a kernel.
std::optional<Rows> rows_of(const LowerContext& ctx, size_t weights) {
  const auto& a = ctx.attrs<LossAttrs>();
  const Extents& x = ctx.in(0);
  if (!kernels::is_stored_float(ctx.dtype(0)) || x.size() != 2 || x[1] == 0 || x[1] > INT32_MAX ||
      (ctx.has(weights) && ctx.dtype(weights) != DType::kF32))
    return std::nullopt;
  return Rows{.rows = x[0],
              .classes = x[1],
              .dtype = ctx.dtype(0),
              .label_dtype = ctx.dtype(1),
              .ignore = a.ignore_index,
              .reduction = reduction_of(a.reduction),
              .weights_at = ctx.has(weights) ? weights : 0,
              .threads = ctx.threads()};
}

Status lower(LowerContext& ctx) {
  const auto rows = rows_of(ctx, kLossWeights);
  if (!rows) return {};
  ctx.set_scratch(rows->scratch());
  const bool log_prob = ctx.wants(1);
  ctx.emit(fmt::format("cross_entropy.{}", dtype_name(ctx.dtype(0))), [r = *rows, log_prob](const StepArgs& s) {
    float* loss = r.first(s);
    float* weight = r.second(s);
    if (!r.read(s, weight)) return;
    kernels::CrossEntropyArgs args;
    args.rows = r.rows;
    args.classes = r.classes;
    args.dtype = r.dtype;
    args.x = s.inputs[0];
    args.labels = r.labels(s);
    args.weights = r.weights(s);
    args.loss = loss;
    if (log_prob) args.log_prob = s.outputs[1];
    kernels::cross_entropy(args, r.threads);
    if (r.reduction == Reduction::kNone) {
      for (int64_t i = 0; i < r.rows; ++i) store_float(r.dtype, s.outputs[0], i, loss[i]);
      return;
    }
    const float total = r.sum(loss);
    store_float(r.dtype, s.outputs[0], 0, r.reduction == Reduction::kMean ? total / r.sum(weight) : total);
  });
  return {};
}

Status lower_gradient(LowerContext& ctx) {
  const auto rows = rows_of(ctx, kGradientWeights);
  if (!rows) return {};
  ctx.set_scratch(rows->scratch());
  ctx.allow_in_place(0, 0);
  ctx.emit(fmt::format("cross_entropy_gradient.{}", dtype_name(ctx.dtype(0))), [r = *rows](const StepArgs& s) {
    float* scale = r.first(s);
    if (!r.read(s, scale)) return;
    if (r.reduction == Reduction::kNone) {
      for (int64_t i = 0; i < r.rows; ++i) scale[i] *= load_float(r.dtype, s.inputs[kDloss], i);
    } else {
      float by = load_float(r.dtype, s.inputs[kDloss], 0);
      if (r.reduction == Reduction::kMean) by /= r.sum(scale);
      for (int64_t i = 0; i < r.rows; ++i) scale[i] *= by;
    }
    kernels::CrossEntropyGradientArgs args;
    args.rows = r.rows;
    args.classes = r.classes;
    args.dtype = r.dtype;
    args.x = s.inputs[0];
    args.labels = r.labels(s);
    args.scale = scale;
    args.dx = s.outputs[0];
    kernels::cross_entropy_gradient(args, r.threads);
  });
  return {};
}

Status gradient(GradContext& g) {
  if (!g.wants(0) || g.wants(kLossWeights))
    return error(Code::kUnsupported, "SoftmaxCrossEntropyLoss has a gradient with respect to scores, not to weights");
  GraphBuilder& b = g.builder();
  ir::Value* d = nullptr;
  if (g.grad_out(0) != nullptr) {
    d = b.op("SoftmaxCrossEntropyGradient", {g.in(0), g.in(1), g.grad_out(0), g.node().input(kLossWeights)},
             g.node().op->attrs.write(g.node().attrs), kLowpDomain);
  }
  if (g.grad_out(1) != nullptr) {
    ir::Value* more = b.op("LogSoftmaxGradient", {g.grad_out(1), g.out(1)}, {{"axis", int64_t{1}}}, kLowpDomain);
    d = d == nullptr ? more : b.op("Add", {d, more});
  }
  g.set_grad_in(0, d);
  return {};
}

Sample sample(AttrMap attrs, Extents scores, bool weights, std::optional<Extents> dloss, size_t outputs = 1) {
  Extents labels = scores;
  labels.erase(labels.begin() + 1);
  const int64_t classes = scores[1];
  Sample s;
  s.attrs = std::move(attrs);
  s.inputs = {{DType::kF32, std::move(scores), -8, 8}, {DType::kI64, labels, 0, static_cast<double>(classes - 1)}};
  SampleInput w{DType::kF32, {classes}, 0.5, 2};
  w.differentiable = false;
  if (dloss) s.inputs.push_back({DType::kF32, *dloss});
  if (weights) s.inputs.push_back(w);
  s.outputs = outputs;
  return s;
}
const AttrMap kSumAttrs = {{"reduction", std::string("sum")}};
const AttrMap kNoneAttrs = {{"reduction", std::string("none")}, {"ignore_index", int64_t{2}}};
const AttrMap kIgnoreAttrs = {{"ignore_index", int64_t{1}}};

}  // namespace

std::vector<OpDef> softmax_cross_entropy() {
  OpDef def;
  def.name = "SoftmaxCrossEntropyLoss";
  def.min_inputs = 2;
  def.max_inputs = 3;
  def.max_outputs = 2;
  def.attrs = ir::AttrCodec::of<LossAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.gradient = gradient;
  def.lower = lower;
  def.since_version = 12;
  def.samples = [] {
    std::vector<Sample> list = {sample({}, {5, 7}, false, {}),
                                sample(kSumAttrs, {3, 11}, true, {}),
                                sample(kNoneAttrs, {9, 4}, true, {}),
                                sample(kIgnoreAttrs, {30, 3}, true, {}, 2),
                                sample(kIgnoreAttrs, {3, 5, 4}, true, {}),
                                sample({}, {6, 1000}, false, {}, 2)};
    list.push_back(sample({}, {5, 7}, false, {}));
    list.back().inputs[0].dtype = DType::kBF16;
    return list;
  };
  OpDef back;
  back.name = "SoftmaxCrossEntropyGradient";
  back.domain = kLowpDomain;
  back.min_inputs = 3;
  back.max_inputs = 4;
  back.attrs = ir::AttrCodec::of<LossAttrs>();
  back.infer = infer_gradient;
  back.reference = reference_gradient;
  back.lower = lower_gradient;
  back.samples = [] {
    return std::vector<Sample>{sample({}, {5, 7}, false, Extents{}),
                               sample(kSumAttrs, {3, 11}, true, Extents{}),
                               sample(kNoneAttrs, {9, 4}, true, Extents{9}),
                               sample(kIgnoreAttrs, {30, 3}, true, Extents{}),
                               sample(kIgnoreAttrs, {3, 5, 4}, true, Extents{}),
                               sample({}, {6, 1000}, false, Extents{})};
  };
  return {std::move(def), std::move(back)};
}

}  // namespace lowp::ops
