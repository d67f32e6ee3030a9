// Ops that change or read shapes and leave the bytes alone: Reshape, Flatten, Squeeze, Unsqueeze, Shape, Size; Expand,
// Range, ConstantOfShape, Constant.
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::Dim;
using ir::Dims;
using ir::field;

Status copy_bytes(EvalContext& ctx) {
  if (ctx.in(0).bytes() > 0) std::memcpy(ctx.out(0).mutable_raw(), ctx.in(0).raw(), ctx.in(0).bytes());
  return {};
}
Status alias_input(LowerContext& ctx) {
  ctx.alias(0, 0);
  return {};
}
// The gradient of a change of shape is the change back.
Status reshape_back(GradContext& g) {
  ir::Value* shape = g.builder().op("Shape", {g.in(0)});
  g.set_grad_in(0, g.builder().op("Reshape", {g.grad_out(), shape}));
  return {};
}

// ---- Reshape ----

struct ReshapeAttrs {
  int64_t allowzero = 0;
  bool operator==(const ReshapeAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("allowzero", &ReshapeAttrs::allowzero)); }
};

Status infer_reshape(InferContext& ctx) {
  const Tensor* shape = ctx.known(1);
  if (shape == nullptr) {
    if (ctx.has_rank(1) && ctx.dims(1).size() == 1 && ctx.dims(1)[0].known() && ctx.dims(1)[0].value() <= 64) {
      ctx.set(0, ctx.dtype(0), Dims(static_cast<size_t>(ctx.dims(1)[0].value())));
    } else {
      ctx.set_unranked(0, ctx.dtype(0));
    }
    return {};
  }
  const Extents want = shape->to_int64s();
  const bool allow_zero = ctx.attrs<ReshapeAttrs>().allowzero != 0;
  Dims out(want.size());
  int wildcard = -1;
  // Dims that the wildcard must make up for: input dims not copied, output dims not copied.
  std::vector<Dim> left = ctx.has_rank(0) ? ctx.dims(0) : Dims{};
  int64_t known_out = 1;
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i] == -1) {
      if (wildcard >= 0)
        return error(Code::kInvalidModel, "the shape {} has two dimensions of -1", ir::extents_to_string(want));
      wildcard = static_cast<int>(i);
    } else if (want[i] == 0 && !allow_zero) {
      if (!ctx.has_rank(0)) continue;
      if (i >= ctx.dims(0).size())
        return error(Code::kShapeMismatch, "the shape copies dimension {} of {}, which has none", i,
                     ctx.type(0).to_string());
      out[i] = ctx.dims(0)[i];
      left[i] = Dim(1);
      if (out[i].known() && out[i].value() == 0) known_out = 0;
    } else if (want[i] < 0) {
      return error(Code::kInvalidModel, "the shape {} has a negative dimension", ir::extents_to_string(want));
    } else {
      out[i] = Dim(want[i]);
      if (__builtin_mul_overflow(known_out, want[i], &known_out))
        return error(Code::kShapeMismatch, "the shape {} is too large", ir::extents_to_string(want));
    }
  }
  if (ctx.has_rank(0)) {
    int64_t known_in = 1;
    std::vector<Dim> symbols;
    for (const Dim& d : left) {
      if (!d.known()) {
        symbols.push_back(d);
      } else if (__builtin_mul_overflow(known_in, d.value(), &known_in)) {
        return error(Code::kShapeMismatch, "the shape {} is too large", ctx.type(0).to_string());
      }
    }
    const bool zero_copied =
        std::any_of(out.begin(), out.end(), [](const Dim& d) { return d.known() && d.value() == 0; });
    auto mismatch = [&] {
      return error(Code::kShapeMismatch, "{} cannot be reshaped to {}", ctx.type(0).to_string(),
                   ir::extents_to_string(want));
    };
    if (symbols.empty()) {
      if (wildcard >= 0) {
        if (known_out == 0 || zero_copied || known_in % known_out != 0) return mismatch();
        out[static_cast<size_t>(wildcard)] = Dim(known_in / known_out);
      } else if (known_in != known_out && !(zero_copied && known_in == 1)) {
        const bool all_known = std::all_of(out.begin(), out.end(), [](const Dim& d) { return d.known(); });
        if (all_known && ctx.type(0).concrete()) return mismatch();
      }
    } else if (wildcard >= 0 && symbols.size() == 1 && known_in == known_out) {
      out[static_cast<size_t>(wildcard)] = symbols[0];
    }
  }
  ctx.set(0, ctx.dtype(0), std::move(out));
  if (ctx.known(0) != nullptr) {
    TensorType& t = ctx.out_types()[0];
    if (t.concrete()) ctx.set_known(0, ctx.known(0)->reshaped(t.extents()));
  }
  return {};
}
Status upgrade_reshape(ImportedNode& node) {
  node.attrs.erase("consumed_inputs");
  if (node.version < 5) node.attr_to_input("shape", 1);
  return {};
}

