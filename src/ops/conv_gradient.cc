// lowp.ConvInputGradient(dy, w) and lowp.ConvWeightGradient(x, dy): the gradients of Conv, whose attributes they have.
//
// ConvInputGradient gives dx in the type of dy; input_shape: the spatial extents of x, so that x itself is not needed.
// ConvWeightGradient gives dw [O, C / group, kernel_shape...] and, where wanted, db [O], the gradient of the bias; both
// f32 whatever the types of x and dy (f64 where x is). kernel_shape is required.
#include "ops/conv.h"
#include "ops/packed.h"
#include "ops/reference.h"

namespace lowp::ops {
namespace {

struct ConvGradientAttrs : ConvAttrs {
  std::vector<int64_t> input_shape;
  bool operator==(const ConvGradientAttrs&) const = default;
  static constexpr auto fields() {
    using S = ConvGradientAttrs;
    return std::tuple(ir::field("auto_pad", static_cast<std::string S::*>(&S::auto_pad)),
                      ir::field("kernel_shape", static_cast<std::vector<int64_t> S::*>(&S::kernel_shape)),
                      ir::field("strides", static_cast<std::vector<int64_t> S::*>(&S::strides)),
                      ir::field("dilations", static_cast<std::vector<int64_t> S::*>(&S::dilations)),
                      ir::field("pads", static_cast<std::vector<int64_t> S::*>(&S::pads)),
                      ir::field("group", static_cast<int64_t S::*>(&S::group)),
                      ir::required_field("input_shape", &S::input_shape));
  }
};

DType sum_dtype(DType x) { return x == DType::kF64 ? DType::kF64 : DType::kF32; }

// Whether `have`, where known, is the spatial part of a convolution's output.
Status check_output(const Window& window, const ir::Dims& have, const TensorType& type) {
  for (size_t i = 0; i < window.out.size(); ++i) {
    const ir::Dim& h = have[i + 2];
    if (!ir::may_be_equal(h, window.out[i])) {
      return error(Code::kShapeMismatch, "dy has type {}, spatial dimension {} of the output is {}", type.to_string(),
                   i, window.out[i].value());
    }
  }
  return {};
}

Status infer_input_gradient(InferContext& ctx) {
  const auto& a = ctx.attrs<ConvGradientAttrs>();
  LOWP_TRY(want_float(ctx, 0));
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  if (a.group < 1) return error(Code::kInvalidModel, "group is {}", a.group);
  const size_t rank = a.input_shape.size() + 2;
  for (size_t i : {size_t{0}, size_t{1}}) {
    if (ctx.has_rank(i) && (ctx.dims(i).size() != rank || rank < 3)) {
      return error(Code::kShapeMismatch, "operand {} has type {}, input_shape {} wants rank {}", i,
                   ctx.type(i).to_string(), ir::extents_to_string(a.input_shape), rank);
    }
  }
  ir::Dims out(rank);
  for (size_t i = 2; i < rank; ++i) out[i] = ir::Dim(a.input_shape[i - 2]);
  if (ctx.has_rank(0)) out[0] = ctx.dims(0)[0];
  if (ctx.has_rank(1)) {
    const ir::Dims& w = ctx.dims(1);
    if (w[1].known()) out[1] = ir::Dim(w[1].value() * a.group);
    if (ctx.has_rank(0) && w[0].known() && ctx.dims(0)[1].known() && w[0].value() != ctx.dims(0)[1].value()) {
      return error(Code::kShapeMismatch, "dy has {} channels, weight has {} output channels", ctx.dims(0)[1].value(),
                   w[0].value());
    }
    Extents kernel;
    for (size_t i = 2; i < rank && w[i].known(); ++i) kernel.push_back(w[i].value());
    if (kernel.size() + 2 == rank) {
      LOWP_ASSIGN(Window window, resolve_window(a, kernel, ir::Dims(out.begin() + 2, out.end()), false));
      if (ctx.has_rank(0)) LOWP_TRY(check_output(window, ctx.dims(0), ctx.type(0)));
    }
  }
  ctx.set(0, ctx.dtype(0), std::move(out));
  return {};
}

Status infer_weight_gradient(InferContext& ctx) {
  const auto& a = ctx.attrs<ConvAttrs>();
  LOWP_TRY(want_float(ctx, 0));
  LOWP_TRY(want_same_dtype(ctx, 0, 1));
  if (a.group < 1) return error(Code::kInvalidModel, "group is {}", a.group);
  const size_t rank = a.kernel_shape.size() + 2;
  if (rank < 3) return error(Code::kInvalidModel, "kernel_shape is missing");
  for (size_t i : {size_t{0}, size_t{1}}) {
    if (ctx.has_rank(i) && ctx.dims(i).size() != rank) {
      return error(Code::kShapeMismatch, "operand {} has type {}, kernel_shape {} wants rank {}", i,
                   ctx.type(i).to_string(), ir::extents_to_string(a.kernel_shape), rank);
    }
  }
  ir::Dims out(rank);
  for (size_t i = 2; i < rank; ++i) out[i] = ir::Dim(a.kernel_shape[i - 2]);
  if (ctx.has_rank(0)) {
    const ir::Dims& x = ctx.dims(0);
    if (x[1].known() && x[1].value() % a.group != 0)
      return error(Code::kShapeMismatch, "x has {} channels, which {} groups do not divide", x[1].value(), a.group);
    if (x[1].known()) out[1] = ir::Dim(x[1].value() / a.group);
    LOWP_ASSIGN(Window window, resolve_window(a, a.kernel_shape, ir::Dims(x.begin() + 2, x.end()), false));
    if (ctx.has_rank(1)) LOWP_TRY(check_output(window, ctx.dims(1), ctx.type(1)));
  }
  if (ctx.has_rank(1)) {
    out[0] = ctx.dims(1)[1];
    if (out[0].known() && out[0].value() % a.group != 0)
      return error(Code::kShapeMismatch, "dy has {} channels, which {} groups do not divide", out[0].value(), a.group);
  }
  if (ctx.outputs() > 1) ctx.set(1, sum_dtype(ctx.dtype(0)), ir::Dims{out[0]});
  ctx.set(0, sum_dtype(ctx.dtype(0)), std::move(out));
  return {};
}

// Calls body(index into x, into w, into y) for every product of a convolution.
template <typename Body>
Status for_each_product(const ConvAttrs& a, const Extents& x, const Extents& w, const Extents& y, Body&& body) {
  const Extents xs(x.begin() + 2, x.end());
  const Extents kernel(w.begin() + 2, w.end());
  LOWP_ASSIGN(Window window, resolve_window(a, kernel, ir::Dims(xs.begin(), xs.end()), false));
  const Extents strides = ir::row_major_strides(xs);
  const int64_t image = ir::element_count(xs);
  const int64_t taps = ir::element_count(kernel);
  const int64_t channels = w[1];
  for_each_index(y, [&](int64_t i, const Extents& index) {
    const int64_t group = index[1] / (w[0] / a.group);
    for_each_index(kernel, [&](int64_t tap, const Extents& k) {
      int64_t offset = 0;
      for (size_t d = 0; d < k.size(); ++d) {
        const int64_t p = index[d + 2] * window.strides[d] - window.pads_begin[d] + k[d] * window.dilations[d];
        if (p < 0 || p >= xs[d]) return;
        offset += p * strides[d];
      }
      for (int64_t c = 0; c < channels; ++c) {
        body((index[0] * x[1] + group * channels + c) * image + offset, (index[1] * channels + c) * taps + tap, i);
      }
    });
  });
  return {};
}

Status store(const std::vector<double>& sums, Tensor& out) {
  return dispatch_float(out.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < sums.size(); ++i)
      out.mutable_data<T>()[i] = static_cast<T>(static_cast<compute_t<T>>(sums[i]));
    return {};
  });
}

