#include "kernels/conv/gradient.h"

#include <cstring>

#include "kernels/conv/pack.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/test_util.h"

namespace lowp::kernels {
namespace {

using testing::fill_random;
using testing::GuardedBuffer;
using testing::index_of;
using testing::kEveryBF16;
using testing::on_every_target;
using testing::Random;

struct Case {
  const char* name;
  int64_t batch, in_h, in_w, in_c, out_c, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  int64_t pad_top, pad_left, pad_bottom, pad_right, groups;
};
constexpr Case kCases[] = {
    {"pointwise", 2, 5, 7, 20, 18, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1},
    {"pointwise, whole panels", 3, 12, 11, 32, 48, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1},
    {"pointwise strided", 2, 6, 7, 16, 33, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 1},
    {"3x3, several blocks", 2, 19, 18, 16, 24, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3, several blocks of tiles", 3, 20, 21, 20, 36, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 odd channels", 1, 6, 5, 13, 17, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 by groups", 2, 6, 5, 36, 27, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3},
    {"strided by groups", 1, 7, 8, 10, 6, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 2},
    {"strided, asymmetric", 2, 9, 10, 24, 16, 3, 3, 2, 2, 1, 1, 0, 0, 1, 1, 1},
    {"dilated", 1, 11, 12, 8, 16, 3, 2, 1, 2, 2, 3, 2, 1, 3, 0, 1},
    {"dilated and strided alike", 1, 11, 12, 8, 16, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1},
    {"first layer", 2, 15, 17, 3, 16, 7, 7, 2, 2, 1, 1, 3, 3, 3, 3, 1},
    {"stride beyond the kernel", 1, 10, 11, 4, 3, 2, 2, 3, 4, 1, 1, 0, 1, 0, 0, 1},
    {"few output channels", 1, 8, 9, 20, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"many output channels", 1, 9, 9, 16, 150, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"more padding than kernel", 1, 4, 4, 8, 16, 2, 2, 1, 1, 1, 1, 3, 2, 3, 2, 1},
    {"depthwise", 2, 20, 9, 19, 19, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 19},
    {"depthwise strided, wide", 2, 9, 10, 130, 130, 5, 5, 2, 2, 1, 1, 2, 2, 2, 2, 130},
    {"panels side by side", 1, 10, 9, 64, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"panels side by side, strided", 2, 21, 19, 256, 70, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 1},
    {"1-D", 2, 1, 20, 12, 20, 1, 5, 1, 2, 1, 1, 0, 2, 0, 2, 1},
};
constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

ConvShape shape_of(const Case& c) {
  ConvShape s;
  s.batch = c.batch, s.in_h = c.in_h, s.in_w = c.in_w, s.in_c = c.in_c, s.out_c = c.out_c;
  s.kernel_h = c.kernel_h, s.kernel_w = c.kernel_w, s.stride_h = c.stride_h, s.stride_w = c.stride_w;
  s.dilation_h = c.dilation_h, s.dilation_w = c.dilation_w, s.pad_top = c.pad_top, s.pad_left = c.pad_left;
  s.groups = c.groups;
  s.out_h = (c.in_h + c.pad_top + c.pad_bottom - (c.kernel_h - 1) * c.dilation_h - 1) / c.stride_h + 1;
  s.out_w = (c.in_w + c.pad_left + c.pad_right - (c.kernel_w - 1) * c.dilation_w - 1) / c.stride_w + 1;
  return s;
}

size_t bytes_of(DType dtype, int64_t count) { return static_cast<size_t>(count * dtype_bits(dtype) / 8); }

struct Operand {
  GuardedBuffer data;
  Operand(Random& random, DType dtype, int64_t count) : data(bytes_of(dtype, count)) {
    fill_random(random, dtype, data.data(), static_cast<size_t>(count));
  }
};

TEST(ConvGradient, InputHasTheBitsOfTheReference) {
  for (const Case& c : kCases) {
    for (DType type : kTypes) {
      SCOPED_TRACE(std::string(c.name) + ", " + std::string(dtype_name(type)));
      const ConvShape s = shape_of(c);
      Random random(1);
      const int64_t count = s.batch * s.in_h * s.in_w * s.in_c;
      Operand dy(random, type, s.pixels() * s.out_c), w(random, type, s.out_c * (s.in_c / s.groups) * s.taps());
      ConvInputGradientArgs a{s, type, type, type, dy.data.data(), w.data.data(), nullptr};
      std::vector<uint8_t> wants[kBF16Products];
      for (const BF16Products bf16 : kEveryBF16) {
        wants[index_of(bf16)].resize(bytes_of(type, count));
        a.dx = wants[index_of(bf16)].data();
        reference::conv_input_gradient(a, bf16);
      }
      on_every_target([&](Target) {
        const std::vector<uint8_t>& want = wants[index_of(active_target())];
        for (int threads : {1, 2, 3}) {
          GuardedBuffer got(want.size()), scratch(conv_input_gradient_scratch(a, threads), 64);
          got.fill(0xcd);
          scratch.fill(0xff);
          a.dx = got.data();
          conv_input_gradient(a, scratch.data(), threads);
          ASSERT_TRUE(testing::same_bits(type, want.data(), got.data(), static_cast<size_t>(count))) << threads;
        }
      });
      if (HasFatalFailure()) return;
    }
  }
}

TEST(ConvGradient, WeightsHaveTheBitsOfTheReference) {
  for (const Case& c : kCases) {
    for (DType type : kTypes) {
      SCOPED_TRACE(std::string(c.name) + ", " + std::string(dtype_name(type)));
      const ConvShape s = shape_of(c);
      Random random(2);
      const int64_t count = s.out_c * (s.in_c / s.groups) * s.taps();
      Operand x(random, type, s.batch * s.in_h * s.in_w * s.in_c), dy(random, type, s.pixels() * s.out_c);
      std::vector<float> wants[kBF16Products], want_db(static_cast<size_t>(s.out_c));
      ConvWeightGradientArgs a{s, type, type, x.data.data(), dy.data.data(), nullptr, want_db.data()};
      for (const BF16Products bf16 : kEveryBF16) {
        wants[index_of(bf16)].resize(static_cast<size_t>(count));
        a.dw = wants[index_of(bf16)].data();
        reference::conv_weight_gradient(a, bf16);
      }
      on_every_target([&](Target) {
        const std::vector<float>& want = wants[index_of(active_target())];
        for (int threads : {1, 2, 3}) {
          GuardedBuffer got(want.size() * 4), got_db(want_db.size() * 4);
          GuardedBuffer scratch(conv_weight_gradient_scratch(a, threads), 64);
          scratch.fill(0xff);
          a.dw = got.as<float>();
          a.db = got_db.as<float>();
          conv_weight_gradient(a, scratch.data(), threads);
          ASSERT_TRUE(testing::same_bits(DType::kF32, want.data(), got.data(), want.size())) << threads;
          ASSERT_TRUE(testing::same_bits(DType::kF32, want_db.data(), got_db.data(), want_db.size())) << threads;
        }
      });
      if (HasFatalFailure()) return;
    }
  }
}

TEST(ConvGradient, NoPixelsGiveZeros) {
  ConvShape s = shape_of(kCases[3]);
  s.batch = 0;
  std::vector<float> dw(static_cast<size_t>(s.out_c * s.in_c * s.taps()), 1.0f), db(static_cast<size_t>(s.out_c), 1.0f);
  ConvWeightGradientArgs a{s, DType::kF32, DType::kF32, nullptr, nullptr, dw.data(), db.data()};
  GuardedBuffer scratch(conv_weight_gradient_scratch(a, 1), 64);
  conv_weight_gradient(a, scratch.data(), 1);
  EXPECT_EQ(dw, std::vector<float>(dw.size()));
  EXPECT_EQ(db, std::vector<float>(db.size()));
}

TEST(ConvPack, FiltersAreThoseOfPackConv) {
  for (DType type : kTypes) {
    for (const WeightKind kind : {WeightKind::kF32, WeightKind::kBF16}) {
      if (kind == WeightKind::kBF16 && type != DType::kBF16) continue;
      for (const int64_t in_c : {21, 22}) {
        for (const int64_t taps : {1, 9, 70}) {
          const int64_t out_c = 42, groups = 2, count = out_c * in_c * taps;
          Random random(3);
          Operand w(random, type, count);
          std::vector<float> plain(static_cast<size_t>(count));
          widen(type, w.data.data(), plain.data(), count);
          const size_t bytes = packed_conv_bytes(kind, out_c, in_c, 1, taps, groups);
          std::vector<uint8_t> want(bytes);
          pack_conv(kind, DType::kF32, plain.data(), out_c, in_c, 1, taps, groups, want.data());
          on_every_target([&](Target) {
            GuardedBuffer got(bytes);
            got.fill(0xcd);
            pack_filters(kind, type, w.data.data(), out_c, in_c, taps, groups, got.data(), 2);
            EXPECT_EQ(std::memcmp(want.data(), got.data(), bytes), 0);
          });
        }
      }
    }
  }
}

}  // namespace
}  // namespace lowp::kernels
