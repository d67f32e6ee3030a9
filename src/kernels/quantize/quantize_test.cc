#include "kernels/quantize/quantize.h"

#include <cfenv>

#include "base/float16.h"
#include "kernels/quantize/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

struct Shape {
  int64_t outer, channels, inner;
};
const Shape kShapes[] = {{1, 1, 1}, {1, 1, 16}, {1, 1, 1031}, {3, 19, 1}, {2, 5, 33}, {1, 1, 40000}, {4, 1, 7}};

TEST(Quantize, HasTheBitsOfTheReference) {
  test::Random random;
  for (DType dtype : {DType::kU8, DType::kI8}) {
    for (const Shape& s : kShapes) {
      for (bool with_zero : {true, false}) {
        int64_t n = s.outer * s.channels * s.inner;
        GuardedBuffer<float> x(n);
        for (float& v : x) v = random.integer(0, 9) == 0 ? random.any() : random.uniform(-6.0f, 6.0f);
        GuardedBuffer<float> scale = random.floats(s.channels, 0.01f, 0.05f);
        auto zero =
            random.integers<int32_t>(s.channels, dtype == DType::kI8 ? -128 : 0, dtype == DType::kI8 ? 127 : 255);
        QuantizeArgs args = {dtype, s.outer, s.channels, s.inner, scale.data(), with_zero ? zero.data() : nullptr, {}};
        if (s.outer % 2 == 0) args.range = {-100, 127};
        GuardedBuffer<uint8_t> expected(n);
        reference::quantize_f32(args, x.data(), expected.data());
        GuardedBuffer<float> back(n);
        reference::dequantize_f32(args, expected.data(), back.data());
        test::for_each_target([&](int threads) {
          GuardedBuffer<uint8_t> y(n);
          quantize_f32(args, x.data(), y.data(), threads);
          test::expect_same(y, expected);
          GuardedBuffer<float> z(n);
          dequantize_f32(args, y.data(), z.data(), threads);
          test::expect_same(z, back);
        });
      }
    }
  }
}

TEST(Quantize, TiesGoToEvenAndExtremesSaturate) {
  GuardedBuffer<float> x = {0.5f, 1.5f, 2.5f, -0.5f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN, 0.0f, 300.0f, 126.5f};
  GuardedBuffer<float> scale = {1.0f};
  GuardedBuffer<int32_t> zero = {3};
  GuardedBuffer<uint8_t> u8 = {3, 5, 5, 3, 255, 0, 255, 0, 3, 3, 255, 129};
  GuardedBuffer<int8_t> s8 = {3, 5, 5, 3, 127, -128, 127, -128, 3, 3, 127, 127};
  test::for_each_target([&](int threads) {
    GuardedBuffer<uint8_t> y(12);
    quantize_f32({DType::kU8, 1, 1, 12, scale.data(), zero.data(), {}}, x.data(), y.data(), threads);
    test::expect_same(y, u8);
    GuardedBuffer<int8_t> z(12);
    quantize_f32({DType::kI8, 1, 1, 12, scale.data(), zero.data(), {}}, x.data(), z.data(), threads);
    test::expect_same(z, s8);
  });
}

TEST(Quantize, DequantizesS32) {
  test::Random random;
  auto x = random.integers<int32_t>(3 * 21, INT32_MIN / 2, INT32_MAX / 2);
  GuardedBuffer<float> scale = random.floats(21, 0.001f, 0.01f), expected(3 * 21);
  for (size_t i = 0; i < x.size(); ++i) expected[i] = static_cast<float>(x[i]) * scale[i % 21];
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> y(3 * 21);
    dequantize_s32({DType::kI32, 3, 21, 1, scale.data(), nullptr, {}}, x.data(), y.data(), threads);
    test::expect_same(y, expected);
  });
}

TEST(Quantize, CastsTo16BitsAndBack) {
  test::Random random;
  constexpr int64_t kN = 20011;
  GuardedBuffer<float> x(kN);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = i % 2 ? random.any() : std::ldexp(random.uniform(-1.0f, 1.0f), static_cast<int>(i % 50) - 30);
  GuardedBuffer<float> awkward = test::awkward_floats();
  std::copy(awkward.begin(), awkward.end(), x.begin());
  GuardedBuffer<float> bf16(kN), f16(kN);
  for (size_t i = 0; i < x.size(); ++i) {
    bf16[i] = static_cast<float>(BFloat16(x[i]));
    f16[i] = static_cast<float>(Float16(x[i]));
  }
  test::for_each_target([&](int threads) {
    for (int64_t n : {int64_t{1}, int64_t{8}, int64_t{15}, int64_t{16}, int64_t{27}, kN}) {
      GuardedBuffer<uint16_t> y(n);
      GuardedBuffer<float> z(n);
      f32_to_bf16(x.data(), y.data(), n, threads);
      bf16_to_f32(y.data(), z.data(), n, threads);
      for (size_t i = 0; i < z.size(); ++i) ASSERT_TRUE(test::same(z[i], bf16[i])) << x[i] << " gives " << z[i];
      f32_to_f16(x.data(), y.data(), n, threads);
      f16_to_f32(y.data(), z.data(), n, threads);
      for (size_t i = 0; i < z.size(); ++i) ASSERT_TRUE(test::same(z[i], f16[i])) << x[i] << " gives " << z[i];
    }
  });
}

TEST(Quantize, EveryHalfAndBFloat16ValueRoundTrips) {
  constexpr int64_t kN = 65536;
  GuardedBuffer<uint16_t> x(kN);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(i);
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> f(kN);
    GuardedBuffer<uint16_t> y(kN);
    f16_to_f32(x.data(), f.data(), kN, threads);
    f32_to_f16(f.data(), y.data(), kN, threads);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(y[i] == x[i] || std::isnan(f[i])) << i;
    bf16_to_f32(x.data(), f.data(), kN, threads);
    f32_to_bf16(f.data(), y.data(), kN, threads);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(y[i] == x[i] || std::isnan(f[i])) << i;
  });
}

TEST(Quantize, MinMaxIgnoresNaN) {
  test::Random random;
  GuardedBuffer<float> x = random.floats(50001, -4.0f, 5.0f);
  x[7] = NAN;
  x[40000] = 9.0f;
  x[50000] = -7.0f;
  GuardedBuffer<float> none = {NAN};
  test::for_each_target([&](int threads) {
    float lo, hi;
    min_max_f32(x.data(), 50001, &lo, &hi, threads);
    EXPECT_EQ(lo, -7.0f);
    EXPECT_EQ(hi, 9.0f);
    min_max_f32(none.data(), 1, &lo, &hi, threads);
    EXPECT_EQ(lo, INFINITY);
    EXPECT_EQ(hi, -INFINITY);
  });
}

}  // namespace
}  // namespace lowp::kernels
