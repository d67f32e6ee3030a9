// What the two ops with packed weights share, lowp.Linear and lowp.Conv: operands, epilogue attributes, weight packing.
//
// Operands: 0 x, f32, u8 or s8, or bf16 where the weights are bf16; 1 weights in packed order (kernels/gemm/pack.h), a
// 1-d tensor; 2 bias [N], f32, or s32 with the zero point folded in for INT8; 3 scale [N] f32, INT8 only: input scale *
// weight scale; 4 residual of the output's shape, f32, u8, s8 or bf16; 5 of lowp.Linear: steps [N] f32, by how much a
// step of an INT8 output divides each channel, in place of 1 / out_scale.
#pragma once

#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/pack.h"
#include "ops/output_quantization.h"

namespace lowp::ops {

inline constexpr size_t kPackedX = 0;
inline constexpr size_t kPackedWeights = 1;
inline constexpr size_t kPackedBias = 2;
inline constexpr size_t kPackedScale = 3;
inline constexpr size_t kPackedResidual = 4;
inline constexpr size_t kPackedSteps = 5;

// y = activation(x * w + bias + residual), quantized where the output is INT8; the formula is in epilogue.h.
struct EpilogueAttrs : OutputQuantization {
  std::string activation;  // "", relu, clip, gelu, gelu_tanh, sigmoid, tanh, silu, hard_swish, leaky_relu
  float lo = 0;            // clip
  float hi = 0;
  float alpha = 0;     // leaky_relu
  float in_scale = 1;  // INT8 input
  int64_t in_zero = 0;
  float residual_scale = 1;  // INT8 residual
  int64_t residual_zero = 0;
  int64_t int8_class = 0;  // kernels::Int8Class
  // Whether channels of an INT8 output can have steps of their own: relu and clip are limits in steps of the output.
  bool allows_channel_steps() const {
    return quantizes() && !activation.empty() && activation != "relu" && activation != "clip";
  }
  bool operator==(const EpilogueAttrs&) const = default;
};

template <typename S>
constexpr auto epilogue_fields() {
  return std::tuple_cat(
      std::tuple(ir::field("activation", static_cast<std::string S::*>(&S::activation)),
                 ir::field("lo", static_cast<float S::*>(&S::lo)), ir::field("hi", static_cast<float S::*>(&S::hi)),
                 ir::field("alpha", static_cast<float S::*>(&S::alpha)),
                 ir::field("in_scale", static_cast<float S::*>(&S::in_scale)),
                 ir::field("in_zero", static_cast<int64_t S::*>(&S::in_zero)),
                 ir::field("residual_scale", static_cast<float S::*>(&S::residual_scale)),
                 ir::field("residual_zero", static_cast<int64_t S::*>(&S::residual_zero)),
                 ir::field("int8_class", static_cast<int64_t S::*>(&S::int8_class))),
      output_quantization_fields<S>());
}

struct LinearAttrs : EpilogueAttrs {
  int64_t k = 0;
  int64_t n = 0;
  bool operator==(const LinearAttrs&) const = default;
  static constexpr auto fields() {
    return std::tuple_cat(
        std::tuple(ir::required_field("k", &LinearAttrs::k), ir::required_field("n", &LinearAttrs::n)),
        epilogue_fields<LinearAttrs>());
  }
};

// 2-d, or 1-d with kernel {1, k}. pads: top, left, bottom, right, or empty with auto_pad SAME_*.
struct PackedConvAttrs : EpilogueAttrs {
  std::string auto_pad = "NOTSET";
  std::vector<int64_t> kernel_shape;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
  int64_t group = 1;
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  bool winograd = false;   // weights are transform_filters' (kernels/conv/winograd.h), f32; the shape fits
  int64_t weight_sum = 0;  // ConvArgs::weight_sum
  bool operator==(const PackedConvAttrs&) const = default;
  // One input and one output channel a group: a kernel family and a packed order of its own.
  bool depthwise() const { return group == in_channels && group == out_channels && group > 1; }
  static constexpr auto fields() {
    using S = PackedConvAttrs;
    return std::tuple_cat(std::tuple(ir::field("auto_pad", &S::auto_pad), ir::field("kernel_shape", &S::kernel_shape),
                                     ir::field("strides", &S::strides), ir::field("dilations", &S::dilations),
                                     ir::field("pads", &S::pads), ir::field("group", &S::group),
                                     ir::required_field("in_channels", &S::in_channels),
                                     ir::required_field("out_channels", &S::out_channels),
                                     ir::field("winograd", &S::winograd), ir::field("weight_sum", &S::weight_sum)),
                          epilogue_fields<PackedConvAttrs>());
  }
};

// Whether the layer has a shape that Winograd's algorithm computes where products are f32.
bool winograd_fits(const PackedConvAttrs& attrs);

// Weight kind by dtype of the packed tensor; nullopt for a dtype that is never packed.
std::optional<kernels::WeightKind> weight_kind(DType dtype);
// The kernels' activation by name; nullopt for an unknown one.
std::optional<kernels::Activation> activation_from_name(std::string_view name);

// Weights [K, N] (or [N, K] when transposed) into the packed order, converted to `kind` from f32; s8 weights stay s8.
Tensor pack_linear_weights(const Tensor& w, bool transposed, DType dtype);
// Weights O x I/group x KH x KW (1-d: O x I/group x K) into the packed order.
Tensor pack_conv_weights(const Tensor& w, const PackedConvAttrs& attrs, DType dtype);

// Checks that hold for both ops: known dtypes, operand counts and sizes for `n` output channels and `packed_bytes`
// bytes.
Status check_packed(const InferContext& ctx, const EpilogueAttrs& attrs, int64_t n, size_t packed_elements);

// The kernels' epilogue without pointers, and the pointers of one call. A residual of the output's dtype may become the
// output: it is read once less from memory (ResNet-50 in FP32 spends a tenth of its time on such layers).
kernels::Epilogue make_epilogue(const EpilogueAttrs& attrs, LowerContext& ctx, int64_t row);
void bind_epilogue(kernels::Epilogue& epilogue, const StepArgs& args, bool int8, bool has_bias, bool has_residual,
                   bool has_steps = false);

// Naive epilogue for references: one accumulator to one output element. `i` is the linear index into the output.
void reference_epilogue(EvalContext& ctx, const EpilogueAttrs& attrs, double acc, int64_t channel, int64_t i);
// Element k, n of packed weights as a double.
double packed_element(const Tensor& packed, size_t offset, int64_t k, int64_t n, int64_t rows);

// Samples of both ops. Weights of a given content: f32 in [-0.5, 0.5], s8 in [-limit, limit].
Tensor sample_weights(DType dtype, const Extents& extents, int limit = 127);
// Operands 0 to 4 for weights `w` in the model's order and `packed`, the same packed: INT8 ones get scales and a bias
// with the zero point folded in. `k` products go into a sum.
std::vector<SampleInput> sample_operands(DType x, Extents x_extents, const Tensor& w, const Tensor& packed,
                                         const EpilogueAttrs& attrs, int64_t n, int64_t k, bool bias);
// Largest error of a float sum of k products against one in double, in units of the output's epsilon: k roundings of
// either sign, four standard deviations; one rounding of the activations to bf16 where the weights are bf16.
// The largest magnitude with which any weights of the INT8 class are safe.
int sample_weight_limit(int64_t int8_class);
double sample_tolerance(DType w, int64_t k, DType out = DType::kF32);

// "u8s8", "f32", "bf16", ...: what the profiler shows.
std::string_view operand_kinds(DType x, DType w);

// The part of a layer's shape text that the ops share: types, INT8 class and epilogue, "u8s8 a7 relu +u8 > u8".
std::string layer_text(const EpilogueAttrs& attrs, const LowerContext& ctx);
// "gemm.u8s8 avx512_vnni", and the choice where it is not the formula's.
std::string kernel_text(std::string_view family, const LowerContext& ctx, const kernels::KernelChoice& choice);

}  // namespace lowp::ops
