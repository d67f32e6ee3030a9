// Winograd's transforms (winograd.h), 16 channels at a time.
#pragma once

#include "simd/stored.h"

namespace lowp::LOWP_TARGET {
namespace {

// Rows of the result one after another: two rows of pixels are live at a time, which AVX2's registers hold.
template <typename S>
void winograd_input_of(const void* const* pixels, int64_t channels, float* v, int64_t step, int64_t panel) {
  for_lanes(channels, [&](int64_t c, int lanes) LOWP_INLINE {
    auto pixel = [&](int at) LOWP_INLINE { return S::load(static_cast<const typename S::T*>(pixels[at]) + c, lanes); };
    auto row = [&](int i, int upper, int lower, auto combine) LOWP_INLINE {
      auto column = [&](int j) LOWP_INLINE { return combine(pixel(upper * 4 + j), pixel(lower * 4 + j)); };
      const F32 d0 = column(0), d1 = column(1), d2 = column(2), d3 = column(3);
      float* to = v + i * 4 * step + c / 16 * panel;
      store(to, d0 - d2);
      store(to + step, d1 + d2);
      store(to + 2 * step, d2 - d1);
      store(to + 3 * step, d1 - d3);
    };
    auto difference = [](F32 a, F32 b) LOWP_INLINE { return a - b; };
    row(0, 0, 2, difference);
    row(1, 1, 2, [](F32 a, F32 b) LOWP_INLINE { return a + b; });
    row(2, 2, 1, difference);
    row(3, 1, 3, difference);
  });
}
void winograd_input(DType dtype, const void* const* pixels, int64_t channels, float* v, int64_t step, int64_t panel) {
  for_storage(dtype, [&](auto s) { winograd_input_of<decltype(s)>(pixels, channels, v, step, panel); });
}

void winograd_output(const float* m, int64_t step, int64_t columns, float* const* pixels) {
  for (int64_t n = 0; n < columns; n += 16) {
    F32 upper[4], lower[4];
    for (int j = 0; j < 4; ++j) {
      const float* from = m + j * step + n;
      const F32 m0 = load(from), m1 = load(from + 4 * step), m2 = load(from + 8 * step), m3 = load(from + 12 * step);
      upper[j] = (m0 + m1) + m2;
      lower[j] = (m1 - m2) - m3;
    }
    store(pixels[0] + n, (upper[0] + upper[1]) + upper[2]);
    store(pixels[1] + n, (upper[1] - upper[2]) - upper[3]);
    store(pixels[2] + n, (lower[0] + lower[1]) + lower[2]);
    store(pixels[3] + n, (lower[1] - lower[2]) - lower[3]);
  }
}

// A row of the result after the other, which AVX2's registers hold.
void winograd_filters(const float* panel, int64_t c, int64_t first, int64_t last, float* u, int64_t step) {
  const F32 half = set(0.5f);
  for (int64_t k = first; k < last; ++k) {
    auto filter = [&](int tap) LOWP_INLINE { return load(panel + (tap * c + k) * 16); };
    auto put = [&](int i, F32 g0, F32 g1, F32 g2) LOWP_INLINE {
      float* to = u + i * 4 * step + k * 16;
      const F32 ends = g0 + g2;
      store(to, g0);
      store(to + step, (ends + g1) * half);
      store(to + 2 * step, (ends - g1) * half);
      store(to + 3 * step, g2);
    };
    put(0, filter(0), filter(1), filter(2));
    put(3, filter(6), filter(7), filter(8));
    const F32 ends0 = filter(0) + filter(6), ends1 = filter(1) + filter(7), ends2 = filter(2) + filter(8);
    put(1, (ends0 + filter(3)) * half, (ends1 + filter(4)) * half, (ends2 + filter(5)) * half);
    put(2, (ends0 - filter(3)) * half, (ends1 - filter(4)) * half, (ends2 - filter(5)) * half);
  }
}

template <typename S>
void winograd_output_gradient_of(const void* const* pixels, int64_t first, int lanes, float* z, int64_t step,
                                 int64_t row) {
  float block[16][16 * 16];  // of each position, tiles
  auto transform = [](F32 y0, F32 y1, F32(&out)[4])
                       LOWP_INLINE { out[0] = y0, out[1] = y0 + y1, out[2] = y0 - y1, out[3] = zero() - y1; };
  for (int t = 0; t < 16; ++t, pixels += 4) {
    auto pixel = [&](int i)
                     LOWP_INLINE { return S::load(static_cast<const typename S::T*>(pixels[i]) + first, lanes); };
    F32 columns[2][4];
    for (int j = 0; j < 2; ++j) transform(pixel(j), pixel(2 + j), columns[j]);
    for (int i = 0; i < 4; ++i) {
      F32 rows[4];
      transform(columns[0][i], columns[1][i], rows);
      for (int j = 0; j < 4; ++j) store(block[i * 4 + j] + t * 16, rows[j]);
    }
  }
  float turned[16 * 16];
  for (int p = 0; p < 16; ++p) {
    transpose_16x16(block[p], 16, turned);
    for (int l = 0; l < 16; ++l) store(z + p * step + l * row, load(turned + l * 16));
  }
}
void winograd_output_gradient(DType dtype, const void* const* pixels, int64_t first, int lanes, float* z, int64_t step,
                              int64_t row) {
  for_storage(dtype, [&](auto s) { winograd_output_gradient_of<decltype(s)>(pixels, first, lanes, z, step, row); });
}

void winograd_filter_gradient(const float* u, int64_t step, int64_t channels, float* dw) {
  const F32 half = set(0.5f);
  auto transform = [&](F32 u0, F32 u1, F32 u2, F32 u3, F32(&out)[3]) LOWP_INLINE {
    const F32 both = (u1 + u2) * half;
    out[0] = u0 + both, out[1] = (u1 - u2) * half, out[2] = u3 + both;
  };
  for_lanes(channels, [&](int64_t c, int lanes) LOWP_INLINE {
    auto sum = [&](int position) LOWP_INLINE { return load(u + position * step + c); };
    F32 columns[4][3];
    for (int j = 0; j < 4; ++j) transform(sum(j), sum(4 + j), sum(8 + j), sum(12 + j), columns[j]);
    float taps[9 * 16];
    for (int i = 0; i < 3; ++i) {
      F32 row[3];
      transform(columns[0][i], columns[1][i], columns[2][i], columns[3][i], row);
      for (int j = 0; j < 3; ++j) store(taps + (i * 3 + j) * 16, row[j]);
    }
    for (int l = 0; l < lanes; ++l) {
      for (int t = 0; t < 9; ++t) *dw++ = taps[t * 16 + l];
    }
  });
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
