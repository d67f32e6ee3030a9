// How numbers lie in memory where kernels compute in f32: f32 itself, bf16 or f16. Loads are exact, stores round to
// nearest even. Element offsets, not bytes; lanes beyond n are read as zero and never touched.
#pragma once

#include "base/dtype.h"
#include "simd/vec.h"

namespace lowp::LOWP_TARGET {
namespace {

struct StoredF32 {
  using T = float;
  static F32 load(const float* p, int n) { return load_n(p, n); }
  static void store(float* p, F32 v, int n) { store_n(p, v, n); }
};
struct StoredBF16 {
  using T = uint16_t;
  static F32 load(const uint16_t* p, int n) { return load_bf16_n(p, n); }
  static void store(uint16_t* p, F32 v, int n) { store_bf16_n(p, v, n); }
};
struct StoredF16 {
  using T = uint16_t;
  static F32 load(const uint16_t* p, int n) { return load_f16_n(p, n); }
  static void store(uint16_t* p, F32 v, int n) { store_f16_n(p, v, n); }
};

// Calls body(StoredF32{}) or its like for one of the three dtypes.
template <typename Body>
[[gnu::always_inline]] inline void for_storage(DType dtype, Body&& body) {
  if (dtype == DType::kBF16) return body(StoredBF16{});
  if (dtype == DType::kF16) return body(StoredF16{});
  body(StoredF32{});
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
