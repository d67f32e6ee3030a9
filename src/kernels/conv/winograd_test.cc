#include "kernels/conv/winograd.h"

#include "kernels/gemm/reference.h"
#include "kernels/gemm/test_util.h"

namespace lowp::kernels {
namespace {

using testing::fill_random;
using testing::GuardedBuffer;
using testing::on_every_target;
using testing::Random;
using testing::RandomEpilogue;
using testing::same_bits;

struct Shape {
  const char* name;
  int64_t batch, in_h, in_w, in_c, out_c, pad_top, pad_left, pad_bottom, pad_right;
};
constexpr Shape kShapes[] = {
    {"even", 1, 8, 6, 32, 32, 1, 1, 1, 1},
    {"odd extents and channels", 2, 7, 9, 37, 45, 1, 1, 1, 1},
    {"unpadded", 1, 9, 8, 40, 33, 0, 0, 0, 0},
    {"uneven padding", 1, 5, 6, 33, 64, 2, 0, 1, 3},
    {"two blocks of K", 1, 6, 6, 300, 40, 1, 1, 1, 1},
    {"rows that share sets of L1", 1, 4, 4, 1024, 32, 1, 1, 1, 1},
    {"several strips and groups of columns", 3, 15, 14, 32, 150, 1, 1, 1, 1},
    {"one pixel", 1, 1, 1, 32, 48, 1, 1, 1, 1},
    {"one row", 2, 3, 11, 32, 32, 0, 1, 0, 1},
};

ConvArgs args_of(const Shape& s) {
  ConvArgs a;
  a.batch = s.batch, a.in_h = s.in_h, a.in_w = s.in_w, a.in_c = s.in_c, a.out_c = s.out_c;
  a.kernel_h = a.kernel_w = 3, a.pad_top = s.pad_top, a.pad_left = s.pad_left;
  a.out_h = s.in_h + s.pad_top + s.pad_bottom - 2, a.out_w = s.in_w + s.pad_left + s.pad_right - 2;
  return a;
}

struct Layer {
  Random random;
  ConvArgs a;
  GuardedBuffer in, packed;
  std::vector<float> filters;
  Layer(const Shape& s, DType dtype, uint64_t seed)
      : random(seed),
        a(args_of(s)),
        in(static_cast<size_t>((s.batch * s.in_h * s.in_w - 1) * (s.in_c + 5) + s.in_c) *
           static_cast<size_t>(dtype_bits(dtype)) / 8),
        packed(packed_winograd_bytes(s.out_c, s.in_c), kPackedAlign),
        filters(static_cast<size_t>(s.out_c * s.in_c * 9)) {
    a.in_dtype = dtype;
    a.in_ld = s.in_c + 5;
    a.out_ld = s.out_c + static_cast<int64_t>(seed % 2) * 3;
    fill_random(random, dtype, in.data(), in.size() * 8 / static_cast<size_t>(dtype_bits(dtype)));
    fill_random(random, DType::kF32, filters.data(), filters.size());
    a.in = in.data();
  }
  // The filters as conv() reads them.
  GuardedBuffer direct() const {
    return GuardedBuffer(packed_conv_bytes(WeightKind::kF32, a.out_c, a.in_c, 3, 3, 1), kPackedAlign);
  }
  void pack(GuardedBuffer& buffer) {
    pack_conv(WeightKind::kF32, DType::kF32, filters.data(), a.out_c, a.in_c, 3, 3, 1, buffer.data());
    transform_filters(buffer.as<float>(), a.out_c, a.in_c, packed.as<float>(), 2);
    a.weights = packed.data();
    a.transformed = true;
  }
};

TEST(Winograd, HasTheBitsOfTheReference) {
  constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16};
  uint64_t seed = 0;
  for (const Shape& s : kShapes) {
    ++seed;
    SCOPED_TRACE(s.name);
    Layer l(s, kTypes[seed % 3], seed);
    ConvArgs& a = l.a;
    const int64_t pixels = a.batch * a.out_h * a.out_w;
    const DType out = kTypes[seed / 3 % 3];
    RandomEpilogue epilogue(l.random, false, pixels, a.out_c, seed % 2 == 0 ? Activation::kRelu : Activation::kSilu,
                            out, seed % 4 != 0, seed % 2 == 0 ? DType::kF32 : DType::kBF16, 1);
    a.epilogue = epilogue.e;
    const size_t count = static_cast<size_t>((pixels - 1) * a.out_ld + a.out_c);
    const size_t bytes = count * static_cast<size_t>(dtype_bits(out)) / 8;
    std::vector<uint8_t> want(bytes, 0xcd);
    a.out = want.data();
    reference::winograd(a, l.filters.data());
    on_every_target([&](Target) {
      GuardedBuffer direct = l.direct();
      l.pack(direct);
      for (int threads : {1, 2, 3, 7}) {
        GuardedBuffer got(bytes);
        got.fill(0xcd);
        a.out = got.data();
        GuardedBuffer scratch(winograd_scratch(a, threads), 64);
        scratch.fill(0xff);
        winograd(a, scratch.data(), threads);
        ASSERT_TRUE(same_bits(out, want.data(), got.data(), count)) << threads << " threads";
      }
    });
    if (HasFatalFailure()) return;
  }
}

// Filters that are transformed in the call.
TEST(Winograd, FiltersOfEveryKind) {
  for (const WeightKind kind : {WeightKind::kF32, WeightKind::kBF16, WeightKind::kF16}) {
    // One strip of tiles, and several.
    for (const Shape& s : {Shape{"", 1, 9, 10, 37, 150, 1, 1, 1, 1}, Shape{"", 2, 18, 17, 37, 40, 1, 1, 1, 1}}) {
      Layer l(s, DType::kF32, 5);
      ConvArgs& a = l.a;
      for (float& w : l.filters)
        w = kind == WeightKind::kBF16  ? static_cast<float>(BFloat16(w))
            : kind == WeightKind::kF16 ? static_cast<float>(Float16(w))
                                       : w;
      GuardedBuffer half(packed_conv_bytes(kind, s.out_c, s.in_c, 3, 3, 1), kPackedAlign);
      pack_conv(kind, DType::kF32, l.filters.data(), s.out_c, s.in_c, 3, 3, 1, half.data());
      const size_t count = static_cast<size_t>((a.batch * a.out_h * a.out_w - 1) * a.out_ld + a.out_c);
      std::vector<float> want(count);
      a.out = want.data();
      reference::winograd(a, l.filters.data());
      a.weight_kind = kind;
      a.weights = half.data();
      on_every_target([&](Target) {
        for (int threads : {1, 2, 5}) {
          GuardedBuffer got(count * 4), scratch(winograd_scratch(a, threads), 64);
          got.fill(0);
          scratch.fill(0xff);
          a.out = got.data();
          winograd(a, scratch.data(), threads);
          ASSERT_TRUE(same_bits(DType::kF32, want.data(), got.data(), count)) << threads << " threads";
        }
      });
      if (HasFatalFailure()) return;
    }
  }
}

// Both against sums in double.
TEST(Winograd, IsHalfAsAccurateAsTheConvolutionAtLeast) {
  const Shape s{"", 1, 14, 14, 256, 48, 1, 1, 1, 1};
  Layer l(s, DType::kF32, 77);
  ConvArgs& a = l.a;
  a.out_ld = a.out_c;
  GuardedBuffer direct = l.direct();
  l.pack(direct);
  std::vector<float> fast(static_cast<size_t>(14 * 14 * s.out_c)), slow(fast.size());
  a.out = fast.data();
  GuardedBuffer scratch(std::max(winograd_scratch(a, 1), conv_scratch(a, 1)), 64);
  winograd(a, scratch.data(), 1);
  a.weights = direct.data();
  a.out = slow.data();
  conv(a, scratch.data(), 1);
  double fast_error = 0, slow_error = 0;
  for (int64_t i = 0; i < 14 * 14; ++i) {
    for (int64_t n = 0; n < s.out_c; ++n) {
      double sum = 0;
      for (int64_t t = 0; t < 9; ++t) {
        const int64_t h = i / 14 + t / 3 - 1, w = i % 14 + t % 3 - 1;
        if (h < 0 || h >= 14 || w < 0 || w >= 14) continue;
        const float* x = l.in.as<float>() + (h * 14 + w) * a.in_ld;
        for (int64_t c = 0; c < s.in_c; ++c)
          sum +=
              static_cast<double>(x[c]) * static_cast<double>(l.filters[static_cast<size_t>((n * s.in_c + c) * 9 + t)]);
      }
      const auto at = static_cast<size_t>(i * s.out_c + n);
      fast_error += std::pow(static_cast<double>(fast[at]) - sum, 2);
      slow_error += std::pow(static_cast<double>(slow[at]) - sum, 2);
    }
  }
  EXPECT_GT(slow_error, 0);
  EXPECT_LT(std::sqrt(fast_error / slow_error), 2);
}

}  // namespace
}  // namespace lowp::kernels
