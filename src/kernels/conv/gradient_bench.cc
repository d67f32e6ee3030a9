// Forward pass and gradients of ResNet-50's layers, batch 8.  kernels_bench --benchmark_filter=ConvTraining
#include <benchmark/benchmark.h>

#include <chrono>
#include <string>

#include "base/aligned_buffer.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/gradient.h"
#include "kernels/conv/pack.h"
#include "kernels/gemm/bench_util.h"

namespace lowp::kernels {
namespace {

// `times`: how often ResNet-50 has the layer; strides of stages lie in their 3x3 layers.
struct Layer {
  const char* name;
  int64_t in, c, n, kernel, stride, times;
};
constexpr Layer kLayers[] = {
    {"7x7", 224, 3, 64, 7, 2, 1},           {"2_1x1_64", 56, 64, 64, 1, 1, 1},
    {"2_1x1_in", 56, 256, 64, 1, 1, 2},     {"2_3x3", 56, 64, 64, 3, 1, 3},
    {"2_1x1_256", 56, 64, 256, 1, 1, 4},    {"3_1x1_first", 56, 256, 128, 1, 1, 1},
    {"3_3x3_s2", 56, 128, 128, 3, 2, 1},    {"3_1x1_s2", 56, 256, 512, 1, 2, 1},
    {"3_1x1_in", 28, 512, 128, 1, 1, 3},    {"3_3x3", 28, 128, 128, 3, 1, 3},
    {"3_1x1_512", 28, 128, 512, 1, 1, 4},   {"4_1x1_first", 28, 512, 256, 1, 1, 1},
    {"4_3x3_s2", 28, 256, 256, 3, 2, 1},    {"4_1x1_s2", 28, 512, 1024, 1, 2, 1},
    {"4_1x1_in", 14, 1024, 256, 1, 1, 5},   {"4_3x3", 14, 256, 256, 3, 1, 5},
    {"4_1x1_1024", 14, 256, 1024, 1, 1, 6}, {"5_1x1_first", 14, 1024, 512, 1, 1, 1},
    {"5_3x3_s2", 14, 512, 512, 3, 2, 1},    {"5_1x1_s2", 14, 1024, 2048, 1, 2, 1},
    {"5_1x1_in", 7, 2048, 512, 1, 1, 2},    {"5_3x3", 7, 512, 512, 3, 1, 2},
    {"5_1x1_2048", 7, 512, 2048, 1, 1, 3},
};
constexpr int64_t kBatch = 8;

enum class Pass { kForward, kInput, kWeight };

ConvShape shape_of(const Layer& l) {
  ConvShape s;
  s.batch = kBatch, s.in_h = s.in_w = l.in, s.in_c = l.c, s.out_c = l.n, s.kernel_h = s.kernel_w = l.kernel;
  s.stride_h = s.stride_w = l.stride, s.pad_top = s.pad_left = l.kernel / 2;
  s.out_h = s.out_w = (l.in + 2 * (l.kernel / 2) - l.kernel) / l.stride + 1;
  return s;
}
double macs_of(const Layer& l) {
  const ConvShape s = shape_of(l);
  return static_cast<double>(s.pixels() * s.out_c * s.in_c * s.taps());
}

// Calls with operands of one layer. The forward pass packs its weights as training does.
class Case {
 public:
  Case(const Layer& l, DType dtype, int threads) : s_(shape_of(l)), dtype_(dtype), threads_(threads) {
    const auto size = static_cast<size_t>(dtype_bits(dtype)) / 8;
    x_ = *AlignedBuffer::zeroed(static_cast<size_t>(s_.batch * s_.in_h * s_.in_w * s_.in_c) * size);
    y_ = *AlignedBuffer::zeroed(static_cast<size_t>(s_.pixels() * s_.out_c) * size);
    w_ = *AlignedBuffer::zeroed(static_cast<size_t>(s_.out_c * s_.in_c * s_.taps()) * 4);
    forward_.batch = s_.batch, forward_.in_h = s_.in_h, forward_.in_w = s_.in_w;
    forward_.in_c = forward_.in_ld = s_.in_c, forward_.out_c = forward_.out_ld = s_.out_c;
    forward_.out_h = s_.out_h, forward_.out_w = s_.out_w;
    forward_.kernel_h = s_.kernel_h, forward_.kernel_w = s_.kernel_w;
    forward_.stride_h = s_.stride_h, forward_.stride_w = s_.stride_w;
    forward_.pad_top = s_.pad_top, forward_.pad_left = s_.pad_left;
    forward_.in_dtype = forward_.epilogue.out = dtype;
    forward_.in = x_.data(), forward_.out = y_.data();
    forward_.weight_kind = product_kind(dtype);
    packed_ = packed_conv_bytes(forward_.weight_kind, s_.out_c, s_.in_c, s_.kernel_h, s_.kernel_w, 1);
    input_ = {s_, dtype, dtype, dtype, y_.data(), w_.data(), x_.data()};
    weight_ = {s_, dtype, dtype, x_.data(), y_.data(), reinterpret_cast<float*>(w_.data()), nullptr};
    scratch_ = *AlignedBuffer::zeroed(
        std::max({packed_ + conv_scratch(forward_, threads), conv_input_gradient_scratch(input_, threads),
                  conv_weight_gradient_scratch(weight_, threads)}));
  }
  void run(Pass pass) {
    switch (pass) {
      case Pass::kForward: {
        forward_.weights = scratch_.data();
        pack_filters(forward_.weight_kind, dtype_, w_.data(), s_.out_c, s_.in_c, s_.taps(), 1, scratch_.data(),
                     threads_);
        return conv(forward_, reinterpret_cast<char*>(scratch_.data()) + packed_, threads_);
      }
      case Pass::kInput: return conv_input_gradient(input_, scratch_.data(), threads_);
      case Pass::kWeight: return conv_weight_gradient(weight_, scratch_.data(), threads_);
    }
  }

