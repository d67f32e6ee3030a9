// The tiles, written once over the 16-lane vectors. Each target file sets LOWP_TILE_ROWS (below) and instantiates what
// it has.
//
// Rows are unrolled and their pointers live in memory: with 14 rows x86 has too few registers for them, and an integer
// load a row and k costs nothing on CPUs with more integer than vector load ports.
#pragma once

#include "kernels/gemm/dot.inl.h"
#include "kernels/gemm/tiles.h"

namespace lowp::LOWP_TARGET {
namespace {

using kernels::TileArgs;
using kernels::TileFn;
using kernels::TileSet;

// On the plain targets unrolling would only make the compiler slow: their vectors are arrays.
#if defined(__AVX2__)
#define LOWP_UNROLL _Pragma("GCC unroll 16")
#else
#define LOWP_UNROLL
#endif

// Panels longer than L1 come from L2: asked for 256 bytes ahead, about 50 cycles, the large tiles of f32 run 1.03x as
// fast on Sapphire Rapids.
[[gnu::always_inline]] inline void prefetch_panel(const char* b) { __builtin_prefetch(b + 256, 0, 3); }

// Sums along K in blocks of kBlockK elements, kStep of A at a time; Step::run(acc, a, b) adds one step.
template <typename Step, int MR, int NP>
void tile(const TileArgs& t) {
  using Acc = typename Step::Acc;
  using A = typename Step::A;
  constexpr int64_t kStep = Step::kStep;
  Acc acc[MR][NP];
  auto clear = [&]() __attribute__((always_inline)) {
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      const Acc start = Step::start(t.bias, p);
      LOWP_UNROLL for (int i = 0; i < MR; ++i) acc[i][p] = start;
    }
  };
  bool first = true;
  auto flush = [&]() __attribute__((always_inline)) {
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      LOWP_UNROLL for (int p = 0; p < NP; ++p) Step::flush(t.acc, (i * NP + p) * 16, acc[i][p], first);
    }
    first = false;
  };
  clear();
  const char* b = static_cast<const char*>(t.b);
  uintptr_t prefetch = reinterpret_cast<uintptr_t>(t.prefetch);
  const int64_t prefetch_step = t.prefetch_step * (Step::kBytesB / 64);
  int64_t left = Step::kBlock;
  for (int64_t tap = 0; tap < t.taps; ++tap) {
    const void* const* rows = t.rows + tap * t.rows_stride;
    const A* a[MR];
    LOWP_UNROLL for (int i = 0; i < MR; ++i) a[i] = static_cast<const A*>(rows[i]);
    int64_t c = 0;
    while (c < t.c) {
      int64_t end = t.c - c < left ? t.c : c + left;
      left -= end - c;
      for (; c + kStep <= end; c += kStep) {
        Step::template run<MR, NP>(acc, a, c, b, t.b_stride);
        b += Step::kBytesB;
        __builtin_prefetch(reinterpret_cast<const void*>(prefetch), 0, 2);
        prefetch += prefetch_step;
      }
      if constexpr (Step::kHasTail) {
        if (c < end) {
          Step::template tail<MR, NP>(acc, a, c, b, t.b_stride);
          c = end;
        }
      }
      if (left == 0) {
        flush();
        clear();
        left = Step::kBlock;
      }
    }
  }
  if (first || left != Step::kBlock) flush();
}

struct FloatSum {
  using Acc = F32;
  static constexpr bool kHasTail = false;
  static constexpr int64_t kBlock = kernels::kBlockK;
  [[gnu::always_inline]] static F32 start(const int32_t*, int) { return zero(); }
  [[gnu::always_inline]] static void flush(void* acc, int at, F32 v, bool first) {
    float* p = static_cast<float*>(acc) + at;
    store(p, first ? v : load(p) + v);
  }
};

