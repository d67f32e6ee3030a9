#include "kernels/depthwise/depthwise.h"

#include <limits>
#include <memory>
#include <utility>

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
    {"wide 3x3", 1, 5, 31, 72, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
    {"wide 3x3 stride 2", 1, 7, 40, 48, 3, 3, 2, 2, 1, 1, 0, 1, 1, 1},
    {"wide 5x5", 1, 7, 26, 64, 5, 5, 1, 1, 1, 1, 2, 2, 2, 2},
    {"wide 5x5 stride 2", 2, 9, 37, 33, 5, 5, 2, 2, 1, 1, 2, 1, 2, 2},
    {"dilated lines", 1, 11, 17, 40, 3, 3, 2, 1, 3, 1, 2, 1, 2, 1},
    {"groups of channels", 1, 5, 9, 300, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
};

struct Kind {
  const char* name;
  DType in;
  Int8Class int8_class;
};
constexpr Kind kKinds[] = {{"f32", DType::kF32, Int8Class::kExact8},
                           {"u8", DType::kU8, Int8Class::kExact8},
                           {"u8 of 7 bits", DType::kU8, Int8Class::kA7Quad},
                           {"s8", DType::kI8, Int8Class::kExact8}};

int64_t out_extent(int64_t in, int64_t pads, int64_t kernel, int64_t stride, int64_t dilation) {
  return (in + pads - (kernel - 1) * dilation - 1) / stride + 1;
}

// One layer with random operands on every target, in every way and with one and two threads. Change makes operands,
// geometry or epilogue special.
class Layer {
 public:
  Layer(const Shape& s, const Kind& kind, DType out, Activation activation, uint64_t seed)
      : random_(seed), out_(out), is_int_(kind.in != DType::kF32) {
    a.batch = s.batch, a.in_h = s.in_h, a.in_w = s.in_w, a.c = s.c;
    a.kernel_h = s.kernel_h, a.kernel_w = s.kernel_w, a.stride_h = s.stride_h, a.stride_w = s.stride_w;
    a.dilation_h = s.dilation_h, a.dilation_w = s.dilation_w, a.pad_top = s.pad_top, a.pad_left = s.pad_left;
    a.out_h = out_extent(s.in_h, s.pad_top + s.pad_bottom, s.kernel_h, s.stride_h, s.dilation_h);
    a.out_w = out_extent(s.in_w, s.pad_left + s.pad_right, s.kernel_w, s.stride_w, s.dilation_w);
    a.in_dtype = kind.in;
    a.int8_class = kind.int8_class;
    const int max_u8 = kind.int8_class == Int8Class::kExact8 ? 255 : 127;
    a.in_zero = kind.in == DType::kU8 ? max_u8 / 2 + 4 : kind.in == DType::kI8 ? -7 : 0;
    a.in_ld = s.c + static_cast<int64_t>(seed % 2) * 3;
    a.out_ld = s.c + static_cast<int64_t>(seed % 3);

    const size_t in_count = static_cast<size_t>((s.batch * s.in_h * s.in_w - 1) * a.in_ld + s.c);
    in = std::make_unique<GuardedBuffer>(in_count * (is_int_ ? 1 : 4));
    fill_random(random_, kind.in, in->data(), in_count, max_u8);
    a.in = in->data();
    weights = std::make_unique<GuardedBuffer>(weight_count() * (is_int_ ? 1 : 4), 4);
    fill_random(random_, weight_dtype(), weights->data(), weight_count());
    const int64_t pixels = s.batch * a.out_h * a.out_w;
    epilogue = std::make_unique<RandomEpilogue>(random_, is_int_, pixels, s.c, activation, out, seed % 4 == 0,
                                                DType::kI8, 1e-4f);
    a.epilogue = epilogue->e;
  }

  size_t weight_count() const { return static_cast<size_t>(a.c * a.kernel_h * a.kernel_w); }

  void check() {
    GuardedBuffer packed(packed_depthwise_bytes(weight_dtype(), a.c, a.kernel_h, a.kernel_w), 64);
    pack_depthwise(weight_dtype(), weights->data(), a.c, a.kernel_h, a.kernel_w, packed.data());
    a.weights = packed.data();
    const size_t count = static_cast<size_t>((a.batch * a.out_h * a.out_w - 1) * a.out_ld + a.c),
                 bytes = count * static_cast<size_t>(dtype_bits(out_)) / 8;
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
          ASSERT_TRUE(same_bits(out_, want.data(), got.data(), count))
              << threads << " threads, " << choice_text(choice);
        }
      }
    });
  }

  DepthwiseArgs a;
  std::unique_ptr<GuardedBuffer> in, weights;
  std::unique_ptr<RandomEpilogue> epilogue;

 private:
  DType weight_dtype() const { return is_int_ ? DType::kI8 : DType::kF32; }
  Random random_;
  DType out_;
  bool is_int_;
};

std::string trace(const Shape& s, const Kind& kind, uint64_t seed) {
  return std::string(s.name) + ", " + kind.name + ", seed " + std::to_string(seed);
}

