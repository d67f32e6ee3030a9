// QuantizeLinear and DequantizeLinear, per tensor, per axis and blocked; DynamicQuantizeLinear.
#include "ops/quantize_linear.h"

#include "base/storage_types.h"
#include "kernels/quantize/quantize.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

// Maps an element of x to its scale: per tensor, along an axis, or in blocks along an axis.
class ScaleIndex {
 public:
  static Result<ScaleIndex> make(const Tensor& x, const Tensor& scale, const QuantizeAttrs& a) {
    ScaleIndex s;
    if (scale.size() == 1 && scale.rank() <= 1) return s;
    LOWP_ASSIGN(int64_t axis, normalize_axis(a.axis, x.rank()));
    s.axis_extent_ = x.extent(static_cast<int>(axis));
    for (int i = static_cast<int>(axis) + 1; i < x.rank(); ++i) s.inner_ *= x.extent(i);
    s.scalar_ = false;
    if (scale.rank() == 1) {
      if (scale.size() != s.axis_extent_)
        return fail(Code::kShapeMismatch, "{} scales for axis {} of extent {}", scale.size(), axis, s.axis_extent_);
      s.blocks_ = s.axis_extent_;
      s.per_axis_ = true;
      return s;
    }
    if (scale.rank() != x.rank())
      return fail(Code::kShapeMismatch, "scale has shape {} for an input of {}", scale.type().to_string(),
                  x.type().to_string());
    s.blocks_ = scale.extent(static_cast<int>(axis));
    if (s.blocks_ == 0) return fail(Code::kShapeMismatch, "no scales");
    s.block_ = a.block_size > 0 ? a.block_size : (s.axis_extent_ + s.blocks_ - 1) / s.blocks_;
    if ((s.axis_extent_ + s.block_ - 1) / s.block_ != s.blocks_)
      return fail(Code::kShapeMismatch, "{} blocks of {} for an axis of {}", s.blocks_, s.block_, s.axis_extent_);
    for (int i = 0; i < x.rank(); ++i) {
      if (i != axis && scale.extent(i) != x.extent(i))
        return fail(Code::kShapeMismatch, "scale has shape {} for an input of {}", scale.type().to_string(),
                    x.type().to_string());
    }
    return s;
  }
  int64_t operator()(int64_t i) const {
    if (scalar_) return 0;
    const int64_t k = i / inner_ % axis_extent_;
    if (per_axis_) return k;
    return (i / inner_ / axis_extent_ * blocks_ + k / block_) * inner_ + i % inner_;
  }

 private:
  bool scalar_ = true;
  bool per_axis_ = false;
  int64_t axis_extent_ = 1;
  int64_t inner_ = 1;
  int64_t blocks_ = 1;
  int64_t block_ = 1;
};

struct IntegerRange {
  double low;
  double high;
};
Result<IntegerRange> integer_range(DType t) {
  if (!is_integer(t)) return fail(Code::kTypeMismatch, "{} is not an integer type", dtype_name(t));
  const int bits = dtype_bits(t);
  const double span = std::ldexp(1.0, bits);
  return is_signed_integer(t) ? IntegerRange{-span / 2, span / 2 - 1} : IntegerRange{0, span - 1};
}

void store(Tensor& t, int64_t i, double value) {
  if (is_storage_type(t.dtype())) {
    store_packed(t.dtype(), t.mutable_raw(), static_cast<size_t>(i),
                 encode_storage(t.dtype(), static_cast<float>(value)));
    return;
  }
  Status s = dispatch_integer(t.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    t.mutable_data<T>()[i] = static_cast<T>(value);
    return {};
  });
  LOWP_CHECK(s.is_ok());
}
double load(const Tensor& t, int64_t i) {
  if (is_storage_type(t.dtype()))
    return static_cast<double>(decode_storage(t.dtype(), load_packed(t.dtype(), t.raw(), static_cast<size_t>(i))));
  double v = 0;
  Status s = dispatch_any(t.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    v = static_cast<double>(static_cast<compute_t<T>>(t.data<T>()[i]));
    return {};
  });
  LOWP_CHECK(s.is_ok());
  return v;
}

// ---- QuantizeLinear(x, scale, zero_point?) ----

