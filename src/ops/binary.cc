// Element-wise functions of two operands with numpy broadcasting, and their variadic and comparing relatives.
#include <optional>

#include "kernels/convert/convert.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/reduce/reduce.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::field;

struct ModAttrs {
  int64_t fmod = 0;
  bool operator==(const ModAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("fmod", &ModAttrs::fmod)); }
};
struct BitShiftAttrs {
  std::string direction;
  bool operator==(const BitShiftAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::required_field("direction", &BitShiftAttrs::direction)); }
};

Status infer_broadcast(InferContext& ctx, DType out) {
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  if (!ctx.has_rank(0) || !ctx.has_rank(1)) {
    ctx.set_unranked(0, out);
    return {};
  }
  LOWP_ASSIGN(ir::Dims dims, ir::broadcast_dims(ctx.dims(0), ctx.dims(1)));
  ctx.set(0, out, std::move(dims));
  return {};
}
Status infer_same(InferContext& ctx) { return infer_broadcast(ctx, ctx.dtype(0)); }
Status infer_compare(InferContext& ctx) { return infer_broadcast(ctx, DType::kBool); }
Status infer_logical(InferContext& ctx) {
  LOWP_TRY(want_dtype(ctx, 0, DType::kBool));
  return infer_broadcast(ctx, DType::kBool);
}
// Pow's exponent may have another dtype.
Status infer_pow(InferContext& ctx) {
  if (!ctx.has_rank(0) || !ctx.has_rank(1)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  LOWP_ASSIGN(ir::Dims dims, ir::broadcast_dims(ctx.dims(0), ctx.dims(1)));
  ctx.set(0, ctx.dtype(0), std::move(dims));
  return {};
}

template <typename TA, typename TB, typename TO, typename F>
void loop(EvalContext& ctx, F fn) {
  const Tensor& a = ctx.in(0);
  const Tensor& b = ctx.in(1);
  Tensor& y = ctx.out(0);
  const Extents sa = broadcast_strides(a.extents(), y.extents());
  const Extents sb = broadcast_strides(b.extents(), y.extents());
  const TA* pa = a.data<TA>();
  const TB* pb = b.data<TB>();
  TO* py = y.mutable_data<TO>();
  for_each_index(y.extents(), [&](int64_t i, const Extents& index) {
    py[i] = static_cast<TO>(
        fn(static_cast<compute_t<TA>>(pa[dot(sa, index)]), static_cast<compute_t<TB>>(pb[dot(sb, index)])));
  });
}

template <typename F>
Status numeric(EvalContext& ctx, F fn) {
  return dispatch_numeric(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    loop<T, T, T>(ctx, [&](auto x, auto y) { return static_cast<compute_t<T>>(fn(x, y)); });
    return {};
  });
}
template <typename F>
Status compare(EvalContext& ctx, F fn) {
  return dispatch_any(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    loop<T, T, bool>(ctx, fn);
    return {};
  });
}
template <typename F>
Status logical(EvalContext& ctx, F fn) {
  loop<bool, bool, bool>(ctx, fn);
  return {};
}
template <typename F>
Status bitwise(EvalContext& ctx, F fn) {
  return dispatch_integer(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    loop<T, T, T>(ctx, [&](T x, T y) { return static_cast<T>(fn(x, y)); });
    return {};
  });
}