// ---- Flatten ----

struct AxisAttrs {
  int64_t axis = 1;
  bool operator==(const AxisAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("axis", &AxisAttrs::axis)); }
};
Dim product(const Dims& dims, size_t begin, size_t end) {
  int64_t n = 1;
  std::vector<Dim> symbols;
  for (size_t i = begin; i < end; ++i) {
    if (dims[i].known()) {
      n *= dims[i].value();
    } else {
      symbols.push_back(dims[i]);
    }
  }
  if (symbols.empty()) return Dim(n);
  if (symbols.size() == 1 && n == 1) return symbols[0];
  return Dim();
}
Status infer_flatten(InferContext& ctx) {
  if (!ctx.has_rank(0)) {
    ctx.set(0, ctx.dtype(0), Dims(2));
    return {};
  }
  const Dims& d = ctx.dims(0);
  int64_t axis = ctx.attrs<AxisAttrs>().axis;
  const auto rank = static_cast<int64_t>(d.size());
  if (axis < -rank || axis > rank)
    return error(Code::kInvalidModel, "axis {} is outside a tensor of rank {}", axis, rank);
  if (axis < 0) axis += rank;
  ctx.set(0, ctx.dtype(0), {product(d, 0, static_cast<size_t>(axis)), product(d, static_cast<size_t>(axis), d.size())});
  return {};
}

// ---- Squeeze, Unsqueeze ----

