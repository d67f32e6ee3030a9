// Products of u8 x s8 and bf16 x bf16 in AMX's tiles: 16 rows of 64 bytes of A against 64 bytes of K of a panel (a
// kilobyte, as panels are stored) give 16 x 16 sums an instruction. Two tiles of A and two panels make 32 x 32 sums of
// four loads and four products, which take 64 cycles: loads keep up from L1, and nearly so from L2 (Granite Rapids:
// 92% of the rate on registers).
//
// How many rows the registers have is set once for a chunk of rows (configure): that takes 160 cycles and clears them.
#pragma once

#include "kernels/gemm/tiles.h"
#if defined(LOWP_EMULATE_AMX)
#define LOWP_EMULATE_BF16_DOT
#include "kernels/gemm/dot.inl.h"
#endif

namespace lowp::LOWP_TARGET {
namespace {

using kernels::TileArgs;
using kernels::TileSet;
constexpr int kTileRows = kernels::kAmxRows;

// Which registers hold what. Tall: two tiles of A (rows 0 to 15 and those beyond) against two panels; else one against
// four.
constexpr int kA0 = 4, kA1 = 5;         // tall
constexpr int kTallB[] = {6, 7};        // sums: 0 and 1 of the first 16 rows, 2 and 3 of the others
constexpr int kFlatB[] = {5, 6, 7, 5};  // A is kA0; sums: 0 to 3
constexpr int rows_of_register(int first, int rest, int r) {
  if (rest == 0) return r <= kA0 ? first : kTileRows;
  if (r >= kTallB[0]) return kTileRows;
  return r == 2 || r == 3 || r == kA1 ? rest : first;
}

#if !defined(LOWP_EMULATE_AMX)
// The registers themselves.
class Registers {
 public:
  Registers(int, int) {}
  template <int R>
  [[gnu::always_inline]] void zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(R));
  }
  template <int R>
  [[gnu::always_inline]] void load(const void* p, int64_t step) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(step), "i"(R) : "memory");
  }
  template <int R>
  [[gnu::always_inline]] void store(void* p, int64_t step) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(step), "i"(R) : "memory");
  }
  template <int S, int A, int B>
  [[gnu::always_inline]] void dot_u8s8() {
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(S), "i"(A), "i"(B));
  }
  template <int S, int A, int B>
  [[gnu::always_inline]] void dot_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(S), "i"(A), "i"(B));
  }
};

void configure(int first, int rest) {
  // Intel SDM volume 1, 18.3: palette 1, bytes a row from byte 16 on, rows from byte 48 on.
  alignas(64) uint8_t config[64] = {1};
  for (int r = 0; r < 8; ++r) {
    config[16 + 2 * r] = 64;
    config[48 + r] = static_cast<uint8_t>(rows_of_register(first, rest, r));
  }
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
}
void release() { __asm__ volatile("tilerelease"); }

#else
// The same in plain C++, with what the instructions do to every bit (numerics.md).
class Registers {
 public:
  Registers(int first, int rest) {
    for (int r = 0; r < 8; ++r) rows_[r] = rows_of_register(first, rest, r);
  }
  template <int R>
  void zero() {
    __builtin_memset(data_[R], 0, sizeof(data_[R]));
  }
  template <int R>
  void load(const void* p, int64_t step) {
    for (int i = 0; i < rows_[R]; ++i) __builtin_memcpy(data_[R][i], static_cast<const char*>(p) + i * step, 64);
  }
  template <int R>
  void store(void* p, int64_t step) {
    for (int i = 0; i < rows_[R]; ++i) __builtin_memcpy(static_cast<char*>(p) + i * step, data_[R][i], 64);
  }
  template <int S, int A, int B>
  void dot_u8s8() {
    for (int i = 0; i < rows_[S]; ++i) {
      I32 sums = load_int(reinterpret_cast<const int32_t*>(data_[S][i]));
      for (int k = 0; k < 16; ++k) {
        sums = dot_u8s8_of(sums, data_[A][i] + 4 * k, data_[B][k]);
      }
      store_int(reinterpret_cast<int32_t*>(data_[S][i]), sums);
    }
  }
  template <int S, int A, int B>
  void dot_bf16() {
    for (int i = 0; i < rows_[S]; ++i) {
      float even[16] = {0}, odd[16] = {0};
      for (int k = 0; k < 16; ++k) {
        const uint32_t a = word(data_[A][i], k);
        for (int j = 0; j < 16; ++j) {
          const uint32_t b = word(data_[B][k], j);
          even[j] = flushed_fma(bf16_float(a & 0xffffu), bf16_float(b & 0xffffu), even[j]);
          odd[j] = flushed_fma(bf16_float(a >> 16), bf16_float(b >> 16), odd[j]);
        }
      }
      float* sums = reinterpret_cast<float*>(data_[S][i]);
      for (int j = 0; j < 16; ++j) sums[j] = flush(flush(sums[j]) + flush(even[j] + odd[j]));
    }
  }

