#include "kernels/gather/gather.h"

#include "kernels/quantize/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

TEST(Gather, FindsTheFirstBadIndex) {
  GuardedBuffer<int64_t> good = {0, 4, -5, -1}, bad = {0, 5, -6};
  GuardedBuffer<int32_t> bad32 = {1, 2, -6};
  EXPECT_EQ(find_bad_index(good.data(), DType::kI64, 4, 5), -1);
  EXPECT_EQ(find_bad_index(bad.data(), DType::kI64, 3, 5), 1);
  EXPECT_EQ(find_bad_index(bad32.data(), DType::kI32, 3, 5), 2);
}

template <typename Index>
void check_gather(int64_t outer, int64_t row_bytes, DType dtype) {
  constexpr int64_t kLimit = 9, kCount = 200;
  test::Random random;
  auto x = random.integers<uint8_t>(outer * kLimit * row_bytes, 0, 255);
  auto indices = random.integers<Index>(kCount, -kLimit, kLimit - 1);
  GuardedBuffer<uint8_t> expected(outer * kCount * row_bytes);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t k = 0; k < kCount; ++k)
      for (int64_t i = 0; i < row_bytes; ++i) {
        int64_t index = indices[static_cast<size_t>(k)];
        if (index < 0) index += kLimit;
        expected[static_cast<size_t>((o * kCount + k) * row_bytes + i)] =
            x[static_cast<size_t>((o * kLimit + index) * row_bytes + i)];
      }
  test::for_each_target([&](int threads) {
    GuardedBuffer<uint8_t> y(outer * kCount * row_bytes);
    gather({outer, kLimit, kCount, row_bytes, x.data(), indices.data(), dtype, y.data()}, threads);
    test::expect_same(y, expected);
  });
}

TEST(Gather, CopiesRows) {
  for (int64_t row_bytes : {1, 2, 4, 8, 12, 768}) {
    check_gather<int64_t>(1, row_bytes, DType::kI64);
    check_gather<int32_t>(3, row_bytes, DType::kI32);
  }
}

TEST(Gather, EmbedsFromS8Rows) {
  test::Random random;
  constexpr int64_t kLimit = 11, kCount = 7, kN = 37;
  auto x = random.integers<int8_t>(kLimit * kN, -128, 127);
  GuardedBuffer<float> scale = random.floats(kLimit, 0.01f, 0.1f), expected(kCount * kN);
  GuardedBuffer<int64_t> indices = {3, 0, -1, 10, 3, -11, 5};
  for (size_t k = 0; k < kCount; ++k)
    for (size_t i = 0; i < kN; ++i) {
      auto row = static_cast<size_t>(indices[k] < 0 ? indices[k] + kLimit : indices[k]);
      expected[k * kN + i] = static_cast<float>(x[row * kN + i]) * scale[row];
    }
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> y(kCount * kN);
    gather_s8(
        {kLimit, kCount, kN, x.data(), scale.data(), indices.data(), DType::kI64, y.data(), DType::kF32, 1, 0, {}},
        threads);
    test::expect_same(y, expected);
  });
}

TEST(Gather, QuantizesWhatItEmbeds) {
  test::Random random;
  // Longer than the piece that goes through floats at once.
  constexpr int64_t kLimit = 5, kCount = 6, kN = 1061;
  auto x = random.integers<int8_t>(kLimit * kN, -128, 127);
  GuardedBuffer<float> scale = random.floats(kLimit, 0.01f, 0.1f);
  GuardedBuffer<int32_t> indices = {4, 0, -1, 1, -5, 2};
  for (DType dtype : {DType::kU8, DType::kI8}) {
    GuardedBuffer<uint8_t> expected(kCount * kN);
    for (size_t k = 0; k < kCount; ++k)
      for (size_t i = 0; i < kN; ++i) {
        auto row = static_cast<size_t>(indices[k] < 0 ? indices[k] + kLimit : indices[k]);
        float value = static_cast<float>(x[row * kN + i]) * scale[row];
        expected[k * kN + i] = static_cast<uint8_t>(reference::quantize(dtype, value, 0.05f, 7, {-20, 90}));
      }
    test::for_each_target([&](int threads) {
      GuardedBuffer<uint8_t> y(kCount * kN);
      gather_s8({kLimit,
                 kCount,
                 kN,
                 x.data(),
                 scale.data(),
                 indices.data(),
                 DType::kI32,
                 y.data(),
                 dtype,
                 0.05f,
                 7,
                 {-20, 90}},
                threads);
      test::expect_same(y, expected);
    });
  }
}

}  // namespace
}  // namespace lowp::kernels
