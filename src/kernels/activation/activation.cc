#include "kernels/activation/activation.h"

#include "kernels/activation/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ActivationTable, activation_table)

namespace lowp::kernels {

void activation_gradient(ActivationGradient op, DType dtype, const void* dy, const void* v, void* dx, int64_t n,
                         int threads) {
  const ActivationTable& t = LOWP_SELECT_TABLE(activation_table);
  const int64_t size = dtype_bits(dtype) / 8;
  parallel_ranges(threads, n, kGrainElements, 64, [&](int64_t begin, int64_t end) {
    t.gradient(op, dtype, static_cast<const char*>(dy) + begin * size, static_cast<const char*>(v) + begin * size,
               static_cast<char*>(dx) + begin * size, end - begin);
  });
}

}  // namespace lowp::kernels
