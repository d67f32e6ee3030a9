// lowp.Conv: convolution with packed weights and a fused epilogue, channels-last; depthwise layers have their own
// kernel.
#include "kernels/conv/winograd.h"
#include "kernels/conv/winograd_int8.h"
#include "kernels/depthwise/depthwise.h"
#include "ops/packed.h"
#include "ops/reference.h"
#include "ops/window.h"

namespace lowp::ops {
namespace {

WindowAttrs window_attrs(const PackedConvAttrs& a) {
  return {a.auto_pad, a.kernel_shape, a.strides, a.dilations, a.pads};
}

// x is N x C x W (1-d) or N x C x H x W; always handled as two spatial dimensions.
ir::Dims spatial_2d(const ir::Dims& x) { return x.size() == 3 ? ir::Dims{ir::Dim(1), x[2]} : ir::Dims{x[2], x[3]}; }

Status infer(InferContext& ctx) {
  const auto& a = ctx.attrs<PackedConvAttrs>();
  constexpr int64_t kLimit = int64_t{1} << 24;
  if (a.group < 1 || a.in_channels < 1 || a.out_channels < 1 || a.in_channels > kLimit || a.out_channels > kLimit ||
      a.in_channels % a.group != 0 || a.out_channels % a.group != 0) {
    return error(Code::kInvalidModel, "{} input channels, {} output channels, {} groups", a.in_channels, a.out_channels,
                 a.group);
  }
  if (a.kernel_shape.size() != 2 || a.kernel_shape[0] < 1 || a.kernel_shape[1] < 1 || a.kernel_shape[0] > 4096 ||
      a.kernel_shape[1] > 4096) {
    return error(Code::kInvalidModel, "kernel_shape {}", ir::extents_to_string(a.kernel_shape));
  }
  const DType w = ctx.dtype(kPackedWeights);
  auto kind = weight_kind(w);
  if (!kind) return error(Code::kTypeMismatch, "weights have dtype {}", dtype_name(w));
  const int64_t kh = a.kernel_shape[0];
  const int64_t kw = a.kernel_shape[1];
  const int64_t per_group = a.in_channels / a.group;
  if (a.depthwise() && w != DType::kF32 && w != DType::kI8)
    return error(Code::kTypeMismatch, "depthwise weights have dtype {}", dtype_name(w));
  if (w == DType::kI8 && per_group * kh * kw > kernels::kMaxInt8K)
    return error(Code::kUnsupported, "INT8 with {} products a sum, more than {} could overflow", per_group * kh * kw,
                 kernels::kMaxInt8K);
  if (a.winograd && (w != DType::kF32 || !winograd_fits(a)))
    return error(Code::kInvalidModel, "a convolution of this shape and weights {} is not Winograd's", dtype_name(w));
  if (a.weight_sum < 0) return error(Code::kInvalidModel, "weight_sum is {}", a.weight_sum);
  const size_t bytes = a.depthwise() ? kernels::packed_depthwise_bytes(w, a.group, kh, kw)
                       : a.winograd  ? kernels::packed_winograd_bytes(a.out_channels, a.in_channels)
                                     : kernels::packed_conv_bytes(*kind, a.out_channels, per_group, kh, kw, a.group);
  LOWP_TRY(check_packed(ctx, a, a.out_channels, bytes / kernels::weight_bytes(*kind)));
  if (!ctx.has_rank(kPackedX)) {
    ctx.set_unranked(0, a.out_dtype);
    return {};
  }
  const ir::Dims& x = ctx.dims(kPackedX);
  if (x.size() != 3 && x.size() != 4)
    return error(Code::kShapeMismatch, "input has shape {}, rank 3 or 4 is wanted", ctx.type(kPackedX).to_string());
  if (x[1].known() && x[1].value() != a.in_channels)
    return error(Code::kShapeMismatch, "input has {} channels, the weights want {}", x[1].value(), a.in_channels);
  LOWP_ASSIGN(Window window, resolve_window(window_attrs(a), a.kernel_shape, spatial_2d(x), false));
  ir::Dims out = {x[0], ir::Dim(a.out_channels)};
  if (x.size() == 4) out.push_back(window.out[0]);
  out.push_back(window.out[1]);
  if (ctx.has_rank(kPackedResidual) && ctx.type(kPackedResidual).concrete() &&
      TensorType(DType::kF32, out).concrete() && ctx.dims(kPackedResidual) != out) {
    return error(Code::kShapeMismatch, "residual has shape {}, the output {}", ctx.type(kPackedResidual).to_string(),
                 TensorType(a.out_dtype, out).to_string());
  }
  ctx.set(0, a.out_dtype, std::move(out));
  return {};
}

// Winograd's sum (kernels/conv/winograd.h) of output channel o at row h, column v of the output; pixel(i, j, c) is the
// tile's.
template <typename Pixel>
double winograd_sum(const Tensor& packed, const PackedConvAttrs& a, int64_t o, int64_t h, int64_t v, Pixel&& pixel) {
  static constexpr double kInput[4][4] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}};
  static constexpr double kOutput[2][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
  const auto matrix = static_cast<size_t>(packed.size() / 16);
  double sum = 0;
  for (int64_t position = 0; position < 16; ++position) {
    const int64_t i = position / 4;
    const int64_t j = position % 4;
    const double factor = kOutput[h % 2][i] * kOutput[v % 2][j];
    for (int64_t c = 0; factor != 0 && c < a.in_channels; ++c) {
      double value = 0;
      for (int64_t y = 0; y < 4; ++y) {
        for (int64_t x = 0; x < 4; ++x) value += kInput[i][y] * kInput[j][x] * pixel(y, x, c);
      }
      sum += factor * value * packed_element(packed, static_cast<size_t>(position) * matrix, c, o, a.in_channels);
    }
  }
  return sum;
}

Status reference(EvalContext& ctx) {
  const auto& a = ctx.attrs<PackedConvAttrs>();
  const Tensor& x = ctx.in(kPackedX);
  const Tensor& packed = ctx.in(kPackedWeights);
  const Tensor& y = ctx.out(0);
  const Extents& e = x.extents();
  LOWP_ASSIGN(Window w,
              resolve_window(window_attrs(a), a.kernel_shape, spatial_2d(ir::Dims(e.begin(), e.end())), false));
  const int64_t in_h = e.size() == 4 ? e[2] : 1;
  const int64_t in_w = e.back();
  const int64_t out_w = y.extents().back();
  const int64_t plane = y.size() / (e[0] * a.out_channels);
  const int64_t per_group = a.in_channels / a.group;
  const int64_t out_per_group = a.out_channels / a.group;
  const int64_t taps = a.kernel_shape[0] * a.kernel_shape[1];
  const int64_t rows = taps * per_group;
  const bool int8 = packed.dtype() == DType::kI8;
  const double shift = x.dtype() == DType::kI8 ? 128 : 0;
  const double padding = int8 ? static_cast<double>(a.in_zero) + shift : 0;
  const std::vector<double> xs = to_doubles(x);
  const size_t group_elements = static_cast<size_t>(packed.size() / a.group);
  for (int64_t i = 0; i < y.size(); ++i) {
    const int64_t p = i % plane;
    const int64_t o = i / plane % a.out_channels;
    const int64_t n = i / plane / a.out_channels;
    const int64_t group = o / out_per_group;
    if (a.winograd) {
      const int64_t h = p / out_w;
      const int64_t v = p % out_w;
      const double sum = winograd_sum(packed, a, o, h, v, [&](int64_t row, int64_t column, int64_t c) {
        const int64_t y = h / 2 * 2 - w.pads_begin[0] + row;
        const int64_t x = v / 2 * 2 - w.pads_begin[1] + column;
        if (y < 0 || y >= in_h || x < 0 || x >= in_w) return 0.0;
        return xs[static_cast<size_t>(((n * a.in_channels + c) * in_h + y) * in_w + x)];
      });
      reference_epilogue(ctx, a, sum, o, i);
      continue;
    }
    double sum = 0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t h = p / out_w * w.strides[0] - w.pads_begin[0] + tap / a.kernel_shape[1] * w.dilations[0];
      const int64_t v = p % out_w * w.strides[1] - w.pads_begin[1] + tap % a.kernel_shape[1] * w.dilations[1];
      const bool inside = h >= 0 && h < in_h && v >= 0 && v < in_w;
      for (int64_t c = 0; c < per_group; ++c) {
        const double value =
            inside
                ? xs[static_cast<size_t>(((n * a.in_channels + group * per_group + c) * in_h + h) * in_w + v)] + shift
                : padding;
        double weight = 0;
        if (a.depthwise()) {
          const int64_t at = tap * ((a.group + kernels::kPanel - 1) / kernels::kPanel * kernels::kPanel) + o;
          weight =
              int8 ? static_cast<double>(packed.data<int8_t>()[at]) : static_cast<double>(packed.data<float>()[at]);
        } else {
          weight = packed_element(packed, static_cast<size_t>(group) * group_elements, tap * per_group + c,
                                  o % out_per_group, rows);
        }
        sum += value * weight;
      }
    }
    reference_epilogue(ctx, a, sum, o, i);
  }
  return {};
}

