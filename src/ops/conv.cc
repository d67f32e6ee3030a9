// Conv. With constant weights the compiler turns it into lowp.Conv (packed_conv.cc), which is what is fast.
#include "ops/reference.h"
#include "ops/window.h"

namespace lowp::ops {
namespace {

Status infer(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  LOWP_TRY(want_same_dtype(ctx, 0, 2));
  if (!ctx.has_rank(0) || !ctx.has_rank(1)) {
    ctx.set_unranked(0, ctx.dtype(0));
    return {};
  }
  const auto& a = ctx.attrs<ConvAttrs>();
  const ir::Dims& x = ctx.dims(0);
  const ir::Dims& w = ctx.dims(1);
  if (x.size() < 3 || w.size() != x.size()) {
    return error(Code::kShapeMismatch, "input {} and weight {} must both have rank 3 or more, and the same",
                 ctx.type(0).to_string(), ctx.type(1).to_string());
  }
  if (a.group < 1) return error(Code::kInvalidModel, "group is {}", a.group);
  if (x[1].known() && w[1].known() && x[1].value() != w[1].value() * a.group) {
    return error(Code::kShapeMismatch, "input has {} channels, weight wants {} x groups {}", x[1].value(), w[1].value(),
                 a.group);
  }
  if (w[0].known() && w[0].value() % a.group != 0)
    return error(Code::kShapeMismatch, "weight has {} output channels, which {} groups do not divide", w[0].value(),
                 a.group);
  if (ctx.has_rank(2)) {
    const ir::Dims& b = ctx.dims(2);
    if (b.size() != 1 || (b[0].known() && w[0].known() && b[0].value() != w[0].value())) {
      return error(Code::kShapeMismatch, "bias has shape {}, weight has {} output channels", ctx.type(2).to_string(),
                   w[0].to_string());
    }
  }
  Extents kernel;
  for (size_t i = 2; i < w.size(); ++i) {
    if (!w[i].known()) {
      ctx.set(0, ctx.dtype(0), ir::Dims(x.size()));
      return {};
    }
    kernel.push_back(w[i].value());
  }
  if (!a.kernel_shape.empty() && a.kernel_shape != kernel) {
    return error(Code::kShapeMismatch, "kernel_shape is {}, weight has {}", ir::extents_to_string(a.kernel_shape),
                 ctx.type(1).to_string());
  }
  LOWP_ASSIGN(Window window, resolve_window(a, kernel, ir::Dims(x.begin() + 2, x.end()), false));
  ir::Dims out = {x[0], w[0]};
  out.insert(out.end(), window.out.begin(), window.out.end());
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<ConvAttrs>();
  const Tensor& x = ctx.in(0);
  const Tensor& w = ctx.in(1);
  Tensor& y = ctx.out(0);
  const Extents xs(x.extents().begin() + 2, x.extents().end());
  const Extents kernel(w.extents().begin() + 2, w.extents().end());
  LOWP_ASSIGN(Window window, resolve_window(a, kernel, ir::Dims(xs.begin(), xs.end()), false));
  const Extents spatial_strides = ir::row_major_strides(xs);
  const int64_t channels = w.extent(1);
  const int64_t per_group = w.extent(0) / a.group;
  const int64_t image = ir::element_count(xs);
  const int64_t taps = ir::element_count(kernel);
  return dispatch_float(x.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for_each_index(y.extents(), [&](int64_t i, const Extents& index) {
      const int64_t group = index[1] / per_group;
      double sum = 0;
      for (int64_t c = 0; c < channels; ++c) {
        const T* plane = x.data<T>() + (index[0] * x.extent(1) + group * channels + c) * image;
        const T* weights = w.data<T>() + (index[1] * channels + c) * taps;
        for_each_index(kernel, [&](int64_t tap, const Extents& k) {
          int64_t offset = 0;
          for (size_t d = 0; d < k.size(); ++d) {
            const int64_t p = index[d + 2] * window.strides[d] - window.pads_begin[d] + k[d] * window.dilations[d];
            if (p < 0 || p >= xs[d]) return;
            offset += p * spatial_strides[d];
          }
          sum += static_cast<double>(static_cast<compute_t<T>>(plane[offset])) *
                 static_cast<double>(static_cast<compute_t<T>>(weights[tap]));
        });
      }
      if (ctx.has(2)) sum += static_cast<double>(static_cast<compute_t<T>>(ctx.in(2).data<T>()[index[1]]));
      y.mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(sum));
    });
    return {};
  });
}

std::vector<Sample> samples() {
  const std::vector<int64_t> two = {2, 2};
  return {{{}, {{DType::kF32, {1, 3, 7, 9}}, {DType::kF32, {5, 3, 3, 3}}, {DType::kF32, {5}}}},
          {{{"strides", two}, {"pads", std::vector<int64_t>{0, 1, 1, 0}}},
           {{DType::kF32, {2, 4, 8, 7}}, {DType::kF32, {6, 4, 3, 3}}}},
          {{{"group", int64_t{2}}, {"dilations", two}}, {{DType::kF32, {1, 4, 9, 9}}, {DType::kF32, {6, 2, 3, 3}}}},
          {{{"auto_pad", std::string("SAME_UPPER")}}, {{DType::kF32, {1, 2, 11}}, {DType::kF32, {3, 2, 4}}}}};
}

}  // namespace

std::vector<OpDef> conv() {
  OpDef def;
  def.name = "Conv";
  def.min_inputs = 2;
  def.max_inputs = 3;
  def.attrs = ir::AttrCodec::of<ConvAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.quantize = QuantRule::kCompute;
  def.samples = samples;
  return {std::move(def)};
}

}  // namespace lowp::ops
