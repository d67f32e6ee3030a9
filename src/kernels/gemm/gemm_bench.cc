// Layer shapes of BERT-base, MiniLM and square matrices: GMAC/s and the fraction of the measured peak.
//   kernels_bench --benchmark_filter=Gemm
// LOWP_ISA chooses the target.
#include <benchmark/benchmark.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu.h"
#include "kernels/gemm/bench_util.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/tiles.h"

namespace lowp::kernels {

// A tile whose operands stay in L1 is the peak that the tile code itself can reach.
double peak_macs(WeightKind kind, Int8Class int8_class) {
  static std::map<std::pair<WeightKind, Int8Class>, double> measured;
  auto [entry, fresh] = measured.try_emplace({kind, int8_class}, 0.0);
  if (!fresh) return entry->second;
  const GemmTable& table = *gemm_table(active_target());
  const TileSet* set = kind == WeightKind::kS8
                           ? (table.s8_amx != nullptr ? table.s8_amx : int8_tiles(table, int8_class))
                       : kind == WeightKind::kBF16 && bf16_tiles(table) != nullptr ? bf16_tiles(table)
                                                                                   : table.f32;
  double best = 0;
  for (int np = 1; np <= kMaxTilePanels; ++np) {
    const int rows = set->max_rows[np];
    if (rows == 0) continue;
    const int64_t k = 128;
    std::vector<char> a(static_cast<size_t>(rows * k) * 4), b(static_cast<size_t>(np * 16 * k) * 4 + 64),
        acc(kMaxAcc * 4);
    std::vector<const void*> pointers;
    for (int i = 0; i < rows; ++i) pointers.push_back(a.data() + i * k * 4);
    const size_t stride = packed_bytes(kind == WeightKind::kF16 ? WeightKind::kF32 : kind, k, 16);
    const char* b64 = reinterpret_cast<const char*>((reinterpret_cast<uintptr_t>(b.data()) + 63) & ~uintptr_t{63});
    TileArgs t{.rows = pointers.data(),
               .rows_stride = rows,
               .taps = 1,
               .c = k,
               .b = b64,
               .b_stride = static_cast<int64_t>(stride),
               .acc = acc.data(),
               .acc_ld = np * 16,
               .row_step = k * 4,
               .first = std::min(rows, kAmxRows),
               .rest = std::max(rows - kAmxRows, 0),
               .second = rows > kAmxRows ? kAmxRows : 0};
    if (set->amx()) set->configure(t.first, t.rest);
    for (int repeat = 0; repeat < 20; ++repeat) {
      auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < 2000; ++i) set->tile[rows][np](t);
      std::chrono::duration<double> s = std::chrono::steady_clock::now() - start;
      best = std::max(best, 2000.0 * static_cast<double>(rows * np * 16 * k) / s.count());
    }
    if (set->amx()) set->release();
  }
  return entry->second = best;
}

namespace {

struct Shape {
  const char* name;
  int64_t m, n, k;
};
constexpr Shape kShapes[] = {
    {"square1024", 1024, 1024, 1024},
    {"bert_qkv", 128, 768, 768},
    {"bert_up", 128, 3072, 768},
    {"bert_down", 128, 768, 3072},
    {"minilm_qkv", 32, 384, 384},
    {"minilm_up", 32, 1536, 384},
    {"minilm_down", 32, 384, 1536},
    {"m1", 1, 3072, 768},
    {"m4", 4, 3072, 768},
    {"m8", 8, 3072, 768},
};
struct Kind {
  const char* name;
  DType a;
  WeightKind b;
  Int8Class int8_class;
};
constexpr Kind kKinds[] = {
    {"f32", DType::kF32, WeightKind::kF32, Int8Class::kExact8},
    {"bf16", DType::kBF16, WeightKind::kBF16, Int8Class::kExact8},
    {"f32xbf16", DType::kF32, WeightKind::kBF16, Int8Class::kExact8},
    {"f32xf16", DType::kF32, WeightKind::kF16, Int8Class::kExact8},
    {"u8", DType::kU8, WeightKind::kS8, Int8Class::kExact8},
    {"quad", DType::kU8, WeightKind::kS8, Int8Class::kA7Quad},
    {"oct", DType::kU8, WeightKind::kS8, Int8Class::kA7Oct},
};

void run(benchmark::State& state, const Shape& s, const Kind& kind, int threads) {
  auto a = *AlignedBuffer::zeroed(static_cast<size_t>(s.m * s.k) * 4),
       b = *AlignedBuffer::zeroed(packed_bytes(kind.b, s.k, s.n));
  auto c = *AlignedBuffer::zeroed(static_cast<size_t>(s.m * s.n) * 4);
  std::vector<float> scale(static_cast<size_t>(s.n), 1e-3f);
  std::vector<int32_t> bias_s32(static_cast<size_t>(s.n), 3);
  GemmArgs g;
  g.m = s.m, g.n = s.n, g.k = s.k, g.a_dtype = kind.a, g.b_kind = kind.b, g.int8_class = kind.int8_class;
  g.a = a.data(), g.lda = s.k, g.b = b.data(), g.c = c.data(), g.ldc = s.n;
  g.epilogue.bias = scale.data();
  if (kind.b == WeightKind::kS8) {
    g.epilogue.scale = scale.data();
    g.epilogue.bias_s32 = bias_s32.data();
    g.epilogue.out = DType::kU8;
  }
  auto scratch = *AlignedBuffer::zeroed(gemm_scratch(g, threads));
  const double peak = peak_macs(kind.b, kind.int8_class);
  auto start = std::chrono::steady_clock::now();
  for (auto _ : state) gemm(g, scratch.data(), threads);
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double macs = static_cast<double>(s.m * s.n * s.k) * static_cast<double>(state.iterations()) / seconds.count();
  state.counters["GMAC/s"] = macs * 1e-9;
  state.counters["of_peak"] = macs / peak / threads;
  state.counters["peak"] = peak * 1e-9;
}

const int kRegistered = [] {
  for (const Kind& kind : kKinds) {
    for (const Shape& shape : kShapes) {
      for (int threads : {1, 2}) {
        const std::string name =
            std::string("Gemm/") + kind.name + "/" + shape.name + "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, shape, kind, threads); })
            ->UseRealTime()
            ->MinTime(0.1);
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace lowp::kernels
