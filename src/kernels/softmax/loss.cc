#include "kernels/softmax/loss.h"

#include "kernels/select.h"
#include "kernels/softmax/loss_table.h"

LOWP_DECLARE_TABLES(LossTable, loss_table)

namespace lowp::kernels {
namespace {

const LossTable& table() { return LOWP_SELECT_TABLE(loss_table); }
// An exp costs about four times a copy.
int64_t rows_grain(int64_t n) { return kGrainElements / (4 * n); }
const void* at(const void* p, DType dtype, int64_t i) {
  return static_cast<const char*>(p) + i * dtype_bits(dtype) / 8;
}
void* at(void* p, DType dtype, int64_t i) { return static_cast<char*>(p) + i * dtype_bits(dtype) / 8; }

}  // namespace

void softmax_gradient(const SoftmaxGradientArgs& a, int threads) {
  if (a.n == 0) return;
  const LossTable& t = table();
  parallel_ranges(threads, a.rows, (a.log ? kGrainElements / 4 : kGrainElements) / a.n, 1,
                  [&](int64_t begin, int64_t end) { t.softmax_gradient(a, begin, end); });
}

void cross_entropy(const CrossEntropyArgs& a, int threads) {
  if (a.classes == 0) return;
  const LossTable& t = table();
  parallel_ranges(threads, a.rows, rows_grain(a.classes), 1,
                  [&](int64_t begin, int64_t end) { t.cross_entropy(a, begin, end); });
}

void cross_entropy_gradient(const CrossEntropyGradientArgs& a, int threads) {
  if (a.classes == 0) return;
  const LossTable& t = table();
  parallel_ranges(threads, a.rows, rows_grain(a.classes), 1,
                  [&](int64_t begin, int64_t end) { t.cross_entropy_gradient(a, begin, end); });
}

void sigmoid_cross_entropy(DType dtype, const void* x, const void* t, float* loss, int64_t n, int threads) {
  const LossTable& k = table();
  parallel_ranges(threads, n, kGrainElements / 4, 64, [&](int64_t begin, int64_t end) {
    k.sigmoid_cross_entropy(dtype, at(x, dtype, begin), at(t, dtype, begin), loss + begin, end - begin);
  });
}

void sigmoid_cross_entropy_gradient(DType dtype, const void* x, const void* t, const float* scale, bool one_scale,
                                    void* dx, int64_t n, int threads) {
  const LossTable& k = table();
  parallel_ranges(threads, n, kGrainElements / 4, 64, [&](int64_t begin, int64_t end) {
    k.sigmoid_cross_entropy_gradient(dtype, at(x, dtype, begin), at(t, dtype, begin), one_scale ? scale : scale + begin,
                                     one_scale, at(dx, dtype, begin), end - begin);
  });
}

}  // namespace lowp::kernels
