#include "kernels/norm/norm.h"

#include "base/float16.h"
#include "kernels/norm/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

struct Options {
  bool rms, residual, gamma, beta;
  bool q_gamma = false, q_beta = false;
};

void check_layer_norm(int64_t n, const Options& o, DType q_dtype) {
  constexpr int64_t kRows = 5;
  test::Random random;
  GuardedBuffer<float> x = random.floats(kRows * n, -3.0f, 5.0f), residual = random.floats(kRows * n);
  GuardedBuffer<float> gamma = random.floats(n, 0.5f, 2.0f), beta = random.floats(n);
  GuardedBuffer<float> q_gamma = random.floats(n, 0.5f, 2.0f), q_beta = random.floats(n);
  if (n > 3) x[static_cast<size_t>(n) + 1] = NAN, x[static_cast<size_t>(2 * n)] = INFINITY;
  for (int64_t i = 0; i < n; ++i) x[static_cast<size_t>(3 * n + i)] = 1.25f;  // variance 0

  struct Outputs {
    GuardedBuffer<float> y, sum, mean, inv_std;
    GuardedBuffer<uint8_t> q;
    explicit Outputs(int64_t n) : y(kRows * n), sum(kRows * n), mean(kRows), inv_std(kRows), q(kRows * n) {}
  };
  auto args_for = [&](Outputs* out) {
    LayerNormArgs a;
    a.rows = kRows;
    a.n = n;
    a.rms = o.rms;
    a.x = x.data();
    a.residual = o.residual ? residual.data() : nullptr;
    a.gamma = o.gamma ? gamma.data() : nullptr;
    a.beta = o.beta ? beta.data() : nullptr;
    a.y = out->y.data();
    a.sum_out = out->sum.data();
    a.mean_out = out->mean.data();
    a.inv_std_out = out->inv_std.data();
    a.quantized = out->q.data();
    a.q_dtype = q_dtype;
    a.q_scale = 0.02f;
    a.q_zero = q_dtype == DType::kI8 ? -5 : 100;
    a.q_range = {-40, 127};
    a.q_gamma = o.q_gamma ? q_gamma.data() : nullptr;
    a.q_beta = o.q_beta ? q_beta.data() : nullptr;
    return a;
  };
  Outputs expected(n);
  reference::layer_norm_f32(args_for(&expected));
  test::for_each_target([&](int threads) {
    Outputs actual(n);
    layer_norm_f32(args_for(&actual), threads);
    test::expect_same(actual.y, expected.y);
    test::expect_same(actual.sum, expected.sum);
    test::expect_same(actual.mean, expected.mean);
    test::expect_same(actual.inv_std, expected.inv_std);
    test::expect_same(actual.q, expected.q);
  });
}

TEST(Norm, LayerNormHasTheBitsOfTheReference) {
  for (int64_t n : {1, 15, 16, 31, 100, 384}) {
    for (bool rms : {false, true}) {
      check_layer_norm(n, {rms, true, true, true}, DType::kU8);
      check_layer_norm(n, {rms, false, true, false}, DType::kI8);
      check_layer_norm(n, {rms, false, true, true, true, true}, DType::kU8);
      check_layer_norm(n, {rms, true, false, true, true, false}, DType::kI8);
    }
  }
  check_layer_norm(33, {false, false, false, false}, DType::kU8);
  check_layer_norm(33, {false, true, false, true}, DType::kI8);
}

template <typename T>
void check_stored(DType dtype) {
  test::Random random;
  constexpr int64_t kRows = 7, kN = 45;
  GuardedBuffer<T> x(kRows * kN);
  for (T& v : x) v = T(random.uniform(-3, 5));
  GuardedBuffer<float> wide(kRows * kN), want(kRows * kN), gamma = random.floats(kN, 0.5f, 2.0f),
                                                           beta = random.floats(kN), mean(kRows), inv(kRows);
  for (size_t i = 0; i < x.size(); ++i) wide[i] = static_cast<float>(x[i]);
  for (bool rms : {false, true}) {
    LayerNormArgs a;
    a.rows = kRows;
    a.n = kN;
    a.rms = rms;
    a.x = wide.data();
    a.gamma = gamma.data();
    if (!rms) a.beta = beta.data();
    a.y = want.data();
    a.mean_out = mean.data();
    a.inv_std_out = inv.data();
    reference::layer_norm_f32(a);
    test::for_each_target([&](int threads) {
      GuardedBuffer<T> y = x;
      GuardedBuffer<float> got_mean(kRows), got_inv(kRows);
      LayerNormArgs b = a;
      b.x = nullptr;
      b.y = nullptr;
      b.mean_out = got_mean.data();
      b.inv_std_out = got_inv.data();
      layer_norm_stored(b, dtype, y.data(), y.data(), threads);
      test::expect_same(got_mean, mean);
      test::expect_same(got_inv, inv);
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_TRUE(test::same(static_cast<float>(y[i]), static_cast<float>(T(want[i])))) << i;
    });
  }
}

TEST(Norm, SixteenBitLayerNormIsTheSameRoundedOnce) {
  check_stored<BFloat16>(DType::kBF16);
  check_stored<Float16>(DType::kF16);
}

TEST(Norm, LayerNormInPlaceOnThreads) {
  test::Random random;
  constexpr int64_t kRows = 300, kN = 129;
  GuardedBuffer<float> x = random.floats(kRows * kN), expected(kRows * kN);
  LayerNormArgs a;
  a.rows = kRows;
  a.n = kN;
  a.x = x.data();
  a.y = expected.data();
  reference::layer_norm_f32(a);
  test::for_each_target([&](int threads) {
    GuardedBuffer<float> y = x;
    LayerNormArgs in_place = a;
    in_place.x = in_place.y = y.data();
    layer_norm_f32(in_place, threads);
    test::expect_same(y, expected);
  });
}

TEST(Norm, GroupNormHasTheBitsOfTheReference) {
  test::Random random;
  for (int64_t groups : {1, 3, 6}) {
    for (int64_t inner : {1, 7, 50}) {
      GuardedBuffer<float> x = random.floats(2 * 6 * inner), gamma = random.floats(6), beta = random.floats(6);
      GuardedBuffer<float> expected(2 * 6 * inner);
      GroupNormArgs a = {2, 6, inner, groups, 1e-5f, x.data(), gamma.data(), beta.data(), expected.data()};
      reference::group_norm_f32(a);
      test::for_each_target([&](int threads) {
        GuardedBuffer<float> y(2 * 6 * inner);
        GroupNormArgs b = a;
        b.y = y.data();
        group_norm_f32(b, threads);
        test::expect_same(y, expected);
      });
    }
  }
}

TEST(Norm, L2NormalizeHasTheBitsOfTheReference) {
  test::Random random;
  for (int64_t n : {1, 16, 29}) {
    GuardedBuffer<float> x = random.floats(4 * n), expected(4 * n);
    for (int64_t i = 0; i < n; ++i) x[static_cast<size_t>(i)] = 0.0f;
    reference::l2_normalize_f32(x.data(), expected.data(), 4, n, 1e-12f);
    test::for_each_target([&](int threads) {
      GuardedBuffer<float> y(4 * n);
      l2_normalize_f32(x.data(), y.data(), 4, n, 1e-12f, threads);
      test::expect_same(y, expected);
    });
  }
}

}  // namespace
}  // namespace lowp::kernels
