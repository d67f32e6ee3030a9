#include "kernels/activation/activation.h"

#include <numbers>

#include "base/float16.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

double derivative(ActivationGradient op, double v) {
  switch (op) {
    case ActivationGradient::kRelu: return v > 0 ? 1 : 0;
    case ActivationGradient::kSigmoid: return v * (1 - v);
    case ActivationGradient::kTanh: return 1 - v * v;
    case ActivationGradient::kGelu:
      return 0.5 * (1 + std::erf(v / std::numbers::sqrt2)) +
             v * std::exp(-0.5 * v * v) / std::sqrt(2 * std::numbers::pi);
    default: {
      const double k = std::sqrt(2 / std::numbers::pi), t = std::tanh(k * (v + 0.044715 * v * v * v));
      return 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * k * (1 + 3 * 0.044715 * v * v);
    }
  }
}

// The same bits on every target, and near the exact derivative: functions of a few ulp and a handful of roundings of
// numbers up to about 2, and one rounding to T, whose subnormals are so far apart.
template <typename T>
void check(DType dtype, double epsilon, double subnormal) {
  test::Random random;
  constexpr int64_t kN = 2011;
  for (int o = 0; o < static_cast<int>(ActivationGradient::kCount); ++o) {
    const auto op = static_cast<ActivationGradient>(o);
    SCOPED_TRACE(o);
    const bool of_y = op == ActivationGradient::kSigmoid || op == ActivationGradient::kTanh;
    GuardedBuffer<T> dy(kN), v(kN), first(kN);
    for (T& x : dy) x = T(random.uniform(-2, 2));
    for (T& x : v) x = T(of_y ? random.uniform(0, 1) : random.uniform(-8, 8));
    if (!of_y) v[5] = T(200.0f), v[6] = T(-200.0f), v[7] = T(0.0f);
    activation_gradient(op, dtype, dy.data(), v.data(), first.data(), kN, 1);
    for (size_t i = 0; i < first.size(); ++i) {
      const double d = static_cast<double>(static_cast<float>(dy[i]));
      const double want = d * derivative(op, static_cast<double>(static_cast<float>(v[i])));
      EXPECT_NEAR(static_cast<double>(static_cast<float>(first[i])), want,
                  std::abs(d) * 2e-6 + std::abs(want) * epsilon / 2 + subnormal)
          << static_cast<float>(v[i]);
    }
    test::for_each_target([&](int threads) {
      GuardedBuffer<T> dx = dy;
      activation_gradient(op, dtype, dx.data(), v.data(), dx.data(), kN, threads);
      for (size_t i = 0; i < dx.size(); ++i)
        ASSERT_TRUE(test::same(static_cast<float>(dx[i]), static_cast<float>(first[i]))) << i;
    });
  }
}

TEST(Activation, GradientsAreAccurateAndEqualOnAllTargets) {
  check<float>(DType::kF32, 0x1p-23, 0);
  check<BFloat16>(DType::kBF16, 0x1p-7 * 1.01, 0);
  check<Float16>(DType::kF16, 0x1p-10 * 1.01, 0x1p-25);
}

}  // namespace
}  // namespace lowp::kernels
