// Depthwise layers of EfficientNet-lite0, batch 1.  kernels_bench --benchmark_filter=Depthwise
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/gemm/pack.h"

namespace lowp::kernels {
namespace {

struct Layer {
  int64_t in, c, kernel, stride;
};
constexpr Layer kLayers[] = {{112, 32, 3, 1}, {112, 96, 3, 2}, {56, 144, 3, 1}, {56, 144, 5, 2},
                             {28, 240, 5, 1}, {28, 240, 3, 2}, {14, 480, 3, 1}, {14, 480, 5, 1},
                             {14, 672, 5, 1}, {14, 672, 5, 2}, {7, 1152, 5, 1}, {7, 1152, 3, 1}};

struct Kind {
  const char* name;
  DType in;
  Int8Class int8_class;
};
constexpr Kind kKinds[] = {{"f32", DType::kF32, Int8Class::kExact8},
                           {"u8", DType::kU8, Int8Class::kExact8},
                           {"a7", DType::kU8, Int8Class::kA7Quad}};

void run(benchmark::State& state, const Layer& l, const Kind& kind, int threads) {
  DepthwiseArgs a;
  const bool is_int = kind.in != DType::kF32;
  a.in_h = a.in_w = l.in, a.c = a.in_ld = a.out_ld = l.c;
  a.kernel_h = a.kernel_w = l.kernel, a.stride_h = a.stride_w = l.stride, a.pad_top = a.pad_left = l.kernel / 2;
  a.out_h = a.out_w = (l.in + 2 * a.pad_top - l.kernel) / l.stride + 1;
  a.in_dtype = kind.in;
  a.int8_class = kind.int8_class;
  auto in = *AlignedBuffer::zeroed(static_cast<size_t>(l.in * l.in * l.c) * 4);
  auto out = *AlignedBuffer::zeroed(static_cast<size_t>(a.out_h * a.out_w * l.c) * 4);
  auto weights =
      *AlignedBuffer::zeroed(packed_depthwise_bytes(is_int ? DType::kI8 : DType::kF32, l.c, l.kernel, l.kernel));
  std::vector<float> scale(static_cast<size_t>(l.c), 1.0f);
  std::vector<int32_t> bias(static_cast<size_t>(l.c), 3);
  a.in = in.data(), a.out = out.data(), a.weights = weights.data();
  a.epilogue.activation = Activation::kClip;
  a.epilogue.hi = 6.0f;
  a.epilogue.bias = scale.data();
  if (is_int) {
    a.epilogue.bias_s32 = bias.data();
    a.epilogue.scale = scale.data();
    a.epilogue.out = DType::kU8;
  }
  auto scratch = *AlignedBuffer::zeroed(depthwise_scratch(a, threads));
  for (auto _ : state) depthwise(a, scratch.data(), threads);
  state.counters["GMAC/s"] =
      benchmark::Counter(static_cast<double>(a.out_h * a.out_w * l.c * l.kernel * l.kernel) * 1e-9,
                         benchmark::Counter::kIsIterationInvariantRate);
}

const int kRegistered = [] {
  for (const Kind& kind : kKinds) {
    for (const Layer& layer : kLayers) {
      for (int threads : {1, 2}) {
        const std::string name = "Depthwise/" + std::string(kind.name) + "/" + std::to_string(layer.in) + "x" +
                                 std::to_string(layer.c) + "/k" + std::to_string(layer.kernel) + "s" +
                                 std::to_string(layer.stride) + "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, layer, kind, threads); })
            ->UseRealTime()
            ->MinTime(0.1);
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace lowp::kernels
