// Multi-head attention in one kernel, without transposes: y = softmax(scale * q k^T + mask) v for each head.
//
// For batch b, head h, query s (S queries, T keys, D = head size of q and k, DV of v):
//   p[t] = sum over d of fma(q[d] * scale, k[t, d], .)   d in order, in blocks of 256 with a fresh accumulator each,
//                                                         partial sums added in block order (docs/numerics.md)
//   p[t] = p[t] + mask[t]                                 where there is a mask
//   w[t] = softmax(p) as in softmax.h
//   y[d] = sum over t of fma(w[t], v[t, d], .)            t in order, in blocks of 256 likewise
// causal: query s sees keys t <= s + T - S only; later ones take no part in the maximum and the sum, and w is 0 there.
// A query with no key at all gives zeros.
//
// s16: the products are those of integers of 12 bits, exact, which take half the time of f32's or less, and round finer
// than INT8 would. steps(x, m) = s32(rne(clamp(x * (2047 / l), -2047, 2047))) with l = max(m, 2^-100), step(m) = l /
// 2047; NaN counts as -2047 steps and has no magnitude. m_q is the largest |q| of the query, m_k and m_v are those of
// the head.
//   Q = steps(q, m_q), K = steps(k, m_k), V = steps(v, m_v)
//   p[t] = f32(sum over d of Q[d] K[t, d]) * ((step(m_q) * step(m_k)) * scale)
//   p[t] = p[t] + mask[t]                                 where there is a mask
//   u[t] = max(-30, fma(p[t], log2(e), -(greatest p * log2(e)))), n = rne(u), e = u - n
//   W[t] = s32(rne(fma(fma(fma(c3, e, c2), e, c1), e, c0) * 2^n)), NaN: 0; c is a fit to 2047 exp2 (s16.inl.h)
//   y[d] = f32(sum over t of W[t] V[t, d]) * f            f = step(m_v) / sum over t of W[t]
//   quantized y has rne(f32(sum over t of W[t] V[t, d]) * (f * (1 / y_scale))) steps
// Sums over d and t in blocks of 512 terms, each exact in s32, then rounded and added in block order. That of W in 16
// lanes (t % 16), each exact, then rounded and added in the tree of docs/numerics.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/stored_range.h"

namespace lowp::kernels {

// Element (b, s, h, d) is at base + b * batch + s * row + h * head + d; all in elements. So [B, S, H, D] has row = H D
// and head = D, [B, H, S, D] has row = D and head = S D, and a fused QKV projection has row = 3 H D.
struct HeadStrides {
  int64_t batch = 0, row = 0, head = 0;
};

struct AttentionArgs {
  int64_t batch = 1, heads = 1;
  int64_t kv_heads = 0;  // grouped queries: head h reads key head h / (heads / kv_heads); 0 means heads
  int64_t s = 0, t = 0, d = 0, dv = 0;
  float scale = 1.0f;
  bool causal = false;
  bool s16 = false;
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  HeadStrides q_strides, k_strides, v_strides, y_strides;
  // Additive mask, or null: element (b, h, s, t) at mask + b * mask_batch + h * mask_head + s * mask_row + t; strides
  // of 0 repeat, so [B, 1, 1, T] has mask_batch = T and the others 0.
  const float* mask = nullptr;
  int64_t mask_batch = 0, mask_head = 0, mask_row = 0;
  void* y = nullptr;
  DType y_dtype = DType::kF32;  // kF32; kU8 or kI8: quantize(y) as in quantize.h
  float y_scale = 1.0f;
  int32_t y_zero = 0;
  StoredRange y_range;
};

// Bytes of 64-byte aligned scratch; depends on sizes and threads only.
size_t attention_scratch(const AttentionArgs& args, int threads);
void attention(const AttentionArgs& args, void* scratch, int threads);

}  // namespace lowp::kernels