 private:
  static uint32_t word(const char* row, int i) {
    uint32_t w;
    __builtin_memcpy(&w, row + 4 * i, 4);
    return w;
  }
  static I32 dot_u8s8_of(I32 sums, const char* a, const char* b) {
    return LOWP_TARGET::dot_u8s8(sums, set_int(static_cast<int32_t>(word(a, 0))),
                                 load_panel(reinterpret_cast<const int8_t*>(b)));
  }
  alignas(64) char data_[8][16][64];
  int rows_[8];
};
void configure(int, int) {}
void release() {}
#endif

struct DotInt8 {
  static constexpr int64_t kElement = 1;
  template <int S, int A, int B>
  [[gnu::always_inline]] static void run(Registers& r) {
    r.dot_u8s8<S, A, B>();
  }
};
struct DotBF16 {
  static constexpr int64_t kElement = 2;
  template <int S, int A, int B>
  [[gnu::always_inline]] static void run(Registers& r) {
    r.dot_bf16<S, A, B>();
  }
};

// 64 bytes of K of the tile's rows, those of the second register at `a1`, so many bytes apart, and of panels at `b`,
// likewise.
template <typename Dot, int NP>
[[gnu::always_inline]] inline void tall_step(Registers& r, const char* a0, const char* a1, int64_t a_step,
                                             const char* b, int64_t b_step) {
  r.load<kA0>(a0, a_step);
  r.load<kTallB[0]>(b, 64);
  Dot::template run<0, kA0, kTallB[0]>(r);
  if constexpr (NP > 1) {
    r.load<kTallB[1]>(b + b_step, 64);
    Dot::template run<1, kA0, kTallB[1]>(r);
  }
  r.load<kA1>(a1, a_step);
  Dot::template run<2, kA1, kTallB[0]>(r);
  if constexpr (NP > 1) Dot::template run<3, kA1, kTallB[1]>(r);
}
template <typename Dot, int NP, int P = 0>
[[gnu::always_inline]] inline void flat_panels(Registers& r, const char* b, int64_t b_step) {
  if constexpr (P < NP) {
    r.load<kFlatB[P]>(b + P * b_step, 64);
    Dot::template run<P, kA0, kFlatB[P]>(r);
    flat_panels<Dot, NP, P + 1>(r, b, b_step);
  }
}

// Starts the sums of a panel's columns at what `acc` holds, at the bias of each, or at 0.
template <int S>
[[gnu::always_inline]] inline void start_sums(Registers& r, const char* acc, int64_t ld, const int32_t* bias) {
  acc != nullptr ? r.load<S>(acc, ld) : bias != nullptr ? r.load<S>(bias, 0) : r.zero<S>();
}

