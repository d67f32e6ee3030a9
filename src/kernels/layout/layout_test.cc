#include "kernels/layout/layout.h"

#include <vector>

#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

// Elements are compared as numbered bytes, so that a misplaced one shows.
void check_copy(const StridedCopy& c, size_t bytes, int64_t x_elements, int64_t y_elements) {
  auto b = static_cast<int64_t>(bytes);
  test::Random random;
  auto x = random.integers<uint8_t>(x_elements * b, 0, 255);
  GuardedBuffer<uint8_t> expected(y_elements * b);
  int64_t count = 1;
  for (int i = 0; i < c.rank; ++i) count *= c.dims[i];
  for (int64_t r = 0; r < count; ++r) {
    int64_t rest = r, ix = 0, iy = 0;
    for (int i = c.rank - 1; i >= 0; --i) {
      ix += rest % c.dims[i] * c.x_strides[i];
      iy += rest % c.dims[i] * c.y_strides[i];
      rest /= c.dims[i];
    }
    for (int64_t k = 0; k < b; ++k) expected[static_cast<size_t>(iy * b + k)] = x[static_cast<size_t>(ix * b + k)];
  }
  for (int threads : {1, 2}) {
    GuardedBuffer<uint8_t> y(y_elements * b);
    strided_copy(c, bytes, x.data(), y.data(), threads);
    test::expect_same(y, expected);
  }
}

TEST(Layout, Transpose) {
  struct Case {
    std::vector<int64_t> shape;
    std::vector<int> perm;
  };
  const std::vector<Case> cases = {{{37, 53}, {1, 0}},
                                   {{2, 19, 7, 9}, {0, 2, 3, 1}},
                                   {{2, 7, 9, 19}, {0, 3, 1, 2}},
                                   {{2, 5, 3, 24}, {0, 2, 1, 3}},
                                   {{3, 1, 40}, {2, 1, 0}},
                                   {{2, 3, 4, 5, 6}, {4, 2, 0, 3, 1}},
                                   {{130, 70}, {1, 0}},
                                   {{8}, {0}},
                                   {{}, {}},
                                   {{3, 0, 2}, {2, 1, 0}},
                                   {{64, 32, 3}, {2, 0, 1}},
                                   {{2, 3, 67, 71}, {0, 2, 3, 1}},  // planes to pixels
                                   {{1, 2, 9, 11}, {0, 2, 3, 1}},
                                   {{2, 4, 5, 7}, {0, 2, 3, 1}}};
  for (size_t bytes : {1, 2, 4, 8}) {
    for (const Case& c : cases) {
      int rank = static_cast<int>(c.shape.size());
      int64_t n = 1;
      for (int64_t d : c.shape) n *= d;
      test::Random random;
      auto x = random.integers<uint8_t>(n * static_cast<int64_t>(bytes), 0, 255);
      std::vector<int64_t> strides(c.shape.size());
      int64_t stride = 1;
      for (size_t i = c.shape.size(); i-- > 0;) strides[i] = stride, stride *= c.shape[i];
      GuardedBuffer<uint8_t> expected(n * static_cast<int64_t>(bytes));
      for (int64_t r = 0; r < n; ++r) {
        int64_t rest = r, from = 0;
        for (size_t i = c.shape.size(); i-- > 0;) {
          auto axis = static_cast<size_t>(c.perm[i]);
          from += rest % c.shape[axis] * strides[axis];
          rest /= c.shape[axis];
        }
        memcpy(expected.data() + static_cast<size_t>(r) * bytes, x.data() + static_cast<size_t>(from) * bytes, bytes);
      }
      test::for_each_target([&](int threads) {
        GuardedBuffer<uint8_t> y(n * static_cast<int64_t>(bytes));
        transpose(c.shape.data(), c.perm.data(), rank, bytes, x.data(), y.data(), threads);
        test::expect_same(y, expected);
      });
    }
  }
}

TEST(Layout, StridedCopies) {
  for (size_t bytes : {1, 4, 8}) {
    check_copy({2, {5, 7}, {20, 1}, {7, 1}}, bytes, 100, 35);  // a slice
    check_copy({2, {5, 7}, {7, 1}, {20, 1}}, bytes, 35, 100);  // into a part
    check_copy({2, {5, 7}, {0, 1}, {7, 1}}, bytes, 7, 35);     // expand
    check_copy({2, {5, 7}, {1, 0}, {7, 1}}, bytes, 5, 35);     // expand the inner one
    check_copy({2, {5, 7}, {14, 2}, {7, 1}}, bytes, 70, 35);   // every second
    check_copy({3, {4, 33, 40}, {1320, 1, 33}, {1320, 40, 1}}, bytes, 5280, 5280);
    check_copy({1, {0}, {1}, {1}}, bytes, 1, 1);
  }
}

TEST(Layout, FillsAndReverses) {
  for (int threads : {1, 2}) {
    GuardedBuffer<float> y(100003), expected(100003);
    for (float& v : expected) v = 1.5f;
    float value = 1.5f;
    fill(&value, 4, y.data(), 100003, threads);
    test::expect_same(y, expected);
    GuardedBuffer<int64_t> x = {1, 2, 3, 4, 5}, r(5), reversed = {5, 4, 3, 2, 1};
    strided_copy({1, {5}, {-1}, {1}}, 8, x.data() + 4, r.data(), threads);
    test::expect_same(r, reversed);
  }
}

}  // namespace
}  // namespace lowp::kernels
