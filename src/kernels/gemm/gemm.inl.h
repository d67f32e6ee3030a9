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

// Ends the life of what was loaded from B: without it gcc 12 loads the next step's or part's operands early and spills
// sums.
#define LOWP_LOAD_AGAIN __asm__ volatile("" ::: "memory")

}  // namespace
}  // namespace lowp::LOWP_TARGET

#include "kernels/gemm/finish.inl.h"

namespace lowp::LOWP_TARGET {
namespace {

#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr int kPanelVectors = 2;
#else
constexpr int kPanelVectors = 1;
#endif
#if defined(__AVX512F__)
// Panels longer than L1 come from L2: asked for 256 bytes ahead, about 50 cycles, the large tiles of f32 run 1.03x as
// fast on Sapphire Rapids.
[[gnu::always_inline]] inline void prefetch_panel(const char* b) { __builtin_prefetch(b + 256, 0, 3); }
constexpr int kShortSteps = 1;
#else
// Zen 3 fetches panels by itself.
[[gnu::always_inline]] inline void prefetch_panel(const char*) {}
// With 16 registers a step is so short that the loop around it counts: four steps of f32 without it run 1.25x as fast
// as one with it where another thread shares the core, 1.12x where K is 2304 (Zen 3).
#if defined(__AVX2__)
constexpr int kShortSteps = 4;
#else
constexpr int kShortSteps = 1;
#endif
#endif

// What tiles ask for in L2 while they compute: TileArgs::prefetch.
class Prefetch {
 public:
  explicit Prefetch(const TileArgs& t) : at_(reinterpret_cast<uintptr_t>(t.prefetch)), step_(t.prefetch_step) {}
  // kLines: 64-byte lines of a panel that have been read since the last call. Where one line is wanted for each of
  // them, all are fetched, else at most one.
  template <int64_t kLines>
  [[gnu::always_inline]] void advance() {
    fetch(at_);
    if constexpr (kLines > 1) {
      if (step_ * kLines > 64) [[unlikely]] {
        LOWP_UNROLL for (int64_t i = 1; i < kLines; ++i) fetch(at_ + static_cast<uintptr_t>(i * step_));
      }
    }
    at_ += static_cast<uintptr_t>(kLines * step_);
  }

