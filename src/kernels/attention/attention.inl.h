// Attention over 16 lanes; compiled by scalar.cc, avx2.cc and avx512.cc.
//
// Both products have the shape rows x (panels of 16 columns): each element of a row is broadcast and multiplied with
// one vector of each panel. k is transposed into panels of 16 keys once a head, v is copied into panels of 16 columns.
#pragma once

#include "kernels/attention/table.h"
#include "kernels/quantize/lanes.inl.h"
#include "kernels/softmax/row.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::AttentionArgs;
using kernels::AttentionScratch;

constexpr int64_t kBlockK = 256;  // the contract's block of a sum

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
template <int kRows, int kPanels>
void tile(const float* a, int64_t a_ld, const float* b, int64_t b_panel, int64_t k, float* c, int64_t c_ld, bool add) {
  F32 acc[kRows][kPanels];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) acc[r][p] = zero();
  }
  auto step = [&](int64_t i) LOWP_INLINE {
    F32 columns[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) columns[p] = load(b + p * b_panel + i * 16);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      F32 value = set(a[r * a_ld + i]);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) fma_into(acc[r][p], value, columns[p]);
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
      store(out, add ? load(out) + acc[r][p] : acc[r][p]);
    }
  }
}

template <int kRows, int kPanels>
void tile_of(int64_t rows, const float* a, int64_t a_ld, const float* b, int64_t b_panel, int64_t k, float* c,
             int64_t c_ld, bool add) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return tile_of<kRows - 1, kPanels>(rows, a, a_ld, b, b_panel, k, c, c_ld, add);
  }
  tile<kRows, kPanels>(a, a_ld, b, b_panel, k, c, c_ld, add);
}

// Tiles of nearly the same height: 32 rows as 6, 5, 5, 6, 5, 5 rather than five of 6 and a low one.
template <int kPanels>
void tile_column(const float* a, int64_t a_ld, int64_t rows, const float* b, int64_t b_panel, int64_t k, float* c,
                 int64_t c_ld, bool add) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t r = rows * i / tiles, count = rows * (i + 1) / tiles - r;
    tile_of<kTileRows, kPanels>(count, a + r * a_ld, a_ld, b, b_panel, k, c + r * c_ld, c_ld, add);
  }
}

// c[rows, panels * 16] = a[rows, k] x b, in blocks of k with fresh accumulators, added in order.
void product(const float* a, int64_t a_ld, int64_t rows, const float* b, int64_t panels, int64_t k, float* c,
             int64_t c_ld) {
  int64_t b_panel = k * 16;
  for (int64_t k0 = 0; k0 < k; k0 += kBlockK) {
    int64_t depth = k - k0 < kBlockK ? k - k0 : kBlockK;
    int64_t p = 0;
    for (; p + kTilePanels <= panels; p += kTilePanels) {
      tile_column<kTilePanels>(a + k0, a_ld, rows, b + p * b_panel + k0 * 16, b_panel, depth, c + p * 16, c_ld, k0 > 0);
    }
    for (; p < panels; ++p) {
      tile_column<1>(a + k0, a_ld, rows, b + p * b_panel + k0 * 16, b_panel, depth, c + p * 16, c_ld, k0 > 0);
    }
  }
}

void pack_keys(const float* k, int64_t row, int64_t t, int64_t d, float* out) {
  for (int64_t t0 = 0; t0 < t; t0 += 16, out += d * 16) {
    const float* x = k + t0 * row;
    int64_t keys = t - t0 < 16 ? t - t0 : 16, c = 0;
    if (keys == 16) {
      for (; c + 16 <= d; c += 16) transpose_16x16(x + c, row, out + c * 16);
    }
    for (; c < d; ++c) {
      for (int64_t i = 0; i < 16; ++i) out[c * 16 + i] = i < keys ? x[i * row + c] : 0.0f;
    }
  }
}

