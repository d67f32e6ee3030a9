// Convolutions of ResNet-50 and EfficientNet-lite0, batch 1.  kernels_bench --benchmark_filter=Conv
#include <benchmark/benchmark.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/conv/winograd.h"
#include "kernels/gemm/bench_util.h"

namespace lowp::kernels {
namespace {

struct Layer {
  const char* name;
  int64_t in, c, n, kernel, stride, pad;
};
constexpr Layer kLayers[] = {
    {"resnet_7x7", 224, 3, 64, 7, 2, 3},         {"resnet_2_1x1_64", 56, 64, 64, 1, 1, 0},
    {"resnet_2_3x3", 56, 64, 64, 3, 1, 1},       {"resnet_2_1x1_256", 56, 64, 256, 1, 1, 0},
    {"resnet_2_1x1_in", 56, 256, 64, 1, 1, 0},   {"resnet_3_3x3_s2", 56, 128, 128, 3, 2, 1},
    {"resnet_3_3x3", 28, 128, 128, 3, 1, 1},     {"resnet_3_1x1", 28, 128, 512, 1, 1, 0},
    {"resnet_4_3x3", 14, 256, 256, 3, 1, 1},     {"resnet_4_1x1", 14, 256, 1024, 1, 1, 0},
    {"resnet_4_1x1_in", 14, 1024, 256, 1, 1, 0}, {"resnet_5_3x3", 7, 512, 512, 3, 1, 1},
    {"resnet_5_1x1", 7, 512, 2048, 1, 1, 0},     {"resnet_5_1x1_in", 7, 2048, 512, 1, 1, 0},
    {"lite0_first", 224, 3, 32, 3, 2, 1},        {"lite0_expand_112", 112, 16, 96, 1, 1, 0},
    {"lite0_project_56", 56, 144, 24, 1, 1, 0},  {"lite0_expand_28", 28, 40, 240, 1, 1, 0},
    {"lite0_project_14", 14, 480, 80, 1, 1, 0},  {"lite0_project_14b", 14, 672, 112, 1, 1, 0},
    {"lite0_expand_7", 7, 192, 1152, 1, 1, 0},   {"lite0_head", 7, 320, 1280, 1, 1, 0},
};
struct Kind {
  const char* name;
  DType in;
  WeightKind weights;
  Int8Class int8_class;
};
constexpr Kind kKinds[] = {{"f32", DType::kF32, WeightKind::kF32, Int8Class::kExact8},
                           {"bf16", DType::kBF16, WeightKind::kBF16, Int8Class::kExact8},
                           {"u8", DType::kU8, WeightKind::kS8, Int8Class::kExact8},
                           {"quad", DType::kU8, WeightKind::kS8, Int8Class::kA7Quad},
                           {"oct", DType::kU8, WeightKind::kS8, Int8Class::kA7Oct}};

// Winograd's rates count the multiplications of the direct way, so that they compare.
void run(benchmark::State& state, const Layer& l, const Kind& kind, int threads, bool fast = false) {
  ConvArgs a;
  a.in_h = a.in_w = l.in, a.in_c = a.in_ld = l.c, a.out_c = a.out_ld = l.n;
  a.kernel_h = a.kernel_w = l.kernel, a.stride_h = a.stride_w = l.stride, a.pad_top = a.pad_left = l.pad;
  a.out_h = a.out_w = (l.in + 2 * l.pad - l.kernel) / l.stride + 1;
  a.in_dtype = kind.in, a.weight_kind = kind.weights, a.int8_class = kind.int8_class;
  const bool integers = kind.weights == WeightKind::kS8, transformed = fast && !integers;
  a.weight_sum = 1;
  a.choice.algorithm = fast ? KernelChoice::Algorithm::kWinograd : KernelChoice::Algorithm::kDirect;
  auto in = *AlignedBuffer::zeroed(static_cast<size_t>(l.in * l.in * l.c) * 4);
  auto out = *AlignedBuffer::zeroed(static_cast<size_t>(a.out_h * a.out_w * l.n) * 4);
  auto weights = *AlignedBuffer::zeroed(transformed ? packed_winograd_bytes(l.n, l.c)
                                                    : packed_conv_bytes(kind.weights, l.n, l.c, l.kernel, l.kernel, 1));
  std::vector<float> scale(static_cast<size_t>(l.n), 1e-3f);
  std::vector<int32_t> bias(static_cast<size_t>(l.n), 3);
  a.in = in.data(), a.out = out.data(), a.weights = weights.data(), a.transformed = transformed;
  a.epilogue.activation = Activation::kRelu;
  a.epilogue.bias = scale.data();
  if (integers) {
    a.epilogue.bias_s32 = bias.data();
    a.epilogue.scale = scale.data();
    a.epilogue.out = DType::kU8;
  } else if (kind.in == DType::kBF16) {
    a.epilogue.out = DType::kBF16;
  }
  auto scratch = *AlignedBuffer::zeroed(transformed ? winograd_scratch(a, threads) : conv_scratch(a, threads));
  auto* const layer = transformed ? winograd : conv;
  const double peak = peak_macs(kind.weights, kind.int8_class);
  auto start = std::chrono::steady_clock::now();
  for (auto _ : state) layer(a, scratch.data(), threads);
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double macs = static_cast<double>(a.out_h * a.out_w * l.n * l.c * l.kernel * l.kernel) *
                      static_cast<double>(state.iterations()) / seconds.count();
  state.counters["GMAC/s"] = macs * 1e-9;
  state.counters["of_peak"] = macs / peak / threads;
}

bool fits(const Layer& l) {
  ConvArgs a;
  a.in_c = l.c, a.out_c = l.n;
  a.kernel_h = a.kernel_w = l.kernel, a.stride_h = a.stride_w = l.stride;
  return winograd_fits(a);
}

const int kRegistered = [] {
  for (const Kind& kind : kKinds) {
    for (const Layer& layer : kLayers) {
      for (int threads : {1, 2}) {
        const std::string name =
            std::string("Conv/") + kind.name + "/" + layer.name + "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, layer, kind, threads); })
            ->UseRealTime()
            ->MinTime(0.1);
        const bool oct = kind.int8_class == Int8Class::kA7Oct;
        if ((kind.weights != WeightKind::kF32 && !oct) || !fits(layer)) continue;
        const std::string fast = std::string("Conv/winograd") + (oct ? "_u8/" : "/") + layer.name;
        benchmark::RegisterBenchmark((fast + "/threads:" + std::to_string(threads)).c_str(),
                                     [=](benchmark::State& state) { run(state, layer, kind, threads, true); })
            ->UseRealTime()
            ->MinTime(0.1);
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace lowp::kernels
