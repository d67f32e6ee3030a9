#include "ops/packed.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/cpu.h"
#include "kernels/conv/winograd.h"
#include "ops/reference.h"

namespace lowp::ops {

std::optional<kernels::WeightKind> weight_kind(DType dtype) {
  switch (dtype) {
    case DType::kF32: return kernels::WeightKind::kF32;
    case DType::kBF16: return kernels::WeightKind::kBF16;
    case DType::kF16: return kernels::WeightKind::kF16;
    case DType::kI8: return kernels::WeightKind::kS8;
    default: return std::nullopt;
  }
}

std::optional<kernels::Activation> activation_from_name(std::string_view name) {
  using A = kernels::Activation;
  static constexpr std::pair<std::string_view, A> kRows[] = {
      {"", A::kNone},
      {"relu", A::kRelu},
      {"clip", A::kClip},
      {"gelu", A::kGelu},
      {"gelu_tanh", A::kGeluTanh},
      {"sigmoid", A::kSigmoid},
      {"tanh", A::kTanh},
      {"silu", A::kSilu},
      {"hard_swish", A::kHardSwish},
      {"leaky_relu", A::kLeakyRelu},
  };
  for (const auto& [n, a] : kRows) {
    if (n == name) return a;
  }
  return std::nullopt;
}

Tensor pack_linear_weights(const Tensor& w, bool transposed, DType dtype) {
  const kernels::WeightKind kind = weight_kind(dtype).value();
  const int64_t k = w.extent(transposed ? 1 : 0);
  const int64_t n = w.extent(transposed ? 0 : 1);
  const size_t bytes = kernels::packed_bytes(kind, k, n);
  Tensor packed = Tensor::zeros(dtype, {static_cast<int64_t>(bytes / kernels::weight_bytes(kind))});
  kernels::pack(kind, w.dtype(), w.raw(), w.extent(1), transposed, k, n, packed.mutable_raw());
  return packed;
}

Tensor pack_conv_weights(const Tensor& w, const PackedConvAttrs& a, DType dtype) {
  const kernels::WeightKind kind = weight_kind(dtype).value();
  const int64_t kh = a.kernel_shape[0];
  const int64_t kw = a.kernel_shape[1];
  if (a.depthwise()) {
    const size_t bytes = kernels::packed_depthwise_bytes(dtype, a.group, kh, kw);
    Tensor packed = Tensor::zeros(dtype, {static_cast<int64_t>(bytes / kernels::weight_bytes(kind))});
    kernels::pack_depthwise(dtype, w.raw(), a.group, kh, kw, packed.mutable_raw());
    return packed;
  }
  const int64_t per_group = a.in_channels / a.group;
  const size_t bytes = kernels::packed_conv_bytes(kind, a.out_channels, per_group, kh, kw, a.group);
  Tensor packed = Tensor::zeros(dtype, {static_cast<int64_t>(bytes / kernels::weight_bytes(kind))});
  kernels::pack_conv(kind, w.dtype(), w.raw(), a.out_channels, per_group, kh, kw, a.group, packed.mutable_raw());
  if (!a.winograd) return packed;
  const size_t transformed = kernels::packed_winograd_bytes(a.out_channels, a.in_channels);
  Tensor u = Tensor::zeros(dtype, {static_cast<int64_t>(transformed / sizeof(float))});
  kernels::transform_filters(packed.data<float>(), a.out_channels, a.in_channels, u.mutable_data<float>(), 1);
  return u;
}

bool winograd_fits(const PackedConvAttrs& a) {
  auto all_ones = [](const std::vector<int64_t>& v) {
    return std::ranges::all_of(v, [](int64_t i) { return i == 1; });
  };
  kernels::ConvArgs args;
  args.kernel_h = a.kernel_shape[0], args.kernel_w = a.kernel_shape[1];
  args.in_c = a.in_channels, args.out_c = a.out_channels, args.groups = a.group;
  return all_ones(a.strides) && all_ones(a.dilations) && kernels::winograd_fits(args);
}

Status check_packed(const InferContext& ctx, const EpilogueAttrs& attrs, int64_t n, size_t packed_elements) {
  const DType x = ctx.dtype(kPackedX);
  const DType w = ctx.dtype(kPackedWeights);
  const bool int8 = w == DType::kI8;
  const bool bf16 = w == DType::kBF16;
  if (!weight_kind(w) ||
      (int8 ? x != DType::kU8 && x != DType::kI8 : x != DType::kF32 && !(bf16 && x == DType::kBF16))) {
    return error(Code::kTypeMismatch, "input {} does not go with weights {}", dtype_name(x), dtype_name(w));
  }
  if (!bf16 || attrs.out_dtype != DType::kBF16) LOWP_TRY(check(attrs));
  if (!activation_from_name(attrs.activation))
    return error(Code::kInvalidModel, "unknown activation '{}'", attrs.activation);
  if (attrs.int8_class < 0 || attrs.int8_class >= kernels::kInt8Classes)
    return error(Code::kInvalidModel, "unknown INT8 class {}", attrs.int8_class);
  auto has_elements = [&](size_t i, DType dtype, int64_t count) {
    if (!ctx.has(i)) return true;
    const TensorType& t = ctx.type(i);
    return t.dtype == dtype && t.concrete() && ir::checked_element_count(t.extents()) == count;
  };
  if (!has_elements(kPackedWeights, w, static_cast<int64_t>(packed_elements))) {
    return error(Code::kShapeMismatch, "packed weights are {}, {} elements are wanted",
                 ctx.type(kPackedWeights).to_string(), packed_elements);
  }
  if (!has_elements(kPackedBias, int8 ? DType::kI32 : DType::kF32, n)) {
    return error(Code::kShapeMismatch, "bias is {}, {} elements are wanted", ctx.type(kPackedBias).to_string(), n);
  }
  if (int8 && (!ctx.has(kPackedScale) || !has_elements(kPackedScale, DType::kF32, n)))
    return error(Code::kShapeMismatch, "INT8 wants {} scales", n);
  auto zero_fits = [](DType t, int64_t z) {
    return t == DType::kU8 ? z >= 0 && z <= 255 : t == DType::kI8 ? z >= -128 && z <= 127 : true;
  };
  if (!zero_fits(x, attrs.in_zero))
    return error(Code::kInvalidModel, "input zero point {} does not fit", attrs.in_zero);
  if (ctx.has(kPackedResidual)) {
    const DType r = ctx.dtype(kPackedResidual);
    if (r != DType::kF32 && r != DType::kU8 && r != DType::kI8 && !(bf16 && r == DType::kBF16))
      return error(Code::kTypeMismatch, "residual has dtype {}", dtype_name(r));
    if (!zero_fits(r, attrs.residual_zero))
      return error(Code::kInvalidModel, "residual zero point {} does not fit", attrs.residual_zero);
  }
  if (ctx.has(kPackedSteps)) {
    if (!has_elements(kPackedSteps, DType::kF32, n))
      return error(Code::kShapeMismatch, "steps are {}, {} elements are wanted", ctx.type(kPackedSteps).to_string(), n);
    if (!attrs.allows_channel_steps())
      return error(Code::kInvalidModel, "steps of channels do not go with activation '{}' and output {}",
                   attrs.activation, dtype_name(attrs.out_dtype));
  }
  return {};
}

namespace {

// The finest step of a quantized output; 0 if that is not known before it runs.
float finest_step(const EpilogueAttrs& attrs, const LowerContext& ctx) {
  if (!ctx.has(kPackedSteps)) return attrs.out_scale;
  const Tensor* inverse = ctx.known(kPackedSteps);
  return inverse == nullptr || inverse->size() == 0 ? 0.0F : 1.0F / std::ranges::max(inverse->values<float>());
}

}  // namespace

kernels::Epilogue make_epilogue(const EpilogueAttrs& attrs, LowerContext& ctx, int64_t row) {
  kernels::Epilogue e;
  e.activation = activation_from_name(attrs.activation).value();
  e.lo = attrs.lo;
  e.hi = attrs.hi;
  e.alpha = attrs.alpha;
  e.out = attrs.out_dtype;
  e.out_inv_scale = 1.0F / attrs.out_scale;
  e.out_zero = static_cast<int32_t>(attrs.out_zero);
  e.out_range = attrs.range();
  if (e.activation == kernels::Activation::kGelu && attrs.quantizes() &&
      finest_step(attrs, ctx) >= kernels::kCoarseStep)
    e.activation = kernels::Activation::kGeluCoarse;
  if (ctx.has(kPackedResidual)) {
    e.residual_dtype = ctx.dtype(kPackedResidual);
    e.residual_ld = row;
    e.residual_scale = attrs.residual_scale;
    e.residual_zero = static_cast<int32_t>(attrs.residual_zero);
    if (e.residual_dtype == e.out) ctx.allow_in_place(0, kPackedResidual);
  }
  return e;
}

void bind_epilogue(kernels::Epilogue& epilogue, const StepArgs& args, bool int8, bool has_bias, bool has_residual,
                   bool has_steps) {
  if (int8) {
    epilogue.bias_s32 = has_bias ? args.in<int32_t>(kPackedBias) : nullptr;
    epilogue.scale = args.in<float>(kPackedScale);
  } else {
    epilogue.bias = has_bias ? args.in<float>(kPackedBias) : nullptr;
  }
  if (has_residual) epilogue.residual = args.inputs[kPackedResidual];
  if (has_steps) epilogue.out_inv_scales = args.in<float>(kPackedSteps);
}

namespace {

double activate(const EpilogueAttrs& a, double x) {
  switch (activation_from_name(a.activation).value()) {
    case kernels::Activation::kNone: return x;
    case kernels::Activation::kRelu: return x < 0 ? 0 : x;
    case kernels::Activation::kClip:
      return x < static_cast<double>(a.lo)   ? static_cast<double>(a.lo)
             : x > static_cast<double>(a.hi) ? static_cast<double>(a.hi)
                                             : x;
    case kernels::Activation::kGelu:
    case kernels::Activation::kGeluCoarse: return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    case kernels::Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case kernels::Activation::kSigmoid: return 1 / (1 + std::exp(-x));
    case kernels::Activation::kTanh: return std::tanh(x);
    case kernels::Activation::kSilu: return x / (1 + std::exp(-x));
    case kernels::Activation::kHardSwish: return x * std::clamp(x + 3, 0.0, 6.0) / 6;
    case kernels::Activation::kLeakyRelu: return x < 0 ? static_cast<double>(a.alpha) * x : x;
  }
  return x;
}

}  // namespace

void reference_epilogue(EvalContext& ctx, const EpilogueAttrs& attrs, double acc, int64_t channel, int64_t i) {
  const bool int8 = ctx.in(kPackedWeights).dtype() == DType::kI8;
  double v = acc;
  if (ctx.has(kPackedBias))
    v += int8 ? static_cast<double>(ctx.in(kPackedBias).data<int32_t>()[channel])
              : static_cast<double>(ctx.in(kPackedBias).data<float>()[channel]);
  if (int8) v *= static_cast<double>(ctx.in(kPackedScale).data<float>()[channel]);
  if (ctx.has(kPackedResidual)) {
    const Tensor& r = ctx.in(kPackedResidual);
    if (r.dtype() == DType::kF32) {
      v += static_cast<double>(r.data<float>()[i]);
    } else if (r.dtype() == DType::kBF16) {
      v += static_cast<double>(static_cast<float>(r.data<BFloat16>()[i]));
    } else {
      const double q = r.dtype() == DType::kU8 ? r.data<uint8_t>()[i] : r.data<int8_t>()[i];
      v += (q - static_cast<double>(attrs.residual_zero)) * static_cast<double>(attrs.residual_scale);
    }
  }
  v = activate(attrs, v);
  Tensor& y = ctx.out(0);
  OutputQuantization out = attrs;
  if (ctx.has(kPackedSteps)) {
    v *= static_cast<double>(ctx.in(kPackedSteps).data<float>()[channel]);
    out.out_scale = 1;
  }
  store_output(out, y, i, v);
}

double packed_element(const Tensor& packed, size_t offset, int64_t k, int64_t n, int64_t rows) {
  const kernels::WeightKind kind = weight_kind(packed.dtype()).value();
  const int64_t group = kernels::pack_group(kind);
  const int64_t padded = (rows + group - 1) / group * group;
  const size_t at =
      offset + static_cast<size_t>((n / kernels::kPanel) * padded * kernels::kPanel +
                                   (k / group) * group * kernels::kPanel + (n % kernels::kPanel) * group + k % group);
  switch (packed.dtype()) {
    case DType::kF32: return static_cast<double>(packed.data<float>()[at]);
    case DType::kBF16: return static_cast<double>(static_cast<float>(packed.data<BFloat16>()[at]));
    case DType::kF16: return static_cast<double>(static_cast<float>(packed.data<Float16>()[at]));
    default: return packed.data<int8_t>()[at];
  }
}

Tensor sample_weights(DType dtype, const Extents& extents, int limit) {
  Tensor t = Tensor::zeros(dtype == DType::kI8 ? DType::kI8 : DType::kF32, extents);
  uint32_t state = 12345;
  for (int64_t i = 0; i < t.size(); ++i) {
    state = state * 1664525U + 1013904223U;
    const auto bits = static_cast<int>(state >> 16);
    if (dtype == DType::kI8) {
      t.mutable_data<int8_t>()[i] = static_cast<int8_t>(bits % (2 * limit + 1) - limit);
    } else {
      t.mutable_data<float>()[i] = static_cast<float>(bits) / 65536.0F - 0.5F;
    }
  }
  return t;
}

std::vector<SampleInput> sample_operands(DType x, Extents x_extents, const Tensor& w, const Tensor& packed,
                                         const EpilogueAttrs& attrs, int64_t n, int64_t k, bool bias) {
  auto constant = [](Tensor t) {
    SampleInput in{t.dtype(), t.extents()};
    in.value = std::move(t);
    in.constant = true;
    in.differentiable = false;
    return in;
  };
  SampleInput absent;
  absent.absent = true;
  SampleInput data{x, std::move(x_extents)};
  if (x == DType::kU8) data.low = 0, data.high = attrs.int8_class == 0 ? 255 : 127;
  if (x == DType::kI8) data.low = -128, data.high = 127;
  std::vector<SampleInput> inputs = {data, constant(packed)};
  if (packed.dtype() != DType::kI8) {
    inputs.push_back(bias ? constant(sample_weights(DType::kF32, {n})) : absent);
    return inputs;
  }
  // Weights of a linear layer are [K, N] here, of a convolution O x I x KH x KW.
  const bool channels_first = w.rank() != 2;
  std::vector<int32_t> sums(static_cast<size_t>(n));
  kernels::column_sums(w.data<int8_t>(), channels_first ? k : n, channels_first, k, n, sums.data());
  Tensor folded = Tensor::zeros(DType::kI32, {n});
  std::vector<int32_t> raw(static_cast<size_t>(n));
  Tensor scale = Tensor::zeros(DType::kF32, {n});
  for (int64_t i = 0; i < n; ++i) {
    if (bias) raw[static_cast<size_t>(i)] = static_cast<int32_t>(i * 37 % 501 - 250);
    scale.mutable_data<float>()[i] = 2e-4F * static_cast<float>(1 + i % 7);
  }
  kernels::fold_zero_point(raw.data(), sums.data(), n, x, static_cast<int32_t>(attrs.in_zero),
                           folded.mutable_data<int32_t>());
  inputs.push_back(constant(std::move(folded)));
  inputs.push_back(constant(std::move(scale)));
  return inputs;
}

int sample_weight_limit(int64_t int8_class) {
  if (int8_class == 0) return 127;
  return kernels::kLaneLimit / kernels::lane_weights(static_cast<kernels::Int8Class>(int8_class));
}

double sample_tolerance(DType w, int64_t k, DType out) {
  const double roundings = 4 + 2 * std::sqrt(static_cast<double>(k));
  if (out == DType::kBF16) return 1.5 + roundings * 0x1p-16;
  return w == DType::kBF16 ? 0x1p-9 / 0x1p-23 + roundings : roundings;
}

std::string_view operand_kinds(DType x, DType w) {
  if (w == DType::kI8) return x == DType::kU8 ? "u8s8" : "s8s8";
  if (x == DType::kBF16) return "bf16bf16";
  return dtype_name(w);
}

namespace {

std::string_view int8_class_text(int64_t int8_class) {
  switch (static_cast<kernels::Int8Class>(int8_class)) {
    case kernels::Int8Class::kExact8: return "";
    case kernels::Int8Class::kA7Quad: return " a7-quad";
    case kernels::Int8Class::kA7Oct: return " a7-oct";
  }
  return "";
}

}  // namespace

std::string layer_text(const EpilogueAttrs& a, const LowerContext& ctx) {
  std::string text(operand_kinds(ctx.dtype(kPackedX), ctx.dtype(kPackedWeights)));
  if (ctx.dtype(kPackedWeights) == DType::kI8) text += int8_class_text(a.int8_class);
  if (!a.activation.empty()) text += " " + a.activation;
  if (ctx.has(kPackedResidual)) text += fmt::format(" +{}", dtype_name(ctx.dtype(kPackedResidual)));
  return fmt::format("{} > {}", text, dtype_name(a.out_dtype));
}

std::string kernel_text(std::string_view family, const LowerContext& ctx, const kernels::KernelChoice& choice) {
  std::string text = fmt::format("{}.{} {}", family, operand_kinds(ctx.dtype(kPackedX), ctx.dtype(kPackedWeights)),
                                 target_name(active_target()));
  if (choice != kernels::KernelChoice{}) text += " " + kernels::choice_text(choice);
  return text;
}

}  // namespace lowp::ops
