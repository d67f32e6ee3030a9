#include "kernels/fake_quantize/fake_quantize.h"

#include "kernels/fake_quantize/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(FakeQuantizeTable, fake_quantize_table)

namespace lowp::kernels {
namespace {

// dy null: y, else dx.
void apply(const FakeQuantizeArgs& a, const void* dy, const void* x, void* y, int threads) {
  const FakeQuantizeTable& t = LOWP_SELECT_TABLE(fake_quantize_table);
  const int64_t size = dtype_bits(a.dtype) / 8;
  const float* unit = a.unit != nullptr ? a.unit : a.scale;
  auto at = [&](const void* p, int64_t i) {
    return p == nullptr ? nullptr : static_cast<const void*>(static_cast<const char*>(p) + i * size);
  };
  auto run = [&](int64_t c, int64_t i, int64_t n) {
    t.run(a.dtype, a.scale[c], unit[c], a.low[c], a.high[c], at(dy, i), at(x, i), static_cast<char*>(y) + i * size, n);
  };
  if (a.channels == 1) {
    parallel_ranges(threads, a.outer * a.inner, kGrainElements, 64,
                    [&](int64_t begin, int64_t end) { run(0, begin, end - begin); });
  } else if (a.inner == 1) {
    parallel_ranges(threads, a.outer, kGrainElements / std::max<int64_t>(a.channels, 1), 1,
                    [&](int64_t begin, int64_t end) {
                      for (int64_t i = begin * a.channels; i < end * a.channels; i += a.channels)
                        t.each(a.dtype, a.scale, unit, a.low, a.high, at(dy, i), at(x, i),
                               static_cast<char*>(y) + i * size, a.channels);
                    });
  } else {
    parallel_ranges(threads, a.outer * a.channels, kGrainElements / std::max<int64_t>(a.inner, 1), 1,
                    [&](int64_t begin, int64_t end) {
                      for (int64_t r = begin; r < end; ++r) run(r % a.channels, r * a.inner, a.inner);
                    });
  }
}

}  // namespace

void fake_quantize(const FakeQuantizeArgs& args, const void* x, void* y, int threads) {
  apply(args, nullptr, x, y, threads);
}

void fake_quantize_gradient(const FakeQuantizeArgs& args, const void* dy, const void* x, void* dx, int threads) {
  apply(args, dy, x, dx, threads);
}

void extremes_with_zero(DType dtype, const void* x, int64_t n, float* low, float* high, int threads) {
  const FakeQuantizeTable& t = LOWP_SELECT_TABLE(fake_quantize_table);
  constexpr int kPieces = 64;
  float lows[kPieces], highs[kPieces];
  const int64_t size = std::max<int64_t>((n + kPieces - 1) / kPieces, kGrainElements);
  const int64_t pieces = (n + size - 1) / size, bytes = dtype_bits(dtype) / 8;
  parallel_for(threads, pieces, [&](int64_t i) {
    t.extremes(dtype, static_cast<const char*>(x) + i * size * bytes, std::min(size, n - i * size), lows + i,
               highs + i);
  });
  *low = 0;
  *high = 0;
  for (int64_t i = 0; i < pieces; ++i) {
    *low = std::min(*low, lows[i]);
    *high = std::max(*high, highs[i]);
  }
}

void channel_extremes_with_zero(DType dtype, const void* x, int64_t rows, int64_t channels, float* low, float* high,
                                int threads) {
  const FakeQuantizeTable& t = LOWP_SELECT_TABLE(fake_quantize_table);
  const int64_t bytes = dtype_bits(dtype) / 8;
  std::fill_n(low, channels, 0.0F);
  std::fill_n(high, channels, 0.0F);
  parallel_ranges(threads, channels, kGrainElements / std::max<int64_t>(rows, 1), 64, [&](int64_t begin, int64_t end) {
    t.channel_extremes(dtype, static_cast<const char*>(x) + begin * bytes, rows, channels, end - begin, low + begin,
                       high + begin);
  });
}

}  // namespace lowp::kernels
