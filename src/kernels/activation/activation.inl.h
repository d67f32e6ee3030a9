// The activation family over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/activation/table.h"
#include "simd/math.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::ActivationGradient;

template <typename S, typename F>
[[gnu::always_inline]] inline void map_gradient(const typename S::T* dy, const typename S::T* v, typename S::T* dx,
                                                int64_t n, F fn) {
  for_lanes(n, [&](int64_t i, int lanes)
                   LOWP_INLINE { S::store(dx + i, fn(S::load(dy + i, lanes), S::load(v + i, lanes)), lanes); });
}

template <typename S>
void gradient_of(ActivationGradient op, const typename S::T* dy, const typename S::T* v, typename S::T* dx, int64_t n) {
  switch (op) {
    case ActivationGradient::kRelu:
      return map_gradient<S>(dy, v, dx, n, [](F32 d, F32 y) LOWP_INLINE { return select(y > zero(), d, zero()); });
    case ActivationGradient::kSigmoid:
      return map_gradient<S>(dy, v, dx, n, [](F32 d, F32 y) LOWP_INLINE { return d * (y * (set(1.0f) - y)); });
    case ActivationGradient::kTanh:
      return map_gradient<S>(dy, v, dx, n, [](F32 d, F32 y) LOWP_INLINE { return d * fnma(y, y, set(1.0f)); });
    case ActivationGradient::kGelu:
      return map_gradient<S>(dy, v, dx, n, [](F32 d, F32 x) LOWP_INLINE { return d * gelu_derivative(x); });
    case ActivationGradient::kGeluTanh:
      return map_gradient<S>(dy, v, dx, n, [](F32 d, F32 x) LOWP_INLINE { return d * gelu_tanh_derivative(x); });
    case ActivationGradient::kCount: break;
  }
}

void gradient(ActivationGradient op, DType dtype, const void* dy, const void* v, void* dx, int64_t n) {
  for_storage(dtype, [&](auto s) {
    using T = typename decltype(s)::T;
    gradient_of<decltype(s)>(op, static_cast<const T*>(dy), static_cast<const T*>(v), static_cast<T*>(dx), n);
  });
}

}  // namespace

extern const kernels::ActivationTable activation_table;
const kernels::ActivationTable activation_table = {gradient};

}  // namespace lowp::LOWP_TARGET
