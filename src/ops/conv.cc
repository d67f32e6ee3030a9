// Conv. With constant weights the compiler turns it into lowp.Conv (packed_conv.cc); the kernels here pack weights that
// are trained in every run.
#include "ops/conv.h"

#include "base/align.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/pack.h"
#include "kernels/conv/winograd.h"
#include "kernels/convert/convert.h"
#include "kernels/depthwise/depthwise.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

Status infer(InferContext& ctx) {
  LOWP_TRY(want_float(ctx, 0));
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  // Mixed precision has a bias in f32 for x and w of 16 bits.
  if (ctx.has(2)) LOWP_TRY(want_float(ctx, 2));
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
  const std::vector<double> bias = ctx.has(2) ? to_doubles(ctx.in(2)) : std::vector<double>{};
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
      if (!bias.empty()) sum += bias[static_cast<size_t>(index[1])];
      y.mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(sum));
    });
    return {};
  });
}

template <typename Args>
void set_geometry(Args& args, const kernels::ConvShape& s, DType dtype) {
  args.batch = s.batch;
  args.in_h = s.in_h, args.in_w = s.in_w;
  args.out_h = s.out_h, args.out_w = s.out_w;
  args.kernel_h = s.kernel_h, args.kernel_w = s.kernel_w;
  args.stride_h = s.stride_h, args.stride_w = s.stride_w;
  args.dilation_h = s.dilation_h, args.dilation_w = s.dilation_w;
  args.pad_top = s.pad_top, args.pad_left = s.pad_left;
  args.in_ld = s.in_c, args.out_ld = s.out_c;
  args.epilogue.out = dtype;
}

// Scratch of a call: packed weights, the bias and for depthwise layers x, both in f32, and what the kernel wants.
struct Scratch {
  size_t bias = 0, x = 0, kernel = 0;
};

void emit_depthwise(LowerContext& ctx, const kernels::ConvShape& s, DType dtype, DType bias) {
  kernels::DepthwiseArgs args;
  set_geometry(args, s, dtype);
  args.c = s.in_c;
  const int threads = ctx.threads();
  const int64_t x_count = s.batch * s.in_h * s.in_w * s.in_c;
  Scratch at;
  at.bias = align64(kernels::packed_depthwise_bytes(DType::kF32, s.in_c, s.kernel_h, s.kernel_w));
  at.x = at.bias + align64(static_cast<size_t>(s.out_c) * sizeof(float));
  at.kernel = at.x + (dtype == DType::kF32 ? 0 : align64(static_cast<size_t>(x_count) * sizeof(float)));
  ctx.set_scratch(at.kernel + kernels::depthwise_scratch(args, threads));
  ctx.emit("depthwise.dynamic", [=](const StepArgs& step) {
    char* scratch = static_cast<char*>(step.scratch);
    kernels::DepthwiseArgs call = args;
    kernels::pack_depthwise_f32(dtype, step.inputs[1], s.in_c, s.taps(), reinterpret_cast<float*>(scratch));
    call.weights = scratch;
    call.in = step.inputs[0];
    if (dtype != DType::kF32) {
      kernels::convert_stored(dtype, call.in, DType::kF32, scratch + at.x, x_count, threads);
      call.in = scratch + at.x;
    }
    if (bias != DType::kInvalid) {
      kernels::convert_stored(bias, step.inputs[2], DType::kF32, scratch + at.bias, s.out_c, 1);
      call.epilogue.bias = reinterpret_cast<float*>(scratch + at.bias);
    }
    call.out = step.outputs[0];
    kernels::depthwise(call, scratch + at.kernel, threads);
  });
}

