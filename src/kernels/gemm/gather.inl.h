// Rows of A converted to the form a kernel wants, and 16-bit panels expanded to f32.
#pragma once

#include "kernels/gemm/tiles.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::GatherArgs;

// Runs are often a few bytes (three channels), so short ones do not go through memcpy.
inline void copy_run(const uint8_t* src, uint8_t* dst, int64_t bytes) {
  if (bytes >= 64) {
    __builtin_memcpy(dst, src, static_cast<size_t>(bytes));
    return;
  }
  int64_t i = 0;
  for (; i + 16 <= bytes; i += 16) __builtin_memcpy(dst + i, src + i, 16);
  if (bytes & 8) __builtin_memcpy(dst + i, src + i, 8), i += 8;
  if (bytes & 4) __builtin_memcpy(dst + i, src + i, 4), i += 4;
  if (bytes & 2) __builtin_memcpy(dst + i, src + i, 2), i += 2;
  if (bytes & 1) dst[i] = src[i];
}

// k up to a multiple of group.
inline int64_t padding_of(int64_t k, int64_t group) { return (group - k % group) % group; }

template <typename Src, typename Dst, typename Convert>
[[gnu::always_inline]] inline void gather(const GatherArgs& g, Convert convert) {
  const int64_t padding = padding_of(g.taps * g.c, g.group);
  for (int64_t i = 0; i < g.count; ++i) {
    Dst* d = reinterpret_cast<Dst*>(static_cast<char*>(g.dst) + i * g.dst_step);
    for (int64_t t = 0; t < g.taps; ++t, d += g.c) convert(static_cast<const Src*>(g.rows[t * g.stride + i]), d, g.c);
    for (int64_t k = 0; k < padding; ++k) d[k] = Dst{};
  }
}

template <typename T>
void gather_copy(const GatherArgs& g) {
  gather<T, T>(g, [](const T* s, T* d, int64_t n) {
    copy_run(reinterpret_cast<const uint8_t*>(s), reinterpret_cast<uint8_t*>(d), n * static_cast<int64_t>(sizeof(T)));
  });
}
void gather_f32_to_bf16(const GatherArgs& g) {
  gather<float, uint16_t>(g, [](const float* s, uint16_t* d, int64_t n) {
    for_lanes(n, [&](int64_t i, int lanes) { store_bf16_n(d + i, load_n(s + i, lanes), lanes); });
  });
}
void gather_bf16_to_f32(const GatherArgs& g) {
  gather<uint16_t, float>(g, [](const uint16_t* s, float* d, int64_t n) {
    for_lanes(n, [&](int64_t i, int lanes) { store_n(d + i, load_bf16_n(s + i, lanes), lanes); });
  });
}
void gather_f16_to_f32(const GatherArgs& g) {
  gather<uint16_t, float>(g, [](const uint16_t* s, float* d, int64_t n) {
    for_lanes(n, [&](int64_t i, int lanes) { store_n(d + i, load_f16_n(s + i, lanes), lanes); });
  });
}
void gather_s8_to_u8(const GatherArgs& g) {
  gather<uint8_t, uint8_t>(g, [](const uint8_t* s, uint8_t* d, int64_t n) {
    for (int64_t i = 0; i < n; ++i) d[i] = s[i] ^ 0x80u;
  });
}

// Of each four k: k0, k2, k1, k3 as s16, which is how the bytes of a packed lane come apart (dot.inl.h).
inline void widen_four(const uint8_t* s, int16_t* d, uint32_t flip) {
  uint32_t v;
  __builtin_memcpy(&v, s, 4);
  v ^= flip;
  const uint32_t even = v & 0x00ff00ffu, odd = (v >> 8) & 0x00ff00ffu;
  __builtin_memcpy(d, &even, 4);
  __builtin_memcpy(d + 2, &odd, 4);
}
inline void widen_run(const uint8_t* s, int16_t* d, int64_t n, uint32_t flip) {
  int64_t i = 0;
#if defined(__AVX2__)
  const __m256i low = _mm256_set1_epi16(0xff), flips = _mm256_set1_epi32(static_cast<int>(flip));
  for (; i + 32 <= n; i += 32) {
    const __m256i v = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(s + i)), flips);
    const __m256i even = _mm256_and_si256(v, low), odd = _mm256_srli_epi16(v, 8);
    const __m256i first = _mm256_unpacklo_epi32(even, odd), second = _mm256_unpackhi_epi32(even, odd);
    __m256i* out = reinterpret_cast<__m256i*>(d + i);
    _mm256_storeu_si256(out, _mm256_permute2x128_si256(first, second, 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(first, second, 0x31));
  }
