// Attention over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc, and in integers by avx512_vnni.cc.
//
// k is transposed into panels of 16 keys once a head, v is copied into panels of 16 columns (product.inl.h).
#pragma once

#include "kernels/attention/s16.inl.h"
#include "kernels/quantize/lanes.inl.h"
#include "kernels/softmax/row.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

// As S16, in floats.
class Exact {
 public:
  using Kind = Floats;
  Exact(const AttentionArgs& a, const AttentionScratch& layout) : a_(a), layout_(layout) {}

  void pack_keys(const float* k, float*, float* out) const {
    const int64_t row = a_.k_strides.row, d = a_.d;
    for (int64_t t0 = 0; t0 < a_.t; t0 += 16, out += d * 16) {
      const float* x = k + t0 * row;
      int64_t keys = a_.t - t0 < 16 ? a_.t - t0 : 16, c = 0;
      if (keys == 16) {
        for (; c + 16 <= d; c += 16) transpose_16x16(x + c, row, out + c * 16);
      }
      for (; c < d; ++c) {
        for (int64_t i = 0; i < 16; ++i) out[c * 16 + i] = i < keys ? x[i * row + c] : 0.0f;
      }
    }
  }
  void pack_values(const float* v, float* out) const {
    for_lanes(a_.dv, [&](int64_t c, int lanes) LOWP_INLINE {
      float* panel = out + c * a_.t;
      for (int64_t i = 0; i < a_.t; ++i) store(panel + i * 16, load_n(v + i * a_.v_strides.row + c, lanes));
    });
  }
  void pack_queries(const Queries& queries, float* out) const {
    const F32 scale = set(a_.scale);
    for (int64_t r = 0; r < queries.count; ++r, out += a_.d) {
      const float* q = queries.row(r);
      for_lanes(a_.d, [&](int64_t i, int lanes) LOWP_INLINE { store_n(out + i, load_n(q + i, lanes) * scale, lanes); });
    }
  }
  void weigh(const Queries& queries, float* scores) const {
    for (int64_t r = 0; r < queries.count; ++r, scores += layout_.score_ld) {
      const int64_t visible = queries.visible(r);
      const float* mask = queries.mask(r);
      if (visible > 0) (mask ? softmax_row<true, false> : softmax_row<false, false>)(scores, mask, scores, visible);
      for (int64_t i = visible; i < a_.t; ++i) scores[i] = 0.0f;
    }
  }
  static F32 output(int64_t, F32 sum) { return sum; }
  F32 output_steps(int64_t, F32 sum) const { return sum / set(a_.y_scale); }

 private:
  const AttentionArgs& a_;
  const AttentionScratch& layout_;
};

// Query r's output, from its sums.
template <typename Arithmetic>
void store_output(const AttentionArgs& a, const Arithmetic& math, int64_t r, const float* sums, int64_t offset) {
  auto quantized = [&](auto quantize, auto store) LOWP_INLINE {
    for_lanes(a.dv, [&](int64_t i, int lanes) LOWP_INLINE {
      store(a.y, offset + i, quantize.of_steps(math.output_steps(r, load_n(sums + i, lanes))), lanes);
    });
  };
  if (a.y_dtype == DType::kF32) {
    float* y = static_cast<float*>(a.y) + offset;
    for_lanes(a.dv, [&](int64_t i, int lanes)
                        LOWP_INLINE { store_n(y + i, math.output(r, load_n(sums + i, lanes)), lanes); });
  } else if (a.y_dtype == DType::kI8) {
    quantized(Quantizer<true>(a.y_zero, a.y_range), store_q8<true>);
  } else {
    quantized(Quantizer<false>(a.y_zero, a.y_range), store_q8<false>);
  }
}

// The table's functions.
template <typename Arithmetic>
void head_as(const AttentionArgs& a, const AttentionScratch& layout, int64_t batch, int64_t head, int64_t begin,
             int64_t end, float* scratch) {
  using Kind = typename Arithmetic::Kind;
  float* keys = scratch;
  float* values = keys + layout.keys;
  float* packed_queries = values + layout.values;
  float* scores = packed_queries + layout.queries;
  float* outputs = scores + layout.scores;
  int64_t key_panels = (a.t + 15) / 16, value_panels = (a.dv + 15) / 16, output_ld = value_panels * 16;
  int64_t kv_head = a.kv_heads > 0 ? head / (a.heads / a.kv_heads) : head;

  Arithmetic math(a, layout);
  math.pack_keys(a.k + batch * a.k_strides.batch + kv_head * a.k_strides.head, packed_queries, keys);
  math.pack_values(a.v + batch * a.v_strides.batch + kv_head * a.v_strides.head, values);

  for (int64_t s0 = begin; s0 < end; s0 += kernels::kQueryBlock) {
    int64_t rows = end - s0 < kernels::kQueryBlock ? end - s0 : kernels::kQueryBlock;
    const Queries queries{a, batch, head, s0, rows};
    math.pack_queries(queries, packed_queries);
    product<Kind>(packed_queries, layout.query_ld, rows, keys, key_panels, layout.query_ld, scores, layout.score_ld);
    math.weigh(queries, scores);
    product<Kind>(scores, layout.score_ld, rows, values, value_panels, layout.weights, outputs, output_ld);
    for (int64_t r = 0; r < rows; ++r) {
      store_output(a, math, r, outputs + r * output_ld,
                   batch * a.y_strides.batch + (s0 + r) * a.y_strides.row + head * a.y_strides.head);
    }
  }
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