 private:
  static void fetch(uintptr_t at) { __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 2); }
  uintptr_t at_;
  int64_t step_;
};

// Sums of MR rows and NP panels along K, in blocks of kBlock elements, kStep of A at a time; Step::run(acc, a, b) adds
// one step.
template <typename Step, int MR, int NP>
[[gnu::always_inline]] inline void one_tile(const TileArgs& t, const char* b, void* out, const int32_t* bias,
                                            Prefetch& prefetch, [[maybe_unused]] int64_t column) {
  using Acc = typename Step::Acc;
  using A = typename Step::A;
  constexpr int64_t kStep = Step::kStep, kUnroll = Step::kUnroll, kMany = kUnroll * kStep, kLines = Step::kBytesB / 64;
  Acc acc[MR][NP];
  auto clear = [&]() __attribute__((always_inline)) {
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      const Acc start = Step::start(bias, p);
      LOWP_UNROLL for (int i = 0; i < MR; ++i) acc[i][p] = start;
    }
  };
  bool first = Step::begins(t);
  auto flush = [&]() __attribute__((always_inline)) {
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      LOWP_UNROLL for (int p = 0; p < NP; ++p) Step::flush(out, i * t.acc_ld + p * 16, acc[i][p], first);
    }
    first = false;
  };
  clear();
  constexpr bool kFinishes = Step::kFinishes == NP;
  int64_t left = kFinishes && t.output != nullptr ? INT64_MAX : Step::kBlock;
  for (int64_t tap = 0; tap < t.taps; ++tap) {
    if (tap < 64 && ((t.left_out >> tap) & 1) != 0) [[unlikely]] {
      b += t.c / kStep * Step::kBytesB;
      if (t.c < left) {
        left -= t.c;
      } else {
        if (left != Step::kBlock) {
          flush();
          clear();
        }
        left = Step::kBlock - (t.c - left) % Step::kBlock;
      }
      continue;
    }
    const void* const* rows = t.rows + tap * t.rows_stride;
    const A* a[MR];
    LOWP_UNROLL for (int i = 0; i < MR; ++i) a[i] = static_cast<const A*>(rows[i]);
    int64_t c = 0;
    while (c < t.c) {
      int64_t end = t.c - c < left ? t.c : c + left;
      left -= end - c;
      if constexpr (kUnroll > 1) {
        for (; c + kMany <= end; c += kMany) {
          LOWP_UNROLL for (int u = 0; u < kUnroll; ++u) {
            Step::template run<MR, NP>(acc, a, c + u * kStep, b + u * Step::kBytesB, t.b_stride);
            LOWP_LOAD_AGAIN;
          }
          b += kUnroll * Step::kBytesB;
          prefetch.advance<kUnroll * kLines>();
        }
      }
      for (; c + kStep <= end; c += kStep) {
        Step::template run<MR, NP>(acc, a, c, b, t.b_stride);
        b += Step::kBytesB;
        prefetch.advance<kLines>();
      }
      if constexpr (Step::kHasTail) {
        if (c < end) {
          Step::template tail<MR, NP>(acc, a, c, end, b, t.b_stride);
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
  if constexpr (kFinishes) {
    if (t.output != nullptr) return finish_tile<Step::kFinished>(*t.output, acc, column);
  }
  if (first || left != Step::kBlock) flush();
}

// Integers whose rows lie in one piece. What one_tile does around its steps takes as long as two of StepOct's, which
// shows where K is short: with K = 64 and less u8 layers run 1.1x to 1.2x as fast without (Zen 3; f32 and
// s16, whose steps are unrolled, gain nothing).
template <typename Step, int MR, int NP>
[[gnu::always_inline]] inline void one_piece(const TileArgs& t) {
  constexpr int64_t kStep = Step::kStep, kLines = Step::kBytesB / 64;
  const typename Step::A* a[MR];
  LOWP_UNROLL for (int i = 0; i < MR; ++i) a[i] = static_cast<const typename Step::A*>(t.rows[i]);
  const char* panels = static_cast<const char*>(t.b);
  auto* out = static_cast<int32_t*>(t.acc);
  const int32_t* bias = t.bias;
  const int64_t k = t.c, panel = t.b_stride, ld = t.acc_ld;
  Prefetch prefetch(t);
  for (int64_t g = t.groups; g > 0; --g, panels += NP * panel, out += NP * 16) {
    typename Step::Acc acc[MR][NP];
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      const auto start = Step::start(bias, p);
      LOWP_UNROLL for (int i = 0; i < MR; ++i) acc[i][p] = start;
    }
    if (bias != nullptr) bias += NP * 16;
    const char* b = panels;
    int64_t c = 0;
    for (; c + kStep <= k; c += kStep, b += Step::kBytesB) {
      Step::template run<MR, NP>(acc, a, c, b, panel);
      prefetch.template advance<kLines>();
    }
    if constexpr (Step::kHasTail) {
      if (c < k) Step::template tail<MR, NP>(acc, a, c, k, b, panel);
    }
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      LOWP_UNROLL for (int p = 0; p < NP; ++p) store_int(out + i * ld + p * 16, acc[i][p]);
    }
  }
}

template <typename Step, int MR, int NP>
void tile(const TileArgs& t) {
  if constexpr (Step::kBlock == INT64_MAX && Step::kUnroll == 1) {
    if (t.taps == 1 && t.left_out == 0 && t.output == nullptr) return one_piece<Step, MR, NP>(t);
  }
  const char* b = static_cast<const char*>(t.b);
  char* out = static_cast<char*>(t.acc);
  const int32_t* bias = t.bias;
  Prefetch prefetch(t);
  for (int64_t g = 0; g < t.groups; ++g) {
    one_tile<Step, MR, NP>(t, b, out, bias, prefetch, g * NP * 16);
    b += NP * t.b_stride;
    out += NP * 16 * sizeof(float);
    if (bias != nullptr) bias += NP * 16;
  }
}

// Panels of the tiles that finish (finish.inl.h): where the registers hold what it takes.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr int kFinishedPanels = 0;
#else
constexpr int kFinishedPanels = 2;
#endif

struct FloatSum {
  static constexpr int kFinishes = 0;
  static constexpr int kLatency = 8;
  using Acc = F32;
  static constexpr bool kHasTail = false;
  static constexpr int64_t kBlock = kernels::kBlockK;
  [[gnu::always_inline]] static bool begins(const TileArgs& t) { return !t.accumulate; }
  [[gnu::always_inline]] static F32 start(const int32_t*, int) { return zero(); }
  [[gnu::always_inline]] static void flush(void* acc, int64_t at, F32 v, bool first) {
    float* p = static_cast<float*>(acc) + at;
    store(p, first ? v : load(p) + v);
  }
};

struct StepF32 : FloatSum {
  static constexpr int kFinishes = kFinishedPanels;
  static constexpr DType kFinished = DType::kF32;
  using A = float;
  static constexpr int kUnroll = kShortSteps;
  static constexpr int64_t kStep = 1;
  static constexpr int64_t kBytesB = 64;
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(F32 (&acc)[MR][NP], const float* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    // AVX2 has registers for one panel of B.
    constexpr int kHeld = kShortSteps > 1 ? 1 : NP;
    LOWP_UNROLL for (int p0 = 0; p0 < NP; p0 += kHeld) {
      F32 bv[kHeld];
      LOWP_UNROLL for (int p = 0; p < kHeld; ++p) {
        const char* panel = b + (p0 + p) * b_stride;
        bv[p] = load(reinterpret_cast<const float*>(panel));
        prefetch_panel(panel);
      }
      LOWP_UNROLL for (int i = 0; i < MR; ++i) {
        F32 av = set(a[i][c]);
        LOWP_UNROLL for (int p = 0; p < kHeld; ++p) fma_into(acc[i][p0 + p], av, bv[p]);
      }
      if constexpr (MR > 1 && kHeld < NP) LOWP_LOAD_AGAIN;
    }
  }
};

// bf16 weights against f32, two k a step: each line of B is read twice, first its low halves (even k), then its high
// ones.
struct StepBF16Wide : FloatSum {
  using A = float;
  static constexpr int kUnroll = 1;
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
      LOWP_UNROLL for (int p = 0; p < NP; ++p) fma_into(acc[i][p], av, bv[p]);
    }
  }
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(F32 (&acc)[MR][NP], const float* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    half<MR, NP>(acc, a, c, b, b_stride, false);
    half<MR, NP>(acc, a, c + 1, b, b_stride, true);
  }
  template <int MR, int NP>
  [[gnu::always_inline]] static void tail(F32 (&acc)[MR][NP], const float* const (&a)[MR], int64_t c, int64_t,
                                          const char* b, int64_t b_stride) {
    half<MR, NP>(acc, a, c, b, b_stride, false);
  }
};

