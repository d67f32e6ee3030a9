#include "kernels/conv/winograd_int8.h"

#include "kernels/gemm/reference.h"
#include "kernels/gemm/test_util.h"

namespace lowp::kernels {
namespace {

using testing::fill_random;
using testing::GuardedBuffer;
using testing::on_every_target;
using testing::Random;

struct Layer {
  ConvArgs a;
  GuardedBuffer in, packed;
  std::vector<int8_t> weights;
  std::vector<float> scale, out;
  Layer(int64_t h, int64_t w, int64_t in_c, int64_t out_c)
      : in(static_cast<size_t>(h * w * in_c)),
        packed(packed_conv_bytes(WeightKind::kS8, out_c, in_c, 3, 3, 1), kPackedAlign),
        weights(static_cast<size_t>(out_c * in_c * 9)),
        scale(static_cast<size_t>(out_c), 1.0f),
        out(static_cast<size_t>(h * w * out_c)) {
    a.in_h = a.out_h = h, a.in_w = a.out_w = w, a.in_c = a.in_ld = in_c, a.out_c = a.out_ld = out_c;
    a.kernel_h = a.kernel_w = 3, a.pad_top = a.pad_left = 1;
    a.in_dtype = DType::kU8, a.weight_kind = WeightKind::kS8;
    a.in = in.data(), a.out = out.data();
    a.epilogue.scale = scale.data();
  }
  void pack() {
    pack_conv(WeightKind::kS8, DType::kI8, weights.data(), a.out_c, a.in_c, 3, 3, 1, packed.data());
    a.weights = packed.data();
    a.weight_sum = largest_weight_sum(weights.data(), a.in_c * 9, a.out_c);
  }
  void expect_reference() {
    ASSERT_TRUE(winograd_int8_fits(a));
    reference::conv(a, BF16Products::kExpanded);
    const std::vector<float> want = out;
    on_every_target([&](Target) {
      for (int threads : {1, 2, 5}) {
        std::ranges::fill(out, -1.0f);
        GuardedBuffer scratch(winograd_int8_scratch(a, threads), 64);
        scratch.fill(0xff);
        winograd_int8(a, scratch.data(), threads);
        ASSERT_EQ(out, want) << threads << " threads";
      }
    });
  }
};

// Pixels and weights of the largest size, with the signs that make transformed ones and sums the largest.
TEST(WinogradInt8, LargestNumbers) {
  for (const int signs : {0, 1, 2, 3}) {
    Layer l(9, 10, 96, 20);
    auto* pixels = l.in.as<uint8_t>();
    for (size_t i = 0; i < static_cast<size_t>(9 * 10 * 96); ++i) {
      const size_t x = i / 96 % 10, y = i / 960;
      pixels[i] = signs == 0 || (signs == 1 ? x % 2 : signs == 2 ? (x / 2 + y / 2) % 2 : (x + y) % 2) == 0 ? 255 : 0;
    }
    for (size_t i = 0; i < l.weights.size(); ++i)
      l.weights[i] = static_cast<int8_t>(signs == 0 || (signs + static_cast<int>(i)) % 2 == 0 ? -128 : 127);
    l.a.in_zero = signs % 2 == 0 ? 255 : 0;
    l.pack();
    l.expect_reference();
    if (HasFatalFailure()) return;
  }
}

// The largest sum of weights that is let through, all of it met by the largest pixels.
TEST(WinogradInt8, LargestSum) {
  Layer l(8, 8, 128, 16);
  std::ranges::fill(std::span(l.in.as<uint8_t>(), 8 * 8 * 128), uint8_t{255});
  constexpr int64_t kMost = (1 << 25) / 255 - 1;
  int64_t left = kMost;
  for (int8_t& w : std::span(l.weights).first(128 * 9)) {
    w = static_cast<int8_t>(std::min<int64_t>(left, 127));
    left -= w;
  }
  l.pack();
  EXPECT_EQ(l.a.weight_sum, kMost);
  l.expect_reference();
  l.a.weight_sum = kMost + 1;
  EXPECT_FALSE(winograd_int8_fits(l.a));
  l.a.int8_class = Int8Class::kA7Oct;  // pixels are half as large
  EXPECT_TRUE(winograd_int8_fits(l.a));
  l.a.weight_sum = 0;
  EXPECT_FALSE(winograd_int8_fits(l.a));
}

// Many channels: sums of products wrap before they are transformed back.
TEST(WinogradInt8, WrappingProducts) {
  Random random(9);
  Layer l(7, 6, 512, 40);
  fill_random(random, DType::kU8, l.in.data(), 7 * 6 * 512, 255);
  fill_random(random, DType::kI8, l.weights.data(), l.weights.size());
  for (int8_t& w : l.weights) w = static_cast<int8_t>(w / 6);
  l.pack();
  l.expect_reference();
}

}  // namespace
}  // namespace lowp::kernels