// The geometry that conv and depthwise kernels share.
template <typename Args>
void set_geometry(Args& args, const PackedConvAttrs& a, const Window& w, const LowerContext& ctx) {
  const Extents& x = ctx.in(kPackedX);
  const Extents& y = ctx.out(0);
  args.batch = x[0];
  args.in_h = x.size() == 4 ? x[2] : 1;
  args.in_w = x.back();
  args.out_h = y.size() == 4 ? y[2] : 1;
  args.out_w = y.back();
  args.kernel_h = w.kernel[0];
  args.kernel_w = w.kernel[1];
  args.stride_h = w.strides[0];
  args.stride_w = w.strides[1];
  args.dilation_h = w.dilations[0];
  args.dilation_w = w.dilations[1];
  args.pad_top = w.pads_begin[0];
  args.pad_left = w.pads_begin[1];
  args.in_dtype = ctx.dtype(kPackedX);
  args.in_zero = static_cast<int32_t>(a.in_zero);
  args.in_ld = a.in_channels;
  args.out_ld = a.out_channels;
}

// "conv 1x56x56x64 3x3 s1x1 d1x1 p1,1 g1 > 56x56x64 u8s8 relu > u8"
template <typename Args>
std::string shape_text(std::string_view family, const Args& args, const PackedConvAttrs& a, const LowerContext& ctx) {
  return fmt::format("{} {}x{}x{}x{} {}x{} s{}x{} d{}x{} p{},{} g{} > {}x{}x{} {}", family, args.batch, args.in_h,
                     args.in_w, a.in_channels, args.kernel_h, args.kernel_w, args.stride_h, args.stride_w,
                     args.dilation_h, args.dilation_w, args.pad_top, args.pad_left, a.group, args.out_h, args.out_w,
                     a.out_channels, layer_text(a, ctx));
}