Status infer_quantize(InferContext& ctx) {
  const auto& a = ctx.attrs<QuantizeAttrs>();
  TensorType t = ctx.type(0);
  t.dtype = ctx.has(2) ? ctx.dtype(2) : a.output_dtype != DType::kInvalid ? a.output_dtype : DType::kU8;
  ctx.set(0, std::move(t));
  return {};
}
Status quantize(EvalContext& ctx) {
  const auto& a = ctx.attrs<QuantizeAttrs>();
  const Tensor& x = ctx.in(0);
  Tensor& y = ctx.out(0);
  LOWP_ASSIGN(ScaleIndex index, ScaleIndex::make(x, ctx.in(1), a));
  const bool integer = is_integer(y.dtype());
  IntegerRange range{0, 0};
  if (integer) {
    LOWP_ASSIGN(range, integer_range(y.dtype()));
  }
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t k = index(i);
    const double zero = ctx.has(2) ? load(ctx.in(2), k) : 0;
    // The quotient is rounded to float, as a runtime that computes in float would.
    const double q = static_cast<double>(static_cast<float>(load(x, i)) / static_cast<float>(load(ctx.in(1), k)));
    if (!integer) {
      store(y, i, q + zero);
    } else if (q != q) {
      store(y, i, zero);
    } else {
      store(y, i, std::clamp(std::nearbyint(q) + zero, range.low, range.high));
    }
  }
  return {};
}

// ---- DequantizeLinear(x, scale, zero_point?) ----

Status infer_dequantize(InferContext& ctx) {
  const auto& a = ctx.attrs<QuantizeAttrs>();
  TensorType t = ctx.type(0);
  t.dtype = a.output_dtype != DType::kInvalid ? a.output_dtype : ctx.dtype(1);
  ctx.set(0, std::move(t));
  return {};
}
Status dequantize(EvalContext& ctx) {
  const Tensor& x = ctx.in(0);
  LOWP_ASSIGN(ScaleIndex index, ScaleIndex::make(x, ctx.in(1), ctx.attrs<QuantizeAttrs>()));
  return dispatch_float(ctx.out(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < x.size(); ++i) {
      const int64_t k = index(i);
      const double zero = ctx.has(2) ? load(ctx.in(2), k) : 0;
      const float v = static_cast<float>(load(x, i) - zero) * static_cast<float>(load(ctx.in(1), k));
      ctx.out(0).mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(v));
    }
    return {};
  });
}

// Kernel arguments for constant scales, per tensor or along an axis of a plain tensor, 8-bit on one side and f32 on the
// other; null where the reference must do it.
struct Channels {
  kernels::QuantizeArgs args;
  std::vector<float> scales;
  std::vector<int32_t> zeros;
};
std::shared_ptr<Channels> channels_of(const LowerContext& ctx, DType q) {
  if (q != DType::kU8 && q != DType::kI8) return nullptr;
  const Tensor* scale = ctx.known(1);
  const Tensor* zero = ctx.known(2);
  if (scale == nullptr || scale->dtype() != DType::kF32 || (ctx.has(2) && zero == nullptr)) return nullptr;
  auto c = std::make_shared<Channels>();
  c->args.dtype = q;
  c->args.inner = ctx.in_size(0);
  if (scale->size() != 1) {
    if (scale->rank() != 1 || ctx.in_layout(0) != ir::Layout::kPlain) return nullptr;
    auto axis = normalize_axis(ctx.attrs<QuantizeAttrs>().axis, static_cast<int64_t>(ctx.in(0).size()));
    if (!axis || ctx.in(0)[static_cast<size_t>(*axis)] != scale->size()) return nullptr;
    c->args.channels = scale->size();
    c->args.inner = 1;
    for (size_t i = static_cast<size_t>(*axis) + 1; i < ctx.in(0).size(); ++i) c->args.inner *= ctx.in(0)[i];
    c->args.outer = ctx.in_size(0) / std::max<int64_t>(1, c->args.channels * c->args.inner);
  }
  c->scales.assign(scale->data<float>(), scale->data<float>() + scale->size());
  for (float s : c->scales) {
    if (!(s > 0)) return nullptr;
  }
  c->zeros.assign(c->scales.size(), 0);
  if (zero != nullptr) {
    const Extents z = zero->to_int64s();
    if (z.size() != c->zeros.size()) return nullptr;
    for (size_t i = 0; i < z.size(); ++i) c->zeros[i] = static_cast<int32_t>(z[i]);
  }
  return c;
}
Status lower_quantize(LowerContext& ctx) {
  auto c = ctx.dtype(0) == DType::kF32 ? channels_of(ctx, ctx.out_dtype(0)) : nullptr;
  if (!c) return {};
  const int threads = ctx.threads();
  ctx.emit("quantize.f32", [c, threads](const StepArgs& s) {
    kernels::QuantizeArgs args = c->args;
    args.scale = c->scales.data();
    args.zero_point = c->zeros.data();
    kernels::quantize_f32(args, s.in<float>(0), s.outputs[0], threads);
  });
  return {};
}
Status lower_dequantize(LowerContext& ctx) {
  auto c = ctx.out_dtype(0) == DType::kF32 ? channels_of(ctx, ctx.dtype(0)) : nullptr;
  if (!c) return {};
  const int threads = ctx.threads();
  ctx.emit("dequantize.f32", [c, threads](const StepArgs& s) {
    kernels::QuantizeArgs args = c->args;
    args.scale = c->scales.data();
    args.zero_point = c->zeros.data();
    kernels::dequantize_f32(args, s.inputs[0], s.out<float>(0), threads);
  });
  return {};
}

