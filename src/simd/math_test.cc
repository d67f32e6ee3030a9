// Accuracy of simd/math.h against long double, on the plain vectors; other targets have the same bits
// (elementwise_test).
#define LOWP_TARGET math_test
#include "simd/math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "simd/pow.h"
#include "support/kernel_test.h"

namespace lowp::math_test {
namespace {

using Exact = long double;

// The distance of y from exact in units in the last place of a float at exact.
double error_in_ulp(float y, Exact exact) {
  if (std::isinf(static_cast<float>(exact)) || std::isinf(y)) return y == static_cast<float>(exact) ? 0.0 : 1e30;
  int exponent;
  frexpl(exact, &exponent);
  return static_cast<double>(fabsl(y - exact) / ldexpl(1.0L, std::max(exponent, -125) - 24));
}

struct Case {
  const char* name;
  F32 (*function)(F32);
  Exact (*exact)(Exact);
  float lo, hi;
  double bound;  // as documented in math.h
};

const Case kCases[] = {
    {"exp", exp, expl, -104.0f, 89.0f, 1.1},
    {"exp near 0", exp, expl, -1.0f, 1.0f, 1.1},
    {"expm1", expm1_nonpositive, expm1l, -20.0f, 0.0f, 1.0},
    {"log", log, logl, 0.0f, 4.0f, 0.8},
    {"log large", log, logl, 1.0f, 1e30f, 0.8},
    {"log subnormal", log, logl, 0.0f, 0x1p-126f, 0.8},
    {"log1p", log1p_unit, log1pl, 0.0f, 1.0f, 1.3},
    {"erf", erf, erfl, -5.0f, 5.0f, 1.3},
    {"erf small", erf, erfl, -0.1f, 0.1f, 1.3},
    {"tanh", tanh, tanhl, -10.0f, 10.0f, 1.4},
    {"tanh small", tanh, tanhl, -0.7f, 0.7f, 1.4},
    {"sigmoid", sigmoid, [](Exact x) { return 1.0L / (1.0L + expl(-x)); }, -103.0f, 20.0f, 2.3},
    {"softplus", softplus, [](Exact x) { return log1pl(expl(x)); }, -103.0f, 20.0f, 2.3},
    {"mish", mish, [](Exact x) { return x * tanhl(log1pl(expl(x))); }, -80.0f, 20.0f, 4.5},
    {"silu", silu, [](Exact x) { return x / (1.0L + expl(-x)); }, -80.0f, 20.0f, 3.3},
    {"gelu", gelu, [](Exact x) { return x / 2 * (1.0L + erfl(x * sqrtl(0.5L))); }, 0.0f, 20.0f, 4.0},
};

TEST(Math, IsAsAccurateAsDocumented) {
  test::Random random;
  for (const Case& c : kCases) {
    double worst = 0.0;
    float at = 0.0f;
    for (int round = 0; round < 2000; ++round) {
      float x[16], y[16];
      for (float& v : x) v = random.uniform(c.lo, c.hi);
      store(y, c.function(load(x)));
      for (int i = 0; i < 16; ++i) {
        double error = error_in_ulp(y[i], c.exact(x[i]));
        if (!(error <= worst)) worst = error, at = x[i];
      }
    }
    EXPECT_LE(worst, c.bound) << c.name << " at " << at << ", seed " << test::Random::seed();
  }
}

// Rounding of 0.5 x (1 + erf) is relative to |x|: where erf is near -1 the error is absolute.
TEST(Math, GeluHasASmallAbsoluteError) {
  test::Random random;
  for (int i = 0; i < 20000; ++i) {
    float x = random.uniform(-10.0f, 10.0f);
    Exact exact = static_cast<Exact>(x) / 2 * (1.0L + erfl(x * sqrtl(0.5L)));
    EXPECT_NEAR(first(gelu(set(x))), static_cast<double>(exact), 2.3e-7 * std::fabs(x)) << x;
  }
  EXPECT_EQ(first(gelu(set(7.0f))), 7.0f);
  EXPECT_EQ(first(gelu(set(1e30f))), 1e30f);
  EXPECT_EQ(first(gelu(set(-7.0f))), 0.0f);
  EXPECT_TRUE(std::isnan(first(gelu(set(NAN)))));
}

TEST(Math, CoarseGeluIsExactWhereItsFitEnds) {
  test::Random random;
  for (int i = 0; i < 20000; ++i) {
    float x = random.uniform(-10.0f, 10.0f);
    Exact exact = static_cast<Exact>(x) / 2 * (1.0L + erfl(x * sqrtl(0.5L)));
    EXPECT_NEAR(first(gelu_coarse(set(x))), static_cast<double>(exact), 1.3e-4) << x;
  }
  for (float x : {4.0f, 5.5f, 1e30f}) {
    EXPECT_EQ(first(gelu_coarse(set(x))), x);
    EXPECT_EQ(first(gelu_coarse(set(-x))), 0.0f);
  }
  EXPECT_EQ(first(gelu_coarse(set(0.0f))), 0.0f);
  EXPECT_TRUE(std::isnan(first(gelu_coarse(set(NAN)))));
}

TEST(Math, CoarseTanhAndSigmoidAreExactWhereTheirFitEnds) {
  test::Random random;
  for (int i = 0; i < 20000; ++i) {
    const float x = random.uniform(-12.0f, 12.0f);
    const auto exact = static_cast<Exact>(x);
    EXPECT_NEAR(first(tanh_coarse(set(x))), static_cast<double>(tanhl(exact)), 9.5e-5) << x;
    EXPECT_NEAR(first(sigmoid_coarse(set(x))), static_cast<double>(1 / (1 + expl(-exact))), 4.8e-5) << x;
  }
  for (float x : {10.0f, 1e30f, INFINITY}) {
    EXPECT_EQ(first(tanh_coarse(set(x))), 1.0f);
    EXPECT_EQ(first(tanh_coarse(set(-x))), -1.0f);
    EXPECT_EQ(first(sigmoid_coarse(set(x))), 1.0f);
    EXPECT_EQ(first(sigmoid_coarse(set(-x))), 0.0f);
  }
  EXPECT_EQ(first(tanh_coarse(set(5.0f))), 1.0f);
  EXPECT_EQ(first(tanh_coarse(set(0.0f))), 0.0f);
  EXPECT_EQ(first(sigmoid_coarse(set(0.0f))), 0.5f);
  EXPECT_TRUE(std::isnan(first(tanh_coarse(set(NAN)))));
  EXPECT_TRUE(std::isnan(first(sigmoid_coarse(set(NAN)))));
}

TEST(Math, EdgeValues) {
  float inf = INFINITY;
  auto at = [](F32 (*f)(F32), float x) { return first(f(set(x))); };
  EXPECT_EQ(at(exp, -inf), 0.0f);
  EXPECT_EQ(at(exp, inf), inf);
  EXPECT_EQ(at(exp, 0.0f), 1.0f);
  EXPECT_EQ(at(exp, 88.8f), inf);
  EXPECT_TRUE(std::isnan(at(exp, NAN)));
  EXPECT_EQ(at(log, 0.0f), -inf);
  EXPECT_EQ(at(log, inf), inf);
  EXPECT_EQ(at(log, 1.0f), 0.0f);
  EXPECT_TRUE(std::isnan(at(log, -1.0f)));
  EXPECT_TRUE(std::isnan(at(log, NAN)));
  EXPECT_EQ(at(erf, inf), 1.0f);
  EXPECT_EQ(at(erf, -inf), -1.0f);
  EXPECT_TRUE(std::isnan(at(erf, NAN)));
  EXPECT_EQ(at(tanh, inf), 1.0f);
  EXPECT_EQ(at(tanh, -inf), -1.0f);
  EXPECT_TRUE(std::isnan(at(tanh, NAN)));
  EXPECT_EQ(at(sigmoid, -inf), 0.0f);
  EXPECT_EQ(at(sigmoid, inf), 1.0f);
  EXPECT_TRUE(std::isnan(at(sigmoid, NAN)));
  EXPECT_EQ(at(softplus, inf), inf);
  EXPECT_EQ(at(softplus, -inf), 0.0f);
}

TEST(Math, PowIsCorrectlyRoundedAlmostAlways) {
  test::Random random;
  for (int i = 0; i < 20000; ++i) {
    float a = random.uniform(0.0f, 20.0f), b = random.uniform(-30.0f, 30.0f);
    EXPECT_LE(error_in_ulp(pow_lane(a, b), powl(a, b)), 0.501) << a << " ^ " << b;
  }
  for (float a : test::awkward_floats()) {
    for (float b : test::awkward_floats()) {
      float expected = static_cast<float>(powl(a, b));
      EXPECT_TRUE(test::same(pow_lane(a, b), expected))
          << a << " ^ " << b << ": " << pow_lane(a, b) << ", " << expected;
    }
  }
}

}  // namespace
}  // namespace lowp::math_test
