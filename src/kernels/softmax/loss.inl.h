// Losses and the gradients of softmax over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
#pragma once

#include "kernels/softmax/loss_table.h"
#include "simd/math.h"
#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

template <typename S>
void softmax_gradient_rows(const kernels::SoftmaxGradientArgs& a, int64_t begin, int64_t end) {
  using T = typename S::T;
  const int64_t n = a.n;
  const bool log_form = a.log;
  for (int64_t r = begin; r < end; ++r) {
    const T* dy = static_cast<const T*>(a.dy) + r * n;
    const T* y = static_cast<const T*>(a.y) + r * n;
    T* dx = static_cast<T*>(a.dx) + r * n;
    F32 sums = zero();
    // Lanes beyond the row are zero in both operands.
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      const F32 d = S::load(dy + i, lanes);
      sums = log_form ? sums + d : fma(d, S::load(y + i, lanes), sums);
    });
    const F32 sum = set(reduce_add(sums));
    if (log_form) {
      for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
        S::store(dx + i, S::load(dy + i, lanes) - exp(S::load(y + i, lanes)) * sum, lanes);
      });
    } else {
      for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
        S::store(dx + i, S::load(y + i, lanes) * (S::load(dy + i, lanes) - sum), lanes);
      });
    }
  }
}

// Maximum of a row and the sum of exp(x - maximum).
template <typename S>
inline void row_moments(const typename S::T* x, int64_t n, F32* m, F32* sum) {
  F32 greatest = set(-__builtin_inff());
  auto value = [&](int64_t i, int lanes) LOWP_INLINE {
    const F32 v = S::load(x + i, lanes);
    return lanes == kLanes ? v : select(first_lanes(lanes), v, set(-__builtin_inff()));
  };
  // max(NaN, greatest) is greatest: the NaN reaches the row through the sum instead.
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { greatest = max(value(i, lanes), greatest); });
  const F32 top = set(reduce_max(greatest));
  F32 sums = zero();
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    const F32 e = exp_weight(value(i, lanes) - top);
    sums = sums + (lanes == kLanes ? e : select(first_lanes(lanes), e, zero()));
  });
  *m = top;
  *sum = set(reduce_add(sums));
}

template <typename S>
void cross_entropy_rows(const kernels::CrossEntropyArgs& a, int64_t begin, int64_t end) {
  using T = typename S::T;
  const int64_t n = a.classes;
  for (int64_t r = begin; r < end; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * n;
    const int32_t label = a.labels[r];
    const bool counts = label >= 0 && label < n;
    a.loss[r] = 0.0f;
    if (!counts && a.log_prob == nullptr) continue;
    F32 m, sum;
    row_moments<S>(x, n, &m, &sum);
    const F32 log_sum = log(sum);
    if (counts) {
      const F32 w = set(a.weights != nullptr ? a.weights[label] : 1.0f);
      const F32 at_label = set(first(S::load(x + label, 1)));
      a.loss[r] = first(neg(w * ((at_label - m) - log_sum)));
    }
    if (a.log_prob == nullptr) continue;
    T* log_prob = static_cast<T*>(a.log_prob) + r * n;
    for_lanes(n, [&](int64_t i, int lanes)
                     LOWP_INLINE { S::store(log_prob + i, (S::load(x + i, lanes) - m) - log_sum, lanes); });
  }
}

template <typename S>
void cross_entropy_gradient_rows(const kernels::CrossEntropyGradientArgs& a, int64_t begin, int64_t end) {
  using T = typename S::T;
  const int64_t n = a.classes;
  for (int64_t r = begin; r < end; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * n;
    T* dx = static_cast<T*>(a.dx) + r * n;
    const int32_t label = a.labels[r];
    if (label < 0 || label >= n) {
      for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE { S::store(dx + i, zero(), lanes); });
      continue;
    }
    F32 m, sum;
    row_moments<S>(x, n, &m, &sum);
    const F32 inverse = set(1.0f) / sum, scale = set(a.scale[r]);
    const F32 right = exp_weight(set(first(S::load(x + label, 1))) - m) * inverse;
    for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
      S::store(dx + i, (exp_weight(S::load(x + i, lanes) - m) * inverse) * scale, lanes);
    });
    S::store(dx + label, (right - set(1.0f)) * scale, 1);
  }
}

template <typename S>
void sigmoid_cross_entropy_run(const typename S::T* x, const typename S::T* t, float* loss, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    const F32 v = S::load(x + i, lanes);
    store_n(loss + i, (max(zero(), v) - v * S::load(t + i, lanes)) + log1p_unit(exp(neg(abs(v)))), lanes);
  });
}

template <typename S>
void sigmoid_cross_entropy_gradient_run(const typename S::T* x, const typename S::T* t, const float* scale,
                                        bool one_scale, typename S::T* dx, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) LOWP_INLINE {
    const F32 s = one_scale ? set(*scale) : load_n(scale + i, lanes);
    S::store(dx + i, (sigmoid(S::load(x + i, lanes)) - S::load(t + i, lanes)) * s, lanes);
  });
}

void softmax_gradient(const kernels::SoftmaxGradientArgs& a, int64_t begin, int64_t end) {
  for_storage(a.dtype, [&](auto s) { softmax_gradient_rows<decltype(s)>(a, begin, end); });
}
void cross_entropy(const kernels::CrossEntropyArgs& a, int64_t begin, int64_t end) {
  for_storage(a.dtype, [&](auto s) { cross_entropy_rows<decltype(s)>(a, begin, end); });
}
void cross_entropy_gradient(const kernels::CrossEntropyGradientArgs& a, int64_t begin, int64_t end) {
  for_storage(a.dtype, [&](auto s) { cross_entropy_gradient_rows<decltype(s)>(a, begin, end); });
}
void sigmoid_cross_entropy(DType dtype, const void* x, const void* t, float* loss, int64_t n) {
  for_storage(dtype, [&](auto s) {
    using T = typename decltype(s)::T;
    sigmoid_cross_entropy_run<decltype(s)>(static_cast<const T*>(x), static_cast<const T*>(t), loss, n);
  });
}
void sigmoid_cross_entropy_gradient(DType dtype, const void* x, const void* t, const float* scale, bool one_scale,
                                    void* dx, int64_t n) {
  for_storage(dtype, [&](auto s) {
    using T = typename decltype(s)::T;
    sigmoid_cross_entropy_gradient_run<decltype(s)>(static_cast<const T*>(x), static_cast<const T*>(t), scale,
                                                    one_scale, static_cast<T*>(dx), n);
  });
}

}  // namespace

extern const kernels::LossTable loss_table;
const kernels::LossTable loss_table = {softmax_gradient, cross_entropy, cross_entropy_gradient, sigmoid_cross_entropy,
                                       sigmoid_cross_entropy_gradient};

}  // namespace lowp::LOWP_TARGET
