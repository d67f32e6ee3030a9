#include "kernels/conv/conv.h"

#include "kernels/conv/order.h"
#include "kernels/gemm/reference.h"
#include "kernels/gemm/test_util.h"
#include "kernels/gemm/tiles.h"

namespace lowp::kernels {
namespace {

using testing::fill_random;
using testing::GuardedBuffer;
using testing::index_of;
using testing::kEveryBF16;
using testing::on_every_target;
using testing::Random;
using testing::RandomEpilogue;
using testing::same_bits;

struct Shape {
  const char* name;
  int64_t batch, in_h, in_w, in_c, out_c, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  int64_t pad_top, pad_left, pad_bottom, pad_right, groups;
};
constexpr Shape kShapes[] = {
    {"pointwise", 2, 5, 7, 20, 18, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1},
    {"pointwise strided", 2, 6, 7, 16, 33, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 1},
    {"3x3", 1, 9, 8, 16, 24, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 odd channels", 1, 6, 5, 13, 17, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 four channels by groups", 2, 6, 5, 36, 27, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3},
    {"strided, asymmetric", 2, 9, 10, 24, 16, 3, 3, 2, 2, 1, 1, 0, 0, 1, 1, 1},
    {"dilated", 1, 11, 12, 8, 16, 3, 2, 1, 2, 2, 3, 2, 1, 3, 0, 1},
    {"first layer", 2, 15, 17, 3, 16, 7, 7, 2, 2, 1, 1, 3, 3, 3, 3, 1},
    {"first layer, even", 1, 12, 13, 3, 32, 3, 3, 2, 2, 1, 1, 0, 0, 1, 1, 1},
    {"one channel, dilated", 1, 12, 13, 1, 5, 3, 3, 1, 1, 2, 1, 2, 1, 2, 1, 1},
    {"long K", 1, 5, 4, 64, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"block inside a tap", 1, 3, 4, 96, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"mostly padding", 1, 2, 2, 8, 16, 3, 3, 1, 1, 1, 1, 2, 2, 2, 2, 1},
    {"edges of a batch", 5, 7, 6, 16, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"edges of a batch, strided", 4, 14, 14, 32, 16, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1},
    {"wide edges", 3, 9, 8, 16, 16, 5, 5, 1, 1, 1, 1, 2, 2, 2, 2, 1},
    {"Winograd's, uneven padding", 1, 5, 9, 160, 16, 3, 3, 1, 1, 1, 1, 0, 2, 3, 1, 1},
    {"Winograd's, several strips", 2, 21, 26, 32, 50, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"1-D", 2, 1, 20, 12, 20, 1, 5, 1, 2, 1, 1, 0, 2, 0, 2, 1},
    // Channels in whole 64 bytes: AMX reads lines in place.
    {"two lines a tile, odd in all", 3, 5, 14, 64, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"lines in parts", 1, 3, 37, 64, 17, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"lines without padding, strided", 2, 5, 39, 64, 33, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 1},
    {"lines by groups, dilated", 1, 6, 35, 128, 34, 2, 3, 1, 2, 2, 2, 1, 0, 1, 0, 2},
    {"lines of a 1-D signal", 2, 1, 43, 64, 20, 1, 5, 1, 2, 1, 1, 0, 2, 0, 2, 1},
};

struct Kind {
  DType in;
  WeightKind weights;
  Int8Class int8_class = Int8Class::kExact8;
};
constexpr Kind kKinds[] = {
    {DType::kF32, WeightKind::kF32},
    {DType::kF32, WeightKind::kBF16},
    {DType::kBF16, WeightKind::kBF16},
    {DType::kF16, WeightKind::kF16},
    {DType::kU8, WeightKind::kS8},
    {DType::kI8, WeightKind::kS8},
    {DType::kU8, WeightKind::kS8, Int8Class::kA7Quad},
    {DType::kU8, WeightKind::kS8, Int8Class::kA7Oct},
};

ConvArgs args_of(const Shape& s) {
  ConvArgs a;
  a.batch = s.batch, a.in_h = s.in_h, a.in_w = s.in_w, a.in_c = s.in_c, a.out_c = s.out_c;
  a.kernel_h = s.kernel_h, a.kernel_w = s.kernel_w, a.stride_h = s.stride_h, a.stride_w = s.stride_w;
  a.dilation_h = s.dilation_h, a.dilation_w = s.dilation_w, a.pad_top = s.pad_top, a.pad_left = s.pad_left;
  a.groups = s.groups;
  a.out_h = (s.in_h + s.pad_top + s.pad_bottom - (s.kernel_h - 1) * s.dilation_h - 1) / s.stride_h + 1;
  a.out_w = (s.in_w + s.pad_left + s.pad_right - (s.kernel_w - 1) * s.dilation_w - 1) / s.stride_w + 1;
  return a;
}

void check(const Shape& s, const Kind& kind, bool every_choice, uint64_t seed) {
  SCOPED_TRACE(std::string(s.name) + ", " + std::string(dtype_name(kind.in)) + ", seed " + std::to_string(seed));
  Random random(seed);
  ConvArgs a = args_of(s);
  a.in_dtype = kind.in;
  a.weight_kind = kind.weights;
  a.int8_class = kind.int8_class;
  a.in_zero = kind.in == DType::kI8 ? -5 : kind.in == DType::kU8 && seed % 4 < 2 ? 99 : 0;
  a.in_ld = s.in_c + static_cast<int64_t>(seed % 2) * 5;
  a.out_ld = s.out_c + static_cast<int64_t>(seed % 2) * 3;

  const size_t in_count = static_cast<size_t>((s.batch * s.in_h * s.in_w - 1) * a.in_ld + s.in_c);
  GuardedBuffer in(in_count * static_cast<size_t>(dtype_bits(kind.in)) / 8);
  fill_random(random, kind.in, in.data(), in_count, kind.int8_class == Int8Class::kExact8 ? 255 : 127);
  a.in = in.data();

  const bool is_int = kind.weights == WeightKind::kS8;
  const int64_t cg = s.in_c / s.groups, weights_count = s.out_c * cg * s.kernel_h * s.kernel_w;
  std::vector<float> weights_f32(static_cast<size_t>(weights_count));
  std::vector<int8_t> weights_s8(static_cast<size_t>(weights_count));
  fill_random(random, DType::kF32, weights_f32.data(), weights_f32.size());
  fill_random(random, DType::kI8, weights_s8.data(), weights_s8.size());
  if (kind.int8_class != Int8Class::kExact8) {
    const auto safe = static_cast<int8_t>(lane_weights(kind.int8_class) / 2);  // any four of 64, eight of 32
    for (int8_t& w : weights_s8) w /= safe;
    ASSERT_TRUE(a7_safe_conv(kind.int8_class, weights_s8.data(), s.out_c, cg, s.kernel_h, s.kernel_w));
  }
  GuardedBuffer packed(packed_conv_bytes(kind.weights, s.out_c, cg, s.kernel_h, s.kernel_w, s.groups), kPackedAlign);
  if (is_int)
    pack_conv(kind.weights, DType::kI8, weights_s8.data(), s.out_c, cg, s.kernel_h, s.kernel_w, s.groups,
              packed.data());
  else
    pack_conv(kind.weights, DType::kF32, weights_f32.data(), s.out_c, cg, s.kernel_h, s.kernel_w, s.groups,
              packed.data());
  a.weights = packed.data();
  if (is_int) a.weight_sum = largest_weight_sum(weights_s8.data(), cg * s.kernel_h * s.kernel_w, s.out_c);

  const int64_t pixels = s.batch * a.out_h * a.out_w;
  const DType out = is_int && seed % 2 == 0 ? DType::kU8 : DType::kF32;
  RandomEpilogue epilogue(random, is_int, pixels, s.out_c, Activation::kRelu, out, seed % 3 == 0,
                          is_int ? DType::kU8 : DType::kF32, 1e-4f);
  a.epilogue = epilogue.e;
  const size_t count = static_cast<size_t>((pixels - 1) * a.out_ld + s.out_c);
  const size_t bytes = count * static_cast<size_t>(dtype_bits(a.epilogue.out)) / 8;
  std::vector<uint8_t> want[kBF16Products];
  for (BF16Products bf16 : kEveryBF16) {
    std::vector<uint8_t>& w = want[index_of(bf16)];
    w.assign(bytes, 0xcd);
    a.out = w.data();
    reference::conv(a, bf16);
  }
  on_every_target([&](Target target) {
    for (int threads : {1, 2, 3}) {
      if (every_choice && threads == 2) continue;
      a.choice = {};
      std::vector<KernelChoice> choices = {a.choice};
      if (every_choice) choices = conv_candidates(a, threads);
      // A third of the choices for each kind, another one for the next: all of them on every shape would take a minute,
      // and four with a sanitizer.
      const size_t step = every_choice ? 3 : 1;
      for (size_t i = seed % step; i < choices.size(); i += step) {
        const KernelChoice& choice = choices[i];
        GuardedBuffer got(bytes);
        got.fill(0xcd);
        a.out = got.data();
        a.choice = choice;
        GuardedBuffer scratch(conv_scratch(a, threads), 64);
        conv(a, scratch.data(), threads);
        ASSERT_TRUE(same_bits(a.epilogue.out, want[index_of(target)].data(), got.data(), count))
            << threads << " threads, " << choice_text(choice);
      }
    }
  });
}

TEST(Conv, Shapes) {
  uint64_t seed = 0;
  for (const Shape& shape : kShapes) {
    for (const Kind& kind : kKinds) {
      check(shape, kind, false, ++seed);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Conv, AnEmptyBatchIsNoError) {
  for (const Shape& s : kShapes) {
    for (const Kind& kind : kKinds) {
      ConvArgs a = args_of(s);
      a.batch = 0;
      a.in_dtype = kind.in;
      a.weight_kind = kind.weights;
      a.int8_class = kind.int8_class;
      a.in_ld = a.in_c, a.out_ld = a.out_c;
      on_every_target([&](Target) {
        EXPECT_FALSE(conv_candidates(a, 2).empty());
        GuardedBuffer scratch(conv_scratch(a, 2), 64);
        conv(a, scratch.data(), 2);
      });
    }
  }
}

TEST(Conv, EveryChoiceGivesTheSameBits) {
  uint64_t seed = 1000;
  for (size_t i = 0; i < std::size(kShapes); i += 2) {
    Shape wide = kShapes[i];  // more panels than one tile has
    wide.out_c = 108;
    for (const Kind& kind : kKinds) {
      check(wide, kind, true, ++seed);
      if (HasFatalFailure()) return;
    }
  }
}

// Every pixel comes once, and what a piece leaves out lies in the padding of all its pixels.
TEST(Conv, OrderCoversAllPixels) {
  int ordered = 0;
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(s.name);
    const ConvArgs a = args_of(s);
    const PixelOrder order = PixelOrder::of(a);
    if (order.count == 0) continue;
    ++ordered;
    const int64_t pixels = a.batch * a.out_h * a.out_w;
    std::vector<int> seen(static_cast<size_t>(pixels));
    int piece = 0;
    for (int64_t at = 0; at < pixels;) {
      const PixelOrder::Run run = order.run_at(at, INT64_MAX, a.batch);
      for (int64_t i = 0; i < run.count; ++i, ++at) {
        while (order.pieces[piece].end <= at) ++piece;
        const int64_t oh = run.oh + (run.down ? i : 0), ow = run.ow + (run.down ? 0 : i);
        ++seen[static_cast<size_t>((run.b * a.out_h + oh) * a.out_w + ow)];
        uint64_t outside = 0;
        for (int64_t tap = 0; tap < a.kernel_h * a.kernel_w; ++tap) {
          const int64_t ih = oh * a.stride_h - a.pad_top + tap / a.kernel_w * a.dilation_h;
          const int64_t iw = ow * a.stride_w - a.pad_left + tap % a.kernel_w * a.dilation_w;
          if (ih < 0 || ih >= a.in_h || iw < 0 || iw >= a.in_w) outside |= uint64_t{1} << tap;
        }
        EXPECT_EQ(run.outside, outside);
        EXPECT_EQ(order.pieces[piece].left_out & ~outside, 0U);
      }
    }
    EXPECT_EQ(order.pieces[order.piece_count - 1].end, pixels);
    EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
  }
  EXPECT_GE(ordered, 5);
}

// A convolution with a zero point equals the float convolution of the dequantized values, padding included.
TEST(Conv, ZeroPointMeansZero) {
  const int64_t h = 4, w = 5, c = 8, n = 16;
  const int zero = 17;
  Random random(3);
  std::vector<uint8_t> in(static_cast<size_t>(h * w * c));
  std::vector<int8_t> weights(static_cast<size_t>(n * c * 9));
  fill_random(random, DType::kU8, in.data(), in.size());
  fill_random(random, DType::kI8, weights.data(), weights.size());
  std::vector<float> in_f32, weights_f32(weights.begin(), weights.end());
  for (uint8_t v : in) in_f32.push_back(static_cast<float>(v - zero));
  GuardedBuffer packed(packed_conv_bytes(WeightKind::kS8, n, c, 3, 3, 1), kPackedAlign);
  GuardedBuffer packed_f32(packed_conv_bytes(WeightKind::kF32, n, c, 3, 3, 1), kPackedAlign);
  pack_conv(WeightKind::kS8, DType::kI8, weights.data(), n, c, 3, 3, 1, packed.data());
  pack_conv(WeightKind::kF32, DType::kF32, weights_f32.data(), n, c, 3, 3, 1, packed_f32.data());
  std::vector<int32_t> sums(n), bias(n);
  column_sums(weights.data(), c * 9, true, c * 9, n, sums.data());
  fold_zero_point(nullptr, sums.data(), n, DType::kU8, zero, bias.data());
  std::vector<float> scale(n, 1.0f), want(static_cast<size_t>(h * w * n)), got(want.size());

  ConvArgs a;
  a.in_h = a.out_h = h, a.in_w = a.out_w = w, a.in_c = a.in_ld = c, a.out_c = a.out_ld = n;
  a.kernel_h = a.kernel_w = 3, a.pad_top = a.pad_left = 1;
  a.in = in_f32.data(), a.weights = packed_f32.data(), a.out = want.data();
  on_every_target([&](Target) {
    ConvArgs f = a;
    std::vector<uint8_t> scratch(conv_scratch(f, 1) + 64);
    auto aligned = [&] {
      return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) & ~uintptr_t{63});
    };
    conv(f, aligned(), 1);
    ConvArgs q = a;
    q.in_dtype = DType::kU8, q.weight_kind = WeightKind::kS8, q.in_zero = zero;
    q.in = in.data(), q.weights = packed.data(), q.out = got.data();
    q.epilogue.scale = scale.data();
    q.epilogue.bias_s32 = bias.data();
    scratch.resize(conv_scratch(q, 1) + 64);
    conv(q, aligned(), 1);
    EXPECT_EQ(want, got);  // sums stay below 2^24, so f32 is exact too
  });
}

}  // namespace
}  // namespace lowp::kernels
