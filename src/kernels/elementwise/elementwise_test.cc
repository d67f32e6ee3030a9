#include "kernels/elementwise/elementwise.h"

#include <vector>

#include "kernels/convert/convert.h"
#include "kernels/elementwise/reference.h"
#include "kernels/quantize/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

constexpr UnaryParams kParams = {0.7f, 1.1f};

TEST(Elementwise, UnaryHasTheBitsOfTheReference) {
  test::Random random;
  GuardedBuffer<float> x(1027);
  for (size_t i = 0; i < x.size(); ++i) x[i] = i % 3 == 0 ? random.any() : random.uniform(-12.0f, 12.0f);
  GuardedBuffer<float> awkward = test::awkward_floats();
  std::copy(awkward.begin(), awkward.end(), x.begin());
  for (int op = 0; op < static_cast<int>(Unary::kCount); ++op) {
    SCOPED_TRACE("unary op " + std::to_string(op));
    GuardedBuffer<float> expected(1027);
    for (size_t i = 0; i < x.size(); ++i) expected[i] = reference::unary(static_cast<Unary>(op), kParams, x[i]);
    test::for_each_target([&](int threads) {
      GuardedBuffer<float> y(1027);
      unary_f32(static_cast<Unary>(op), kParams, x.data(), y.data(), 1027, threads);
      test::expect_same(y, expected);
    });
  }
}

TEST(Elementwise, UnaryTailsAndInPlace) {
  test::Random random;
  for (int64_t n = 0; n <= 35; ++n) {
    GuardedBuffer<float> x = random.floats(n), expected(n);
    for (size_t i = 0; i < x.size(); ++i) expected[i] = reference::unary(Unary::kExp, {}, x[i]);
    test::for_each_target([&](int threads) {
      GuardedBuffer<float> y = x;
      unary_f32(Unary::kExp, {}, y.data(), y.data(), n, threads);
      test::expect_same(y, expected);
    });
  }
}

TEST(Elementwise, UnaryOnThreads) {
  test::Random random;
  constexpr int64_t kN = 100003;
  GuardedBuffer<float> x = random.floats(kN), expected(kN);
  for (size_t i = 0; i < x.size(); ++i) expected[i] = 0.0f > x[i] ? 0.0f : x[i];
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> y(kN);
    unary_f32(Unary::kRelu, {}, x.data(), y.data(), kN, threads);
    test::expect_same(y, expected);
  });
}

struct Shapes {
  std::vector<int64_t> a, b;
};

int64_t elements(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

const std::vector<Shapes> kShapes = {
    {{7, 19}, {7, 19}},           {{7, 19}, {19}},     {{19}, {7, 19}}, {{7, 19}, {7, 1}}, {{7, 1}, {1, 19}},
    {{2, 3, 5, 4}, {3, 1, 1}},    {{2, 1, 5}, {3, 1}}, {{}, {33}},      {{33}, {1}},       {{}, {}},
    {{4, 1, 6, 1}, {1, 3, 1, 17}}};

TEST(Elementwise, BinaryBroadcasts) {
  test::Random random;
  for (int op = 0; op < static_cast<int>(Binary::kCount); ++op) {
    for (const Shapes& s : kShapes) {
      SCOPED_TRACE("binary op " + std::to_string(op));
      Broadcast nest;
      ASSERT_TRUE(
          make_broadcast(s.a.data(), static_cast<int>(s.a.size()), s.b.data(), static_cast<int>(s.b.size()), &nest));
      int64_t n = 1;
      for (int i = 0; i < nest.rank; ++i) n *= nest.dims[i];
      GuardedBuffer<float> a = random.floats(elements(s.a), -3.0f, 3.0f), b = random.floats(elements(s.b), -3.0f, 3.0f);
      if (a.size() > 5) a[3] = NAN, a[5] = INFINITY;
      if (b.size() > 5) b[4] = NAN, b[5] = -0.0f;
      GuardedBuffer<float> expected(n);
      reference::binary_f32(static_cast<Binary>(op), nest, a.data(), b.data(), expected.data());
      test::for_each_target([&](int threads) {
        GuardedBuffer<float> y(n);
        binary_f32(static_cast<Binary>(op), nest, a.data(), b.data(), y.data(), threads);
        test::expect_same(y, expected);
      });
    }
  }
}

TEST(Elementwise, MakeBroadcastMergesDimensions) {
  Broadcast nest;
  int64_t a[] = {2, 3, 4, 5}, b[] = {4, 5}, bad[] = {3, 5};
  ASSERT_TRUE(make_broadcast(a, 4, b, 2, &nest));
  EXPECT_EQ(nest.rank, 2);
  EXPECT_EQ(nest.dims[0], 6);
  EXPECT_EQ(nest.dims[1], 20);
  EXPECT_EQ(nest.b_strides[0], 0);
  EXPECT_FALSE(make_broadcast(a, 4, bad, 2, &nest));
}

TEST(Elementwise, BinaryOnThreads) {
  test::Random random;
  int64_t shape[] = {301, 257}, row[] = {257};
  Broadcast nest;
  ASSERT_TRUE(make_broadcast(shape, 2, row, 1, &nest));
  GuardedBuffer<float> a = random.floats(301 * 257), b = random.floats(257), expected(301 * 257);
  for (size_t i = 0; i < a.size(); ++i) expected[i] = a[i] + b[i % 257];
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> y(301 * 257);
    binary_f32(Binary::kAdd, nest, a.data(), b.data(), y.data(), threads);
    test::expect_same(y, expected);
  });
}

