// SoftmaxCrossEntropyLoss(scores [N, C, ...], labels [N, ...]): -log softmax(scores)[label], reduced.
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

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<LossAttrs>();
  LOWP_TRY(want_float(ctx, 0));
  if (ctx.dtype(1) != DType::kI64 && ctx.dtype(1) != DType::kI32)
    return error(Code::kTypeMismatch, "labels have dtype {}, i32 or i64 is wanted", dtype_name(ctx.dtype(1)));
  if (a.reduction != "none" && a.reduction != "mean" && a.reduction != "sum")
    return error(Code::kInvalidModel, "unknown reduction '{}'", a.reduction);
  if (ctx.has_rank(0) && ctx.has_rank(1) && (ctx.dims(0).size() < 2 || ctx.dims(1).size() + 1 != ctx.dims(0).size())) {
    return error(Code::kShapeMismatch, "scores {} and labels {} do not go together", ctx.type(0).to_string(),
                 ctx.type(1).to_string());
  }
  if (a.reduction == "none") {
    TensorType t = ctx.type(1);
    t.dtype = ctx.dtype(0);
    ctx.set(0, std::move(t));
  } else {
    ctx.set(0, TensorType(ctx.dtype(0), Extents{}));
  }
  if (ctx.outputs() > 1) ctx.set(1, ctx.type(0));
  return {};
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<LossAttrs>();
  const Tensor& x = ctx.in(0);
  const int64_t classes = x.extent(1);
  int64_t inner = 1;
  for (int i = 2; i < x.rank(); ++i) inner *= x.extent(i);
  const Extents labels = ctx.in(1).to_int64s();
  const std::vector<double> weights = ctx.has(2) ? to_doubles(ctx.in(2)) : std::vector<double>{};
  return dispatch_float(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    double total = 0;
    double weight_sum = 0;
    for (size_t i = 0; i < labels.size(); ++i) {
      const int64_t base = static_cast<int64_t>(i) / inner * classes * inner + static_cast<int64_t>(i) % inner;
      auto at = [&](int64_t c) {
        return static_cast<double>(static_cast<compute_t<T>>(x.data<T>()[base + c * inner]));
      };
      double top = -std::numeric_limits<double>::infinity();
      for (int64_t c = 0; c < classes; ++c) top = std::max(top, at(c));
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c) sum += std::exp(at(c) - top);
      if (ctx.wants(1)) {
        for (int64_t c = 0; c < classes; ++c)
          ctx.out(1).mutable_data<T>()[base + c * inner] =
              static_cast<T>(static_cast<compute_t<T>>(at(c) - top - std::log(sum)));
      }
      double loss = 0;
      if (!a.ignore_index || labels[i] != *a.ignore_index) {
        if (labels[i] < 0 || labels[i] >= classes)
          return error(Code::kInvalidArgument, "label {} at position {} is outside {} classes", labels[i], i, classes);
        const double w = weights.empty() ? 1 : weights[static_cast<size_t>(labels[i])];
        loss = -w * (at(labels[i]) - top - std::log(sum));
        weight_sum += w;
      }
      total += loss;
      if (a.reduction == "none") ctx.out(0).mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(loss));
    }
    if (a.reduction == "mean") total /= weight_sum;
    if (a.reduction != "none") ctx.out(0).mutable_data<T>()[0] = static_cast<T>(static_cast<compute_t<T>>(total));
    return {};
  });
}

Status gradient(GradContext& g) {
  // (softmax(x) - onehot(label)) * dy, divided by the number of labels for the mean
  const auto& a = g.attrs<LossAttrs>();
  if (a.reduction == "none" || a.ignore_index || g.node().input(2) != nullptr || g.grad_out(0) == nullptr ||
      g.in(0)->type.rank() != 2 || !(*g.in(0)->type.dims)[1].known()) {
    return error(Code::kUnsupported,
                 "the gradient of SoftmaxCrossEntropyLoss wants rank 2, known classes, reduction mean or sum, no "
                 "weights and no ignore_index");
  }
  GraphBuilder& b = g.builder();
  std::vector<int64_t> classes;
  for (int64_t c = 0; c < (*g.in(0)->type.dims)[1].value(); ++c) classes.push_back(c);
  ir::Value* labels =
      b.op("Cast", {b.op("Unsqueeze", {g.in(1), b.ints({1})})}, {{"to", ir::dtype_to_onnx(DType::kI64)}});
  const AttrMap to_float = {{"to", ir::dtype_to_onnx(g.in(0)->type.dtype)}};
  ir::Value* one_hot = b.op("Cast", {b.op("Equal", {labels, b.ints(classes)})}, to_float);
  ir::Value* d = b.op("Mul", {b.op("Sub", {b.op("Softmax", {g.in(0)}), one_hot}), g.grad_out(0)});
  if (a.reduction == "mean") d = b.op("Div", {d, b.op("Cast", {b.op("Size", {g.in(1)})}, to_float)});
  g.set_grad_in(0, d);
  return {};
}

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
  def.since_version = 12;
  def.samples = [] {
    return std::vector<Sample>{
        {{}, {{DType::kF32, {5, 7}}, {DType::kI64, {5}, 0, 6}}},
        {{{"reduction", std::string("sum")}}, {{DType::kF32, {3, 11}, -8, 8}, {DType::kI64, {3}, 0, 10}}}};
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
