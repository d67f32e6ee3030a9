#include "kernels/norm/norm.h"

#include "kernels/norm/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(NormTable, norm_table)

namespace lowp::kernels {

void layer_norm_f32(const LayerNormArgs& args, int threads) {
  if (args.n == 0) return;
  const NormTable& table = LOWP_SELECT_TABLE(norm_table);
  parallel_ranges(threads, args.rows, kGrainElements / args.n, 1,
                  [&](int64_t begin, int64_t end) { table.layer_norm(args, begin, end); });
}

void layer_norm_stored(const LayerNormArgs& args, DType dtype, const void* x, void* y, int threads) {
  if (args.n == 0) return;
  const NormTable& table = LOWP_SELECT_TABLE(norm_table);
  parallel_ranges(threads, args.rows, kGrainElements / args.n, 1,
                  [&](int64_t begin, int64_t end) { table.layer_norm_stored(args, dtype, x, y, begin, end); });
}

void group_norm_f32(const GroupNormArgs& args, int threads) {
  int64_t n = args.channels / args.groups * args.inner;
  if (n == 0) return;
  const NormTable& table = LOWP_SELECT_TABLE(norm_table);
  parallel_ranges(threads, args.batch * args.groups, kGrainElements / n, 1,
                  [&](int64_t begin, int64_t end) { table.group_norm(args, begin, end); });
}

void l2_normalize_f32(const float* x, float* y, int64_t rows, int64_t n, float eps, int threads) {
  if (n == 0) return;
  const NormTable& table = LOWP_SELECT_TABLE(norm_table);
  parallel_ranges(threads, rows, kGrainElements / n, 1, [&](int64_t begin, int64_t end) {
    table.l2_normalize(x + begin * n, y + begin * n, end - begin, n, eps);
  });
}

}  // namespace lowp::kernels