TEST(Elementwise, PowByTwoIsSquare) {
  test::Random random;
  int64_t shape[] = {3, 21}, one[] = {1};
  Broadcast nest;
  ASSERT_TRUE(make_broadcast(shape, 2, one, 1, &nest));
  GuardedBuffer<float> a = random.floats(63), b{2.0f}, expected(63);
  for (size_t i = 0; i < a.size(); ++i) expected[i] = a[i] * a[i];
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> y(63);
    binary_f32(Binary::kPow, nest, a.data(), b.data(), y.data(), threads);
    test::expect_same(y, expected);
  });
}

TEST(Elementwise, ScaleShift) {
  test::Random random;
  for (int64_t inner : {1, 2, 37}) {
    for (bool with_shift : {true, false}) {
      constexpr int64_t kOuter = 3, kChannels = 19;
      GuardedBuffer<float> x = random.floats(kOuter * kChannels * inner), scale = random.floats(kChannels);
      GuardedBuffer<float> shift = random.floats(kChannels), expected(kOuter * kChannels * inner);
      for (size_t i = 0; i < x.size(); ++i) {
        size_t c = i / static_cast<size_t>(inner) % kChannels;
        expected[i] = with_shift ? std::fma(x[i], scale[c], shift[c]) : x[i] * scale[c];
      }
      test::for_each_target([&](int threads) {
        GuardedBuffer<float> y(kOuter * kChannels * inner);
        scale_shift_f32(x.data(), scale.data(), with_shift ? shift.data() : nullptr, y.data(), kOuter, kChannels, inner,
                        threads);
        test::expect_same(y, expected);
      });
    }
  }
}

