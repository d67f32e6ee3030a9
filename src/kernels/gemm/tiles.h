// Inside the gemm family: what a target's translation unit offers to the blocking in driver.cc.
//
// A tile computes rows x (panels * 16) sums over the whole of K into a small buffer, several times over for
// neighbouring panels; an epilogue turns the sums of one or more tiles into output rows. Rows of A are reached through
// pointers, one a tap and row, so plain GEMM (one tap), convolution (kh * kw taps of C channels) and gathered rows are
// the same kernel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/pack.h"

namespace lowp::kernels {

// In vectors 14: 14 x 2 accumulators + 2 of B + 1 of A are 31 of 32 registers. AMX: two of its tiles.
inline constexpr int kMaxTileRows = 32;
// A tile register of AMX has so many rows of 64 bytes; so much of a panel is one.
inline constexpr int kAmxRows = 16;
inline constexpr int64_t kAmxRowBytes = 64, kAmxPanelBytes = 1024;
// For few rows, where independent sums must hide the latency of fma (4 cycles x 2 pipes). With 8, M = 1 is 0.7x of 6.
inline constexpr int kMaxTilePanels = 6;
inline constexpr int64_t kBlockK = 256;  // the contract's block
// Sums that are kept until an epilogue takes them: 8 KB of L1. An epilogue's preparation costs about 60 cycles, and the
// ends of its loops a wrong guess each: with 384 sums MiniLM's INT8 layers of K = 384 take 1.03 times as long on
// AVX-512, ResNet-50's 1 x 1 layers 1.02 to 1.10 times and EfficientNet-lite0's first expansion 1.15 times with
// LOWP_ISA=avx2 (Zen 4). Twice as many are no faster.
inline constexpr int64_t kMaxAcc = 2048;

// The rows of C, evenly spaced, that a tile of TileSet::finishes panels makes of its sums itself, with no other
// residual and activation than can_finish() (plan.h) lets through.
struct TileOutput {
  const Epilogue* e;
  OutputRange range;
  int64_t n0;  // channel of the first column, for bias and scale
  void* out;   // its first column
  int64_t out_step;
  const void* residual;  // or null
  int64_t residual_step;
};

struct TileArgs {
  const void* const* rows;  // rows[t * rows_stride + i]: tap t of row i
  int64_t rows_stride;
  int64_t taps, c;   // K = taps * c; c in elements, a whole number of the kind's groups
  const void* b;     // first panel
  int64_t b_stride;  // bytes between panels
  // Asked for in L2 as the tile goes on: `prefetch`, then so many bytes further on for each 64 bytes of a panel. Any
  // address will do.
  const void* prefetch = nullptr;
  int64_t prefetch_step = 0;
  int64_t groups = 1;             // so many times the tile's panels, one after another
  void* acc;                      // f32 or s32, [rows][acc_ld], of which groups * panels * 16 columns are written
  int64_t acc_ld = 0;             // elements
  const int32_t* bias = nullptr;  // INT8: what sums start from, [groups * panels * 16], or null
  bool accumulate = false;        // float and AMX: partial sums are added to what acc holds
  uint64_t left_out = 0;          // taps, a bit each, that are not read: A is zero there
  // Where the tile is to finish its sums, which then are of all K; acc is not touched. Float: K <= kBlockK. Null: sums
  // are left in acc.
  const TileOutput* output = nullptr;

