#include "kernels/gather/scatter.h"

#include <map>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/float16.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

template <typename T, typename Index>
void check(DType dtype, DType index_dtype, int64_t outer, int64_t limit, int64_t count, int64_t n) {
  SCOPED_TRACE(std::to_string(limit) + " rows of " + std::to_string(n) + ", " + std::to_string(count) + " indices");
  test::Random random;
  GuardedBuffer<T> dy(outer * count * n);
  for (T& v : dy) v = T(random.uniform(-1, 1));
  GuardedBuffer<Index> indices = random.integers<Index>(count, -limit, limit - 1);
  for (size_t i = 0; i < indices.size(); i += 3) indices[i] = static_cast<Index>(limit / 2);  // a popular row
  std::map<int64_t, std::vector<int64_t>> positions;
  for (int64_t k = 0; k < count; ++k) {
    const int64_t index = indices[static_cast<size_t>(k)];
    positions[index < 0 ? index + limit : index].push_back(k);
  }
  auto sum = [&](int64_t o, const std::vector<int64_t>& at, int64_t i) {
    float s = 0;
    for (int64_t k : at) s = s + static_cast<float>(dy[static_cast<size_t>((o * count + k) * n + i)]);
    return static_cast<float>(T(s));
  };
  const ScatterArgs a{outer, limit, count, n, dtype, dy.data(), indices.data(), index_dtype};
  auto scratch = AlignedBuffer::allocate(scatter_scratch(a));
  ASSERT_TRUE(scratch.has_value());
  test::for_each_target([&](int threads) {
    GuardedBuffer<T> y(outer * limit * n);
    for (T& v : y) v = T(7.0f);
    scatter_add(a, y.data(), scratch->data(), threads);
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t r = 0; r < limit; ++r) {
        const auto it = positions.find(r);
        for (int64_t i = 0; i < n; ++i) {
          ASSERT_EQ(static_cast<float>(y[static_cast<size_t>((o * limit + r) * n + i)]),
                    it == positions.end() ? 0.0f : sum(o, it->second, i))
              << "row " << r;
        }
      }
    }
    if (outer != 1) return;
    GuardedBuffer<T> values(count * n);
    GuardedBuffer<int64_t> rows(count), found(1);
    for (T& v : values) v = T(7.0f);
    sparse_rows(a, rows.data(), values.data(), found.data(), scratch->data(), threads);
    ASSERT_EQ(found[0], static_cast<int64_t>(positions.size()));
    auto it = positions.begin();
    for (int64_t r = 0; r < count; ++r) {
      const bool there = r < found[0];
      ASSERT_EQ(rows[static_cast<size_t>(r)], there ? it->first : -1);
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(static_cast<float>(values[static_cast<size_t>(r * n + i)]), there ? sum(0, it->second, i) : 0.0f);
      if (there) ++it;
    }
  });
}

TEST(Scatter, AddsRowsInOrderOfPosition) {
  check<float, int64_t>(DType::kF32, DType::kI64, 1, 5, 40, 1);
  check<float, int32_t>(DType::kF32, DType::kI32, 1, 3000, 700, 37);
  check<float, int64_t>(DType::kF32, DType::kI64, 3, 9, 20, 16);
  check<float, int64_t>(DType::kF32, DType::kI64, 1, 1, 3, 5);
  check<BFloat16, int64_t>(DType::kBF16, DType::kI64, 1, 50, 60, 33);
  check<Float16, int32_t>(DType::kF16, DType::kI32, 2, 6, 30, 8);
}

}  // namespace
}  // namespace lowp::kernels
