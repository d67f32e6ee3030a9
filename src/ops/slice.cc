// Slice(x, starts, ends, axes?, steps?).
#include "ops/block_copy.h"
#include "ops/movement.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

using ir::Dim;
using ir::Dims;

Status upgrade_slice(ImportedNode& node) {
  if (node.version >= 10) return {};
  node.attr_to_input("starts", 1);
  node.attr_to_input("ends", 2);
  node.attr_to_input("axes", 3);
  return {};
}
Status infer_slice(InferContext& ctx) {
  if (!ctx.has_rank(0)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  Dims out = ctx.dims(0);
  const auto rank = static_cast<int64_t>(out.size());
  if ((ctx.has(3) && ctx.known(3) == nullptr) || (!ctx.has(3) && ctx.known(1) == nullptr)) {
    ctx.set(0, ctx.dtype(0), Dims(out.size()));
    return {};
  }
  Extents axes;
  if (ctx.has(3)) {
    axes = ctx.known(3)->to_int64s();
  } else {
    for (int64_t i = 0; i < ctx.known(1)->size(); ++i) axes.push_back(i);
  }
  const bool complete = ctx.known(1) != nullptr && ctx.known(2) != nullptr && (!ctx.has(4) || ctx.known(4) != nullptr);
  if (!complete) {
    for (int64_t a : axes) {
      LOWP_ASSIGN(int64_t axis, normalize_axis(a, rank));
      out[static_cast<size_t>(axis)] = Dim();
    }
    ctx.set(0, ctx.dtype(0), std::move(out));
    return {};
  }
  // Extents that are not known yet: only whole slices keep them.
  Extents extents;
  for (const Dim& d : out) extents.push_back(d.known() ? d.value() : std::numeric_limits<int64_t>::max() / 4);
  LOWP_ASSIGN(auto ranges, slice_ranges(extents, ctx.known(1), ctx.known(2), ctx.known(3), ctx.known(4)));
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i].known()) {
      out[i] = Dim(ranges[i].length);
    } else if (ranges[i].start != 0 || ranges[i].step != 1 || ranges[i].length != extents[i]) {
      out[i] = Dim();
    }
  }
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}
Status reference(EvalContext& ctx) {
  LOWP_ASSIGN(auto ranges, slice_ranges(ctx.in(0).extents(), &ctx.in(1), &ctx.in(2), ctx.has(3) ? &ctx.in(3) : nullptr,
                                        ctx.has(4) ? &ctx.in(4) : nullptr));
  if (!ctx.out(0).valid()) {
    Extents e;
    for (const SliceRange& r : ranges) e.push_back(r.length);
    LOWP_ASSIGN(ctx.out(0), Tensor::allocate(ctx.in(0).dtype(), e));
  }
  return dispatch_size(ctx.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    const Extents own = ir::row_major_strides(ctx.in(0).extents());
    Extents strides(own.size());
    const T* x = static_cast<const T*>(ctx.in(0).raw());
    for (size_t i = 0; i < own.size(); ++i) {
      strides[i] = own[i] * ranges[i].step;
      x += own[i] * ranges[i].start;
    }
    T* y = static_cast<T*>(ctx.out(0).mutable_raw());
    for_each_index(ctx.out(0).extents(), [&](int64_t i, const Extents& index) { y[i] = x[dot(strides, index)]; });
    return {};
  });
}