// ---- DynamicQuantizeLinear(x) -> y u8, scale, zero point ----

Status infer_dynamic(InferContext& ctx) {
  TensorType t = ctx.type(0);
  t.dtype = DType::kU8;
  ctx.set(0, std::move(t));
  if (ctx.outputs() > 1) ctx.set(1, TensorType(DType::kF32, Extents{}));
  if (ctx.outputs() > 2) ctx.set(2, TensorType(DType::kU8, Extents{}));
  return want_dtype(ctx, 0, DType::kF32);
}
Status dynamic_quantize(EvalContext& ctx) {
  const Tensor& x = ctx.in(0);
  float low = 0;
  float high = 0;
  for (float v : x.values<float>()) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  const float scale = high == low ? 1.0F : (high - low) / 255.0F;
  const float zero = std::clamp(std::nearbyint(0.0F - low / scale), 0.0F, 255.0F);
  for (int64_t i = 0; i < x.size(); ++i)
    ctx.out(0).mutable_data<uint8_t>()[i] =
        static_cast<uint8_t>(std::clamp(std::nearbyint(x.data<float>()[i] / scale) + zero, 0.0F, 255.0F));
  if (ctx.wants(1)) ctx.out(1).mutable_data<float>()[0] = scale;
  if (ctx.wants(2)) ctx.out(2).mutable_data<uint8_t>()[0] = static_cast<uint8_t>(zero);
  return {};
}

SampleInput fixed(Tensor t) {
  SampleInput s{t.dtype(), t.extents()};
  s.value = std::move(t);
  s.constant = true;
  s.differentiable = false;
  return s;
}

// Whether there is one scale, and none along the batch.
bool per_tensor(const ir::Node& node) { return node.inputs[1]->is_constant() && node.inputs[1]->constant.size() == 1; }

}  // namespace

std::vector<OpDef> quantize_linear() {
  OpDef q;
  q.name = "QuantizeLinear";
  q.min_inputs = 2;
  q.max_inputs = 3;
  q.attrs = ir::AttrCodec::of<QuantizeAttrs>();
  q.infer = infer_quantize;
  q.reference = quantize;
  q.lower = lower_quantize;
  q.per_item = per_tensor;
  q.layout = LayoutRule::kAny;
  q.since_version = 10;
  q.samples = [] {
    return std::vector<Sample>{
        {{}, {{DType::kF32, {3, 35}}, fixed(Tensor::scalar(0.013F)), fixed(Tensor::scalar<uint8_t>(131))}},
        {{}, {{DType::kF32, {3, 35}}, fixed(Tensor::scalar(0.017F)), fixed(Tensor::scalar<int8_t>(-3))}}};
  };
  OpDef d = q;
  d.name = "DequantizeLinear";
  d.infer = infer_dequantize;
  d.reference = dequantize;
  d.lower = lower_dequantize;
  d.samples = [] {
    return std::vector<Sample>{
        {{}, {{DType::kU8, {3, 35}, 0, 255}, fixed(Tensor::scalar(0.013F)), fixed(Tensor::scalar<uint8_t>(131))}},
        {{{"axis", int64_t{0}}}, {{DType::kI8, {2, 35}, -128, 127}, fixed(Tensor::from<float>({2}, {0.013F, 0.5F}))}}};
  };
  OpDef dyn;
  dyn.name = "DynamicQuantizeLinear";
  dyn.max_outputs = 3;
  dyn.infer = infer_dynamic;
  dyn.reference = dynamic_quantize;
  dyn.since_version = 11;
  return {std::move(q), std::move(d), std::move(dyn)};
}

}  // namespace lowp::ops
