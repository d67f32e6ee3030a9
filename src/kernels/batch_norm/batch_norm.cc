#include "kernels/batch_norm/batch_norm.h"

#include "base/status.h"
#include "kernels/batch_norm/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(BatchNormTable, batch_norm_table)

namespace lowp::kernels {
namespace {

// Channels of a task that sums over a block: with 256 rows 64 KB, which the second pass over them finds in L2.
constexpr int64_t kTaskChannels = 64;

int64_t blocks_of(int64_t rows) { return (rows + kBatchNormBlock - 1) / kBatchNormBlock; }

BlockSums sums_in(void* scratch, int64_t rows, int64_t channels) {
  float* first = static_cast<float*>(scratch);
  return {first, first + blocks_of(rows) * channels};
}

// body(begin, end, c0, c1, sums) for each block of rows and each few channels.
template <typename Body>
void for_blocks(int64_t rows, int64_t channels, BlockSums sums, int threads, Body&& body) {
  const int64_t pieces = (channels + kTaskChannels - 1) / kTaskChannels;
  parallel_shares(threads, blocks_of(rows) * pieces, [&](int64_t, int64_t i) {
    const int64_t block = i / pieces, begin = block * kBatchNormBlock, c0 = i % pieces * kTaskChannels;
    body(begin, std::min(rows, begin + kBatchNormBlock), c0, std::min(channels, c0 + kTaskChannels),
         BlockSums{sums.first + block * channels, sums.second + block * channels});
  });
}

template <typename Body>
void for_rows(int64_t rows, int64_t channels, int threads, Body&& body) {
  parallel_ranges(threads, rows, kGrainElements / channels + 1, 1, body);
}

}  // namespace

size_t batch_norm_scratch(int64_t rows, int64_t channels) {
  return 2 * static_cast<size_t>(blocks_of(rows) * channels) * sizeof(float);
}

void batch_norm(const BatchNormArgs& a, void* scratch, int threads) {
  if (a.rows == 0 || a.channels == 0) return;
  const BatchNormTable& table = LOWP_SELECT_TABLE(batch_norm_table);
  const BlockSums sums = sums_in(scratch, a.rows, a.channels);
  for_blocks(a.rows, a.channels, sums, threads,
             [&](int64_t begin, int64_t end, int64_t c0, int64_t c1, BlockSums block) {
               table.moments(a, begin, end, c0, c1, block);
             });
  parallel_ranges(threads, a.channels, kTaskChannels, kTaskChannels,
                  [&](int64_t c0, int64_t c1) { table.join(a, blocks_of(a.rows), sums, c0, c1); });
  normalize_channels(a, threads);
}

void normalize_channels(const BatchNormArgs& a, int threads) {
  if (a.channels == 0) return;
  const BatchNormTable& table = LOWP_SELECT_TABLE(batch_norm_table);
  for_rows(a.rows, a.channels, threads, [&](int64_t begin, int64_t end) { table.normalize(a, begin, end); });
}

void inverse_std(const float* variance, float eps, int64_t channels, float* inv_std) {
  LOWP_SELECT_TABLE(batch_norm_table).inverse_std(variance, eps, channels, inv_std);
}

void batch_norm_gradient(const BatchNormGradientArgs& a, void* scratch, int threads) {
  LOWP_CHECK(!a.relu || a.y != nullptr || a.bias != nullptr);
  if (a.rows == 0) {
    std::fill_n(a.dscale, a.channels, 0.0f);
    std::fill_n(a.dbias, a.channels, 0.0f);
    return;
  }
  if (a.channels == 0) return;
  const BatchNormTable& table = LOWP_SELECT_TABLE(batch_norm_table);
  const BlockSums sums = sums_in(scratch, a.rows, a.channels);
  for_blocks(a.rows, a.channels, sums, threads,
             [&](int64_t begin, int64_t end, int64_t c0, int64_t c1, BlockSums block) {
               table.gradient_sums(a, begin, end, c0, c1, block);
             });
  parallel_ranges(threads, a.channels, kTaskChannels, kTaskChannels,
                  [&](int64_t c0, int64_t c1) { table.add(a, blocks_of(a.rows), sums, c0, c1); });
  if (a.dx == nullptr) return;
  for_rows(a.rows, a.channels, threads, [&](int64_t begin, int64_t end) { table.gradient(a, sums, begin, end); });
}

}  // namespace lowp::kernels
