// Attention of BERT-base and MiniLM: GMAC/s of both products together and the fraction of the measured FP32 peak.
//   kernels_bench --benchmark_filter=Attention
// LOWP_ISA chooses the target.
#include <benchmark/benchmark.h>

#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/attention/attention.h"
#include "kernels/gemm/bench_util.h"

namespace lowp::kernels {
namespace {

void attention(benchmark::State& state) {
  AttentionArgs a;
  a.heads = state.range(0);
  a.s = state.range(1);
  a.t = state.range(2);
  a.d = a.dv = state.range(3);
  int threads = static_cast<int>(state.range(4));
  a.s16 = state.range(5) != 0;
  int64_t width = a.heads * a.d;
  std::vector<float> q(static_cast<size_t>(a.s * width), 0.01f), k(static_cast<size_t>(a.t * width), 0.02f);
  std::vector<float> v = k, y = q, mask(static_cast<size_t>(a.t), -1.0f);
  a.scale = 0.125f;
  a.q = q.data();
  a.k = k.data();
  a.v = v.data();
  a.y = y.data();
  a.q_strides = a.k_strides = a.v_strides = a.y_strides = {0, width, a.d};
  a.mask = mask.data();
  auto scratch = AlignedBuffer::allocate(attention_scratch(a, threads));
  for (auto _ : state) attention(a, scratch->data(), threads);
  double macs = static_cast<double>(state.iterations()) * static_cast<double>(a.heads * a.s * a.t * a.d * 2);
  state.counters["GMAC/s"] = benchmark::Counter(macs * 1e-9, benchmark::Counter::kIsRate);
  state.counters["of_peak"] = benchmark::Counter(macs / (peak_macs(WeightKind::kF32, Int8Class::kExact8) * threads),
                                                 benchmark::Counter::kIsRate);
}

BENCHMARK(attention)
    ->Name("Attention")
    ->ArgNames({"heads", "s", "t", "d", "threads", "s16"})
    ->Args({12, 128, 128, 64, 1, 0})
    ->Args({12, 128, 128, 64, 1, 1})
    ->Args({12, 128, 128, 64, 2, 0})
    ->Args({12, 128, 128, 64, 2, 1})
    ->Args({12, 32, 32, 32, 1, 0})
    ->Args({12, 32, 32, 32, 1, 1})
    ->Args({12, 32, 32, 32, 2, 0})
    ->Args({12, 32, 32, 32, 2, 1})
    ->Args({12, 512, 512, 64, 1, 0})
    ->Args({12, 512, 512, 64, 1, 1})
    ->Args({12, 1, 512, 64, 1, 0})
    ->Args({12, 1, 512, 64, 1, 1})
    ->UseRealTime();

}  // namespace
}  // namespace lowp::kernels
