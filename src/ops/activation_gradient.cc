// Gradients of activations in one pass: lowp.ReluGradient, SigmoidGradient and TanhGradient of (dy, y), y being the
// activation's result, and lowp.GeluGradient(dy, x) {approximate}.
#include <numbers>

#include "kernels/activation/activation.h"
#include "kernels/convert/convert.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

struct GeluGradientAttrs {
  std::string approximate = "none";
  bool operator==(const GeluGradientAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::field("approximate", &GeluGradientAttrs::approximate)); }
};

Status infer(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  // Of two symbolic shapes that must be the same, the known extents of either.
  ctx.set(0, ctx.type(0));
  if (!ctx.has_rank(0) || !ctx.has_rank(1)) return {};
  if (ir::may_be_equal(ctx.dims(0), ctx.dims(1))) return {};
  return error(Code::kShapeMismatch, "inputs are {} and {}, which must have one shape", ctx.type(0).to_string(),
               ctx.type(1).to_string());
}

using Op = kernels::ActivationGradient;

Op op_of(const ir::Node& node) {
  const std::string& name = node.op->name;
  if (name == "ReluGradient") return Op::kRelu;
  if (name == "SigmoidGradient") return Op::kSigmoid;
  if (name == "TanhGradient") return Op::kTanh;
  return node.attrs.get<GeluGradientAttrs>().approximate == "tanh" ? Op::kGeluTanh : Op::kGelu;
}

double derivative(Op op, double v) {
  switch (op) {
    case Op::kRelu: return v > 0 ? 1 : 0;
    case Op::kSigmoid: return v * (1 - v);
    case Op::kTanh: return 1 - v * v;
    case Op::kGelu:
      return 0.5 * std::erfc(-v / std::numbers::sqrt2) + v * std::exp(-0.5 * v * v) / std::sqrt(2 * std::numbers::pi);
    default: {
      // The constants of the forward pass's reference.
      const double k = 0.7978845608028654;
      const double t = std::tanh(k * (v + 0.044715 * v * v * v));
      return 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * k * (1 + 3 * 0.044715 * v * v);
    }
  }
}
Status reference(EvalContext& ctx) {
  const Op op = op_of(ctx.node());
  const auto dy = to_doubles(ctx.in(0));
  const auto v = to_doubles(ctx.in(1));
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < dy.size(); ++i) {
      const double d = derivative(op, v[i]);
      ctx.out(0).mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(d == 0 ? 0 : dy[i] * d));
    }
    return {};
  });
}
Status lower(LowerContext& ctx) {
  const DType dtype = ctx.dtype(0);
  if (!kernels::is_stored_float(dtype)) return {};
  const Op op = op_of(ctx.node());
  const int64_t n = ctx.in_size(0);
  const int threads = ctx.threads();
  ctx.allow_in_place(0, 0);
  ctx.emit(fmt::format("activation_gradient.{}", dtype_name(dtype)), [op, dtype, n, threads](const StepArgs& s) {
    kernels::activation_gradient(op, dtype, s.inputs[0], s.inputs[1], s.outputs[0], n, threads);
  });
  return {};
}

Sample sample(DType dtype, double low, AttrMap attrs = {}) {
  return {std::move(attrs), {{dtype, {3, 5, 7}}, {dtype, {3, 5, 7}, low, 2}}};
}

}  // namespace

std::vector<OpDef> activation_gradient() {
  OpDef def;
  def.domain = kLowpDomain;
  def.min_inputs = def.max_inputs = 2;
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  def.layout = LayoutRule::kAny;
  def.samples = [] { return std::vector<Sample>{sample(DType::kF32, -2), sample(DType::kBF16, 0)}; };
  std::vector<OpDef> defs;
  for (const char* name : {"ReluGradient", "SigmoidGradient", "TanhGradient"}) {
    def.name = name;
    defs.push_back(def);
  }
  def.name = "GeluGradient";
  def.attrs = ir::AttrCodec::of<GeluGradientAttrs>();
  def.samples = [] {
    const AttrMap tanh = {{"approximate", std::string("tanh")}};
    return std::vector<Sample>{sample(DType::kF32, -4), sample(DType::kF32, -4, tanh), sample(DType::kBF16, -2)};
  };
  defs.push_back(def);
  return defs;
}

}  // namespace lowp::ops
