#include "kernels/gather/scatter.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/status.h"
#include "kernels/gather/table.h"
#include "kernels/select.h"

LOWP_DECLARE_TABLES(ScatterTable, scatter_table)

namespace lowp::kernels {
namespace {

// Index in the high, position in the low half.
using Entry = uint64_t;
int64_t row_of(Entry e) { return static_cast<int64_t>(e >> 32); }

// Digits of the radix sort: counters of 8 KB stay in L1.
constexpr int kDigitBits = 11;
constexpr size_t kDigits = size_t{1} << kDigitBits;

// Sorts positions by index, those of one index in order: passes over the digits that indices below `limit` have, so
// that the time depends on their number, not on the table's size. Returns where the result is, `a` or `b`.
Entry* sort_positions(const ScatterArgs& s, Entry* a, Entry* b) {
  for (int64_t i = 0; i < s.count; ++i) {
    int64_t index = s.index_dtype == DType::kI32 ? static_cast<const int32_t*>(s.indices)[i]
                                                 : static_cast<const int64_t*>(s.indices)[i];
    if (index < 0) index += s.limit;
    a[i] = static_cast<Entry>(index) << 32 | static_cast<Entry>(i);
  }
  const int bits = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(s.limit - 1, 1)));
  uint32_t begin[kDigits];
  for (int shift = 32; shift < 32 + bits; shift += kDigitBits) {
    std::memset(begin, 0, sizeof(begin));
    auto digit = [&](Entry e) { return (e >> shift) & (kDigits - 1); };
    for (int64_t i = 0; i < s.count; ++i) ++begin[digit(a[i])];
    uint32_t sum = 0;
    for (uint32_t& d : begin) {
      const uint32_t own = d;
      d = sum;
      sum += own;
    }
    for (int64_t i = 0; i < s.count; ++i) b[begin[digit(a[i])]++] = a[i];
    std::swap(a, b);
  }
  return a;
}

size_t entries_bytes(const ScatterArgs& s) {
  return ((static_cast<size_t>(s.count) + 1) * sizeof(Entry) + 63) & ~size_t{63};
}
Entry* sorted(const ScatterArgs& s, void* scratch) {
  LOWP_CHECK(s.count < (int64_t{1} << 31) && s.limit < (int64_t{1} << 31));
  auto* first = static_cast<Entry*>(scratch);
  return sort_positions(s, first, first + entries_bytes(s) / sizeof(Entry));
}
size_t row_bytes(const ScatterArgs& s) { return dtype_bytes(s.dtype, static_cast<size_t>(s.n)); }

// Rows of a table that are a task: some of them may be popular, so there are more tasks than threads.
int64_t rows_of_task(int64_t n) { return std::max<int64_t>(kGrainElements / std::max<int64_t>(n, 1), 1); }

}  // namespace

size_t scatter_scratch(const ScatterArgs& args) { return 3 * entries_bytes(args); }

void scatter_add(const ScatterArgs& s, void* y, void* scratch, int threads) {
  const size_t bytes = row_bytes(s);
  if (bytes == 0 || s.limit == 0) return;
  const ScatterTable& table = LOWP_SELECT_TABLE(scatter_table);
  const Entry* entries = sorted(s, scratch);
  const int64_t rows = rows_of_task(s.n), tasks = (s.limit + rows - 1) / rows;
  parallel_shares(threads, s.outer * tasks, [&](int64_t, int64_t task) {
    const int64_t o = task / tasks, begin = task % tasks * rows, end = std::min(begin + rows, s.limit);
    const char* dy = static_cast<const char*>(s.dy) + static_cast<size_t>(o * s.count) * bytes;
    char* out = static_cast<char*>(y) + static_cast<size_t>(o * s.limit) * bytes;
    const Entry* e = std::lower_bound(entries, entries + s.count, static_cast<Entry>(begin) << 32);
    for (int64_t r = begin; r < end;) {
      // Rows without an index up to the next one that has some.
      const int64_t next = e == entries + s.count ? end : std::min(row_of(*e), end);
      if (next > r) std::memset(out + static_cast<size_t>(r) * bytes, 0, static_cast<size_t>(next - r) * bytes);
      r = next;
      if (r == end) break;
      const Entry* last = e;
      while (last < entries + s.count && row_of(*last) == r) ++last;
      table.add_rows(s.dtype, dy, e, last - e, out + static_cast<size_t>(r) * bytes, s.n);
      e = last;
      ++r;
    }
  });
}

void sparse_rows(const ScatterArgs& s, int64_t* rows, void* values, int64_t* count_out, void* scratch, int threads) {
  LOWP_CHECK(s.outer == 1);
  const ScatterTable& table = LOWP_SELECT_TABLE(scatter_table);
  const Entry* entries = sorted(s, scratch);
  // First entry of each row that occurs.
  auto* starts = reinterpret_cast<int64_t*>(static_cast<char*>(scratch) + 2 * entries_bytes(s));
  int64_t found = 0;
  for (int64_t i = 0; i < s.count; ++i) {
    if (i > 0 && row_of(entries[i]) == row_of(entries[i - 1])) continue;
    rows[found] = row_of(entries[i]);
    starts[found++] = i;
  }
  starts[found] = s.count;
  *count_out = found;
  for (int64_t i = found; i < s.count; ++i) rows[i] = -1;
  const size_t bytes = row_bytes(s);
  if (bytes == 0) return;
  const int64_t each = rows_of_task(s.n), tasks = (s.count + each - 1) / each;
  parallel_shares(threads, tasks, [&](int64_t, int64_t task) {
    const int64_t begin = task * each, end = std::min(begin + each, s.count);
    for (int64_t i = begin; i < std::min(end, found); ++i) {
      table.add_rows(s.dtype, s.dy, entries + starts[i], starts[i + 1] - starts[i],
                     static_cast<char*>(values) + static_cast<size_t>(i) * bytes, s.n);
    }
    const int64_t empty = std::max(begin, found);
    if (empty < end)
      std::memset(static_cast<char*>(values) + static_cast<size_t>(empty) * bytes, 0,
                  static_cast<size_t>(end - empty) * bytes);
  });
}

}  // namespace lowp::kernels