Status divide(EvalContext& ctx) {
  if (is_integer(ctx.in(0).dtype())) {
    bool zero = false;
    Status s = bitwise(ctx, [&](auto x, auto y) {
      using T = decltype(x);
      if (y == 0) {
        zero = true;
        return T(0);
      }
      // The one quotient that does not fit wraps instead of trapping.
      if (std::is_signed_v<T> && y == static_cast<T>(-1))
        return static_cast<T>(T(0) - static_cast<std::make_unsigned_t<T>>(x));
      return static_cast<T>(x / y);
    });
    if (zero) return error(Code::kInvalidArgument, "integer division by zero");
    return s;
  }
  return numeric(ctx, [](auto x, auto y) { return x / y; });
}
Status modulo(EvalContext& ctx) {
  const bool truncated = ctx.attrs<ModAttrs>().fmod != 0;
  if (is_integer(ctx.in(0).dtype())) {
    bool zero = false;
    Status s = bitwise(ctx, [&](auto x, auto y) {
      using T = decltype(x);
      if (y == 0 || y == static_cast<T>(-1)) {
        zero = zero || y == 0;
        return std::is_signed_v<T> || y == 0 ? T(0) : static_cast<T>(x % y);
      }
      T r = static_cast<T>(x % y);
      if (!truncated && r != 0 && ((r < 0) != (y < 0))) r = static_cast<T>(r + y);
      return r;
    });
    if (zero) return error(Code::kInvalidArgument, "integer remainder of division by zero");
    return s;
  }
  return numeric(ctx, [&](auto x, auto y) {
    auto r = std::fmod(x, y);
    if (!truncated && r != 0 && ((r < 0) != (y < 0))) r += y;
    return r;
  });
}
Status power(EvalContext& ctx) {
  return dispatch_numeric(ctx.in(0).dtype(), [&](auto tag_a) -> Status {
    return dispatch_numeric(ctx.in(1).dtype(), [&](auto tag_b) -> Status {
      using TA = typename decltype(tag_a)::type;
      using TB = typename decltype(tag_b)::type;
      loop<TA, TB, TA>(ctx, [](auto x, auto y) {
        if constexpr (std::is_same_v<TA, float> && std::is_same_v<TB, float>) {
          return std::pow(x, y);
        } else {
          return static_cast<compute_t<TA>>(std::pow(static_cast<double>(x), static_cast<double>(y)));
        }
      });
      return {};
    });
  });
}
Status prelu(EvalContext& ctx) {
  return numeric(ctx, [](auto x, auto slope) { return x < 0 ? x * slope : x; });
}
Status bit_shift(EvalContext& ctx) {
  const bool left = ctx.attrs<BitShiftAttrs>().direction == "LEFT";
  return bitwise(ctx, [&](auto x, auto y) {
    using T = decltype(x);
    const auto bits = static_cast<uint64_t>(sizeof(T) * 8);
    if (static_cast<uint64_t>(y) >= bits) return left || x >= 0 ? T(0) : static_cast<T>(-1);  // all bits shifted out
    return static_cast<T>(left ? static_cast<uint64_t>(x) << y : static_cast<uint64_t>(x) >> y);
  });
}

// dx for an operand that was broadcast: summed back to its shape.
ir::Value* sum_to(GradContext& g, ir::Value* gradient, size_t input) {
  if (gradient->type == g.in(input)->type) return gradient;
  return g.builder().op("SumTo", {gradient, g.in(input)}, {}, kLowpDomain);
}
Status add_gradient(GradContext& g) {
  for (size_t i = 0; i < 2; ++i) {
    if (g.wants(i)) g.set_grad_in(i, sum_to(g, g.grad_out(), i));
  }
  return {};
}
Status sub_gradient(GradContext& g) {
  if (g.wants(0)) g.set_grad_in(0, sum_to(g, g.grad_out(), 0));
  if (g.wants(1)) g.set_grad_in(1, sum_to(g, g.builder().op("Neg", {g.grad_out()}), 1));
  return {};
}
Status mul_gradient(GradContext& g) {
  for (size_t i = 0; i < 2; ++i) {
    if (g.wants(i)) g.set_grad_in(i, sum_to(g, g.builder().op("Mul", {g.grad_out(), g.in(1 - i)}), i));
  }
  return {};
}
Status div_gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  ir::Value* q = b.op("Div", {g.grad_out(), g.in(1)});
  if (g.wants(0)) g.set_grad_in(0, sum_to(g, q, 0));
  if (g.wants(1)) g.set_grad_in(1, sum_to(g, b.op("Neg", {b.op("Mul", {q, g.out()})}), 1));
  return {};
}

