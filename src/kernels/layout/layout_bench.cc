// Moving, pooling, gathering and quantizing; bytes written a second on one thread.
//   kernels_bench --benchmark_filter='Transpose|Pool|Quantize|Gather'
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/gather/gather.h"
#include "kernels/layout/layout.h"
#include "kernels/pool/pool.h"
#include "kernels/quantize/quantize.h"

namespace lowp::kernels {
namespace {

void report(benchmark::State& state, int64_t bytes) {
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(bytes * state.iterations()) * 1e-9, benchmark::Counter::kIsRate);
}

void transpose_bench(benchmark::State& state) {
  int64_t shape[] = {1, state.range(0), state.range(1), state.range(1)};
  int perm[] = {0, 2, 3, 1};
  auto bytes = static_cast<size_t>(state.range(2));
  int64_t n = shape[1] * shape[2] * shape[3] * state.range(2);
  std::vector<uint8_t> x(static_cast<size_t>(n)), y = x;
  for (auto _ : state) transpose(shape, perm, 4, bytes, x.data(), y.data(), 1);
  report(state, n);
}
BENCHMARK(transpose_bench)
    ->Name("Transpose/nchw_to_nhwc")
    ->ArgNames({"c", "hw", "bytes"})
    ->Args({64, 56, 4})
    ->Args({256, 14, 4})
    ->Args({3, 224, 4})
    ->Args({3, 224, 1})
    ->Args({64, 56, 1});

void heads_bench(benchmark::State& state) {
  int64_t shape[] = {1, 128, 12, 64};
  int perm[] = {0, 2, 1, 3};
  std::vector<float> x(128 * 12 * 64), y = x;
  for (auto _ : state) transpose(shape, perm, 4, 4, x.data(), y.data(), 1);
  report(state, 128 * 12 * 64 * 4);
}
BENCHMARK(heads_bench)->Name("Transpose/heads");

void max_pool_bench(benchmark::State& state) {
  auto dtype = static_cast<DType>(state.range(0));
  PoolArgs a;  // ResNet's
  a.in_h = a.in_w = 112;
  a.channels = 64;
  a.out_h = a.out_w = 56;
  a.kernel_h = a.kernel_w = 3;
  a.stride_h = a.stride_w = 2;
  a.pad_top = a.pad_left = a.pad_bottom = a.pad_right = 1;
  std::vector<float> x(112 * 112 * 64), y(56 * 56 * 64);
  for (auto _ : state) max_pool(a, dtype, x.data(), y.data(), 1);
  report(state, 56 * 56 * 64 * static_cast<int64_t>(dtype_bytes(dtype, 1)));
}
BENCHMARK(max_pool_bench)
    ->Name("Pool/max_3x3")
    ->ArgName("dtype")
    ->Arg(static_cast<int>(DType::kF32))
    ->Arg(static_cast<int>(DType::kU8));

void global_pool_bench(benchmark::State& state) {
  PoolArgs a = global_pool_args(1, 7, 7, 2048);
  std::vector<float> x(49 * 2048), y(2048);
  for (auto _ : state) average_pool(a, DType::kF32, x.data(), y.data(), 1);
  report(state, 49 * 2048 * 4);
}
BENCHMARK(global_pool_bench)->Name("Pool/global_average");

void quantize_bench(benchmark::State& state) {
  constexpr int64_t kN = 98304;  // BERT's 128 x 768
  std::vector<float> x(kN, 0.7f);
  std::vector<uint8_t> y(kN);
  float scale = 0.03f;
  int32_t zero = 128;
  for (auto _ : state) quantize_f32({DType::kU8, 1, 1, kN, &scale, &zero, {}}, x.data(), y.data(), 1);
  report(state, kN * 4);
}
BENCHMARK(quantize_bench)->Name("Quantize/u8");

void gather_bench(benchmark::State& state) {
  std::vector<int8_t> x(30522 * 384, 3);
  std::vector<float> scale(30522, 0.1f), y(128 * 384);
  std::vector<int64_t> indices(128);
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int64_t>(i * 7919 % 30522);
  for (auto _ : state) {
    GatherS8Args args;
    args.limit = 30522, args.count = 128, args.n = 384;
    args.x = x.data(), args.scale = scale.data(), args.indices = indices.data(), args.y = y.data();
    gather_s8(args, 1);
  }
  report(state, 128 * 384 * 4);
}
BENCHMARK(gather_bench)->Name("Gather/embedding_s8");

}  // namespace
}  // namespace lowp::kernels
