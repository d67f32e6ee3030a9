// The gather family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/gather/table.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

template <typename S>
void add_rows_of(const typename S::T* x, const uint64_t* positions, int64_t count, typename S::T* y, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    F32 sum = zero();
    for (int64_t k = 0; k < count; ++k)
      sum = sum + S::load(x + static_cast<int64_t>(positions[k] & 0xffffffffu) * n + i, lanes);
    S::store(y + i, sum, lanes);
  });
}

void add_rows(DType dtype, const void* x, const uint64_t* positions, int64_t count, void* y, int64_t n) {
  for_storage(dtype, [&](auto s) {
    using T = typename decltype(s)::T;
    add_rows_of<decltype(s)>(static_cast<const T*>(x), positions, count, static_cast<T*>(y), n);
  });
}

}  // namespace

extern const kernels::ScatterTable scatter_table;
const kernels::ScatterTable scatter_table = {add_rows};

}  // namespace lowp::LOWP_TARGET
