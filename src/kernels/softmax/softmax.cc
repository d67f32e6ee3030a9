#include "kernels/softmax/softmax.h"

#include "kernels/select.h"
#include "kernels/softmax/table.h"

LOWP_DECLARE_TABLES(SoftmaxTable, softmax_table)

namespace lowp::kernels {

void softmax_f32(const SoftmaxArgs& args, int threads) {
  if (args.n == 0) return;
  const SoftmaxTable& table = LOWP_SELECT_TABLE(softmax_table);
  // An exp costs about four times a copy.
  parallel_ranges(threads, args.rows, kGrainElements / (4 * args.n), 1,
                  [&](int64_t begin, int64_t end) { table.rows(args, begin, end); });
}

void softmax_stored(DType dtype, bool log, const void* x, void* y, int64_t rows, int64_t n, int threads) {
  if (n == 0) return;
  const SoftmaxTable& table = LOWP_SELECT_TABLE(softmax_table);
  const int64_t row = n * dtype_bits(dtype) / 8;
  parallel_ranges(threads, rows, kGrainElements / (4 * n), 1, [&](int64_t begin, int64_t end) {
    table.rows_stored(dtype, log, static_cast<const char*>(x) + begin * row, static_cast<char*>(y) + begin * row,
                      end - begin, n);
  });
}

}  // namespace lowp::kernels