Status lower(LowerContext& ctx) {
  const DType dtype = ctx.dtype(0);
  const DType bias = ctx.has(2) ? ctx.dtype(2) : DType::kInvalid;
  if (ctx.in_layout(0) != ir::Layout::kChannelsLast || ctx.out_layout(0) != ir::Layout::kChannelsLast ||
      !kernels::is_stored_float(dtype) || (ctx.has(2) && !kernels::is_stored_float(bias)))
    return {};
  const std::optional<kernels::ConvShape> shape = conv_shape(ctx.attrs<ConvAttrs>(), ctx.in(0), ctx.in(1), ctx.out(0));
  if (!shape) return {};
  const kernels::ConvShape s = *shape;
  const int64_t in_c = s.in_c / s.groups;
  ctx.set_macs(s.pixels() * s.out_c * in_c * s.taps());
  if (s.depthwise()) {
    emit_depthwise(ctx, s, dtype, bias);
    return {};
  }
  kernels::ConvArgs args;
  set_geometry(args, s, dtype);
  args.in_c = s.in_c, args.out_c = s.out_c;
  args.groups = s.groups;
  args.in_dtype = dtype;
  args.weight_kind = kernels::product_kind(dtype);
  const int threads = ctx.threads();
  const bool fast = args.weight_kind == kernels::WeightKind::kF32 && kernels::winograd_fits(args);
  Scratch at;
  at.bias = align64(kernels::packed_conv_bytes(args.weight_kind, s.out_c, in_c, s.kernel_h, s.kernel_w, s.groups));
  at.kernel = at.bias + align64(static_cast<size_t>(s.out_c) * sizeof(float));
  ctx.set_scratch(at.kernel + (fast ? kernels::winograd_scratch(args, threads) : kernels::conv_scratch(args, threads)));
  ctx.emit(fast ? "winograd.dynamic" : "conv.dynamic", [=](const StepArgs& step) {
    char* scratch = static_cast<char*>(step.scratch);
    kernels::ConvArgs call = args;
    kernels::pack_filters(args.weight_kind, dtype, step.inputs[1], s.out_c, in_c, s.taps(), s.groups, scratch, threads);
    call.weights = scratch;
    if (bias == DType::kF32) {
      call.epilogue.bias = step.in<float>(2);
    } else if (bias != DType::kInvalid) {
      kernels::convert_stored(bias, step.inputs[2], DType::kF32, scratch + at.bias, s.out_c, 1);
      call.epilogue.bias = reinterpret_cast<float*>(scratch + at.bias);
    }
    call.in = step.inputs[0];
    call.out = step.outputs[0];
    fast ? kernels::winograd(call, scratch + at.kernel, threads) : kernels::conv(call, scratch + at.kernel, threads);
  });
  return {};
}

Status gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  ConvAttrs a = g.attrs<ConvAttrs>();
  const TensorType& x = g.in(0)->type;
  const TensorType& w = g.in(1)->type;
  auto spatial = [](const TensorType& t) -> std::optional<std::vector<int64_t>> {
    std::vector<int64_t> list;
    for (size_t i = 2; t.has_rank() && i < t.dims->size(); ++i) {
      if (!(*t.dims)[i].known()) return std::nullopt;
      list.push_back((*t.dims)[i].value());
    }
    return t.has_rank() ? std::optional(list) : std::nullopt;
  };
  const auto kernel = spatial(w);
  const auto image = spatial(x);
  if (!kernel || (g.wants(0) && !image)) {
    return error(Code::kUnsupported,
                 "the gradient of Conv wants known spatial extents, input {} and weight {} have not", x.to_string(),
                 w.to_string());
  }
  a.kernel_shape = *kernel;
  AttrMap attrs = ir::AttrCodec::of<ConvAttrs>().write(ir::Attrs::make(a));
  if (g.wants(0)) {
    AttrMap with_image = attrs;
    with_image["input_shape"] = *image;
    g.set_grad_in(0, b.op("ConvInputGradient", {g.grad_out(), g.in(1)}, with_image, kLowpDomain));
  }
  const bool bias = g.node().input(2) != nullptr && g.wants(2);
  if (!g.wants(1) && !bias) return {};
  const std::vector<ir::Value*> gradients =
      b.op_n(bias ? 2 : 1, "ConvWeightGradient", {g.in(0), g.grad_out()}, attrs, kLowpDomain);
  if (g.wants(1)) g.set_grad_in(1, b.cast(gradients[0], g.in(1)->type.dtype));
  if (bias) g.set_grad_in(2, b.cast(gradients[1], g.in(2)->type.dtype));
  return {};
}

