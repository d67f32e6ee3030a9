#include "kernels/fake_quantize/fake_quantize.h"

#include "base/float16.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

template <typename T>
void check(DType dtype, int64_t outer, int64_t channels, int64_t inner, bool equalized = false) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + " " + std::to_string(outer) + " x " + std::to_string(channels) + " x " +
               std::to_string(inner));
  test::Random random;
  const int64_t n = outer * channels * inner;
  GuardedBuffer<T> x(n), dy(n);
  for (T& v : x) v = T(random.uniform(-3, 3));
  for (T& v : dy) v = T(random.uniform(-1, 1));
  x[0] = T(__builtin_nanf(""));
  if (n > 2) x[1] = T(__builtin_inff()), x[2] = T(0.0f);
  GuardedBuffer<float> scale(channels), unit(channels), low(channels), high(channels);
  for (int64_t c = 0; c < channels; ++c) {
    const auto at = static_cast<size_t>(c);
    scale[at] = random.uniform(0.005f, 0.02f);
    unit[at] = equalized ? 0.01f : scale[at];
    low[at] = -static_cast<float>(random.integer(0, 127));
    high[at] = low[at] + 127.0f;
  }
  FakeQuantizeArgs args{dtype, outer, channels, inner, scale.data(), low.data(), high.data()};
  if (equalized) args.unit = unit.data();
  test::for_each_target([&](int threads) {
    GuardedBuffer<T> y = x, dx = dy;
    fake_quantize(args, y.data(), y.data(), threads);
    fake_quantize_gradient(args, dx.data(), x.data(), dx.data(), threads);
    float least = 1, most = -1, want_least = 0, want_most = 0;
    extremes_with_zero(dtype, x.data(), n, &least, &most, threads);
    for (int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(i), c = static_cast<size_t>(i / inner % channels);
      const float v = static_cast<float>(x[at]), steps = __builtin_nearbyintf(v / scale[c]);
      const float limited = steps < low[c] ? low[c] : steps > high[c] ? high[c] : steps;
      ASSERT_TRUE(test::same(static_cast<float>(y[at]), static_cast<float>(T(limited * unit[c])))) << i;
      const bool inside = steps >= low[c] && steps <= high[c];
      const float straight = static_cast<float>(T(static_cast<float>(dy[at]) * (unit[c] / scale[c])));
      ASSERT_EQ(static_cast<float>(dx[at]), inside ? straight : 0.0f) << i;
      if (v < want_least) want_least = v;
      if (v > want_most) want_most = v;
    }
    EXPECT_EQ(least, want_least);
    EXPECT_EQ(most, want_most);
  });
}

TEST(FakeQuantize, FollowsTheFormula) {
  for (int64_t n : {1, 15, 16, 17, 100, 70000}) check<float>(DType::kF32, 1, 1, n);
  check<float>(DType::kF32, 3, 5, 37);
  check<float>(DType::kF32, 40, 37, 1);
  check<float>(DType::kF32, 40, 37, 1, true);
  check<BFloat16>(DType::kBF16, 9, 70, 1, true);
  check<float>(DType::kF32, 3, 5, 37, true);
  check<BFloat16>(DType::kBF16, 1, 1, 131);
  check<BFloat16>(DType::kBF16, 2, 7, 9);
  check<Float16>(DType::kF16, 1, 1, 131);
}

TEST(FakeQuantize, ExtremesOfChannels) {
  constexpr int64_t kRows = 37, kChannels = 150;
  test::Random random;
  GuardedBuffer<float> x(kRows * kChannels);
  for (float& v : x) v = random.uniform(-3, 2);
  for (int64_t r = 0; r < kRows; ++r) x[static_cast<size_t>(r * kChannels + 7)] = 1.5f;  // none below 0
  x[20] = __builtin_nanf("");
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> low(kChannels), high(kChannels);
    channel_extremes_with_zero(DType::kF32, x.data(), kRows, kChannels, low.data(), high.data(), threads);
    for (size_t c = 0; c < kChannels; ++c) {
      float least = 0, most = 0;
      for (size_t r = 0; r < kRows; ++r) {
        const float v = x[r * kChannels + c];
        if (v < least) least = v;
        if (v > most) most = v;
      }
      ASSERT_EQ(low[c], least) << c;
      ASSERT_EQ(high[c], most) << c;
    }
  });
}

}  // namespace
}  // namespace lowp::kernels
