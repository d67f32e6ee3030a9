#include "kernels/pool/pool.h"

#include <vector>

#include "kernels/pool/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

// out = floor((in + pads - dilated kernel) / stride) + 1, or one more with `ceil` where a window still starts inside.
PoolArgs pool(int64_t h, int64_t w, int64_t c, int64_t k, int64_t stride, int64_t dilation, int64_t top, int64_t left,
              int64_t bottom, int64_t right, bool include_pad = false, bool ceil = false) {
  PoolArgs a;
  a.batch = 2;
  a.in_h = h;
  a.in_w = w;
  a.channels = c;
  a.kernel_h = k;
  a.kernel_w = k;
  a.stride_h = a.stride_w = stride;
  a.dilation_h = a.dilation_w = dilation;
  a.pad_top = top;
  a.pad_left = left;
  a.pad_bottom = bottom;
  a.pad_right = right;
  a.count_include_pad = include_pad;
  auto out = [&](int64_t extent) { return (extent - (dilation * (k - 1) + 1) + (ceil ? stride - 1 : 0)) / stride + 1; };
  a.out_h = out(h + top + bottom);
  a.out_w = out(w + left + right);
  return a;
}

std::vector<PoolArgs> cases() {
  return {pool(9, 11, 16, 3, 2, 1, 1, 1, 1, 1),
          pool(9, 11, 19, 3, 2, 1, 0, 1, 1, 0),
          pool(8, 8, 5, 2, 2, 1, 0, 0, 0, 0),
          pool(9, 9, 33, 3, 1, 2, 2, 2, 2, 2),
          pool(7, 7, 40, 3, 2, 1, 1, 1, 1, 1, true),
          pool(6, 7, 17, 3, 2, 1, 0, 0, 0, 0, true, true),
          pool(6, 6, 3, 2, 2, 1, 1, 0, 1, 0, false, true),
          pool(20, 20, 18, 20, 1, 1, 0, 0, 0, 0)};
}

TEST(Pool, Max) {
  test::Random random;
  for (const PoolArgs& a : cases()) {
    int64_t in = a.batch * a.in_h * a.in_w * a.channels, out = a.batch * a.out_h * a.out_w * a.channels;
    GuardedBuffer<float> x = random.floats(in), expected(out);
    x[7] = NAN;
    reference::max_pool(a, DType::kF32, x.data(), expected.data());
    auto q = random.integers<uint8_t>(in, 0, 255);
    GuardedBuffer<uint8_t> expected_u8(out), expected_s8(out);
    reference::max_pool(a, DType::kU8, q.data(), expected_u8.data());
    reference::max_pool(a, DType::kI8, q.data(), expected_s8.data());
    test::for_each_target([&](int threads) {
      GuardedBuffer<float> y(out);
      max_pool(a, DType::kF32, x.data(), y.data(), threads);
      test::expect_same(y, expected);
      GuardedBuffer<uint8_t> z(out);
      max_pool(a, DType::kU8, q.data(), z.data(), threads);
      test::expect_same(z, expected_u8);
      max_pool(a, DType::kI8, q.data(), z.data(), threads);
      test::expect_same(z, expected_s8);
    });
  }
}

TEST(Pool, Average) {
  test::Random random;
  for (const PoolArgs& a : cases()) {
    int64_t in = a.batch * a.in_h * a.in_w * a.channels, out = a.batch * a.out_h * a.out_w * a.channels;
    GuardedBuffer<float> x = random.floats(in), expected(out);
    reference::average_pool(a, DType::kF32, x.data(), expected.data());
    auto q = random.integers<uint8_t>(in, 0, 255);
    PoolQuantization u8 = {DType::kU8, 0.02f, 0.015f, 100, 90}, s8 = {DType::kI8, 0.02f, 0.015f, -7, 3};
    GuardedBuffer<uint8_t> expected_u8(out), expected_s8(out);
    reference::average_pool_q8(a, u8, q.data(), expected_u8.data());
    reference::average_pool_q8(a, s8, q.data(), expected_s8.data());
    test::for_each_target([&](int threads) {
      GuardedBuffer<float> y(out);
      average_pool(a, DType::kF32, x.data(), y.data(), threads);
      test::expect_same(y, expected);
      GuardedBuffer<uint8_t> z(out);
      average_pool_q8(a, u8, q.data(), z.data(), threads);
      test::expect_same(z, expected_u8);
      average_pool_q8(a, s8, q.data(), z.data(), threads);
      test::expect_same(z, expected_s8);
    });
  }
}