// SumTo(x, like): x summed along the dimensions along which `like` would broadcast to it; the gradient of broadcasting.
Status infer_sum_to(InferContext& ctx) {
  TensorType t = ctx.type(1);
  t.dtype = ctx.dtype(0);
  ctx.set(0, std::move(t));
  return {};
}
Status sum_to_reference(EvalContext& ctx) {
  return dispatch_float(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const Tensor& x = ctx.in(0);
    Tensor& y = ctx.out(0);
    if (y.rank() > x.rank())
      return error(Code::kShapeMismatch, "shape {} cannot be summed to {}", x.type().to_string(), y.type().to_string());
    const Extents strides = broadcast_strides(y.extents(), x.extents());
    std::vector<double> sums(static_cast<size_t>(y.size()), 0.0);
    const T* p = x.data<T>();
    for_each_index(x.extents(), [&](int64_t i, const Extents& index) {
      sums[static_cast<size_t>(dot(strides, index))] += static_cast<double>(static_cast<compute_t<T>>(p[i]));
    });
    for (int64_t i = 0; i < y.size(); ++i)
      y.mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(sums[static_cast<size_t>(i)]));
    return {};
  });
}

// Max, Min, Sum and Mean of any number of operands.
Status infer_variadic(InferContext& ctx) {
  ir::Dims dims;
  bool ranked = true;
  for (size_t i = 0; i < ctx.inputs(); ++i) {
    LOWP_TRY(want_same_dtype(ctx, 0, i));
    if (!ctx.has_rank(i)) {
      ranked = false;
    } else if (ranked) {
      LOWP_ASSIGN(dims, ir::broadcast_dims(dims, ctx.dims(i)));
    }
  }
  if (ranked) {
    ctx.set(0, ctx.dtype(0), std::move(dims));
  } else {
    ctx.set_unranked(0, ctx.dtype(0));
  }
  return {};
}
template <typename F>
Status fold(EvalContext& ctx, F fn, bool mean) {
  return dispatch_numeric(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    Tensor& y = ctx.out(0);
    std::vector<Extents> strides;
    for (size_t k = 0; k < ctx.inputs(); ++k) strides.push_back(broadcast_strides(ctx.in(k).extents(), y.extents()));
    for_each_index(y.extents(), [&](int64_t i, const Extents& index) {
      C s = static_cast<C>(ctx.in(0).data<T>()[dot(strides[0], index)]);
      for (size_t k = 1; k < ctx.inputs(); ++k)
        s = static_cast<C>(fn(s, static_cast<C>(ctx.in(k).data<T>()[dot(strides[k], index)])));
      if (mean) s = static_cast<C>(s / static_cast<C>(ctx.inputs()));
      y.mutable_data<T>()[i] = static_cast<T>(s);
    });
    return {};
  });
}

// Before opset 7 broadcasting was asked for by attributes: the second operand's dims align with axis, axis+1, ...
Status upgrade_broadcast(ImportedNode& node) {
  node.attrs.erase("consumed_inputs");
  if (node.version >= 7) return {};
  int64_t axis = -1;
  if (auto it = node.attrs.find("axis"); it != node.attrs.end()) {
    if (const auto* v = std::get_if<int64_t>(&it->second)) axis = *v;
    node.attrs.erase(it);
  }
  node.attrs.erase("broadcast");
  if (axis >= 0)
    return error(Code::kUnsupported, "broadcasting along an axis as before opset 7 is not supported")
        .with_hint("convert the model to opset 7 or later");
  return {};
}

