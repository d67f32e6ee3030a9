#include "kernels/reduce/reduce.h"

#include "kernels/reduce/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ReduceTable, reduce_table)

namespace lowp::kernels {

void reduce_f32(Reduce op, const float* x, float* y, int64_t outer, int64_t n, int64_t inner, int threads) {
  const ReduceTable& table = LOWP_SELECT_TABLE(reduce_table);
  int64_t per_result = std::max<int64_t>(n, 1);
  if (inner == 1) {
    parallel_ranges(threads, outer, kGrainElements / per_result, 16,
                    [&](int64_t begin, int64_t end) { table.rows(op, x + begin * n, y + begin, end - begin, n); });
    return;
  }
  parallel_ranges(threads, outer * inner, kGrainElements / per_result, 64, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      int64_t o = begin / inner, first = begin % inner;
      int64_t last = std::min(inner, first + (end - begin));
      table.columns(op, x + o * n * inner, y + o * inner, n, inner, first, last);
      begin += last - first;
    }
  });
}

void arg_reduce_f32(bool greatest, bool last, const float* x, int64_t* y, int64_t outer, int64_t n, int64_t inner,
                    int threads) {
  // Whether v replaces the best so far. A NaN is the extreme.
  auto better = [&](float v, float best) {
    if (best != best) return last && v != v;
    if (v != v) return true;
    return (greatest ? v > best : v < best) || (last && v == best);
  };
  parallel_ranges(threads, outer * inner, kGrainElements / std::max<int64_t>(n, 1), 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* p = x + r / inner * n * inner + r % inner;
      int64_t best = 0;
      for (int64_t i = 1; i < n; ++i) {
        if (better(p[i * inner], p[best * inner])) best = i;
      }
      y[r] = best;
    }
  });
}

}  // namespace lowp::kernels
