// epilogue.h's formula over 16 columns at a time.
#pragma once

#include "kernels/gemm/requantize.inl.h"
#include "simd/math.h"

namespace lowp::LOWP_TARGET {
namespace {

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

// The cheap activations are compiled into the loop; for a quantized output they are part of the clamp. So is gelu,
// which follows every second layer of a transformer: called for each vector it reads its constants again.
enum class Act { kNone, kClip, kGelu, kOther };

struct FloatIn {
  F32 bias;
  FloatIn(const EpilogueArgs& t, int64_t n, int lanes) : FloatIn(*t.e, n, lanes) {}
  FloatIn(const Epilogue& e, int64_t n, int lanes) : bias(e.bias ? load_n(e.bias + n, lanes) : LOWP_TARGET::zero()) {}
  F32 operator()(const void* acc, int64_t at) const { return load(static_cast<const float*>(acc) + at) + bias; }
};
struct IntIn {
  I32 bias;
  F32 scale;
  IntIn(const EpilogueArgs& t, int64_t n, int lanes)
      : bias(t.e->bias_s32 && !t.bias_added ? load_int_n(t.e->bias_s32 + n, lanes) : set_int(0)),
        scale(load_n(t.e->scale + n, lanes)) {}
  F32 operator()(const void* acc, int64_t at) const {
    return to_float(load_int(static_cast<const int32_t*>(acc) + at) + bias) * scale;
  }
};
template <typename In>
constexpr bool kRequant = false;
template <bool kBias>
constexpr bool kRequant<RequantIn<kBias>> = true;

[[gnu::always_inline]] inline F32 add_residual(const Epilogue& e, const void* residual, int64_t at, int lanes, F32 y) {
  if (e.residual_dtype == DType::kF32) return y + load_n(static_cast<const float*>(residual) + at, lanes);
  if (e.residual_dtype == DType::kBF16) return y + load_bf16_n(static_cast<const uint16_t*>(residual) + at, lanes);
  if (e.residual_dtype == DType::kF16) return y + load_f16_n(static_cast<const uint16_t*>(residual) + at, lanes);
  const I32 q = load_residual_q8(e, residual, at, lanes);
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
struct OutF16 {
  uint16_t* out;
  explicit OutF16(const EpilogueArgs& t) : out(static_cast<uint16_t*>(t.out)) {}
  void operator()(int64_t at, int lanes, F32 y) const { store_f16_n(out + at, y, lanes); }
};
template <typename Out>
constexpr bool kHasPair = false;
template <bool kSigned, bool kSteps>
constexpr bool kHasPair<OutQuantized<kSigned, kSteps>> = true;

template <typename In, typename Out, Act kAct, bool kResidual>
void epilogue_loop(const EpilogueArgs& args) {
  // Copies: byte stores may alias anything, and the loop would read its bounds again after each.
  const EpilogueArgs t = args;
  const Epilogue e = *t.e;
  Out out(t);
  const F32 lo = set(e.activation == Activation::kRelu ? 0.0f : e.lo), hi = set(e.hi);
  const bool upper = e.activation == Activation::kClip;
  auto value = [&](const In& in, int64_t i, int64_t n, int lanes) __attribute__((always_inline)) {
    if constexpr (kRequant<In> && kResidual) {
      return in.steps_with(load_int(static_cast<const int32_t*>(t.acc) + i * t.acc_ld + n),
                           load_residual_q8(e, t.residual, i * e.residual_ld + n, lanes));
    }
    F32 y = in(t.acc, i * t.acc_ld + n);
    if constexpr (kResidual) y = add_residual(e, t.residual, i * e.residual_ld + n, lanes, y);
    if constexpr (kAct == Act::kClip) {
      y = max(lo, y);
      if (upper) y = min(hi, y);
    }
    if constexpr (kAct == Act::kGelu) y = gelu(y);
    if constexpr (kAct == Act::kOther) y = apply_activation(e, y);
    return y;
  };
  int64_t first = 0;
  if constexpr (kHasPair<Out>) {
    for (; first + 32 <= t.cols; first += 32) {
      const In in0(t, t.n0 + first, 16), in1(t, t.n0 + first + 16, 16);
      for (int64_t i = 0; i < t.rows; ++i) {
        out.pair(i * t.ldc + first, value(in0, i, first, 16), value(in1, i, first + 16, 16));
      }
    }
  }
  auto columns = [&](int64_t at, int lanes) __attribute__((always_inline)) {
    const int64_t n = first + at;
    const In in(t, t.n0 + n, lanes);
    for (int64_t i = 0; i < t.rows; ++i) out(i * t.ldc + n, lanes, value(in, i, n, lanes));
  };
  for_lanes(t.cols - first, columns);
}

template <typename In, typename Out, Act kAct>
void epilogue_residual(const EpilogueArgs& t) {
  t.residual ? epilogue_loop<In, Out, kAct, true>(t) : epilogue_loop<In, Out, kAct, false>(t);
}

// INT8 to INT8, where the formula of epilogue.h with one multiplication holds.
template <bool kBias>
void epilogue_requantize(const EpilogueArgs& t) {
  if (t.e->out == DType::kU8)
    epilogue_residual<RequantIn<kBias>, OutQuantized<false, true>, Act::kNone>(t);
  else
    epilogue_residual<RequantIn<kBias>, OutQuantized<true, true>, Act::kNone>(t);
}

template <typename In>
void epilogue_tile(const EpilogueArgs& t) {
  Activation a = t.e->activation;
  bool none = a == Activation::kNone, clip = a == Activation::kRelu || a == Activation::kClip;
  if (a == Activation::kGelu && t.residual == nullptr) {
    switch (t.e->out) {
      case DType::kBF16: return epilogue_loop<In, OutBF16, Act::kGelu, false>(t);
      case DType::kF16: return epilogue_loop<In, OutF16, Act::kGelu, false>(t);
      case DType::kU8: return epilogue_loop<In, OutQuantized<false, false>, Act::kGelu, false>(t);
      case DType::kI8: return epilogue_loop<In, OutQuantized<true, false>, Act::kGelu, false>(t);
      default: return epilogue_loop<In, OutF32, Act::kGelu, false>(t);
    }
  }
  switch (t.e->out) {
    case DType::kBF16:
      if (none) return epilogue_residual<In, OutBF16, Act::kNone>(t);
      if (clip) return epilogue_residual<In, OutBF16, Act::kClip>(t);
      return epilogue_residual<In, OutBF16, Act::kOther>(t);
    case DType::kF16:
      if (none) return epilogue_residual<In, OutF16, Act::kNone>(t);
      if (clip) return epilogue_residual<In, OutF16, Act::kClip>(t);
      return epilogue_residual<In, OutF16, Act::kOther>(t);
    case DType::kU8:
      if (none || clip) return epilogue_residual<In, OutQuantized<false, false>, Act::kNone>(t);
      return epilogue_residual<In, OutQuantized<false, false>, Act::kOther>(t);
    case DType::kI8:
      if (none || clip) return epilogue_residual<In, OutQuantized<true, false>, Act::kNone>(t);
      return epilogue_residual<In, OutQuantized<true, false>, Act::kOther>(t);
    default:
      if (none) return epilogue_residual<In, OutF32, Act::kNone>(t);
      if (clip) return epilogue_residual<In, OutF32, Act::kClip>(t);
      return epilogue_residual<In, OutF32, Act::kOther>(t);
  }
}

void epilogue_int(const EpilogueArgs& t) {
  const Epilogue& e = *t.e;
  const bool in_clamp =
      e.activation == Activation::kNone || e.activation == Activation::kRelu || e.activation == Activation::kClip;
  const bool residual_q8 = t.residual == nullptr || e.residual_dtype == DType::kU8 || e.residual_dtype == DType::kI8;
  if ((e.out == DType::kU8 || e.out == DType::kI8) && in_clamp && residual_q8)
    return t.bias_added ? epilogue_requantize<false>(t) : epilogue_requantize<true>(t);
  epilogue_tile<IntIn>(t);
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