// Two f32 operands with broadcasting, in whatever layout they share.
template <kernels::Binary kOp>
Status lower_binary(LowerContext& ctx) {
  const DType dtype = ctx.dtype(0);
  if (ctx.node().inputs.size() != 2 || ctx.dtype(1) != dtype || !kernels::is_stored_float(dtype)) return {};
  const Extents a = ctx.in_physical(0);
  const Extents b = ctx.in_physical(1);
  kernels::Broadcast broadcast;
  if (!kernels::make_broadcast(a.data(), static_cast<int>(a.size()), b.data(), static_cast<int>(b.size()), &broadcast))
    return {};
  const int threads = ctx.threads();
  if (a == ctx.out_physical(0)) ctx.allow_in_place(0, 0);
  if (b == ctx.out_physical(0)) ctx.allow_in_place(0, 1);
  ctx.emit(fmt::format("elementwise.{}", dtype_name(dtype)), [broadcast, dtype, threads](const StepArgs& s) {
    kernels::binary_stored(kOp, dtype, broadcast, s.inputs[0], s.inputs[1], s.outputs[0], threads);
  });
  return {};
}

// The summed dimensions of SumTo where they are neighbours (but for dimensions of 1): x is [outer, n, inner], summed
// over n. Leading ones are what broadcasting a bias leaves, inner ones what broadcasting over steps does.
struct SummedRun {
  int64_t outer = 1, n = 1, inner = 1;
};
std::optional<SummedRun> summed_run(const Extents& x, const Extents& y) {
  SummedRun r;
  bool begun = false, ended = false;
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t missing = x.size() - y.size();
    const bool summed = x[i] != 1 && (i < missing || y[i - missing] == 1);
    if (summed && ended) return std::nullopt;
    if (summed) {
      begun = true;
      r.n *= x[i];
    } else if (begun) {
      ended = ended || x[i] != 1;
      r.inner *= x[i];
    } else {
      r.outer *= x[i];
    }
  }
  return r;
}

Status lower_sum_to(LowerContext& ctx) {
  const DType dtype = ctx.dtype(0);
  if (!kernels::is_stored_float(dtype)) return {};
  const int64_t total = ctx.in_size(0);
  const int64_t kept = ir::element_count(ctx.out(0));
  if (kept == total) {
    ctx.alias(0, 0);
    return {};
  }
  const std::optional<SummedRun> run = summed_run(ctx.in(0), ctx.out(0));
  if (!run || kept == 0) return {};
  const int threads = ctx.threads();
  // The kernel takes f32: 16-bit floats are widened first.
  const bool wide = dtype == DType::kF32;
  if (!wide) ctx.set_scratch(static_cast<size_t>(total + kept) * sizeof(float));
  ctx.emit("reduce.f32", [total, kept, dtype, wide, threads, run = *run](const StepArgs& s) {
    auto* scratch = static_cast<float*>(s.scratch);
    if (!wide) kernels::convert_stored(dtype, s.inputs[0], DType::kF32, scratch, total, threads);
    float* sums = wide ? s.out<float>(0) : scratch + total;
    kernels::reduce_f32(kernels::Reduce::kSum, wide ? s.in<float>(0) : scratch, sums, run.outer, run.n, run.inner,
                        threads);
    if (!wide) kernels::convert_stored(DType::kF32, sums, dtype, s.outputs[0], kept, threads);
  });
  return {};
}

std::vector<Sample> samples() {
  return {{{}, {{DType::kF32, {3, 5, 7}}, {DType::kF32, {3, 5, 7}, 0.5, 2.0}}},
          {{}, {{DType::kF32, {3, 5, 7}}, {DType::kF32, {7}, 0.5, 2.0}}},
          {{}, {{DType::kF32, {4, 1, 9}}, {DType::kF32, {1, 6, 1}, 0.5, 2.0}}},
          {{}, {{DType::kF32, {}}, {DType::kF32, {2, 65}, 0.5, 2.0}}},
          {{}, {{DType::kBF16, {3, 5, 7}}, {DType::kBF16, {7}, 0.5, 2.0}}},
          {{}, {{DType::kF16, {4, 1, 9}}, {DType::kF16, {1, 6, 1}, 0.5, 2.0}}}};
}
std::vector<Sample> integer_samples() {
  return {{{}, {{DType::kI64, {3, 5}, -9, 9}, {DType::kI64, {5}, 1, 7}}},
          {{}, {{DType::kI32, {17}, -9, 9}, {DType::kI32, {}, 1, 7}}}};
}

