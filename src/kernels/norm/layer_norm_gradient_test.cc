#include "kernels/norm/layer_norm_gradient.h"

#include <vector>

#include "base/float16.h"
#include "kernels/reduce/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

// A column's rows in blocks of 256, joined in order.
template <typename Step>
float blocked(int64_t rows, Step step) {
  float total = 0;
  for (int64_t block = 0; block < rows; block += 256) {
    float acc = 0;
    for (int64_t r = block; r < std::min(rows, block + 256); ++r) acc = step(acc, r);
    total = block == 0 ? acc : total + acc;
  }
  return total;
}

template <typename T>
void check(DType dtype, int64_t rows, int64_t n) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + " " + std::to_string(rows) + " x " + std::to_string(n));
  test::Random random;
  GuardedBuffer<T> dy(rows * n), x(rows * n);
  for (T& v : dy) v = T(random.uniform(-1, 1));
  for (T& v : x) v = T(random.uniform(-3, 5));
  const GuardedBuffer<float> gamma = random.floats(n, 0.5f, 2), mean = random.floats(rows),
                             inv = random.floats(rows, 0.2f, 2);
  auto f = [](const GuardedBuffer<T>& b, int64_t i) { return static_cast<float>(b[static_cast<size_t>(i)]); };
  auto xhat = [&](int64_t r, int64_t i) {
    return (f(x, r * n + i) - mean[static_cast<size_t>(r)]) * inv[static_cast<size_t>(r)];
  };
  GuardedBuffer<T> want(rows * n);
  GuardedBuffer<float> want_gamma(n), want_beta(n);
  for (int64_t r = 0; r < rows; ++r) {
    auto s = [&](int64_t i) { return f(dy, r * n + i) * gamma[static_cast<size_t>(i)]; };
    const float a = reference::lane_sum(n, s) / static_cast<float>(n);
    const float b = reference::lanes16(
                        0.0f, n, [&](float acc, int64_t i) { return std::fma(s(i), xhat(r, i), acc); },
                        [](float p, float q) { return p + q; }) /
                    static_cast<float>(n);
    for (int64_t i = 0; i < n; ++i)
      want[static_cast<size_t>(r * n + i)] = T(std::fma(-xhat(r, i), b, s(i) - a) * inv[static_cast<size_t>(r)]);
  }
  for (int64_t i = 0; i < n; ++i) {
    want_gamma[static_cast<size_t>(i)] =
        blocked(rows, [&](float acc, int64_t r) { return std::fma(f(dy, r * n + i), xhat(r, i), acc); });
    want_beta[static_cast<size_t>(i)] = blocked(rows, [&](float acc, int64_t r) { return acc + f(dy, r * n + i); });
  }
  test::for_each_target([&](int threads) {
    GuardedBuffer<T> dx(rows * n);
    GuardedBuffer<float> dgamma(n), dbeta(n);
    LayerNormGradientArgs a{rows,        n,          dtype,     dy.data(),     x.data(),    gamma.data(),
                            mean.data(), inv.data(), dx.data(), dgamma.data(), dbeta.data()};
    layer_norm_gradient(a, threads);
    for (size_t i = 0; i < dx.size(); ++i)
      ASSERT_TRUE(test::same(static_cast<float>(dx[i]), static_cast<float>(want[i]))) << i;
    test::expect_same(dgamma, want_gamma);
    test::expect_same(dbeta, want_beta);
    a.dx = nullptr;
    a.dgamma = nullptr;
    layer_norm_gradient(a, threads);
    test::expect_same(dbeta, want_beta);
  });
}

TEST(Norm, LayerNormGradientHasTheBitsOfTheFormula) {
  for (int64_t n : {1, 15, 16, 33, 100}) check<float>(DType::kF32, 7, n);
  check<float>(DType::kF32, 600, 130);
  check<BFloat16>(DType::kBF16, 270, 49);
  check<Float16>(DType::kF16, 5, 64);
}

}  // namespace
}  // namespace lowp::kernels