TEST(Depthwise, Shapes) {
  uint64_t seed = 0;
  for (const Shape& shape : kShapes) {
    for (const Kind& kind : kKinds) {
      for (DType out : {DType::kF32, DType::kU8, DType::kI8}) {
        for (Activation activation :
             {Activation::kNone, Activation::kRelu, Activation::kClip, Activation::kHardSwish}) {
          SCOPED_TRACE(trace(shape, kind, ++seed));
          Layer(shape, kind, out, activation, seed).check();
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Kernels, strides, dilations, numbers of channels and widths meet tails in every combination; outputs are those of
// relu6, with which kernels may apply the epilogue themselves.
TEST(Depthwise, KernelsAndTails) {
  uint64_t seed = 1000;
  for (auto [kernel_h, kernel_w] : {std::pair{1, 1}, {2, 2}, {3, 3}, {5, 5}, {7, 7}, {3, 5}, {5, 3}}) {
    for (int64_t stride : {1, 2}) {
      for (int64_t dilation : {1, 2}) {
        for (int64_t c = 1; c <= 40; ++c) {
          const Kind& kind = kKinds[++seed % 4];
          const int64_t pad_h = kernel_h / 2 * dilation, pad_w = kernel_w / 2 * dilation, w = 1 + seed % 23;
          Shape s{"", 1, 5, w, c, kernel_h, kernel_w, stride, stride, dilation, dilation, pad_h, pad_w, pad_h, pad_w};
          if (out_extent(w, 2 * pad_w, kernel_w, stride, dilation) < 1) continue;
          SCOPED_TRACE(trace(s, kind, seed) + ": " + std::to_string(c) + " channels, " + std::to_string(w) + " wide, " +
                       std::to_string(kernel_h) + "x" + std::to_string(kernel_w) + " stride " + std::to_string(stride) +
                       " dilation " + std::to_string(dilation));
          Layer layer(s, kind, kind.in, Activation::kClip, seed);
          layer.a.epilogue.lo = 0;
          layer.a.epilogue.hi = 6;
          if (seed % 3 == 0) layer.a.epilogue.out_zero = 0;
          layer.check();
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// The largest sums of INT8: nothing saturates in between.
TEST(Depthwise, Extremes) {
  for (const Kind& kind : kKinds) {
    if (kind.in == DType::kF32) continue;
    for (int64_t kernel : {1, 2, 3, 4, 5, 7}) {
      for (int64_t stride : {1, 2}) {
        for (int8_t weight : {-128, 127}) {
          for (bool alternating : {false, true}) {
            const Shape s{"", 1, 7, 11, 67, kernel, kernel, stride, stride, 1, 1, 1, 1, 1, 1};
            SCOPED_TRACE(trace(s, kind, 3) + ": kernel " + std::to_string(kernel) + " stride " +
                         std::to_string(stride) + " weight " + std::to_string(weight));
            Layer layer(s, kind, DType::kF32, Activation::kNone, 3);
            layer.a.in_zero = kind.in == DType::kI8 ? 127 : kind.int8_class == Int8Class::kExact8 ? 255 : 127;
            layer.in->fill(static_cast<uint8_t>(layer.a.in_zero));
            int8_t* w = static_cast<int8_t*>(layer.weights->data());
            for (size_t i = 0; i < layer.weight_count(); ++i) {
              w[i] = alternating && i % 2 != 0 ? static_cast<int8_t>(-1 - weight) : weight;
            }
            layer.check();
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// What kernels that apply the epilogue themselves must leave to the shared one, and what is just inside.
TEST(Depthwise, EpilogueLimits) {
  const Shape s{"3x3", 1, 3, 6, 34, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  for (const Kind& kind : kKinds) {
    if (kind.in == DType::kF32) continue;
    for (DType out : {DType::kU8, DType::kI8}) {
      for (float scale : {0.0f, 1e-30f, 0.004f, 127.9f, 128.0f, 1e30f, -0.01f, kInf, kNaN}) {
        for (int32_t bias : {0, 1 << 22, -(1 << 22), (1 << 22) + 1, 2'000'000'000, -2'000'000'000}) {
          for (float lo : {0.0f, -0.4f, -0.6f, 3.0f}) {
            SCOPED_TRACE(std::string(kind.name) + " scale " + std::to_string(scale) + " bias " + std::to_string(bias) +
                         " lo " + std::to_string(lo));
            Layer layer(s, kind, out, Activation::kClip, 6);
            layer.a.epilogue.residual = nullptr;
            layer.a.epilogue.out_inv_scale = 1.0f;
            layer.a.epilogue.lo = lo;
            layer.a.epilogue.hi = 60.0f;
            layer.epilogue->scale[33] = scale;
            layer.epilogue->bias_s32[33] = layer.epilogue->bias_s32[2] = bias;
            layer.check();
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// f32 outputs of relu and clip keep NaN and the sign of zero.
TEST(Depthwise, SpecialFloats) {
  for (int64_t c : {7, 8, 21}) {
    for (Activation activation : {Activation::kNone, Activation::kRelu, Activation::kClip}) {
      const Shape s{"", 1, 5, 9, c, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
      Layer layer(s, kKinds[0], DType::kF32, activation, 5);
      layer.a.epilogue.residual = nullptr;
      float* w = static_cast<float*>(layer.weights->data());
      float* x = static_cast<float*>(layer.in->data());
      for (size_t i = 0; i < layer.weight_count(); i += 5) w[i] = -0.0f;
      for (int64_t i = 0; i < 40; i += 7) x[i] = -0.0f;
      x[11] = std::numeric_limits<float>::quiet_NaN();
      x[12] = std::numeric_limits<float>::infinity();
      x[13] = 1e-45f;
      for (size_t i = 0; i < layer.epilogue->bias.size(); i += 3) layer.epilogue->bias[i] = -0.0f;
      layer.check();
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace lowp::kernels
