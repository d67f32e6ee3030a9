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

}  // namespace
}  // namespace lowp::kernels