// Zeros around the gradient, for steps of 1 and known extents.
Status slice_gradient(GradContext& g) {
  const ir::Node& node = g.node();
  const TensorType& t = g.in(0)->type;
  auto constant = [&](size_t i) { return node.input(i) == nullptr ? nullptr : &node.input(i)->constant; };
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    if (node.inputs[i] != nullptr && !node.inputs[i]->is_constant())
      return error(Code::kUnsupported, "the gradient of Slice wants constant starts, ends, axes and steps");
  }
  if (!t.has_rank()) return error(Code::kUnsupported, "the gradient of Slice wants a known rank");
  // An extent that is not known is one that is not sliced, whatever it is.
  Extents extents;
  for (const Dim& d : *t.dims) extents.push_back(d.known() ? d.value() : std::numeric_limits<int64_t>::max() / 4);
  LOWP_ASSIGN(auto ranges, slice_ranges(extents, constant(1), constant(2), constant(3), constant(4)));
  std::vector<int64_t> before, after;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const SliceRange& r = ranges[i];
    const bool whole = r.start == 0 && r.step == 1 && r.length == extents[i];
    if (!whole && (r.step != 1 || !(*t.dims)[i].known()))
      return error(Code::kUnsupported,
                   "the gradient of Slice wants steps of 1 and known extents; axis {} of {} has step {}", i,
                   t.to_string(), r.step);
    before.push_back(whole ? 0 : r.start);
    after.push_back(whole ? 0 : extents[i] - r.start - r.length);
  }
  before.insert(before.end(), after.begin(), after.end());
  GraphBuilder& b = g.builder();
  g.set_grad_in(0, b.op("Pad", {g.grad_out(), b.ints(before)}));
  return {};
}
Status lower_slice(LowerContext& ctx) {
  if (!copyable(ctx) || ctx.known(1) == nullptr || ctx.known(2) == nullptr || (ctx.has(3) && ctx.known(3) == nullptr) ||
      (ctx.has(4) && ctx.known(4) == nullptr))
    return {};
  LOWP_ASSIGN(auto ranges, slice_ranges(ctx.in(0), ctx.known(1), ctx.known(2), ctx.known(3), ctx.known(4)));
  Extents strides = ir::row_major_strides(ctx.in(0));
  int64_t offset = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    offset += strides[i] * ranges[i].start;
    strides[i] *= ranges[i].step;
  }
  const BlockCopy copy = block_copy(ctx.out(0), strides, ir::row_major_strides(ctx.out(0)), offset, 0);
  const size_t bytes = dtype_bytes(ctx.dtype(0), 1);
  const int threads = ctx.threads();
  ctx.emit("layout.copy",
           [copy, bytes, threads](const StepArgs& s) { run_copy(copy, bytes, s.inputs[0], s.outputs[0], threads); });
  return {};
}

}  // namespace

Result<std::vector<SliceRange>> slice_ranges(const Extents& extents, const Tensor* starts, const Tensor* ends,
                                             const Tensor* axes, const Tensor* steps) {
  const auto rank = static_cast<int64_t>(extents.size());
  std::vector<SliceRange> ranges;
  for (int64_t e : extents) ranges.push_back({0, 1, e});
  const Extents s = starts->to_int64s();
  const Extents e = ends->to_int64s();
  const Extents a = axes != nullptr ? axes->to_int64s() : Extents{};
  const Extents t = steps != nullptr ? steps->to_int64s() : Extents{};
  if (e.size() != s.size() || (axes != nullptr && a.size() != s.size()) || (steps != nullptr && t.size() != s.size()) ||
      (axes == nullptr && static_cast<int64_t>(s.size()) > rank)) {
    return fail(Code::kInvalidModel, "Slice has {} starts, {} ends, {} axes and {} steps", s.size(), e.size(), a.size(),
                t.size());
  }
  for (size_t i = 0; i < s.size(); ++i) {
    LOWP_ASSIGN(int64_t axis, normalize_axis(axes != nullptr ? a[i] : static_cast<int64_t>(i), rank));
    const int64_t n = extents[static_cast<size_t>(axis)];
    const int64_t step = steps != nullptr ? t[i] : 1;
    if (step == 0) return fail(Code::kInvalidModel, "Slice has a step of 0 at axis {}", axis);
    int64_t begin = s[i] < 0 ? std::max(s[i], -n - 1) + n : s[i];
    int64_t end = e[i] < 0 ? std::max(e[i], -n - 1) + n : e[i];
    if (step > 0) {
      begin = std::clamp<int64_t>(begin, 0, n);
      end = std::clamp<int64_t>(end, 0, n);
    } else {
      begin = std::clamp<int64_t>(begin, -1, n - 1);
      end = std::clamp<int64_t>(end, -1, n - 1);
    }
    int64_t length = 0;
    if (step > 0 && end > begin) length = (end - begin - 1) / step + 1;
    if (step < 0 && begin > end)
      length = step == std::numeric_limits<int64_t>::min() ? 1 : (begin - end - 1) / -step + 1;
    ranges[static_cast<size_t>(axis)] = {length == 0 ? 0 : begin, length <= 1 ? 1 : step, length};
  }
  return ranges;
}

std::vector<OpDef> slice() {
  OpDef def;
  def.name = "Slice";
  def.min_inputs = 3;
  def.max_inputs = 5;
  def.infer = infer_slice;
  def.reference = reference;
  def.quantize = QuantRule::kPassThrough;
  def.upgrade = upgrade_slice;
  def.gradient = slice_gradient;
  def.lower = lower_slice;
  def.samples = [] {
    return std::vector<Sample>{
        {{}, {{DType::kF32, {6, 7}}, constant_ints({1, 0}), constant_ints({5, 100})}},
        {{},
         {{DType::kF32, {6, 7}}, constant_ints({-1}), constant_ints({-100}), constant_ints({1}), constant_ints({-2})}}};
  };
  return {std::move(def)};
}

}  // namespace lowp::ops
