#include "kernels/batch_norm/batch_norm.h"

#include <vector>

#include "kernels/gemm/test_util.h"

namespace lowp::kernels {
namespace {

using testing::fill_random;
using testing::GuardedBuffer;
using testing::on_every_target;
using testing::Random;
using testing::same_bits;

constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16};
struct Extents {
  int64_t rows, channels;
};
constexpr Extents kExtents[] = {{1, 5}, {3, 16}, {256, 70}, {257, 33}, {1000, 131}, {600, 64}};

size_t bytes_of(DType dtype, int64_t count) { return static_cast<size_t>(count * dtype_bits(dtype) / 8); }

struct Activations {
  GuardedBuffer data;
  Activations(DType dtype, int64_t count) : data(bytes_of(dtype, count)) {}
  Activations(Random& random, DType dtype, int64_t count) : Activations(dtype, count) {
    fill_random(random, dtype, data.data(), static_cast<size_t>(count));
  }
};
struct Channels {
  std::vector<float> v;
  explicit Channels(int64_t n) : v(static_cast<size_t>(n)) {}
  Channels(Random& random, int64_t n, float middle) : Channels(n) {
    for (float& x : v) x = middle + 0.5f * random.uniform();
  }
};

TEST(BatchNorm, HasTheBitsOfTheReference) {
  for (const Extents& e : kExtents) {
    for (DType type : kTypes) {
      for (int variant = 0; variant < 4; ++variant) {
        SCOPED_TRACE(std::to_string(e.rows) + " x " + std::to_string(e.channels) + " " + std::string(dtype_name(type)));
        Random random(7);
        const int64_t count = e.rows * e.channels;
        Activations x(random, type, count), residual(random, type, count), y(type, count), want(type, count);
        Channels scale(random, e.channels, 1), bias(random, e.channels, 0);
        Channels mean[2] = {Channels(e.channels), Channels(e.channels)};
        Channels inv[2] = {Channels(e.channels), Channels(e.channels)};
        Channels variance[2] = {Channels(e.channels), Channels(e.channels)};
        BatchNormArgs a;
        a.rows = e.rows, a.channels = e.channels, a.dtype = type, a.relu = variant % 2 == 1;
        a.x = x.data.data(), a.scale = scale.v.data(), a.bias = bias.v.data();
        if (variant >= 2) a.residual = residual.data.data();
        a.y = want.data.data(), a.mean = mean[0].v.data(), a.inv_std = inv[0].v.data();
        a.variance = variance[0].v.data();
        reference::batch_norm(a);
        on_every_target([&](Target) {
          for (int threads : {1, 2, 3}) {
            GuardedBuffer scratch(batch_norm_scratch(e.rows, e.channels), 64);
            a.y = y.data.data(), a.mean = mean[1].v.data(), a.inv_std = inv[1].v.data();
            a.variance = variance[1].v.data();
            batch_norm(a, scratch.data(), threads);
            ASSERT_EQ(mean[0].v, mean[1].v);
            ASSERT_EQ(inv[0].v, inv[1].v);
            ASSERT_EQ(variance[0].v, variance[1].v);
            ASSERT_TRUE(same_bits(type, want.data.data(), y.data.data(), static_cast<size_t>(count))) << threads;
          }
        });
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(BatchNorm, GradientHasTheBitsOfTheReference) {
  for (const Extents& e : kExtents) {
    for (DType type : kTypes) {
      for (int variant = 0; variant < 4; ++variant) {  // plain; relu; relu from y; relu from y with dresidual
        SCOPED_TRACE(std::to_string(e.rows) + " x " + std::to_string(e.channels) + " " + std::string(dtype_name(type)));
        Random random(8);
        const int64_t count = e.rows * e.channels;
        const auto n = static_cast<size_t>(count);
        Activations x(random, type, count), dy(random, type, count), y(random, type, count);
        Activations dx[2] = {Activations(type, count), Activations(type, count)};
        Activations dr[2] = {Activations(type, count), Activations(type, count)};
        Channels scale(random, e.channels, 1), bias(random, e.channels, 0), mean(random, e.channels, 0);
        Channels inv(random, e.channels, 2);
        Channels dscale[2] = {Channels(e.channels), Channels(e.channels)};
        Channels dbias[2] = {Channels(e.channels), Channels(e.channels)};
        BatchNormGradientArgs a;
        a.rows = e.rows, a.channels = e.channels, a.dtype = type, a.relu = variant > 0;
        a.dy = dy.data.data(), a.x = x.data.data(), a.scale = scale.v.data(), a.bias = bias.v.data();
        a.mean = mean.v.data(), a.inv_std = inv.v.data();
        if (variant >= 2) a.y = y.data.data();
        auto results = [&](size_t i) {
          a.dx = dx[i].data.data(), a.dscale = dscale[i].v.data(), a.dbias = dbias[i].v.data();
          if (variant == 3) a.dresidual = dr[i].data.data();
        };
        results(0);
        reference::batch_norm_gradient(a);
        results(1);
        on_every_target([&](Target) {
          for (int threads : {1, 2, 3}) {
            GuardedBuffer scratch(batch_norm_scratch(e.rows, e.channels), 64);
            batch_norm_gradient(a, scratch.data(), threads);
            ASSERT_EQ(dscale[0].v, dscale[1].v);
            ASSERT_EQ(dbias[0].v, dbias[1].v);
            ASSERT_TRUE(same_bits(type, dx[0].data.data(), dx[1].data.data(), n)) << threads;
            if (variant == 3) {
              ASSERT_TRUE(same_bits(type, dr[0].data.data(), dr[1].data.data(), n)) << threads;
            }
          }
        });
        if (HasFatalFailure()) return;
      }
    }
  }
}

// A large mean and a small spread: a difference of squares would lose all of it.
TEST(BatchNorm, KeepsASmallVariance) {
  constexpr int64_t kRows = 5000;
  std::vector<float> x(kRows), y(kRows), one(1, 1.0f), zero(1), mean(1), inv(1), variance(1);
  for (int64_t i = 0; i < kRows; ++i) x[static_cast<size_t>(i)] = 1000.0f + static_cast<float>(i % 2) * 0.125f;
  BatchNormArgs a;
  a.rows = kRows, a.channels = 1, a.eps = 0;
  a.x = x.data(), a.scale = one.data(), a.bias = zero.data(), a.y = y.data();
  a.mean = mean.data(), a.inv_std = inv.data(), a.variance = variance.data();
  GuardedBuffer scratch(batch_norm_scratch(kRows, 1), 64);
  batch_norm(a, scratch.data(), 1);
  EXPECT_NEAR(static_cast<double>(mean[0]), 1000.0625, 1e-4);
  EXPECT_NEAR(static_cast<double>(inv[0]), 16.0, 1e-3);
  EXPECT_NEAR(static_cast<double>(variance[0]), 0.0625 * 0.0625 * 5000 / 4999, 1e-6);
}

}  // namespace
}  // namespace lowp::kernels
