#include "kernels/quantize/quantize.h"

#include "kernels/quantize/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(QuantizeTable, quantize_table)

namespace lowp::kernels {
namespace {

const QuantizeTable& table() { return LOWP_SELECT_TABLE(quantize_table); }

// Splits [outer, channels, inner] into runs of one channel, or where inner is 1 into rows with a channel an element.
// run(channel, offset, n) and each(offset), offset in elements.
template <typename Run, typename Each>
void for_runs(const QuantizeArgs& a, int threads, Run&& run, Each&& each) {
  if (a.channels == 1) {
    parallel_ranges(threads, a.outer * a.inner, kGrainElements, 64,
                    [&](int64_t begin, int64_t end) { run(0, begin, end - begin); });
  } else if (a.inner == 1) {
    parallel_ranges(threads, a.outer, kGrainElements / a.channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) each(o * a.channels);
    });
  } else {
    parallel_ranges(threads, a.outer * a.channels, kGrainElements / std::max<int64_t>(a.inner, 1), 1,
                    [&](int64_t begin, int64_t end) {
                      for (int64_t r = begin; r < end; ++r) run(r % a.channels, r * a.inner, a.inner);
                    });
  }
}

int32_t zero_of(const QuantizeArgs& a, int64_t channel) { return a.zero_point ? a.zero_point[channel] : 0; }

}  // namespace

void quantize_f32(const QuantizeArgs& a, const float* x, void* y, int threads) {
  const QuantizeTable& t = table();
  bool is_signed = a.dtype == DType::kI8;
  auto* out = static_cast<uint8_t*>(y);
  for_runs(
      a, threads,
      [&](int64_t c, int64_t i, int64_t n) {
        t.quantize_run(is_signed, a.scale[c], zero_of(a, c), a.range, x + i, out + i, n);
      },
      [&](int64_t i) { t.quantize_each(is_signed, a.scale, a.zero_point, a.range, x + i, out + i, a.channels); });
}

void dequantize_f32(const QuantizeArgs& a, const void* x, float* y, int threads) {
  const QuantizeTable& t = table();
  bool is_signed = a.dtype == DType::kI8;
  auto* in = static_cast<const uint8_t*>(x);
  for_runs(
      a, threads,
      [&](int64_t c, int64_t i, int64_t n) {
        t.dequantize_run(is_signed, a.scale[c], zero_of(a, c), in + i, y + i, n);
      },
      [&](int64_t i) { t.dequantize_each(is_signed, a.scale, a.zero_point, in + i, y + i, a.channels); });
}

void dequantize_s32(const QuantizeArgs& a, const int32_t* x, float* y, int threads) {
  const QuantizeTable& t = table();
  for_runs(
      a, threads,
      [&](int64_t c, int64_t i, int64_t n) { t.dequantize_run_s32(a.scale[c], zero_of(a, c), x + i, y + i, n); },
      [&](int64_t i) { t.dequantize_each_s32(a.scale, a.zero_point, x + i, y + i, a.channels); });
}

#define LOWP_CAST(name, from, to)                                                                    \
  void name(const from* x, to* y, int64_t n, int threads) {                                          \
    const QuantizeTable& t = table();                                                                \
    parallel_ranges(threads, n, kGrainElements, 64,                                                  \
                    [&](int64_t begin, int64_t end) { t.name(x + begin, y + begin, end - begin); }); \
  }
LOWP_CAST(f32_to_bf16, float, uint16_t)
LOWP_CAST(bf16_to_f32, uint16_t, float)
LOWP_CAST(f32_to_f16, float, uint16_t)
LOWP_CAST(f16_to_f32, uint16_t, float)
#undef LOWP_CAST

void min_max_f32(const float* x, int64_t n, float* lo, float* hi, int threads) {
  const QuantizeTable& t = table();
  constexpr int kPieces = 64;
  int64_t size = std::max<int64_t>((n + kPieces - 1) / kPieces, kGrainElements);
  int64_t pieces = (n + size - 1) / size;
  float los[kPieces], his[kPieces];
  parallel_for(threads, pieces,
               [&](int64_t i) { t.min_max(x + i * size, std::min(size, n - i * size), los + i, his + i); });
  *lo = __builtin_inff();
  *hi = -__builtin_inff();
  for (int64_t i = 0; i < pieces; ++i) {
    *lo = std::min(*lo, los[i]);
    *hi = std::max(*hi, his[i]);
  }
}

}  // namespace lowp::kernels
