#include "kernels/softmax/softmax.h"

#include "base/float16.h"
#include "kernels/softmax/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

TEST(Softmax, HasTheBitsOfTheReference) {
  test::Random random;
  for (bool log : {false, true}) {
    for (bool masked : {false, true}) {
      for (int64_t n : {1, 2, 15, 16, 17, 32, 63, 128, 1001}) {
        constexpr int64_t kRows = 12;
        SCOPED_TRACE("n " + std::to_string(n));
        GuardedBuffer<float> x = random.floats(kRows * n, -9.0f, 9.0f), mask = random.floats(3 * n, -5.0f, 0.0f);
        for (size_t i = 0; i < mask.size(); i += 7) mask[i] = -INFINITY;
        if (n > 20) x[3] = NAN, x[static_cast<size_t>(n) + 2] = INFINITY, x[static_cast<size_t>(2 * n)] = -INFINITY;
        for (int64_t i = 0; i < n; ++i) x[static_cast<size_t>(5 * n + i)] = -INFINITY;
        SoftmaxArgs args;
        args.rows = kRows;
        args.n = n;
        args.log = log;
        args.x = x.data();
        args.x_stride = args.y_stride = n;
        args.mask = masked ? mask.data() : nullptr;
        args.mask_rows = 3;
        args.mask_repeat = 2;
        GuardedBuffer<float> expected(kRows * n);
        args.y = expected.data();
        reference::softmax_f32(args);
        test::for_each_target([&](int threads) {
          GuardedBuffer<float> y = x;  // in place
          SoftmaxArgs in_place = args;
          in_place.x = in_place.y = y.data();
          softmax_f32(in_place, threads);
          test::expect_same(y, expected);
        });
      }
    }
  }
}

template <typename T>
void check_stored(DType dtype) {
  test::Random random;
  constexpr int64_t kRows = 5, kN = 37;
  GuardedBuffer<T> x(kRows * kN);
  for (T& v : x) v = T(random.uniform(-9, 9));
  GuardedBuffer<float> wide(kRows * kN), want(kRows * kN);
  for (size_t i = 0; i < x.size(); ++i) wide[i] = static_cast<float>(x[i]);
  for (bool log : {false, true}) {
    SoftmaxArgs args;
    args.rows = kRows;
    args.n = args.x_stride = args.y_stride = kN;
    args.log = log;
    args.x = wide.data();
    args.y = want.data();
    reference::softmax_f32(args);
    test::for_each_target([&](int threads) {
      GuardedBuffer<T> y = x;
      softmax_stored(dtype, log, y.data(), y.data(), kRows, kN, threads);
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_TRUE(test::same(static_cast<float>(y[i]), static_cast<float>(T(want[i])))) << i;
    });
  }
}

TEST(Softmax, SixteenBitRowsAreTheSameRoundedOnce) {
  check_stored<BFloat16>(DType::kBF16);
  check_stored<Float16>(DType::kF16);
}

// e and s carry an error of about 1.1 ulp of exp each, s (n / 16 + 4) roundings more, the quotient two.
TEST(Softmax, IsAccurate) {
  test::Random random;
  constexpr int64_t kN = 333;
  GuardedBuffer<float> x = random.floats(kN, -10.0f, 10.0f), y(kN);
  SoftmaxArgs args;
  args.rows = 1;
  args.n = kN;
  args.x = x.data();
  args.y = y.data();
  softmax_f32(args, 1);
  float m = *std::max_element(x.begin(), x.end());
  double sum = 0.0;
  for (float v : x) sum += std::exp(static_cast<double>(v) - m);
  for (size_t i = 0; i < y.size(); ++i) {
    double exact = std::exp(static_cast<double>(x[i]) - m) / sum;
    // x - m rounds by half an ulp of up to 20, an absolute error of the exponent.
    double relative = (2 * 1.1 + kN / 16.0 + 4 + 2) * 0x1p-23 + 20 * 0x1p-24;
    EXPECT_NEAR(y[i], exact, exact * relative);
  }
}

}  // namespace
}  // namespace lowp::kernels
