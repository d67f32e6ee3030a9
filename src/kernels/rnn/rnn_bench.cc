// LSTM and GRU layers of GNMT's size: GMAC/s, and GB/s of recurrent weights read, which is what bounds them at batch 1.
//   kernels_bench --benchmark_filter=Rnn
// LOWP_ISA chooses the target.
#include <benchmark/benchmark.h>

#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/rnn/rnn.h"
#include "kernels/rnn/rnn_gradient.h"

namespace lowp::kernels {
namespace {

void layer(benchmark::State& state, RnnKind kind, WeightKind weights) {
  RnnArgs a;
  a.kind = kind;
  a.r_kind = weights;
  a.steps = 25;
  a.batch = state.range(0);
  a.hidden = state.range(1);
  const int threads = static_cast<int>(state.range(2));
  const int64_t gates = rnn_gates(kind), rows = gates * a.hidden;
  const size_t bytes = packed_rnn_bytes(weights, kind, a.hidden);
  auto packed = AlignedBuffer::allocate(bytes);
  std::vector<float> r(static_cast<size_t>(rows * a.hidden), 0.01f), xw(static_cast<size_t>(a.steps * a.batch * rows)),
      scale(static_cast<size_t>(rows), 0.001f), y(static_cast<size_t>(a.steps * a.batch * a.hidden));
  std::vector<int8_t> r8(r.size(), 1);
  std::vector<int32_t> bias(scale.size());
  const bool int8 = weights == WeightKind::kS8;
  pack_rnn(weights, kind, int8 ? DType::kI8 : DType::kF32, int8 ? static_cast<const void*>(r8.data()) : r.data(),
           a.hidden, packed->data());
  a.r = packed->data();
  a.r_scale = scale.data();
  a.r_bias = bias.data();
  a.xw = xw.data();
  a.y = y.data();
  auto scratch = AlignedBuffer::allocate(rnn_scratch(a, threads));
  for (auto _ : state) rnn(a, scratch->data(), threads);
  // The first step has no product.
  const double products = static_cast<double>(state.iterations()) * static_cast<double>(a.steps - 1);
  state.counters["GMAC/s"] =
      benchmark::Counter(products * static_cast<double>(a.batch * rows * a.hidden) * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GB/s"] =
      benchmark::Counter(products * static_cast<double>(bytes) * 1e-9, benchmark::Counter::kIsRate);
}

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"batch", "hidden", "threads"})->UseRealTime();
  for (int64_t threads : {1, 2}) b->Args({1, 1024, threads})->Args({8, 1024, threads})->Args({1, 512, threads});
}
// Back through time, dR included: twice the forward pass's products.
void gradient(benchmark::State& state, RnnKind kind) {
  RnnGradientArgs a;
  a.kind = kind;
  a.steps = 25;
  a.batch = state.range(0);
  a.hidden = state.range(1);
  const int threads = static_cast<int>(state.range(2));
  const int64_t rows = rnn_gates(kind) * a.hidden;
  const auto units = static_cast<size_t>(a.steps * a.batch * a.hidden);
  std::vector<float> r(static_cast<size_t>(rows * a.hidden), 0.01f), gates(4 * units, 0.3f), cells(units, 0.1f),
      y(units, 0.1f), dy(units, 0.1f), dxw(4 * units), dr(r.size());
  a.r = r.data();
  a.gates = gates.data();
  a.cells = cells.data();
  a.y = y.data();
  a.dy = dy.data();
  a.dxw = dxw.data();
  a.dr = dr.data();
  auto scratch = AlignedBuffer::allocate(rnn_gradient_scratch(a, threads));
  for (auto _ : state) rnn_gradient(a, scratch->data(), threads);
  const double products = 2 * static_cast<double>(state.iterations()) * static_cast<double>(a.steps - 1);
  state.counters["GMAC/s"] =
      benchmark::Counter(products * static_cast<double>(a.batch * rows * a.hidden) * 1e-9, benchmark::Counter::kIsRate);
}
void trained_sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"batch", "hidden", "threads"})->UseRealTime();
  for (int64_t threads : {1, 2}) b->Args({32, 512, threads})->Args({128, 1024, threads});
}
BENCHMARK_CAPTURE(gradient, lstm, RnnKind::kLstm)->Name("Rnn/lstm_gradient/f32")->Apply(trained_sizes);
BENCHMARK_CAPTURE(gradient, gru, RnnKind::kGru)->Name("Rnn/gru_gradient/f32")->Apply(trained_sizes);

BENCHMARK_CAPTURE(layer, lstm_f32, RnnKind::kLstm, WeightKind::kF32)->Name("Rnn/lstm/f32")->Apply(sizes);
BENCHMARK_CAPTURE(layer, lstm_bf16, RnnKind::kLstm, WeightKind::kBF16)->Name("Rnn/lstm/bf16")->Apply(sizes);
BENCHMARK_CAPTURE(layer, lstm_s8, RnnKind::kLstm, WeightKind::kS8)->Name("Rnn/lstm/s8")->Apply(sizes);
BENCHMARK_CAPTURE(layer, gru_f32, RnnKind::kGru, WeightKind::kF32)->Name("Rnn/gru/f32")->Apply(sizes);
BENCHMARK_CAPTURE(layer, gru_s8, RnnKind::kGru, WeightKind::kS8)->Name("Rnn/gru/s8")->Apply(sizes);

}  // namespace
}  // namespace lowp::kernels
