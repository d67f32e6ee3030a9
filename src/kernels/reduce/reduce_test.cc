#include "kernels/reduce/reduce.h"

#include "kernels/reduce/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

struct Shape {
  int64_t outer, n, inner;
};
const Shape kShapes[] = {{1, 1, 1},  {3, 16, 1}, {5, 15, 1},  {2, 1000, 1}, {70, 33, 1}, {2, 0, 1},
                         {1, 5, 17}, {2, 7, 1},  {3, 49, 20}, {1, 600, 5},  {2, 3, 130}, {2, 0, 3}};

TEST(Reduce, HasTheBitsOfTheReference) {
  test::Random random;
  for (int op = 0; op < static_cast<int>(Reduce::kCount); ++op) {
    for (const Shape& s : kShapes) {
      for (bool special : {false, true}) {
        SCOPED_TRACE("op " + std::to_string(op) + ", n " + std::to_string(s.n) + ", inner " + std::to_string(s.inner));
        GuardedBuffer<float> x = random.floats(s.outer * s.n * s.inner, -2.0f, 2.0f), expected(s.outer * s.inner);
        if (special && x.size() > 20) x[3] = NAN, x[20] = -INFINITY, x[11] = -0.0f;
        reference::reduce_f32(static_cast<Reduce>(op), x.data(), expected.data(), s.outer, s.n, s.inner);
        test::for_each_target([&](int threads) {
          GuardedBuffer<float> y(s.outer * s.inner);
          reduce_f32(static_cast<Reduce>(op), x.data(), y.data(), s.outer, s.n, s.inner, threads);
          test::expect_same(y, expected);
        });
      }
    }
  }
}

// 16 lanes and blocks of 256 bound the error by about (n / 16 + 4) and (256 + n / 256) roundings of partial sums.
TEST(Reduce, SumIsAccurate) {
  test::Random random;
  constexpr int64_t kN = 40000;
  GuardedBuffer<float> x = random.floats(kN * 2, 0.0f, 1.0f);
  for (int64_t inner : {1, 2}) {
    double exact = 0.0;
    for (int64_t i = 0; i < kN; ++i) exact += x[static_cast<size_t>(i * inner)];
    float y[2];
    reduce_f32(Reduce::kSum, x.data(), y, 1, kN, inner, 1);
    double roundings = inner == 1 ? kN / 16.0 + 4 : 256 + kN / 256.0;
    EXPECT_NEAR(y[0], exact, exact * roundings * 0x1p-24);
  }
}

TEST(Reduce, LogSumExpDoesNotOverflow) {
  GuardedBuffer<float> x = {1000.0f, 1000.0f, -INFINITY, -INFINITY};
  test::for_each_target([&](int threads) {
    float y[2];
    reduce_f32(Reduce::kLogSumExp, x.data(), y, 2, 2, 1, threads);
    EXPECT_NEAR(y[0], 1000.0f + std::log(2.0f), 1e-4);
    EXPECT_EQ(y[1], -INFINITY);
  });
}

TEST(Reduce, ArgReduce) {
  GuardedBuffer<float> x = {1, 5, 5, -2, NAN, 3, NAN, 4, 7, 7, 1, 7};
  int64_t y[3];
  arg_reduce_f32(true, false, x.data(), y, 3, 4, 1, 1);
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 0);
  EXPECT_EQ(y[2], 0);
  arg_reduce_f32(true, true, x.data(), y, 3, 4, 1, 1);
  EXPECT_EQ(y[0], 2);
  EXPECT_EQ(y[1], 2);
  EXPECT_EQ(y[2], 3);
  GuardedBuffer<float> m = {3, 1, 2, 0, 4, 2};  // columns of a 3 x 2 matrix
  arg_reduce_f32(false, false, m.data(), y, 1, 3, 2, 1);
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1);
}

}  // namespace
}  // namespace lowp::kernels