Status infer_squeeze(InferContext& ctx) {
  if (!ctx.has_rank(0) || (ctx.has(1) && ctx.known(1) == nullptr)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  const Dims& d = ctx.dims(0);
  std::vector<bool> drop(d.size(), false);
  if (ctx.has(1)) {
    for (int64_t a : ctx.known(1)->to_int64s()) {
      LOWP_ASSIGN(int64_t axis, normalize_axis(a, static_cast<int64_t>(d.size())));
      const Dim& dim = d[static_cast<size_t>(axis)];
      if (dim.known() && dim.value() != 1)
        return error(Code::kShapeMismatch, "dimension {} of {} is {}, only 1 can be squeezed", a,
                     ctx.type(0).to_string(), dim.value());
      drop[static_cast<size_t>(axis)] = true;
    }
  } else {
    for (size_t i = 0; i < d.size(); ++i) {
      if (!d[i].known()) {
        ctx.set_unranked(0, ctx.dtype(0));
        return {};
      }
      drop[i] = d[i].value() == 1;
    }
  }
  Dims out;
  for (size_t i = 0; i < d.size(); ++i) {
    if (!drop[i]) out.push_back(d[i]);
  }
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status infer_unsqueeze(InferContext& ctx) {
  if (!ctx.has_rank(0) || ctx.known(1) == nullptr) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  const Dims& d = ctx.dims(0);
  const Extents axes = ctx.known(1)->to_int64s();
  const size_t rank = d.size() + axes.size();
  std::vector<bool> fresh(rank, false);
  for (int64_t a : axes) {
    LOWP_ASSIGN(int64_t axis, normalize_axis(a, static_cast<int64_t>(rank)));
    if (fresh[static_cast<size_t>(axis)]) return error(Code::kInvalidModel, "axis {} is named twice", a);
    fresh[static_cast<size_t>(axis)] = true;
  }
  Dims out;
  size_t next = 0;
  for (size_t i = 0; i < rank; ++i) out.push_back(fresh[i] ? Dim(1) : d[next++]);
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status upgrade_axes(ImportedNode& node) {
  if (node.version < 13) node.attr_to_input("axes", 1);
  return {};
}

// ---- Shape, Size ----

struct ShapeAttrs {
  int64_t start = 0;
  std::optional<int64_t> end;
  bool operator==(const ShapeAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("start", &ShapeAttrs::start), field("end", &ShapeAttrs::end));
  }
};
std::pair<int64_t, int64_t> shape_range(const ShapeAttrs& a, int64_t rank) {
  auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  const int64_t start = clamp(a.start);
  const int64_t end = a.end ? clamp(*a.end) : rank;
  return {start, std::max(start, end)};
}
Status infer_shape(InferContext& ctx) {
  if (!ctx.has_rank(0)) {
    ctx.set(0, DType::kI64, Dims(1));
    return {};
  }
  const Dims& d = ctx.dims(0);
  auto [start, end] = shape_range(ctx.attrs<ShapeAttrs>(), static_cast<int64_t>(d.size()));
  ctx.set(0, TensorType(DType::kI64, Extents{end - start}));
  Extents values;
  for (int64_t i = start; i < end; ++i) {
    if (!d[static_cast<size_t>(i)].known()) return {};
    values.push_back(d[static_cast<size_t>(i)].value());
  }
  ctx.set_known(0, Tensor::from<int64_t>({end - start}, std::span<const int64_t>(values)));
  return {};
}
Status shape(EvalContext& ctx) {
  auto [start, end] = shape_range(ctx.attrs<ShapeAttrs>(), ctx.in(0).rank());
  for (int64_t i = start; i < end; ++i)
    ctx.out(0).mutable_data<int64_t>()[i - start] = ctx.in(0).extent(static_cast<int>(i));
  return {};
}
Status infer_size(InferContext& ctx) {
  ctx.set(0, TensorType(DType::kI64, Extents{}));
  if (ctx.type(0).concrete()) ctx.set_known(0, Tensor::scalar<int64_t>(ir::element_count(ctx.type(0).extents())));
  return {};
}
Status size(EvalContext& ctx) {
  ctx.out(0).mutable_data<int64_t>()[0] = ctx.in(0).size();
  return {};
}

// ---- Expand ----

Status infer_expand(InferContext& ctx) {
  if (!ctx.has_rank(0) || ctx.known(1) == nullptr) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  const Extents want = ctx.known(1)->to_int64s();
  for (int64_t e : want) {
    if (e < 0) return error(Code::kInvalidModel, "the shape {} has a negative dimension", ir::extents_to_string(want));
  }
  LOWP_ASSIGN(Dims out, ir::broadcast_dims(ctx.dims(0), Dims(want.begin(), want.end())));
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status expand(EvalContext& ctx) {
  return dispatch_size(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const Extents strides = broadcast_strides(ctx.in(0).extents(), ctx.out(0).extents());
    const T* x = static_cast<const T*>(ctx.in(0).raw());
    T* y = static_cast<T*>(ctx.out(0).mutable_raw());
    for_each_index(ctx.out(0).extents(), [&](int64_t i, const Extents& index) { y[i] = x[dot(strides, index)]; });
    return {};
  });
}
Status expand_gradient(GradContext& g) {
  g.set_grad_in(0, g.builder().op("SumTo", {g.grad_out(), g.in(0)}, {}, kLowpDomain));
  return {};
}

// ---- Range(start, limit, delta) ----

Result<int64_t> range_length(const Tensor& start, const Tensor& limit, const Tensor& delta) {
  const double s = to_doubles(start)[0];
  const double l = to_doubles(limit)[0];
  const double d = to_doubles(delta)[0];
  if (d == 0) return fail(Code::kInvalidArgument, "Range's delta is zero");
  const double n = std::ceil((l - s) / d);
  if (!(n < 1e12)) return fail(Code::kResource, "a Range from {} to {} by {} is too long", s, l, d);
  return std::max<int64_t>(0, static_cast<int64_t>(n));
}
Status infer_range(InferContext& ctx) {
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  LOWP_TRY(want_same_dtype(ctx, 0, 2));
  if (ctx.known(0) == nullptr || ctx.known(1) == nullptr || ctx.known(2) == nullptr) {
    ctx.set(0, ctx.dtype(0), Dims(1));
    return {};
  }
  LOWP_ASSIGN(int64_t n, range_length(*ctx.known(0), *ctx.known(1), *ctx.known(2)));
  ctx.set(0, TensorType(ctx.dtype(0), Extents{n}));
  return {};
}
Status range(EvalContext& ctx) {
  LOWP_ASSIGN(int64_t n, range_length(ctx.in(0), ctx.in(1), ctx.in(2)));
  if (!ctx.out(0).valid()) {
    LOWP_ASSIGN(ctx.out(0), Tensor::allocate(ctx.in(0).dtype(), {n}));
  }
  return dispatch_numeric(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    const C start = static_cast<C>(ctx.in(0).data<T>()[0]);
    const C delta = static_cast<C>(ctx.in(2).data<T>()[0]);
    for (int64_t i = 0; i < n; ++i)
      ctx.out(0).mutable_data<T>()[i] = static_cast<T>(static_cast<C>(start + static_cast<C>(i) * delta));
    return {};
  });
}

// ---- ConstantOfShape ----

struct ValueAttrs {
  std::optional<Tensor> value;
  bool operator==(const ValueAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("value", &ValueAttrs::value)); }
};
Status infer_constant_of_shape(InferContext& ctx) {
  const auto& value = ctx.attrs<ValueAttrs>().value;
  if (value && value->size() != 1)
    return error(Code::kInvalidModel, "the value has {} elements, one is wanted", value->size());
  const DType dtype = value ? value->dtype() : DType::kF32;
  if (ctx.known(0) == nullptr) {
    if (ctx.has_rank(0) && ctx.dims(0).size() == 1 && ctx.dims(0)[0].known() && ctx.dims(0)[0].value() <= 64) {
      ctx.set(0, dtype, Dims(static_cast<size_t>(ctx.dims(0)[0].value())));
    } else {
      ctx.set_unranked(0, dtype);
    }
    return {};
  }
  const Extents shape = ctx.known(0)->to_int64s();
  for (int64_t e : shape) {
    if (e < 0) return error(Code::kInvalidModel, "the shape {} has a negative dimension", ir::extents_to_string(shape));
  }
  ctx.set(0, TensorType(dtype, shape));
  return {};
}
Status constant_of_shape(EvalContext& ctx) {
  const auto& value = ctx.attrs<ValueAttrs>().value;
  if (!ctx.out(0).valid()) {
    LOWP_ASSIGN(ctx.out(0), Tensor::allocate(value ? value->dtype() : DType::kF32, ctx.in(0).to_int64s()));
  }
  if (!value) {
    if (ctx.out(0).bytes() > 0) std::memset(ctx.out(0).mutable_raw(), 0, ctx.out(0).bytes());
    return {};
  }
  return dispatch_size(value->dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const T v = *static_cast<const T*>(value->raw());
    std::fill_n(static_cast<T*>(ctx.out(0).mutable_raw()), ctx.out(0).size(), v);
    return {};
  });
}

