// Depthwise tiles over the 16-lane vectors: a few output pixels times 16 channels of sums in registers.
#pragma once

#include "kernels/depthwise/tiles.h"
#include "kernels/gemm/dot.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::DepthwiseTile;
using kernels::kDepthwiseChunk;
using kernels::kDepthwisePixels;

// acc += the two s16 products of each lane.
#if defined(__AVX2__)
inline I32 madd16(I32 acc, I32 a, I32 b) {
  for (int h = 0; h < kParts; ++h) part(acc, h) = add32(part(acc, h), madd(part(a, h), part(b, h)));
  return acc;
}
#else
inline I32 madd16(I32 acc, I32 a, I32 b) {
  for (int i = 0; i < 16; ++i) {
    acc.v[i] += (a.v[i] & 0xffff) * static_cast<int16_t>(b.v[i] & 0xffff) + (a.v[i] >> 16) * (b.v[i] >> 16);
  }
  return acc;
}
#endif

template <int P>
void tile_f32(const DepthwiseTile& t) {
  const float* weights = static_cast<const float*>(t.weights) + t.c0;
  float* out = static_cast<float*>(t.acc);
  for_lanes(
      t.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
        F32 acc[P];
        for (int i = 0; i < P; ++i) acc[i] = zero();
        for (int tap = 0; tap < t.taps; ++tap) {
          F32 w = load(weights + tap * t.columns + c);
          const void* const* rows = t.rows + tap * P;
          for (int i = 0; i < P; ++i)
            acc[i] = fma(load_n(static_cast<const float*>(rows[i]) + t.c0 + c, lanes), w, acc[i]);
        }
        for (int i = 0; i < P; ++i) store(out + i * kDepthwiseChunk + c, acc[i]);
      });
}

// Two taps at a time: u8 activations widened to the halves of a lane, vpmaddwd against pairs of s16 weights.
template <int P>
void tile_s8(const DepthwiseTile& t) {
  const int32_t* weights = static_cast<const int32_t*>(t.weights) + t.c0;
  int32_t* out = static_cast<int32_t*>(t.acc);
  const I32 flip = set_int(t.flip * 0x10001);
  for_lanes(
      t.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
        I32 acc[P];
        for (int i = 0; i < P; ++i) acc[i] = set_int(0);
        for (int tap = 0; tap < t.taps; tap += 2) {
          I32 w = load_int(weights + tap / 2 * t.columns + c);
          const void* const* rows = t.rows + tap * P;
          for (int i = 0; i < P; ++i) {
            const uint8_t *x0 = static_cast<const uint8_t*>(rows[i]) + t.c0 + c,
                          *x1 = static_cast<const uint8_t*>(rows[P + i]) + t.c0 + c;
            I32 x = (load_u8_n(x0, lanes) | shift_left<16>(load_u8_n(x1, lanes))) ^ flip;
            acc[i] = madd16(acc[i], x, w);
          }
        }
        for (int i = 0; i < P; ++i) store_int(out + i * kDepthwiseChunk + c, acc[i]);
      });
}

void any_tile_f32(const DepthwiseTile& t) {
  switch (t.pixels) {
    case 1: return tile_f32<1>(t);
    case 2: return tile_f32<2>(t);
    case 3: return tile_f32<3>(t);
    default: return tile_f32<kDepthwisePixels>(t);
  }
}
void any_tile_s8(const DepthwiseTile& t) {
  switch (t.pixels) {
    case 1: return tile_s8<1>(t);
    case 2: return tile_s8<2>(t);
    case 3: return tile_s8<3>(t);
    default: return tile_s8<kDepthwisePixels>(t);
  }
}

void expand_pairs(const int8_t* weights, int64_t taps, int64_t columns, int32_t* pairs) {
  const I32 low = set_int(0xffff);
  for (int64_t t = 0; t < taps; t += 2) {
    const bool both = t + 1 < taps;
    for (int64_t c = 0; c < columns; c += 16) {
      I32 w0 = load_s8(weights + t * columns + c) & low;
      I32 w1 = both ? load_s8(weights + (t + 1) * columns + c) : set_int(0);
      store_int(pairs + t / 2 * columns + c, w0 | shift_left<16>(w1));
    }
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
