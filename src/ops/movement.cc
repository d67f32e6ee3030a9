// Ops that move elements: Transpose, Concat, Split, Pad, Tile. Slice and Gather have files of their own.
#include "ops/movement.h"

#include <array>

#include "ops/block_copy.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::Dim;
using ir::Dims;
using ir::field;

// ---- Transpose ----

Result<std::vector<int64_t>> permutation(const TransposeAttrs& a, size_t rank) {
  std::vector<int64_t> perm;
  if (!a.perm) {
    for (size_t i = rank; i-- > 0;) perm.push_back(static_cast<int64_t>(i));
    return perm;
  }
  std::vector<bool> seen(rank, false);
  if (a.perm->size() != rank)
    return fail(Code::kInvalidModel, "perm has {} entries for a tensor of rank {}", a.perm->size(), rank);
  for (int64_t p : *a.perm) {
    if (p < 0 || p >= static_cast<int64_t>(rank) || seen[static_cast<size_t>(p)]) {
      return fail(Code::kInvalidModel, "perm {} is not a permutation of {} axes", ir::extents_to_string(*a.perm), rank);
    }
    seen[static_cast<size_t>(p)] = true;
  }
  return *a.perm;
}
Status infer_transpose(InferContext& ctx) {
  if (!ctx.has_rank(0)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  LOWP_ASSIGN(auto perm, permutation(ctx.attrs<TransposeAttrs>(), ctx.dims(0).size()));
  Dims out;
  for (int64_t p : perm) out.push_back(ctx.dims(0)[static_cast<size_t>(p)]);
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status transpose(EvalContext& ctx) {
  LOWP_ASSIGN(auto perm, permutation(ctx.attrs<TransposeAttrs>(), static_cast<size_t>(ctx.in(0).rank())));
  return dispatch_size(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const Extents own = ir::row_major_strides(ctx.in(0).extents());
    Extents strides(own.size());
    for (size_t i = 0; i < perm.size(); ++i) strides[i] = own[static_cast<size_t>(perm[i])];
    const T* x = static_cast<const T*>(ctx.in(0).raw());
    T* y = static_cast<T*>(ctx.out(0).mutable_raw());
    for_each_index(ctx.out(0).extents(), [&](int64_t i, const Extents& index) { y[i] = x[dot(strides, index)]; });
    return {};
  });
}

Status lower_transpose(LowerContext& ctx) {
  const Extents shape = ctx.in(0);
  LOWP_ASSIGN(auto perm, permutation(ctx.attrs<TransposeAttrs>(), shape.size()));
  if (shape.size() > kernels::kMaxLayoutRank || !whole_bytes(ctx.dtype(0)) || shape.empty()) return {};
  // Only dimensions of 1 move: the same bytes.
  int64_t last = -1;
  bool same_bytes = true;
  for (int64_t p : perm) {
    if (shape[static_cast<size_t>(p)] == 1) continue;
    same_bytes = same_bytes && p > last;
    last = p;
  }
  if (same_bytes) {
    ctx.alias(0, 0);
    return {};
  }
  std::array<int64_t, kernels::kMaxLayoutRank> dims{};
  std::array<int, kernels::kMaxLayoutRank> order{};
  for (size_t i = 0; i < shape.size(); ++i) {
    dims[i] = shape[i];
    order[i] = static_cast<int>(perm[i]);
  }
  const int rank = static_cast<int>(shape.size());
  const size_t bytes = dtype_bytes(ctx.dtype(0), 1);
  const int threads = ctx.threads();
  ctx.emit("layout.transpose", [dims, order, rank, bytes, threads](const StepArgs& s) {
    kernels::transpose(dims.data(), order.data(), rank, bytes, s.inputs[0], s.outputs[0], threads);
  });
  return {};
}

Status transpose_gradient(GradContext& g) {
  const auto rank = static_cast<size_t>(g.in(0)->type.rank());
  LOWP_ASSIGN(auto perm, permutation(g.attrs<TransposeAttrs>(), rank));
  std::vector<int64_t> inverse(rank);
  for (size_t i = 0; i < rank; ++i) inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  g.set_grad_in(0, g.builder().op("Transpose", {g.grad_out()}, {{"perm", inverse}}));
  return {};
}

// ---- Concat ----

struct AxisAttrs {
  int64_t axis = 0;
  bool operator==(const AxisAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(ir::required_field("axis", &AxisAttrs::axis)); }
};
Status infer_concat(InferContext& ctx) {
  for (size_t i = 0; i < ctx.inputs(); ++i) {
    LOWP_TRY(want_same_dtype(ctx, 0, i));
    if (!ctx.has_rank(i)) {
      ctx.set_unranked(0, ctx.dtype(0));
      return {};
    }
  }
  Dims out = ctx.dims(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<AxisAttrs>().axis, static_cast<int64_t>(out.size())));
  const auto a = static_cast<size_t>(axis);
  for (size_t i = 1; i < ctx.inputs(); ++i) {
    const Dims& d = ctx.dims(i);
    if (d.size() != out.size())
      return error(Code::kShapeMismatch, "inputs 0 and {} have shapes {} and {}", i, ctx.type(0).to_string(),
                   ctx.type(i).to_string());
    for (size_t k = 0; k < d.size(); ++k) {
      if (k == a) {
        out[k] = out[k].known() && d[k].known() ? Dim(out[k].value() + d[k].value()) : Dim();
      } else if (out[k].known() && d[k].known() && out[k].value() != d[k].value()) {
        return error(Code::kShapeMismatch, "inputs 0 and {} have shapes {} and {}, which differ at dimension {}", i,
                     ctx.type(0).to_string(), ctx.type(i).to_string(), k);
      } else if (d[k].known()) {
        out[k] = d[k];
      }
    }
  }
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status concat(EvalContext& ctx) {
  return dispatch_size(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    Tensor& y = ctx.out(0);
    LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<AxisAttrs>().axis, y.rank()));
    const Extents strides = ir::row_major_strides(y.extents());
    int64_t offset = 0;
    for (size_t k = 0; k < ctx.inputs(); ++k) {
      const T* x = static_cast<const T*>(ctx.in(k).raw());
      T* out = static_cast<T*>(y.mutable_raw()) + offset * strides[static_cast<size_t>(axis)];
      for_each_index(ctx.in(k).extents(), [&](int64_t i, const Extents& index) { out[dot(strides, index)] = x[i]; });
      offset += ctx.in(k).extent(static_cast<int>(axis));
    }
    return {};
  });
}
Status lower_concat(LowerContext& ctx) {
  if (!copyable(ctx)) return {};
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<AxisAttrs>().axis, static_cast<int64_t>(ctx.in(0).size())));
  const Extents y_strides = ir::row_major_strides(ctx.out(0));
  std::vector<std::pair<size_t, BlockCopy>> copies;
  int64_t offset = 0;
  for (size_t i = 0; i < ctx.node().inputs.size(); ++i) {
    if (!ctx.is_placed(i)) {
      copies.emplace_back(i, block_copy(ctx.in(i), ir::row_major_strides(ctx.in(i)), y_strides, 0,
                                        offset * y_strides[static_cast<size_t>(axis)]));
    }
    offset += ctx.in(i)[static_cast<size_t>(axis)];
  }
  const size_t bytes = dtype_bytes(ctx.dtype(0), 1);
  const int threads = ctx.threads();
  ctx.emit(copies.empty() ? "layout.placed" : "layout.copy", [copies, bytes, threads](const StepArgs& s) {
    for (const auto& [i, copy] : copies) run_copy(copy, bytes, s.inputs[i], s.outputs[0], threads);
  });
  return {};
}
Status concat_gradient(GradContext& g) {
  LOWP_ASSIGN(int64_t axis, normalize_axis(g.attrs<AxisAttrs>().axis, g.out()->type.rank()));
  int64_t begin = 0;
  for (size_t i = 0; i < g.node().inputs.size(); ++i) {
    const Dim& d = (*g.in(i)->type.dims)[static_cast<size_t>(axis)];
    if (!d.known()) return error(Code::kUnsupported, "the gradient of Concat wants known extents along its axis");
    GraphBuilder& b = g.builder();
    if (g.wants(i))
      g.set_grad_in(i, b.op("Slice", {g.grad_out(), b.ints({begin}), b.ints({begin + d.value()}), b.ints({axis})}));
    begin += d.value();
  }
  return {};
}

