// The transforms of winograd_int8.h, 16 elements at a time.
#pragma once

#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

// On the plain targets unrolling would only make the compiler slow: their vectors are arrays.
#if defined(__AVX2__)
#define LOWP_UNROLL_6 _Pragma("GCC unroll 6")
#else
#define LOWP_UNROLL_6
#endif

// 16 lanes of s16, which wrap; made of the even or the odd ones of 32 bytes.
#if defined(__AVX2__)
struct S16 {
  __m256i v;
};
inline S16 operator+(S16 a, S16 b) { return {_mm256_add_epi16(a.v, b.v)}; }
inline S16 operator-(S16 a, S16 b) { return {_mm256_sub_epi16(a.v, b.v)}; }
template <int kBits>
inline S16 shift_left(S16 a) {
  return {_mm256_slli_epi16(a.v, kBits)};
}
inline S16 load_bytes_32(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
inline S16 even_u8(const void* p) { return {_mm256_and_si256(load_bytes_32(p).v, _mm256_set1_epi16(0xff))}; }
inline S16 odd_u8(const void* p) { return {_mm256_srli_epi16(load_bytes_32(p).v, 8)}; }
inline S16 even_s8(const void* p) { return {_mm256_srai_epi16(_mm256_slli_epi16(load_bytes_32(p).v, 8), 8)}; }
inline S16 odd_s8(const void* p) { return {_mm256_srai_epi16(load_bytes_32(p).v, 8)}; }
inline void store_words(int16_t* p, S16 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
#else
struct S16 {
  int16_t v[16];
};
inline S16 operator+(S16 a, S16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] = static_cast<int16_t>(a.v[i] + b.v[i]);
  return a;
}
inline S16 operator-(S16 a, S16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] = static_cast<int16_t>(a.v[i] - b.v[i]);
  return a;
}
template <int kBits>
inline S16 shift_left(S16 a) {
  for (int i = 0; i < 16; ++i) a.v[i] = static_cast<int16_t>(static_cast<uint32_t>(a.v[i]) << kBits);
  return a;
}
template <typename Byte, int kOdd>
inline S16 every_other(const void* p) {
  S16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<const Byte*>(p)[2 * i + kOdd];
  return r;
}
inline S16 even_u8(const void* p) { return every_other<uint8_t, 0>(p); }
inline S16 odd_u8(const void* p) { return every_other<uint8_t, 1>(p); }
inline S16 even_s8(const void* p) { return every_other<int8_t, 0>(p); }
inline S16 odd_s8(const void* p) { return every_other<int8_t, 1>(p); }
inline void store_words(int16_t* p, S16 a) { __builtin_memcpy(p, a.v, sizeof(a.v)); }
#endif

// Columns of a tile first, then rows of what came of them.
template <bool kOdd>
[[gnu::always_inline]] inline void winograd_u8_input_of(const void* const* pixels, int64_t c, int16_t* v,
                                                        int64_t step) {
  auto transform = [](const S16(&d)[6], S16(&out)[6]) LOWP_INLINE {
    const S16 ends = d[4] - d[2], middle = shift_left<1>(d[3] - d[1]);
    const S16 even = d[4] - shift_left<2>(d[2]), odd = d[3] - shift_left<2>(d[1]);
    out[0] = shift_left<2>(d[0] - d[2]) + ends;
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = ends + middle;
    out[4] = ends - middle;
    out[5] = d[5] - d[3] - shift_left<1>(middle);
  };
  S16 columns[6][6];  // [column][row]
  LOWP_UNROLL_6 for (int j = 0; j < 6; ++j) {
    S16 d[6];
    LOWP_UNROLL_6 for (int i = 0; i < 6; ++i) {
      const auto* at = static_cast<const uint8_t*>(pixels[i * 6 + j]) + c;
      d[i] = kOdd ? odd_u8(at) : even_u8(at);
    }
    transform(d, columns[j]);
  }
  LOWP_UNROLL_6 for (int i = 0; i < 6; ++i) {
    S16 d[6], out[6];
    LOWP_UNROLL_6 for (int j = 0; j < 6; ++j) d[j] = columns[j][i];
    transform(d, out);
    LOWP_UNROLL_6 for (int j = 0; j < 6; ++j) store_words(v + (i * 6 + j) * step + c + (kOdd ? 16 : 0), out[j]);
  }
}
void winograd_u8_input(const void* const* pixels, int64_t channels, int16_t* v, int64_t step) {
  for (int64_t c = 0; c < channels; c += 32) {
    winograd_u8_input_of<false>(pixels, c, v, step);
    winograd_u8_input_of<true>(pixels, c, v, step);
  }
}

