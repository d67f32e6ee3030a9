// What a target's translation unit of the conv family offers: bringing operands into the forms that gemm's tiles read,
// and depthwise gradients. Dtypes are kF32, kBF16 or kF16; results are f32, or in pairs: the panels and rows of
// products of bf16 (product_kind in gemm.h), from operands of 16 bits. Rows k and k + 1 of such a panel, k even, are
// one of 16 pairs.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace lowp::kernels {

struct ConvTable {
  // Elements [first, last) of up to 16 filters of c * taps elements (channels first, as in OIHW) as rows (tap, channel)
  // of a panel: dst[(tap * c + channel) * 16 + filter]. first is a multiple of 16; lanes beyond `filters` become zero.
  void (*pack_filters)(DType dtype, const void* w, int filters, int64_t c, int64_t taps, int64_t first, int64_t last,
                       float* dst);
  // The same as pairs of bf16: rows are added to a panel of zeros, or, where c is even, `first` and `last` multiples of
  // 2 taps, written to any.
  void (*pair_filters)(const void* w, int filters, int64_t c, int64_t taps, int64_t first, int64_t last, void* dst);
  // `channels` (up to 16) neighbouring channels of filters [first_filter, first_filter + filters), which lie filter_ld
  // elements apart (w is those of filter 0), as rows
  // (t, filter) of a panel: dst[(t * filters_in_all + filter) * 16 + channel] = w[filter][channel][chosen[t]].
  void (*pack_flipped)(DType dtype, const void* w, int64_t filter_ld, int64_t first_filter, int64_t filters,
                       int64_t filters_in_all, int channels, int64_t taps, const int32_t* chosen, int64_t chosen_count,
                       float* dst);
  // The same as pairs of bf16: rows are added to a panel of zeros, or, where filters_in_all, first_filter and filters
  // are even, written to any.
  void (*pair_flipped)(const void* w, int64_t filter_ld, int64_t first_filter, int64_t filters, int64_t filters_in_all,
                       int channels, int64_t taps, const int32_t* chosen, int64_t chosen_count, void* dst);
  // dst[i * 16 + at + l] = rows[i][first + l] for i < count and l < lanes.
  void (*pack_columns)(DType dtype, const void* const* rows, int64_t count, int64_t first, int lanes, int at,
                       float* dst);
  // The same for lanes `at` to 15, with whole vectors: 16 elements from first - at on are read, and lanes before `at`
  // keep what they have.
  void (*pack_overlapping)(DType dtype, const void* const* rows, int64_t count, int64_t first, int at, float* dst);
  // Both as pairs of 16-bit elements; where count is odd a row of zeros makes the last pair whole.
  void (*pair_columns)(const void* const* rows, int64_t count, int64_t first, int lanes, int at, void* dst);
  void (*pair_overlapping)(const void* const* rows, int64_t count, int64_t first, int at, void* dst);
  // sums[c] = or += the sum over i in order of x[i * ld + c], in blocks of 256 rows; begins: or +=, from the first.
  void (*column_sums)(DType dtype, const void* x, int64_t ld, int64_t count, int channels, bool begins, float* sums);
  // dx[c] = p after, for t in order, p = fma(dy[t][c], w[tap[t] * w_ld + c], p) from 0.
  void (*depthwise_input)(DType dy_dtype, DType dx_dtype, const void* const* dy, const int32_t* tap, int64_t taps,
                          const float* w, int64_t w_ld, int64_t channels, void* dx);
  // total[c] = p, or += p unless it begins, where p is the sum over i < count by fma of x[i][first + c] * dy[i][first +
  // c].
  void (*depthwise_weight)(DType x_dtype, DType dy_dtype, const void* const* x, const void* const* dy, int64_t count,
                           int64_t first, int64_t channels, bool begins, float* total);
  // Winograd's transforms (winograd.h). V[i, j] of channel c at v[(i * 4 + j) * step + c / 16 * panel + c % 16], whole
  // vectors, from the 16 pixels of a tile.
  void (*winograd_input)(DType dtype, const void* const* pixels, int64_t channels, float* v, int64_t step,
                         int64_t panel);
  // Y, four pixels in the order of rows, from M[i, j] at m + (i * 4 + j) * step; columns is a multiple of 16.
  void (*winograd_output)(const float* m, int64_t step, int64_t columns, float* const* pixels);
  // Rows [first, last) of a panel of each U[i, j], at u + (i * 4 + j) * step, from a panel of 3x3 filters of c
  // channels.
  void (*winograd_filters)(const float* panel, int64_t c, int64_t first, int64_t last, float* u, int64_t step);
  // Z[i, j] of channel first + l and tile t at z[(i * 4 + j) * step + l * row + t], l and t up to 16, from the four
  // pixels of each tile; channels beyond `lanes` are zeros.
  void (*winograd_output_gradient)(DType dtype, const void* const* pixels, int64_t first, int lanes, float* z,
                                   int64_t step, int64_t row);
  // dw[c][3 * kh + kw] from sums at u[(i * 4 + j) * step + c].
  void (*winograd_filter_gradient)(const float* u, int64_t step, int64_t channels, float* dw);
  // Transforms of winograd_int8.h; channels are a multiple of 32, of whose blocks of 32 bytes 0 and 2 of each four come
  // first, then bytes 1 and 3. V[i, j] at v + (i * 6 + j) * step, from the 36 pixels of a tile.
  void (*winograd_u8_input)(const void* const* pixels, int64_t channels, int16_t* v, int64_t step);
  // A panel of U[i, j], in pairs of channels (K2N16), at u + (i * 6 + j) * step, from one of 3x3 filters.
  void (*winograd_s8_filters)(const int8_t* panel, int64_t channels, int16_t* u, int64_t step);
  // Y, 16 pixels in the order of rows, from M[i, j] at m + (i * 6 + j) * step; columns is a multiple of 16.
  void (*winograd_s32_output)(const int32_t* m, int64_t step, int64_t columns, int32_t* const* pixels);
};

}  // namespace lowp::kernels