// ---- Split(x, split?) ----

struct SplitAttrs {
  int64_t axis = 0;
  std::optional<int64_t> num_outputs;
  bool operator==(const SplitAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple(field("axis", &SplitAttrs::axis), field("num_outputs", &SplitAttrs::num_outputs));
  }
};
Status infer_split(InferContext& ctx) {
  if (!ctx.has_rank(0)) {
    for (size_t i = 0; i < ctx.outputs(); ++i) ctx.set_unranked(i, ctx.dtype(0));
    return {};
  }
  const Dims& d = ctx.dims(0);
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<SplitAttrs>().axis, static_cast<int64_t>(d.size())));
  const Dim& whole = d[static_cast<size_t>(axis)];
  std::vector<Dim> parts(ctx.outputs());
  if (ctx.has(1)) {
    if (const Tensor* t = ctx.known(1)) {
      const Extents sizes = t->to_int64s();
      int64_t sum = 0;
      for (int64_t s : sizes) sum += s;
      if (sizes.size() != parts.size() || (whole.known() && sum != whole.value())) {
        return error(Code::kShapeMismatch, "split sizes {} do not fit dimension {} of {} and {} outputs",
                     ir::extents_to_string(sizes), axis, ctx.type(0).to_string(), parts.size());
      }
      for (size_t i = 0; i < parts.size(); ++i) parts[i] = Dim(sizes[i]);
    }
  } else if (whole.known()) {
    const auto n = static_cast<int64_t>(parts.size());
    const int64_t chunk = (whole.value() + n - 1) / n;
    int64_t left = whole.value();
    for (Dim& p : parts) {
      p = Dim(std::min(chunk, left));
      left -= p.value();
    }
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    Dims out = d;
    out[static_cast<size_t>(axis)] = parts[i];
    ctx.set(i, ctx.dtype(0), std::move(out));
  }
  return {};
}
Status split(EvalContext& ctx) {
  return dispatch_size(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const Tensor& x = ctx.in(0);
    LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<SplitAttrs>().axis, x.rank()));
    const Extents strides = ir::row_major_strides(x.extents());
    int64_t offset = 0;
    for (size_t k = 0; k < ctx.outputs(); ++k) {
      const T* in = static_cast<const T*>(x.raw()) + offset * strides[static_cast<size_t>(axis)];
      T* y = static_cast<T*>(ctx.out(k).mutable_raw());
      for_each_index(ctx.out(k).extents(), [&](int64_t i, const Extents& index) { y[i] = in[dot(strides, index)]; });
      offset += ctx.out(k).extent(static_cast<int>(axis));
    }
    return {};
  });
}
Status lower_split(LowerContext& ctx) {
  if (!copyable(ctx)) return {};
  LOWP_ASSIGN(int64_t axis, normalize_axis(ctx.attrs<SplitAttrs>().axis, static_cast<int64_t>(ctx.in(0).size())));
  const Extents x_strides = ir::row_major_strides(ctx.in(0));
  std::vector<BlockCopy> copies;
  int64_t offset = 0;
  for (size_t i = 0; i < ctx.node().outputs.size(); ++i) {
    if (!ctx.wants(i)) return {};
    copies.push_back(block_copy(ctx.out(i), x_strides, ir::row_major_strides(ctx.out(i)),
                                offset * x_strides[static_cast<size_t>(axis)], 0));
    offset += ctx.out(i)[static_cast<size_t>(axis)];
  }
  const size_t bytes = dtype_bytes(ctx.dtype(0), 1);
  const int threads = ctx.threads();
  ctx.emit("layout.copy", [copies, bytes, threads](const StepArgs& s) {
    for (size_t i = 0; i < copies.size(); ++i) run_copy(copies[i], bytes, s.inputs[0], s.outputs[i], threads);
  });
  return {};
}
Status split_gradient(GradContext& g) {
  std::vector<ir::Value*> parts;
  for (size_t i = 0; i < g.node().outputs.size(); ++i) {
    GraphBuilder& b = g.builder();
    ir::Value* part = g.grad_out(i);
    if (part == nullptr) part = b.op("Mul", {g.out(i), b.scalar_like(g.out(i), 0)});
    parts.push_back(part);
  }
  g.set_grad_in(0, g.builder().op("Concat", parts, {{"axis", g.attrs<SplitAttrs>().axis}}));
  return {};
}
Status upgrade_split(ImportedNode& node) {
  if (node.version < 13) node.attr_to_input("split", 1);
  return {};
}

