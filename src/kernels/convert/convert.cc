#include "kernels/convert/convert.h"

#include "kernels/convert/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ConvertTable, convert_table)

namespace lowp::kernels {

void expand_matrix(const ExpandMatrix& matrix) { LOWP_SELECT_TABLE(convert_table).expand(matrix); }

void pair_panel(const PairPanel& panel) { LOWP_SELECT_TABLE(convert_table).pair_panel(panel); }
void transpose_words(const TransposeWords& matrix) { LOWP_SELECT_TABLE(convert_table).transpose_words(matrix); }

void widen(DType from, const void* x, float* y, int64_t n) { LOWP_SELECT_TABLE(convert_table).widen(from, x, y, n); }
void narrow(DType to, const float* x, void* y, int64_t n) { LOWP_SELECT_TABLE(convert_table).narrow(to, x, y, n); }

void convert_stored(DType from, const void* x, DType to, void* y, int64_t n, int threads) {
  constexpr int64_t kBlock = 2048;  // floats between two 16-bit types: they stay in L1
  parallel_ranges(threads, n, kGrainElements, 64, [&](int64_t begin, int64_t end) {
    if (to == DType::kF32) return widen(from, stored_at(x, from, begin), static_cast<float*>(y) + begin, end - begin);
    if (from == DType::kF32)
      return narrow(to, static_cast<const float*>(x) + begin, stored_at(y, to, begin), end - begin);
    alignas(64) float wide[kBlock];
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t count = std::min(kBlock, end - i);
      widen(from, stored_at(x, from, i), wide, count);
      narrow(to, wide, stored_at(y, to, i), count);
    }
  });
}

}  // namespace lowp::kernels