template <typename Dot, int NP, bool kTall>
[[gnu::always_inline]] inline void amx_tile_of(const TileArgs& t) {
  Registers r(t.first, t.rest);
  const int64_t bytes = t.c * Dot::kElement, whole = bytes / 64, ld = t.acc_ld * 4, below = t.first * ld;
  const char* b = static_cast<const char*>(t.b);
  const char* b_tail = static_cast<const char*>(t.b_tail);
  char* out = static_cast<char*>(t.acc);
  const int32_t* bias = t.bias;
  // What is fetched for a kilobyte of each panel.
  uintptr_t wanted = reinterpret_cast<uintptr_t>(t.prefetch), fetched = wanted;
  const auto wanted_step = static_cast<uintptr_t>(t.prefetch_step * 16);
  auto step = [&](const char* a0, const char* a1, int64_t row_step, const char* panels, int64_t panel_step)
      __attribute__((always_inline)) {
    if constexpr (kTall) {
      tall_step<Dot, NP>(r, a0, a1, row_step, panels, panel_step);
    } else {
      r.load<kA0>(a0, row_step);
      flat_panels<Dot, NP>(r, panels, panel_step);
    }
    for (wanted += wanted_step; fetched < wanted; fetched += 64)
      __builtin_prefetch(reinterpret_cast<const void*>(fetched), 0, 2);
  };
  for (int64_t g = 0; g < t.groups; ++g) {
    auto from = [&](int64_t at) { return t.accumulate ? out + at : nullptr; };
    auto bias_of = [&](int panel) { return bias == nullptr ? nullptr : bias + panel * 16; };
    start_sums<0>(r, from(0), ld, bias);
    if constexpr (NP > 1) start_sums<1>(r, from(64), ld, bias_of(1));
    if constexpr (kTall) {
      start_sums<2>(r, from(below), ld, bias);
      if constexpr (NP > 1) start_sums<3>(r, from(below + 64), ld, bias_of(1));
    } else {
      if constexpr (NP > 2) start_sums<2>(r, from(128), ld, bias_of(2));
      if constexpr (NP > 3) start_sums<3>(r, from(192), ld, bias_of(3));
    }
    const char* panel = b;
    for (int64_t tap = 0; tap < t.taps; ++tap) {
      const void* const* rows = t.rows + tap * t.rows_stride;
      const char *a0 = static_cast<const char*>(rows[0]), *a1 = static_cast<const char*>(rows[t.second]);
      for (int64_t i = 0; i < whole; ++i, panel += kernels::kAmxPanelBytes)
        step(a0 + i * 64, a1 + i * 64, t.row_step, panel, t.b_stride);
    }
    if (bytes % 64 != 0) {
      const char* tail = static_cast<const char*>(t.a_tail);
      step(tail, tail + t.first * t.a_tail_step, t.a_tail_step, b_tail, kernels::kAmxPanelBytes);
      b_tail += NP * kernels::kAmxPanelBytes;
    }
    r.store<0>(out, ld);
    if constexpr (NP > 1) r.store<1>(out + 64, ld);
    if constexpr (kTall) {
      r.store<2>(out + below, ld);
      if constexpr (NP > 1) r.store<3>(out + below + 64, ld);
    } else {
      if constexpr (NP > 2) r.store<2>(out + 128, ld);
      if constexpr (NP > 3) r.store<3>(out + 192, ld);
    }
    b += NP * t.b_stride;
    out += NP * 64;
    if (bias != nullptr) bias += NP * 16;
  }
}

template <typename Dot, int NP>
void amx_tile(const TileArgs& t) {
  if constexpr (NP <= 2) {
    if (t.rest > 0) return amx_tile_of<Dot, NP, true>(t);
  }
  amx_tile_of<Dot, NP, false>(t);
}

template <typename Dot, int NP>
constexpr void add_amx_tiles(TileSet& set) {
  set.max_rows[NP] = NP <= 2 ? 2 * kTileRows : kTileRows;
  for (int rows = 1; rows <= set.max_rows[NP]; ++rows) set.tile[rows][NP] = amx_tile<Dot, NP>;
}
template <typename Dot>
constexpr TileSet make_amx_tiles(kernels::RowForm form) {
  TileSet set{};
  set.form = form;
  set.vectors = 1;
  set.configure = configure;
  set.release = release;
  add_amx_tiles<Dot, 1>(set);
  add_amx_tiles<Dot, 2>(set);
  add_amx_tiles<Dot, 4>(set);
  return set;
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