// ---- Pad(x, pads, value?, axes?) ----

struct PadAttrs {
  std::string mode = "constant";
  bool operator==(const PadAttrs&) const = default;
  static constexpr auto fields() { return std::tuple(field("mode", &PadAttrs::mode)); }
};
// Padding before and after each axis.
Result<std::pair<Extents, Extents>> pad_amounts(int64_t rank, const Tensor& pads, const Tensor* axes) {
  const Extents p = pads.to_int64s();
  Extents which;
  if (axes != nullptr) {
    which = axes->to_int64s();
  } else {
    for (int64_t i = 0; i < rank; ++i) which.push_back(i);
  }
  if (p.size() != 2 * which.size())
    return fail(Code::kInvalidModel, "pads has {} entries for {} axes", p.size(), which.size());
  Extents before(static_cast<size_t>(rank), 0);
  Extents after(static_cast<size_t>(rank), 0);
  for (size_t i = 0; i < which.size(); ++i) {
    LOWP_ASSIGN(int64_t axis, normalize_axis(which[i], rank));
    before[static_cast<size_t>(axis)] = p[i];
    after[static_cast<size_t>(axis)] = p[i + which.size()];
  }
  return std::pair(before, after);
}
Status infer_pad(InferContext& ctx) {
  const std::string& mode = ctx.attrs<PadAttrs>().mode;
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap")
    return error(Code::kInvalidModel, "unknown padding mode '{}'", mode);
  if (!ctx.has_rank(0)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  Dims out = ctx.dims(0);
  if (ctx.known(1) == nullptr || (ctx.has(3) && ctx.known(3) == nullptr)) {
    ctx.set(0, ctx.dtype(0), Dims(out.size()));
    return {};
  }
  LOWP_ASSIGN(auto amounts, pad_amounts(static_cast<int64_t>(out.size()), *ctx.known(1), ctx.known(3)));
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t total = amounts.first[i] + amounts.second[i];
    if (total == 0) continue;
    out[i] = out[i].known() ? Dim(std::max<int64_t>(0, out[i].value() + total)) : Dim();
  }
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status pad(EvalContext& ctx) {
  const Tensor& x = ctx.in(0);
  LOWP_ASSIGN(auto amounts, pad_amounts(x.rank(), ctx.in(1), ctx.has(3) ? &ctx.in(3) : nullptr));
  const Extents& before = amounts.first;
  if (!ctx.out(0).valid()) {
    Extents e = x.extents();
    for (size_t i = 0; i < e.size(); ++i) e[i] = std::max<int64_t>(0, e[i] + before[i] + amounts.second[i]);
    LOWP_ASSIGN(ctx.out(0), Tensor::allocate(x.dtype(), e));
  }
  const std::string& mode = ctx.attrs<PadAttrs>().mode;
  return dispatch_size(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    T fill{};
    if (ctx.has(2) && ctx.in(2).size() > 0) fill = *static_cast<const T*>(ctx.in(2).raw());
    const Extents strides = ir::row_major_strides(x.extents());
    const T* in = static_cast<const T*>(x.raw());
    T* y = static_cast<T*>(ctx.out(0).mutable_raw());
    for_each_index(ctx.out(0).extents(), [&](int64_t i, const Extents& index) {
      int64_t offset = 0;
      bool inside = true;
      for (size_t d = 0; d < index.size() && inside; ++d) {
        const int64_t n = x.extents()[d];
        int64_t k = index[d] - before[d];
        if (k < 0 || k >= n) {
          if (mode == "constant" || n == 0) {
            inside = false;
          } else if (mode == "edge") {
            k = std::clamp<int64_t>(k, 0, n - 1);
          } else if (mode == "wrap") {
            k = ((k % n) + n) % n;
          } else {  // reflect, without repeating the edge
            const int64_t period = std::max<int64_t>(1, 2 * (n - 1));
            k = ((k % period) + period) % period;
            if (k >= n) k = period - k;
          }
        }
        offset += k * strides[d];
      }
      y[i] = inside ? in[offset] : fill;
    });
    return {};
  });
}
Status upgrade_pad(ImportedNode& node) {
  if (node.version >= 11) return {};
  if (auto it = node.attrs.find("paddings"); it != node.attrs.end()) {
    node.attrs["pads"] = it->second;
    node.attrs.erase("paddings");
  }
  node.attr_to_input("pads", 1);
  node.float_attr_to_input("value", 2);
  return {};
}