 private:
  ConvShape s_;
  DType dtype_;
  int threads_;
  AlignedBuffer x_, y_, w_, scratch_;
  ConvArgs forward_;
  size_t packed_ = 0;
  ConvInputGradientArgs input_;
  ConvWeightGradientArgs weight_;
};

void report(benchmark::State& state, double macs, double seconds, int threads) {
  const double rate = macs * static_cast<double>(state.iterations()) / seconds;
  state.counters["GMAC/s"] = rate * 1e-9;
  state.counters["of_peak"] = rate / peak_macs(WeightKind::kF32, Int8Class::kExact8) / threads;
}

void layer(benchmark::State& state, const Layer& l, DType dtype, Pass pass, int threads) {
  Case c(l, dtype, threads);
  c.run(pass);
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) c.run(pass);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  report(state, macs_of(l), seconds.count(), threads);
}

// All layers of ResNet-50, one after another; the first has no gradient of its input.
void network(benchmark::State& state, DType dtype, Pass pass, int threads) {
  double macs = 0, seconds = 0;
  for (const Layer& l : kLayers)
    macs += l.c == 3 && pass == Pass::kInput ? 0 : macs_of(l) * static_cast<double>(l.times);
  for (auto _ : state) {
    double once = 0;
    for (const Layer& l : kLayers) {
      if (l.c == 3 && pass == Pass::kInput) continue;
      Case c(l, dtype, threads);
      c.run(pass);
      const auto start = std::chrono::steady_clock::now();
      for (int64_t i = 0; i < l.times; ++i) c.run(pass);
      once += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    state.SetIterationTime(once);
    seconds += once;
  }
  report(state, macs, seconds, threads);
}

const int kRegistered = [] {
  struct Named {
    const char* name;
    Pass pass;
  };
  for (const Named& p :
       {Named{"forward", Pass::kForward}, Named{"input", Pass::kInput}, Named{"weight", Pass::kWeight}}) {
    for (DType dtype : {DType::kF32, DType::kBF16}) {
      for (int threads : {1, 2}) {
        auto name = [&](const char* what) {
          return std::string("ConvTraining/") + std::string(dtype_name(dtype)) + "/" + p.name + "/" + what +
                 "/threads:" + std::to_string(threads);
        };
        for (const Layer& l : kLayers) {
          benchmark::RegisterBenchmark(name(l.name).c_str(),
                                       [=](benchmark::State& state) { layer(state, l, dtype, p.pass, threads); })
              ->UseRealTime()
              ->MinTime(0.1);
        }
        benchmark::RegisterBenchmark(name("resnet50").c_str(),
                                     [=](benchmark::State& state) { network(state, dtype, p.pass, threads); })
            ->UseManualTime()
            ->Iterations(2)
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace lowp::kernels
