// reduce() of 16 vectors at once. One alone takes eight dependent steps, four of them shuffles; together they share
// them: 45 steps instead of 128 with AVX-512.
#pragma once

#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

// Lane r is reduce(v[r], combine): the contract's tree, so the same bits.
template <typename Combine>
[[gnu::always_inline]] inline F32 reduce_rows(const F32 (&v)[16], Combine combine) {
#if defined(__AVX512F__)
  // Halves of two rows, quarters of four, pairs of eight, lanes of sixteen. Group j is rows j, 4 + j, 8 + j and 12 + j,
  // each in 128 bits of its own.
  auto halves = [&](int a, int b) LOWP_INLINE {
    return combine(F32{_mm512_shuffle_f32x4(v[a].v, v[b].v, 0x44)}, F32{_mm512_shuffle_f32x4(v[a].v, v[b].v, 0xee)});
  };
  auto quarters = [&](F32 a, F32 b) LOWP_INLINE {
    return combine(F32{_mm512_shuffle_f32x4(a.v, b.v, 0x88)}, F32{_mm512_shuffle_f32x4(a.v, b.v, 0xdd)});
  };
  auto pairs = [&](F32 a, F32 b) LOWP_INLINE {
    return combine(F32{_mm512_shuffle_ps(a.v, b.v, 0x44)}, F32{_mm512_shuffle_ps(a.v, b.v, 0xee)});
  };
  auto group = [&](int j) LOWP_INLINE { return quarters(halves(j, 4 + j), halves(8 + j, 12 + j)); };
  const F32 low = pairs(group(0), group(1)), high = pairs(group(2), group(3));
  return combine(F32{_mm512_shuffle_ps(low.v, high.v, 0x88)}, F32{_mm512_shuffle_ps(low.v, high.v, 0xdd)});
#elif defined(__AVX2__)
  // Two registers of eight lanes are one vector, and a pair of such the unit of `combine`.
  auto halves = [&](int a, int b) LOWP_INLINE {  // of rows a and b
    return combine(F32{v[a].lo, v[b].lo}, F32{v[a].hi, v[b].hi});
  };
  auto quarters = [&](F32 a, F32 b) LOWP_INLINE {  // of a.lo and b.lo, a.hi and b.hi
    return combine(F32{_mm256_permute2f128_ps(a.lo, b.lo, 0x20), _mm256_permute2f128_ps(a.hi, b.hi, 0x20)},
                   F32{_mm256_permute2f128_ps(a.lo, b.lo, 0x31), _mm256_permute2f128_ps(a.hi, b.hi, 0x31)});
  };
  auto pairs = [&](F32 a, F32 b) LOWP_INLINE {
    return combine(F32{_mm256_shuffle_ps(a.lo, b.lo, 0x44), _mm256_shuffle_ps(a.hi, b.hi, 0x44)},
                   F32{_mm256_shuffle_ps(a.lo, b.lo, 0xee), _mm256_shuffle_ps(a.hi, b.hi, 0xee)});
  };
  // Rows r and r + 4 in the 128-bit lanes of lo, eight later in those of hi.
  auto group = [&](int r) LOWP_INLINE { return quarters(halves(r, r + 8), halves(r + 4, r + 12)); };
  const F32 low = pairs(group(0), group(1)), high = pairs(group(2), group(3));
  return combine(F32{_mm256_shuffle_ps(low.lo, high.lo, 0x88), _mm256_shuffle_ps(low.hi, high.hi, 0x88)},
                 F32{_mm256_shuffle_ps(low.lo, high.lo, 0xdd), _mm256_shuffle_ps(low.hi, high.hi, 0xdd)});
#else
  float lanes[16];
  for (int r = 0; r < 16; ++r) lanes[r] = reduce(v[r], combine);
  return load(lanes);
#endif
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
