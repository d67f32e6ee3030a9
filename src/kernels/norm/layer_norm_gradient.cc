#include "kernels/norm/layer_norm_gradient.h"

#include "kernels/norm/layer_norm_gradient_table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(LayerNormGradientTable, layer_norm_gradient_table)

namespace lowp::kernels {

void layer_norm_gradient(const LayerNormGradientArgs& a, int threads) {
  if (a.n == 0) return;
  const LayerNormGradientTable& t = LOWP_SELECT_TABLE(layer_norm_gradient_table);
  if (a.dx != nullptr) {
    parallel_ranges(threads, a.rows, kGrainElements / a.n, 1,
                    [&](int64_t begin, int64_t end) { t.rows(a, begin, end); });
  }
  if (a.dgamma != nullptr || a.dbeta != nullptr) {
    // Whole lines of every row.
    parallel_ranges(threads, a.n, kGrainElements / std::max<int64_t>(a.rows, 1), 64,
                    [&](int64_t begin, int64_t end) { t.columns(a, begin, end); });
  }
}

}  // namespace lowp::kernels