Status lower(LowerContext& ctx) {
  const auto& a = ctx.attrs<PackedConvAttrs>();
  if (ctx.in_layout(kPackedX) != ir::Layout::kChannelsLast || ctx.out_layout(0) != ir::Layout::kChannelsLast) return {};
  const Extents& x = ctx.in(kPackedX);
  LOWP_ASSIGN(Window w,
              resolve_window(window_attrs(a), a.kernel_shape, spatial_2d(ir::Dims(x.begin(), x.end())), false));
  const bool int8 = ctx.dtype(kPackedWeights) == DType::kI8;
  const bool has_bias = ctx.has(kPackedBias);
  const bool has_residual = ctx.has(kPackedResidual);
  const int threads = ctx.threads();
  const kernels::Epilogue epilogue = make_epilogue(a, ctx, a.out_channels);
  ctx.set_macs(ir::element_count(ctx.out(0)) * (a.in_channels / a.group) * w.kernel[0] * w.kernel[1]);
  if (a.depthwise()) {
    kernels::DepthwiseArgs args;
    set_geometry(args, a, w, ctx);
    args.c = a.group;
    args.int8_class = static_cast<kernels::Int8Class>(a.int8_class);
    args.epilogue = epilogue;
    if (ctx.has_choice())
      args.choice = ctx.choose(shape_text("depthwise", args, a, ctx), kernels::depthwise_candidates(args, threads));
    ctx.set_scratch(kernels::depthwise_scratch(args, threads));
    ctx.emit(kernel_text("depthwise", ctx, args.choice),
             [args, int8, has_bias, has_residual, threads](const StepArgs& s) {
               kernels::DepthwiseArgs call = args;
               call.in = s.inputs[kPackedX];
               call.weights = s.inputs[kPackedWeights];
               call.out = s.outputs[0];
               bind_epilogue(call.epilogue, s, int8, has_bias, has_residual);
               kernels::depthwise(call, s.scratch, threads);
             });
    return {};
  }
  kernels::ConvArgs args;
  set_geometry(args, a, w, ctx);
  args.in_c = a.in_channels;
  args.out_c = a.out_channels;
  args.groups = a.group;
  args.weight_kind = weight_kind(ctx.dtype(kPackedWeights)).value();
  args.int8_class = static_cast<kernels::Int8Class>(a.int8_class);
  args.weight_sum = a.weight_sum;
  args.epilogue = epilogue;
  // Filters are transformed in the engine, or, where they are stored in 16 bits, in every call: rounded again they
  // would lose accuracy.
  args.transformed = a.winograd;
  const bool fast = a.winograd || (kernels::expands_weights(args.weight_kind) && kernels::winograd_fits(args));
  if (ctx.has_choice() && !fast)
    args.choice = ctx.choose(shape_text("conv", args, a, ctx), kernels::conv_candidates(args, threads));
  ctx.set_scratch(fast ? kernels::winograd_scratch(args, threads) : kernels::conv_scratch(args, threads));
  auto* const run = fast ? kernels::winograd : kernels::conv;
  ctx.emit(kernel_text(fast || kernels::takes_winograd_int8(args) ? "winograd" : "conv", ctx, args.choice),
           [args, run, int8, has_bias, has_residual, threads](const StepArgs& s) {
             kernels::ConvArgs call = args;
             call.in = s.inputs[kPackedX];
             call.weights = s.inputs[kPackedWeights];
             call.out = s.outputs[0];
             bind_epilogue(call.epilogue, s, int8, has_bias, has_residual);
             run(call, s.scratch, threads);
           });
  return {};
}

