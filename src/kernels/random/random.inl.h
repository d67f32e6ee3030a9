// The random family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/random/table.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::PhiloxGroup;

// The words of 16 neighbouring blocks. Plain loops over lanes, which gcc turns into vectors: a product of 32 bits to 64
// is in no vector of simd/vec.h.
inline void philox_words(const PhiloxGroup& p, uint64_t group, uint32_t (&words)[4][16]) {
  uint32_t c0[16], c1[16], c2[16], c3[16];
  for (uint32_t l = 0; l < 16; ++l) {
    const uint64_t block = group * 16 + l;
    c0[l] = static_cast<uint32_t>(block);
    c1[l] = static_cast<uint32_t>(block >> 32);
    c2[l] = p.step;
    c3[l] = p.stream;
  }
  uint32_t k0 = p.key[0], k1 = p.key[1];
  for (int round = 0; round < 10; ++round) {
    for (int l = 0; l < 16; ++l) {
      const uint64_t p0 = uint64_t{0xd2511f53u} * c0[l], p1 = uint64_t{0xcd9e8d57u} * c2[l];
      c0[l] = static_cast<uint32_t>(p1 >> 32) ^ c1[l] ^ k0;
      c1[l] = static_cast<uint32_t>(p1);
      c2[l] = static_cast<uint32_t>(p0 >> 32) ^ c3[l] ^ k1;
      c3[l] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  for (int l = 0; l < 16; ++l) words[0][l] = c0[l], words[1][l] = c1[l], words[2][l] = c2[l], words[3][l] = c3[l];
}

template <typename S>
void dropout_of(const PhiloxGroup& p, uint64_t group, const typename S::T* x, typename S::T* y, int64_t n, float ratio,
                float factor) {
  const F32 limit = set(ratio), by = set(factor);
  for (int64_t i = 0; i < n; i += 64, ++group) {
    alignas(64) uint32_t words[4][16];
    philox_words(p, group, words);
    for (int w = 0; w < 4; ++w) {
      const int64_t at = i + 16 * w;
      if (at >= n) return;
      const int lanes = n - at < 16 ? static_cast<int>(n - at) : 16;
      const F32 u =
          to_float(shift_right_logical<8>(load_int(reinterpret_cast<const int32_t*>(words[w])))) * set(0x1p-24f);
      S::store(y + at, select(u < limit, zero(), S::load(x + at, lanes) * by), lanes);
    }
  }
}

void dropout(DType dtype, const PhiloxGroup& p, uint64_t group, const void* x, void* y, int64_t n, float ratio,
             float factor) {
  for_storage(dtype, [&](auto s) {
    using T = typename decltype(s)::T;
    dropout_of<decltype(s)>(p, group, static_cast<const T*>(x), static_cast<T*>(y), n, ratio, factor);
  });
}

}  // namespace

extern const kernels::RandomTable random_table;
const kernels::RandomTable random_table = {dropout};

}  // namespace lowp::LOWP_TARGET
