// Inside the rnn family: packing a matrix that changes from run to run, on several threads.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/convert/convert.h"
#include "kernels/gemm/driver.h"
#include "kernels/select.h"

namespace lowp::kernels {

// B [k, n] of f32, or [n, k] transposed; ld elements between rows.
struct ChangingMatrix {
  bool transposed;
  const float* src;
  int64_t ld;
  int64_t k, n;
};
// To panels (gemm/pack.h) of kF32 or, rounded, kBF16.
inline void pack_rows(WeightKind kind, const ChangingMatrix& b, char* dst, int threads) {
  const int64_t panels = ceil_div(b.n, kPanel), bytes = static_cast<int64_t>(packed_bytes(kind, b.k, kPanel));
  parallel_ranges(
      threads, panels, kGrainElements / std::max<int64_t>(b.k * kPanel, 1), 1, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
          const int64_t columns = std::min(kPanel, b.n - p * kPanel);
          const float* from = b.src + p * kPanel * (b.transposed ? b.ld : 1);
          char* panel = dst + p * bytes;
          if (kind == WeightKind::kBF16) {
            pair_panel({DType::kF32, b.transposed, from, b.ld, b.k, static_cast<int>(columns), panel});
            continue;
          }
          if (columns < kPanel) std::memset(panel, 0, static_cast<size_t>(bytes));
          expand_matrix({DType::kF32, b.transposed, from, b.ld, b.k, columns, reinterpret_cast<float*>(panel), kPanel});
        }
      });
}

}  // namespace lowp::kernels
