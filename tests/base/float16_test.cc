#include "base/float16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

#include "base/cpu.h"

namespace lowp {
namespace {

template <typename T>
float value_of(uint32_t bits) {
  return static_cast<float>(T::from_bits(static_cast<uint16_t>(bits)));
}

// Every code is exactly a float and comes back as itself; a NaN stays a NaN of the same sign.
template <typename T>
void round_trip() {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    float value = value_of<T>(bits);
    T back(value);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(back))) << bits;
      EXPECT_EQ(back.bits >> 15, bits >> 15);
    } else {
      EXPECT_EQ(back.bits, bits);
    }
  }
}
TEST(Float16, RoundTripOfEveryCode) { round_trip<Float16>(); }
TEST(BFloat16, RoundTripOfEveryCode) { round_trip<BFloat16>(); }

// Between two neighbours: the midpoint goes to the even code, one ulp to either side to the nearer. All neighbours.
template <typename T>
void midpoints(uint32_t first_infinite) {
  for (uint32_t bits = 0; bits + 1 < first_infinite; ++bits) {
    double low = value_of<T>(bits);
    double high = value_of<T>(bits + 1);
    auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(static_cast<double>(middle), (low + high) / 2);
    for (float sign : {1.0f, -1.0f}) {
      uint32_t sign_bit = sign < 0 ? 0x8000u : 0u;
      EXPECT_EQ(T(sign * middle).bits, ((bits & 1) != 0 ? bits + 1 : bits) | sign_bit);
      EXPECT_EQ(T(sign * std::nextafter(middle, 0.0f)).bits, bits | sign_bit);
      EXPECT_EQ(T(sign * std::nextafter(middle, INFINITY)).bits, (bits + 1) | sign_bit);
    }
  }
}
TEST(Float16, RoundsToNearestEven) { midpoints<Float16>(0x7c00); }
// Below 2^-126 the midpoint of two codes is still a float.
TEST(BFloat16, RoundsToNearestEven) { midpoints<BFloat16>(0x7f80); }

TEST(Float16, Edges) {
  EXPECT_EQ(Float16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(Float16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(Float16(-1e30f).bits, 0xfc00);
  EXPECT_EQ(Float16(0x1p-25f).bits, 0);
  EXPECT_EQ(Float16(std::nextafter(0x1p-25f, 1.0f)).bits, 1);
  EXPECT_EQ(Float16(-0.0f).bits, 0x8000);
}

#if defined(__x86_64__)
// The hardware is a second opinion where it can convert.
using Floats = float __attribute__((vector_size(16)));
__attribute__((target("f16c"))) uint16_t hardware(float value) {
  return static_cast<uint16_t>(__builtin_ia32_vcvtps2ph(Floats{value, 0, 0, 0}, 0)[0]);
}
TEST(Float16, EqualsF16c) {
  if (!target_supported(Target::k_avx2)) GTEST_SKIP() << "this CPU has no F16C";
  constexpr uint32_t kSeed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  for (int i = 0; i < 2'000'000; ++i) {
    auto value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    ASSERT_EQ(Float16(value).bits, hardware(value)) << value;
  }
}
#endif

TEST(BFloat16, Edges) {
  EXPECT_EQ(BFloat16(std::bit_cast<float>(0x7f800001u)).bits, 0x7fc0);  // a signalling NaN does not become infinity
  EXPECT_EQ(BFloat16(std::bit_cast<float>(0x7f7fffffu)).bits, 0x7f80);  // the largest float rounds to infinity
}

}  // namespace
}  // namespace lowp