std::vector<Sample> power_samples() {
  SampleInput two{DType::kF32, {}};
  two.value = Tensor::scalar(2.0F);
  two.constant = true;
  return {{{}, {{DType::kF32, {3, 5}, 0.1, 3.0}, {DType::kF32, {5}, -2.0, 2.0}}}, {{}, {{DType::kF32, {3, 35}}, two}}};
}
std::vector<Sample> logical_samples() { return {{{}, {{DType::kBool, {3, 1}}, {DType::kBool, {5}}}}}; }
std::vector<Sample> shift_samples() {
  return {{{{"direction", std::string("LEFT")}}, {{DType::kU32, {3, 5}, 0, 99}, {DType::kU32, {5}, 0, 9}}},
          {{{"direction", std::string("RIGHT")}}, {{DType::kU8, {7}, 0, 255}, {DType::kU8, {}, 0, 7}}}};
}

OpDef make(const char* name, Status (*infer)(InferContext&), Status (*reference)(EvalContext&),
           Status (*gradient)(GradContext&) = nullptr, int since = 1, std::vector<Sample> (*sample_fn)() = samples) {
  OpDef def;
  def.name = name;
  def.min_inputs = def.max_inputs = 2;
  def.infer = infer;
  def.reference = reference;
  def.gradient = gradient;
  def.layout = LayoutRule::kAny;
  def.since_version = since;
  def.upgrade = upgrade_broadcast;
  def.samples = sample_fn;
  return def;
}
OpDef variadic(const char* name, Status (*reference)(EvalContext&), Status (*gradient)(GradContext&) = nullptr) {
  OpDef def = make(name, infer_variadic, reference, gradient);
  def.min_inputs = 1;
  def.max_inputs = 1 << 20;
  return def;
}

}  // namespace

