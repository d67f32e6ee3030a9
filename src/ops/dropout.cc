// lowp.Dropout(x, seed i64 [], step i64 []) {ratio, stream}: each element is 0 with probability `ratio`, else divided
// by 1 - ratio. Which ones follows from seed, step, stream and position alone (kernels/random/random.h): the same on
// every CPU, with any number of threads, and in the backward pass, which is the same op on dy. Each node of a model has
// a `stream` of its own.
#include "kernels/convert/convert.h"
#include "kernels/random/random.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

struct DropoutAttrs {
  float ratio = 0.5F;
  int64_t stream = 0;
  bool operator==(const DropoutAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::field("ratio", &DropoutAttrs::ratio), ir::field("stream", &DropoutAttrs::stream));
  }
};

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<DropoutAttrs>();
  LOWP_TRY(want_float(ctx, 0));
  if (!(a.ratio >= 0) || a.ratio >= 1)
    return error(Code::kInvalidModel, "ratio is {}, 0 to below 1 is wanted", a.ratio);
  if (a.stream < 0 || a.stream > UINT32_MAX)
    return error(Code::kInvalidModel, "stream is {}, 0 to {} is wanted", a.stream, UINT32_MAX);
  for (size_t i = 1; i < 3; ++i) {
    LOWP_TRY(want_dtype(ctx, i, DType::kI64));
    if (ctx.has_rank(i) && ctx.type(i).rank() != 0)
      return error(Code::kShapeMismatch, "input {} has shape {}, a scalar is wanted", i, ctx.type(i).to_string());
  }
  return infer_same_as_input(ctx);
}

kernels::RandomKey key_of(const DropoutAttrs& a, int64_t seed, int64_t step) {
  return {static_cast<uint64_t>(seed), static_cast<uint64_t>(step), static_cast<uint32_t>(a.stream)};
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<DropoutAttrs>();
  const kernels::RandomKey key = key_of(a, *ctx.in(1).data<int64_t>(), *ctx.in(2).data<int64_t>());
  const float factor = 1.0F / (1.0F - a.ratio);
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    for (int64_t i = 0; i < ctx.in(0).size(); ++i) {
      const C x = static_cast<C>(ctx.in(0).data<T>()[i]);
      ctx.out(0).mutable_data<T>()[i] =
          static_cast<T>(kernels::random_uniform_at(key, i) < a.ratio ? C(0) : x * static_cast<C>(factor));
    }
    return {};
  });
}

Status lower(LowerContext& ctx) {
  const DType dtype = ctx.dtype(0);
  if (!kernels::is_stored_float(dtype)) return {};
  const DropoutAttrs a = ctx.attrs<DropoutAttrs>();
  const int64_t n = ctx.in_size(0);
  const int threads = ctx.threads();
  ctx.allow_in_place(0, 0);
  ctx.emit(fmt::format("dropout.{}", dtype_name(dtype)), [dtype, a, n, threads](const StepArgs& s) {
    const kernels::RandomKey key = key_of(a, *s.in<int64_t>(1), *s.in<int64_t>(2));
    kernels::dropout(dtype, s.inputs[0], s.outputs[0], n, a.ratio, key, threads);
  });
  return {};
}

Status gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("Dropout", {g.grad_out(), g.in(1), g.in(2)}, g.node().op->attrs.write(g.node().attrs),
                                  kLowpDomain));
  return {};
}

}  // namespace

std::vector<OpDef> dropout() {
  OpDef def;
  def.name = "Dropout";
  def.domain = kLowpDomain;
  def.min_inputs = def.max_inputs = 3;
  def.attrs = ir::AttrCodec::of<DropoutAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.gradient = gradient;
  def.lower = lower;
  def.samples = [] {
    const SampleInput number{DType::kI64, {}, 0, 1e6};
    std::vector<Sample> list;
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      list.push_back({{{"ratio", 0.3F}, {"stream", int64_t{7}}}, {{dtype, {5, 37}}, number, number}});
      list.back().tolerance_ulps = 0;
    }
    return list;
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