// ---- Constant ----

struct ConstantAttrs {
  std::optional<Tensor> value;
  std::optional<float> value_float;
  std::optional<std::vector<float>> value_floats;
  std::optional<int64_t> value_int;
  std::optional<std::vector<int64_t>> value_ints;
  bool operator==(const ConstantAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("value", &ConstantAttrs::value), field("value_float", &ConstantAttrs::value_float),
                      field("value_floats", &ConstantAttrs::value_floats),
                      field("value_int", &ConstantAttrs::value_int), field("value_ints", &ConstantAttrs::value_ints));
  }
};
Status infer_constant(InferContext& ctx) {
  const auto& a = ctx.attrs<ConstantAttrs>();
  Tensor t;
  if (a.value) {
    t = *a.value;
  } else if (a.value_float) {
    t = Tensor::scalar(*a.value_float);
  } else if (a.value_int) {
    t = Tensor::scalar(*a.value_int);
  } else if (a.value_floats) {
    t = Tensor::from<float>({static_cast<int64_t>(a.value_floats->size())}, std::span<const float>(*a.value_floats));
  } else if (a.value_ints) {
    t = Tensor::from<int64_t>({static_cast<int64_t>(a.value_ints->size())}, std::span<const int64_t>(*a.value_ints));
  } else {
    return error(Code::kUnsupported,
                 "a Constant without a tensor, float or integer value (strings and sparse tensors are not supported)");
  }
  ctx.set(0, t.type());
  ctx.set_known(0, std::move(t));
  return {};
}
Status constant(EvalContext& ctx) {
  const std::vector<const TensorType*> no_types;
  const std::vector<const Tensor*> no_values;
  InferContext infer(ctx.node(), no_types, no_values);
  LOWP_TRY(infer_constant(infer));
  const Tensor& t = infer.out_known()[0];
  if (t.bytes() > 0) std::memcpy(ctx.out(0).mutable_raw(), t.raw(), t.bytes());
  return {};
}

}  // namespace