// 4-d input; the output's extents follow from padding and strides.
Sample sample(DType x, DType w, const Extents& x_extents, PackedConvAttrs a, bool bias, DType residual) {
  a.in_channels = x_extents[1];
  const int64_t k = a.in_channels / a.group * a.kernel_shape[0] * a.kernel_shape[1];
  const Tensor weights =
      sample_weights(w, {a.out_channels, a.in_channels / a.group, a.kernel_shape[0], a.kernel_shape[1]},
                     sample_weight_limit(a.depthwise() ? 0 : a.int8_class));
  Sample s;
  s.attrs = ir::AttrCodec::of<PackedConvAttrs>().write(ir::Attrs::make(a));
  s.inputs = sample_operands(x, x_extents, weights, pack_conv_weights(weights, a, w), a, a.out_channels, k, bias);
  if (residual != DType::kInvalid) {
    const Window window =
        resolve_window(window_attrs(a), a.kernel_shape, spatial_2d(ir::Dims(x_extents.begin(), x_extents.end())), false)
            .value();
    Extents out = {x_extents[0], a.out_channels};
    if (x_extents.size() == 4) out.push_back(window.out[0].value());
    out.push_back(window.out[1].value());
    SampleInput absent;
    absent.absent = true;
    s.inputs.resize(kPackedResidual, absent);
    s.inputs.push_back({residual, out, residual == DType::kU8 ? 0.0 : -2.0, residual == DType::kU8 ? 255.0 : 2.0});
  }
  s.tolerance_ulps = sample_tolerance(w, k, a.out_dtype);
  return s;
}