// ---- Tile(x, repeats) ----

Status infer_tile(InferContext& ctx) {
  if (!ctx.has_rank(0)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  Dims out = ctx.dims(0);
  if (const Tensor* t = ctx.known(1)) {
    const Extents repeats = t->to_int64s();
    if (repeats.size() != out.size())
      return error(Code::kShapeMismatch, "repeats has {} entries for {}", repeats.size(), ctx.type(0).to_string());
    for (size_t i = 0; i < out.size(); ++i) {
      if (repeats[i] < 0) return error(Code::kInvalidModel, "repeats has a negative entry {}", repeats[i]);
      int64_t extent = 0;
      if (out[i].known() && __builtin_mul_overflow(out[i].value(), repeats[i], &extent))
        return error(Code::kResource, "tiling {} by {} is too large", out[i].value(), repeats[i]);
      if (repeats[i] != 1) out[i] = out[i].known() ? Dim(extent) : Dim();
    }
  } else {
    out = Dims(out.size());
  }
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status tile(EvalContext& ctx) {
  const Tensor& x = ctx.in(0);
  if (!ctx.out(0).valid()) {
    Extents e = x.extents();
    const Extents repeats = ctx.in(1).to_int64s();
    for (size_t i = 0; i < e.size(); ++i) e[i] *= repeats[i];
    LOWP_ASSIGN(ctx.out(0), Tensor::allocate(x.dtype(), e));
  }
  return dispatch_size(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const Extents strides = ir::row_major_strides(x.extents());
    const T* in = static_cast<const T*>(x.raw());
    T* y = static_cast<T*>(ctx.out(0).mutable_raw());
    for_each_index(ctx.out(0).extents(), [&](int64_t i, const Extents& index) {
      int64_t offset = 0;
      for (size_t d = 0; d < index.size(); ++d) offset += index[d] % x.extents()[d] * strides[d];
      y[i] = in[offset];
    });
    return {};
  });
}

}  // namespace