std::vector<OpDef> shape() {
  std::vector<OpDef> defs;
  auto add = [&](const char* name, int min_in, int max_in, Status (*infer)(InferContext&),
                 Status (*reference)(EvalContext&)) -> OpDef& {
    OpDef def;
    def.name = name;
    def.min_inputs = min_in;
    def.max_inputs = max_in;
    def.infer = infer;
    def.reference = reference;
    defs.push_back(std::move(def));
    return defs.back();
  };
  auto add_view = [&](const char* name, int min_in, int max_in, Status (*infer)(InferContext&)) -> OpDef& {
    OpDef& def = add(name, min_in, max_in, infer, copy_bytes);
    def.gradient = reshape_back;
    def.lower = alias_input;
    def.quantize = QuantRule::kPassThrough;
    return def;
  };
  {
    OpDef& def = add_view("Reshape", 2, 2, infer_reshape);
    def.attrs = ir::AttrCodec::of<ReshapeAttrs>();
    def.upgrade = upgrade_reshape;
    def.min_inputs = 2;
    def.samples = [] {
      return std::vector<Sample>{{{}, {{DType::kF32, {3, 4, 5}}, constant_ints({0, -1})}},
                                 {{}, {{DType::kF32, {3, 4}}, constant_ints({2, 6})}}};
    };
  }
  {
    OpDef& def = add_view("Flatten", 1, 1, infer_flatten);
    def.attrs = ir::AttrCodec::of<AxisAttrs>();
    def.samples = [] {
      return std::vector<Sample>{{{}, {{DType::kF32, {3, 4, 5}}}},
                                 {{{"axis", int64_t{2}}}, {{DType::kF32, {3, 4, 5}}}}};
    };
  }
  {
    OpDef& def = add_view("Squeeze", 1, 2, infer_squeeze);
    def.upgrade = upgrade_axes;
    def.samples = [] { return std::vector<Sample>{{{}, {{DType::kF32, {3, 1, 5, 1}}, constant_ints({1, -1})}}}; };
  }
  {
    OpDef& def = add_view("Unsqueeze", 2, 2, infer_unsqueeze);
    def.upgrade = upgrade_axes;
    def.samples = [] { return std::vector<Sample>{{{}, {{DType::kF32, {3, 5}}, constant_ints({0, -1})}}}; };
  }
  add("Shape", 1, 1, infer_shape, shape).attrs = ir::AttrCodec::of<ShapeAttrs>();
  add("Size", 1, 1, infer_size, size);
  {
    OpDef& def = add("Expand", 2, 2, infer_expand, expand);
    def.gradient = expand_gradient;
    def.since_version = 8;
    def.samples = [] { return std::vector<Sample>{{{}, {{DType::kF32, {3, 1, 5}}, constant_ints({2, 1, 4, 1})}}}; };
  }
  add("Range", 3, 3, infer_range, range).since_version = 11;
  {
    OpDef& def = add("ConstantOfShape", 1, 1, infer_constant_of_shape, constant_of_shape);
    def.attrs = ir::AttrCodec::of<ValueAttrs>();
    def.since_version = 9;
  }
  add("Constant", 0, 0, infer_constant, constant).attrs = ir::AttrCodec::of<ConstantAttrs>();
  return defs;
}

}  // namespace lowp::ops
