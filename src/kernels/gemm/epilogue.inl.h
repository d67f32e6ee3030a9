// epilogue.h's formula over 16 columns at a time.
#pragma once

#include "kernels/gemm/tiles.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::Activation;
using kernels::Epilogue;
using kernels::EpilogueArgs;

F32 apply_activation(const Epilogue& e, F32 x) {
  switch (e.activation) {
    case Activation::kNone: return x;
    case Activation::kRelu: return max(zero(), x);
    case Activation::kClip: return min(set(e.hi), max(set(e.lo), x));
    case Activation::kGelu: return gelu(x);
    case Activation::kGeluTanh: return gelu_tanh(x);
    case Activation::kSigmoid: return sigmoid(x);
    case Activation::kTanh: return tanh(x);
    case Activation::kSilu: return silu(x);
    case Activation::kHardSwish: return hard_swish(x);
    case Activation::kLeakyRelu: return select(x < zero(), x * set(e.alpha), x);
  }
  return x;
}

// The cheap activations are compiled into the loop; for a quantized output they are part of the clamp.
enum class Act { kNone, kClip, kOther };

struct FloatIn {
  F32 bias;
  FloatIn(const Epilogue& e, int64_t n, int lanes) : bias(e.bias ? load_n(e.bias + n, lanes) : LOWP_TARGET::zero()) {}
  F32 operator()(const void* acc, int64_t at) const { return load(static_cast<const float*>(acc) + at) + bias; }
};
struct IntIn {
  I32 bias;
  F32 scale;
  IntIn(const Epilogue& e, int64_t n, int lanes)
      : bias(e.bias_s32 ? load_int_n(e.bias_s32 + n, lanes) : set_int(0)), scale(load_n(e.scale + n, lanes)) {}
  F32 operator()(const void* acc, int64_t at) const {
    return to_float(load_int(static_cast<const int32_t*>(acc) + at) + bias) * scale;
  }
};

[[gnu::always_inline]] inline F32 add_residual(const Epilogue& e, const void* residual, int64_t at, int lanes, F32 y) {
  if (e.residual_dtype == DType::kF32) return y + load_n(static_cast<const float*>(residual) + at, lanes);
  if (e.residual_dtype == DType::kBF16) return y + load_bf16_n(static_cast<const uint16_t*>(residual) + at, lanes);
  I32 q = e.residual_dtype == DType::kU8 ? load_u8_n(static_cast<const uint8_t*>(residual) + at, lanes)
                                         : load_s8_n(static_cast<const int8_t*>(residual) + at, lanes);
  return fma(to_float(q - set_int(e.residual_zero)), set(e.residual_scale), y);
}