std::vector<Sample> samples() {
  const std::vector<int64_t> two = {2, 2};
  return {{{}, {{DType::kF32, {1, 3, 7, 9}}, {DType::kF32, {5, 3, 3, 3}}, {DType::kF32, {5}}}},
          {{{"pads", std::vector<int64_t>{1, 1, 1, 1}}},
           {{DType::kF32, {2, 17, 5, 6}}, {DType::kF32, {18, 17, 3, 3}}, {DType::kF32, {18}}}},
          {{{"strides", two}, {"pads", std::vector<int64_t>{0, 1, 1, 0}}},
           {{DType::kF32, {2, 4, 8, 7}}, {DType::kF32, {6, 4, 3, 3}}}},
          {{{"group", int64_t{2}}, {"dilations", two}}, {{DType::kF32, {1, 4, 9, 9}}, {DType::kF32, {6, 2, 3, 3}}}},
          {{{"group", int64_t{5}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}}},
           {{DType::kF32, {2, 5, 6, 7}}, {DType::kF32, {5, 1, 3, 3}}, {DType::kF32, {5}}}},
          {{{"group", int64_t{5}}, {"strides", two}},
           {{DType::kBF16, {2, 5, 6, 7}}, {DType::kBF16, {5, 1, 3, 3}}, {DType::kBF16, {5}}}},
          {{{"strides", two}}, {{DType::kBF16, {2, 4, 8, 7}}, {DType::kBF16, {6, 4, 3, 3}}, {DType::kBF16, {6}}}},
          {{}, {{DType::kF16, {2, 9, 8, 7}}, {DType::kF16, {20, 9, 1, 1}}, {DType::kF32, {20}}}},
          {{{"auto_pad", std::string("SAME_UPPER")}}, {{DType::kF32, {1, 2, 11}}, {DType::kF32, {3, 2, 4}}}}};
}

}  // namespace

std::optional<kernels::ConvShape> conv_shape(const ConvAttrs& a, const Extents& x, const Extents& w, const Extents& y) {
  if (x.size() != 3 && x.size() != 4) return std::nullopt;
  if (ir::element_count(x) == 0 || ir::element_count(w) == 0 || ir::element_count(y) == 0) return std::nullopt;
  const Extents kernel(w.begin() + 2, w.end());
  const auto window = resolve_window(a, kernel, ir::Dims(x.begin() + 2, x.end()), false);
  if (!window) return std::nullopt;
  const bool two = x.size() == 4;
  const size_t last = kernel.size() - 1;
  kernels::ConvShape s;
  s.batch = x[0];
  s.in_h = two ? x[2] : 1, s.in_w = x.back(), s.in_c = x[1];
  s.out_h = two ? y[2] : 1, s.out_w = y.back(), s.out_c = y[1];
  s.kernel_h = two ? kernel[0] : 1, s.kernel_w = kernel[last];
  s.stride_h = two ? window->strides[0] : 1, s.stride_w = window->strides[last];
  s.dilation_h = two ? window->dilations[0] : 1, s.dilation_w = window->dilations[last];
  s.pad_top = two ? window->pads_begin[0] : 0, s.pad_left = window->pads_begin[last];
  s.groups = a.group;
  return s;
}

std::vector<OpDef> conv() {
  OpDef def;
  def.name = "Conv";
  def.min_inputs = 2;
  def.max_inputs = 3;
  def.attrs = ir::AttrCodec::of<ConvAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.gradient = gradient;
  def.lower = lower;
  def.quantize = QuantRule::kCompute;
  def.layout = LayoutRule::kChannelsLast;
  def.samples = samples;
  return {std::move(def)};
}

}  // namespace lowp::ops
