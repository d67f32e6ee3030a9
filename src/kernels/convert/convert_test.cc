#include "kernels/convert/convert.h"

#include "base/float16.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

template <typename T>
void check(DType dtype) {
  test::Random random;
  for (const auto& shape : {std::pair<int64_t, int64_t>{1, 1}, {16, 16}, {17, 33}, {80, 16}, {5, 100}, {129, 47}}) {
    const int64_t rows = shape.first, cols = shape.second;
    for (bool transposed : {false, true}) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols) + (transposed ? " transposed" : ""));
      const int64_t width = transposed ? rows : cols, ld = width + 3, dst_ld = cols + (cols == 16 ? 0 : 2);
      const int64_t last = (transposed ? cols : rows) - 1;
      GuardedBuffer<T> src(last * ld + width);
      for (T& v : src) v = T(random.uniform(-9, 9));
      test::for_each_target([&](int) {
        GuardedBuffer<float> dst((rows - 1) * dst_ld + cols), want((rows - 1) * dst_ld + cols);
        for (float& v : dst) v = 7;
        for (float& v : want) v = 7;
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t c = 0; c < cols; ++c) {
            want[static_cast<size_t>(r * dst_ld + c)] =
                static_cast<float>(src[static_cast<size_t>(transposed ? c * ld + r : r * ld + c)]);
          }
        }
        expand_matrix({dtype, transposed, src.data(), ld, rows, cols, dst.data(), dst_ld});
        test::expect_same(dst, want);
      });
    }
  }
}

TEST(Convert, ExpandsAndTransposesExactly) {
  check<float>(DType::kF32);
  check<BFloat16>(DType::kBF16);
  check<Float16>(DType::kF16);
}

TEST(Convert, PairsAreThoseOfThePackedOrder) {
  test::Random random;
  for (const auto& shape : {std::pair<int64_t, int>{1, 1}, {2, 16}, {33, 16}, {64, 16}, {31, 5}, {100, 15}}) {
    const int64_t rows = shape.first, ld = 103;
    const int cols = shape.second;
    for (bool transposed : {false, true}) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols) + (transposed ? " transposed" : ""));
      GuardedBuffer<BFloat16> src(transposed ? (cols - 1) * ld + rows : (rows - 1) * ld + cols);
      for (BFloat16& v : src) v = BFloat16(random.uniform(-9, 9));
      test::for_each_target([&](int) {
        GuardedBuffer<BFloat16> dst((rows + 1) / 2 * 32), want((rows + 1) / 2 * 32);
        for (BFloat16& v : want) v = BFloat16(0.0f);
        for (int64_t k = 0; k < rows; ++k) {
          for (int64_t n = 0; n < cols; ++n)
            want[static_cast<size_t>(k / 2 * 32 + n * 2 + k % 2)] =
                src[static_cast<size_t>(transposed ? n * ld + k : k * ld + n)];
        }
        GuardedBuffer<float> wide(static_cast<int64_t>(src.size()));
        for (size_t i = 0; i < src.size(); ++i) wide[i] = static_cast<float>(src[i]);
        for (const bool from_float : {false, true}) {
          for (BFloat16& v : dst) v = BFloat16(7.0f);
          const void* from = from_float ? static_cast<const void*>(wide.data()) : src.data();
          pair_panel({from_float ? DType::kF32 : DType::kBF16, transposed, from, ld, rows, cols, dst.data()});
          for (size_t i = 0; i < want.size(); ++i) ASSERT_EQ(dst[i].bits, want[i].bits) << i;
        }
      });
    }
  }
}

TEST(Convert, TransposesWords) {
  test::Random random;
  for (const auto& shape : {std::pair<int64_t, int64_t>{1, 1}, {16, 32}, {17, 33}, {80, 64}, {5, 100}, {129, 47}}) {
    const int64_t rows = shape.first, cols = shape.second, ld = rows + 3, dst_ld = cols + 2;
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols));
    GuardedBuffer<Float16> src((cols - 1) * ld + rows);
    for (Float16& v : src) v = Float16(random.uniform(-9, 9));
    test::for_each_target([&](int) {
      GuardedBuffer<Float16> dst((rows - 1) * dst_ld + cols), want((rows - 1) * dst_ld + cols);
      for (Float16& v : dst) v = Float16(7.0f);
      for (Float16& v : want) v = Float16(7.0f);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c)
          want[static_cast<size_t>(r * dst_ld + c)] = src[static_cast<size_t>(c * ld + r)];
      }
      transpose_words({DType::kF16, src.data(), ld, rows, cols, dst.data(), dst_ld});
      for (size_t i = 0; i < want.size(); ++i) ASSERT_EQ(dst[i].bits, want[i].bits) << i;
    });
  }
}

TEST(Convert, TransposesAndRoundsToBf16) {
  test::Random random;
  const int64_t rows = 83, cols = 71, ld = rows + 3, dst_ld = cols + 2;
  GuardedBuffer<float> src = random.floats((cols - 1) * ld + rows, -9, 9);
  test::for_each_target([&](int) {
    GuardedBuffer<BFloat16> dst((rows - 1) * dst_ld + cols);
    transpose_words({DType::kF32, src.data(), ld, rows, cols, dst.data(), dst_ld});
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const BFloat16 want(src[static_cast<size_t>(c * ld + r)]);
        ASSERT_EQ(dst[static_cast<size_t>(r * dst_ld + c)].bits, want.bits) << r << ' ' << c;
      }
    }
  });
}

}  // namespace
}  // namespace lowp::kernels