  // Of AMX's tiles, whose registers are configured for `first` and `rest` rows, all of which are read and their sums
  // written: from rows[0] and rows[second] of each tap on, row_step bytes apart. What K lacks in whole 64 bytes, where
  // there is one tap, comes from copies filled up with zeros: of the rows at a_tail, of the panels a kilobyte each at
  // b_tail.
  int64_t row_step = 0;
  int first = 0, rest = 0;
  int64_t second = 0;
  const void* a_tail = nullptr;
  int64_t a_tail_step = 0;
  const void* b_tail = nullptr;
};
using TileFn = void (*)(const TileArgs&);

// How a kernel wants its rows of A.
enum class RowForm : uint8_t {
  kF32,
  kBF16,
  kU8,
  kWide,  // s16: of each four k, (k0, k2, k1, k3)
  kS16,
};

struct TileSet {
  TileFn tile[kMaxTileRows + 1][kMaxTilePanels + 1];
  uint8_t max_rows[kMaxTilePanels + 1];  // rows of the highest tile of so many panels; 0: none
  RowForm form;
  uint8_t vectors;    // registers of a panel
  uint8_t latency;    // half cycles until a sum can be added to again
  uint8_t finishes;   // panels of the tiles that can turn sums into outputs; 0: none
  DType finished[2];  // the types of such outputs
  // AMX: readies this thread's registers for tiles of so many rows, the rest in a second register, and gives them back.
  // Null for vectors.
  void (*configure)(int first, int rest);
  void (*release)();
  bool amx() const { return configure != nullptr; }
};

// For each row i of `count`, copies `taps` runs of c elements (at rows[t * stride + i]) to a contiguous row at dst + i
// * dst_step bytes, converted, and pads it with zeros to a multiple of `group` elements. Rows have kGatherSlack bytes
// beyond, which may be written.
struct GatherArgs {
  const void* const* rows;
  int64_t stride, count;
  int64_t taps, c, group;
  void* dst;
  int64_t dst_step;
};
using GatherFn = void (*)(const GatherArgs&);
// Expands panels of 16-bit weights in K2N16 to f32 K1N16: k rows (even), panels at dst + p * k * 16.
using ExpandFn = void (*)(const void* b, int64_t b_stride, int64_t k, int64_t panels, float* dst);

// Rows of C that lie evenly, the first at element `out` and the others `out_step` elements apart; so in the residual.
struct RowRun {
  int64_t count;
  int64_t out, out_step;
  int64_t residual, residual_step;
};

struct EpilogueArgs {
  const Epilogue* e;
  OutputRange range;
  const void* acc;  // [rows][acc_ld]
  int64_t acc_ld;
  const RowRun* runs;  // of the rows, in order
  int run_count;
  int cols;
  int64_t n0;            // channel of the first column, for bias and scale
  void* out;             // the first column of what runs count from
  const void* residual;  // likewise, or null
  bool bias_added;       // the sums hold bias_s32 already
};
using EpilogueFn = void (*)(const EpilogueArgs&);

enum class Gather : uint8_t {
  kCopy2,
  kCopy1,
  kF32ToBF16,
  kBF16ToF32,
  kF16ToF32,
  kS8ToU8,
  kU8ToWide,
  kS8ToWide,
  // Runs of up to 16, 32 and 64 bytes that have kGatherSlack readable bytes; so many are read and written.
  kShort1x16,
  kShort1x32,
  kShort2x64,
  kCount,
};
inline constexpr int64_t kGatherSlack = 64;

// Null entries are inherited from the target below (gemm_table).
struct GemmTable {
#define LOWP_GEMM_KERNEL(name, kind, needs) const TileSet* name = nullptr;
#include "kernels/gemm/kernels.inc"
#undef LOWP_GEMM_KERNEL
  const GatherFn* gather = nullptr;  // [Gather::kCount]
  ExpandFn expand_bf16 = nullptr, expand_f16 = nullptr;
  EpilogueFn epilogue_f32 = nullptr, epilogue_s32 = nullptr;
};

inline const TileSet* int8_tiles(const GemmTable& table, Int8Class c) {
  switch (c) {
    case Int8Class::kA7Quad: return table.s8_quad;
    case Int8Class::kA7Oct: return table.s8_oct;
    default: return table.s8_exact;
  }
}

// Of bf16 weights where the target multiplies bf16; null where it is storage.
inline const TileSet* bf16_tiles(const GemmTable& table) {
  return table.bf16_amx != nullptr ? table.bf16_amx : table.bf16_dot;
}

// The target's kernels, inherited entries filled in.
const GemmTable* gemm_table(Target target);

}  // namespace lowp::kernels