void pack_values(const float* v, int64_t row, int64_t t, int64_t dv, float* out) {
  for_lanes(dv, [&](int64_t c, int lanes) LOWP_INLINE {
    float* panel = out + c * t;
    for (int64_t i = 0; i < t; ++i) store(panel + i * 16, load_n(v + i * row + c, lanes));
  });
}

template <bool kSigned>
void store_quantized(const AttentionArgs& a, int64_t offset, const float* x) {
  F32 scale = set(a.y_scale);
  const Quantizer<kSigned> quantize(a.y_zero, a.y_range);
  for_lanes(a.dv, [&](int64_t i, int lanes) LOWP_INLINE {
    store_q8<kSigned>(a.y, offset + i, quantize(load_n(x + i, lanes), scale), lanes);
  });
}

// Scores of one query become weights; keys beyond `visible` get 0.
void normalize_scores(float* scores, const float* mask, int64_t visible, int64_t t) {
  if (visible > 0) {
    (mask ? softmax_row<true, false> : softmax_row<false, false>)(scores, mask, scores, visible);
  }
  for (int64_t i = visible; i < t; ++i) scores[i] = 0.0f;
}

void head(const AttentionArgs& a, const AttentionScratch& layout, int64_t batch, int64_t head, int64_t begin,
          int64_t end, float* scratch) {
  float* keys = scratch;
  float* values = keys + layout.keys;
  float* queries = values + layout.values;
  float* scores = queries + layout.queries;
  float* outputs = scores + layout.scores;
  int64_t key_panels = (a.t + 15) / 16, value_panels = (a.dv + 15) / 16, output_ld = value_panels * 16;
  int64_t kv_head = a.kv_heads > 0 ? head / (a.heads / a.kv_heads) : head;

  pack_keys(a.k + batch * a.k_strides.batch + kv_head * a.k_strides.head, a.k_strides.row, a.t, a.d, keys);
  pack_values(a.v + batch * a.v_strides.batch + kv_head * a.v_strides.head, a.v_strides.row, a.t, a.dv, values);
  const float* q = a.q + batch * a.q_strides.batch + head * a.q_strides.head;
  F32 scale = set(a.scale);

  for (int64_t s0 = begin; s0 < end; s0 += kernels::kQueryBlock) {
    int64_t rows = end - s0 < kernels::kQueryBlock ? end - s0 : kernels::kQueryBlock;
    for (int64_t r = 0; r < rows; ++r) {
      const float* x = q + (s0 + r) * a.q_strides.row;
      for_lanes(a.d, [&](int64_t i, int lanes)
                         LOWP_INLINE { store_n(queries + r * a.d + i, load_n(x + i, lanes) * scale, lanes); });
    }
    product(queries, a.d, rows, keys, key_panels, a.d, scores, layout.score_ld);
    for (int64_t r = 0; r < rows; ++r) {
      int64_t visible = a.causal ? s0 + r + 1 + a.t - a.s : a.t;
      visible = visible < 0 ? 0 : visible > a.t ? a.t : visible;
      const float* mask = a.mask ? a.mask + batch * a.mask_batch + head * a.mask_head + (s0 + r) * a.mask_row : nullptr;
      normalize_scores(scores + r * layout.score_ld, mask, visible, a.t);
    }
    product(scores, layout.score_ld, rows, values, value_panels, a.t, outputs, output_ld);
    for (int64_t r = 0; r < rows; ++r) {
      const float* x = outputs + r * output_ld;
      int64_t offset = batch * a.y_strides.batch + (s0 + r) * a.y_strides.row + head * a.y_strides.head;
      if (a.y_dtype == DType::kF32) {
        float* y = static_cast<float*>(a.y) + offset;
        for_lanes(a.dv, [&](int64_t i, int lanes) LOWP_INLINE { store_n(y + i, load_n(x + i, lanes), lanes); });
      } else {
        (a.y_dtype == DType::kI8 ? store_quantized<true> : store_quantized<false>)(a, offset, x);
      }
    }
  }
}

}  // namespace

extern const kernels::AttentionTable attention_table;
const kernels::AttentionTable attention_table = {head};

}  // namespace lowp::LOWP_TARGET