TEST(Elementwise, QuantizedBinary) {
  test::Random random;
  for (DType dtype : {DType::kU8, DType::kI8}) {
    for (Binary op : {Binary::kAdd, Binary::kMul}) {
      for (const Shapes& s : kShapes) {
        bool is_signed = dtype == DType::kI8;
        QuantizedBinaryArgs args;
        args.op = op;
        args.dtype = dtype;
        args.a_scale = 0.031f;
        args.b_scale = 0.017f;
        args.y_scale = 0.04f;
        args.a_zero = is_signed ? -3 : 120;
        args.b_zero = is_signed ? 7 : 131;
        args.y_zero = is_signed ? -128 : 0;
        args.lo = 0.0f;
        Broadcast nest;
        ASSERT_TRUE(
            make_broadcast(s.a.data(), static_cast<int>(s.a.size()), s.b.data(), static_cast<int>(s.b.size()), &nest));
        auto a = random.integers<uint8_t>(elements(s.a), 0, 255), b = random.integers<uint8_t>(elements(s.b), 0, 255);
        // The formula step by step, in floats, broadcast by the float reference.
        auto real = [&](const GuardedBuffer<uint8_t>& q, float scale, int32_t zero) {
          GuardedBuffer<float> r(static_cast<int64_t>(q.size()));
          for (size_t i = 0; i < q.size(); ++i) {
            r[i] = static_cast<float>((is_signed ? static_cast<int8_t>(q[i]) : q[i]) - zero) * scale;
          }
          return r;
        };
        int64_t n = 1;
        for (int i = 0; i < nest.rank; ++i) n *= nest.dims[i];
        GuardedBuffer<float> fa = real(a, args.a_scale, args.a_zero), fb = real(b, args.b_scale, args.b_zero), fy(n);
        reference::binary_f32(op, nest, fa.data(), fb.data(), fy.data());
        GuardedBuffer<uint8_t> expected(n);
        for (size_t i = 0; i < fy.size(); ++i) {
          float v = std::min(args.hi, std::max(args.lo, fy[i]));
          expected[i] = static_cast<uint8_t>(reference::quantize(dtype, v, args.y_scale, args.y_zero));
        }
        test::for_each_target([&](int threads) {
          GuardedBuffer<uint8_t> y(n);
          binary_q8(args, nest, a.data(), b.data(), y.data(), threads);
          test::expect_same(y, expected);
        });
      }
    }
  }
}

// 16-bit floats: the bits of f32 arithmetic on widened values, rounded once.
TEST(Elementwise, StoredFloatsAreWidenedAndRoundedOnce) {
  test::Random random;
  constexpr int64_t kRows = 3, kN = 5001;
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    auto narrow = [&](float v) { return dtype == DType::kBF16 ? BFloat16(v).bits : Float16(v).bits; };
    auto wide = [&](uint16_t bits) {
      return dtype == DType::kBF16 ? static_cast<float>(BFloat16::from_bits(bits))
                                   : static_cast<float>(Float16::from_bits(bits));
    };
    GuardedBuffer<uint16_t> x(kRows * kN), row(kN), want(kRows * kN), want_sum(kRows * kN);
    for (uint16_t& v : x) v = narrow(random.uniform(-300.0f, 300.0f));
    for (uint16_t& v : row) v = narrow(random.uniform(-300.0f, 300.0f));
    for (int64_t i = 0; i < kRows * kN; ++i) {
      const auto k = static_cast<size_t>(i);
      want[k] = narrow(wide(x[k]) * wide(x[k]));
      want_sum[k] = narrow(wide(x[k]) + wide(row[static_cast<size_t>(i % kN)]));
    }
    const int64_t shape[] = {kRows, kN};
    Broadcast nest;
    ASSERT_TRUE(make_broadcast(shape, 2, shape + 1, 1, &nest));
    test::for_each_target([&](int threads) {
      GuardedBuffer<uint16_t> y(kRows * kN);
      unary_stored(Unary::kSquare, {}, dtype, x.data(), y.data(), kRows * kN, threads);
      test::expect_same(y, want);
      binary_stored(Binary::kAdd, dtype, nest, x.data(), row.data(), y.data(), threads);
      test::expect_same(y, want_sum);
      GuardedBuffer<float> f(kRows * kN);
      convert_stored(dtype, x.data(), DType::kF32, f.data(), kRows * kN, threads);
      convert_stored(DType::kF32, f.data(), dtype, y.data(), kRows * kN, threads);
      test::expect_same(y, x);
      convert_stored(dtype, x.data(), dtype == DType::kF16 ? DType::kBF16 : DType::kF16, y.data(), kRows * kN, threads);
      for (size_t i = 0; i < y.size(); i += 97)
        EXPECT_EQ(y[i], dtype == DType::kF16 ? BFloat16(f[i]).bits : Float16(f[i]).bits);
    });
  }
}

}  // namespace
}  // namespace lowp::kernels
