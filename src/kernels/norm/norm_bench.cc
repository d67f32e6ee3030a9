// Rows of BERT-base and MiniLM through softmax and layer normalization; elements a second on one thread.
//   kernels_bench --benchmark_filter='LayerNorm|Softmax|Reduce'
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/norm/norm.h"
#include "kernels/reduce/reduce.h"
#include "kernels/softmax/softmax.h"

namespace lowp::kernels {
namespace {

void report(benchmark::State& state) {
  int64_t elements = state.range(0) * state.range(1) * state.iterations();
  state.counters["Gelem/s"] = benchmark::Counter(static_cast<double>(elements) * 1e-9, benchmark::Counter::kIsRate);
}

void layer_norm(benchmark::State& state) {
  LayerNormArgs a;
  a.rows = state.range(0);
  a.n = state.range(1);
  std::vector<float> x(static_cast<size_t>(a.rows * a.n), 0.5f), y = x, gamma(static_cast<size_t>(a.n), 1.0f), r = x;
  std::vector<uint8_t> q(x.size());  // with 1: of y; with 2: of another gamma and beta
  a.x = x.data();
  a.residual = r.data();
  a.gamma = a.beta = gamma.data();
  a.y = y.data();
  if (state.range(2)) {
    a.quantized = q.data();
    a.q_scale = 0.1f;
  }
  if (state.range(2) == 2) a.q_gamma = a.q_beta = gamma.data();
  for (auto _ : state) layer_norm_f32(a, 1);
  report(state);
}
BENCHMARK(layer_norm)
    ->Name("LayerNorm")
    ->ArgNames({"rows", "n", "quantized"})
    ->Args({128, 768, 0})
    ->Args({128, 768, 1})
    ->Args({128, 768, 2})
    ->Args({32, 384, 0});

void softmax(benchmark::State& state) {
  SoftmaxArgs a;
  a.rows = state.range(0);
  a.n = a.x_stride = a.y_stride = state.range(1);
  std::vector<float> x(static_cast<size_t>(a.rows * a.n), 0.5f), y = x;
  a.x = x.data();
  a.y = y.data();
  for (auto _ : state) softmax_f32(a, 1);
  report(state);
}
BENCHMARK(softmax)->Name("Softmax")->ArgNames({"rows", "n"})->Args({128, 128})->Args({128, 32})->Args({8, 1000});

void reduce(benchmark::State& state) {
  int64_t outer = state.range(0), n = state.range(1), inner = state.range(2);
  std::vector<float> x(static_cast<size_t>(outer * n * inner), 0.5f), y(static_cast<size_t>(outer * inner));
  for (auto _ : state) reduce_f32(Reduce::kSum, x.data(), y.data(), outer, n, inner, 1);
  state.counters["Gelem/s"] = benchmark::Counter(static_cast<double>(outer * n * inner * state.iterations()) * 1e-9,
                                                 benchmark::Counter::kIsRate);
}
BENCHMARK(reduce)->Name("Reduce")->ArgNames({"outer", "n", "inner"})->Args({128, 768, 1})->Args({1, 49, 2048});

}  // namespace
}  // namespace lowp::kernels
