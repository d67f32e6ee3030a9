#include "kernels/optimizer/optimizer.h"

#include <vector>

#include "kernels/reduce/reference.h"
#include "support/kernel_test.h"

namespace lowp::kernels {
namespace {

using test::GuardedBuffer;

constexpr int64_t kSizes[] = {1, 15, 16, 1000, 40003};

// One element of each formula of optimizer.h.
void sgd_element(const SgdArgs& a, float& w, float g, float* v) {
  float d = std::fma(a.weight_decay, w, g * a.gradient_scale);
  if (v != nullptr) {
    *v = std::fma(a.momentum, *v, d);
    d = a.nesterov ? std::fma(a.momentum, *v, d) : *v;
  }
  w = std::fma(-a.learning_rate, d, w);
}
float adam_direction(const AdamArgs& a, float w, float g, float& m, float& v) {
  g *= a.gradient_scale;
  if (a.rule == AdamRule::kAdam) g = std::fma(a.weight_decay, w, g);
  m = std::fma(1.0f - a.beta1, g - m, m);
  v = std::fma((1.0f - a.beta2) * g, g, a.beta2 * v);
  return (m / a.correction1) / (std::sqrt(v / a.correction2) + a.epsilon);
}

double naive_square_sum(const float* x, float scale, int64_t n) {
  double sum = 0;
  for (int64_t b = 0; b < n; b += kSumBlock) {
    sum += static_cast<double>(
        reference::lane_sum_square(std::min(kSumBlock, n - b), [&](int64_t i) { return x[b + i] * scale; }));
  }
  return sum;
}

TEST(Optimizer, SgdHasTheBitsOfItsFormula) {
  test::Random random;
  for (int64_t n : kSizes) {
    for (int form = 0; form < 3; ++form) {
      SgdArgs args{0.1f, 0.9f, 0.01f, 0.5f, form == 2};
      const GuardedBuffer<float> w = random.floats(n), g = random.floats(n), v = random.floats(n);
      GuardedBuffer<float> want_w = w, want_v = v;
      for (int64_t i = 0; i < n; ++i)
        sgd_element(args, want_w.data()[i], g.data()[i], form == 0 ? nullptr : want_v.data() + i);
      test::for_each_target([&](int threads) {
        GuardedBuffer<float> have_w = w, have_v = v;  // in place
        sgd_step(args, have_w.data(), g.data(), form == 0 ? nullptr : have_v.data(), have_w.data(), have_v.data(), n,
                 threads);
        test::expect_same(have_w, want_w);
        test::expect_same(have_v, want_v);
      });
    }
  }
}

TEST(Optimizer, AdamHasTheBitsOfItsFormula) {
  test::Random random;
  for (int64_t n : kSizes) {
    for (AdamRule rule : {AdamRule::kAdam, AdamRule::kAdamW, AdamRule::kLamb}) {
      SCOPED_TRACE(static_cast<int>(rule));
      AdamArgs args;
      args.rule = rule;
      args.learning_rate = 0.01f;
      args.weight_decay = 0.1f;
      args.gradient_scale = 0.25f;
      args.correction1 = 0.19f;
      args.correction2 = 0.002f;
      const GuardedBuffer<float> w = random.floats(n), g = random.floats(n), m = random.floats(n),
                                 v = random.floats(n, 0.0f, 1.0f);
      GuardedBuffer<float> want_w = w, want_m = m, want_v = v, u(n);
      for (int64_t i = 0; i < n; ++i)
        u.data()[i] = adam_direction(args, w.data()[i], g.data()[i], want_m.data()[i], want_v.data()[i]);
      float rate = args.learning_rate;
      if (rule == AdamRule::kLamb) {
        for (int64_t i = 0; i < n; ++i) u.data()[i] = std::fma(args.weight_decay, w.data()[i], u.data()[i]);
        rate = static_cast<float>(static_cast<double>(rate) * (std::sqrt(naive_square_sum(w.data(), 1.0f, n)) /
                                                               std::sqrt(naive_square_sum(u.data(), 1.0f, n))));
      }
      for (int64_t i = 0; i < n; ++i) {
        const float from =
            rule == AdamRule::kAdamW ? w.data()[i] - (rate * args.weight_decay) * w.data()[i] : w.data()[i];
        want_w.data()[i] = std::fma(-rate, u.data()[i], from);
      }
      test::for_each_target([&](int threads) {
        GuardedBuffer<float> have_w = w, have_m = m, have_v = v;
        std::vector<double> scratch(static_cast<size_t>(adam_scratch(rule, n) / 8 + 1));
        adam_step(args, have_w.data(), g.data(), have_m.data(), have_v.data(), have_w.data(), have_m.data(),
                  have_v.data(), n, scratch.data(), threads);
        test::expect_same(have_w, want_w);
        test::expect_same(have_m, want_m);
        test::expect_same(have_v, want_v);
      });
    }
  }
}

TEST(Optimizer, SquareSumSeesWhatIsNotFinite) {
  test::Random random;
  for (int64_t n : kSizes) {
    GuardedBuffer<float> x = random.floats(n, -1e19f, 1e19f);
    test::for_each_target([&](int threads) {
      std::vector<double> blocks(static_cast<size_t>(sum_blocks(n)));
      SquareSum have = square_sum(x.data(), 1e-19f, n, blocks.data(), threads);
      EXPECT_TRUE(have.finite);
      EXPECT_EQ(have.sum, naive_square_sum(x.data(), 1e-19f, n));
      // The squares overflow, the elements do not.
      have = square_sum(x.data(), 1.0f, n, blocks.data(), threads);
      EXPECT_TRUE(have.finite);
      for (float bad : {INFINITY, -INFINITY, NAN}) {
        GuardedBuffer<float> y = x;
        y.data()[n - 1] = bad;
        EXPECT_FALSE(square_sum(y.data(), 1.0f, n, blocks.data(), threads).finite);
      }
    });
  }
}

}  // namespace
}  // namespace lowp::kernels
