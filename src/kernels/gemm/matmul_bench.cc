// Products of two operands that vary, as training has them, in GMAC/s: forward (B packed in each call), the gradient of
// the input (B transposed) and of the weights (A transposed), of a layer with 512 rows.
//   kernels_bench --benchmark_filter=Matmul
#include <benchmark/benchmark.h>

#include "base/aligned_buffer.h"
#include "kernels/gemm/gemm.h"

namespace lowp::kernels {
namespace {

enum class Form { kForward, kInputGradient, kWeightGradient };

void layer(benchmark::State& state, Form form, DType dtype) {
  const int64_t rows = 512, in = state.range(0), out = state.range(1);
  const int threads = static_cast<int>(state.range(2));
  auto a = *AlignedBuffer::zeroed(static_cast<size_t>(rows * std::max(in, out)) * 4),
       b = *AlignedBuffer::zeroed(static_cast<size_t>(std::max(rows * out, in * out)) * 4),
       c = *AlignedBuffer::zeroed(static_cast<size_t>(std::max(rows * std::max(in, out), in * out)) * 4);
  MatmulArgs g;
  g.dtype = g.epilogue.out = dtype;
  g.a = a.data(), g.b = b.data(), g.c = c.data();
  switch (form) {
    case Form::kForward: g.m = rows, g.k = in, g.n = out, g.lda = in, g.b_row = out, g.b_col = 1; break;
    case Form::kInputGradient: g.m = rows, g.k = out, g.n = in, g.lda = out, g.b_row = 1, g.b_col = out; break;
    case Form::kWeightGradient:
      g.m = in, g.k = rows, g.n = out, g.lda = 1, g.a_col = in, g.b_row = out, g.b_col = 1;
      break;
  }
  g.ldc = g.n;
  auto scratch = *AlignedBuffer::zeroed(matmul_scratch(g, threads));
  for (auto _ : state) matmul(g, scratch.data(), threads);
  state.counters["GMAC/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(rows * in * out) * 1e-9,
                         benchmark::Counter::kIsRate);
}

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"in", "out", "threads"})->UseRealTime();
  for (int64_t threads : {1, 2}) b->Args({768, 768, threads})->Args({768, 3072, threads})->Args({3072, 768, threads});
}
BENCHMARK_CAPTURE(layer, f32, Form::kForward, DType::kF32)->Name("Matmul/forward/f32")->Apply(sizes);
BENCHMARK_CAPTURE(layer, bf16, Form::kForward, DType::kBF16)->Name("Matmul/forward/bf16")->Apply(sizes);
BENCHMARK_CAPTURE(layer, dx, Form::kInputGradient, DType::kF32)->Name("Matmul/input_gradient/f32")->Apply(sizes);
BENCHMARK_CAPTURE(layer, dw, Form::kWeightGradient, DType::kF32)->Name("Matmul/weight_gradient/f32")->Apply(sizes);
BENCHMARK_CAPTURE(layer, dw16, Form::kWeightGradient, DType::kBF16)->Name("Matmul/weight_gradient/bf16")->Apply(sizes);

}  // namespace
}  // namespace lowp::kernels