// Of four channels (64 bytes a tap: 16 columns) a half of the columns, and of these bytes the even or the odd ones.
template <bool kOdd>
[[gnu::always_inline]] inline void winograd_s8_filters_of(const int8_t* filters, int64_t tap_step, int16_t* u,
                                                          int64_t step) {
  auto transform = [](const S16(&g)[3], S16(&out)[6]) LOWP_INLINE {
    const S16 ends = g[0] + g[2], far = g[0] + shift_left<2>(g[2]), twice = shift_left<1>(g[1]);
    out[0] = g[0];
    out[1] = ends + g[1];
    out[2] = ends - g[1];
    out[3] = far + twice;
    out[4] = far - twice;
    out[5] = g[2];
  };
  S16 columns[3][6];
  LOWP_UNROLL_6 for (int j = 0; j < 3; ++j) {
    S16 g[3];
    LOWP_UNROLL_6 for (int i = 0; i < 3; ++i) {
      const int8_t* at = filters + (i * 3 + j) * tap_step;
      g[i] = kOdd ? odd_s8(at) : even_s8(at);
    }
    transform(g, columns[j]);
  }
  LOWP_UNROLL_6 for (int i = 0; i < 6; ++i) {
    S16 g[3], out[6];
    LOWP_UNROLL_6 for (int j = 0; j < 3; ++j) g[j] = columns[j][i];
    transform(g, out);
    LOWP_UNROLL_6 for (int j = 0; j < 6; ++j) store_words(u + (i * 6 + j) * step, out[j]);
  }
}
void winograd_s8_filters(const int8_t* panel, int64_t channels, int16_t* u, int64_t step) {
  for (int64_t c = 0; c < channels; c += 4) {
    for (int half = 0; half < 2; ++half) {
      const int8_t* from = panel + c * 16 + half * 32;
      int16_t* to = u + c / 32 * 512 + c % 32 * 8 + half * 16;
      winograd_s8_filters_of<false>(from, channels * 16, to, step);
      winograd_s8_filters_of<true>(from, channels * 16, to + 256, step);
    }
  }
}

// Sums of the outputs of row r are 3 * 2^kPowers[r] times too large.
constexpr int kPowers[4] = {3, 2, 1, 1};
constexpr int32_t kNinth = 0x38e38e39;  // 9 * kNinth is 1 modulo 2^32

template <int kPower>
[[gnu::always_inline]] inline void store_quotient(int32_t* to, I32 sum) {
  store_int(to, shift_right<kPower>(sum * set_int(kNinth)));
}
void winograd_s32_output(const int32_t* m, int64_t step, int64_t columns, int32_t* const* pixels) {
  auto transform = [](const I32(&m)[6], I32(&out)[4]) LOWP_INLINE {
    const I32 sum = m[1] + m[2], difference = m[1] - m[2], far_sum = m[3] + m[4], far = m[3] - m[4];
    out[0] = shift_left<1>(shift_left<1>(m[0] - sum) + m[0]) + far_sum;
    out[1] = far - shift_left<1>(difference);
    out[2] = far_sum - sum;
    out[3] = shift_left<1>(shift_left<1>(m[5]) + m[5] + far) - difference;
  };
  for (int64_t n = 0; n < columns; n += 16) {
    I32 rows[6][4];  // [column][row]
    LOWP_UNROLL_6 for (int j = 0; j < 6; ++j) {
      I32 d[6];
      LOWP_UNROLL_6 for (int i = 0; i < 6; ++i) d[i] = load_int(m + (i * 6 + j) * step + n);
      transform(d, rows[j]);
    }
    auto put = [&]<int kRow>() LOWP_INLINE {
      I32 d[6], y[4];
      LOWP_UNROLL_6 for (int j = 0; j < 6; ++j) d[j] = rows[j][kRow];
      transform(d, y);
      store_quotient<kPowers[kRow] + kPowers[0]>(pixels[kRow * 4] + n, y[0]);
      store_quotient<kPowers[kRow] + kPowers[1]>(pixels[kRow * 4 + 1] + n, y[1]);
      store_quotient<kPowers[kRow] + kPowers[2]>(pixels[kRow * 4 + 2] + n, y[2]);
      store_quotient<kPowers[kRow] + kPowers[3]>(pixels[kRow * 4 + 3] + n, y[3]);
    };
    put.template operator()<0>();
    put.template operator()<1>();
    put.template operator()<2>();
    put.template operator()<3>();
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
