#include "kernels/softmax/loss.h"

#include <vector>

#include "base/float16.h"
#include "kernels/elementwise/reference.h"
#include "kernels/reduce/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

constexpr int64_t kRows = 9;

template <typename T>
GuardedBuffer<T> stored(test::Random& random, int64_t n, float lo, float hi) {
  GuardedBuffer<T> b(n);
  for (T& v : b) v = T(random.uniform(lo, hi));
  return b;
}
template <typename T>
std::vector<float> floats(const GuardedBuffer<T>& b) {
  std::vector<float> v;
  for (const T& x : b) v.push_back(static_cast<float>(x));
  return v;
}
// Bits after rounding to T.
template <typename T>
void expect_rounded(const GuardedBuffer<T>& got, const std::vector<float>& want) {
  std::vector<float> rounded;
  for (float v : want) rounded.push_back(static_cast<float>(T(v)));
  test::expect_same(floats(got), rounded);
}

struct Row {
  const float* x;
  int64_t n;
  float m = -INFINITY, sum = 0;
  Row(const float* row, int64_t count) : x(row), n(count) {
    for (int64_t i = 0; i < n; ++i) m = x[i] > m ? x[i] : m;
    sum = reference::lane_sum(n, [&](int64_t i) { return weight(i); });
  }
  float weight(int64_t i) const { return x[i] - m < -80.0f ? 0.0f : reference::exp(x[i] - m); }
};

template <typename T>
void check(DType dtype, int64_t n) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + " n " + std::to_string(n));
  test::Random random;
  const GuardedBuffer<T> x = stored<T>(random, kRows * n, -9, 9), dy = stored<T>(random, kRows * n, -2, 2);
  const std::vector<float> xs = floats(x), dys = floats(dy);
  const GuardedBuffer<float> weights = random.floats(n, 0.5f, 2), scale = random.floats(kRows);
  GuardedBuffer<int32_t> labels = random.integers<int32_t>(kRows, 0, n - 1);
  labels[3] = -1;
  std::vector<float> loss(kRows), log_prob(xs.size()), gradient(xs.size()), soft(xs.size()), log_soft(xs.size());
  for (int64_t r = 0; r < kRows; ++r) {
    const Row row(xs.data() + r * n, n);
    const float log_sum = reference::log(row.sum), inverse = 1.0f / row.sum;
    const int32_t label = labels[static_cast<size_t>(r)];
    const float* d = dys.data() + r * n;
    const float dot = reference::lanes16(
        0.0f, n, [&](float acc, int64_t i) { return std::fma(d[i], row.x[i], acc); },
        [](float a, float b) { return a + b; });
    const float total = reference::lane_sum(n, [&](int64_t i) { return d[i]; });
    for (int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(r * n + i);
      log_prob[at] = (row.x[i] - row.m) - log_sum;
      gradient[at] =
          label < 0 ? 0.0f : (row.weight(i) * inverse - (i == label ? 1.0f : 0.0f)) * scale[static_cast<size_t>(r)];
      soft[at] = row.x[i] * (d[i] - dot);
      log_soft[at] = d[i] - reference::exp(row.x[i]) * total;
    }
    loss[static_cast<size_t>(r)] =
        label < 0 ? 0.0f : -(weights[static_cast<size_t>(label)] * ((row.x[label] - row.m) - log_sum));
  }
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> got_loss(kRows);
    GuardedBuffer<T> out(kRows * n);
    cross_entropy({kRows, n, dtype, x.data(), labels.data(), weights.data(), got_loss.data(), out.data()}, threads);
    test::expect_same(got_loss, loss);
    expect_rounded(out, log_prob);
    cross_entropy({kRows, n, dtype, x.data(), labels.data(), weights.data(), got_loss.data(), nullptr}, threads);
    test::expect_same(got_loss, loss);
    out = x;
    cross_entropy_gradient({kRows, n, dtype, out.data(), labels.data(), scale.data(), out.data()}, threads);
    expect_rounded(out, gradient);
    for (const bool log : {false, true}) {
      out = dy;
      softmax_gradient({kRows, n, dtype, log, out.data(), x.data(), out.data()}, threads);
      expect_rounded(out, log ? log_soft : soft);
    }
  });
}

TEST(Loss, HasTheBitsOfTheFormula) {
  for (int64_t n : {1, 15, 16, 17, 100, 1003}) check<float>(DType::kF32, n);
  for (int64_t n : {5, 33}) {
    check<BFloat16>(DType::kBF16, n);
    check<Float16>(DType::kF16, n);
  }
}

template <typename T>
void check_sigmoid(DType dtype) {
  test::Random random;
  constexpr int64_t kN = 1003;
  GuardedBuffer<T> x = stored<T>(random, kN, -30, 30), t = stored<T>(random, kN, 0, 1);
  x[3] = T(0.0f);
  const GuardedBuffer<float> scale = random.floats(kN);
  const std::vector<float> xs = floats(x), ts = floats(t);
  std::vector<float> each(kN), all(kN);
  for (size_t i = 0; i < each.size(); ++i) {
    const float d = reference::unary(Unary::kSigmoid, {}, xs[i]) - ts[i];
    each[i] = d * scale[i];
    all[i] = d * scale[0];
  }
  GuardedBuffer<float> first(kN);
  sigmoid_cross_entropy(dtype, x.data(), t.data(), first.data(), kN, 1);
  for (size_t i = 0; i < each.size(); ++i) {
    const double v = static_cast<double>(xs[i]);
    const double exact = std::max(v, 0.0) - v * static_cast<double>(ts[i]) + std::log1p(std::exp(-std::abs(v)));
    // x t and the sum round once each; log1p is good to 1.3 ulp.
    EXPECT_NEAR(static_cast<double>(first[i]), exact, 4 * 0x1p-24 * (2 * std::abs(v) + 1));
  }
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> loss(kN);
    GuardedBuffer<T> dx(kN);
    sigmoid_cross_entropy(dtype, x.data(), t.data(), loss.data(), kN, threads);
    test::expect_same(loss, first);
    sigmoid_cross_entropy_gradient(dtype, x.data(), t.data(), scale.data(), false, dx.data(), kN, threads);
    expect_rounded(dx, each);
    sigmoid_cross_entropy_gradient(dtype, x.data(), t.data(), scale.data(), true, dx.data(), kN, threads);
    expect_rounded(dx, all);
  });
}

TEST(Loss, SigmoidCrossEntropy) {
  check_sigmoid<float>(DType::kF32);
  check_sigmoid<BFloat16>(DType::kBF16);
  check_sigmoid<Float16>(DType::kF16);
}

}  // namespace
}  // namespace lowp::kernels