struct StepF32 : FloatSum {
  using A = float;
  static constexpr int64_t kStep = 1;
  static constexpr int64_t kBytesB = 64;
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(F32 (&acc)[MR][NP], const float* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    F32 bv[NP];
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      bv[p] = load(reinterpret_cast<const float*>(b + p * b_stride));
      prefetch_panel(b + p * b_stride);
    }
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      F32 av = set(a[i][c]);
      LOWP_UNROLL for (int p = 0; p < NP; ++p) acc[i][p] = fma(av, bv[p], acc[i][p]);
    }
  }
};

// bf16 weights against f32, two k a step: each line of B is read twice, first its low halves (even k), then its high
// ones.
struct StepBF16Wide : FloatSum {
  using A = float;
  static constexpr bool kHasTail = true;
  static constexpr int64_t kStep = 2;
  static constexpr int64_t kBytesB = 64;
  template <int MR, int NP>
  [[gnu::always_inline]] static void half(F32 (&acc)[MR][NP], const float* const (&a)[MR], int64_t c, const char* b,
                                          int64_t b_stride, bool odd) {
    F32 bv[NP];
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      const I32 pair = load_panel(reinterpret_cast<const int8_t*>(b + p * b_stride));
      bv[p] = bitcast_float(odd ? pair & set_int(static_cast<int32_t>(0xffff0000u)) : shift_left<16>(pair));
    }
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      F32 av = set(a[i][c]);
      LOWP_UNROLL for (int p = 0; p < NP; ++p) acc[i][p] = fma(av, bv[p], acc[i][p]);
    }
  }
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(F32 (&acc)[MR][NP], const float* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    half<MR, NP>(acc, a, c, b, b_stride, false);
    half<MR, NP>(acc, a, c + 1, b, b_stride, true);
  }
  template <int MR, int NP>
  [[gnu::always_inline]] static void tail(F32 (&acc)[MR][NP], const float* const (&a)[MR], int64_t c, const char* b,
                                          int64_t b_stride) {
    half<MR, NP>(acc, a, c, b, b_stride, false);
  }
};

#if defined(LOWP_HAS_BF16_DOT)
struct StepBF16 : FloatSum {
  using A = uint16_t;
  static constexpr int64_t kStep = 2;
  static constexpr int64_t kBytesB = 64;
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(F32 (&acc)[MR][NP], const uint16_t* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    I32 bv[NP];
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      bv[p] = load_panel(reinterpret_cast<const int8_t*>(b + p * b_stride));
      prefetch_panel(b + p * b_stride);
    }
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      I32 av = splat4(reinterpret_cast<const uint8_t*>(a[i] + c));
      LOWP_UNROLL for (int p = 0; p < NP; ++p) acc[i][p] = dot_bf16(acc[i][p], av, bv[p]);
    }
  }
};
#endif

struct IntSum {
  using Acc = I32;
  static constexpr bool kHasTail = false;
  static constexpr int64_t kBlock = INT64_MAX;
  [[gnu::always_inline]] static I32 start(const int32_t* bias, int panel) {
    return bias != nullptr ? load_int(bias + 16 * panel) : set_int(0);
  }
  [[gnu::always_inline]] static void flush(void* acc, int at, I32 v, bool) {
    store_int(static_cast<int32_t*>(acc) + at, v);
  }
};

#if defined(LOWP_HAS_DOT)
struct StepDot : IntSum {
  using A = uint8_t;
  static constexpr int64_t kStep = 4;
  static constexpr int64_t kBytesB = 64;
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(I32 (&acc)[MR][NP], const uint8_t* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    I32 bv[NP];
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      bv[p] = load_panel(reinterpret_cast<const int8_t*>(b + p * b_stride));
      prefetch_panel(b + p * b_stride);
    }
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      I32 av = splat4(a[i] + c);
      LOWP_UNROLL for (int p = 0; p < NP; ++p) acc[i][p] = dot_u8s8(acc[i][p], av, bv[p]);
    }
  }
};
#else
// Ends the life of what was loaded from B: without it gcc 12 computes the next part's operands early and spills sums.
#define LOWP_LOAD_AGAIN __asm__ volatile("" ::: "memory")
// sum += product, not to be reassociated with the next: gcc 12 would add products first, keep them and spill sums.
[[gnu::always_inline]] inline void add_now(Part& sum, Part product) {
  sum = add32(sum, product);
  __asm__("" : "+v"(sum));
}