Status input_gradient(EvalContext& ctx) {
  const std::vector<double> dy = to_doubles(ctx.in(0));
  const std::vector<double> w = to_doubles(ctx.in(1));
  std::vector<double> dx(static_cast<size_t>(ctx.out(0).size()));
  LOWP_TRY(for_each_product(ctx.attrs<ConvGradientAttrs>(), ctx.out(0).extents(), ctx.in(1).extents(),
                            ctx.in(0).extents(), [&](int64_t i, int64_t k, int64_t o) {
                              dx[static_cast<size_t>(i)] += dy[static_cast<size_t>(o)] * w[static_cast<size_t>(k)];
                            }));
  return store(dx, ctx.out(0));
}

Status weight_gradient(EvalContext& ctx) {
  const std::vector<double> x = to_doubles(ctx.in(0));
  const std::vector<double> dy = to_doubles(ctx.in(1));
  std::vector<double> dw(static_cast<size_t>(ctx.out(0).size()));
  LOWP_TRY(for_each_product(ctx.attrs<ConvAttrs>(), ctx.in(0).extents(), ctx.out(0).extents(), ctx.in(1).extents(),
                            [&](int64_t i, int64_t k, int64_t o) {
                              dw[static_cast<size_t>(k)] += dy[static_cast<size_t>(o)] * x[static_cast<size_t>(i)];
                            }));
  LOWP_TRY(store(dw, ctx.out(0)));
  if (!ctx.wants(1)) return {};
  const Extents& y = ctx.in(1).extents();
  std::vector<double> db(static_cast<size_t>(y[1]));
  for_each_index(
      y, [&](int64_t i, const Extents& index) { db[static_cast<size_t>(index[1])] += dy[static_cast<size_t>(i)]; });
  return store(db, ctx.out(1));
}

