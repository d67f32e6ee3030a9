// Batch normalization of ResNet-50's largest layers, batch 8; bytes a second of what has to be read and written once.
//   kernels_bench --benchmark_filter=BatchNorm
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/batch_norm/batch_norm.h"

namespace lowp::kernels {
namespace {

struct Data {
  int64_t rows, channels;
  std::vector<float> x, y, dy, channel;
  std::vector<char> scratch;
  explicit Data(const benchmark::State& state)
      : rows(state.range(0)),
        channels(state.range(1)),
        x(static_cast<size_t>(rows * channels), 0.5f),
        y(x),
        dy(x),
        channel(static_cast<size_t>(6 * channels), 1.0f),
        scratch(batch_norm_scratch(rows, channels)) {}
  float* vector(int64_t i) { return channel.data() + i * channels; }
  // `passes` over an activation.
  void report(benchmark::State& state, int64_t passes) const {
    state.SetBytesProcessed(state.iterations() * passes * rows * channels * 4);
  }
};

void forward(benchmark::State& state) {
  Data d(state);
  BatchNormArgs a;
  a.rows = d.rows, a.channels = d.channels, a.relu = true;
  a.x = d.x.data(), a.scale = d.vector(0), a.bias = d.vector(1), a.y = d.y.data();
  a.mean = d.vector(2), a.inv_std = d.vector(3);
  for (auto _ : state) batch_norm(a, d.scratch.data(), static_cast<int>(state.range(2)));
  d.report(state, 3);
}
void gradient(benchmark::State& state) {
  Data d(state);
  BatchNormGradientArgs a;
  a.rows = d.rows, a.channels = d.channels, a.relu = true;
  a.dy = d.dy.data(), a.x = d.x.data(), a.scale = d.vector(0), a.bias = d.vector(1);
  a.mean = d.vector(2), a.inv_std = d.vector(3), a.dx = d.y.data(), a.dscale = d.vector(4), a.dbias = d.vector(5);
  for (auto _ : state) batch_norm_gradient(a, d.scratch.data(), static_cast<int>(state.range(2)));
  d.report(state, 5);
}
void layers(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "channels", "threads"})->UseRealTime();
  for (int64_t threads : {1, 2}) {
    b->Args({8 * 112 * 112, 64, threads});
    b->Args({8 * 56 * 56, 256, threads});
    b->Args({8 * 14 * 14, 1024, threads});
    b->Args({8 * 7 * 7, 2048, threads});
  }
}
BENCHMARK(forward)->Name("BatchNorm")->Apply(layers);
BENCHMARK(gradient)->Name("BatchNormGradient")->Apply(layers);

}  // namespace
}  // namespace lowp::kernels