TEST(Pool, GlobalAverageOfAnImage) {
  test::Random random;
  PoolArgs a = global_pool_args(2, 7, 7, 35);
  GuardedBuffer<float> x = random.floats(2 * 49 * 35), expected(2 * 35);
  reference::average_pool(a, DType::kF32, x.data(), expected.data());
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> y(2 * 35);
    average_pool(a, DType::kF32, x.data(), y.data(), threads);
    test::expect_same(y, expected);
  });
}

// Content of a float type in few steps, so that windows have equal maxima.
std::vector<uint16_t> stepped(test::Random& random, DType dtype, int64_t n) {
  std::vector<uint16_t> v;
  for (int64_t i = 0; i < n; ++i) {
    const float f = static_cast<float>(random.integer(-3, 3)) * 0.37f;
    v.push_back(dtype == DType::kBF16 ? BFloat16(f).bits : Float16(f).bits);
  }
  return v;
}

TEST(Pool, SixteenBitFloats) {
  test::Random random;
  for (const PoolArgs& a : cases()) {
    const int64_t in = a.batch * a.in_h * a.in_w * a.channels, out = a.batch * a.out_h * a.out_w * a.channels;
    for (DType dtype : {DType::kBF16, DType::kF16}) {
      const std::vector<uint16_t> x = stepped(random, dtype, in), dy = stepped(random, dtype, out);
      GuardedBuffer<uint16_t> want(out), want_average(out), want_dx(in), want_average_dx(in);
      reference::max_pool(a, dtype, x.data(), want.data());
      reference::average_pool(a, dtype, x.data(), want_average.data());
      reference::max_pool_gradient(a, dtype, dy.data(), x.data(), want_dx.data());
      reference::average_pool_gradient(a, dtype, dy.data(), want_average_dx.data());
      test::for_each_target([&](int threads) {
        GuardedBuffer<uint16_t> y(out), dx(in);
        max_pool(a, dtype, x.data(), y.data(), threads);
        test::expect_same(y, want);
        average_pool(a, dtype, x.data(), y.data(), threads);
        test::expect_same(y, want_average);
        std::vector<float> scratch(max_pool_gradient_scratch(a, dtype, threads) / sizeof(float));
        max_pool_gradient(a, dtype, dy.data(), x.data(), dx.data(), scratch.data(), threads);
        test::expect_same(dx, want_dx);
        average_pool_gradient(a, dtype, dy.data(), dx.data(), threads);
        test::expect_same(dx, want_average_dx);
      });
    }
  }
}

TEST(Pool, Gradients) {
  test::Random random;
  std::vector<PoolArgs> list = cases();
  list.push_back(pool(9, 8, 70, 3, 2, 1, 1, 1, 1, 1));  // more channels than a task has
  for (const PoolArgs& a : list) {
    const int64_t in = a.batch * a.in_h * a.in_w * a.channels, out = a.batch * a.out_h * a.out_w * a.channels;
    GuardedBuffer<float> x = random.floats(in), dy = random.floats(out), want(in), want_average(in);
    for (float& v : x) v = std::round(v * 4) / 4;  // equal maxima
    x[7] = x[9] = NAN;
    for (int64_t c = 0; c < a.in_w * a.channels; ++c) x[static_cast<size_t>(c + in / 2)] = -INFINITY;
    reference::max_pool_gradient(a, DType::kF32, dy.data(), x.data(), want.data());
    reference::average_pool_gradient(a, DType::kF32, dy.data(), want_average.data());
    ASSERT_TRUE(average_pool_gradient_supported(a));
    test::for_each_target([&](int threads) {
      GuardedBuffer<float> dx(in);
      max_pool_gradient(a, DType::kF32, dy.data(), x.data(), dx.data(), nullptr, threads);
      test::expect_same(dx, want);
      average_pool_gradient(a, DType::kF32, dy.data(), dx.data(), threads);
      test::expect_same(dx, want_average);
    });
  }
}

}  // namespace
}  // namespace lowp::kernels
