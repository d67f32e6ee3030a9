// Elements a second of the elementwise family, from L2 (32768 floats) on one thread.
//   kernels_bench --benchmark_filter=Elementwise
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/elementwise/elementwise.h"

namespace lowp::kernels {
namespace {

constexpr int64_t kN = 32768;

void report(benchmark::State& state, int64_t elements) {
  state.counters["Gelem/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * elements) * 1e-9, benchmark::Counter::kIsRate);
}

void unary(benchmark::State& state, Unary op) {
  std::vector<float> x(kN, 0.3f), y(kN);
  for (auto _ : state) unary_f32(op, {0.1f, 6.0f}, x.data(), y.data(), kN, 1);
  report(state, kN);
}
#define LOWP_UNARY(name, formula) BENCHMARK_CAPTURE(unary, name, Unary::k##name)->Name("Elementwise/" #name);
#include "kernels/elementwise/kernels.inc"

void binary(benchmark::State& state, Binary op) {
  int64_t shape[] = {kN};
  Broadcast nest;
  make_broadcast(shape, 1, shape, 1, &nest);
  std::vector<float> a(kN, 0.3f), b(kN, 1.7f), y(kN);
  for (auto _ : state) binary_f32(op, nest, a.data(), b.data(), y.data(), 1);
  report(state, kN);
}
#define LOWP_BINARY(name, formula) BENCHMARK_CAPTURE(binary, name, Binary::k##name)->Name("Elementwise/" #name);
#include "kernels/elementwise/kernels.inc"

void add_q8(benchmark::State& state) {
  int64_t shape[] = {kN};
  Broadcast nest;
  make_broadcast(shape, 1, shape, 1, &nest);
  std::vector<uint8_t> a(kN, 3), b(kN, 17), y(kN);
  QuantizedBinaryArgs args;
  args.lo = 0.0f;
  for (auto _ : state) binary_q8(args, nest, a.data(), b.data(), y.data(), 1);
  report(state, kN);
}
BENCHMARK(add_q8)->Name("Elementwise/AddQ8");

}  // namespace
}  // namespace lowp::kernels