// One stores a vector of finished values; constructed once a call.
struct OutF32 {
  float* out;
  explicit OutF32(const EpilogueArgs& t) : out(static_cast<float*>(t.out)) {}
  void operator()(int64_t at, int lanes, F32 y) const { store_n(out + at, y, lanes); }
};
struct OutBF16 {
  uint16_t* out;
  explicit OutBF16(const EpilogueArgs& t) : out(static_cast<uint16_t*>(t.out)) {}
  void operator()(int64_t at, int lanes, F32 y) const { store_bf16_n(out + at, y, lanes); }
};
// The clamp has left q inside its type, so that AVX-512 can truncate.
template <bool kSigned>
[[gnu::always_inline]] inline void store_quantized(uint8_t* p, int lanes, I32 q) {
#if defined(__AVX512F__)
  const __m128i bytes = _mm512_cvtepi32_epi8(q.v);
  if (lanes == 16) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  _mm_mask_storeu_epi8(p, lanes_mask(lanes), bytes);
#else
  if (kSigned)
    lanes == 16 ? store_s8(reinterpret_cast<int8_t*>(p), q) : store_s8_n(reinterpret_cast<int8_t*>(p), q, lanes);
  else
    lanes == 16 ? store_u8(p, q) : store_u8_n(p, q, lanes);
#endif
}
template <bool kSigned>
struct OutQuantized {
  uint8_t* out;
  F32 inv_scale, lo, hi;
  I32 zero_point;
  explicit OutQuantized(const EpilogueArgs& t) : out(static_cast<uint8_t*>(t.out)) {
    const Epilogue& e = *t.e;
    inv_scale = set(e.out_inv_scale);
    zero_point = set_int(e.out_zero);
    float low = static_cast<float>((kSigned ? -128 : 0) - e.out_zero),
          high = static_cast<float>((kSigned ? 127 : 255) - e.out_zero);
    if (e.activation == Activation::kRelu) low = low > 0.0f ? low : 0.0f;
    if (e.activation == Activation::kClip) {
      float clip_lo = e.lo * e.out_inv_scale, clip_hi = e.hi * e.out_inv_scale;
      low = low > clip_lo ? low : clip_lo;
      high = high < clip_hi ? high : clip_hi;
    }
    // A clip range outside what the format holds saturates to the nearer end.
    float least = static_cast<float>((kSigned ? -128 : 0) - e.out_zero),
          most = static_cast<float>((kSigned ? 127 : 255) - e.out_zero);
    low = low < most ? low : most;
    high = high > least ? high : least;
    lo = set(low);
    hi = set(high);
  }
  void operator()(int64_t at, int lanes, F32 y) const {
    store_quantized<kSigned>(out + at, lanes, to_int(min(max(y * inv_scale, lo), hi)) + zero_point);
  }
};

template <typename In, typename Out, Act kAct, bool kResidual>
void epilogue_loop(const EpilogueArgs& args) {
  // Copies: byte stores may alias anything, and the loop would read its bounds again after each.
  const EpilogueArgs t = args;
  const Epilogue e = *t.e;
  Out out(t);
  const F32 lo = set(e.activation == Activation::kRelu ? 0.0f : e.lo), hi = set(e.hi);
  const bool upper = e.activation == Activation::kClip;
  auto columns = [&](int64_t n, int lanes) __attribute__((always_inline)) {
    In in(e, t.n0 + n, lanes);
    for (int64_t i = 0; i < t.rows; ++i) {
      F32 y = in(t.acc, i * t.acc_ld + n);
      if constexpr (kResidual) y = add_residual(e, t.residual, i * e.residual_ld + n, lanes, y);
      if constexpr (kAct == Act::kClip) {
        y = max(lo, y);
        if (upper) y = min(hi, y);
      }
      if constexpr (kAct == Act::kOther) y = apply_activation(e, y);
      out(i * t.ldc + n, lanes, y);
    }
  };
  for_lanes(t.cols, columns);
}

template <typename In, typename Out, Act kAct>
void epilogue_residual(const EpilogueArgs& t) {
  t.residual ? epilogue_loop<In, Out, kAct, true>(t) : epilogue_loop<In, Out, kAct, false>(t);
}

template <typename In>
void epilogue_tile(const EpilogueArgs& t) {
  Activation a = t.e->activation;
  bool none = a == Activation::kNone, clip = a == Activation::kRelu || a == Activation::kClip;
  switch (t.e->out) {
    case DType::kBF16:
      if (none) return epilogue_residual<In, OutBF16, Act::kNone>(t);
      if (clip) return epilogue_residual<In, OutBF16, Act::kClip>(t);
      return epilogue_residual<In, OutBF16, Act::kOther>(t);
    case DType::kU8:
      if (none || clip) return epilogue_residual<In, OutQuantized<false>, Act::kNone>(t);
      return epilogue_residual<In, OutQuantized<false>, Act::kOther>(t);
    case DType::kI8:
      if (none || clip) return epilogue_residual<In, OutQuantized<true>, Act::kNone>(t);
      return epilogue_residual<In, OutQuantized<true>, Act::kOther>(t);
    default:
      if (none) return epilogue_residual<In, OutF32, Act::kNone>(t);
      if (clip) return epilogue_residual<In, OutF32, Act::kClip>(t);
      return epilogue_residual<In, OutF32, Act::kOther>(t);
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