std::vector<OpDef> binary() {
  std::vector<OpDef> defs = {
      make(
          "Add", infer_same, [](EvalContext& c) { return numeric(c, [](auto x, auto y) { return x + y; }); },
          add_gradient),
      make(
          "Sub", infer_same, [](EvalContext& c) { return numeric(c, [](auto x, auto y) { return x - y; }); },
          sub_gradient),
      make(
          "Mul", infer_same, [](EvalContext& c) { return numeric(c, [](auto x, auto y) { return x * y; }); },
          mul_gradient),
      make("Div", infer_same, divide, div_gradient),
      make("Pow", infer_pow, power, nullptr, 1, power_samples),
      make("Mod", infer_same, modulo, nullptr, 10, integer_samples),
      make("PRelu", infer_same, prelu),
      make("BitShift", infer_same, bit_shift, nullptr, 11, shift_samples),
      make(
          "BitwiseAnd", infer_same, [](EvalContext& c) { return bitwise(c, [](auto x, auto y) { return x & y; }); },
          nullptr, 18, integer_samples),
      make(
          "BitwiseOr", infer_same, [](EvalContext& c) { return bitwise(c, [](auto x, auto y) { return x | y; }); },
          nullptr, 18, integer_samples),
      make(
          "BitwiseXor", infer_same, [](EvalContext& c) { return bitwise(c, [](auto x, auto y) { return x ^ y; }); },
          nullptr, 18, integer_samples),
      make(
          "Equal", infer_compare, [](EvalContext& c) { return compare(c, [](auto x, auto y) { return x == y; }); },
          nullptr, 1, integer_samples),
      make("Less", infer_compare, [](EvalContext& c) { return compare(c, [](auto x, auto y) { return x < y; }); }),
      make("Greater", infer_compare, [](EvalContext& c) { return compare(c, [](auto x, auto y) { return x > y; }); }),
      make(
          "LessOrEqual", infer_compare,
          [](EvalContext& c) { return compare(c, [](auto x, auto y) { return x <= y; }); }, nullptr, 12),
      make(
          "GreaterOrEqual", infer_compare,
          [](EvalContext& c) { return compare(c, [](auto x, auto y) { return x >= y; }); }, nullptr, 12),
      make(
          "And", infer_logical, [](EvalContext& c) { return logical(c, [](bool x, bool y) { return x && y; }); },
          nullptr, 1, logical_samples),
      make(
          "Or", infer_logical, [](EvalContext& c) { return logical(c, [](bool x, bool y) { return x || y; }); },
          nullptr, 1, logical_samples),
      make(
          "Xor", infer_logical, [](EvalContext& c) { return logical(c, [](bool x, bool y) { return x != y; }); },
          nullptr, 1, logical_samples),
      variadic("Max",
               [](EvalContext& c) {
                 return fold(
                     c, [](auto x, auto y) { return x != x || x > y ? x : y; }, false);
               }),
      variadic("Min",
               [](EvalContext& c) {
                 return fold(
                     c, [](auto x, auto y) { return x != x || x < y ? x : y; }, false);
               }),
      variadic("Sum",
               [](EvalContext& c) {
                 return fold(
                     c, [](auto x, auto y) { return x + y; }, false);
               }),
      variadic("Mean",
               [](EvalContext& c) {
                 return fold(
                     c, [](auto x, auto y) { return x + y; }, true);
               }),
  };
  for (OpDef& def : defs) {
    if (def.name == "Mod") def.attrs = ir::AttrCodec::of<ModAttrs>();
    if (def.name == "BitShift") def.attrs = ir::AttrCodec::of<BitShiftAttrs>();
    if (def.name == "Add" || def.name == "Mul") def.quantize = QuantRule::kElementwise;
    using B = kernels::Binary;
    const std::pair<std::string_view, Status (*)(LowerContext&)> kernels_of[] = {
        {"Add", lower_binary<B::kAdd>}, {"Sub", lower_binary<B::kSub>},     {"Mul", lower_binary<B::kMul>},
        {"Div", lower_binary<B::kDiv>}, {"Min", lower_binary<B::kMin>},     {"Max", lower_binary<B::kMax>},
        {"Pow", lower_binary<B::kPow>}, {"PRelu", lower_binary<B::kPrelu>},
    };
    for (const auto& [name, lower] : kernels_of) {
      if (def.name == name) def.lower = lower, def.per_item = per_item_by_rank;
    }
  }
  OpDef sum_to = make("SumTo", infer_sum_to, sum_to_reference, nullptr, 1, [] {
    return std::vector<Sample>{{{}, {{DType::kF32, {3, 5, 7}}, {DType::kF32, {7}}}},
                               {{}, {{DType::kF32, {3, 5, 7}}, {DType::kF32, {3, 1, 7}}}},
                               {{}, {{DType::kBF16, {3, 5, 2, 7}}, {DType::kBF16, {3, 1, 1, 7}}}},
                               {{}, {{DType::kF32, {3, 5, 7}}, {DType::kF32, {5, 1}}}},
                               {{}, {{DType::kF32, {3, 1, 7}}, {DType::kF32, {3, 1, 1}}}}};
  });
  sum_to.domain = kLowpDomain;
  sum_to.layout = LayoutRule::kPlain;
  sum_to.upgrade = nullptr;
  sum_to.lower = lower_sum_to;
  defs.push_back(std::move(sum_to));
  return defs;
}

}  // namespace lowp::ops
