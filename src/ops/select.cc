// Clip, Cast, CastLike and Where.
#include <cmath>

#include "base/storage_types.h"
#include "kernels/convert/convert.h"
#include "kernels/elementwise/elementwise.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::field;

// ---- Clip(x, min?, max?) ----

Status clip(EvalContext& ctx) {
  return dispatch_numeric(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    const T* x = ctx.in(0).data<T>();
    T* y = ctx.out(0).mutable_data<T>();
    const bool has_lo = ctx.has(1);
    const bool has_hi = ctx.has(2);
    const C lo = has_lo ? static_cast<C>(ctx.in(1).data<T>()[0]) : C(0);
    const C hi = has_hi ? static_cast<C>(ctx.in(2).data<T>()[0]) : C(0);
    for (int64_t i = 0; i < ctx.in(0).size(); ++i) {
      C v = static_cast<C>(x[i]);
      if (has_lo && v < lo) v = lo;
      if (has_hi && v > hi) v = hi;
      y[i] = static_cast<T>(v);
    }
    return {};
  });
}
Status lower_clip(LowerContext& ctx) {
  // Bounds that vary from run to run stay with the reference.
  if (ctx.dtype(0) != DType::kF32 || (ctx.has(1) && ctx.known(1) == nullptr) || (ctx.has(2) && ctx.known(2) == nullptr))
    return {};
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const kernels::UnaryParams params{ctx.has(1) ? ctx.known(1)->data<float>()[0] : -kInf,
                                    ctx.has(2) ? ctx.known(2)->data<float>()[0] : kInf};
  const int64_t n = ctx.in_size(0);
  const int threads = ctx.threads();
  ctx.allow_in_place(0, 0);
  ctx.emit("elementwise.f32", [params, n, threads](const StepArgs& s) {
    kernels::unary_f32(kernels::Unary::kClip, params, s.in<float>(0), s.out<float>(0), n, threads);
  });
  return {};
}
Status clip_gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  ir::Value* grad = g.grad_out();
  ir::Value* zero = b.scalar_like(grad, 0);
  if (g.in(1) != nullptr) grad = b.op("Where", {b.op("Less", {g.in(0), g.in(1)}), zero, grad});
  if (g.node().input(2) != nullptr) grad = b.op("Where", {b.op("Greater", {g.in(0), g.in(2)}), zero, grad});
  g.set_grad_in(0, grad);
  return {};
}
Status upgrade_clip(ImportedNode& node) {
  node.attrs.erase("consumed_inputs");
  node.float_attr_to_input("min", 1);
  node.float_attr_to_input("max", 2);
  return {};
}
std::vector<Sample> clip_samples() {
  SampleInput lo{DType::kF32, {}};
  lo.value = Tensor::scalar(-0.5F);
  lo.constant = true;
  lo.differentiable = false;
  SampleInput hi = lo;
  hi.value = Tensor::scalar(1.25F);
  return {{{}, {{DType::kF32, {3, 5, 7}}, lo, hi}}, {{}, {{DType::kF32, {67}}, lo}}};
}

// ---- Cast ----

struct CastAttrs {
  DType to = DType::kInvalid;
  bool saturate = true;
  std::string round_mode = "up";  // of casts to f8e8m0
  bool operator==(const CastAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(ir::required_field("to", &CastAttrs::to), field("saturate", &CastAttrs::saturate),
                      field("round_mode", &CastAttrs::round_mode));
  }
};
struct CastLikeAttrs {
  bool saturate = true;
  std::string round_mode = "up";
  bool operator==(const CastLikeAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("saturate", &CastLikeAttrs::saturate), field("round_mode", &CastLikeAttrs::round_mode));
  }
};

Status infer_cast(InferContext& ctx) {
  const auto& a = ctx.attrs<CastAttrs>();
  if (a.to == DType::kString || ctx.dtype(0) == DType::kString)
    return error(Code::kUnsupported, "casts to and from strings are not supported");
  TensorType t = ctx.type(0);
  t.dtype = a.to;
  ctx.set(0, std::move(t));
  return {};
}
Status infer_cast_like(InferContext& ctx) {
  if (ctx.dtype(1) == DType::kString || ctx.dtype(0) == DType::kString)
    return error(Code::kUnsupported, "casts to and from strings are not supported");
  TensorType t = ctx.type(0);
  t.dtype = ctx.dtype(1);
  ctx.set(0, std::move(t));
  return {};
}

