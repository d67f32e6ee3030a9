// Elementwise f32 arithmetic with broadcasting, channel-wise scale and shift, and arithmetic on quantized tensors.
//
// Every step of a formula is rounded once; fma only where written. Functions are those of simd/math.h, so an activation
// computed here and one fused into another kernel have the same bits. Outputs may be one of the inputs (in place), but
// must not overlap them otherwise. Splitting over threads never changes a bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

enum class Unary : uint8_t {
  kRelu,         // 0 > x ? 0 : x
  kLeakyRelu,    // x < 0 ? alpha * x : x
  kClip,         // min(beta, max(alpha, x)), NaN kept
  kSigmoid,      // 1 / (1 + exp(-x))
  kTanh,         //
  kGelu,         // 0.5 x (1 + erf(x / sqrt 2))
  kGeluTanh,     // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  kSilu,         // x sigmoid(x)
  kHardSwish,    // x (clamp(x + 3, 0, 6) * (1 / 6))
  kHardSigmoid,  // max(0, min(1, fma(alpha, x, beta)))
  kErf,          //
  kExp,          //
  kLog,          //
  kSqrt,         //
  kReciprocal,   // 1 / x
  kNeg,          //
  kAbs,          //
  kFloor,        //
  kCeil,         //
  kRound,        // ties to even
  kSign,         // -1, 0, 1; NaN kept
  kSoftplus,     // log(1 + exp(x))
  kSoftsign,     // x / (1 + |x|)
  kElu,          // x < 0 ? alpha (exp(x) - 1) : x
  kSelu,         // beta * elu(x, alpha)
  kCelu,         // x < 0 ? alpha (exp(x / alpha) - 1) : x
  kMish,         // x tanh(softplus(x))
  kSquare,       // x x
  kCount
};

struct UnaryParams {
  float alpha = 0.0f;
  float beta = 0.0f;
};

// y[i] = op(x[i]) for n contiguous elements.
void unary_f32(Unary op, UnaryParams params, const float* x, float* y, int64_t n, int threads);

enum class Binary : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMin,                // NaN if either is
  kMax,                // NaN if either is
  kPow,                // a^b, computed in double (error 1e-13) and rounded; a a for b = 2
  kPrelu,              // a < 0 ? a * b : a
  kSquaredDifference,  // (a - b)^2
  kCount
};

constexpr int kMaxBroadcastRank = 8;

// The loop nest of a binary operation: y is contiguous over dims (outermost first), a and b advance by the strides
// (in elements; 0 repeats). The innermost strides are 0 or 1.
struct Broadcast {
  int rank = 0;  // at least 1 after make_broadcast
  int64_t dims[kMaxBroadcastRank] = {};
  int64_t a_strides[kMaxBroadcastRank] = {};
  int64_t b_strides[kMaxBroadcastRank] = {};
};

// The nest for contiguous a and b of these shapes under numpy's rules, dimensions of 1 dropped and neighbours merged.
// False where the shapes do not broadcast or need more than kMaxBroadcastRank merged dimensions.
bool make_broadcast(const int64_t* a_shape, int a_rank, const int64_t* b_shape, int b_rank, Broadcast* out);

// y = op(a, b). y may be a or b where that operand is not broadcast.
void binary_f32(Binary op, const Broadcast& broadcast, const float* a, const float* b, float* y, int threads);

// As unary_f32 and binary_f32 on floats stored as f32, bf16 or f16, all operands alike: widened exactly, computed in
// f32, rounded to nearest even when stored.
void unary_stored(Unary op, UnaryParams params, DType dtype, const void* x, void* y, int64_t n, int threads);
void binary_stored(Binary op, DType dtype, const Broadcast& broadcast, const void* a, const void* b, void* y,
                   int threads);

// y[o, c, i] = fma(x[o, c, i], scale[c], shift[c]), contiguous [outer, channels, inner]; shift may be null (x * scale).
// Batch normalization at inference; inner = 1 for NHWC.
void scale_shift_f32(const float* x, const float* scale, const float* shift, float* y, int64_t outer, int64_t channels,
                     int64_t inner, int threads);

// Quantized arithmetic, u8 or s8, all three of one dtype:
//   y = quantize(act(op(f32(a - a_zero) * a_scale, f32(b - b_zero) * b_scale))), act = min(hi, max(lo, .))
// with quantize as in quantize.h (true division): the bits of DequantizeLinear, op, Clip, QuantizeLinear.
struct QuantizedBinaryArgs {
  Binary op = Binary::kAdd;  // kAdd or kMul
  DType dtype = DType::kU8;  // kU8 or kI8
  float a_scale = 1.0f, b_scale = 1.0f, y_scale = 1.0f;
  int32_t a_zero = 0, b_zero = 0, y_zero = 0;
  float lo = -__builtin_inff(), hi = __builtin_inff();
};
void binary_q8(const QuantizedBinaryArgs& args, const Broadcast& broadcast, const void* a, const void* b, void* y,
               int threads);

// y[i] = table[x[i]]: any function of one 8-bit quantized tensor (s8 indexes by its bits).
void map_bytes(const uint8_t table[256], const uint8_t* x, uint8_t* y, int64_t n, int threads);

}  // namespace lowp::kernels
