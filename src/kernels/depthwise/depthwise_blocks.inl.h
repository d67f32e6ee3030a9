// Depthwise tiles of x86: 3x3 and 5x5 kernels, stride 1 and 2, of which models are made, a block of channels at a time.
// Everything else is depthwise.inl.h's.
#pragma once

#include "kernels/depthwise/depthwise_blocks_f32.inl.h"
#include "kernels/depthwise/depthwise_blocks_s8.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

#if defined(__AVX512F__)
// Sums enough to hide an addition's latency: 1.2x to 1.3x as fast at 14 x 14 as 7 pixels (Zen 5).
constexpr int kFloatPixels = 14, kFloatNarrow = 7;
#else
constexpr int kFloatPixels = 7, kFloatNarrow = 4;
#endif
template <int K, int S>
void any_blocks_f32(const DepthwiseTiles& t) {
  if (t.pixels == kFloatNarrow) return tile_f32_blocks<kFloatNarrow, K, S, FloatAnywhere>(t);
  t.lines == nullptr ? tile_f32_blocks<kFloatPixels, K, S, FloatInside>(t)
                     : tile_f32_blocks<kFloatPixels, K, S, FloatAnywhere>(t);
}

#if defined(__AVX512F__)
constexpr int kIntPixels = 7, kIntNarrow = 4;  // 32 registers
#else
constexpr int kIntPixels = 4, kIntNarrow = 3;
#endif
template <typename Taps, int K, int S>
void any_blocks_s8(const DepthwiseTiles& t) {
  if (t.pixels == kIntNarrow) return tile_s8_blocks<Taps, kIntNarrow, K, K, S, Anywhere>(t);
  t.lines == nullptr ? tile_s8_blocks<Taps, kIntPixels, K, K, S, Inside>(t)
                     : tile_s8_blocks<Taps, kIntPixels, K, K, S, Anywhere>(t);
}

template <typename Taps, int K, int S>
void use_blocks(const DepthwiseShape& shape, DepthwiseKernel& k) {
  k.tiles = any_blocks_s8<Taps, K, S>;
  k.prepare = prepare_blocks<Taps, K, K, S>;
  k.prepared = prepared_bytes<Taps, K, K, S>(shape);
}

DepthwiseKernel choose(const DepthwiseShape& shape) {
  const bool is_int = shape.in_dtype != DType::kF32;
  const int size = shape.kernel_h;
  if (shape.dilation != 1 || shape.kernel_w != size || (size != 3 && size != 5) ||
      (shape.stride != 1 && shape.stride != 2) || shape.c < (is_int ? Bytes32::kBytes : kFloats) ||
      shape.out_w < (is_int ? kIntNarrow : kFloatNarrow)) {
    return choose_any(shape);
  }
  DepthwiseKernel k{};
  k.by_steps = true;
  auto by_shape = [&](auto&& use) {
    if (size == 3) return shape.stride == 1 ? use.template operator()<3, 1>() : use.template operator()<3, 2>();
    return shape.stride == 1 ? use.template operator()<5, 1>() : use.template operator()<5, 2>();
  };
  if (is_int) {
    k.pixels = kIntPixels, k.narrow = kIntNarrow;
    k.finishes = finish_takes(shape);
#if defined(LOWP_HAS_DOT)
    by_shape([&]<int K, int S>() { use_blocks<Quads, K, S>(shape, k); });
#else
    by_shape([&]<int K, int S>() {
      shape.seven_bit ? use_blocks<Quads, K, S>(shape, k) : use_blocks<Pairs, K, S>(shape, k);
    });
#endif
  } else {
    k.pixels = kFloatPixels, k.narrow = kFloatNarrow;
    const Epilogue& e = *shape.epilogue;
    k.finishes = shape.range.is_all && e.residual == nullptr && e.out == DType::kF32;
    by_shape([&]<int K, int S>() {
      k.tiles = any_blocks_f32<K, S>;
      k.prepare = prepare_f32<K>;
      k.prepared = static_cast<size_t>((shape.c + kFloats - 1) / kFloats * kFloatBlockBytes<K>);
    });
  }
  return k;
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
