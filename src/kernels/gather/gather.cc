#include "kernels/gather/gather.h"

#include <cstring>

#include "kernels/quantize/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(QuantizeTable, quantize_table)

namespace lowp::kernels {
namespace {

int64_t index_at(const void* indices, DType dtype, int64_t i) {
  return dtype == DType::kI32 ? static_cast<const int32_t*>(indices)[i] : static_cast<const int64_t*>(indices)[i];
}
// Negative indices count from the end.
int64_t row_at(const void* indices, DType dtype, int64_t i, int64_t limit) {
  int64_t index = index_at(indices, dtype, i);
  return index < 0 ? index + limit : index;
}

// Rows of a table lie anywhere in memory and are asked for so many ahead: NCF's 1,024 pairs took twice as long without.
constexpr int64_t kAhead = 12;
constexpr int64_t kMaxPrefetched = 1024;  // longer rows are found by the hardware
void prefetch_row(const void* x, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(x) + i);
}

// Rows shorter than this are copied by size, without a call.
template <typename T>
void copy_small(const GatherArgs& a, const uint8_t* x, uint8_t* y, int64_t step, int64_t begin, int64_t end) {
  for (int64_t k = begin; k < end; ++k) {
    memcpy(y + k * step, x + row_at(a.indices, a.index_dtype, k, a.limit) * sizeof(T), sizeof(T));
  }
}

}  // namespace

int64_t find_bad_index(const void* indices, DType dtype, int64_t count, int64_t limit) {
  for (int64_t i = 0; i < count; ++i) {
    int64_t index = index_at(indices, dtype, i);
    if (index < -limit || index >= limit) return i;
  }
  return -1;
}

void gather(const GatherArgs& a, int threads) {
  if (a.row_bytes == 0) return;
  const int64_t step = a.y_step != 0 ? a.y_step : a.row_bytes;
  for (int64_t o = 0; o < a.outer; ++o) {
    const uint8_t* x = static_cast<const uint8_t*>(a.x) + o * a.limit * a.row_bytes;
    uint8_t* y = static_cast<uint8_t*>(a.y) + o * a.count * step;
    parallel_ranges(threads, a.count, 4 * kGrainElements / a.row_bytes, 64, [&](int64_t begin, int64_t end) {
      switch (a.row_bytes) {
        case 1: return copy_small<uint8_t>(a, x, y, step, begin, end);
        case 4: return copy_small<uint32_t>(a, x, y, step, begin, end);
        case 8: return copy_small<uint64_t>(a, x, y, step, begin, end);
        default: break;
      }
      auto row_of = [&](int64_t k) { return x + row_at(a.indices, a.index_dtype, k, a.limit) * a.row_bytes; };
      const bool few_lines = a.row_bytes <= kMaxPrefetched;
      for (int64_t k = begin; k < end; ++k) {
        const uint8_t* row = row_of(k);
        if (few_lines && k + kAhead < end) prefetch_row(row_of(k + kAhead), a.row_bytes);
        memcpy(y + k * step, row, static_cast<size_t>(a.row_bytes));
      }
    });
  }
}

void gather_s8(const GatherS8Args& a, int threads) {
  if (a.n == 0) return;
  const QuantizeTable& table = LOWP_SELECT_TABLE(quantize_table);
  const bool is_signed = a.y_dtype == DType::kI8;
  const int64_t ld = a.y_ld != 0 ? a.y_ld : a.n;
  parallel_ranges(threads, a.count, kGrainElements / a.n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t row = row_at(a.indices, a.index_dtype, k, a.limit);
      if (a.n <= kMaxPrefetched && k + kAhead < end) {
        const int64_t ahead = row_at(a.indices, a.index_dtype, k + kAhead, a.limit);
        prefetch_row(a.x + ahead * a.n, a.n);
        __builtin_prefetch(a.scale + ahead);
      }
      const int8_t* x = a.x + row * a.n;
      if (a.y_dtype == DType::kF32) {
        table.dequantize_run(true, a.scale[row], 0, x, static_cast<float*>(a.y) + k * ld, a.n);
        continue;
      }
      // Through a piece of a row in L1.
      constexpr int64_t kPiece = 512;
      float values[kPiece];
      for (int64_t i = 0; i < a.n; i += kPiece) {
        const int64_t n = std::min(kPiece, a.n - i);
        table.dequantize_run(true, a.scale[row], 0, x + i, values, n);
        table.quantize_run(is_signed, a.y_scale, a.y_zero, a.y_range, values, static_cast<uint8_t*>(a.y) + k * ld + i,
                           n);
      }
    }
  });
}

}  // namespace lowp::kernels