// Even bytes of B against even bytes of A, then odd against odd. AVX2 has registers for one widened panel, AVX-512 for
// all.
struct StepExact : IntSum {
  using A = int16_t;
  static constexpr int64_t kStep = 4;
  static constexpr int64_t kBytesB = 64;
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(I32 (&acc)[MR][NP], const int16_t* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    constexpr int kHeld = kParts == 1 ? NP : 1;
    LOWP_UNROLL for (int odd = 0; odd < 2; ++odd) {
      LOWP_UNROLL for (int p0 = 0; p0 < NP; p0 += kHeld) {
        Part bv[kHeld][kParts];
        LOWP_UNROLL for (int p = 0; p < kHeld; ++p) {
          LOWP_UNROLL for (int h = 0; h < kParts; ++h) {
            Part v = load_part(b + (p0 + p) * b_stride, h);
            bv[p][h] = odd ? odd_bytes(v) : even_bytes(v);
          }
        }
        LOWP_UNROLL for (int i = 0; i < MR; ++i) {
          Part av = splat_part(a[i] + c + 2 * odd);
          LOWP_UNROLL for (int p = 0; p < kHeld; ++p) {
            LOWP_UNROLL for (int h = 0; h < kParts; ++h) add_now(part(acc[i][p0 + p], h), madd(av, bv[p][h]));
          }
        }
        LOWP_LOAD_AGAIN;
      }
    }
  }
};

// Eight k a step, and a last four where K has an odd number of groups (one tap only).
struct StepA7 : IntSum {
  using A = uint8_t;
  static constexpr bool kHasTail = true;
  static constexpr int64_t kStep = 8;
  static constexpr int64_t kBytesB = 128;
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(I32 (&acc)[MR][NP], const uint8_t* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    const Part ones = ones16();
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      LOWP_UNROLL for (int h = 0; h < kParts; ++h) {
        Part b0 = load_part(b + p * b_stride, h), b1 = load_part(b + p * b_stride + 64, h);
        LOWP_UNROLL for (int i = 0; i < MR; ++i) {
          Part s = add16(maddubs(splat_part(a[i] + c), b0), maddubs(splat_part(a[i] + c + 4), b1));
          part(acc[i][p], h) = add32(part(acc[i][p], h), madd(s, ones));
        }
        LOWP_LOAD_AGAIN;
      }
    }
  }
  template <int MR, int NP>
  [[gnu::always_inline]] static void tail(I32 (&acc)[MR][NP], const uint8_t* const (&a)[MR], int64_t c, const char* b,
                                          int64_t b_stride) {
    const Part ones = ones16();
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      LOWP_UNROLL for (int h = 0; h < kParts; ++h) {
        Part bv = load_part(b + p * b_stride, h);
        LOWP_UNROLL for (int i = 0; i < MR; ++i) {
          part(acc[i][p], h) = add32(part(acc[i][p], h), madd(maddubs(splat_part(a[i] + c), bv), ones));
        }
      }
    }
  }
};
#endif

// Rows::kRows[np] is the highest tile of np panels, 0 for none: what the target's registers hold.
template <typename Step, typename Rows, int NP, int MR>
constexpr void add_tiles(TileSet& set) {
  if constexpr (MR <= Rows::kRows[NP]) {
    set.tile[MR][NP] = tile<Step, MR, NP>;
    add_tiles<Step, Rows, NP, MR + 1>(set);
  }
}
template <typename Step, typename Rows, int NP = 1>
constexpr void add_panels(TileSet& set) {
  if constexpr (NP <= kernels::kMaxTilePanels) {
    set.max_rows[NP] = Rows::kRows[NP];
    add_tiles<Step, Rows, NP, 1>(set);
    add_panels<Step, Rows, NP + 1>(set);
  }
}
template <typename Step, typename Rows>
constexpr TileSet make_tiles(kernels::RowForm form) {
  TileSet set{};
  set.form = form;
  add_panels<Step, Rows>(set);
  return set;
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