std::vector<OpDef> movement() {
  std::vector<OpDef> defs;
  auto add = [&](const char* name, int min_in, int max_in, Status (*infer)(InferContext&),
                 Status (*reference)(EvalContext&)) -> OpDef& {
    OpDef def;
    def.name = name;
    def.min_inputs = min_in;
    def.max_inputs = max_in;
    def.infer = infer;
    def.reference = reference;
    def.quantize = QuantRule::kPassThrough;
    defs.push_back(std::move(def));
    return defs.back();
  };
  {
    OpDef& def = add("Transpose", 1, 1, infer_transpose, transpose);
    def.attrs = ir::AttrCodec::of<TransposeAttrs>();
    def.gradient = transpose_gradient;
    def.lower = lower_transpose;
    def.samples = [] {
      return std::vector<Sample>{{{}, {{DType::kF32, {3, 5}}}},
                                 {{{"perm", std::vector<int64_t>{0, 2, 1, 3}}}, {{DType::kF32, {2, 5, 3, 17}}}},
                                 {{{"perm", std::vector<int64_t>{0, 2, 3, 1}}}, {{DType::kU8, {2, 5, 3, 17}, 0, 255}}}};
    };
  }
  {
    OpDef& def = add("Concat", 1, 1 << 20, infer_concat, concat);
    def.attrs = ir::AttrCodec::of<AxisAttrs>();
    def.gradient = concat_gradient;
    def.lower = lower_concat;
    def.per_item = [](const ir::Node& node) {
      const int64_t axis = node.attrs.get<AxisAttrs>().axis;
      return axis != 0 && axis != -node.outputs[0]->type.rank() && per_item_by_rank(node);
    };
    def.upgrade = [](ImportedNode& node) -> Status {
      if (node.version < 4 && !node.attrs.contains("axis")) node.attrs["axis"] = int64_t{1};
      return {};
    };
    def.samples = [] {
      return std::vector<Sample>{
          {{{"axis", int64_t{-1}}}, {{DType::kF32, {3, 5}}, {DType::kF32, {3, 2}}}},
          {{{"axis", int64_t{0}}}, {{DType::kI64, {3, 5}, -9, 9}, {DType::kI64, {1, 5}, -9, 9}}}};
    };
  }
  {
    OpDef& def = add("Split", 1, 2, infer_split, split);
    def.max_outputs = 1 << 20;
    def.attrs = ir::AttrCodec::of<SplitAttrs>();
    def.gradient = split_gradient;
    def.lower = lower_split;
    def.upgrade = upgrade_split;
    def.samples = [] {
      return std::vector<Sample>{{{{"axis", int64_t{-1}}}, {{DType::kF32, {3, 6}}}, 2},
                                 {{{"axis", int64_t{0}}}, {{DType::kF32, {5, 3}}, constant_ints({2, 3})}, 2}};
    };
  }
  {
    OpDef& def = add("Pad", 2, 4, infer_pad, pad);
    def.attrs = ir::AttrCodec::of<PadAttrs>();
    def.quantize = QuantRule::kFloat;  // a zero is not a zero point
    def.upgrade = upgrade_pad;
    def.samples = [] {
      return std::vector<Sample>{
          {{}, {{DType::kF32, {3, 5}}, constant_ints({1, 0, 2, 3})}},
          {{{"mode", std::string("reflect")}}, {{DType::kF32, {3, 5}}, constant_ints({1, 2, 2, 3})}}};
    };
  }
  {
    OpDef& def = add("Tile", 2, 2, infer_tile, tile);
    def.since_version = 6;
    def.samples = [] { return std::vector<Sample>{{{}, {{DType::kF32, {3, 5}}, constant_ints({2, 3})}}}; };
  }
  return defs;
}

}  // namespace lowp::ops