Status lower_input_gradient(LowerContext& ctx) {
  if (ctx.in_layout(0) != ir::Layout::kChannelsLast || ctx.out_layout(0) != ir::Layout::kChannelsLast ||
      !kernels::is_stored_float(ctx.dtype(0)))
    return {};
  const auto shape = conv_shape(ctx.attrs<ConvGradientAttrs>(), ctx.out(0), ctx.in(1), ctx.in(0));
  if (!shape || shape->taps() > kernels::kMaxGradientTaps) return {};
  kernels::ConvInputGradientArgs args;
  args.shape = *shape;
  args.dy_dtype = args.dx_dtype = ctx.dtype(0);
  args.w_dtype = ctx.dtype(1);
  const int threads = ctx.threads();
  ctx.set_macs(shape->pixels() * shape->out_c * (shape->in_c / shape->groups) * shape->taps());
  ctx.set_scratch(kernels::conv_input_gradient_scratch(args, threads));
  ctx.emit("conv.input_gradient", [args, threads](const StepArgs& s) {
    kernels::ConvInputGradientArgs call = args;
    call.dy = s.inputs[0];
    call.w = s.inputs[1];
    call.dx = s.outputs[0];
    kernels::conv_input_gradient(call, s.scratch, threads);
  });
  return {};
}

Status lower_weight_gradient(LowerContext& ctx) {
  if (ctx.in_layout(0) != ir::Layout::kChannelsLast || ctx.in_layout(1) != ir::Layout::kChannelsLast ||
      !kernels::is_stored_float(ctx.dtype(0)))
    return {};
  const auto shape = conv_shape(ctx.attrs<ConvAttrs>(), ctx.in(0), ctx.out(0), ctx.in(1));
  if (!shape) return {};
  kernels::ConvWeightGradientArgs args;
  args.shape = *shape;
  args.x_dtype = ctx.dtype(0);
  args.dy_dtype = ctx.dtype(1);
  const bool bias = ctx.wants(1);
  const int threads = ctx.threads();
  ctx.set_macs(shape->pixels() * shape->out_c * (shape->in_c / shape->groups) * shape->taps());
  ctx.set_scratch(kernels::conv_weight_gradient_scratch(args, threads));
  ctx.emit("conv.weight_gradient", [args, bias, threads](const StepArgs& s) {
    kernels::ConvWeightGradientArgs call = args;
    call.x = s.inputs[0];
    call.dy = s.inputs[1];
    call.dw = s.out<float>(0);
    if (bias) call.db = s.out<float>(1);
    kernels::conv_weight_gradient(call, s.scratch, threads);
  });
  return {};
}

// Both are bilinear: their gradients are the convolution and each other.
AttrMap conv_attrs(const ConvAttrs& a) { return ir::AttrCodec::of<ConvAttrs>().write(ir::Attrs::make(a)); }

Status input_gradient_gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  ConvAttrs a = g.attrs<ConvGradientAttrs>();
  if (g.wants(0)) g.set_grad_in(0, b.op("Conv", {g.grad_out(), g.in(1)}, conv_attrs(a)));
  if (!g.wants(1)) return {};
  const TensorType& w = g.in(1)->type;
  if (!w.concrete()) return error(Code::kUnsupported, "a gradient wants the weight's extents, it is {}", w.to_string());
  const Extents extents = w.extents();
  a.kernel_shape.assign(extents.begin() + 2, extents.end());
  g.set_grad_in(
      1, b.cast(b.op("ConvWeightGradient", {g.grad_out(), g.in(0)}, conv_attrs(a), kLowpDomain), g.in(1)->type.dtype));
  return {};
}

