// epilogue.h's formula over 16 columns at a time.
#pragma once

#include "kernels/gemm/requantize.inl.h"
#include "simd/math.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::Activation;
using kernels::EpilogueArgs;

F32 apply_activation(const Epilogue& e, F32 x) {
  switch (e.activation) {
    case Activation::kNone: return x;
    case Activation::kRelu: return max(zero(), x);
    case Activation::kClip: return min(set(e.hi), max(set(e.lo), x));
    case Activation::kGelu: return gelu(x);
    case Activation::kGeluCoarse: return gelu_coarse(x);
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
// which follows every second layer of a transformer: called for each vector it reads its constants again. In float
// outputs it is kGelu, in quantized ones kGeluCoarse; the others of the two take the slow way.
enum class Act { kNone, kClip, kGelu, kOther };

struct FloatIn {
  F32 bias;
  FloatIn(const EpilogueArgs& t, int64_t n, int lanes) : FloatIn(*t.e, n, lanes) {}
  // A bias of -0 counts as 0: so no sum ends as -0, whose sign depends on the zeros that were added.
  FloatIn(const Epilogue& e, int64_t n, int lanes)
      : bias(e.bias ? load_n(e.bias + n, lanes) + LOWP_TARGET::zero() : LOWP_TARGET::zero()) {}
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

// Values come in steps of the output.
template <bool kSigned>
struct OutQuantized {
  uint8_t* out;
  F32 lo, hi;
  int zero_point, low, high;
  explicit OutQuantized(const EpilogueArgs& t)
      : out(static_cast<uint8_t*>(t.out)),
        lo(set(t.range.lower)),
        hi(set(t.range.upper)),
        zero_point(t.e->out_zero),
        low(t.range.low),
        high(t.range.high) {}
  [[gnu::always_inline]] void operator()(int64_t at, int lanes, F32 y) const {
    store_quantized<kSigned>(out + at, lanes, to_int(min(max(y, lo), hi)) + set_int(zero_point));
  }
  [[gnu::always_inline]] void pair(int64_t at, F32 y0, F32 y1) const {
    store_pair<kSigned>(out + at, to_int(min(hi, y0)), to_int(min(hi, y1)), zero_point, low);
  }
#if defined(__AVX512F__)
  [[gnu::always_inline]] void four(int64_t at, F32 y0, F32 y1, F32 y2, F32 y3) const {
    store_four<kSigned>(out + at, to_int(y0), to_int(y1), to_int(y2), to_int(y3), zero_point, low, high);
  }
#endif
};
template <typename Out>
constexpr bool kQuantized = false;
template <bool kSigned>
constexpr bool kQuantized<OutQuantized<kSigned>> = true;

// How sums of a block of columns become values. kSteps: steps of a quantized output, which RequantIn gives by itself.
template <typename In, bool kSteps>
struct Columns {
  In in;
  F32 steps;
  Columns(const EpilogueArgs& t, int64_t n, int lanes)
      : in(t, n, lanes),
        steps(!kSteps               ? LOWP_TARGET::zero()
              : t.e->out_inv_scales ? load_n(t.e->out_inv_scales + n, lanes)
                                    : set(t.e->out_inv_scale)) {}
};

template <typename In, typename Out, Act kAct, bool kResidual>
void epilogue_loop(const EpilogueArgs& args) {
  // Copies: byte stores may alias anything, and the loop would read its bounds again after each.
  const EpilogueArgs t = args;
  const Epilogue e = *t.e;
  Out out(t);
  const F32 lo = set(t.range.lower), hi = set(t.range.upper);
  constexpr bool kSteps = kQuantized<Out> && !kRequant<In>;
  using Block = Columns<In, kSteps>;
  auto value = [&](const Block& block, int64_t acc, int64_t residual, int lanes) __attribute__((always_inline)) {
    if constexpr (kRequant<In> && kResidual) {
      return block.in.steps_with(load_int(static_cast<const int32_t*>(t.acc) + acc),
                                 load_residual_q8(e, t.residual, residual, lanes));
    }
    F32 y = block.in(t.acc, acc);
    if constexpr (kResidual) y = add_residual(e, t.residual, residual, lanes, y);
    if constexpr (kAct == Act::kClip) y = min(hi, max(lo, y));
    if constexpr (kAct == Act::kGelu) y = kQuantized<Out> ? gelu_coarse(y) : gelu(y);
    if constexpr (kAct == Act::kOther) y = apply_activation(e, y);
    if constexpr (kSteps) y = y * block.steps;
    return y;
  };
  // body(acc, out, residual): elements of each row.
  auto for_rows = [&](auto&& body) __attribute__((always_inline)) {
    int64_t acc = 0;
    const kernels::RowRun *r = t.runs, *end = r + t.run_count;
    do {
      const kernels::RowRun run = *r;
      int64_t out = run.out, residual = run.residual;
      for (int64_t i = run.count; i > 0; --i, acc += t.acc_ld, out += run.out_step, residual += run.residual_step)
        body(acc, out, residual);
    } while (++r != end);
  };
  int64_t first = 0;
#if defined(__AVX512F__)
  if constexpr (kQuantized<Out> && kRequant<In>) {
    for (; first + 64 <= t.cols; first += 64) {
      const Block b0(t, t.n0 + first, 16), b1(t, t.n0 + first + 16, 16), b2(t, t.n0 + first + 32, 16),
          b3(t, t.n0 + first + 48, 16);
      if (!sums_fit(b0.in.multiplier) || !sums_fit(b1.in.multiplier) || !sums_fit(b2.in.multiplier) ||
          !sums_fit(b3.in.multiplier) ||
          (kResidual && !(__builtin_fabsf(e.residual_scale * e.out_inv_scale) <= kernels::kMostStepsOfResidual)))
        break;
      for_rows([&](int64_t acc, int64_t at, int64_t residual) __attribute__((always_inline)) {
        acc += first, residual += first;
        out.four(at + first, value(b0, acc, residual, 16), value(b1, acc + 16, residual + 16, 16),
                 value(b2, acc + 32, residual + 32, 16), value(b3, acc + 48, residual + 48, 16));
      });
    }
  }
#endif
  if constexpr (kQuantized<Out>) {
    for (; first + 32 <= t.cols; first += 32) {
      const Block block0(t, t.n0 + first, 16), block1(t, t.n0 + first + 16, 16);
      for_rows([&](int64_t acc, int64_t at, int64_t residual) __attribute__((always_inline)) {
        acc += first, residual += first;
        out.pair(at + first, value(block0, acc, residual, 16), value(block1, acc + 16, residual + 16, 16));
      });
    }
  }
  auto columns = [&](int64_t at, int lanes) __attribute__((always_inline)) {
    const int64_t n = first + at;
    const Block block(t, t.n0 + n, lanes);
    for_rows([&](int64_t acc, int64_t to, int64_t residual)
                 __attribute__((always_inline)) { out(to + n, lanes, value(block, acc + n, residual + n, lanes)); });
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
    epilogue_residual<RequantIn<kBias>, OutQuantized<false>, Act::kNone>(t);
  else
    epilogue_residual<RequantIn<kBias>, OutQuantized<true>, Act::kNone>(t);
}

template <typename In>
void epilogue_tile(const EpilogueArgs& t) {
  Activation a = t.e->activation;
  bool none = a == Activation::kNone, clip = a == Activation::kRelu || a == Activation::kClip;
  if (a == Activation::kGelu && t.residual == nullptr) {
    switch (t.e->out) {
      case DType::kBF16: return epilogue_loop<In, OutBF16, Act::kGelu, false>(t);
      case DType::kF16: return epilogue_loop<In, OutF16, Act::kGelu, false>(t);
      case DType::kF32: return epilogue_loop<In, OutF32, Act::kGelu, false>(t);
      default: break;
    }
  }
  if (a == Activation::kGeluCoarse && t.residual == nullptr) {
    if (t.e->out == DType::kU8) return epilogue_loop<In, OutQuantized<false>, Act::kGelu, false>(t);
    if (t.e->out == DType::kI8) return epilogue_loop<In, OutQuantized<true>, Act::kGelu, false>(t);
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

void epilogue_int(const EpilogueArgs& t) {
  const Epilogue& e = *t.e;
  const bool residual_q8 = t.residual == nullptr || e.residual_dtype == DType::kU8 || e.residual_dtype == DType::kI8;
  if ((e.out == DType::kU8 || e.out == DType::kI8) && t.range.is_all && residual_q8)
    return t.bias_added ? epilogue_requantize<false>(t) : epilogue_requantize<true>(t);
  epilogue_tile<IntIn>(t);
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