#endif
  for (; i < n; i += 4) widen_four(s + i, d + i, flip);
}

// Fours run over the whole row: runs that are not whole fours are first laid end to end in the row's second half.
template <uint8_t kFlip>
void gather_wide(const GatherArgs& g) {
  constexpr uint32_t kFlips = kFlip * 0x01010101u;
  if (g.c % 4 == 0)
    return gather<uint8_t, int16_t>(g, [](const uint8_t* s, int16_t* d, int64_t n) { widen_run(s, d, n, kFlips); });
  const int64_t k = g.taps * g.c, padded = k + padding_of(k, g.group);
  for (int64_t i = 0; i < g.count; ++i) {
    int16_t* d = reinterpret_cast<int16_t*>(static_cast<char*>(g.dst) + i * g.dst_step);
    // Widening goes upwards and writes 8 bytes for 4 read, so it never passes what it has yet to read.
    uint8_t* bytes = reinterpret_cast<uint8_t*>(d + padded) - padded;
    uint8_t* at = bytes;
    for (int64_t t = 0; t < g.taps; ++t, at += g.c)
      copy_run(static_cast<const uint8_t*>(g.rows[t * g.stride + i]), at, g.c);
    for (int64_t j = k; j < padded; ++j) *at++ = kFlip;
    for (int64_t j = 0; j < padded; j += 4) widen_four(bytes + j, d + j, kFlips);
  }
}

// Short runs, kBytes at a time whatever their length: each run covers what its predecessor wrote too far, and zeros
// what the last did.
template <typename T, int kBytes>
void gather_short(const GatherArgs& g) {
  const int64_t taps = g.taps, c = g.c, stride = g.stride, k = taps * c;
  const int64_t padding = padding_of(k, g.group) * static_cast<int64_t>(sizeof(T));
  char* row = static_cast<char*>(g.dst);
  for (int64_t i = 0; i < g.count; ++i, row += g.dst_step) {
    T* d = reinterpret_cast<T*>(row);
    const void* const* from = g.rows + i;
    for (int64_t t = 0; t < taps; ++t, d += c, from += stride) __builtin_memcpy(d, *from, kBytes);
    char* end = reinterpret_cast<char*>(d);
    for (int64_t j = 0; j < padding; j += 8) __builtin_memset(end + j, 0, 8);
  }
}

constexpr kernels::GatherFn kGather[static_cast<int>(kernels::Gather::kCount)] = {
    gather_copy<uint16_t>,
    gather_copy<uint8_t>,
    gather_f32_to_bf16,
    gather_bf16_to_f32,
    gather_f16_to_f32,
    gather_s8_to_u8,
    gather_wide<0>,
    gather_wide<0x80>,
    gather_short<uint8_t, 16>,
    gather_short<uint8_t, 32>,
    gather_short<uint16_t, 64>,
};

// Interleaved pairs to two rows: even k in the low halves, odd k in the high halves.
void expand_bf16(const void* b, int64_t b_stride, int64_t k, int64_t panels, float* dst) {
  for (int64_t p = 0; p < panels; ++p) {
    const int32_t* s = reinterpret_cast<const int32_t*>(static_cast<const char*>(b) + p * b_stride);
    for (int64_t i = 0; i < k; i += 2, s += 16, dst += 32) {
      I32 v = load_int(s);
      store(dst, bitcast_float(shift_left<16>(v)));
      store(dst + 16, bitcast_float(v & set_int(static_cast<int32_t>(0xffff0000u))));
    }
  }
}
void expand_f16(const void* b, int64_t b_stride, int64_t k, int64_t panels, float* dst) {
  for (int64_t p = 0; p < panels; ++p) {
    const int32_t* s = reinterpret_cast<const int32_t*>(static_cast<const char*>(b) + p * b_stride);
    for (int64_t i = 0; i < k; i += 2, s += 16, dst += 32) {
      I32 v = load_int(s);
      uint16_t even[16], odd[16];
      store_u16(even, v & set_int(0xffff));
      store_u16(odd, shift_right_logical<16>(v));
      store(dst, load_f16(even));
      store(dst + 16, load_f16(odd));
    }
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