Status weight_gradient_gradient(GradContext& g) {
  GraphBuilder& b = g.builder();
  const auto& a = g.attrs<ConvAttrs>();
  if (g.node().outputs.size() > 1 && g.grad_out(1) != nullptr)
    return error(Code::kUnsupported, "the gradient of a bias gradient");
  ir::Value* d = b.cast(g.grad_out(), g.in(0)->type.dtype);
  if (g.wants(1)) g.set_grad_in(1, b.op("Conv", {g.in(0), d}, conv_attrs(a)));
  if (!g.wants(0)) return {};
  AttrMap attrs = conv_attrs(a);
  std::vector<int64_t> image;
  for (size_t i = 2; g.in(0)->type.has_rank() && i < g.in(0)->type.dims->size(); ++i) {
    const ir::Dim& dim = (*g.in(0)->type.dims)[i];
    if (!dim.known())
      return error(Code::kUnsupported, "a gradient wants known spatial extents, x is {}", g.in(0)->type.to_string());
    image.push_back(dim.value());
  }
  attrs["input_shape"] = image;
  g.set_grad_in(0, b.op("ConvInputGradient", {g.in(1), d}, attrs, kLowpDomain));
  return {};
}

// The convolutions that both sample, by the extents of x, w and y.
struct Geometry {
  AttrMap attrs;
  Extents x, w, y;
};
std::vector<Geometry> geometries() {
  using Ints = std::vector<int64_t>;
  return {{{{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}}, {2, 5, 6, 7}, {9, 5, 3, 3}, {2, 9, 6, 7}},
          {{{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}}, {2, 17, 5, 4}, {18, 17, 3, 3}, {2, 18, 5, 4}},
          {{{"kernel_shape", Ints{3, 2}}, {"strides", Ints{2, 3}}, {"pads", Ints{0, 1, 1, 0}}},
           {1, 4, 9, 8},
           {6, 4, 3, 2},
           {1, 6, 4, 3}},
          {{{"kernel_shape", Ints{1, 1}}, {"strides", Ints{2, 2}}}, {2, 16, 5, 6}, {17, 16, 1, 1}, {2, 17, 3, 3}},
          {{{"kernel_shape", Ints{3, 3}}, {"dilations", Ints{2, 2}}, {"group", int64_t{2}}},
           {1, 4, 9, 9},
           {6, 2, 3, 3},
           {1, 6, 5, 5}},
          {{{"kernel_shape", Ints{3, 3}}, {"group", int64_t{6}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}},
           {2, 6, 7, 8},
           {6, 1, 3, 3},
           {2, 6, 4, 4}},
          {{{"kernel_shape", Ints{4}}, {"auto_pad", std::string("SAME_UPPER")}}, {1, 2, 11}, {3, 2, 4}, {1, 3, 11}}};
}
std::vector<Sample> input_samples() {
  std::vector<Sample> list;
  for (const Geometry& g : geometries()) {
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      if (dtype != DType::kF32 && g.x.size() == 3) continue;
      Sample s{g.attrs, {{dtype, g.y}, {dtype, g.w}}};
      s.attrs["input_shape"] = std::vector<int64_t>(g.x.begin() + 2, g.x.end());
      s.tolerance_ulps = sample_tolerance(DType::kF32, ir::element_count(g.w) / g.w[1]);
      list.push_back(std::move(s));
    }
  }
  return list;
}
std::vector<Sample> weight_samples() {
  std::vector<Sample> list;
  size_t outputs = 0;
  for (const Geometry& g : geometries()) {
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      if (dtype != DType::kF32 && g.x.size() == 3) continue;
      Sample s{g.attrs, {{dtype, g.x}, {dtype, g.y}}};
      s.outputs = 1 + outputs++ % 2;
      s.tolerance_ulps = sample_tolerance(DType::kF32, ir::element_count(g.y) / g.y[1]);
      list.push_back(std::move(s));
    }
  }
  return list;
}

}  // namespace

std::vector<OpDef> conv_gradient() {
  OpDef input;
  input.name = "ConvInputGradient";
  input.domain = kLowpDomain;
  input.min_inputs = input.max_inputs = 2;
  input.attrs = ir::AttrCodec::of<ConvGradientAttrs>();
  input.infer = infer_input_gradient;
  input.reference = input_gradient;
  input.gradient = input_gradient_gradient;
  input.lower = lower_input_gradient;
  input.layout = LayoutRule::kChannelsLast;
  input.samples = input_samples;

  OpDef weight;
  weight.name = "ConvWeightGradient";
  weight.domain = kLowpDomain;
  weight.min_inputs = weight.max_inputs = 2;
  weight.max_outputs = 2;
  weight.attrs = ir::AttrCodec::of<ConvAttrs>();
  weight.infer = infer_weight_gradient;
  weight.reference = weight_gradient;
  weight.gradient = weight_gradient_gradient;
  weight.lower = lower_weight_gradient;
  weight.layout = LayoutRule::kChannelsLast;
  weight.channels_last_inputs = 3;
  weight.channels_last_outputs = 0;
  weight.samples = weight_samples;
  return {std::move(input), std::move(weight)};
}

}  // namespace lowp::ops