std::vector<Sample> samples() {
  constexpr DType kNone = DType::kInvalid;
  constexpr DType kF32 = DType::kF32;
  PackedConvAttrs plain;  // 3x3, stride 2, padded
  plain.kernel_shape = {3, 3};
  plain.strides = {2, 2};
  plain.pads = {1, 1, 1, 1};
  plain.out_channels = 20;
  PackedConvAttrs pointwise;
  pointwise.kernel_shape = {1, 1};
  pointwise.out_channels = 33;
  pointwise.activation = "hard_swish";
  PackedConvAttrs grouped = plain;  // uneven padding, dilated
  grouped.strides = {1, 1};
  grouped.dilations = {2, 1};
  grouped.pads = {2, 0, 1, 1};
  grouped.group = 3;
  grouped.out_channels = 12;
  grouped.activation = "leaky_relu";
  grouped.alpha = 0.1F;
  PackedConvAttrs depthwise = plain;
  depthwise.group = depthwise.out_channels = 19;
  depthwise.activation = "clip";
  depthwise.hi = 6;
  PackedConvAttrs line;  // 1-d
  line.kernel_shape = {1, 5};
  line.strides = {1, 2};
  line.auto_pad = "SAME_UPPER";
  line.out_channels = 8;
  auto int8 = [](PackedConvAttrs a, int64_t in_zero, DType out) {
    a.in_zero = in_zero;
    a.out_dtype = out;
    a.out_scale = 0.05F;
    a.out_zero = out == DType::kU8 ? 100 : -20;
    a.residual_scale = 0.02F;
    a.residual_zero = 30;
    return a;
  };
  PackedConvAttrs seven = int8(plain, 33, DType::kU8);
  seven.int8_class = static_cast<int64_t>(kernels::Int8Class::kA7Quad);
  PackedConvAttrs seven_depthwise = int8(depthwise, 61, DType::kU8);
  seven_depthwise.int8_class = static_cast<int64_t>(kernels::Int8Class::kA7Quad);
  PackedConvAttrs seven_wide = seven_depthwise;  // 5x5, blocks of channels and a tail
  seven_wide.kernel_shape = {5, 5};
  seven_wide.strides = {1, 1};
  seven_wide.pads = {2, 2, 2, 2};
  seven_wide.group = seven_wide.out_channels = 71;
  seven_wide.out_zero = 0;
  PackedConvAttrs fast;  // Winograd's
  fast.kernel_shape = {3, 3};
  fast.strides = {1, 1};
  fast.pads = {1, 1, 1, 1};
  fast.out_channels = 20;
  fast.winograd = true;
  fast.activation = "relu";
  PackedConvAttrs stored = fast;  // and with filters that are transformed in each call
  stored.winograd = false;
  stored.pads = {0, 1, 2, 0};
  PackedConvAttrs bf16 = stored;
  bf16.out_dtype = DType::kBF16;
  PackedConvAttrs bf16_strided = plain;
  bf16_strided.out_dtype = DType::kBF16;
  PackedConvAttrs oct = seven;
  oct.int8_class = static_cast<int64_t>(kernels::Int8Class::kA7Oct);
  return {
      sample(kF32, kF32, {2, 5, 9, 11}, plain, true, kF32),
      sample(kF32, kF32, {1, 37, 4, 6}, pointwise, false, kNone),
      sample(kF32, kF32, {1, 9, 7, 8}, grouped, true, kNone),
      sample(kF32, kF32, {2, 19, 8, 9}, depthwise, true, kNone),
      sample(kF32, kF32, {2, 3, 17}, line, true, kNone),
      sample(kF32, kF32, {2, 19, 7, 8}, fast, true, kF32),
      sample(kF32, DType::kBF16, {1, 17, 6, 7}, stored, true, kNone),
      sample(DType::kBF16, DType::kBF16, {1, 17, 6, 7}, stored, true, kNone),
      sample(DType::kBF16, DType::kBF16, {2, 32, 5, 17}, bf16, true, DType::kBF16),
      sample(DType::kBF16, DType::kBF16, {1, 9, 7, 8}, grouped, true, kNone),
      sample(kF32, DType::kBF16, {2, 5, 9, 11}, bf16_strided, true, kNone),
      sample(kF32, DType::kF16, {1, 17, 6, 7}, stored, true, kNone),
      sample(kF32, DType::kBF16, {1, 5, 9, 11}, plain, true, kNone),
      sample(kF32, DType::kF16, {1, 9, 7, 8}, grouped, true, kNone),
      sample(DType::kU8, DType::kI8, {2, 5, 9, 11}, int8(plain, 117, DType::kU8), true, DType::kU8),
      sample(DType::kU8, DType::kI8, {1, 5, 9, 11}, seven, true, kNone),
      sample(DType::kU8, DType::kI8, {1, 32, 6, 7}, oct, true, kNone),
      sample(DType::kU8, DType::kI8, {1, 9, 7, 8}, int8(grouped, 3, DType::kI8), true, kNone),
      sample(DType::kI8, DType::kI8, {1, 37, 4, 6}, int8(pointwise, -7, kF32), true, kF32),
      sample(DType::kI8, DType::kI8, {1, 3, 17}, int8(line, 5, DType::kI8), false, kNone),
      sample(DType::kU8, DType::kI8, {2, 19, 8, 9}, int8(depthwise, 90, DType::kU8), true, DType::kU8),
      sample(DType::kI8, DType::kI8, {1, 19, 8, 9}, int8(depthwise, -20, kF32), false, kNone),
      sample(DType::kU8, DType::kI8, {1, 19, 8, 9}, seven_depthwise, true, kNone),
      sample(DType::kU8, DType::kI8, {1, 71, 7, 9}, seven_wide, true, kNone),
  };
}

}  // namespace

std::vector<OpDef> packed_conv() {
  OpDef def;
  def.name = "Conv";
  def.domain = kLowpDomain;
  def.min_inputs = 2;
  def.max_inputs = 5;
  def.attrs = ir::AttrCodec::of<PackedConvAttrs>();
  def.infer = infer;
  def.reference = reference;
  def.lower = lower;
  def.per_item = always_per_item;
  def.samples = samples;
  def.layout = LayoutRule::kChannelsLast;
  def.channels_last_inputs = 1U << kPackedX | 1U << kPackedResidual;
  return {std::move(def)};
}

}  // namespace lowp::ops