#if defined(LOWP_HAS_BF16_DOT)
struct StepBF16 : FloatSum {
  static constexpr int kFinishes = kFinishedPanels;
  static constexpr DType kFinished = DType::kBF16;
  using A = uint16_t;
  static constexpr int kUnroll = 1;
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
  static constexpr int kFinishes = 0;
  static constexpr int kLatency = 2;  // of an addition; products are not in the chain
  using Acc = I32;
  static constexpr bool kHasTail = false;
  static constexpr int64_t kBlock = INT64_MAX;
  [[gnu::always_inline]] static bool begins(const TileArgs&) { return true; }
  [[gnu::always_inline]] static I32 start(const int32_t* bias, int panel) {
    return bias != nullptr ? load_int(bias + 16 * panel) : set_int(0);
  }
  [[gnu::always_inline]] static void flush(void* acc, int64_t at, I32 v, bool) {
    store_int(static_cast<int32_t*>(acc) + at, v);
  }
};

#if defined(LOWP_HAS_DOT)
struct StepDot : IntSum {
  static constexpr int kFinishes = kFinishedPanels;
  static constexpr DType kFinished = DType::kU8;
  using A = uint8_t;
  static constexpr int kLatency = 8;
  static constexpr int kUnroll = 1;
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
// Even bytes of B against even bytes of A, then odd against odd. AVX2 has registers for one widened panel, AVX-512 for
// all.
struct StepExact : IntSum {
  using A = int16_t;
  static constexpr int kUnroll = 1;
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
            LOWP_UNROLL for (int h = 0; h < kParts; ++h) add32_into(part(acc[i][p0 + p], h), madd(av, bv[p][h]));
          }
        }
        LOWP_LOAD_AGAIN;
      }
    }
  }
};

