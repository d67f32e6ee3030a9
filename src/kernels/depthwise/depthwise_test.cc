#include "kernels/depthwise/depthwise.h"

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
  int64_t batch, in_h, in_w, c, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  int64_t pad_top, pad_left, pad_bottom, pad_right;
};
constexpr Shape kShapes[] = {
    {"3x3", 2, 6, 7, 35, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 stride 2", 1, 9, 10, 16, 3, 3, 2, 2, 1, 1, 0, 0, 1, 1},
    {"5x5", 1, 9, 11, 150, 5, 5, 1, 1, 1, 1, 2, 2, 2, 2},
    {"5x5 stride 2", 2, 8, 9, 33, 5, 5, 2, 2, 1, 1, 1, 2, 2, 1},
    {"dilated", 1, 9, 9, 20, 3, 3, 1, 1, 2, 3, 2, 3, 2, 3},
    {"2x4", 1, 6, 9, 1, 2, 4, 1, 3, 1, 1, 0, 1, 1, 2},
    {"one tap", 1, 3, 3, 17, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {"1-D", 1, 1, 14, 48, 1, 7, 1, 1, 1, 1, 0, 3, 0, 3},
    {"mostly padding", 1, 1, 1, 64, 3, 3, 1, 1, 1, 1, 2, 2, 2, 2},
};

void check(const Shape& s, DType dtype, DType out, Activation activation, uint64_t seed) {
  SCOPED_TRACE(std::string(s.name) + ", " + std::string(dtype_name(dtype)) + ", seed " + std::to_string(seed));
  Random random(seed);
  DepthwiseArgs a;
  a.batch = s.batch, a.in_h = s.in_h, a.in_w = s.in_w, a.c = s.c;
  a.kernel_h = s.kernel_h, a.kernel_w = s.kernel_w, a.stride_h = s.stride_h, a.stride_w = s.stride_w;
  a.dilation_h = s.dilation_h, a.dilation_w = s.dilation_w, a.pad_top = s.pad_top, a.pad_left = s.pad_left;
  a.out_h = (s.in_h + s.pad_top + s.pad_bottom - (s.kernel_h - 1) * s.dilation_h - 1) / s.stride_h + 1;
  a.out_w = (s.in_w + s.pad_left + s.pad_right - (s.kernel_w - 1) * s.dilation_w - 1) / s.stride_w + 1;
  a.in_dtype = dtype;
  a.in_zero = dtype == DType::kU8 ? 131 : dtype == DType::kI8 ? -7 : 0;
  a.in_ld = s.c + static_cast<int64_t>(seed % 2) * 3;
  a.out_ld = s.c + static_cast<int64_t>(seed % 3);
  const bool is_int = dtype != DType::kF32;

  const size_t in_count = static_cast<size_t>((s.batch * s.in_h * s.in_w - 1) * a.in_ld + s.c);
  GuardedBuffer in(in_count * (is_int ? 1 : 4));
  fill_random(random, dtype, in.data(), in_count);
  a.in = in.data();
  const DType weight_dtype = is_int ? DType::kI8 : DType::kF32;
  const size_t weight_count = static_cast<size_t>(s.c * s.kernel_h * s.kernel_w);
  GuardedBuffer weights(weight_count * (is_int ? 1 : 4), 4),
      packed(packed_depthwise_bytes(weight_dtype, s.c, s.kernel_h, s.kernel_w), 64);
  fill_random(random, weight_dtype, weights.data(), weight_count);
  pack_depthwise(weight_dtype, weights.data(), s.c, s.kernel_h, s.kernel_w, packed.data());
  a.weights = packed.data();

  const int64_t pixels = s.batch * a.out_h * a.out_w;
  RandomEpilogue epilogue(random, is_int, pixels, s.c, activation, out, seed % 4 == 0, DType::kI8, 1e-4f);
  a.epilogue = epilogue.e;
  const size_t count = static_cast<size_t>((pixels - 1) * a.out_ld + s.c),
               bytes = count * static_cast<size_t>(dtype_bits(out)) / 8;
  std::vector<uint8_t> want(bytes, 0xcd);
  a.out = want.data();
  reference::depthwise(a);
  on_every_target([&](Target) {
    for (int threads : {1, 2}) {
      a.choice = {};
      for (const KernelChoice& choice : depthwise_candidates(a, threads)) {
        GuardedBuffer got(bytes);
        got.fill(0xcd);
        a.out = got.data();
        a.choice = choice;
        GuardedBuffer scratch(depthwise_scratch(a, threads), 64);
        depthwise(a, scratch.data(), threads);
        ASSERT_TRUE(same_bits(out, want.data(), got.data(), count)) << threads << " threads, " << choice_text(choice);
      }
    }
  });
}

TEST(Depthwise, Shapes) {
  uint64_t seed = 0;
  for (const Shape& shape : kShapes) {
    for (DType dtype : {DType::kF32, DType::kU8, DType::kI8}) {
      for (DType out : {DType::kF32, DType::kU8, DType::kI8}) {
        for (Activation activation : {Activation::kNone, Activation::kClip, Activation::kHardSwish}) {
          check(shape, dtype, out, activation, ++seed);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

}  // namespace
}  // namespace lowp::kernels
