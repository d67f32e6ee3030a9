#include "kernels/random/random.h"

#include "base/float16.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;
using Words = std::array<uint32_t, 4>;

// The known answers that accompany the paper.
TEST(Random, PhiloxGivesTheKnownAnswers) {
  constexpr uint32_t kAll = 0xffffffffu;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox4x32({kAll, kAll, kAll, kAll}, {kAll, kAll}),
            (Words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
            (Words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

template <typename T>
void check(DType dtype, int64_t n, float ratio) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + " n " + std::to_string(n));
  test::Random random;
  GuardedBuffer<T> x(n);
  for (T& v : x) v = T(random.uniform(-2, 2));
  const RandomKey key{0x123456789abcdefu, (uint64_t{5} << 32) + 77, 3};
  test::for_each_target([&](int threads) {
    GuardedBuffer<T> y = x;
    dropout(dtype, y.data(), y.data(), n, ratio, key, threads);
    for (int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(i);
      const T want =
          random_uniform_at(key, i) < ratio ? T(0.0f) : T(static_cast<float>(x[at]) * (1.0f / (1.0f - ratio)));
      ASSERT_TRUE(test::same(static_cast<float>(y[at]), static_cast<float>(want))) << i;
    }
  });
}

TEST(Random, DropoutFollowsTheCounter) {
  for (int64_t n : {1, 16, 63, 64, 65, 5000}) check<float>(DType::kF32, n, 0.3f);
  check<float>(DType::kF32, 100, 0.0f);
  check<BFloat16>(DType::kBF16, 131, 0.1f);
  check<Float16>(DType::kF16, 131, 0.9f);
}

// Four standard deviations of a binomial distribution.
TEST(Random, DropoutDropsTheRatioAndDiffersByStepAndStream) {
  constexpr int64_t kN = 1 << 20;
  GuardedBuffer<float> x(kN), y(kN), other(kN);
  for (float& v : x) v = 1.0f;
  dropout(DType::kF32, x.data(), y.data(), kN, 0.25f, {1, 2, 3}, 1);
  int64_t dropped = 0;
  for (float v : y) dropped += v == 0.0f;
  EXPECT_NEAR(static_cast<double>(dropped), 0.25 * kN, 4 * std::sqrt(kN * 0.25 * 0.75));
  for (const RandomKey& key : {RandomKey{2, 2, 3}, RandomKey{1, 3, 3}, RandomKey{1, 2, 4}}) {
    dropout(DType::kF32, x.data(), other.data(), kN, 0.25f, key, 1);
    int64_t both = 0;
    for (size_t i = 0; i < y.size(); ++i) both += y[i] == 0.0f && other[i] == 0.0f;
    EXPECT_NEAR(static_cast<double>(both), 0.0625 * kN, 4 * std::sqrt(kN * 0.0625 * 0.9375));
  }
}

}  // namespace
}  // namespace lowp::kernels