// kGroups * 4 k a step, whose products are added in 16 bit before they are widened. Where K ends within a step (one tap
// only), the last fours are a shorter step.
template <int kGroups>
struct StepA7 : IntSum {
  using A = uint8_t;
  static constexpr int kUnroll = 1;
  static constexpr bool kHasTail = true;
  static constexpr int64_t kStep = 4 * kGroups;
  static constexpr int64_t kBytesB = 64 * kGroups;
};

struct StepQuad : StepA7<2> {
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(I32 (&acc)[MR][NP], const uint8_t* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    const Part ones = ones16();
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      LOWP_UNROLL for (int h = 0; h < kParts; ++h) {
        Part b0 = load_part(b + p * b_stride, h), b1 = load_part(b + p * b_stride + 64, h);
        LOWP_UNROLL for (int i = 0; i < MR; ++i) {
          Part s = add16(maddubs(splat_part(a[i] + c), b0), maddubs(splat_part(a[i] + c + 4), b1));
          add32_into(part(acc[i][p], h), madd(s, ones));
        }
        LOWP_LOAD_AGAIN;
      }
    }
  }
  template <int MR, int NP>
  [[gnu::always_inline]] static void tail(I32 (&acc)[MR][NP], const uint8_t* const (&a)[MR], int64_t c, int64_t,
                                          const char* b, int64_t b_stride) {
    const Part ones = ones16();
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      LOWP_UNROLL for (int h = 0; h < kParts; ++h) {
        Part bv = load_part(b + p * b_stride, h);
        LOWP_UNROLL for (int i = 0; i < MR; ++i) {
          add32_into(part(acc[i][p], h), madd(maddubs(splat_part(a[i] + c), bv), ones));
        }
      }
    }
  }
};

// The 16-bit sums of a step stay in registers while its fours pass: each splat of A meets all of a four's panels, and a
// widening comes once in four. On Zen 3 1.17x as fast as StepQuad.
struct StepOct : StepA7<4> {
  template <int MR, int NP>
  using Sums = Part[MR][NP][kParts];