// A float out of an integer type's range is undefined in ONNX and in C++; here it saturates, and NaN becomes 0.
template <typename To, typename From>
To convert(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    if (x != x) return To(0);
    if (x <= static_cast<From>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (x >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

Status cast_tensor(const Tensor& x, Tensor& y, bool saturate, const std::string& round_mode) {
  const auto n = static_cast<size_t>(x.size());
  if (is_storage_type(x.dtype()) || is_storage_type(y.dtype())) {
    // Through float, which holds every value of the storage types exactly.
    std::vector<float> values(n);
    if (is_storage_type(x.dtype())) {
      for (size_t i = 0; i < n; ++i) values[i] = decode_storage(x.dtype(), load_packed(x.dtype(), x.raw(), i));
    } else {
      const std::vector<double> d = to_doubles(x);
      for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(d[i]);
    }
    if (is_storage_type(y.dtype())) {
      const ScaleRounding rounding = round_mode == "down"      ? ScaleRounding::kDown
                                     : round_mode == "nearest" ? ScaleRounding::kNearest
                                                               : ScaleRounding::kUp;
      if (is_integer(y.dtype()) && is_integer(x.dtype())) {
        // Integer to integer keeps the low bits, as between the wider types.
        const Extents wide = is_storage_type(x.dtype()) ? Extents(values.begin(), values.end()) : x.to_int64s();
        for (size_t i = 0; i < n; ++i) store_packed(y.dtype(), y.mutable_raw(), i, static_cast<uint8_t>(wide[i]));
        return {};
      }
      for (size_t i = 0; i < n; ++i) {
        const float value = is_integer(y.dtype()) ? std::trunc(values[i]) : values[i];
        store_packed(y.dtype(), y.mutable_raw(), i, encode_storage(y.dtype(), value, saturate, rounding));
      }
      return {};
    }
    return dispatch_any(y.dtype(), [&](auto tag) -> Status {
      using T = typename decltype(tag)::type;
      for (size_t i = 0; i < n; ++i) y.mutable_data<T>()[i] = static_cast<T>(convert<compute_t<T>>(values[i]));
      return {};
    });
  }
  return dispatch_any(x.dtype(), [&](auto from) -> Status {
    using F = typename decltype(from)::type;
    return dispatch_any(y.dtype(), [&](auto to) -> Status {
      using T = typename decltype(to)::type;
      const F* px = x.data<F>();
      T* py = y.mutable_data<T>();
      for (size_t i = 0; i < n; ++i) py[i] = static_cast<T>(convert<compute_t<T>>(static_cast<compute_t<F>>(px[i])));
      return {};
    });
  });
}
Status cast(EvalContext& ctx) {
  const auto& a = ctx.attrs<CastAttrs>();
  return cast_tensor(ctx.in(0), ctx.out(0), a.saturate, a.round_mode);
}
// Between the floats that training stores.
Status lower_cast(LowerContext& ctx) {
  const DType from = ctx.dtype(0), to = ctx.out_dtype(0);
  for (DType t : {from, to}) {
    if (!kernels::is_stored_float(t)) return {};
  }
  if (from == to) {
    ctx.alias(0, 0);
    return {};
  }
  const int64_t n = ctx.in_size(0);
  const int threads = ctx.threads();
  ctx.emit(fmt::format("convert.{}_{}", dtype_name(from), dtype_name(to)), [from, to, n, threads](const StepArgs& s) {
    kernels::convert_stored(from, s.inputs[0], to, s.outputs[0], n, threads);
  });
  return {};
}
Status cast_like(EvalContext& ctx) {
  const auto& a = ctx.attrs<CastLikeAttrs>();
  return cast_tensor(ctx.in(0), ctx.out(0), a.saturate, a.round_mode);
}
Status cast_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().cast(g.grad_out(), g.in(0)->type.dtype));
  return {};
}
Status upgrade_cast(ImportedNode& node) {
  // Before opset 6, `to` was the type's name.
  auto it = node.attrs.find("to");
  if (it != node.attrs.end() && std::holds_alternative<std::string>(it->second)) {
    return error(Code::kUnsupported, "Cast of opset {} names its type by a string", node.version)
        .with_hint("convert the model to opset 7 or later");
  }
  return {};
}

// ---- Where(condition, x, y) ----

Status infer_where(InferContext& ctx) {
  LOWP_TRY(want_dtype(ctx, 0, DType::kBool));
  LOWP_TRY(want_same_dtype(ctx, 1, 2));
  if (!ctx.has_rank(0) || !ctx.has_rank(1) || !ctx.has_rank(2)) {
    ctx.set_unranked(0, ctx.dtype(1));
    return {};
  }
  LOWP_ASSIGN(ir::Dims xy, ir::broadcast_dims(ctx.dims(1), ctx.dims(2)));
  LOWP_ASSIGN(ir::Dims all, ir::broadcast_dims(ctx.dims(0), xy));
  ctx.set(0, ctx.dtype(1), std::move(all));
  return {};
}
Status where(EvalContext& ctx) {
  return dispatch_size(ctx.in(1).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    Tensor& y = ctx.out(0);
    const Extents sc = broadcast_strides(ctx.in(0).extents(), y.extents());
    const Extents sa = broadcast_strides(ctx.in(1).extents(), y.extents());
    const Extents sb = broadcast_strides(ctx.in(2).extents(), y.extents());
    const bool* c = ctx.in(0).data<bool>();
    const T* a = static_cast<const T*>(ctx.in(1).raw());
    const T* b = static_cast<const T*>(ctx.in(2).raw());
    T* out = static_cast<T*>(y.mutable_raw());
    for_each_index(y.extents(), [&](int64_t i, const Extents& index) {
      out[i] = c[dot(sc, index)] ? a[dot(sa, index)] : b[dot(sb, index)];
    });
    return {};
  });
}
Status where_gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  ir::Value* zero = b.scalar_like(g.grad_out(), 0);
  auto sum_to = [&](ir::Value* v, size_t i) {
    return v->type == g.in(i)->type ? v : b.op("SumTo", {v, g.in(i)}, {}, kLowpDomain);
  };
  if (g.wants(1)) g.set_grad_in(1, sum_to(b.op("Where", {g.in(0), g.grad_out(), zero}), 1));
  if (g.wants(2)) g.set_grad_in(2, sum_to(b.op("Where", {g.in(0), zero, g.grad_out()}), 2));
  return {};
}
std::vector<Sample> where_samples() {
  return {{{}, {{DType::kBool, {3, 5}, 0, 1}, {DType::kF32, {3, 5}}, {DType::kF32, {5}}}},
          {{}, {{DType::kBool, {3, 1}, 0, 1}, {DType::kF32, {}}, {DType::kF32, {1, 5}}}}};
}
std::vector<Sample> cast_samples() {
  return {{{{"to", int64_t{7}}}, {{DType::kF32, {3, 5}, -9, 9}}},
          {{{"to", int64_t{1}}}, {{DType::kI64, {33}, -9, 9}}},
          {{{"to", int64_t{11}}}, {{DType::kF32, {3, 5}}}},
          {{{"to", int64_t{16}}}, {{DType::kF32, {33}}}},
          {{{"to", int64_t{10}}}, {{DType::kF32, {5000}, -7e4, 7e4}}},
          {{{"to", int64_t{1}}}, {{DType::kBF16, {33}}}},
          {{{"to", int64_t{16}}}, {{DType::kF16, {3000}}}}};
}

}  // namespace

