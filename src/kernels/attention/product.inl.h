// Products of attention's tiles: rows x (panels of 16 columns), each element of a row broadcast and multiplied with one
// vector of each panel. In floats, or in words of two s16 (AttentionArgs::s16), which are kept in float arrays as bits.
#pragma once

#include "kernels/attention/table.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

constexpr int64_t kBlockK = 256;  // the contract's block of a sum, in elements or words

// acc[i] += low(a[i]) * low(b[i]) + high(a[i]) * high(b[i]), exact.
[[gnu::always_inline]] inline void dot_s16_into(I32& acc, I32 a, I32 b) {
#if defined(__AVX512VNNI__)
  acc.v = _mm512_dpwssd_epi32(acc.v, a.v, b.v);
#elif defined(__AVX512F__)
  const __m512i products = _mm512_madd_epi16(a.v, b.v);
  __asm__("vpaddd %1, %0, %0" : "+v"(acc.v) : "v"(products));  // or gcc 12 adds products first, and moves sums about
#elif defined(__AVX2__)
  const __m256i lo = _mm256_madd_epi16(a.lo, b.lo);
  __asm__("vpaddd %1, %0, %0" : "+x"(acc.lo) : "x"(lo));
  const __m256i hi = _mm256_madd_epi16(a.hi, b.hi);
  __asm__("vpaddd %1, %0, %0" : "+x"(acc.hi) : "x"(hi));
#else
  for (int i = 0; i < kLanes; ++i) {
    const auto low = [](int32_t w) { return static_cast<int32_t>(static_cast<int16_t>(w & 0xffff)); };
    acc.v[i] += low(a.v[i]) * low(b.v[i]) + (a.v[i] >> 16) * (b.v[i] >> 16);
  }
#endif
}

struct Floats {
  using Sum = F32;
  static F32 none() { return zero(); }
  [[gnu::always_inline]] static F32 columns(const float* p) { return load(p); }
  [[gnu::always_inline]] static F32 splat(const float* p) { return set(*p); }
  [[gnu::always_inline]] static void add_product(F32& sum, F32 a, F32 b) { fma_into(sum, a, b); }
  static F32 value(F32 sum) { return sum; }
};
struct Words {
  using Sum = I32;
  static I32 none() { return set_int(0); }
  [[gnu::always_inline]] static I32 columns(const float* p) { return bitcast_int(load(p)); }
  [[gnu::always_inline]] static I32 splat(const float* p) {
    int32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return set_int(word);
  }
  [[gnu::always_inline]] static void add_product(I32& sum, I32 a, I32 b) { dot_s16_into(sum, a, b); }
  static F32 value(I32 sum) { return to_float(sum); }
};

// Accumulators of a tile. AVX-512: 8 x 2 of 32 registers, twice the 8 that hide fma's latency (4 cycles, 2 pipes), and
// 16 fma to 10 loads a step. AVX2: 6 x 1 pairs are 12 of 16 registers.
#if defined(__AVX512F__)
constexpr int kTileRows = 8, kTilePanels = 2;
#elif defined(__AVX2__)
constexpr int kTileRows = 6, kTilePanels = 1;
#else
constexpr int kTileRows = 4, kTilePanels = 1;
#endif

// Steps of k without a loop around them: with 16 registers a step is short (kShortSteps in gemm.inl.h).
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr int64_t kUnroll = 4;
#else
constexpr int64_t kUnroll = 1;
#endif

// c[r, p * 16 + lane] (+)= sum over k of a[r, k] * b[p, k, lane], k in order.
template <typename Kind, int kRows, int kPanels>
void tile(const float* a, int64_t a_ld, const float* b, int64_t b_panel, int64_t k, float* c, int64_t c_ld, bool add) {
  using Sum = typename Kind::Sum;
  Sum acc[kRows][kPanels];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) acc[r][p] = Kind::none();
  }
  auto step = [&](int64_t i) LOWP_INLINE {
    Sum columns[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) columns[p] = Kind::columns(b + p * b_panel + i * 16);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Sum value = Kind::splat(a + r * a_ld + i);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) Kind::add_product(acc[r][p], value, columns[p]);
    }
  };
  int64_t i = 0;
  if constexpr (kUnroll > 1) {
    for (; i + kUnroll <= k; i += kUnroll) {
#pragma GCC unroll 4
      for (int64_t u = 0; u < kUnroll; ++u) {
        step(i + u);
        __asm__ volatile("" ::: "memory");  // no loads for the next step before this one's registers are free
      }
    }
  }
  for (; i < k; ++i) step(i);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      float* out = c + r * c_ld + p * 16;
      const F32 value = Kind::value(acc[r][p]);
      store(out, add ? load(out) + value : value);
    }
  }
}

template <typename Kind, int kRows, int kPanels>
void tile_of(int64_t rows, const float* a, int64_t a_ld, const float* b, int64_t b_panel, int64_t k, float* c,
             int64_t c_ld, bool add) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return tile_of<Kind, kRows - 1, kPanels>(rows, a, a_ld, b, b_panel, k, c, c_ld, add);
  }
  tile<Kind, kRows, kPanels>(a, a_ld, b, b_panel, k, c, c_ld, add);
}

// Tiles of nearly the same height: 32 rows as 6, 5, 5, 6, 5, 5 rather than five of 6 and a low one.
template <typename Kind, int kPanels>
void tile_column(const float* a, int64_t a_ld, int64_t rows, const float* b, int64_t b_panel, int64_t k, float* c,
                 int64_t c_ld, bool add) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t r = rows * i / tiles, count = rows * (i + 1) / tiles - r;
    tile_of<Kind, kTileRows, kPanels>(count, a + r * a_ld, a_ld, b, b_panel, k, c + r * c_ld, c_ld, add);
  }
}

// c[rows, panels * 16] = a[rows, k] x b, in blocks of k with fresh accumulators, added in order.
template <typename Kind>
void product(const float* a, int64_t a_ld, int64_t rows, const float* b, int64_t panels, int64_t k, float* c,
             int64_t c_ld) {
  int64_t b_panel = k * 16;
  for (int64_t r = 0; k == 0 && r < rows; ++r) {
    for (int64_t i = 0; i < panels; ++i) store(c + r * c_ld + i * 16, zero());
  }
  for (int64_t k0 = 0; k0 < k; k0 += kBlockK) {
    int64_t depth = k - k0 < kBlockK ? k - k0 : kBlockK;
    int64_t p = 0;
    for (; p + kTilePanels <= panels; p += kTilePanels) {
      tile_column<Kind, kTilePanels>(a + k0, a_ld, rows, b + p * b_panel + k0 * 16, b_panel, depth, c + p * 16, c_ld,
                                     k0 > 0);
    }
    for (; p < panels; ++p) {
      tile_column<Kind, 1>(a + k0, a_ld, rows, b + p * b_panel + k0 * 16, b_panel, depth, c + p * 16, c_ld, k0 > 0);
    }
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