  template <bool kFirst, int MR, int NP>
  [[gnu::always_inline]] static void four(Sums<MR, NP>& s, const uint8_t* const (&a)[MR], int64_t c, const char* b,
                                          int64_t b_stride) {
    Part bv[NP][kParts];
    LOWP_UNROLL for (int p = 0; p < NP; ++p) {
      LOWP_UNROLL for (int h = 0; h < kParts; ++h) bv[p][h] = load_part(b + p * b_stride, h);
    }
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      const Part av = splat_part(a[i] + c);
      LOWP_UNROLL for (int p = 0; p < NP; ++p) {
        LOWP_UNROLL for (int h = 0; h < kParts; ++h) {
          const Part product = maddubs(av, bv[p][h]);
          if (kFirst)
            s[i][p][h] = product;
          else
            add16_into(s[i][p][h], product);
        }
      }
    }
    LOWP_LOAD_AGAIN;
  }
  template <int MR, int NP>
  [[gnu::always_inline]] static void widen(I32 (&acc)[MR][NP], Sums<MR, NP>& s) {
    const Part ones = ones16_now();
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      LOWP_UNROLL for (int p = 0; p < NP; ++p) {
        LOWP_UNROLL for (int h = 0; h < kParts; ++h) add32_into(part(acc[i][p], h), madd(s[i][p][h], ones));
      }
    }
    LOWP_LOAD_AGAIN;
  }
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(I32 (&acc)[MR][NP], const uint8_t* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
    Sums<MR, NP> s;
    four<true, MR, NP>(s, a, c, b, b_stride);
    LOWP_UNROLL for (int g = 1; g < 4; ++g) four<false, MR, NP>(s, a, c + 4 * g, b + 64 * g, b_stride);
    widen<MR, NP>(acc, s);
  }
  template <int MR, int NP>
  [[gnu::always_inline]] static void tail(I32 (&acc)[MR][NP], const uint8_t* const (&a)[MR], int64_t c, int64_t end,
                                          const char* b, int64_t b_stride) {
    Sums<MR, NP> s;
    four<true, MR, NP>(s, a, c, b, b_stride);
    for (c += 4, b += 64; c < end; c += 4, b += 64) four<false, MR, NP>(s, a, c, b, b_stride);
    widen<MR, NP>(acc, s);
  }
};
#endif

// s16 x s16, two k a step: panels are K2N16. Sums are modulo 2^32.
struct StepS16 : IntSum {
  using A = int16_t;
#if defined(LOWP_HAS_DOT)
  static constexpr int kLatency = 8;
#endif
  static constexpr int kUnroll = kShortSteps > 1 ? 2 : 1;
  static constexpr int64_t kStep = 2;
  static constexpr int64_t kBytesB = 64;
  template <int MR, int NP>
  [[gnu::always_inline]] static void run(I32 (&acc)[MR][NP], const int16_t* const (&a)[MR], int64_t c, const char* b,
                                         int64_t b_stride) {
#if defined(LOWP_HAS_DOT)
    I32 bv[NP];
    LOWP_UNROLL for (int p = 0; p < NP; ++p) bv[p] = load_panel(reinterpret_cast<const int8_t*>(b + p * b_stride));
    LOWP_UNROLL for (int i = 0; i < MR; ++i) {
      const I32 av = splat4(reinterpret_cast<const uint8_t*>(a[i] + c));
      LOWP_UNROLL for (int p = 0; p < NP; ++p) acc[i][p] = dot_s16(acc[i][p], av, bv[p]);
    }
#else
    constexpr int kHeld = kParts == 1 ? NP : 1;
    LOWP_UNROLL for (int p0 = 0; p0 < NP; p0 += kHeld) {
      Part bv[kHeld][kParts];
      LOWP_UNROLL for (int p = 0; p < kHeld; ++p) {
        LOWP_UNROLL for (int h = 0; h < kParts; ++h) bv[p][h] = load_part(b + (p0 + p) * b_stride, h);
      }
      LOWP_UNROLL for (int i = 0; i < MR; ++i) {
        const Part av = splat_part(a[i] + c);
        LOWP_UNROLL for (int p = 0; p < kHeld; ++p) {
          LOWP_UNROLL for (int h = 0; h < kParts; ++h) add32_into(part(acc[i][p0 + p], h), madd(av, bv[p][h]));
        }
      }
    }
#endif
  }
};

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
  set.vectors = kPanelVectors;
  set.latency = Step::kLatency;
  set.finishes = Step::kFinishes;
  if constexpr (Step::kFinishes != 0) set.finished[0] = DType::kF32, set.finished[1] = Step::kFinished;
  add_panels<Step, Rows>(set);
  return set;
}

}  // namespace
}  // namespace lowp::LOWP_TARGET
