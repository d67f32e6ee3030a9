#include "kernels/optimizer/optimizer.h"

#include <cmath>

#include "kernels/optimizer/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(OptimizerTable, optimizer_table)

namespace lowp::kernels {

void sgd_step(const SgdArgs& args, const float* w, const float* g, const float* v, float* w_out, float* v_out,
              int64_t n, int threads) {
  const OptimizerTable& table = LOWP_SELECT_TABLE(optimizer_table);
  parallel_ranges(threads, n, kGrainElements, 16, [&](int64_t begin, int64_t end) {
    table.sgd(args, w + begin, g + begin, v == nullptr ? nullptr : v + begin, w_out + begin,
              v == nullptr ? nullptr : v_out + begin, end - begin);
  });
}

void sgd_rows(const SgdArgs& args, float* w, const float* g, float* v, const int64_t* rows, int64_t count, int64_t n,
              int threads) {
  const OptimizerTable& table = LOWP_SELECT_TABLE(optimizer_table);
  parallel_ranges(threads, count, kGrainElements / std::max<int64_t>(n, 1), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* row = w + rows[i] * n;
      float* velocity = v == nullptr ? nullptr : v + rows[i] * n;
      table.sgd(args, row, g + i * n, velocity, row, velocity, n);
    }
  });
}

void adam_rows(const AdamArgs& args, float* w, const float* g, float* m, float* v, const int64_t* rows, int64_t count,
               int64_t n, int threads) {
  const OptimizerTable& table = LOWP_SELECT_TABLE(optimizer_table);
  parallel_ranges(threads, count, kGrainElements / std::max<int64_t>(n, 1), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = rows[i] * n;
      table.adam(args, w + at, g + i * n, m + at, v + at, w + at, m + at, v + at, n);
    }
  });
}

int64_t adam_scratch(AdamRule rule, int64_t n) {
  if (rule != AdamRule::kLamb) return 0;
  return n * static_cast<int64_t>(sizeof(float)) + (sum_blocks(n) + 8) * static_cast<int64_t>(sizeof(double));
}

void adam_step(const AdamArgs& args, const float* w, const float* g, const float* m, const float* v, float* w_out,
               float* m_out, float* v_out, int64_t n, void* scratch, int threads) {
  const OptimizerTable& table = LOWP_SELECT_TABLE(optimizer_table);
  const bool lamb = args.rule == AdamRule::kLamb;
  auto* blocks = static_cast<double*>(scratch);
  auto* u = lamb ? reinterpret_cast<float*>(blocks + sum_blocks(n)) : w_out;
  parallel_ranges(threads, n, kGrainElements, 16, [&](int64_t begin, int64_t end) {
    table.adam(args, w + begin, g + begin, m + begin, v + begin, u + begin, m_out + begin, v_out + begin, end - begin);
  });
  if (!lamb) return;
  const double weights = square_sum(w, 1.0f, n, blocks, threads).sum;
  const double updates = square_sum(u, 1.0f, n, blocks, threads).sum;
  const double ratio = weights > 0 && updates > 0 ? std::sqrt(weights) / std::sqrt(updates) : 1.0;
  const auto rate = static_cast<float>(static_cast<double>(args.learning_rate) * ratio);
  parallel_ranges(threads, n, kGrainElements, 16, [&](int64_t begin, int64_t end) {
    table.descend(rate, w + begin, u + begin, w_out + begin, end - begin);
  });
}

SquareSum square_sum(const float* x, float scale, int64_t n, double* blocks, int threads) {
  const OptimizerTable& table = LOWP_SELECT_TABLE(optimizer_table);
  const int64_t count = sum_blocks(n);
  parallel_ranges(threads, count, kGrainElements / kSumBlock, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      blocks[b] = table.square_sum(x + b * kSumBlock, scale, std::min(kSumBlock, n - b * kSumBlock));
  });
  SquareSum result;
  for (int64_t b = 0; b < count; ++b) {
    result.finite = result.finite && blocks[b] == blocks[b];
    result.sum += blocks[b];
  }
  return result;
}

}  // namespace lowp::kernels