std::vector<OpDef> select() {
  OpDef clip_def;
  clip_def.name = "Clip";
  clip_def.max_inputs = 3;
  clip_def.infer = infer_same_as_input;
  clip_def.reference = clip;
  clip_def.gradient = clip_gradient;
  clip_def.lower = lower_clip;
  clip_def.layout = LayoutRule::kAny;
  clip_def.upgrade = upgrade_clip;
  clip_def.samples = clip_samples;

  OpDef cast_def;
  cast_def.name = "Cast";
  cast_def.attrs = ir::AttrCodec::of<CastAttrs>();
  cast_def.infer = infer_cast;
  cast_def.reference = cast;
  cast_def.gradient = cast_gradient;
  cast_def.lower = lower_cast;
  cast_def.layout = LayoutRule::kAny;
  cast_def.upgrade = upgrade_cast;
  cast_def.samples = cast_samples;

  OpDef cast_like_def;
  cast_like_def.name = "CastLike";
  cast_like_def.min_inputs = cast_like_def.max_inputs = 2;
  cast_like_def.attrs = ir::AttrCodec::of<CastLikeAttrs>();
  cast_like_def.infer = infer_cast_like;
  cast_like_def.reference = cast_like;
  cast_like_def.since_version = 15;

  OpDef where_def;
  where_def.name = "Where";
  where_def.min_inputs = where_def.max_inputs = 3;
  where_def.infer = infer_where;
  where_def.reference = where;
  where_def.gradient = where_gradient;
  where_def.since_version = 9;
  where_def.samples = where_samples;
  return {std::move(clip_def), std::move(cast_def), std::move(cast_like_def), std::move(where_def)};
}

}  // namespace lowp::ops
